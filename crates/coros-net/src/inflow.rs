//! What has come from one peer, coroutine by coroutine, and has not been taken out of a mailbox.
//!
//! The peer keeps account of the same and stops at a window's bytes ([`wire::WINDOW`]), so it is
//! told when a coroutine has taken what it had: after half a window, after half of what the peer
//! may have outstanding in all, or when nothing more has come for the coroutine for a while. A
//! mailbox is only asked to tell when one of these is the case: nothing is done message by message
//! but to add up.
//!
//! What a coroutine has taken out of its mailbox and not yet received counts as taken, so one that
//! is stuck may hold two windows of each peer; and one that receives selectively, all that it leaves behind:
//! what it waits for may come after that. A peer that sends more than it may breaks the
//! protocol.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id_hash::IdHash;
use crate::wire::WINDOW;

pub(crate) struct Inflow {
    table: Mutex<Table>,
    /// What may be outstanding in all: no less than a window, since the peer sends that before it
    /// has heard anything.
    limit: usize,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry, IdHash>,
    total: usize,
}

#[derive(Default)]
struct Entry {
    /// In the mailbox, or dropped, and not given back.
    owed: usize,
    /// Here, for want of room in the mailbox.
    waiting: usize,
    /// The mailbox has been asked to tell.
    asked: bool,
    /// Since the last look at those that are idle.
    touched: bool,
}

/// The mailbox of a coroutine is to be asked to tell when it has been emptied: so much is to be
/// given back then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) target: u64,
    pub(crate) bytes: usize,
}

/// More has come for a coroutine, or in all, than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch(pub(crate) u64);

/// What has come in one go: messages for one coroutine after the other.
#[derive(Default)]
pub(crate) struct Came(Vec<Row>);

/// Messages in a row for one coroutine.
struct Row {
    target: u64,
    bytes: usize,
    /// Of the last of them.
    last: usize,
}

impl Came {
    pub(crate) fn add(&mut self, target: u64, bytes: usize) {
        match self.0.last_mut() {
            Some(row) if row.target == target => {
                row.bytes += bytes;
                row.last = bytes;
            }
            _ => self.0.push(Row::one(target, bytes)),
        }
    }
}

impl Row {
    fn one(target: u64, bytes: usize) -> Self {
        Row {
            target,
            bytes,
            last: bytes,
        }
    }
}

impl Inflow {
    pub(crate) fn new(limit: usize) -> Self {
        Inflow {
            table: Mutex::default(),
            limit: limit.max(WINDOW),
        }
    }

    /// All this has come, and is in mailboxes.
    pub(crate) fn came(&self, came: &mut Came) -> Result<Vec<Ask>, TooMuch> {
        let mut asks = Vec::new();
        if came.0.is_empty() {
            return Ok(asks);
        }
        let mut table = self.lock();
        let mut too_much = None;
        for row in came.0.drain(..) {
            let target = row.target;
            let (entry, fits) = table.add(&row, self.limit, false);
            asks.extend(entry.ask_if_half(target));
            if !fits {
                too_much.get_or_insert(TooMuch(target));
            }
        }
        if table.total >= self.limit / 2 {
            table.ask_all(&mut asks);
        }
        too_much.map_or(Ok(asks), Err)
    }

    /// A message has come and has to wait for room in its mailbox.
    pub(crate) fn waits(&self, target: u64, bytes: usize) -> Result<(), TooMuch> {
        let row = Row::one(target, bytes);
        let (_, fits) = self.lock().add(&row, self.limit, true);
        fits.then_some(()).ok_or(TooMuch(target))
    }

    /// A message that waited is in its mailbox, or has been dropped.
    pub(crate) fn entered(&self, target: u64, bytes: usize) -> Vec<Ask> {
        let mut table = self.lock();
        let mut asks = Vec::new();
        if let Some(entry) = table.entries.get_mut(&target) {
            entry.waiting -= bytes;
            entry.owed += bytes;
            entry.touched = true;
            asks.extend(entry.ask_if_half(target));
        }
        if table.total >= self.limit / 2 {
            table.ask_all(&mut asks);
        }
        asks
    }

    /// A coroutine has taken what was asked about: how much is to be given back, and whether
    /// there is more to ask for.
    pub(crate) fn taken(&self, ask: Ask) -> Option<Ask> {
        let mut table = self.lock();
        table.total -= ask.bytes;
        let entry = table.entries.get_mut(&ask.target)?;
        entry.owed -= ask.bytes;
        entry.asked = false;
        if entry.owed == 0 && entry.waiting == 0 {
            table.entries.remove(&ask.target);
            return None;
        }
        entry.ask_if_half(ask.target)
    }

    /// Asks about one coroutine, which nobody finds later.
    pub(crate) fn ask(&self, target: u64) -> Option<Ask> {
        let mut table = self.lock();
        let entry = table.entries.get_mut(&target)?;
        let bytes = entry.owed;
        let ask = bytes > 0 && !std::mem::replace(&mut entry.asked, true);
        ask.then_some(Ask { target, bytes })
    }

    /// Asks about those for which nothing has come since the last call.
    pub(crate) fn idle(&self) -> Vec<Ask> {
        let mut table = self.lock();
        let mut asks = BTreeMap::new();
        for (&target, entry) in &mut table.entries {
            let touched = std::mem::take(&mut entry.touched);
            if !touched && !entry.asked && entry.owed > 0 {
                entry.asked = true;
                asks.insert(target, entry.owed);
            }
        }
        let asks = asks.into_iter();
        asks.map(|(target, bytes)| Ask { target, bytes }).collect()
    }

    /// Bytes that no coroutine has taken.
    pub(crate) fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn ask_if_half(&mut self, target: u64) -> Option<Ask> {
        if self.asked || self.owed < WINDOW / 2 {
            return None;
        }
        self.asked = true;
        let bytes = self.owed;
        Some(Ask { target, bytes })
    }
}

impl Table {
    /// Adds to what has come for a coroutine, and whether the peer may have sent it: by the rule by
    /// which it decides, which looks at what is under way before the last message.
    fn add(&mut self, row: &Row, limit: usize, waits: bool) -> (&mut Entry, bool) {
        let entry = self.entries.entry(row.target).or_default();
        let before = row.bytes - row.last;
        let is_within = entry.owed + entry.waiting + before < WINDOW;
        let fits = is_within && self.total + before < limit;
        entry.touched = true;
        if waits {
            entry.waiting += row.bytes;
        } else {
            entry.owed += row.bytes;
        }
        self.total += row.bytes;
        (entry, fits)
    }

    fn ask_all(&mut self, asks: &mut Vec<Ask>) {
        let start = asks.len();
        for (&target, entry) in &mut self.entries {
            if entry.owed > 0 && !std::mem::replace(&mut entry.asked, true) {
                let bytes = entry.owed;
                asks.push(Ask { target, bytes });
            }
        }
        // The order of a walk through a table must not be seen.
        asks[start..].sort_unstable_by_key(|ask| ask.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(list: &[(u64, usize)]) -> Came {
        let mut came = Came::default();
        list.iter()
            .for_each(|&(target, bytes)| came.add(target, bytes));
        came
    }

    #[test]
    fn a_mailbox_is_asked_after_half_a_window_and_when_it_is_idle() {
        let inflow = Inflow::new(64 << 20);
        let half = WINDOW / 2;
        assert_eq!(
            inflow.came(&mut came(&[(1, half - 1), (2, 10)])),
            Ok(vec![])
        );
        let asks = inflow.came(&mut came(&[(1, 1)])).unwrap();
        assert_eq!(
            asks,
            [Ask {
                target: 1,
                bytes: half
            }]
        );
        // Asked once, and answered for what there was then.
        assert_eq!(inflow.came(&mut came(&[(1, half)])), Ok(vec![]));
        let more = inflow.taken(asks[0]).unwrap();
        assert_eq!(
            more,
            Ask {
                target: 1,
                bytes: half
            }
        );
        assert_eq!(inflow.taken(more), None);
        assert_eq!(inflow.idle(), [], "something has come since the last look");
        assert_eq!(
            inflow.idle(),
            [Ask {
                target: 2,
                bytes: 10
            }]
        );
        assert_eq!(inflow.idle(), []);
        inflow.taken(Ask {
            target: 2,
            bytes: 10,
        });
        assert_eq!(inflow.total(), 0);
        assert!(inflow.lock().entries.is_empty());
    }

    #[test]
    fn who_sends_more_than_it_may_is_caught() {
        let inflow = Inflow::new(3 * WINDOW);
        // A single message may be larger.
        inflow.came(&mut came(&[(1, 2 * WINDOW)])).unwrap();
        assert_eq!(inflow.came(&mut came(&[(1, 1)])), Err(TooMuch(1)));
        inflow.waits(2, WINDOW - 1).unwrap();
        assert_eq!(inflow.waits(3, 1), Err(TooMuch(3)), "in all");
        // What waits is not asked about.
        assert!(inflow.lock().entries[&2].owed == 0);
        assert_eq!(
            inflow.entered(2, WINDOW - 1),
            [Ask {
                target: 2,
                bytes: WINDOW - 1
            }]
        );
    }

    #[test]
    fn it_does_not_matter_how_much_is_read_at_a_time() {
        let most = [(1, WINDOW - 1), (1, 1)];
        let too_much = [(1, WINDOW - 1), (1, 1), (1, 1)];
        let inflow = || Inflow::new(64 << 20);
        assert!(inflow().came(&mut came(&most)).is_ok());
        assert_eq!(inflow().came(&mut came(&too_much)), Err(TooMuch(1)));
    }

    #[test]
    fn all_are_asked_when_half_of_all_is_out() {
        let inflow = Inflow::new(1000);
        let bytes = WINDOW / 4;
        assert_eq!(inflow.came(&mut came(&[(2, bytes)])), Ok(vec![]));
        let asks = inflow.came(&mut came(&[(1, bytes)])).unwrap();
        assert_eq!(asks, [1, 2].map(|target| Ask { target, bytes }));
    }
}
