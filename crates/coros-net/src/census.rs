//! How much a node keeps: for tests that look for what is never given back.
//!
//! Each count is taken by itself, so together they are no snapshot while things happen.

use crate::Node;

/// What a node has in its tables, and how many tasks it has.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Peers that somebody has an address of, or that there is a link with.
    pub peers: usize,
    /// Those of them with a session.
    pub sessions: usize,
    /// Coroutines that peers have been told of.
    pub exports: usize,
    /// Ends of coroutines that peers wait for.
    pub watches: usize,
    /// Coroutines of peers that there are handles of.
    pub imports: usize,
    /// Ends of coroutines of peers that somebody here waits for.
    pub watching: usize,
    /// Coroutines of peers that other peers have been told of.
    pub passed: usize,
    /// Bytes that are kept for peers, which wait or are not acknowledged.
    pub queued: usize,
    /// Bytes of peers' messages that no coroutine has taken.
    pub inflow: usize,
    /// Connections that have not shown yet who they are.
    pub pending: usize,
    /// Tasks that read or write a link.
    pub links: usize,
    /// All other tasks; the listener and the dispatcher of events are two.
    pub tasks: usize,
}

impl Node {
    /// Counts what the node keeps.
    #[doc(hidden)]
    #[must_use]
    pub fn census(&self) -> Census {
        let inner = self.inner();
        let peers = inner.all_peers();
        let tables = peers.iter().map(|peer| peer.tables());
        let [imports, watching, passed, queued, inflow] = tables
            .reduce(|sums, more| std::array::from_fn(|i| sums[i] + more[i]))
            .unwrap_or_default();
        Census {
            watches: inner.exports.watches(),
            imports,
            watching,
            passed,
            queued,
            inflow,
            sessions: peers.iter().filter(|peer| peer.has_session()).count(),
            peers: inner.known(),
            exports: inner.exports.len(),
            pending: inner.pending.len(),
            links: inner.links.len(),
            tasks: inner.tasks.len(),
        }
    }
}
