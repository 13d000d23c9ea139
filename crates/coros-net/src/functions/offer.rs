//! How a function is offered.

use std::fmt;

use super::limits::Limits;

/// How a function is offered; see [`Node::offer_with`](crate::Node::offer_with).
#[derive(Clone)]
#[must_use = "options are for `offer_with`"]
pub struct Offer {
    pub(super) limits: Limits,
    pub(super) capacity: Option<usize>,
    pub(super) linked: bool,
}

impl Offer {
    /// As [`Node::offer`](crate::Node::offer): at most 16,384 coroutines at once, at most 4,096 of
    /// them for one peer, mailboxes without a bound, and each ends with the session of the peer
    /// that has started it.
    pub fn new() -> Self {
        Offer {
            limits: Limits {
                all: 16_384,
                per_peer: 4_096,
            },
            capacity: None,
            linked: true,
        }
    }

    /// How many coroutines of this function may run at once, by whomever they were started, this
    /// process included. One more is refused, with
    /// [`NotStarted::Limit`](crate::NotStarted::Limit).
    pub fn limit(mut self, coroutines: usize) -> Self {
        self.limits.all = coroutines;
        self
    }

    /// How many of them may have been started by any one peer.
    pub fn per_peer(mut self, coroutines: usize) -> Self {
        self.limits.per_peer = coroutines;
        self
    }

    /// Bounds the mailbox of each, as [`coros_core::Builder::capacity`].
    ///
    /// # Panics
    /// When it is zero, or more than `usize::MAX >> 3`.
    pub fn capacity(mut self, messages: usize) -> Self {
        // The same check, at once and not when a peer starts the first.
        let _ = coros_core::build().capacity(messages);
        self.capacity = Some(messages);
        self
    }

    /// Whether a coroutine is [terminated](coros_core::Address::terminate), with its grace period,
    /// when the session with the peer that has started it ends, so that nothing runs on and counts
    /// against the limits for a peer that is gone. True by default.
    ///
    /// With false it goes on until it ends by itself or somebody terminates it; its result is lost.
    pub fn linked(mut self, linked: bool) -> Self {
        self.linked = linked;
        self
    }
}

impl Default for Offer {
    fn default() -> Self {
        Offer::new()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("limit", &self.limits.all)
            .field("per_peer", &self.limits.per_peer)
            .field("capacity", &self.capacity)
            .field("linked", &self.linked)
            .finish()
    }
}
