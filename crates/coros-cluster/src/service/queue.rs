//! Which computations run: those that share the nodes together, those that want to be alone one after the
//! other.
//!
//! They go in order: the more important first, and of those that are equal the one that was ready first. Nobody
//! overtakes, so that whoever wants to be alone does not wait for ever.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::daemon::leases::Terms;

/// Numbers a computation; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(pub(crate) u64);

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By their order; and whether it wants to be alone.
    waiting: BTreeMap<(Reverse<i32>, u64), (TenantId, bool)>,
    running: BTreeMap<TenantId, bool>,
    next: u64,
}

impl Queue {
    /// A computation is ready to run. Gives those that begin now.
    pub(super) fn join(&mut self, id: TenantId, terms: Terms) -> Vec<TenantId> {
        let place = (Reverse(terms.priority), self.next);
        self.next += 1;
        self.waiting.insert(place, (id, terms.exclusive));
        self.begin()
    }

    /// A computation has ended, or does not want to run any more.
    pub(super) fn leave(&mut self, id: TenantId) -> Vec<TenantId> {
        self.running.remove(&id);
        self.waiting.retain(|_, (other, _)| *other != id);
        self.begin()
    }

    pub(super) fn runs(&self, id: TenantId) -> bool {
        self.running.contains_key(&id)
    }

    /// Those that wait, in order; and how many computations go before each, with those that run.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (TenantId, usize)> {
        let waiting = self.waiting.values().map(|(id, _)| *id);
        waiting.zip(self.running.len()..)
    }

    fn begin(&mut self) -> Vec<TenantId> {
        let mut begun = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let (id, alone) = *first.get();
            let is_taken = self.running.values().any(|alone| *alone);
            if is_taken || (alone && !self.running.is_empty()) {
                break;
            }
            first.remove();
            self.running.insert(id, alone);
            begun.push(id);
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(exclusive: bool, priority: i32) -> Terms {
        Terms {
            exclusive,
            priority,
        }
    }

    fn ids<const N: usize>(ids: [u64; N]) -> Vec<TenantId> {
        ids.map(TenantId).to_vec()
    }

    #[test]
    fn those_that_share_run_together_and_others_alone() {
        let mut queue = Queue::default();
        assert_eq!(queue.join(TenantId(1), terms(false, 0)), ids([1]));
        assert_eq!(queue.join(TenantId(2), terms(false, 0)), ids([2]));
        assert_eq!(queue.join(TenantId(3), terms(true, 0)), []);
        // It would keep the third waiting.
        assert_eq!(queue.join(TenantId(4), terms(false, 0)), []);
        assert_eq!(queue.join(TenantId(5), terms(true, 0)), []);
        let before: Vec<_> = queue.waiting().map(|(id, n)| (id.0, n)).collect();
        assert_eq!(before, [(3, 2), (4, 3), (5, 4)]);
        assert_eq!(queue.leave(TenantId(1)), []);
        assert_eq!(queue.leave(TenantId(2)), ids([3]));
        assert_eq!(queue.leave(TenantId(3)), ids([4]));
        assert_eq!(queue.leave(TenantId(4)), ids([5]));
        assert!(queue.runs(TenantId(5)));
    }

    #[test]
    fn the_more_important_goes_first_and_one_that_leaves_holds_up_nobody() {
        let mut queue = Queue::default();
        assert_eq!(queue.join(TenantId(1), terms(true, 0)), ids([1]));
        for (id, priority) in [(2, 0), (3, 1), (4, 1)] {
            assert_eq!(queue.join(TenantId(id), terms(true, priority)), []);
        }
        assert_eq!(queue.leave(TenantId(3)), []);
        assert_eq!(queue.leave(TenantId(1)), ids([4]));
        assert_eq!(queue.leave(TenantId(4)), ids([2]));
    }

    proptest! {
        /// Whoever wants to be alone is, and when nobody leaves any more, everybody has run.
        #[test]
        fn nobody_is_beside_one_that_is_alone_or_waits_for_ever(
            steps in prop::collection::vec((any::<bool>(), -1..2_i32, any::<bool>()), 1..40),
        ) {
            let mut queue = Queue::default();
            let mut running: BTreeMap<TenantId, bool> = BTreeMap::new();
            let mut all = BTreeMap::new();
            let mut begun = 0;
            let mut begin = |ids: Vec<TenantId>, running: &mut BTreeMap<_, _>, all: &BTreeMap<_, bool>| {
                for id in ids {
                    running.insert(id, all[&id]);
                    begun += 1;
                }
                let alone = running.values().any(|alone| *alone);
                assert!(!alone || running.len() == 1, "{running:?}");
            };
            for (n, (alone, priority, leaves)) in steps.into_iter().enumerate() {
                let id = TenantId(n as u64);
                all.insert(id, alone);
                let ids = queue.join(id, terms(alone, priority));
                begin(ids, &mut running, &all);
                if leaves && let Some((id, _)) = running.pop_first() {
                    begin(queue.leave(id), &mut running, &all);
                }
            }
            while let Some((id, _)) = running.pop_first() {
                begin(queue.leave(id), &mut running, &all);
            }
            prop_assert_eq!(begun, all.len());
        }
    }
}
