//! Which nodes and workers calls can be sent to by name.

use std::collections::HashMap;
use std::sync::Arc;

use coros_core::remote::NodeId;

use super::super::core::{HostId, Place, WorkerId};
use super::super::target::{HERE, Kind, Target};
use super::super::{Action, JobError};
use super::Shell;

impl Shell {
    /// Those that take calls, in the order in which they came.
    pub(super) fn targets(&self, kind: Kind) -> Vec<Target> {
        match kind {
            Kind::Node => {
                let nodes: Vec<_> = self.nodes().map(|(_, name, node)| (name, node)).collect();
                named(&nodes)
            }
            Kind::Worker => {
                let workers = self.workers_by_number().into_iter();
                workers
                    .map(|(_, name)| Target::worker(Arc::clone(name)))
                    .collect()
            }
        }
    }

    /// The nodes that take calls; this machine has no number.
    fn nodes(&self) -> impl Iterator<Item = (HostId, &str, Option<NodeId>)> {
        let ready = self.hosts.iter().filter(|(_, host)| host.takes_calls());
        ready.map(|(id, host)| match &host.remote {
            Some(remote) => (*id, &*remote.at.name, Some(remote.at.node)),
            None => (*id, HERE, None),
        })
    }

    /// The workers that take calls.
    fn workers_by_number(&self) -> Vec<(WorkerId, &Arc<str>)> {
        let ready = self.workers.iter().filter(|(_, it)| it.takes_calls());
        let mut ready: Vec<_> = ready.map(|(id, it)| (*id, &it.name)).collect();
        ready.sort_unstable();
        ready
    }

    /// Does something with a node or a worker.
    pub(super) fn control(&mut self, target: &Target, action: Action) -> Result<(), JobError> {
        match (self.place(Some(target))?, action) {
            (Place::Host(host), Action::Suspend) => self.hold(host, true),
            (Place::Host(host), Action::Resume) => self.hold(host, false),
            (Place::Worker(worker), Action::Suspend) => self.suspend_worker(worker, true),
            (Place::Worker(worker), Action::Resume) => self.suspend_worker(worker, false),
            (Place::Host(host), Action::CloseNode) if self.is_remote(host) => self.close_node(host),
            (Place::Worker(worker), Action::CloseWorker) if self.may_close(worker) => {
                self.close_worker(worker);
            }
            (Place::Host(_), Action::CloseNode) => return Err(stays(target, "is")),
            (Place::Worker(_), Action::CloseWorker) => {
                return Err(stays(target, "is the last one, and"));
            }
            (Place::Worker(worker), Action::Restart) => self.retire(worker),
            // A client elsewhere may say anything.
            _ => action.fits(target)?,
        }
        Ok(())
    }

    /// The workers that begin calls now.
    pub(super) fn mustered(&self) -> Vec<Target> {
        let workers = self.workers_by_number().into_iter();
        let open = workers.filter(|(id, _)| !self.workers[id].suspended);
        open.map(|(_, name)| Target::worker(Arc::clone(name)))
            .collect()
    }

    fn no_target(&self, target: &Target) -> JobError {
        let there = self.targets(target.kind()).into_iter();
        let there: Vec<_> = there.map(|it| it.name().into()).collect();
        JobError::no_target(target.clone(), &there)
    }

    /// Where that is.
    pub(super) fn place(&self, target: Option<&Target>) -> Result<Place, JobError> {
        let Some(target) = target else {
            return Ok(Place::Anywhere);
        };
        let place = match target.kind() {
            Kind::Node => {
                let found = self
                    .nodes()
                    .find(|(_, name, node)| target.is_node(name, *node));
                found.map(|(host, ..)| Place::Host(host))
            }
            Kind::Worker => {
                let workers = self.workers_by_number().into_iter();
                let mut found = workers.filter(|(_, name)| ***name == *target.name());
                found.next().map(|(worker, _)| Place::Worker(worker))
            }
        };
        place.ok_or_else(|| self.no_target(target))
    }
}

/// What has to stay as long as its scheduler.
fn stays(target: &Target, is: &str) -> JobError {
    JobError::WrongTarget {
        target: target.clone(),
        why: format!("{is} closed with its scheduler"),
    }
}

/// Nodes by their names, and those that share one each for itself.
fn named(nodes: &[(&str, Option<NodeId>)]) -> Vec<Target> {
    let mut counts = HashMap::<_, usize>::new();
    for (name, _) in nodes {
        *counts.entry(*name).or_default() += 1;
    }
    let target = |(name, node): &(&str, Option<NodeId>)| match node {
        Some(node) if counts[name] > 1 => Target::very_node(Arc::from(*name), *node),
        _ => Target::node(*name),
    };
    nodes.iter().map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nodes_that_share_a_name_each_is_one_for_itself() {
        let nodes = [("a", 1), ("b", 2), ("a", 3)].map(|(name, n)| (name, Some(NodeId(n))));
        let targets = named(&nodes);
        assert_eq!(targets[1], Target::node("b"));
        assert_ne!(targets[0], targets[2]);
        for (n, target) in targets.iter().enumerate() {
            let means = nodes
                .iter()
                .position(|(name, node)| target.is_node(name, *node));
            assert_eq!(means, Some(n));
        }
        // By the name alone, the first is meant.
        assert!(Target::node("a").is_node("a", Some(NodeId(1))));
    }
}
