//! How many coroutines of one function run, and for whom: plain state.

use std::collections::HashMap;
use std::fmt;

use coros_core::remote::NodeId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) per_peer: usize,
}

/// As many coroutines of a function run as may: try again when one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LimitReached {
    /// In all.
    All {
        /// So many may run at once.
        limit: usize,
    },
    /// Started by the node that asks for one more.
    PerPeer {
        /// So many of one peer may run at once.
        limit: usize,
    },
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitReached::All { limit } => write!(
                f,
                "{limit} run, as many as may at once: try again when one has ended, or raise \
                 `Offer::limit` there"
            ),
            LimitReached::PerPeer { limit } => write!(
                f,
                "{limit} of this node run, as many as may at once for one: try again when one has \
                 ended, or raise `Offer::per_peer` there"
            ),
        }
    }
}

/// What runs now.
#[derive(Debug)]
pub(super) struct Running {
    limits: Limits,
    all: usize,
    /// Of peers with at least one.
    by_peer: HashMap<NodeId, usize>,
}

impl Running {
    pub(super) fn new(limits: Limits) -> Self {
        Running {
            limits,
            all: 0,
            by_peer: HashMap::new(),
        }
    }

    /// One more for a peer, or for this process; [`leave`](Running::leave) must follow.
    pub(super) fn enter(&mut self, from: Option<NodeId>) -> Result<(), LimitReached> {
        let Limits { all, per_peer } = self.limits;
        if self.all >= all {
            return Err(LimitReached::All { limit: all });
        }
        if let Some(peer) = from {
            let running = self.by_peer.get(&peer).copied().unwrap_or(0);
            if running >= per_peer {
                return Err(LimitReached::PerPeer { limit: per_peer });
            }
            self.by_peer.insert(peer, running + 1);
        }
        self.all += 1;
        Ok(())
    }

    /// One has ended.
    pub(super) fn leave(&mut self, from: Option<NodeId>) {
        self.all -= 1;
        let Some(peer) = from else { return };
        if let Some(running) = self.by_peer.get_mut(&peer) {
            *running -= 1;
            if *running == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_nothing_is_left_of_a_peer_without_coroutines() {
        let mut running = Running::new(Limits {
            all: 3,
            per_peer: 2,
        });
        let [one, two] = [NodeId(1), NodeId(2)].map(Some);
        running.enter(one).unwrap();
        running.enter(one).unwrap();
        let error = running.enter(one).unwrap_err();
        assert_eq!(error, LimitReached::PerPeer { limit: 2 });
        running.enter(None).unwrap();
        let error = running.enter(two).unwrap_err();
        assert_eq!(error, LimitReached::All { limit: 3 });
        assert_eq!(running.enter(None), Err(LimitReached::All { limit: 3 }));
        running.leave(one);
        running.enter(two).unwrap();
        for from in [one, two, None] {
            running.leave(from);
        }
        assert_eq!((running.all, running.by_peer.len()), (0, 0));
    }
}
