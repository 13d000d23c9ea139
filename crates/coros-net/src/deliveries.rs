//! Deliveries that wait for room in a mailbox, and what has come for the same coroutine later.
//!
//! A link's reader waits for nobody: a delivery that has to goes on in a task of its own, and
//! what comes for the same coroutine queues up behind it, so that the order is kept. All of it
//! ends with the session: whoever waited for an answer has been told that there is none, and a
//! message that came through later could overtake one of the next session.
//!
//! A delivery is answered when it is in the mailbox; a message that finds a bounded mailbox full
//! waits likewise. What waits is within what the peer may have outstanding, see
//! [`inflow`](crate::inflow).

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
#[derive(Default)]
pub(crate) struct Queues {
    by_target: Mutex<HashMap<u64, VecDeque<Later>>>,
    /// For how many coroutines something waits, seldom any: read for each message, without the
    /// lock. Changed with the lock held, and only the reader, who asks, makes it larger.
    targets: AtomicUsize,
}

struct Later {
    place: Place,
    payload: Vec<u8>,
    lent: Vec<u8>,
    /// Coroutines of this node that it names, whatever is released meanwhile.
    _held: Vec<Arc<dyn Inlet>>,
}

/// What a frame needs while it waits.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Of a delivery; a message wants no answer.
    pub(crate) correlation: Option<u64>,
    pub(crate) bytes: usize,
}

impl Queues {
    /// Puts a frame behind the one that waits for the same coroutine, if there is one, with what
    /// `enter` gives, which is called before anybody can take it.
    ///
    /// # Errors
    /// Those of `enter`: then the frame does not wait.
    pub(crate) fn behind<E>(
        &self,
        frame: &Frame<'_>,
        enter: impl FnOnce() -> Result<Vec<Arc<dyn Inlet>>, E>,
    ) -> Result<bool, E> {
        // Pairs with `next`: at zero what waited is in the mailbox.
        if self.targets.load(Acquire) == 0 {
            return Ok(false);
        }
        let mut waiting = self.lock();
        let Some(queue) = waiting.get_mut(&frame.envelope.target) else {
            return Ok(false);
        };
        queue.push_back(Later {
            place: Place::of(frame),
            payload: frame.payload.to_vec(),
            lent: frame.lent.to_vec(),
            _held: enter()?,
        });
        Ok(true)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.load(Acquire) == 0
    }

    /// Lets what comes for a coroutine wait from now on.
    pub(crate) fn open(&self, target: u64) {
        let mut waiting = self.lock();
        waiting.entry(target).or_default();
        self.targets.store(waiting.len(), Release);
    }

    /// The next for a coroutine, when the one before is done; forgets about the coroutine when
    /// there is none.
    fn next(&self, target: u64) -> Option<Later> {
        let mut waiting = self.lock();
        let queue = waiting.get_mut(&target);
        let next = queue.and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(&target);
            self.targets.store(waiting.len(), Release);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<Later>>> {
        self.by_target
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(crate) fn of(frame: &Frame<'_>) -> Self {
        let deliver = frame.envelope.kind == Kind::Deliver;
        Place {
            correlation: deliver.then_some(frame.envelope.correlation),
            bytes: frame.length(),
        }
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
        self.done(place, &first.await);
        // Where there is room all this takes one poll, and the session may end in the middle of it.
        while !self.course.over.is_cancelled()
            && let Some(later) = self.course.queues.next(self.target)
        {
            place = later.place;
            let _named = self.peer.named(self.course.epoch, &later.lent);
            let exchange = &self.course.exchange;
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
            self.done(place, &result);
        }
    }

    fn done(&self, place: Place, result: &Result<(), CarryError>) {
        for ask in self.course.inflow.entered(self.target, place.bytes) {
            self.peer.ask(&self.course, ask);
        }
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
    CarryError::Codec(CodecError::new(
        "decode",
        "message",
        "its Deserialize panicked",
    ))
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
    use std::any::Any;
    use std::sync::atomic::AtomicUsize;

    use coros_core::remote::{Location, NodeId, OnExit, Request};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::inflow::Inflow;
    use crate::sim::SimNetwork;
    use crate::wire::Envelope;

    fn frame(target: u64) -> Frame<'static> {
        Frame {
            envelope: Envelope {
                kind: Kind::Message,
                target,
                correlation: 0,
            },
            payload: b"a",
            lent: &[],
        }
    }

    #[test]
    fn what_comes_for_others_does_not_wait() {
        let queues = Queues::default();
        let waits = |target| queues.behind(&frame(target), || Ok::<_, ()>(Vec::new()));
        assert_eq!(waits(7), Ok(false));
        queues.open(7);
        assert_eq!((waits(7), waits(8)), (Ok(true), Ok(false)));
        // What cannot be counted does not wait: it is counted before anybody can take it.
        assert_eq!(
            queues.behind(&frame(7), || Err("too much")),
            Err("too much")
        );
        assert!(queues.next(7).is_some() && queues.next(7).is_none());
        assert_eq!(waits(7), Ok(false));
    }
    /// Ends the session with the first message that it gets.
    struct Last(CancellationToken, AtomicUsize);

    impl Inlet for Last {
        fn id(&self) -> u64 {
            7
        }

        fn receive(&self, _: &[u8]) -> Result<(), CarryError> {
            Ok(())
        }

        fn deliver(&self, _: &[u8]) -> BoxFuture<Result<(), CarryError>> {
            self.1.fetch_add(1, Release);
            self.0.cancel();
            Box::pin(async { Ok(()) })
        }

        fn watch(&self, _: OnExit) {}

        fn request(&self, _: Request) {}

        fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
            self
        }
    }

    #[tokio::test]
    async fn what_waits_when_its_session_ends_is_not_delivered() {
        let node = SimNetwork::new(1).host("desk").builder().build().await;
        let node = node.expect("it starts");
        let peer = node.inner().peer(&Location {
            node: NodeId(7),
            name: "farm".into(),
            endpoint: None,
        });
        let over = CancellationToken::new();
        let last = Arc::new(Last(over.clone(), AtomicUsize::new(0)));
        let course = Course {
            epoch: 1,
            over,
            exchange: Arc::clone(peer.exchange()),
            queues: Arc::default(),
            inflow: Arc::new(Inflow::new(1 << 20)),
        };
        course.queues.open(7);
        assert!(course.inflow.waits(7, frame(7).length()).is_ok());
        for _ in 0..3 {
            let counted = || course.inflow.waits(7, frame(7).length());
            let waits = course
                .queues
                .behind(&frame(7), || counted().map(|()| Vec::new()));
            assert_eq!(waits, Ok(true));
        }
        let queue = Queue {
            peer,
            course,
            inlet: Arc::clone(&last) as Arc<dyn Inlet>,
            target: 7,
        };
        let place = Place::of(&frame(7));
        queue.run(place, Box::pin(async { Ok(()) })).await;
        assert_eq!(last.1.load(Acquire), 1);
    }
}
