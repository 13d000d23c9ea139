//! What ends with the session of a peer: plain state.

use std::collections::BTreeMap;

use coros_core::remote::NodeId;

/// Ends one coroutine.
pub(super) type Terminate = Box<dyn FnOnce() + Send>;

/// The coroutines that peers have started and that end with their sessions.
#[derive(Default)]
pub(super) struct Linked {
    /// In the order in which they were started.
    by_peer: BTreeMap<NodeId, BTreeMap<u64, Terminate>>,
}

impl Linked {
    pub(super) fn add(&mut self, peer: NodeId, coroutine: u64, terminate: Terminate) {
        let coroutines = self.by_peer.entry(peer).or_default();
        coroutines.insert(coroutine, terminate);
    }

    /// One has ended.
    pub(super) fn remove(&mut self, peer: NodeId, coroutine: u64) -> Option<Terminate> {
        let coroutines = self.by_peer.get_mut(&peer)?;
        let removed = coroutines.remove(&coroutine);
        if coroutines.is_empty() {
            self.by_peer.remove(&peer);
        }
        removed
    }

    /// The session with a peer has ended: what ends with it.
    pub(super) fn take(&mut self, peer: NodeId) -> impl Iterator<Item = Terminate> + use<> {
        let coroutines = self.by_peer.remove(&peer).unwrap_or_default();
        coroutines.into_values()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_has_not_ended_by_itself_ends_with_its_own_peer() {
        let (tell, ended) = mpsc::channel();
        let mut linked = Linked::default();
        for (peer, coroutine) in [(1, 10), (2, 20), (1, 11), (1, 12)] {
            let tell = tell.clone();
            let terminate = Box::new(move || tell.send(coroutine).unwrap());
            linked.add(NodeId(peer), coroutine, terminate);
        }
        assert!(linked.remove(NodeId(1), 11).is_some());
        assert!(linked.remove(NodeId(1), 11).is_none());
        linked.take(NodeId(1)).for_each(|terminate| terminate());
        assert_eq!(ended.try_iter().collect::<Vec<_>>(), [10, 12]);
        assert!(linked.remove(NodeId(2), 20).is_some());
        assert!(linked.by_peer.is_empty());
    }
}
