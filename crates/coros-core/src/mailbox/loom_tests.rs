//! Models of the mailbox: every interleaving of a few senders with a receiver.
//!
//! `cargo xtask loom` runs them.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Mailbox, Receiver};
use crate::control::{Control, Flags};

/// Counts how often it is dropped, so that a model sees a message lost or handled twice.
struct Counted(Arc<AtomicUsize>, u32);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn mailbox<M: Send + 'static>() -> (Arc<Mailbox<M>>, Receiver<M>) {
    Mailbox::new(Control::new(Flags::NONE, None))
}

/// Polls once as a coroutine does, with the waker that the engine registers.
fn poll_own<M: Send + 'static>(
    receiver: &mut Receiver<M>,
    cx: &mut Context<'_>,
) -> Poll<Option<M>> {
    // Clones of one waker are equal; loom's `block_on` polls with one that equals none of them.
    let own = cx.waker().clone();
    let control = receiver.mailbox().control();
    if !control.has_own() {
        control.set_own(&own);
    }
    assert!(control.is_own(&own));
    receiver.poll_receive(&mut Context::from_waker(&own))
}

async fn receive<M: Send + 'static>(receiver: &mut Receiver<M>) -> Option<M> {
    poll_fn(|cx| poll_own(receiver, cx)).await
}

/// Polls once; what was there.
async fn receive_now<M: Send + 'static>(receiver: &mut Receiver<M>) -> Option<M> {
    poll_fn(|cx| match poll_own(receiver, cx) {
        Poll::Ready(message) => Poll::Ready(message),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Receives with a waker that is not the task's own.
async fn receive_elsewhere<M: Send + 'static>(receiver: &mut Receiver<M>) -> Option<M> {
    poll_fn(|cx| receiver.poll_receive(cx)).await
}

#[test]
fn loom_one_sender_in_order_then_none() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = thread::spawn(move || {
            for n in 0..3 {
                assert!(mailbox.push(n).is_ok());
            }
            mailbox.drop_address();
        });
        block_on(async {
            for n in 0..3 {
                assert_eq!(receive(&mut receiver).await, Some(n));
            }
            assert_eq!(receive(&mut receiver).await, None);
        });
        sender.join().unwrap();
    });
}

#[test]
fn loom_two_senders_each_in_order() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        // Two messages of one sender show the order, one of another disturbs it: with a fourth the
        // model takes minutes.
        let senders: Vec<_> = [(10, 2), (20, 1)]
            .into_iter()
            .map(|(base, count)| {
                let mailbox = Arc::clone(&mailbox);
                mailbox.add_address();
                thread::spawn(move || {
                    for n in 0..count {
                        assert!(mailbox.push(base + n).is_ok());
                    }
                    mailbox.drop_address();
                })
            })
            .collect();
        drop(mailbox);
        let mut got = Vec::new();
        block_on(async {
            while let Some(n) = receive(&mut receiver).await {
                got.push(n);
            }
        });
        got.sort_by_key(|n| n / 10);
        assert_eq!(got, [10, 11, 20]);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

#[test]
fn loom_foreign_waker_is_woken() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = thread::spawn(move || {
            assert!(mailbox.push(1).is_ok());
            mailbox.drop_address();
        });
        block_on(async {
            assert_eq!(receive_elsewhere(&mut receiver).await, Some(1));
            assert_eq!(receive_elsewhere(&mut receiver).await, None);
        });
        sender.join().unwrap();
    });
}

#[test]
fn loom_close_drops_every_message_once() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = {
            let drops = Arc::clone(&drops);
            thread::spawn(move || {
                // Taken, or given back: dropped here in the second case.
                let _ = mailbox.push(Counted(Arc::clone(&drops), 0));
                let _ = mailbox.push(Counted(drops, 1));
            })
        };
        block_on(async {
            // Parks, in some interleavings, and takes at most one.
            if let Some(message) = receive_now(&mut receiver).await {
                assert_eq!(message.1, 0);
            }
        });
        drop(receiver);
        sender.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn loom_cancelled_receive_loses_nothing() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = thread::spawn(move || {
            assert!(mailbox.push(1).is_ok());
            assert!(mailbox.push(2).is_ok());
            mailbox.drop_address();
        });
        block_on(async {
            // Parked and dropped: the message that then comes into the slot is still first.
            let early = receive_now(&mut receiver).await;
            let mut expected = if early.is_some() { 2..3 } else { 1..3 };
            while let Some(n) = receive(&mut receiver).await {
                assert_eq!(Some(n), expected.next());
            }
            assert_eq!(expected.next(), None);
        });
        sender.join().unwrap();
    });
}
