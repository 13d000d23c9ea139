//! What a node keeps, to see that nothing is left of those who came and went.

use std::time::Duration;

use coros_net::{Census, Node};

use super::LIMIT;

/// What a node keeps, and how many descriptors the process has, where that can be counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) census: Census,
    descriptors: usize,
}

impl Kept {
    fn by(node: &Node) -> Self {
        Kept {
            census: node.census(),
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        }
    }

    /// What a node keeps when nobody is known, nor at the door.
    pub(crate) async fn at_rest(node: &Node) -> Self {
        let busy = |it: Census| it.peers + it.sessions + it.links + it.pending > 0;
        Kept::once(node, |kept| !busy(kept.census), "nobody").await
    }

    /// Waits until a node keeps no more than it did.
    pub(crate) async fn again_by(self, node: &Node) {
        Kept::once(node, |kept| kept.is_within(self), self).await;
    }

    async fn once(node: &Node, is: impl Fn(Self) -> bool, what: impl std::fmt::Debug) -> Self {
        let waiting = async {
            loop {
                let kept = Kept::by(node);
                if is(kept) {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("{:?} is more than {what:?}", Kept::by(node)))
    }

    fn is_within(self, before: Self) -> bool {
        let counts = |kept: Kept| {
            let it = kept.census;
            let tasks = [it.links, it.tasks, kept.descriptors];
            let tables = [it.peers, it.sessions, it.exports, it.pending];
            tasks.into_iter().chain(tables)
        };
        counts(self)
            .zip(counts(before))
            .all(|(now, then)| now <= then)
    }
}
