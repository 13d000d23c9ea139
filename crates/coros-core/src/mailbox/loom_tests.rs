//! Models of the mailbox: every interleaving of a few senders with a receiver.
//!
//! `cargo xtask loom` runs them.
//!
//! A model that is to see a lost wake-up keeps an address until the receiver has everything: the
//! drop of the last one wakes too, and would stand in for the one that is lost. A model that ends
//! with `None` is about that drop.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::{Bounds, Mailbox, Receiver};
use crate::control::{Control, Extra, Flags};
use crate::send::{SendError, deliver_local};
use crate::{Address, WeakAddress};

/// Runs a model with at least so many preemptions, if the number is limited at all.
fn model_with(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|most| most.max(preemptions));
    builder.check(model);
}

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
    model_with(3, || {
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
fn loom_every_message_wakes_by_itself() {
    // Parked again, then claimed, while an earlier message is still being queued: that takes more
    // preemptions than most.
    model_with(5, || {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                for n in 0..2 {
                    assert!(mailbox.push(n).is_ok());
                }
            })
        };
        block_on(async {
            for n in 0..2 {
                assert_eq!(receive(&mut receiver).await, Some(n));
            }
        });
        sender.join().unwrap();
    });
}

/// The receiver parks for `first`, and is then polled with a foreign waker until it has the
/// message: the only wake-up may be one that went to the earlier waker.
fn another_waker(first: fn(&mut Receiver<u32>, &mut Context<'_>) -> Poll<Option<u32>>) {
    model_with(3, move || {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = thread::spawn(move || assert!(mailbox.push(1).is_ok()));
        let message = match first(&mut receiver, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(message) => message,
            Poll::Pending => block_on(poll_fn(|cx| {
                // A receiver that asks to be polled again lets the sender go on.
                thread::yield_now();
                receiver.poll_receive(cx)
            })),
        };
        assert_eq!(message, Some(1));
        sender.join().unwrap();
    });
}

#[test]
fn loom_a_foreign_waker_after_another_is_woken() {
    another_waker(Receiver::poll_receive);
}

#[test]
fn loom_a_foreign_waker_after_the_own_one_is_woken() {
    another_waker(poll_own);
}

#[test]
fn loom_the_last_address_goes_during_the_first_poll() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox::<u32>();
        mailbox.add_address();
        // Not the other way round: where a coroutine keeps its waker is not loom's, so a thread
        // that goes on would keep it there before loom lets the other one run.
        let task = thread::spawn(move || assert_eq!(block_on(receive(&mut receiver)), None));
        mailbox.drop_address();
        task.join().unwrap();
    });
}

#[test]
fn loom_close_drops_every_message_once() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let sender = {
            let (mailbox, drops) = (Arc::clone(&mailbox), Arc::clone(&drops));
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
        // Not only now, with the mailbox itself.
        assert_eq!(drops.load(Ordering::SeqCst), 2);
        drop(mailbox);
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

/// Runs a future to its end, and polls it only when it has been woken.
///
/// For a future that waits in tokio's semaphore: that wakes while it holds a lock which is not
/// loom's, so its waker must not be a point where loom changes threads.
fn poll_when_woken<F: Future>(future: F) -> F::Output {
    struct Woken(std::sync::atomic::AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let woken = Arc::new(Woken(true.into()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        // A wake-up that is lost ends in loom's limit of steps.
        if woken.0.swap(false, Ordering::SeqCst)
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return output;
        }
        thread::yield_now();
    }
}

/// A full mailbox is closed, or makes room first, while a delivery waits for room.
fn close_against_a_delivery(makes_room: bool) {
    let drops = Arc::new(AtomicUsize::new(0));
    let extra = Extra {
        bounds: Some(Bounds::new(1)),
        ..Extra::default()
    };
    let (mailbox, mut receiver) = Mailbox::new(Control::new(Flags::NONE, Some(extra)));
    mailbox.add_address();
    let first = Counted(Arc::clone(&drops), 0);
    assert!(poll_when_woken(deliver_local(&mailbox, first)).is_ok());
    let sender = {
        let mailbox = Arc::clone(&mailbox);
        let second = Counted(Arc::clone(&drops), 1);
        thread::spawn(
            move || match poll_when_woken(deliver_local(&mailbox, second)) {
                Ok(()) => assert!(makes_room),
                Err(SendError::Closed(message)) => assert_eq!(message.1, 1),
                Err(error) => panic!("{error}"),
            },
        )
    };
    if makes_room {
        assert_eq!(receiver.try_receive().map(|it| it.1), Some(0));
    }
    drop(receiver);
    sender.join().unwrap();
    // Not only now, with the mailbox itself.
    assert_eq!(drops.load(Ordering::SeqCst), 2);
    drop(mailbox);
}

#[test]
fn loom_close_ends_a_delivery_that_waits_for_room() {
    loom::model(|| close_against_a_delivery(false));
}

#[test]
fn loom_close_drops_what_a_delivery_has_just_put_in() {
    loom::model(|| close_against_a_delivery(true));
}

#[test]
fn loom_a_swap_hands_over_everything_in_order() {
    loom::model(|| {
        let (mailbox, mut old) = mailbox::<u32>();
        mailbox.add_address();
        let sender = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                assert!(mailbox.push(1).is_ok());
                assert!(mailbox.push(2).is_ok());
                mailbox.drop_address();
            })
        };
        block_on(async {
            // Parks, in some interleavings.
            let early = receive_now(&mut old).await;
            mailbox.control().set(Flags::SWAPPING);
            drop(old);
            mailbox.control().clear(Flags::SWAPPING);
            let successor = mailbox.control().extra().swap.take_receiver().unwrap();
            let mut new = successor.downcast::<Receiver<u32>>().unwrap();
            let mut expected = if early.is_some() { 2..3 } else { 1..3 };
            while let Some(n) = receive(&mut new).await {
                assert_eq!(Some(n), expected.next());
            }
            assert_eq!(expected.next(), None);
        });
        sender.join().unwrap();
    });
}

#[test]
fn loom_what_a_late_address_sends_comes_before_the_end() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        let address = Address::local(mailbox);
        let weak: WeakAddress<u32> = address.downgrade().unwrap();
        let last = thread::spawn(move || drop(address));
        let late = thread::spawn(move || match weak.upgrade() {
            Some(address) => {
                assert!(address.send(1).is_ok(), "the receiver is there");
                1
            }
            None => 0,
        });
        let mut got = 0;
        block_on(async {
            while receive(&mut receiver).await.is_some() {
                got += 1;
            }
        });
        last.join().unwrap();
        assert_eq!(late.join().unwrap(), got);
    });
}

#[test]
fn loom_try_receive_finds_what_was_sent_before() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        // The receiver parks; whichever sender is first claims its slot.
        assert!(block_on(receive_now(&mut receiver)).is_none());
        let sent = Arc::new(AtomicBool::new(false));
        let senders = [None, Some(Arc::clone(&sent))].map(|sent| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                assert!(mailbox.push(1).is_ok());
                if let Some(sent) = sent {
                    sent.store(true, Ordering::Release);
                }
            })
        });
        let mut got = 0;
        if sent.load(Ordering::Acquire) {
            got += receiver.try_receive().expect("one has been sent");
        }
        for sender in senders {
            sender.join().unwrap();
        }
        while let Some(n) = receiver.try_receive() {
            got += n;
        }
        assert_eq!(got, 2);
    });
}

/// Asks to be told when all that is in the queue now has been taken; how often that was told. When
/// it is told nothing may be in the queue.
fn ask(mailbox: &Arc<Mailbox<u32>>, told: &Arc<AtomicUsize>, is_last: bool) {
    let (asked, told) = (Arc::clone(mailbox), Arc::clone(told));
    mailbox.when_taken(Box::new(move || {
        // Not under the queue's lock, which this takes.
        let left = asked.len();
        assert!(!is_last || left == 0, "{left} have not been taken");
        told.fetch_add(1, Ordering::SeqCst);
    }));
}

#[test]
fn loom_whoever_asks_is_told_once_when_all_has_been_taken() {
    // Taken between the two messages, and told after the second.
    model_with(5, || {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let told = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (mailbox, told) = (Arc::clone(&mailbox), Arc::clone(&told));
            thread::spawn(move || {
                for n in 0..2 {
                    assert!(mailbox.push(n).is_ok());
                }
                ask(&mailbox, &told, true);
            })
        };
        // Never parks, so that all messages are queued: one in the slot does not count. Loom lets the
        // sender go first only for the sake of the lock that a look at the length takes.
        let look = |_| {
            (mailbox.len() > 0)
                .then(|| receiver.try_receive())
                .flatten()
        };
        let mut got: Vec<_> = (0..2).filter_map(look).collect();
        sender.join().unwrap();
        got.extend(std::iter::from_fn(|| receiver.try_receive()));
        assert_eq!(got, [0, 1]);
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_each_who_asks_is_told_by_a_receiver_that_waits() {
    loom::model(|| {
        let (mailbox, mut receiver) = mailbox();
        mailbox.add_address();
        let told = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let askers = [2, 0].into_iter().zip(&told).map(|(messages, told)| {
            let (mailbox, told) = (Arc::clone(&mailbox), Arc::clone(told));
            thread::spawn(move || {
                for n in 0..messages {
                    assert!(mailbox.push(n).is_ok());
                }
                ask(&mailbox, &told, false);
            })
        });
        let askers: Vec<_> = askers.collect();
        block_on(async {
            for n in 0..2 {
                assert_eq!(receive(&mut receiver).await, Some(n));
            }
        });
        for asker in askers {
            asker.join().unwrap();
        }
        let told = told.map(|told| told.load(Ordering::SeqCst));
        assert_eq!(told, [1, 1]);
    });
}

#[test]
fn loom_whoever_asks_is_told_of_the_end() {
    loom::model(|| {
        let (mailbox, receiver) = mailbox();
        mailbox.add_address();
        let told = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (mailbox, told) = (Arc::clone(&mailbox), Arc::clone(&told));
            thread::spawn(move || {
                let _ = mailbox.push(0);
                // Nobody takes what is there: it need not be gone yet.
                ask(&mailbox, &told, false);
            })
        };
        drop(receiver);
        sender.join().unwrap();
        assert_eq!(told.load(Ordering::SeqCst), 1);
    });
}
