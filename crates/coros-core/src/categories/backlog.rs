//! Messages in the order in which they came, and each category's in the same order.
//!
//! Two linked lists run through one vector of nodes: one through all messages, one through those
//! of each category. Whatever is taken is the first of its category, so every step takes constant
//! time. Nodes are used again, and a category without messages is forgotten, so memory goes with
//! the longest backlog and not with what has passed.

use std::collections::HashMap;
use std::hash::Hash;

/// No node.
const NONE: usize = usize::MAX;
/// Nodes that an empty backlog keeps.
const KEEP: usize = 64;

pub(super) struct Backlog<M, K> {
    nodes: Vec<Node<M, K>>,
    /// The first of the unused nodes, which are linked by `next`.
    unused: usize,
    oldest: usize,
    newest: usize,
    pushed: u64,
    categories: HashMap<K, Category>,
}

struct Node<M, K> {
    /// `None` in an unused node.
    content: Option<(K, M)>,
    /// Greater in a younger message: compares those of different categories.
    number: u64,
    previous: usize,
    next: usize,
    next_in_category: usize,
}

/// Never empty.
struct Category {
    oldest: usize,
    newest: usize,
    len: usize,
}

impl<M, K: Eq + Hash + Clone> Backlog<M, K> {
    pub(super) fn len(&self, category: &K) -> usize {
        self.categories.get(category).map_or(0, |it| it.len)
    }

    pub(super) fn push(&mut self, category: K, message: M) {
        self.pushed += 1;
        let node = Node {
            content: Some((category.clone(), message)),
            number: self.pushed,
            previous: self.newest,
            next: NONE,
            next_in_category: NONE,
        };
        let at = self.place(node);
        match self.nodes.get_mut(self.newest) {
            Some(newest) => newest.next = at,
            None => self.oldest = at,
        }
        self.newest = at;
        let entry = self.categories.entry(category).or_insert(Category {
            oldest: at,
            newest: at,
            len: 0,
        });
        entry.len += 1;
        if entry.newest != at {
            self.nodes[entry.newest].next_in_category = at;
            entry.newest = at;
        }
    }

    /// Removes the oldest message of these categories.
    pub(super) fn pop_of(&mut self, categories: &[K]) -> Option<M> {
        let oldest = categories.iter().filter_map(|it| self.categories.get(it));
        let at = oldest
            .map(|it| it.oldest)
            .min_by_key(|at| self.nodes[*at].number)?;
        self.remove_first_of_category(at)
    }

    /// Removes the oldest message.
    pub(super) fn pop(&mut self) -> Option<M> {
        // The oldest of all is the oldest of its category.
        self.remove_first_of_category(self.oldest)
    }

    /// Removes the newest message. Leaves the categories wrong: for emptying the whole.
    pub(super) fn pop_newest(&mut self) -> Option<M> {
        self.categories.clear();
        let node = self.nodes.get_mut(self.newest)?;
        self.newest = node.previous;
        node.content.take().map(|(_, message)| message)
    }

    fn place(&mut self, node: Node<M, K>) -> usize {
        match self.nodes.get_mut(self.unused) {
            Some(unused) => {
                let at = std::mem::replace(&mut self.unused, unused.next);
                *unused = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    fn remove_first_of_category(&mut self, at: usize) -> Option<M> {
        let unused = self.unused;
        let node = self.nodes.get_mut(at)?;
        let (key, message) = node.content.take()?;
        let (previous, next) = (node.previous, std::mem::replace(&mut node.next, unused));
        let next_in_category = node.next_in_category;
        self.unused = at;
        match self.nodes.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => self.oldest = next,
        }
        match self.nodes.get_mut(next) {
            Some(next) => next.previous = previous,
            None => self.newest = previous,
        }
        if next_in_category == NONE {
            self.categories.remove(&key);
        } else if let Some(category) = self.categories.get_mut(&key) {
            category.oldest = next_in_category;
            category.len -= 1;
        }
        if self.oldest == NONE && self.nodes.capacity() > KEEP {
            *self = Backlog::default();
        }
        Some(message)
    }
}

impl<M, K> Default for Backlog<M, K> {
    fn default() -> Self {
        Backlog {
            nodes: Vec::new(),
            unused: NONE,
            oldest: NONE,
            newest: NONE,
            pushed: 0,
            categories: HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Pop,
        PopOf(Vec<u8>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4_u8).prop_map(Step::Push),
            1 => Just(Step::Pop),
            3 => proptest::collection::vec(0..5_u8, 0..3).prop_map(Step::PopOf),
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_list_does(steps in steps()) {
            let mut backlog = Backlog::default();
            let mut list: Vec<(u8, usize)> = Vec::new();
            let mut longest = 0;
            for (i, step) in steps.into_iter().enumerate() {
                let (popped, expected) = match step {
                    Step::Push(category) => {
                        backlog.push(category, i);
                        list.push((category, i));
                        longest = longest.max(list.len());
                        continue;
                    }
                    Step::Pop => (backlog.pop(), (!list.is_empty()).then(|| list.remove(0).1)),
                    Step::PopOf(categories) => {
                        let at = list.iter().position(|it| categories.contains(&it.0));
                        (backlog.pop_of(&categories), at.map(|at| list.remove(at).1))
                    }
                };
                prop_assert_eq!(popped, expected);
                for category in 0..5 {
                    let len = list.iter().filter(|it| it.0 == category).count();
                    prop_assert_eq!(backlog.len(&category), len);
                }
            }
            prop_assert!(backlog.nodes.len() <= longest);
            let categories: std::collections::HashSet<u8> = list.iter().map(|it| it.0).collect();
            prop_assert_eq!(backlog.categories.len(), categories.len());
            list.reverse();
            let newest_first: Vec<_> = std::iter::from_fn(|| backlog.pop_newest()).collect();
            prop_assert_eq!(newest_first, list.into_iter().map(|it| it.1).collect::<Vec<_>>());
        }
    }
}
