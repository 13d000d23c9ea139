//! A short list in order, for those of whom the first is wanted often and whose place changes
//! often by a little.

/// In the order of the keys.
#[derive(Debug)]
pub(super) struct Ranking<K, Id>(Vec<(K, Id)>);

impl<K, Id> Default for Ranking<K, Id> {
    fn default() -> Self {
        Ranking(Vec::new())
    }
}

impl<K: Copy + Ord, Id: Copy + Ord> Ranking<K, Id> {
    pub(super) fn first(&self) -> Option<(K, Id)> {
        self.0.first().copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, Id)> {
        self.0.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes under what somebody is in the list, if at all.
    pub(super) fn change(&mut self, old: Option<K>, new: Option<K>, id: Id) {
        if old == new {
            return;
        }
        let place = |key| self.0.partition_point(|other| *other < (key, id));
        match (old, new) {
            (Some(old), Some(new)) => {
                let (from, to) = (place(old), place(new));
                self.0[from].0 = new;
                if to > from {
                    self.0[from..to].rotate_left(1);
                } else {
                    self.0[to..=from].rotate_right(1);
                }
            }
            (Some(old), None) => {
                let from = place(old);
                self.0.remove(from);
            }
            (None, Some(new)) => {
                let to = place(new);
                self.0.insert(to, (new, id));
            }
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everybody_is_in_order_under_the_last_key(
            changes in proptest::collection::vec((0..8u8, proptest::option::of(0..5u8)), 0..60)
        ) {
            let mut ranking = Ranking::default();
            let mut keys = BTreeMap::new();
            for (id, new) in changes {
                let old = match new {
                    Some(new) => keys.insert(id, new),
                    None => keys.remove(&id),
                };
                ranking.change(old, new, id);
                let mut wanted: Vec<_> = keys.iter().map(|(id, key)| (*key, *id)).collect();
                wanted.sort_unstable();
                prop_assert_eq!(ranking.iter().collect::<Vec<_>>(), wanted);
            }
        }
    }
}
