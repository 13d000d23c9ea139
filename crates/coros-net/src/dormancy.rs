//! What happens while a session is dormant: it is kept for its next use, though perhaps nobody
//! here has an address of the peer any more.
//!
//! Without a link nobody sees a peer die. The membership tells of its members; of all others a
//! link is made now and then, which shows whether they are there. So a peer that has gone without
//! a word is not kept for ever, nor what it was told of.

use std::sync::Arc;

use crate::peer::Peer;

/// A link is made after so many times of what makes a link idle.
const PERIODS: u32 = 20;

/// Keeps a peer until its session is not dormant any more.
pub(crate) fn spawn(peer: Arc<Peer>) {
    let node = Arc::clone(peer.node());
    let limit = node.config.timing.idle.saturating_mul(PERIODS);
    let keeping = async move {
        loop {
            tokio::select! {
                biased;
                () = peer.awake() => return,
                () = tokio::time::sleep(limit) => {}
            }
            let membership = peer.node().membership.as_ref();
            if !membership.is_some_and(|membership| membership.has(peer.id())) {
                peer.doubt();
            }
        }
    };
    node.tasks.spawn_on(keeping, &node.runtime);
}
