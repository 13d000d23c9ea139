//! What happens while a session has no link because one has broken: the peer is dialled again
//! and again, until there is a link, whoever made it, or the session's time is over, or it is
//! clear that the peer is no more.
//!
//! That is clear when its system refuses a dial. Of a peer that listens nowhere nobody can ask, and
//! the end of its connection shows nothing: a process that dies closes it, and so do a proxy that
//! restarts and a router that has forgotten whose it is. The peer itself learns of the latter
//! perhaps only by silence, and then has to get through. So all of the session's time is its own to
//! dial in: it loses nothing by a reset if somebody listens where it dials, and its death is known that
//! much later. (A peer that is
//! said to listen, and is not there, gets less: a refusal says more than none.)

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::NodeId;

use crate::greeting;
use crate::peer::Peer;
use crate::rendezvous::Ticket;

/// The first pause after an attempt that failed; each is twice as long as the one before.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// How long an attempt may take: where packets are lost a new one may get through sooner.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Minds the break of this number.
pub(crate) fn spawn(peer: Arc<Peer>, number: u64) {
    let node = Arc::clone(peer.node());
    let mending = async move {
        while let Some(until) = peer.away_until(number) {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until.into()) => peer.away_timeout(number),
                () = dial(&peer, number) => {}
            }
        }
    };
    node.tasks.spawn_on(mending, &node.runtime);
}

/// Dials as long as it is of use; waits for a peer that can only dial itself. An attempt is not broken off
/// when that is over: the peer may have a link by it already, and is to hear why that ends.
async fn dial(peer: &Arc<Peer>, number: u64) {
    if peer.location().endpoint.is_none() {
        return peer.mended(number).await;
    }
    let limit = ATTEMPT.min(peer.node().config.handshake);
    let mut pause = FIRST;
    while peer.redial_begins(number) {
        let ticket = greeting::dial_again(peer, number, limit).await;
        let pausing = pause.mul_f64(jitter(peer.node().location.node, ticket));
        tokio::select! {
            biased;
            () = peer.mended(number) => return,
            () = tokio::time::sleep(pausing) => {}
        }
        pause = LONGEST.min(pause * 2);
    }
}

/// Between a half and one, so that not all who have lost a node dial it at the same moment. From the node's own numbers, which in a simulation come from the seed.
fn jitter(node: NodeId, ticket: Ticket) -> f64 {
    let mut mixed = (node.0 as u64 ^ (node.0 >> 64) as u64).wrapping_add(ticket.0);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    0.5 + 0.5 * ((mixed >> 32) as f64 / f64::from(u32::MAX))
}
