//! What a node lets a worker have.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::isolation::{Cgroups, Isolation, Limits};
use crate::process::Bounds;

/// What the workers of a daemon may have.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Each of them.
    pub(super) limits: Limits,
    /// What they may read, besides what the system has for everybody.
    pub(super) readable: Vec<PathBuf>,
    /// What they may not, wherever it is.
    pub(super) hidden: Vec<PathBuf>,
}

/// Where the workers of all daemons of this process have their control groups.
static CGROUPS: OnceLock<Cgroups> = OnceLock::new();

/// Looks for control groups, once in a process. It may move the process into one, so what the machine has
/// must have been looked at before. Blocks for a moment.
pub(super) fn prepare() {
    let cgroups = CGROUPS.get_or_init(Cgroups::open);
    for check in cgroups.checks().iter().filter(|check| !check.available) {
        tracing::info!("without {}: {}", check.name, check.detail);
    }
}

impl Rules {
    /// For a worker with a folder of its own, one that it shares, and what it may only read.
    pub(super) fn for_worker(&self, folder: &Path, shared: PathBuf, read: Vec<PathBuf>) -> Bounds {
        let mut isolation = Isolation::new(folder);
        isolation.writable = vec![shared];
        isolation.readable.clone_from(&self.readable);
        isolation.readable.extend(read);
        isolation.hidden.clone_from(&self.hidden);
        isolation.limits = self.limits;
        let cgroup = CGROUPS.get().and_then(|cgroups| {
            let made = cgroups.make(&self.limits);
            made.inspect_err(|error| tracing::debug!(%error, "without a control group"))
                .ok()
        });
        Bounds { isolation, cgroup }
    }
}
