//! What a node has: its platform, cores, memory, graphics processors and labels, and how busy it is.
//!
//! [`Machine`] is what does not change while a node runs; it is looked at once. [`Load`] is what
//! does, and is cheap enough to be looked at every second. Both travel to clients. [`Target`] is
//! the other side: what a program was built for, which [fits](Target::fits) a machine or tells
//! what to build instead.
//!
//! Where the system says how much of the machine this process may use (its processor affinity, the
//! control groups it is in), the answer is that, and not what is built in.

pub(crate) mod elf;
mod features;
mod label;
mod platform;
mod resource;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use coros_core::remote::told;
use serde::{Deserialize, Serialize};
use sysinfo::{CGroupLimits, MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

pub use features::CpuFeatures;
pub use label::{Label, LabelError};
pub use platform::{CpuLevel, Platform, Version};
pub use resource::{Resource, ResourceError};
pub use target::{Libc, Mismatch, Target, TargetError};

/// What a node has and does not change while it runs.
///
/// It is what the node says of itself, in words that are fit to be shown once it has travelled.
///
/// ```
/// use coros_cluster::machine::Machine;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let machine = Machine::look(["gpu=a100".parse()?]);
/// println!("{}: {} cores, {}", machine.name, machine.cores, machine.platform);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// Its host name; empty where it has none.
    #[serde(deserialize_with = "told")]
    pub name: String,
    /// What programs it runs.
    pub platform: Platform,
    /// How many cores there are for this process, whole ones.
    pub cores: NonZeroU32,
    /// How much memory there is for this process, in bytes; 0 where the system does not tell.
    pub memory: u64,
    /// How many graphics processors there are to compute with: NVIDIA's with a driver, AMD's with
    /// ROCm. Those that only drive a display do not count.
    pub gpus: u32,
    /// What its owner says of it.
    pub labels: BTreeSet<Label>,
    /// What else there is for calls that need it, as its owner says; of two with one name the larger counts. One called
    /// `gpu` counts in place of the graphics processors that were found.
    pub resources: BTreeSet<Resource>,
}

impl Machine {
    /// Looks at the machine that this process runs on.
    ///
    /// Blocks for some milliseconds while it reads small files of the system.
    pub fn look(labels: impl IntoIterator<Item = Label>) -> Machine {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Machine {
            name: System::host_name().unwrap_or_default(),
            platform: Platform::look(),
            cores: u32::try_from(cores)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN),
            memory: Memory::look().total,
            gpus: gpus(Path::new("/")),
            labels: labels.into_iter().collect(),
            resources: BTreeSet::new(),
        }
    }
}

/// How busy a node is, and what is free of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// How many processes ran or wanted to, on average over the last minute; 0 where the system
    /// does not tell.
    pub average: f32,
    /// How much memory can still be had, in bytes, counting what the system would give up for it;
    /// 0 where it does not tell. A node tells of no more than it lends.
    pub memory_free: u64,
    /// How much can still be written to the file system of the node's folder, in bytes; `None`
    /// where the system does not tell.
    pub disk_free: Option<u64>,
}

impl Load {
    /// Looks at the machine that this process runs on, and at the file system of `folder`.
    ///
    /// Takes less than a millisecond, but for as long as that file system is stuck, if it is one
    /// of another machine: not for a thread of a runtime.
    pub fn look(folder: &Path) -> Load {
        Load {
            // A sum of processes: no need for 53 bits.
            average: System::load_average().map_or(0.0, |load| load.one as f32),
            memory_free: Memory::look().free,
            disk_free: disk_free(folder),
        }
    }
}

/// How much memory calls may need where so much is told, which is 0 where nothing is.
pub(crate) fn memory_for_calls(told: u64) -> u64 {
    match told {
        0 => u64::MAX,
        bytes => bytes,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Memory {
    total: u64,
    free: u64,
}

impl Memory {
    fn look() -> Memory {
        let Ok(mut system) = System::new() else {
            return Memory::default();
        };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let all = Memory {
            total: system.total_memory(),
            free: system.available_memory(),
        };
        let limits = sysinfo::get_current_pid().ok().and_then(|me| {
            let itself = ProcessesToUpdate::Some(&[me]);
            let nothing = ProcessRefreshKind::nothing().without_tasks();
            system.refresh_processes_specifics(itself, false, nothing);
            system.process(me)?.cgroup_limits()
        });
        all.within(limits.as_ref())
    }

    /// What control groups leave of it.
    fn within(self, limits: Option<&CGroupLimits>) -> Memory {
        match limits {
            Some(limits) => Memory {
                total: self.total.min(limits.total_memory),
                free: self.free.min(limits.free_memory),
            },
            None => self,
        }
    }
}

/// How much may still be written to the file system of a folder.
fn disk_free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).ok()?;
        // Some that are not disks have no size.
        (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Counts what the drivers for computing have made known; `root` is where the system's files are.
///
/// A render node (`/dev/dri/renderD*`) is no sign of one: whatever has a screen has that.
fn gpus(root: &Path) -> u32 {
    let entries = |folder: &str| {
        fs::read_dir(root.join(folder))
            .into_iter()
            .flatten()
            .flatten()
    };
    let nvidia = entries("dev").filter(|entry| {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("nvidia"));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    });
    // Processors are nodes too, without such units.
    let amd = entries("sys/class/kfd/kfd/topology/nodes").filter(|node| {
        let properties = fs::read_to_string(node.path().join("properties")).unwrap_or_default();
        let units = properties
            .lines()
            .find_map(|line| line.strip_prefix("simd_count "));
        units.is_some_and(|units| units.trim() != "0")
    });
    u32::try_from(nvidia.count() + amd.count()).unwrap_or(u32::MAX)
}
