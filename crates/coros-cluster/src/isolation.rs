//! What holds a worker to its place: its own folder, so much memory, so many processes, and nobody
//! else's files, signals or memory.
//!
//! A process [applies](apply) it to itself, for good, while it has one thread and before anything of
//! the user's runs; what it starts inherits it. The daemon does the rest: a process group, a folder,
//! and a [`Cgroup`] where it can make one. What a limit did is told as what it is: [`explain`].
//!
//! Each mechanism does what the kernel has of it, and is told as a [`Check`]: what it does here, or
//! why not. [`probe`] tells that without applying any.
//!
//! A program that applies this to itself is held from accidents and curiosity: a fork bomb, a memory
//! hog, a runaway writer, the secret of the cluster. One that is made to get out has had its say
//! before `main`. To hold that as well, another process applies this and then becomes the program
//! (`exec`).

mod check;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
mod ending;
#[cfg(target_os = "linux")]
mod linux;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::check::Check;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::elsewhere::{Cgroup, Cgroups, apply, probe};
pub(crate) use self::ending::{amount, explain, hit, how_it_ended, signal_of};
#[cfg(target_os = "linux")]
pub(crate) use self::linux::{Cgroup, Cgroups, apply, probe};

/// How a process is to be isolated. Travels in the handover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Isolation {
    /// Its own folder: what it has of the disk. Has to be there.
    pub(crate) folder: PathBuf,
    /// What it may read and execute beside its folder, its own executable, and where the system has
    /// its programs and settings. Places that are not there are left out.
    pub(crate) readable: Vec<PathBuf>,
    /// What it may write to beside its folder, as above.
    pub(crate) writable: Vec<PathBuf>,
    /// What is neither, though it lies inside of a place that is: secrets, the daemon's folder. What
    /// is made beside them later cannot be used either. A place named above that lies inside of a
    /// hidden one is not hidden.
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) network: Network,
    /// How much further it stands back for others than whoever started it, up to 19, which is altogether.
    pub(crate) nice: u8,
    pub(crate) limits: Limits,
    /// What its control group counts: [`Cgroup::counts`].
    pub(crate) counted: Counted,
}

impl Isolation {
    /// A folder of its own, no other limits.
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Isolation {
            folder: folder.into(),
            readable: Vec::new(),
            writable: Vec::new(),
            hidden: Vec::new(),
            network: Network::All,
            nice: 0,
            limits: Limits::default(),
            counted: Counted::default(),
        }
    }
}

/// How much a process and all that it starts may have. `None` is what the system gives.
///
/// None leaves a core file behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Memory, in bytes: of a worker, and where there is a control group of them, of all workers together. Where
    /// no control group counts it, each process has as much: see `rlimits`.
    pub(crate) memory: Option<u64>,
    /// Processes, where each thread is one.
    pub(crate) processes: Option<u64>,
    /// The size of each file that it writes, in bytes.
    pub(crate) file_size: Option<u64>,
    /// Open files, sockets and pipes of each process.
    pub(crate) open_files: Option<u64>,
}

/// Which limits a control group keeps, so that no process has to keep them itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
}

/// What a control group has seen of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// So many were killed because they had used up their memory.
    pub(crate) killed_for_memory: u64,
    /// The most memory that they had, in bytes; 0 where nobody knows.
    pub(crate) most_memory: u64,
    /// So many times one more process was refused.
    pub(crate) processes_refused: u64,
}

/// What a process has of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Network {
    /// All of it.
    All,
    /// Connections by TCP to these ports, whoever has them, and listening at ports that the system
    /// chooses: what a worker needs whose client is at one of them. With no ports at all nothing.
    Only(Vec<u16>),
}

/// What holds a process now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied(pub(crate) Vec<Check>);

impl Applied {
    /// What was asked for and is not there.
    #[allow(dead_code, reason = "for tests; `probe` says it beforehand")]
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|check| !check.available)
    }
}

/// Why a process cannot be isolated, though the system has the means.
#[derive(Debug, thiserror::Error)]
#[error("cannot isolate this process: {doing}: {why}")]
pub(crate) struct ApplyError {
    doing: &'static str,
    why: String,
}

/// Why a control group could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the control group {}: {why}", .folder.display())]
pub(crate) struct MakeError {
    folder: PathBuf,
    why: io::Error,
}
