//! Why a name is not given, or not found.

use std::sync::Arc;
use std::time::Duration;

/// Why a name could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Somebody else has the name.
    #[error("the name {name:?} is taken by {holder}")]
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
    /// The coroutine or channel lives on another node.
    #[error("what lives on another node cannot be registered here as {name:?}: register it there")]
    Remote {
        /// The name.
        name: Arc<str>,
    },
}

/// Why a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// Nobody has the name.
    #[error("nobody is registered as {name:?}")]
    NotFound {
        /// The name.
        name: Arc<str>,
    },
    /// Nobody had the name within the time limit.
    #[error("nobody was registered as {name:?} within {limit:?}")]
    TimedOut {
        /// The name.
        name: Arc<str>,
        /// The time limit.
        limit: Duration,
    },
    /// Whoever has the name takes messages of another type.
    #[error("{holder}, registered as {name:?}, takes messages of type {receives}, not {wanted}")]
    WrongType {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: String,
        /// The type of its messages.
        receives: &'static str,
        /// The type asked for.
        wanted: &'static str,
    },
}
