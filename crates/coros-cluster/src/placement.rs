//! Which nodes are used, and how much of each.
//!
//! A [`Placement`] is made of [`Rule`]s. They are tried in order; the first that matches a node
//! decides, and a node that none matches is used whole. Before them a list of nodes may exclude all
//! others, after them a function of the user's may decide otherwise. Deciding is a plain function
//! of what is known of a node: nothing is asked or kept.
//!
//! ```
//! use coros_cluster::placement::{Placement, Rule};
//!
//! let placement = Placement::builder()
//!     // Leave a core to the person who works there.
//!     .rule(Rule::new().name("desk-*").cpus(-1).memory(0.5))
//!     .rule(Rule::new().address("10.1.0.0/16").label("gpu").workers(2))
//!     .rule(Rule::new().least_cores(8))
//!     // All others.
//!     .rule(Rule::new().exclude())
//!     .build()?;
//! # Ok::<(), coros_cluster::placement::PlacementError>(())
//! ```

mod error;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use coros_core::remote::NodeId;
use serde::{Deserialize, Serialize};

use crate::machine::{Load, Machine};

pub use error::PlacementError;
use error::Wrong;
use pattern::Pattern;
pub use rule::Rule;

/// What is known of a node when it is decided how it is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeView {
    /// The name that it has on the network, which another one may have too.
    pub name: String,
    /// Which node it is there, if that is known.
    pub id: Option<NodeId>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where it listens, if that is known.
    pub endpoint: Option<SocketAddr>,
    /// What it has.
    pub machine: Machine,
    /// How busy it is.
    pub load: Load,
}

impl NodeView {
    /// A node without a known address, of which nothing is free that is known.
    pub fn new(name: impl Into<String>, machine: Machine) -> NodeView {
        NodeView {
            name: name.into(),
            id: None,
            addresses: Vec::new(),
            endpoint: None,
            machine,
            load: Load::default(),
        }
    }
}

/// Whether a node is used, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is used: so much of it.
    Use(Share),
    /// It is not, for this reason.
    Excluded(Excluded),
}

impl Decision {
    /// Not to use a node, for a reason in the user's words.
    pub fn exclude(why: impl Into<String>) -> Decision {
        Decision::Excluded(Excluded::Because(why.into()))
    }
}

/// How much of a node is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many of its cores, never more than it has.
    pub cpus: NonZeroU32,
    /// How much of its memory, in bytes, never more than it has; 0 where it does not tell how much
    /// that is.
    pub memory: u64,
    /// How many workers there are at most, never more than cores are used.
    pub workers: NonZeroU32,
}

impl Share {
    /// All that a machine has.
    pub fn whole(machine: &Machine) -> Share {
        Share {
            cpus: machine.cores,
            memory: machine.memory,
            workers: machine.cores,
        }
    }

    /// As much of it as a machine has.
    fn within(self, machine: &Machine) -> Share {
        let cpus = self.cpus.min(machine.cores);
        Share {
            cpus,
            memory: self.memory.min(machine.memory),
            workers: self.workers.min(cpus),
        }
    }
}

/// Why a node is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Excluded {
    /// There is a list of nodes, and it is not on that.
    #[error("it is not among the nodes that are listed")]
    NotListed,
    /// The rule of this number says so; the first one is 1.
    #[error("rule {0} excludes it")]
    ByRule(usize),
    /// The user's function says so, for this reason.
    #[error("{0}")]
    Because(String),
}

type Allocate = Arc<dyn Fn(&NodeView, Decision) -> Decision + Send + Sync>;

/// Decides which nodes are used, and how much of each; see the [module](self).
///
/// The default uses all of every node.
#[derive(Clone, Default)]
pub struct Placement {
    listed: Option<Vec<Pattern>>,
    rules: Vec<Rule>,
    allocate: Option<Allocate>,
}

impl Placement {
    /// Starts a placement without rules.
    pub fn builder() -> PlacementBuilder {
        PlacementBuilder::default()
    }

    /// Decides about a node. What is used of it is within what it has.
    ///
    /// # Panics
    /// When the user's function does.
    pub fn decide(&self, node: &NodeView) -> Decision {
        if let Some(listed) = &self.listed
            && !listed.iter().any(|pattern| pattern.names_node(node))
        {
            return Decision::Excluded(Excluded::NotListed);
        }
        let decision = self.by_rules(node);
        let decision = match &self.allocate {
            Some(allocate) => allocate(node, decision),
            None => decision,
        };
        match decision {
            Decision::Use(share) => Decision::Use(share.within(&node.machine)),
            excluded @ Decision::Excluded(_) => excluded,
        }
    }

    fn by_rules(&self, node: &NodeView) -> Decision {
        let first = self.rules.iter().position(|rule| rule.matches(node));
        let Some(at) = first else {
            return Decision::Use(Share::whole(&node.machine));
        };
        match self.rules[at].share(&node.machine) {
            Some(share) => Decision::Use(share),
            None => Decision::Excluded(Excluded::ByRule(at + 1)),
        }
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement")
            .field("listed", &self.listed)
            .field("rules", &self.rules)
            .field("allocate", &self.allocate.is_some())
            .finish()
    }
}

/// A placement in the making: see [`Placement::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct PlacementBuilder {
    placement: Placement,
    wrong: Option<PlacementError>,
}

impl PlacementBuilder {
    /// Adds a rule, to be tried after those that are there already.
    pub fn rule(mut self, rule: Rule) -> Self {
        let place = || format!("rule {}", self.placement.rules.len() + 1);
        if let Some(wrong) = &rule.wrong {
            self.wrong.get_or_insert_with(|| PlacementError {
                place: place(),
                wrong: wrong.clone(),
            });
        }
        self.placement.rules.push(rule);
        self
    }

    /// Excludes all nodes but these, and those given in further calls. Each is given by its name,
    /// its address, a pattern for one of the two, such as `farm-*`, or a network such as
    /// `10.0.0.0/8`. The rules then say how they are used, and may exclude some.
    ///
    /// ```
    /// use coros_cluster::machine::Machine;
    /// use coros_cluster::placement::{Decision, Excluded, NodeView, Placement};
    ///
    /// let placement = Placement::builder().only(["farm-1", "10.0.0.7"]).build()?;
    /// let other = NodeView::new("farm-2", Machine::look([]));
    /// assert_eq!(placement.decide(&other), Decision::Excluded(Excluded::NotListed));
    /// # Ok::<(), coros_cluster::placement::PlacementError>(())
    /// ```
    pub fn only<T: AsRef<str>>(mut self, nodes: impl IntoIterator<Item = T>) -> Self {
        let listed = self.placement.listed.get_or_insert_default();
        for node in nodes {
            match Pattern::for_node(node.as_ref()) {
                Ok(pattern) => listed.push(pattern),
                Err(wrong) => {
                    self.wrong.get_or_insert_with(|| PlacementError {
                        place: "the list of nodes".into(),
                        wrong,
                    });
                }
            }
        }
        self
    }

    /// Lets a function have the last word: it is given what the rules have decided, and may decide
    /// otherwise, except about nodes that are excluded because others are [listed](Self::only).
    /// What it uses beyond what a node has is not used.
    ///
    /// It is called again whenever something has changed, and must not block. A node for which it panics is not
    /// used.
    ///
    /// ```
    /// use coros_cluster::placement::{Decision, Placement};
    ///
    /// let placement = Placement::builder()
    ///     .allocate(|node, decision| match decision {
    ///         Decision::Use(_) if node.load.average > 4.0 => Decision::exclude("it is busy"),
    ///         decision => decision,
    ///     })
    ///     .build()?;
    /// # Ok::<(), coros_cluster::placement::PlacementError>(())
    /// ```
    pub fn allocate(
        mut self,
        f: impl Fn(&NodeView, Decision) -> Decision + Send + Sync + 'static,
    ) -> Self {
        self.placement.allocate = Some(Arc::new(f));
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// The first thing that makes no sense: a pattern, an address, a label, a number.
    pub fn build(self) -> Result<Placement, PlacementError> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(self.placement),
        }
    }
}
