//! Whether anybody uses a link.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Idle {
    limit: Duration,
    /// Somebody has used the link since the last look at the time.
    used: bool,
    /// When that was found last.
    since: Instant,
    /// When to think of closing the link; never, if it is to be kept.
    next: Option<Instant>,
    is_idle: bool,
    /// The peer has asked to close the link, and may: also if it is used meanwhile, which the peer
    /// cannot know. Since when.
    agreed: Option<Instant>,
}

impl Idle {
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Idle {
            limit,
            used: true,
            since: now,
            next: None,
            is_idle: false,
            agreed: None,
        }
    }

    pub(super) fn used(&mut self) {
        // Each message comes here: what is so already is not written, and so not taken from other cores.
        if !self.used || self.is_idle {
            self.used = true;
            self.is_idle = false;
        }
    }

    /// There is a new link.
    pub(super) fn linked(&mut self) {
        self.used();
        self.agreed = None;
    }

    /// The peer has done something that shows that it does not close the link, though it might.
    pub(super) fn stays(&mut self) {
        self.agreed = None;
    }

    /// Looks at the time: whether to think of closing the link, again after every half of the
    /// limit.
    pub(super) fn timeout(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.used) {
            self.since = now;
            self.next = now.checked_add(self.limit);
        }
        // The peer that asks has looked at the time at other moments.
        self.is_idle = now - self.since >= self.limit - self.limit / 4;
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            self.next = now.checked_add(self.limit / 2);
        }
        due
    }

    /// Whether the link may be closed if the peer says so.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    pub(super) fn agree(&mut self, now: Instant) {
        self.agreed = Some(now);
    }

    /// Whether a link that ends now does so as agreed: not long ago, since a peer that closes does it
    /// at once, and one that stays may have nothing to say that shows it.
    pub(super) fn has_agreed(&self, now: Instant, silence: Duration) -> bool {
        self.agreed.is_some_and(|at| now < at + silence)
    }
}
