//! Where a call has to run, as users say it.

use std::fmt;
use std::sync::Arc;

use coros_core::remote::NodeId;
use serde::{Deserialize, Serialize};

/// A node or a worker of a scheduler, by its name: see [`Call::at`](crate::Call::at).
///
/// Several nodes may have one name. Then each that [`Scheduler::nodes`](crate::Scheduler::nodes) gives is that very
/// node, and equal to no other and to none that is made by its name.
///
/// ```
/// # use coros_cluster::{Call, Target};
/// # fn f(call: Call<u32>) {
/// let call = call.at(Target::node("farm-1"));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    kind: Kind,
    name: Arc<str>,
    /// Which of the nodes that have the name.
    node: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    Node,
    Worker,
}

/// What this machine is called as a node of a scheduler that has its workers here.
pub(super) const HERE: &str = "local";

impl Target {
    /// A node, by the name that it has on its network; of several that have it, the one that was found first.
    /// This machine is `local` to a [scheduler](crate::Scheduler::local) with its workers here.
    pub fn node(name: impl Into<Arc<str>>) -> Self {
        Target::new(Kind::Node, name.into())
    }

    /// Of several nodes of that name, that one.
    pub(super) fn very_node(name: Arc<str>, node: NodeId) -> Self {
        Target {
            node: Some(node),
            ..Target::node(name)
        }
    }

    /// A worker, by the name that it has in [`Event`](crate::Event)s and [`Completion`](crate::Completion)s.
    pub fn worker(name: impl Into<Arc<str>>) -> Self {
        Target::new(Kind::Worker, name.into())
    }

    fn new(kind: Kind, name: Arc<str>) -> Self {
        let node = None;
        Target { kind, name, node }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it means a node of that name.
    pub(super) fn is_node(&self, name: &str, node: Option<NodeId>) -> bool {
        self.kind == Kind::Node
            && *self.name == *name
            && self.node.is_none_or(|very| node == Some(very))
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, coros_core::readable(&self.name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Node => "node",
            Kind::Worker => "worker",
        })
    }
}
