//! Deliveries that wait for room in a mailbox, and what has come for the same coroutine later.
//!
//! A link's reader waits for nobody: a delivery that has to goes on in a task of its own, and
//! what comes for the same coroutine queues up behind it, so that the order is kept. All of it
//! ends with the session: whoever waited for an answer has been told that there is none, and a
//! message that came through later could overtake one of the next session.
//!
//! What waits of one peer is bounded as the outbox is: beyond that messages are dropped, as they
//! are when a mailbox is full, and deliveries refused.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use coros_core::remote::{self, BoxFuture, CarryError, CodecError, Inlet};

use crate::peer::{Course, Peer};
use crate::wire::{Frame, Kind};

/// What waits of one session, by coroutine.
pub(crate) struct Queues {
    waiting: Mutex<Waiting>,
    /// For how many coroutines something waits, seldom any: read for each message, without the
    /// lock. Changed with the lock held, and only the reader, who asks, makes it larger.
    targets: AtomicUsize,
    capacity: usize,
}

#[derive(Default)]
struct Waiting {
    by_target: HashMap<u64, VecDeque<Later>>,
    /// What all of it takes, with the deliveries in front.
    bytes: usize,
}

struct Later {
    place: Place,
    payload: Vec<u8>,
    lent: Vec<u8>,
}

/// What a frame needs while it waits.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Of a delivery; a message wants no answer.
    correlation: Option<u64>,
    bytes: usize,
}

/// What became of a frame that may have to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing waits for that coroutine.
    Nobody,
    /// It waits behind others.
    Queued,
    /// It would have to wait, and too much does.
    TooMany,
}

impl Queues {
    /// Room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Queues {
            waiting: Mutex::default(),
            targets: AtomicUsize::new(0),
            capacity,
        }
    }

    /// Puts a frame behind the one that waits for the same coroutine, if there is one.
    pub(crate) fn behind(&self, frame: &Frame<'_>) -> Behind {
        // Pairs with `next`: at zero what waited is in the mailbox.
        if self.targets.load(Acquire) == 0 {
            return Behind::Nobody;
        }
        let mut waiting = self.lock();
        if !waiting.by_target.contains_key(&frame.envelope.target) {
            return Behind::Nobody;
        }
        let Some(place) = waiting.take_place(frame, self.capacity) else {
            return Behind::TooMany;
        };
        let queue = waiting.by_target.entry(frame.envelope.target).or_default();
        queue.push_back(Later {
            place,
            payload: frame.payload.to_vec(),
            lent: frame.lent.to_vec(),
        });
        Behind::Queued
    }

    /// Lets what comes for a frame's coroutine wait behind it; `None` if too much waits.
    pub(crate) fn open(&self, frame: &Frame<'_>) -> Option<Place> {
        let mut waiting = self.lock();
        let place = waiting.take_place(frame, self.capacity)?;
        waiting.by_target.entry(frame.envelope.target).or_default();
        self.targets.store(waiting.by_target.len(), Release);
        Some(place)
    }

    /// The next for a coroutine, when the one before is done; forgets about the coroutine when
    /// there is none.
    fn next(&self, target: u64, done: Place) -> Option<Later> {
        let mut waiting = self.lock();
        waiting.bytes -= done.bytes;
        let queue = waiting.by_target.get_mut(&target);
        let next = queue.and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.by_target.remove(&target);
            self.targets.store(waiting.by_target.len(), Release);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Any frame fits when nothing else waits.
    fn take_place(&mut self, frame: &Frame<'_>, capacity: usize) -> Option<Place> {
        let bytes = size_of::<Later>() + frame.payload.len() + frame.lent.len();
        if self.bytes > 0 && self.bytes + bytes > capacity {
            return None;
        }
        self.bytes += bytes;
        let deliver = frame.envelope.kind == Kind::Deliver;
        Some(Place {
            correlation: deliver.then_some(frame.envelope.correlation),
            bytes,
        })
    }
}

/// The deliveries that wait for one coroutine.
pub(crate) struct Queue {
    pub(crate) peer: Arc<Peer>,
    pub(crate) course: Course,
    /// Keeps the coroutine's mailbox open, as whoever waits for room in it must.
    pub(crate) inlet: Arc<dyn Inlet>,
    pub(crate) target: u64,
}

impl Queue {
    /// Until all are delivered or the session ends.
    pub(crate) async fn run(self, place: Place, first: BoxFuture<Result<(), CarryError>>) {
        tokio::select! {
            biased;
            () = self.course.over.cancelled() => {}
            () = self.deliver_all(place, first) => {}
        }
    }

    async fn deliver_all(&self, mut place: Place, first: BoxFuture<Result<(), CarryError>>) {
        self.answer(place, &first.await);
        while let Some(later) = self.course.queues.next(self.target, place) {
            place = later.place;
            let exchange = self.peer.exchange();
            let delivery = guarded("a delivery", || {
                remote::with_exchange(exchange, || self.inlet.deliver(&later.payload))
            });
            let result = match delivery {
                Some(future) => future.await,
                None => Err(panicked()),
            };
            if matches!(result, Err(CarryError::Codec(_))) {
                unread(&self.peer, self.course.epoch, self.target, &later.lent);
            }
            self.answer(place, &result);
        }
    }

    fn answer(&self, place: Place, result: &Result<(), CarryError>) {
        if let Some(correlation) = place.correlation {
            answer(&self.peer, self.course.epoch, correlation, result);
        }
    }
}

pub(crate) fn unread(peer: &Peer, epoch: u64, target: u64, lent: &[u8]) {
    if !lent.is_empty() {
        peer.answer(epoch, |session| session.answer_unread(target, lent));
    }
}

pub(crate) fn answer(peer: &Peer, epoch: u64, correlation: u64, result: &Result<(), CarryError>) {
    peer.answer(epoch, |session| {
        session.answer_deliver(correlation, result);
    });
}

/// Runs user code (decoding) and survives its panics.
pub(crate) fn guarded<T>(what: &str, f: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(f));
    if result.is_err() {
        tracing::error!("reading {what} from a peer panicked");
    }
    result.ok()
}

pub(crate) fn panicked() -> CarryError {
    CarryError::Codec(CodecError {
        action: "decode".into(),
        type_name: "message".into(),
        reason: "its Deserialize panicked".into(),
    })
}

/// A delivery after its first poll.
pub(crate) enum Delivery {
    Done(Result<(), CarryError>),
    Waits(BoxFuture<Result<(), CarryError>>),
}

/// Delivers at once where there is room, as nearly always.
pub(crate) fn start_delivery(inlet: &Arc<dyn Inlet>, payload: &[u8]) -> Delivery {
    let mut future = inlet.deliver(payload);
    // The task that waits polls again with its own waker.
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Delivery::Done(result),
        Poll::Pending => Delivery::Waits(future),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Envelope;

    fn frame(kind: Kind, target: u64, payload: &[u8]) -> Frame<'_> {
        Frame {
            envelope: Envelope {
                kind,
                target,
                correlation: 1,
            },
            payload,
            lent: &[],
        }
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_room_comes_back() {
        let queues = Queues::new(10_000);
        let payload = [0; 1000];
        let (deliver, message) = (
            frame(Kind::Deliver, 7, &payload),
            frame(Kind::Message, 7, &payload),
        );
        assert_eq!(queues.behind(&deliver), Behind::Nobody);
        let mut place = queues.open(&deliver).unwrap();
        let mut queued = 0;
        while queues.behind(if queued % 2 == 0 { &deliver } else { &message }) == Behind::Queued {
            queued += 1;
        }
        assert_eq!(queued, 8, "nine wait with their own needs");
        assert_eq!(queues.behind(&message), Behind::TooMany);
        assert!(queues.open(&frame(Kind::Deliver, 8, &payload)).is_none());
        while let Some(later) = queues.next(7, place) {
            place = later.place;
        }
        assert_eq!(queues.behind(&message), Behind::Nobody);
        assert_eq!(queues.lock().bytes, 0);
        // One that is larger than all room can wait alone.
        assert!(
            queues
                .open(&frame(Kind::Deliver, 8, &[0; 20_000]))
                .is_some()
        );
    }
}
