//! What happened on a simulated network.

use std::fmt;
use std::time::Duration;

/// One line of a simulated network's history; see [`SimNetwork::events`](super::SimNetwork::events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SimEvent {
    /// How long after the network was made.
    pub at: Duration,
    /// What happened, for people; its wording is no promise.
    pub what: String,
}

impl fmt::Display for SimEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:9.3}s {}", self.at.as_secs_f64(), self.what)
    }
}
