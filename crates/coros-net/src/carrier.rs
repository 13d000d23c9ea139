//! A peer as core sees it: what takes bytes to the coroutines of another node.

use std::sync::{Arc, Weak};
use std::time::Duration;

use coros_core::remote::{
    BoxFuture, Carrier, CarryError, CodecError, Encode, Inlet, OnExit, RemoteId, Request, Unwatch,
};
use coros_core::{Exit, SwapError};
use tokio::sync::oneshot;

use crate::functions;
use crate::naming::Naming;
use crate::outbox::NoRoom;
use crate::peer::{Delivered, Peer, PeerSession, tell};
use crate::scope;
use crate::session::Place;
use crate::wire;

impl Carrier for Peer {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.queue(None, encode, |session, payload, lent| {
            session.message(to.coroutine, payload, lent)
        })
    }

    fn answer(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.answer_in(None, to, encode)
    }

    fn feed(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        self.turn(None, None, encode, feed(to))
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        self.turn(None, None, encode, deliver(to))
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        self.watch_in(None, to, on_exit)
    }

    fn request(&self, to: &RemoteId, request: Request) {
        self.request_in(None, to, request);
    }

    fn swap(
        &self,
        to: &RemoteId,
        function: &str,
        limit: Duration,
    ) -> BoxFuture<Result<(), SwapError>> {
        functions::swap_at(self, to, function, limit)
    }
}

/// The way back to the questions that a peer has asked in one session. They end with it, so it
/// leads nowhere from then on: neither an answer nor the want of one is worth another session.
///
/// It keeps no peer: as long as there is a session others do.
pub(crate) struct Questions {
    peer: Weak<Peer>,
    epoch: u64,
}

impl Questions {
    pub(crate) fn new(peer: &Weak<Peer>, epoch: u64) -> Self {
        Questions {
            peer: Weak::clone(peer),
            epoch,
        }
    }
}

impl Carrier for Questions {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.answer(to, encode)
    }

    fn answer(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        let peer = self.peer.upgrade().ok_or_else(gone)?;
        peer.answer_in(Some(self.epoch), to, encode)
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        match self.peer.upgrade() {
            Some(peer) => peer.turn(Some(self.epoch), None, encode, deliver(to)),
            None => Box::pin(async { Err(gone()) }),
        }
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        match self.peer.upgrade() {
            Some(peer) => peer.watch_in(Some(self.epoch), to, on_exit),
            None => {
                tell(on_exit, Exit::Disconnected);
                None
            }
        }
    }

    fn request(&self, to: &RemoteId, request: Request) {
        if let Some(peer) = self.peer.upgrade() {
            peer.request_in(Some(self.epoch), to, request);
        }
    }
}

/// What all handles of one coroutine of a peer share: when it is gone, the peer is told so.
pub(crate) struct Import {
    this: Weak<Import>,
    peer: Arc<Peer>,
    coroutine: u64,
}

impl Import {
    pub(crate) fn new(peer: Arc<Peer>, coroutine: u64) -> Arc<Self> {
        Arc::new_cyclic(|this| Import {
            this: Weak::clone(this),
            peer,
            coroutine,
        })
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.peer.import_dropped(self.coroutine);
    }
}

impl Carrier for Import {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.peer.send(to, encode)
    }

    fn answer(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        Carrier::answer(&*self.peer, to, encode)
    }

    // What waits is behind a release that is queued now.
    fn feed(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let handle = self.this.upgrade();
        self.peer.turn(None, handle, encode, feed(to))
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let handle = self.this.upgrade();
        self.peer.turn(None, handle, encode, deliver(to))
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        self.peer.watch(to, on_exit)
    }

    fn request(&self, to: &RemoteId, request: Request) {
        self.peer.request(to, request);
    }

    fn swap(
        &self,
        to: &RemoteId,
        function: &str,
        limit: Duration,
    ) -> BoxFuture<Result<(), SwapError>> {
        let (this, swap) = (self.this.upgrade(), self.peer.swap(to, function, limit));
        Box::pin(async move {
            let swapped = swap.await;
            drop(this);
            swapped
        })
    }
}

/// What all carriers do, in any session or, for some, in one `only`.
impl Peer {
    fn answer_in(
        &self,
        only: Option<u64>,
        to: &RemoteId,
        encode: Encode<'_>,
    ) -> Result<(), CarryError> {
        self.queue(only, encode, |session, payload, lent| {
            session.answer_question(to.coroutine, payload, lent)
        })
    }

    fn watch_in(&self, only: Option<u64>, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        let mut on_exit = Some(on_exit);
        let watched = self.reach_in(only, |session, _| {
            let on_exit = on_exit.take_if(|_| session.may_watch());
            on_exit.map(|on_exit| session.watch(to.coroutine, on_exit))
        });
        let Ok(Some(number)) = watched else {
            if let Some(on_exit) = on_exit {
                let why = watched.map_or(Exit::Disconnected, |_| Exit::Unwatched);
                tell(on_exit, why);
            }
            return None;
        };
        let (peer, target) = (self.weak(), to.coroutine);
        Some(Box::new(move || {
            let peer = peer.upgrade();
            peer.is_some_and(|peer| peer.unwatch(target, number))
        }))
    }

    fn request_in(&self, only: Option<u64>, to: &RemoteId, request: Request) {
        let sent = self.reach_in(only, |session, _| session.request(to.coroutine, request));
        if let Err(error) = sent {
            tracing::debug!(peer = %to.location, %error, "a request was lost");
        }
    }

    /// Encodes a message and has it queued, if there is room.
    fn queue(
        &self,
        only: Option<u64>,
        encode: Encode<'_>,
        queue: impl FnOnce(&mut PeerSession, &[u8], &[u64]) -> Result<(), NoRoom>,
    ) -> Result<(), CarryError> {
        scope::message(self.exchange(), encode, |payload, mut naming| {
            check_length(payload, naming.ids())?;
            if naming.is_empty() {
                let queued = self.reach_in(only, |session, _| queue(session, payload, &[]))?;
                return queued.map_err(|_| CarryError::Full);
            }
            let (queued, epoch) = self.reach_in(only, |session, epoch| {
                let queued = queue(session, payload, naming.ids());
                (queued.map(|()| self.count(&naming)), epoch)
            })?;
            let unwatched = queued.map_err(|_| CarryError::Full)?;
            self.counted(&mut naming, &unwatched, epoch);
            Ok(())
        })
    }

    /// Encodes a message that may have to wait for its turn, and has it queued or wait by `queue`;
    /// resolves when its waiter is told. A `handle` is kept while it waits.
    fn turn(
        &self,
        only: Option<u64>,
        handle: Option<Arc<Import>>,
        encode: Encode<'_>,
        queue: impl FnOnce(&mut PeerSession, &[u8], &[u64], Delivered) -> Option<Place>,
    ) -> BoxFuture<Result<(), CarryError>> {
        let Some(this) = self.this() else {
            return Box::pin(async { Err(gone()) });
        };
        let queued = scope::message(self.exchange(), encode, |payload, mut naming| {
            check_length(payload, naming.ids())?;
            let (waiter, answer) = oneshot::channel();
            // Queued before anybody polls: what the caller sends next comes after it.
            let (place, unwatched, epoch) = self.reach_in(only, |session, epoch| {
                let place = queue(session, payload, naming.ids(), waiter);
                (place, self.count(&naming), epoch)
            })?;
            self.counted(&mut naming, &unwatched, epoch);
            let turn = place.map(|place| Turn {
                peer: this,
                epoch,
                place,
                naming,
                _handle: handle,
            });
            let answered = async move {
                // While it waits, it goes with whoever waits for it.
                let _turn = turn;
                answer.await.unwrap_or_else(|_| Err(gone()))
            };
            Ok(Box::pin(answered) as BoxFuture<_>)
        });
        queued.unwrap_or_else(|e| Box::pin(async { Err(e) }))
    }

    /// Counts what a message names that has been queued just now, while the session cannot end;
    /// [`counted`](Peer::counted) must follow when it can.
    fn count(&self, naming: &Naming) -> Vec<Arc<dyn Inlet>> {
        self.node().exports.name(naming.own(), self.id())
    }

    fn counted(&self, naming: &mut Naming, unwatched: &[Arc<dyn Inlet>], epoch: u64) {
        for inlet in unwatched {
            self.node().exports.watch_end(inlet);
        }
        let passed = naming.take_passed();
        if !passed.is_empty() {
            self.has_passed(passed, epoch);
        }
    }
}

/// Queues a delivery, or lets it wait.
fn deliver(
    to: &RemoteId,
) -> impl FnOnce(&mut PeerSession, &[u8], &[u64], Delivered) -> Option<Place> {
    |session, payload, lent, waiter| session.deliver(to.coroutine, payload, lent, waiter)
}

/// Queues a message, or lets it wait.
fn feed(to: &RemoteId) -> impl FnOnce(&mut PeerSession, &[u8], &[u64], Delivered) -> Option<Place> {
    |session, payload, lent, waiter| match session.message(to.coroutine, payload, lent) {
        Ok(()) => {
            drop(waiter.send(Ok(())));
            None
        }
        Err(NoRoom) => Some(session.wait(to.coroutine, payload, lent, waiter)),
    }
}

/// A message that waits until it may be sent, and is withdrawn if nobody waits for it before.
struct Turn {
    peer: Arc<Peer>,
    epoch: u64,
    place: Place,
    naming: Naming,
    _handle: Option<Arc<Import>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.peer.withdraw(self.epoch, self.place, &self.naming);
    }
}

fn gone() -> CarryError {
    CarryError::Disconnected(Box::new("the link has ended".into()))
}

fn check_length(payload: &[u8], lent: &[u64]) -> Result<(), CarryError> {
    let length = payload.len() + size_of_val(lent);
    if length <= wire::MAX_MESSAGE {
        return Ok(());
    }
    Err(CarryError::Codec(CodecError::new(
        "send",
        "message",
        format!(
            "it takes {length} bytes, and at most {} may travel in one",
            wire::MAX_MESSAGE
        ),
    )))
}
