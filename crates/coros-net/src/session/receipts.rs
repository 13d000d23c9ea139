//! What has come from the peer in a session, what of it has been taken out of mailboxes, and what
//! the peer has been told of that.
//!
//! The peer keeps what it has sent until it is told, and sends no more than a window beyond what
//! it knows to be taken; so it is told whenever something is written anyway, after so many bytes,
//! and after some time. A thousand mailboxes that are emptied one after the other are one write.
//! All this is sans-io.

use std::time::{Duration, Instant};

use crate::outbox::Counts;
use crate::wire::WINDOW;

/// The peer is told after so many bytes, unless it can only keep less than four times as many.
const EVERY: usize = 256 << 10;
/// It is told at once of so much that one coroutine has taken: perhaps it waits for that.
const CREDIT: usize = WINDOW / 4;

#[derive(Debug)]
pub(super) struct Receipts {
    counts: Counts,
    told: Counts,
    bytes: usize,
    every: usize,
    /// What coroutines have taken that the peer has not been told.
    credits: Vec<(u64, usize)>,
    /// As many bytes.
    credited: usize,
    /// It is told at once of so much.
    most_credited: usize,
    patience: Duration,
    /// When to tell the peer at the latest.
    due: Option<Instant>,
    must_tell: bool,
}

impl Receipts {
    /// The peer is told after `patience` at the latest; it may have `limit` bytes in mailboxes here.
    pub(super) fn new(patience: Duration, limit: usize) -> Self {
        Receipts {
            counts: [0; 2],
            told: [0; 2],
            bytes: 0,
            every: EVERY,
            credits: Vec::new(),
            credited: 0,
            most_credited: limit.max(WINDOW) / 8,
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
        self.must_tell = !self.credits.is_empty();
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

    /// A coroutine has taken so many bytes out of its mailbox.
    pub(super) fn credit(&mut self, now: Instant, target: u64, bytes: usize) {
        self.credits.push((target, bytes));
        self.credited += bytes;
        self.due.get_or_insert(now + self.patience);
        self.must_tell |= bytes >= CREDIT || self.credited >= self.most_credited;
    }

    /// How often coroutines have taken something that the peer has not been told.
    pub(super) fn credits(&self) -> usize {
        self.credits.len()
    }

    /// What coroutines have taken, to be told as something is written now.
    pub(super) fn tell_credits(&mut self) -> Vec<(u64, usize)> {
        self.credited = 0;
        std::mem::take(&mut self.credits)
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

    /// What has come, to be told as something is written now, if there is anything new.
    pub(super) fn tell(&mut self) -> Option<Counts> {
        let is_new = self.counts != self.told;
        self.told();
        is_new.then_some(self.counts)
    }

    fn told(&mut self) {
        self.told = self.counts;
        self.bytes = 0;
        self.due = None;
        self.must_tell = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn what_a_thousand_mailboxes_gave_back_is_told_in_one_go() {
        let now = Instant::now();
        let mut receipts = Receipts::new(PATIENCE, 64 << 20);
        for target in 0..1000 {
            receipts.credit(now, target, 100);
        }
        assert!(!receipts.must_tell(), "that can wait");
        assert_eq!(
            receipts.deadline(),
            Some(now + PATIENCE),
            "but not for ever"
        );
        receipts.timeout(now + PATIENCE);
        assert!(receipts.must_tell());
        assert_eq!(receipts.tell_credits().len(), 1000);
        assert_eq!(receipts.tell(), None, "nothing has come");
        assert_eq!((receipts.must_tell(), receipts.deadline()), (false, None));
    }

    #[test]
    fn whoever_may_wait_for_it_is_told_at_once() {
        let now = Instant::now();
        let mut receipts = Receipts::new(PATIENCE, 64 << 20);
        receipts.credit(now, 1, CREDIT);
        assert!(receipts.must_tell(), "by one coroutine");

        // In all; a peer that may have little here is told the sooner.
        for limit in [0, 64 << 20] {
            let mut receipts = Receipts::new(PATIENCE, limit);
            let mut told = 0;
            while !receipts.must_tell() {
                receipts.credit(now, told, 1000);
                told += 1;
            }
            let eighth = limit.max(WINDOW) / 8;
            assert_eq!(told, eighth.div_ceil(1000) as u64);
        }
    }

    #[test]
    fn what_was_not_told_is_told_over_the_next_link() {
        let now = Instant::now();
        let mut receipts = Receipts::new(PATIENCE, 64 << 20);
        receipts.credit(now, 1, 100);
        receipts.linked(64 << 20);
        assert!(receipts.must_tell());
        assert_eq!(receipts.tell_credits(), [(1, 100)]);
    }
}
