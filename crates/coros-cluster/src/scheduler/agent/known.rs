//! What a client of a service knows of nodes and workers, for those who begin to listen later: plain state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use coros_core::remote::NodeId;

use super::super::Event;
use crate::daemon::protocol::NodeState;
use crate::placement::NodeView;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// That nodes are not used or of no use, by name and endpoint.
    unused: BTreeMap<(Arc<str>, Option<SocketAddr>), Event>,
    /// That a node is waited for.
    awaited: Option<Event>,
    /// Those that have the program, and whether they lend anything.
    ready: BTreeMap<Option<NodeId>, (Arc<NodeView>, NodeState)>,
    /// That workers are ready, and that they are suspended if they are, by their names.
    workers: BTreeMap<Arc<str>, (Event, Option<Event>)>,
}

impl Known {
    pub(super) fn heard(&mut self, event: &Event) {
        match event {
            Event::NodeNotUsed { name, endpoint, .. } => {
                let node = (Arc::clone(name), *endpoint);
                self.unused.insert(node, event.clone());
            }
            Event::NodeUnfit { node, .. } => {
                self.unused.insert(place(node), event.clone());
                self.ready.remove(&node.id);
            }
            Event::NodeFound { node } | Event::NodeReturned { node } => {
                self.unused.remove(&place(node));
            }
            Event::NodeReady { node } => {
                self.unused.remove(&place(node));
                self.awaited = None;
                let lends = (Arc::clone(node), NodeState::Open);
                self.ready.insert(node.id, lends);
            }
            Event::NodeSuspended { node } => self.is(node, NodeState::Suspended),
            Event::NodeResumed { node } => self.is(node, NodeState::Open),
            Event::NodeDraining { node } => self.is(node, NodeState::Draining),
            Event::NodeLost { node, .. }
            | Event::NodeEnded { node }
            | Event::NodeClosed { node } => {
                self.unused.remove(&place(node));
                self.ready.remove(&node.id);
            }
            Event::NodesAwaited { .. } => self.awaited = Some(event.clone()),
            Event::NoNodes { .. } => self.awaited = None,
            Event::WorkerReady { name, .. } => {
                self.workers.insert(Arc::clone(name), (event.clone(), None));
            }
            Event::WorkerSuspended { name, .. } => self.has(name, Some(event.clone())),
            Event::WorkerResumed { name, .. } => self.has(name, None),
            Event::WorkerLost { name, .. } | Event::WorkerClosed { name, .. } => {
                self.workers.remove(name);
            }
            _ => {}
        }
    }

    fn is(&mut self, node: &NodeView, state: NodeState) {
        if let Some((_, known)) = self.ready.get_mut(&node.id) {
            *known = state;
        }
    }

    /// Whether a worker is suspended.
    fn has(&mut self, name: &str, told: Option<Event>) {
        if let Some((_, suspended)) = self.workers.get_mut(name) {
            *suspended = told;
        }
    }

    /// Whether that tells of a wait as it is known already.
    pub(super) fn is_awaited_as(&self, event: &Event) -> bool {
        self.awaited.as_ref() == Some(event)
    }

    /// The client wants a node to be used, which it may not have been before. That it can be is another thing.
    pub(super) fn is_to_be_used(&mut self, node: &NodeView) {
        self.unused.retain(|(name, endpoint), told| {
            let here = endpoint.is_none_or(|it| node.addresses.contains(&it.ip()));
            **name != *node.name || !here || matches!(told, Event::NodeUnfit { .. })
        });
    }

    /// What is told to whoever begins to listen.
    pub(super) fn so_far(&self) -> Vec<Event> {
        let ready = self.ready.values();
        let nodes = ready.flat_map(|(node, state)| Event::ready_and(*state, node));
        let workers = self.workers.values().cloned();
        let workers =
            workers.flat_map(|(ready, suspended)| std::iter::once(ready).chain(suspended));
        let unused = self.unused.values().cloned();
        let unused = unused.chain(self.awaited.clone());
        unused.chain(nodes).chain(workers).collect()
    }
}

/// What a node is called, and where it listens.
fn place(node: &NodeView) -> (Arc<str>, Option<SocketAddr>) {
    (node.name.as_str().into(), node.endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn at(port: u16) -> Option<SocketAddr> {
        Some(([10, 0, 0, 1], port).into())
    }

    fn view(name: &str, port: u16) -> Arc<NodeView> {
        Arc::new(NodeView {
            id: Some(NodeId(port.into())),
            addresses: vec![[10, 0, 0, 1].into()],
            endpoint: at(port),
            ..NodeView::new(name, Machine::look([]))
        })
    }

    fn not_used(name: &str, port: u16) -> Event {
        Event::NodeNotUsed {
            name: name.into(),
            endpoint: at(port),
            reason: "it is too old".into(),
        }
    }

    fn found(name: &str, port: u16) -> Event {
        let node = view(name, port);
        Event::NodeFound { node }
    }

    fn ready(name: &str, port: u16) -> Event {
        let node = view(name, port);
        Event::NodeReady { node }
    }

    fn ended(name: &str, port: u16) -> Event {
        let node = view(name, port);
        Event::NodeEnded { node }
    }

    fn so_far(known: &mut Known, events: &[Event]) -> Vec<Event> {
        events.iter().for_each(|event| known.heard(event));
        known.so_far()
    }

    #[test]
    fn of_two_nodes_that_share_a_name_one_stays() {
        let mut known = Known::default();
        let both = [ready("a", 1), ready("a", 2)];
        let events = [found("a", 1), found("a", 2), ready("a", 2), ready("a", 1)];
        assert_eq!(so_far(&mut known, &events), both);
        assert_eq!(so_far(&mut known, &[ended("a", 1)]), [ready("a", 2)]);
        assert_eq!(so_far(&mut known, &[ended("a", 2), ended("a", 2)]), []);
        // Not all that is told came first.
        assert_eq!(so_far(&mut known, &[ready("a", 1), ended("a", 1)]), []);
    }

    #[test]
    fn a_node_that_lends_nothing_is_told_to_be_so_until_it_does() {
        let mut known = Known::default();
        let node = view("a", 1);
        let state = |state| Event::of_state(state, Arc::clone(&node));
        let (suspended, draining) = (state(NodeState::Suspended), state(NodeState::Draining));
        // Before it has the program, it is not told of.
        assert_eq!(so_far(&mut known, std::slice::from_ref(&suspended)), []);
        let events = [ready("a", 1), suspended.clone()];
        assert_eq!(so_far(&mut known, &events), events);
        let resumed = [state(NodeState::Open)];
        assert_eq!(so_far(&mut known, &resumed), [ready("a", 1)]);
        let events = [suspended, draining.clone()];
        assert_eq!(so_far(&mut known, &events), [ready("a", 1), draining]);
        assert_eq!(so_far(&mut known, &[ended("a", 1)]), []);
    }

    #[test]
    fn a_node_is_not_used_until_it_is() {
        let mut known = Known::default();
        let both = [not_used("a", 1), not_used("b", 2)];
        assert_eq!(so_far(&mut known, &both), both);
        assert_eq!(so_far(&mut known, &[found("a", 1)]), [not_used("b", 2)]);
        known.is_to_be_used(&view("b", 2));
        assert_eq!(known.so_far(), []);
    }

    #[test]
    fn a_node_that_is_of_no_use_is_told_to_be_so_until_it_is_ready_or_gone() {
        let mut known = Known::default();
        let unfit = Event::NodeUnfit {
            node: view("a", 1),
            reason: "it is too old".into(),
        };
        let events = [found("a", 1), ready("a", 1), unfit.clone()];
        let unfit = [unfit];
        assert_eq!(so_far(&mut known, &events), unfit);
        // That it is tried again is told of by nobody.
        known.is_to_be_used(&view("a", 1));
        assert_eq!(known.so_far(), unfit);
        assert_eq!(so_far(&mut known, &[ready("a", 1)]), [ready("a", 1)]);
        assert_eq!(so_far(&mut known, &unfit), unfit);
        assert_eq!(so_far(&mut known, &[ended("a", 1)]), []);
    }

    #[test]
    fn a_node_is_awaited_until_one_is_ready() {
        let mut known = Known::default();
        let awaited = Event::NodesAwaited {
            limit: std::time::Duration::from_secs(60),
            reason: "none".into(),
        };
        let events = [awaited.clone()];
        assert_eq!(so_far(&mut known, &events), events);
        assert_eq!(so_far(&mut known, &[ready("a", 1)]), [ready("a", 1)]);
    }
}
