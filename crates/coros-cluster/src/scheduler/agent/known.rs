//! What a client of a service knows of nodes and workers, for those who begin to listen later: plain state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::Event;
use crate::placement::NodeView;

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Why nodes are not used, by name and endpoint.
    unused: BTreeMap<(Arc<str>, Option<SocketAddr>), String>,
    /// That a node is waited for.
    awaited: Option<Event>,
    nodes: BTreeMap<Arc<str>, Nodes>,
    /// The workers that are ready, and their processes.
    workers: BTreeMap<Arc<str>, u32>,
}

/// Those of one name, which need not be unique.
#[derive(Debug, Default)]
struct Nodes {
    found: usize,
    /// How many of them have the program.
    ready: usize,
}

impl Known {
    pub(super) fn heard(&mut self, event: &Event) {
        match event {
            Event::NodeNotUsed {
                name,
                endpoint,
                reason,
            } => {
                let node = (Arc::clone(name), *endpoint);
                self.unused.insert(node, reason.clone());
            }
            Event::NodeFound { endpoint, node } | Event::NodeReturned { endpoint, node } => {
                let name: Arc<str> = node.name.as_str().into();
                self.unused.remove(&(Arc::clone(&name), *endpoint));
                self.nodes.entry(name).or_default().found += 1;
            }
            Event::NodeReady { name } => {
                self.awaited = None;
                let nodes = self.nodes.entry(Arc::clone(name)).or_default();
                nodes.ready += 1;
                // Who began to listen when it had been found has not heard of that.
                nodes.found = nodes.found.max(nodes.ready);
            }
            Event::NodeLost { name, .. }
            | Event::NodeEnded { name }
            | Event::NodeClosed { name } => self.gone(name),
            Event::NodesAwaited { .. } => self.awaited = Some(event.clone()),
            Event::NoNodes { .. } => self.awaited = None,
            Event::WorkerReady { name, pid } => {
                self.workers.insert(Arc::clone(name), *pid);
            }
            Event::WorkerLost { name, .. } | Event::WorkerClosed { name, .. } => {
                self.workers.remove(name);
            }
            _ => {}
        }
    }

    /// Whether that tells of a wait as it is known already.
    pub(super) fn is_awaited_as(&self, event: &Event) -> bool {
        self.awaited.as_ref() == Some(event)
    }

    /// One of these is no more.
    fn gone(&mut self, name: &Arc<str>) {
        let Some(nodes) = self.nodes.get_mut(name) else {
            return;
        };
        nodes.found = nodes.found.saturating_sub(1);
        nodes.ready = nodes.ready.min(nodes.found);
        if nodes.found == 0 {
            self.nodes.remove(name);
        }
    }

    /// The client wants a node to be used, which it may not have been before.
    pub(super) fn is_to_be_used(&mut self, node: &NodeView) {
        self.unused.retain(|(name, endpoint), _| {
            let here = endpoint.is_none_or(|it| node.addresses.contains(&it.ip()));
            **name != *node.name || !here
        });
    }

    /// What is told to whoever begins to listen.
    pub(super) fn so_far(&self) -> Vec<Event> {
        let unused = self.unused.iter();
        let unused = unused.map(|((name, endpoint), reason)| Event::NodeNotUsed {
            name: Arc::clone(name),
            endpoint: *endpoint,
            reason: reason.clone(),
        });
        let nodes = self.nodes.iter().flat_map(|(name, nodes)| {
            let name = Arc::clone(name);
            std::iter::repeat_n(Event::NodeReady { name }, nodes.ready)
        });
        let workers = self.workers.iter().map(|(name, pid)| Event::WorkerReady {
            name: Arc::clone(name),
            pid: *pid,
        });
        let unused = unused.chain(self.awaited.clone());
        unused.chain(nodes).chain(workers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn at(port: u16) -> Option<SocketAddr> {
        Some(([10, 0, 0, 1], port).into())
    }

    fn view(name: &str) -> NodeView {
        NodeView {
            addresses: vec![[10, 0, 0, 1].into()],
            ..NodeView::new(name, Machine::look([]))
        }
    }

    fn not_used(name: &str, port: u16) -> Event {
        Event::NodeNotUsed {
            name: name.into(),
            endpoint: at(port),
            reason: "it is too old".into(),
        }
    }

    fn found(name: &str, port: u16) -> Event {
        Event::NodeFound {
            endpoint: at(port),
            node: Arc::new(view(name)),
        }
    }

    fn ready(name: &str) -> Event {
        Event::NodeReady { name: name.into() }
    }

    fn ended(name: &str) -> Event {
        Event::NodeEnded { name: name.into() }
    }

    fn so_far(known: &mut Known, events: &[Event]) -> Vec<Event> {
        events.iter().for_each(|event| known.heard(event));
        known.so_far()
    }

    #[test]
    fn of_two_nodes_that_share_a_name_one_stays() {
        let mut known = Known::default();
        let events = [found("a", 1), found("a", 2), ready("a"), ready("a")];
        assert_eq!(so_far(&mut known, &events), [ready("a"), ready("a")]);
        assert_eq!(so_far(&mut known, &[ended("a")]), [ready("a")]);
        assert_eq!(so_far(&mut known, &[ended("a"), ended("a")]), []);
        // Not all that is told came first.
        assert_eq!(so_far(&mut known, &[ready("a"), ended("a")]), []);
    }

    #[test]
    fn a_node_is_not_used_until_it_is() {
        let mut known = Known::default();
        let both = [not_used("a", 1), not_used("b", 2)];
        assert_eq!(so_far(&mut known, &both), both);
        assert_eq!(so_far(&mut known, &[found("a", 1)]), [not_used("b", 2)]);
        known.is_to_be_used(&view("b"));
        assert_eq!(known.so_far(), []);
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
        assert_eq!(so_far(&mut known, &[ready("a")]), [ready("a")]);
    }
}
