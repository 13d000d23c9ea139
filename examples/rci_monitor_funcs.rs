//! What `rci_monitor_server` and `rci_monitor_client` have in common: the types of the function
//! that one offers and the other starts.

use serde::{Deserialize, Serialize};

/// The name under which the server offers its function.
pub(crate) const WORK: &str = "work";

/// What there is to do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Divide the first number by the second.
    Divide(u32, u32),
    /// Wait for a message, which never comes.
    Wait,
}
