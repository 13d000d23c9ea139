//! Models of the oneshot: every interleaving of its two ends.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{Refused, channel};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_the_message_comes_and_wakes() {
    loom::model(|| {
        let (sender, receiver) = channel();
        let sender = thread::spawn(move || assert!(sender.send(7).is_ok()));
        assert_eq!(block_on(receiver), Ok(7));
        sender.join().unwrap();
    });
}

#[test]
fn loom_a_dropped_sender_wakes() {
    loom::model(|| {
        let (sender, receiver) = channel::<u32>();
        let sender = thread::spawn(move || drop(sender));
        assert_eq!(block_on(receiver), Err(Refused::Dropped));
        sender.join().unwrap();
    });
}

#[test]
fn loom_a_lost_sender_wakes() {
    loom::model(|| {
        let (sender, receiver) = channel::<u32>();
        let sender = thread::spawn(move || sender.lose());
        assert_eq!(block_on(receiver), Err(Refused::Lost));
        sender.join().unwrap();
    });
}

#[test]
fn loom_a_poll_with_another_waker_is_woken() {
    loom::model(|| {
        let (sender, mut receiver) = channel();
        let sender = thread::spawn(move || assert!(sender.send(7).is_ok()));
        let first = Pin::new(&mut receiver).poll(&mut Context::from_waker(Waker::noop()));
        match first {
            Poll::Ready(message) => assert_eq!(message, Ok(7)),
            Poll::Pending => assert_eq!(block_on(receiver), Ok(7)),
        }
        sender.join().unwrap();
    });
}

/// With `polled`, the receiver has left its waker, or is about to find the message.
fn dropped_receiver(polled: bool) {
    loom::model(move || {
        let drops = Arc::new(AtomicUsize::new(0));
        let (sender, mut receiver) = channel();
        let message = Counted(Arc::clone(&drops));
        let sender = thread::spawn(move || drop(sender.send(message)));
        if polled {
            block_on(poll_fn(|cx| {
                let _ = Pin::new(&mut receiver).poll(cx);
                Poll::Ready(())
            }));
        }
        drop(receiver);
        sender.join().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn loom_a_receiver_that_is_dropped_loses_no_message() {
    dropped_receiver(false);
}

#[test]
fn loom_a_receiver_that_is_dropped_while_it_waits_loses_no_message() {
    // And takes its waker back, of which the model counts the owners.
    dropped_receiver(true);
}

#[test]
fn loom_both_ends_may_go_at_once() {
    loom::model(|| {
        let (sender, receiver) = channel::<Counted>();
        let sender = thread::spawn(move || drop(sender));
        drop(receiver);
        sender.join().unwrap();
    });
}
