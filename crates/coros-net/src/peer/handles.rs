//! A peer for those who have handles of its coroutines, and for those whose coroutines it has
//! handles of.

use std::collections::btree_map::Entry;
use std::mem;
use std::sync::{Arc, Weak};

use coros_core::remote::{Carrier, CarryError, Inlet, NodeId};

use super::{Peer, Pinged, State};
use crate::carrier::Import;
use crate::exports::Watcher;
use crate::naming::{Naming, Passed};
use crate::session::{Input, Place, Session};
use crate::wire;

impl Peer {
    /// What all handles of one of the peer's coroutines share.
    pub(crate) fn import(&self, coroutine: u64) -> Arc<Import> {
        let this = self.this().expect("whoever asks has the peer");
        let mut state = self.lock();
        state
            .imports
            .get(coroutine, || Import::new(this, coroutine))
    }

    /// A message has come in a session and will be read now, or not at all: counts what it names,
    /// and keeps that until it has been read.
    pub(crate) fn named(&self, epoch: u64, lent: &[u8]) -> Vec<Arc<Import>> {
        let mut named = Vec::new();
        if lent.is_empty() {
            return named;
        }
        let Some(this) = self.this() else {
            return named;
        };
        let mut state = self.lock();
        if !state.is_in(epoch) {
            return named;
        }
        for coroutine in wire::marked(lent, wire::COUNTED) {
            let make = || Import::new(Arc::clone(&this), coroutine);
            named.push(state.imports.named(coroutine, make));
        }
        // Those of other handles may be dropped now.
        drop(state);
        named
    }

    /// There are no handles of a coroutine of the peer any more, unless another has come up.
    pub(crate) fn import_dropped(&self, coroutine: u64) {
        self.with(|state| {
            let Some(named) = state.imports.dropped(coroutine) else {
                return;
            };
            // The peer is to know also if the link has been closed, because it was idle.
            state.input(Input::Wake);
            if let Some(session) = &mut state.session {
                session.release(coroutine, named, state.imports.most());
            }
        });
    }

    /// The peer has no handles of these coroutines of ours any more: those that nobody holds now,
    /// not to be dropped under a lock.
    #[must_use]
    pub(crate) fn released(
        &self,
        epoch: u64,
        released: impl Iterator<Item = (u64, u64)>,
    ) -> Vec<Arc<dyn Inlet>> {
        // The session must not end meanwhile: another would have other counts.
        let state = self.lock();
        if !state.is_in(epoch) {
            return Vec::new();
        }
        self.node.exports.released(released, self.id)
    }

    /// A delivery is withdrawn, unless it has been sent, and with it all that it names.
    pub(crate) fn withdraw(&self, epoch: u64, place: Place, naming: &Naming) {
        self.with(|state| {
            if state.is_in(epoch)
                && let Some(session) = &mut state.session
                && session.withdraw(place)
            {
                let unheld = self.node.exports.take_back(naming.own(), self.id);
                state.todo.released.extend(unheld);
            }
        });
    }

    /// A message that is queued in this session names coroutines of third nodes: there have to be
    /// handles here until it is over, since nobody says when the peer has used its own; or until
    /// the coroutine ends.
    pub(crate) fn has_passed(&self, passed: Vec<Passed>, epoch: u64) {
        let (mut before, mut new) = (Vec::new(), Vec::new());
        let mut state = self.lock();
        if state.is_in(epoch) {
            for Passed { id, carrier } in passed {
                match state.passed.entry(id) {
                    Entry::Occupied(mut kept) => {
                        before.push(mem::replace(&mut kept.get_mut().carrier, carrier));
                    }
                    Entry::Vacant(place) => {
                        new.push((id, Arc::clone(&carrier)));
                        place.insert(KeptPassed::unheeded(carrier));
                    }
                }
            }
        }
        drop(state);
        drop(before);
        for (id, carrier) in new {
            self.heed_passed(id, epoch);
            // It must not be released before it is heeded: nobody would release it again.
            drop(carrier);
        }
    }

    /// Lets go of a coroutine that the peer has been told of when that ends. Without a session
    /// with its node nobody would tell, and nothing is begun for it.
    fn heed_passed(&self, id: (NodeId, u64), epoch: u64) {
        let Some(owner) = self.node.present_peer(id.0) else {
            return;
        };
        let peer = self.weak();
        let ended = Box::new(move |_| {
            if let Some(peer) = peer.upgrade() {
                let mut state = peer.lock();
                let kept = state.is_in(epoch).then(|| state.passed.remove(&id));
                drop(state);
                drop(kept);
            }
        });
        let number = owner.with(|state| {
            state.input(Input::Wake);
            let session = state.session.as_mut().filter(|session| session.is_open())?;
            Some(session.heed(id.1, ended))
        });
        let Some(number) = number else { return };
        let heeding = Heeding {
            owner: owner.weak(),
            coroutine: id.1,
            number,
        };
        // Not to be dropped under the lock.
        let mut heeding = Some(heeding);
        let mut state = self.lock();
        if state.is_in(epoch)
            && let Some(kept) = state.passed.get_mut(&id)
        {
            mem::swap(&mut kept.heeding, &mut heeding);
        }
        drop(state);
        drop(heeding);
    }

    /// Nobody here wants to be told of the end of a coroutine any more: false if he has been.
    pub(crate) fn unwatch(&self, coroutine: u64, number: u64) -> bool {
        let watcher = self.with(|state| {
            let session = state.session.as_mut()?;
            session.unwatch(coroutine, number)
        });
        watcher.is_some()
    }

    /// Asks the peer for a sign of life; the number of the question.
    pub(crate) fn ping(&self, waiter: Pinged) -> Result<u64, CarryError> {
        // Makes a session and a link, if it takes that.
        self.reach(|_, _| ())?;
        self.with(|state| {
            state.input(Input::Wake);
            let session = state.session.as_mut().filter(|session| session.is_open());
            let number = session.map(Session::ping).ok_or_else(|| {
                let why = format!("{}: the link has just ended", state.location);
                CarryError::Disconnected(Box::new(why))
            })?;
            state.pings.insert(number, waiter);
            Ok(number)
        })
    }

    /// Nobody waits for the answer any more, or it has come.
    pub(crate) fn forget_ping(&self, number: u64) {
        let waiter = self.with(|state| {
            if let Some(session) = &mut state.session {
                session.forget_ping(number);
            }
            state.pings.remove(&number)
        });
        drop(waiter);
    }

    /// The peer wants to be told of the end of a coroutine.
    pub(crate) fn watched(
        &self,
        epoch: u64,
        coroutine: u64,
        number: u64,
        heeds: bool,
        tell: Watcher,
    ) {
        let not_watched = self.with(|state| {
            if !state.is_in(epoch) {
                return None;
            }
            let exports = &self.node.exports;
            let watched = exports.watch(coroutine, self.id, number, heeds, tell);
            watched.err()
        });
        if let Some((tell, exit)) = not_watched {
            tell(exit);
        }
    }

    /// How many of the peer's coroutines there are handles of, how many of their ends are waited
    /// for, and how many others the peer has been told of; then how many bytes are kept for the
    /// peer, and how many of its bytes no coroutine has taken.
    pub(crate) fn tables(&self) -> [usize; 5] {
        let state = self.lock();
        let session = state.session.as_ref();
        [
            state.imports.len(),
            session.map_or(0, Session::watching),
            state.passed.len(),
            session.map_or(0, Session::kept),
            state.course.as_ref().map_or(0, |it| it.inflow.total()),
        ]
    }
}

/// A handle of a coroutine of another node, of which a peer has been told.
pub(super) struct KeptPassed {
    carrier: Arc<dyn Carrier>,
    heeding: Option<Heeding>,
}

impl KeptPassed {
    /// One whose end nobody tells.
    pub(super) fn unheeded(carrier: Arc<dyn Carrier>) -> Self {
        KeptPassed {
            carrier,
            heeding: None,
        }
    }
}

/// The end of a coroutine is told, as long as there is this.
struct Heeding {
    owner: Weak<Peer>,
    coroutine: u64,
    number: u64,
}

impl Drop for Heeding {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            owner.unwatch(self.coroutine, self.number);
        }
    }
}

impl State {
    /// Whether this session goes on.
    pub(super) fn is_in(&self, epoch: u64) -> bool {
        self.epoch == epoch && self.session.as_ref().is_some_and(Session::is_open)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coros_core::remote::{OnExit, RESERVED, RemoteId};
    use coros_core::{Address, Context, Exit};
    use tokio::sync::oneshot;

    use super::*;
    use crate::peer::tasks::tests::linked;

    /// More than may wait to be released.
    const CROWD: u64 = (1 << 20) + 1;

    #[tokio::test(start_paused = true)]
    async fn whoever_keeps_many_handles_may_drop_them_at_once() {
        let (_nodes, peer, _link) = linked().await;
        let epoch = peer.lock().epoch;
        let kept: Vec<_> = (0..CROWD).map(|n| peer.import(RESERVED + n)).collect();
        drop(kept);
        assert!(peer.lock().is_in(epoch));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(peer.lock().is_in(epoch), "nor does the peer mind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_names_without_end_and_does_not_read_is_refused() {
        let (_nodes, peer, _link) = linked().await;
        let epoch = peer.lock().epoch;
        for n in 0..CROWD + 1 {
            assert!(peer.lock().is_in(epoch));
            drop(peer.import(RESERVED + n));
        }
        assert!(!peer.lock().is_in(epoch));
    }

    #[tokio::test(start_paused = true)]
    async fn one_watch_too_many_is_refused_and_no_other() {
        let minute = Duration::from_secs(60);
        let (nodes, peer, _link) = linked().await;
        let epoch = peer.lock().epoch;
        let coro = coros_core::spawn(async |mut me: Context<()>| me.receive().await);
        let bytes = nodes[1].encode(&coro.address()).expect("it can travel");
        let remote: Address<()> = nodes[0].decode(&bytes).expect("it is one");
        let id = RemoteId {
            location: nodes[1].location(),
            coroutine: coro.id(),
        };
        let (first, mut ended) = oneshot::channel();
        drop(peer.watch(&id, Box::new(|exit| drop(first.send(exit)))));
        let mut last = None;
        for _ in 1..wire::MAX_WATCHES {
            last = peer.watch(&id, Box::new(|_| ()));
        }
        let refused = tokio::time::timeout(minute, remote.exit()).await;
        assert_eq!(refused, Ok(Exit::Unwatched));
        let told_soon = async |exit: oneshot::Receiver<Exit>| {
            let told = tokio::time::timeout(minute, exit).await;
            told.expect("in time").expect("it is told")
        };

        // Whoever does not count himself is refused by the other side.
        let (tell, told) = oneshot::channel();
        let tell: OnExit = Box::new(|exit| drop(tell.send(exit)));
        peer.with(|state| {
            let session = state.session.as_mut().expect("it has one");
            assert!(!session.may_watch());
            session.watch(id.coroutine, tell);
        });
        assert_eq!(told_soon(told).await, Exit::Unwatched);
        assert!(peer.lock().is_in(epoch), "the session goes on");
        assert!(ended.try_recv().is_err());

        let unwatch = last.expect("it is watched");
        assert!(unwatch());
        let watched = remote.exit();
        tokio::pin!(watched);
        let early = tokio::time::timeout(Duration::ZERO, &mut watched).await;
        assert!(early.is_err(), "it runs");
        remote.send(()).expect("there is room");
        let finished = tokio::time::timeout(minute, watched).await;
        assert_eq!(finished, Ok(Exit::Finished));
        assert_eq!(told_soon(ended).await, Exit::Finished);
    }
}
