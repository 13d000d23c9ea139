//! What the receiving process has counted: how many messages, and the sum of what they bring.

use std::sync::atomic::{AtomicU64, Ordering};

/// Mailboxes that messages are spread over.
pub(crate) const MAILBOXES: usize = 1_000;

/// Counts in a place of its own for each mailbox, so that mailboxes do not contend for one.
pub(crate) struct Tally(Vec<Counter>);

/// Two of them never share a cache line.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Counter {
    count: AtomicU64,
    sum: AtomicU64,
}

impl Tally {
    /// The process is a benchmark's and ends soon: a leak makes each mailbox's part of it one word.
    pub(crate) fn leak() -> &'static Self {
        let counters = (0..MAILBOXES).map(|_| Counter::default());
        Box::leak(Box::new(Tally(counters.collect())))
    }

    pub(crate) fn counters(&'static self) -> impl Iterator<Item = &'static Counter> {
        self.0.iter()
    }

    /// How many messages have come so far, and their sum.
    pub(crate) fn total(&self) -> (u64, u64) {
        let add = |(count, sum), counter: &Counter| {
            let count = count + counter.count.load(Ordering::Acquire);
            (count, sum + counter.sum.load(Ordering::Relaxed))
        };
        self.0.iter().fold((0, 0), add)
    }
}

impl Counter {
    /// Called by the one mailbox that it belongs to.
    pub(crate) fn add(&self, n: u64) {
        let sum = self.sum.load(Ordering::Relaxed) + n;
        self.sum.store(sum, Ordering::Relaxed);
        let count = self.count.load(Ordering::Relaxed) + 1;
        self.count.store(count, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_that_of_all_mailboxes() {
        let tally = Tally::leak();
        for (n, counter) in tally.counters().enumerate() {
            counter.add(n as u64);
            counter.add(1);
        }
        assert_eq!(tally.total(), (2_000, 500_500));
    }
}
