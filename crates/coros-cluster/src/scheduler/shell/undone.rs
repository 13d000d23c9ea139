//! What was prepared at a node, and is not undone, since the node is of no use any more: nobody there is told goodbye.

use std::sync::Arc;

use super::super::Event;
use super::super::core::HostId;
use super::super::liaison::Gone;
use super::Shell;

impl Shell {
    /// Tells, once, what was to be torn down at a node when its workers end, and is not.
    pub(super) fn stays_undone(&mut self, id: HostId, gone: &Gone) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let Some(remote) = &mut host.remote else {
            return;
        };
        if std::mem::replace(&mut remote.undone, true) {
            return;
        }
        let (node, of_workers) = (Arc::clone(&host.node), host.tears_down_workers());
        let of_node = host.pool.is_to_be_tidied_up();
        let there = self.workers.iter().filter(|(_, it)| it.host == id);
        let mut there: Vec<_> = there.collect();
        there.sort_unstable_by_key(|(worker, _)| **worker);
        // One that was told goodbye tells itself what it cannot undo.
        let prepared = there.iter();
        let prepared = prepared.filter(|(_, it)| it.control.is_some() && !it.told_goodbye);
        let names = prepared.map(|(_, it)| Arc::clone(&it.name));
        let mut undone: Vec<_> = names.map(|name| (name, "its teardown")).collect();
        if !of_workers {
            undone.clear();
        }
        if of_node {
            let one = there.first().map(|(_, it)| Arc::clone(&it.name));
            let name = one.unwrap_or_else(|| node.name.as_str().into());
            undone.push((name, "the teardown of its node"));
        }
        for (name, what) in undone {
            let (node, why) = (Arc::clone(&node), gone.of_worker());
            let reason = format!("{what} did not run: {why}");
            self.emit(&Event::TearDownFailed { name, node, reason });
        }
    }
}
