//! How far those who send may be ahead of the writer of a link.
//!
//! Sending takes no turn of the scheduler's, so senders that are given room for as long as there is
//! memory keep the tasks of the link from running, and the peer hears nothing. They also fill memory
//! faster than any cache.
//!
//! Only what they send counts, and what waits in front of it. Answers may keep coming as long as the
//! peer asks: if they counted, those who send would never have a turn.
//!
//! Sans-io.

use crate::wire;

/// As many bytes of senders may wait for the writer: as much as may be on its way to one coroutine,
/// so that nobody gets less for that.
const MOST: usize = wire::WINDOW;
/// When senders that had to wait for the writer go on: it still has something to write, and those
/// who have waited send more than one message each before they wait again.
const RESUME: usize = MOST / 4;

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Pace {
    /// No more bytes of senders wait for the writer.
    waiting: usize,
    /// Where the last of them are, in bytes of all messages that were ever queued.
    last: u64,
    /// As many waited as may, and little enough has been taken since.
    full: bool,
}

impl Pace {
    /// A message has been queued, and ends there.
    pub(super) fn queued(&mut self, length: usize, end: u64) {
        self.waiting += length;
        self.last = end;
        self.full |= self.waiting >= MOST;
    }

    /// The writer has taken all up to there.
    pub(super) fn taken(&mut self, end: u64) {
        let ahead = usize::try_from(self.last.saturating_sub(end)).unwrap_or(usize::MAX);
        self.waiting = self.waiting.min(ahead);
        self.full &= self.waiting > RESUME;
    }

    /// Whether senders have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_goes_on_when_most_has_been_taken() {
        let mut pace = Pace::default();
        let mut end = 0;
        while !pace.is_full() {
            end += 1000;
            pace.queued(1000, end);
        }
        assert_eq!(end, MOST.next_multiple_of(1000) as u64);
        pace.taken(end - RESUME as u64 - 1);
        assert!(pace.is_full());
        pace.taken(end - RESUME as u64);
        assert!(!pace.is_full());
        // As much more as has been taken.
        pace.queued(MOST - RESUME - 1, end + (MOST - RESUME - 1) as u64);
        assert!(!pace.is_full());
        pace.queued(1, end + (MOST - RESUME) as u64);
        assert!(pace.is_full());
    }

    #[test]
    fn what_others_queue_counts_only_while_it_is_in_front() {
        let mut pace = Pace::default();
        let others = 100 * MOST as u64;
        pace.queued(MOST, others + MOST as u64);
        pace.taken(others);
        assert!(pace.is_full());
        // However much there is behind.
        pace.taken(others + (MOST - RESUME) as u64);
        assert!(!pace.is_full());
    }
}
