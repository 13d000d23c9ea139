//! The pings whose answers somebody waits for.
//!
//! The time of a round trip runs from when the writer takes the ping: how long it took until there
//! was a link is none of it. A ping that was lost with its link is written again to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Pings {
    /// Those that have been written, and when; `None` for those that wait for the writer.
    times: BTreeMap<u64, Option<Instant>>,
}

impl Pings {
    pub(super) fn ask(&mut self, number: u64) {
        self.times.insert(number, None);
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.times.remove(&number);
    }

    /// The numbers of those that are to be written, which they are now.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = u64> {
        let waiting = self.times.iter_mut().filter(|(_, sent)| sent.is_none());
        waiting.map(move |(number, sent)| {
            *sent = Some(now);
            *number
        })
    }

    /// What was written went to a link that is gone.
    pub(super) fn linked(&mut self) {
        self.times.values_mut().for_each(|sent| *sent = None);
    }

    /// An answer has come: how long it took, if it is one to a question.
    pub(super) fn answered(&mut self, now: Instant, number: u64) -> Option<Duration> {
        let sent = (*self.times.get(&number)?)?;
        self.times.remove(&number);
        Some(now.saturating_duration_since(sent))
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.times.values().any(Option::is_none)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_there_and_back_counts() {
        let (mut pings, begun) = (Pings::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        pings.ask(1);
        assert!(pings.has_waiting());
        assert_eq!(pings.answered(at(1), 1), None, "it has not been sent");
        assert_eq!(pings.take(at(5)).collect::<Vec<_>>(), [1]);
        assert!(!pings.has_waiting());
        assert_eq!(pings.take(at(6)).count(), 0);
        assert_eq!(pings.answered(at(9), 2), None, "nobody has asked that");
        assert_eq!(pings.answered(at(9), 1), Some(Duration::from_millis(4)));
        assert_eq!(pings.answered(at(9), 1), None, "once is enough");
        assert!(pings.is_empty());
    }

    #[test]
    fn what_is_lost_with_a_link_is_asked_again() {
        let (mut pings, begun) = (Pings::default(), Instant::now());
        pings.ask(1);
        pings.ask(2);
        pings.take(begun).count();
        pings.forget(2);
        pings.linked();
        let later = begun + Duration::from_secs(3);
        assert_eq!(pings.take(later).collect::<Vec<_>>(), [1]);
        assert_eq!(pings.answered(later, 1), Some(Duration::ZERO));
    }
}
