//! How a program is run, as far as it can be told to somebody else who sees to it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::liaison::FAREWELL;
use super::{core, pool};
use crate::daemon::leases::Terms;

/// So many bulky calls keep a worker busy while the next is on its way.
const BULKY_PREFETCH: usize = 4;

/// What a scheduler has been told, wherever its workers are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(super) prefetch: usize,
    pub(super) retries: u32,
    pub(super) start_limit: Duration,
    /// With what it takes to tidy up.
    pub(super) grace: Duration,
    pub(super) setup_limit: Duration,
    /// Whether hosts are prepared, and tidied up, unless something else is said of one.
    pub(super) prepares: bool,
    pub(super) tidies_up: bool,
    /// How long a worker may give no sign of life.
    pub(super) silence: Duration,
    /// What workers log.
    pub(super) log: String,
    /// Where they find files.
    pub(super) files: Vec<(String, PathBuf)>,
}

/// How it uses the nodes of a network.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) terms: Terms,
    /// How long calls wait when there is no node.
    pub(super) patience: Duration,
    /// How many workers there may be in all.
    pub(super) limit: usize,
}

/// How long calls wait at a service when there is no node, whatever its client says.
const LONGEST_PATIENCE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Usage {
    /// What a service makes of what a client says.
    pub(crate) fn accepted(self) -> Self {
        Usage {
            patience: self.patience.min(LONGEST_PATIENCE),
            ..self
        }
    }
}

impl Plan {
    pub(crate) fn start_limit(&self) -> Duration {
        self.start_limit
    }

    pub(crate) fn silence(&self) -> Duration {
        self.silence
    }

    pub(super) fn core(&self, hosts_may_come: bool) -> core::Config {
        core::Config {
            prefetch: self.prefetch,
            bulky_prefetch: self.prefetch.min(BULKY_PREFETCH),
            retries: self.retries,
            hosts_may_come,
        }
    }

    pub(super) fn pool(&self) -> pool::Config {
        pool::Config {
            start_limit: self.start_limit,
            grace: self.grace,
            prepares: self.prepares,
            tidies_up: self.tidies_up,
            far: false,
        }
    }

    /// How long a worker may take until it takes calls.
    pub(super) fn until_ready(&self) -> Duration {
        let limit = self.start_limit.saturating_add(self.setup_limit);
        limit.min(LONGEST_PATIENCE)
    }

    /// How long a scheduler may take to end when it is told to.
    pub(super) fn ending(&self) -> Duration {
        self.pool().closing() + FAREWELL + Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_not_patient_for_ever() {
        let mut usage = samples::usage();
        assert_eq!(usage.accepted().patience, usage.patience);
        usage.patience = Duration::MAX;
        assert_eq!(usage.accepted().patience, LONGEST_PATIENCE);
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// What nobody has said anything about.
    pub(crate) fn plan() -> Plan {
        Plan {
            prefetch: 1,
            retries: 1,
            start_limit: Duration::from_secs(10),
            grace: Duration::from_secs(1),
            setup_limit: Duration::from_secs(10),
            prepares: false,
            tidies_up: false,
            silence: Duration::from_secs(2),
            log: "off".into(),
            files: Vec::new(),
        }
    }

    pub(crate) fn usage() -> Usage {
        Usage {
            terms: Terms {
                exclusive: false,
                priority: 0,
            },
            patience: Duration::from_secs(60),
            limit: 4,
        }
    }
}
