//! Whose turn it is among those who are looked for.
//!
//! Who can be dialled stands in one of two queues, by [`Rank`], in the order in which all came: whoever goes over to
//! the other has there the place of one who never was elsewhere. So whoever stands beside N others waits for one turn
//! of each at most, whoever comes after him.
//!
//! Who cannot be dialled yet has a time at which that is looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Whoever answered the last time: before all others.
    Answered,
    Other,
}

#[derive(Debug)]
pub(super) struct Turns<W> {
    stands: BTreeMap<W, Stand>,
    /// By the number of their arrival.
    queues: [BTreeMap<u64, W>; 2],
    arrivals: u64,
    waiting: BTreeSet<(Instant, W)>,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, Default)]
struct Stand {
    queued: Option<(Rank, u64)>,
    waits: Option<Instant>,
}

impl<W: Copy + Ord> Turns<W> {
    pub(super) fn new() -> Self {
        Turns {
            stands: BTreeMap::new(),
            queues: Default::default(),
            arrivals: 0,
            waiting: BTreeSet::new(),
        }
    }

    /// As what somebody waits for his turn, if he does, and when that is to be looked at again.
    pub(super) fn set(&mut self, who: W, rank: Option<Rank>, waits: Option<Instant>) {
        let before = self.stands.remove(&who).unwrap_or_default();
        if let Some(at) = before.waits {
            self.waiting.remove(&(at, who));
        }
        self.waiting.extend(waits.map(|at| (at, who)));
        let mut queued = before.queued;
        if queued.map(|(rank, _)| rank) != rank {
            if let Some((rank, number)) = queued {
                self.queues[rank as usize].remove(&number);
            }
            let number = queued.map(|(_, number)| number);
            queued = rank.map(|rank| {
                let number = number.unwrap_or_else(|| {
                    self.arrivals += 1;
                    self.arrivals
                });
                self.queues[rank as usize].insert(number, who);
                (rank, number)
            });
        }
        if queued.is_some() || waits.is_some() {
            self.stands.insert(who, Stand { queued, waits });
        }
    }

    /// Somebody whose time has come.
    pub(super) fn due(&self, now: Instant) -> Option<W> {
        let (at, who) = self.waiting.first()?;
        (*at <= now).then_some(*who)
    }

    /// Whose turn it is. It stays his until he is [`set`](Turns::set) anew.
    pub(super) fn next(&self) -> Option<W> {
        let first = self.queues.iter().find_map(BTreeMap::first_key_value);
        first.map(|(_, who)| *who)
    }

    pub(super) fn is_anybodys(&self) -> bool {
        self.queues.iter().any(|queue| !queue.is_empty())
    }

    /// When the first time comes.
    pub(super) fn first(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at)
    }
}
