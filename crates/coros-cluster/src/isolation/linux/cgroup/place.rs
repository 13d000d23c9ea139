//! A folder where groups can be made, and the files of a group in it. The same things have other
//! names in each version of control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Access, access};

use super::layout::{Layout, number};
use super::{Check, Counted, Counters, Limits};

/// The group to which a daemon moves that has its group for itself.
const DAEMON: &str = "coros-daemon";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder.
    pub(super) home: PathBuf,
    kind: Kind,
}

/// The first version has a hierarchy for each controller, the second has one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Processes,
    Unified { counts: Counted, moves: bool },
}

/// Where groups can be made, and why not elsewhere.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The one for all comes last: what is in a group of it can be killed at once.
    pub(super) places: Vec<Place>,
    /// What would be counted there, and why it is not.
    why_not: Vec<(Counted, String)>,
}

impl Found {
    /// Looks without changing anything.
    pub(super) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let layout = Layout::read(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        // What one version counts the other does not.
        let rest = Counted {
            memory: layout.memory.is_none(),
            processes: layout.processes.is_none(),
        };
        let mut found = Found::default();
        for (home, kind) in [
            (layout.memory, Kind::Memory),
            (layout.processes, Kind::Processes),
        ] {
            if let Some(home) = home {
                let place = Place { home, kind };
                found.add(place.counts(), writable(place));
            }
        }
        if let Some(own) = layout.unified {
            let place = Place::unified(&own, std::process::id());
            found.add(rest, place.and_then(writable));
        }
        found
    }

    fn add(&mut self, counts: Counted, place: Result<Place, String>) {
        match place {
            Ok(place) => self.places.push(place),
            Err(why) => self.why_not.push((counts, why)),
        }
    }

    /// Makes the places ready; those that cannot be are none.
    pub(super) fn prepare(&mut self) {
        for place in std::mem::take(&mut self.places) {
            let prepared = place.prepare().map_err(|why| refused(&place.home, &why));
            self.add(place.counts(), prepared.map(|()| place));
        }
    }

    /// What can be counted, and what to do for the rest; `root` does it in another way.
    pub(super) fn checks(&self, root: bool) -> Vec<Check> {
        let user = if root { "" } else { "--user " };
        let check = |name, has: fn(&Counted) -> bool| {
            if let Some(place) = self.places.iter().find(|place| has(&place.counts())) {
                let version = match place.kind {
                    Kind::Unified { .. } => 2,
                    _ => 1,
                };
                let home = place.home.display();
                return Check::yes(name, format!("version {version}, in {home}"));
            }
            let mut why_not = self.why_not.iter();
            let why = match (why_not.find(|(counts, _)| has(counts)), self.places.last()) {
                (Some((_, why)), _) => why.clone(),
                (None, Some(place)) => refused(&place.home, &"it has no controller for that"),
                (None, None) => {
                    let why = "there are no control groups";
                    let to_do =
                        "mount them (cgroup2, at /sys/fs/cgroup), or let the container see them";
                    return Check::no(name, why, to_do);
                }
            };
            let what_to_do = format!(
                "start the node as a service with Delegate=yes, or by `systemd-run {user}--scope -p \
                 Delegate=yes`"
            );
            Check::no(name, why, what_to_do)
        };
        vec![
            check("cgroup: memory", |counts| counts.memory),
            check("cgroup: processes", |counts| counts.processes),
        ]
    }
}

fn refused(home: &Path, why: &dyn std::fmt::Display) -> String {
    format!("cannot use the control group {}: {why}", home.display())
}

fn writable(place: Place) -> Result<Place, String> {
    let may = |path: &Path| access(path, Access::WRITE_OK).map_err(|why| refused(path, &why));
    may(&place.home)?;
    if let Kind::Unified { counts, .. } = place.kind
        && counts != Counted::default()
    {
        may(&place.home.join("cgroup.subtree_control"))?;
    }
    Ok(place)
}

impl Place {
    /// Finds the place for groups, from the group that a process is in.
    fn unified(own: &Path, process: u32) -> Result<Place, String> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let has = |text: &str, name| text.split_whitespace().any(|word| word == name);
        let place = |home: &Path, moves| {
            let controllers = read(home.join("cgroup.controllers"));
            let counts = Counted {
                memory: has(&controllers, "memory"),
                processes: has(&controllers, "pids"),
            };
            let moves = moves && counts != Counted::default();
            Place {
                home: home.to_owned(),
                kind: Kind::Unified { counts, moves },
            }
        };
        // It has moved already; it, or who started it.
        if own.ends_with(DAEMON)
            && let Some(home) = own.parent()
        {
            return Ok(place(home, false));
        }
        // Only the root may have processes and groups that are limited beside each other.
        if !own.join("cgroup.type").exists() {
            return Ok(place(own, false));
        }
        let found = place(own, true);
        let processes = read(own.join("cgroup.procs"));
        let others = processes
            .lines()
            .filter(|line| line.parse() != Ok(process))
            .count();
        match found.kind {
            Kind::Unified { moves: true, .. } if others > 0 => Err(refused(
                own,
                &format_args!("other processes are in it ({others})"),
            )),
            _ => Ok(found),
        }
    }

    fn counts(&self) -> Counted {
        match self.kind {
            Kind::Memory => Counted {
                memory: true,
                processes: false,
            },
            Kind::Processes => Counted {
                memory: false,
                processes: true,
            },
            Kind::Unified { counts, .. } => counts,
        }
    }

    /// The place for groups inside of one that was made here.
    pub(super) fn inside(&self, group: &Path) -> io::Result<Self> {
        let kind = match self.kind {
            // Nobody is in it.
            Kind::Unified { counts, .. } => Kind::Unified {
                counts,
                moves: false,
            },
            kind => kind,
        };
        let place = Place {
            home: group.to_owned(),
            kind,
        };
        place.prepare()?;
        if place.counts().memory {
            // One of those inside is enough.
            let _ = fs::write(group.join("memory.oom.group"), "0");
        }
        Ok(place)
    }

    fn prepare(&self) -> io::Result<()> {
        let Kind::Unified { counts, moves } = self.kind else {
            return Ok(());
        };
        if moves {
            let daemon = self.home.join(DAEMON);
            match fs::create_dir(&daemon) {
                Err(why) if why.kind() != io::ErrorKind::AlreadyExists => return Err(why),
                _ => fs::write(daemon.join("cgroup.procs"), std::process::id().to_string())?,
            }
        }
        for (wanted, name) in [(counts.memory, "+memory"), (counts.processes, "+pids")] {
            if wanted {
                fs::write(self.home.join("cgroup.subtree_control"), name)?;
            }
        }
        Ok(())
    }

    /// Whether a group with these limits is to be made here.
    pub(super) fn serves(&self, limits: &Limits) -> bool {
        match self.kind {
            Kind::Memory => limits.memory.is_some(),
            Kind::Processes => limits.processes.is_some(),
            Kind::Unified { .. } => true,
        }
    }

    /// Sets the limits of a group, and tells which it keeps.
    pub(super) fn limit(&self, group: &Path, limits: &Limits) -> io::Result<Counted> {
        let counts = self.counts();
        let memory = limits.memory.filter(|_| counts.memory);
        let processes = limits.processes.filter(|_| counts.processes);
        let write = |name, value: u64| fs::write(group.join(name), value.to_string());
        // Not where swap is not counted.
        let write_if_there = |name, value| match write(name, value) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            // Kernels refuse a file that is not theirs to make.
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            done => done,
        };
        if let Some(most) = memory {
            // More than that is not swapped out, which would only be slower, but the end.
            if let Kind::Unified { .. } = self.kind {
                write("memory.max", most)?;
                write_if_there("memory.swap.max", 0)?;
                // Half a worker is of no use.
                write_if_there("memory.oom.group", 1)?;
            } else {
                // Before Linux 5.11 groups inside of this one would have a limit of their own each.
                write_if_there("memory.use_hierarchy", 1)?;
                write("memory.limit_in_bytes", most)?;
                write_if_there("memory.memsw.limit_in_bytes", most)?;
            }
        }
        if let Some(most) = processes {
            write("pids.max", most)?;
        }
        Ok(Counted {
            memory: memory.is_some(),
            processes: processes.is_some(),
        })
    }

    /// Adds what a group has seen.
    pub(super) fn count(&self, group: &Path, counters: &mut Counters) {
        let read = |name, key| {
            number(
                &fs::read_to_string(group.join(name)).unwrap_or_default(),
                key,
            )
        };
        let (memory, most) = match self.kind {
            Kind::Memory => ("memory.oom_control", "memory.max_usage_in_bytes"),
            _ => ("memory.events", "memory.peak"),
        };
        counters.killed_for_memory += read(memory, "oom_kill").unwrap_or(0);
        let most = fs::read_to_string(group.join(most)).unwrap_or_default();
        counters.most_memory += most.trim().parse().unwrap_or(0);
        counters.processes_refused += read("pids.events", "max").unwrap_or(0);
    }

    /// Kills whoever is in a group.
    pub(super) fn kill(&self, group: &Path) {
        // From Linux 5.14 on, all at once.
        if fs::write(group.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // Nobody shall start another while they are killed one by one.
        let _ = fs::write(group.join("pids.max"), "0");
        let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines().filter_map(|line| line.parse().ok()) {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests;
