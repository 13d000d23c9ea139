//! What has come from the peer in a session, and what it has been told of that.
//!
//! The peer keeps what it has sent until it is told, so it is told whenever something is written
//! anyway, after so many bytes, and after some time. All this is sans-io.

use std::time::{Duration, Instant};

use crate::outbox::Counts;

/// The peer is told after so many bytes, unless it can only keep less than four times as many.
const EVERY: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Receipts {
    counts: Counts,
    told: Counts,
    bytes: usize,
    every: usize,
    patience: Duration,
    /// When to tell the peer at the latest.
    due: Option<Instant>,
    must_tell: bool,
}

impl Receipts {
    pub(super) fn new(patience: Duration) -> Self {
        Receipts {
            counts: [0; 2],
            told: [0; 2],
            bytes: 0,
            every: EVERY,
            patience,
            due: None,
            must_tell: false,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// There is a new link, at the beginning of which the peer was told. It keeps at most
    /// `capacity` bytes.
    pub(super) fn linked(&mut self, capacity: u64) {
        let fourth = usize::try_from(capacity / 4).unwrap_or(usize::MAX);
        self.every = EVERY.min(fourth);
        self.told();
    }

    /// So many more frames have come.
    pub(super) fn came(&mut self, now: Instant, counts: Counts, bytes: usize) {
        if counts == [0; 2] {
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(counts) {
            *count += more;
        }
        self.bytes += bytes;
        self.due.get_or_insert(now + self.patience);
        self.must_tell |= self.bytes >= self.every;
    }

    /// When the time comes to tell the peer, if it has not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| !self.must_tell)
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.must_tell |= self.due.is_some_and(|due| due <= now);
    }

    /// Whether the peer is to be told now.
    pub(super) fn must_tell(&self) -> bool {
        self.must_tell
    }

    /// What to tell the peer, as something is written now, if there is anything new.
    pub(super) fn tell(&mut self) -> Option<Counts> {
        (self.counts != self.told).then(|| {
            self.told();
            self.counts
        })
    }

    fn told(&mut self) {
        self.told = self.counts;
        self.bytes = 0;
        self.due = None;
        self.must_tell = false;
    }
}
