//! Who may work at how many operations at a time: so many for each peer, so many for all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use coros_core::remote::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Operations of one peer at a time; those beyond wait, in the order in which they came.
pub(super) const EACH: usize = 8;

/// Hands out turns.
pub(super) struct Turns {
    all: Semaphore,
    peers: Mutex<HashMap<NodeId, Weak<Peer>>>,
}

struct Peer {
    turns: Arc<Semaphore>,
    entered: AtomicUsize,
}

/// A peer that is there, with as many others of the same as it has connections.
pub(super) struct Entered(Arc<Peer>);

/// The right to work at an operation.
pub(super) struct Turn<'a> {
    _of_all: SemaphorePermit<'a>,
    _of_peer: OwnedSemaphorePermit,
}

impl Turns {
    pub(super) fn new(all: usize) -> Self {
        Turns {
            all: Semaphore::new(all),
            peers: Mutex::default(),
        }
    }

    /// Counts a peer in, unless it is there `most` times already.
    pub(super) fn enter(&self, peer: NodeId, most: usize) -> Option<Entered> {
        let peer = self.peer(peer);
        let before = peer.entered.fetch_add(1, Ordering::Relaxed);
        // Counted out again when dropped.
        let entered = Entered(peer);
        (before < most).then_some(entered)
    }

    /// Waits for a turn.
    ///
    /// Cancel safe: whoever stops waiting loses its place in the queue, nothing else.
    pub(super) async fn turn(&self, entered: &Entered) -> Turn<'_> {
        let turns = Arc::clone(&entered.0.turns);
        // That of the peer first: who has many waiting does not keep others from theirs.
        let of_peer = turns.acquire_owned().await;
        let of_all = self.all.acquire().await;
        Turn {
            _of_peer: of_peer.expect("it is never closed"),
            _of_all: of_all.expect("it is never closed"),
        }
    }

    fn peer(&self, id: NodeId) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&id).and_then(Weak::upgrade) {
            return peer;
        }
        peers.retain(|_, peer| peer.strong_count() > 0);
        let peer = Arc::new(Peer {
            turns: Arc::new(Semaphore::new(EACH)),
            entered: AtomicUsize::new(0),
        });
        peers.insert(id, Arc::downgrade(&peer));
        peer
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        pin!(future).poll(&mut cx).is_pending()
    }

    #[tokio::test]
    async fn one_peer_does_not_take_the_turns_of_another() {
        let turns = Turns::new(EACH + 1);
        let (one, other) = (
            turns.enter(NodeId(1), 1).unwrap(),
            turns.enter(NodeId(2), 1).unwrap(),
        );
        let mut taken = Vec::new();
        for _ in 0..EACH {
            taken.push(turns.turn(&one).await);
        }
        assert!(is_pending(turns.turn(&one)), "as many as it may");
        taken.push(turns.turn(&other).await);
        assert!(is_pending(turns.turn(&other)), "as many as there are");
        taken.remove(0);
        taken.push(turns.turn(&one).await);
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let turns = Turns::new(1);
        let first = turns.enter(NodeId(1), 2).unwrap();
        let second = turns.enter(NodeId(1), 2).unwrap();
        assert!(turns.enter(NodeId(1), 2).is_none());
        drop(second);
        let again = turns.enter(NodeId(1), 2);
        assert!(again.is_some(), "the one that was refused does not count");
        drop((first, again));
        drop(turns.enter(NodeId(2), 1));
        assert_eq!(turns.peers.lock().unwrap().len(), 1);
    }
}
