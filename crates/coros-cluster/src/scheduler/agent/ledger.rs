//! The calls of a client that a service runs: which it has, and which wait until it may have more.
//!
//! A service keeps no more of a client than a [window](Window). The others stay here, and the next to go is
//! the one that is to run next; a quarter of the window is for one of a higher priority than all that are there. All are kept until they have ended: when the service is lost, they go
//! to the next one.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::scheduler::core::{CallId, Rank};
use crate::service::window::Window;

#[derive(Debug)]
pub(super) struct Ledger<T> {
    calls: HashMap<CallId, Kept<T>>,
    /// Those that the service does not have.
    waiting: BTreeSet<Rank>,
    /// Those that it does have.
    sent: BTreeSet<Rank>,
    there: Window,
}

#[derive(Debug)]
struct Kept<T> {
    item: T,
    rank: Rank,
    bytes: usize,
    sent: bool,
}

impl<T> Ledger<T> {
    pub(super) fn new() -> Self {
        Ledger {
            calls: HashMap::new(),
            waiting: BTreeSet::new(),
            sent: BTreeSet::new(),
            there: Window::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// A new call, of so many bytes.
    pub(super) fn add(&mut self, rank: Rank, bytes: usize, item: T) {
        let kept = Kept {
            item,
            rank,
            bytes,
            sent: false,
        };
        self.waiting.insert(rank);
        self.calls.insert(rank.call, kept);
    }

    /// What is kept for a call that has not ended.
    pub(super) fn get_mut(&mut self, call: CallId) -> Option<&mut T> {
        self.calls.get_mut(&call).map(|kept| &mut kept.item)
    }

    /// The next call that goes to the service, if it may have one more, and how many bytes it takes.
    pub(super) fn next(&mut self) -> Option<(CallId, &T, usize)> {
        let rank = *self.waiting.first()?;
        let kept = self.calls.get_mut(&rank.call)?;
        let urgent = self
            .sent
            .first()
            .is_none_or(|it| rank.priority() > it.priority());
        let has_room = match urgent {
            true => self.there.has_room(kept.bytes),
            false => self.there.has_usual_room(kept.bytes),
        };
        if !has_room {
            return None;
        }
        self.waiting.remove(&rank);
        self.sent.insert(rank);
        kept.sent = true;
        self.there.enter(kept.bytes);
        Some((rank.call, &kept.item, kept.bytes))
    }

    /// A call has ended, or is cancelled: it, and whether the service has it. `None` when it has ended before.
    pub(super) fn end(&mut self, call: CallId) -> Option<(T, bool)> {
        let kept = self.calls.remove(&call)?;
        match kept.sent {
            true => {
                self.there.leave(kept.bytes);
                self.sent.remove(&kept.rank);
            }
            false => drop(self.waiting.remove(&kept.rank)),
        }
        Some((kept.item, kept.sent))
    }

    /// The service is lost. What it had waits again, but for those that may not run twice: these have
    /// ended.
    pub(super) fn lost(&mut self, may_run_again: impl Fn(&mut T) -> bool) -> Vec<(CallId, T)> {
        self.there = Window::default();
        self.sent.clear();
        let mut ended = Vec::new();
        for (call, kept) in &mut self.calls {
            if std::mem::take(&mut kept.sent) {
                match may_run_again(&mut kept.item) {
                    true => drop(self.waiting.insert(kept.rank)),
                    false => ended.push(*call),
                }
            }
        }
        ended.sort_unstable();
        let taken = |call| Some((call, self.calls.remove(&call)?.item));
        ended.into_iter().filter_map(taken).collect()
    }

    /// All calls have ended.
    pub(super) fn clear(&mut self) -> Vec<(CallId, T)> {
        self.waiting.clear();
        self.sent.clear();
        self.there = Window::default();
        let all = self.calls.drain().map(|(call, kept)| (call, kept.item));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(call, _)| *call);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::window::WINDOW;

    fn rank(priority: i32, call: u64) -> Rank {
        Rank::new(priority, CallId(call))
    }

    /// All that may go now.
    fn go(ledger: &mut Ledger<u64>) -> Vec<u64> {
        std::iter::from_fn(|| ledger.next().map(|(call, ..)| call.0)).collect()
    }

    #[test]
    fn the_window_is_filled_by_priority_and_as_calls_end() {
        let mut ledger = Ledger::new();
        let third = WINDOW / 4 + WINDOW / 8;
        for call in 0..4 {
            ledger.add(rank(0, call), third, call);
        }
        assert_eq!(go(&mut ledger), [0, 1]);
        ledger.add(rank(1, 4), third, 4);
        assert_eq!(go(&mut ledger), []);
        assert_eq!(ledger.end(CallId(1)), Some((1, true)));
        assert_eq!(ledger.end(CallId(1)), None);
        assert_eq!(go(&mut ledger), [4]);
        // One that is not there takes no room.
        assert_eq!(ledger.end(CallId(2)), Some((2, false)));
        assert_eq!(go(&mut ledger), []);
        assert_eq!(ledger.end(CallId(4)), Some((4, true)));
        assert_eq!(go(&mut ledger), [3]);
    }

    #[test]
    fn a_call_of_a_higher_priority_does_not_wait_for_those_that_are_there() {
        let mut ledger = Ledger::new();
        let each = WINDOW / 16;
        for call in 0..16 {
            ledger.add(rank(0, call), each, call);
        }
        assert_eq!(go(&mut ledger).len(), 12);
        // Of those that are as urgent as one that is there, some room stays for others.
        for (call, priority) in [(16, 1), (17, 1), (18, 2)] {
            ledger.add(rank(priority, call), each, call);
            let went = go(&mut ledger);
            assert_eq!(went.is_empty(), call == 17, "{went:?}");
            assert_ne!(went, [17]);
        }
        for call in [16, 18] {
            assert_eq!(ledger.end(CallId(call)), Some((call, true)));
        }
        // Once they have ended, it is as before.
        assert_eq!(go(&mut ledger), [17]);
    }

    #[test]
    fn a_call_that_is_larger_than_the_window_goes_alone() {
        let mut ledger = Ledger::new();
        ledger.add(rank(0, 0), WINDOW + 1, 0);
        ledger.add(rank(0, 1), 0, 1);
        assert_eq!(go(&mut ledger), [0]);
        ledger.end(CallId(0));
        assert_eq!(go(&mut ledger), [1]);
    }

    #[test]
    fn what_a_lost_service_had_goes_again_unless_it_may_not() {
        let mut ledger = Ledger::new();
        for call in 0..6 {
            ledger.add(rank(0, call), 0, call);
        }
        for _ in 0..4 {
            ledger.next();
        }
        ledger.end(CallId(0));
        let ended = ledger.lost(|call| *call % 2 == 0);
        assert_eq!(ended, [(CallId(1), 1), (CallId(3), 3)]);
        assert_eq!(go(&mut ledger), [2, 4, 5]);
        let left: Vec<_> = ledger.clear().into_iter().map(|(_, call)| call).collect();
        assert_eq!(left, [2, 4, 5]);
        assert!(ledger.is_empty());
        assert_eq!(go(&mut ledger), []);
    }
}
