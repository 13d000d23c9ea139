//! Why a name is not given, or not found.

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;

/// Why a name could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Somebody else of this node has the name.
    #[error("{holder} of this node is registered as {name:?} already")]
    Taken {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: String,
    },
    /// Whoever would have the name has ended, or been closed.
    #[error("{holder} has ended and cannot be registered as {name:?}")]
    Ended {
        /// The name.
        name: Arc<str>,
        /// Who would have it.
        holder: String,
    },
    /// Whoever would have the name lives on another node.
    #[error(
        "{holder} lives on another node and cannot be registered here as {name:?}: register it there"
    )]
    Remote {
        /// The name.
        name: Arc<str>,
        /// Who would have it.
        holder: String,
    },
    /// No such name can travel.
    #[error("{name:?} is no name: use 1 to {max} bytes", max = super::MAX_NAME)]
    BadName {
        /// The name.
        name: Arc<str>,
    },
    /// The node has as many names as it may.
    #[error("no room for the name {name:?}: this node has {limit} already, unregister some")]
    TooMany {
        /// The name.
        name: Arc<str>,
        /// How many names a node may have.
        limit: usize,
    },
    /// The node has closed.
    #[error("this node has closed")]
    Closed,
}

/// Why a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// Nobody that this node knows of has the name.
    #[error("nobody is registered as {name:?}: check the name, or wait for it with `locate`")]
    NotFound {
        /// The name.
        name: Arc<str>,
    },
    /// Nobody had the name within the time limit.
    #[error(
        "nobody was registered as {name:?} within {limit:?}: check the name, and whether there is a way to its node"
    )]
    TimedOut {
        /// The name.
        name: Arc<str>,
        /// The time limit.
        limit: Duration,
    },
    /// Whoever has the name is something else.
    #[error(transparent)]
    WrongType(Box<WrongType>),
    /// There was no answer from the node that was asked.
    #[error("{node} did not answer who is registered there as {name:?}: {reason}")]
    NoAnswer {
        /// The name.
        name: Arc<str>,
        /// The node that was asked.
        node: Box<Location>,
        /// Why not.
        reason: String,
    },
    /// This node has closed.
    #[error("this node has closed")]
    Closed,
}

/// A name leads to something else than was asked for. Also when the types have the same name but
/// other fields, as in two versions of a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} at {holder} is a {found}, not a {wanted} as {asker} expects{}",
    if found == wanted { ": the two are of different versions" } else { "" }
)]
pub struct WrongType {
    /// The name.
    pub name: Arc<str>,
    /// The node that has it.
    pub holder: Location,
    /// What it is there.
    pub found: String,
    /// The node that asks.
    pub asker: Location,
    /// The type asked for.
    pub wanted: String,
}
