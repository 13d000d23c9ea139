//! The nodes that a service sees, whoever uses them: a state machine.
//!
//! Each is looked at every two seconds, and what has changed since is told as clients are told of it. What passes in
//! between is not seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use coros_core::Exit;
use coros_core::remote::NodeId;
use coros_net::Location;

use super::NodeStatus;
use crate::daemon::protocol::{NodeState, View};
use crate::scheduler::Event;
use crate::scheduler::absent::Absent;
use crate::scheduler::finder::Found;
use crate::scheduler::liaison::Gone;

#[derive(Debug, Default)]
pub(super) struct Lookout {
    nodes: BTreeMap<NodeId, Seen>,
    /// Those that were lost and have not come back.
    absent: Absent,
    /// Why others are of no use, by what they are called and where they listen.
    unused: BTreeMap<String, String>,
}

/// A node, when it was looked at last.
#[derive(Debug)]
struct Seen {
    status: NodeStatus,
    at: Location,
    state: NodeState,
    /// It is about to end, and nothing is lent any more.
    drained: bool,
}

impl Lookout {
    /// Whether a node is there that was not before.
    pub(super) fn is_new(&self, node: NodeId) -> bool {
        !self.nodes.contains_key(&node)
    }

    /// A node was looked at: what is new.
    pub(super) fn seen(&mut self, found: &Found) -> Vec<Event> {
        let (at, view) = (&found.at, &found.view);
        self.unused.remove(&at.to_string());
        let status = status(found);
        let node = || Arc::clone(&status.node);
        let mut news = Vec::new();
        let before = self.nodes.get(&at.node).map(|it| (it.state, it.drained));
        let (state, was_drained) = before.unwrap_or((NodeState::Open, false));
        if before.is_none() {
            let node = node();
            news.push(match self.absent.is_back(at) {
                true => Event::NodeReturned { node },
                false => Event::NodeFound { node },
            });
        }
        if state != view.state {
            news.push(Event::of_state(view.state, node()));
        }
        let drained = is_drained(view);
        if drained && !was_drained {
            news.push(Event::NodeDrained { node: node() });
        }
        let seen = Seen {
            status,
            at: at.clone(),
            state: view.state,
            drained,
        };
        self.nodes.insert(at.node, seen);
        news
    }

    /// A node cannot be looked at, or not any more: that, unless it was told before.
    pub(super) fn not_used(&mut self, at: Location, reason: String) -> Option<Event> {
        let before = self.unused.insert(at.to_string(), reason.clone());
        let Location { name, endpoint, .. } = at;
        (before.as_ref() != Some(&reason)).then_some(Event::NodeNotUsed {
            name,
            endpoint,
            reason,
        })
    }

    /// The daemon of a node is no more.
    pub(super) fn gone(&mut self, node: NodeId, exit: &Exit) -> Option<Event> {
        let Seen {
            at, state, status, ..
        } = self.nodes.remove(&node)?;
        self.absent.lost(at);
        Some(Gone::of(exit).when(state).event(status.node))
    }

    /// Those that are there, by name.
    pub(super) fn status(&self) -> Vec<NodeStatus> {
        let mut all: Vec<_> = self.nodes.values().map(|it| it.status.clone()).collect();
        all.sort_by(|one, other| one.node.name.cmp(&other.node.name));
        all
    }
}

fn is_drained(view: &View) -> bool {
    view.state == NodeState::Draining && view.lent == 0
}

fn status(found: &Found) -> NodeStatus {
    let View {
        slots, lent, state, ..
    } = found.view;
    NodeStatus {
        endpoint: found.at.endpoint,
        node: Arc::new(found.shown()),
        slots,
        lent,
        suspended: state == NodeState::Suspended,
        draining: state == NodeState::Draining,
    }
}

#[cfg(test)]
mod tests;
