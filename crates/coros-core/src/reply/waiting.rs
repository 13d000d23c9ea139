//! How much of answers waits for each node that has asked: bounded, since a node that asks and does
//! not read the answers could fill this one.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::primitives::{Mutex, lock};
use crate::remote::NodeId;

/// So many bytes may wait for one node, beyond what its link takes.
const MAX: usize = 256 << 20;

/// What each one costs besides.
const EACH: usize = 512;

static WAITING: LazyLock<Mutex<HashMap<NodeId, usize>>> = LazyLock::new(Mutex::default);

/// An answer that waits.
pub(super) struct Waits {
    node: NodeId,
    cost: usize,
}

/// Lets an answer of this length wait, unless too much does.
pub(super) fn take(node: NodeId, length: usize) -> Option<Waits> {
    let cost = length + EACH;
    let mut waiting = lock(&WAITING);
    let bytes = waiting.entry(node).or_default();
    if *bytes >= MAX {
        return None;
    }
    *bytes += cost;
    Some(Waits { node, cost })
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = lock(&WAITING);
        if let Some(bytes) = waiting.get_mut(&self.node) {
            *bytes -= self.cost;
            if *bytes == 0 {
                waiting.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_read_answers_is_kept_so_many() {
        let (deaf, other) = (NodeId(7_001), NodeId(7_002));
        let kept: Vec<_> = std::iter::from_fn(|| take(deaf, 16 << 20)).collect();
        assert_eq!(kept.len(), 16);
        assert!(take(other, 1).is_some());
        drop(kept);
        assert!(take(deaf, 1).is_some());
        assert!(!lock(&WAITING).contains_key(&deaf));
    }
}
