//! What a scheduler has and does at present, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shell;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// How many workers take calls, by the name of their node.
    pub(crate) workers: BTreeMap<Arc<str>, usize>,
    /// How many calls run, as far as is known.
    pub(crate) running: usize,
    /// How many wait.
    pub(crate) waiting: usize,
}

impl Shell {
    pub(super) fn survey(&self) -> Survey {
        let mut workers = BTreeMap::new();
        for worker in self.workers.values().filter(|it| it.control.is_some()) {
            let remote = self.hosts.get(&worker.host);
            if let Some(remote) = remote.and_then(|host| host.remote.as_ref()) {
                *workers.entry(Arc::clone(&remote.at.name)).or_default() += 1;
            }
        }
        let (running, waiting) = self.core.count();
        Survey {
            workers,
            running,
            waiting,
        }
    }
}
