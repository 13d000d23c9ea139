//! What a node lets a worker have.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::spare::Spare;
use crate::isolation::{Cgroups, Isolation, Limits};

/// How much workers stand back for the daemon: it has to answer while they compute, so as not to be taken for
/// lost.
const NICE: u8 = 5;

/// What the workers of a daemon may have.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Each of them; of memory, all of them together, where there are control groups.
    pub(super) limits: Limits,
    /// How many bytes of the disk the workers of a client may fill.
    pub(super) work: u64,
    /// What becomes the next one.
    pub(super) spare: Arc<Spare>,
    /// What they may read, besides what the system has for everybody.
    pub(super) readable: Vec<PathBuf>,
    /// What they may not, wherever it is.
    pub(super) hidden: Vec<PathBuf>,
}

/// Where the daemons of this process have control groups.
static CGROUPS: OnceLock<Cgroups> = OnceLock::new();

/// Makes a control group for all workers of a daemon, which have so much memory together, where that can
/// be. It may move the process into one, so what the machine has must have been looked at before. Blocks for a
/// moment.
pub(super) fn prepare(memory: Option<u64>) -> Option<Arc<Cgroups>> {
    let cgroups = CGROUPS.get_or_init(Cgroups::open);
    for check in cgroups.checks().iter().filter(|check| !check.available) {
        tracing::info!("without {}: {}", check.name, check.detail);
    }
    let together = Limits {
        memory,
        ..Limits::default()
    };
    let made = cgroups.within(&together);
    made.inspect_err(|error| tracing::warn!(%error, "without control groups"))
        .ok()
        .map(Arc::new)
}

impl Rules {
    /// For a worker with a folder of its own, others that it may write to, and what it may only read.
    pub(super) fn for_worker(
        &self,
        folder: &Path,
        write: Vec<PathBuf>,
        read: Vec<PathBuf>,
    ) -> Isolation {
        let mut isolation = Isolation::new(folder);
        isolation.writable = write;
        isolation.readable.clone_from(&self.readable);
        isolation.readable.extend(read);
        isolation.hidden.clone_from(&self.hidden);
        isolation.limits = self.limits;
        isolation.nice = NICE;
        isolation
    }
}
