//! Control groups: the memory and the processes of a worker and of all that it has started, counted
//! together, and one way to end them all.
//!
//! [`Cgroups`] is what a daemon may make of them, found out once; [`Cgroups::within`] is one group of them in
//! which there are those of all its workers, held together to a limit; [`Cgroup`] is that of one worker.
//! Both versions of control groups are used, also side by side. In the second a group can only be
//! limited if there are no processes beside it in its parent, so the daemon moves to a group of its
//! own below the one that it was started in. That one has to be its alone, for it to have a say there:
//! systemd makes such a group for a service or a scope with `Delegate=yes`.
//!
//! [`layout`] reads what the system says of itself, `place` has the files.

mod layout;
mod place;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use self::place::{Found, Place};
use super::{Check, Counted, Counters, Limits, MakeError};

/// What groups are called: this, the daemon's process, a number. Those inside of one likewise.
const PREFIX: &str = "coros-";
/// So long is waited for the last process of a group to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Where groups can be made.
#[derive(Debug)]
pub(crate) struct Cgroups {
    places: Vec<Place>,
    checks: Vec<Check>,
    made: AtomicU64,
    /// The group in which all others are, if there is one. Removed when this is dropped, after them.
    _around: Option<Cgroup>,
}

/// The group of one worker. Dropping it kills who is still in it.
///
/// A process is started, then [added](Cgroup::add), and gets its handover after that: so nothing of
/// the user's runs outside of it.
#[derive(Debug)]
pub(crate) struct Cgroup {
    groups: Vec<Group>,
    counts: Counted,
}

/// Its part in one hierarchy.
#[derive(Debug)]
struct Group {
    place: Place,
    folder: PathBuf,
}

impl Cgroups {
    /// Finds out, moves this process into a group below its own where that is needed, and removes
    /// groups of daemons that are gone. Not to be called again while there are workers.
    pub(crate) fn open() -> Self {
        let mut found = Found::look();
        found.prepare();
        for place in &found.places {
            sweep(&place.home);
        }
        Cgroups {
            checks: found.checks(root()),
            places: found.places,
            made: AtomicU64::new(0),
            _around: None,
        }
    }

    /// Makes a group with those of the limits that it can keep, for groups that keep them together.
    ///
    /// # Errors
    /// When the system refuses it. Nothing is left then.
    pub(crate) fn within(&self, limits: &Limits) -> Result<Self, MakeError> {
        let around = self.make_in(self.places.iter(), limits)?;
        let inside = |group: &Group| {
            let inside = group.place.inside(&group.folder);
            inside.map_err(|why| MakeError {
                folder: group.folder.clone(),
                why,
            })
        };
        let places: Result<_, _> = around.groups.iter().map(inside).collect();
        Ok(Cgroups {
            places: places?,
            checks: self.checks.clone(),
            made: AtomicU64::new(0),
            _around: Some(around),
        })
    }

    /// What groups made here can do.
    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Makes a group with those of the limits that it can keep.
    ///
    /// # Errors
    /// When the system refuses it. Nothing is left then.
    pub(crate) fn make(&self, limits: &Limits) -> Result<Cgroup, MakeError> {
        let places = self.places.iter().filter(|place| place.serves(limits));
        self.make_in(places, limits)
    }

    fn make_in<'a>(
        &self,
        places: impl Iterator<Item = &'a Place>,
        limits: &Limits,
    ) -> Result<Cgroup, MakeError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut cgroup = Cgroup {
            groups: Vec::new(),
            counts: Counted::default(),
        };
        for place in places {
            let folder = place.home.join(&name);
            let failed = |why| MakeError {
                folder: folder.clone(),
                why,
            };
            fs::create_dir(&folder).map_err(failed)?;
            cgroup.groups.push(Group {
                place: place.clone(),
                folder: folder.clone(),
            });
            let counts = place.limit(&folder, limits).map_err(failed)?;
            cgroup.counts.memory |= counts.memory;
            cgroup.counts.processes |= counts.processes;
        }
        Ok(cgroup)
    }
}

/// What [`Cgroups::open`] would find.
pub(super) fn probe() -> Vec<Check> {
    Found::look().checks(root())
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Cgroup {
    /// Puts a process and what it starts from now on into the group.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        let put = |group: &Group| fs::write(group.folder.join("cgroup.procs"), pid.to_string());
        self.groups.iter().try_for_each(put)
    }

    /// Which limits it keeps.
    pub(crate) fn counts(&self) -> Counted {
        self.counts
    }

    /// What it has seen so far.
    pub(crate) fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for Group { place, folder } in &self.groups {
            place.count(folder, &mut counters);
        }
        counters
    }

    /// Kills all processes in it, also those that have left the group of processes of the worker.
    pub(crate) fn kill(&self) {
        for group in &self.groups {
            group.kill();
        }
    }

    /// Kills all processes in it, and removes it when they are gone.
    ///
    /// When this is dropped, that is done in a thread.
    ///
    /// # Errors
    /// When a process cannot be killed: it waits in the kernel for a disk or the like.
    pub(crate) async fn remove(mut self) -> io::Result<()> {
        while let Some(group) = self.groups.last() {
            group.remove().await?;
            self.groups.pop();
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.groups.retain(|group| group.try_remove().is_err());
        if self.groups.is_empty() {
            return;
        }
        // Those who were killed take a moment to go.
        let groups = std::mem::take(&mut self.groups);
        let removing = move || {
            for group in groups {
                pauses()
                    .take_while(|_| group.try_remove().is_err())
                    .for_each(std::thread::sleep);
            }
        };
        let _ = std::thread::Builder::new().spawn(removing);
    }
}

impl Group {
    fn kill(&self) {
        self.place.kill(&self.folder);
    }

    async fn remove(&self) -> io::Result<()> {
        for pause in pauses() {
            if self.try_remove().is_ok() {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
        }
        self.try_remove()
    }

    fn try_remove(&self) -> io::Result<()> {
        // Each time: one that was just being started may have been missed.
        self.kill();
        match fs::remove_dir(&self.folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Between looks whether a group is empty, which not all kernels tell: for [`GONE_WITHIN`].
fn pauses() -> impl Iterator<Item = Duration> {
    let started = Instant::now();
    let longer = |pause: &Duration| Some((*pause * 2).min(Duration::from_millis(50)));
    let pauses = std::iter::successors(Some(Duration::from_millis(1)), longer);
    pauses.take_while(move |_| started.elapsed() < GONE_WITHIN)
}

/// Removes the groups of daemons that have ended without doing so.
fn sweep(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let daemon = name.to_str().and_then(layout::daemon_of);
        if daemon.is_some_and(|daemon| !Path::new("/proc").join(daemon.to_string()).exists()) {
            // Those that were inside of it first.
            sweep(&entry.path());
            // Not if there is anybody in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_dead_are_removed_and_no_others() {
        let home = tempfile::tempdir().unwrap();
        // There are no such processes on Linux.
        let mine = format!("{PREFIX}{}-1", std::process::id());
        for name in [
            &mine,
            "coros-4194305-1",
            "coros-4194305-2/full",
            "coros-4194305-3/coros-4194305-1",
            "other",
            "coros-x",
        ] {
            fs::create_dir_all(home.path().join(name)).unwrap();
        }
        sweep(home.path());
        let mut left: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        let mut expected = [mine.as_str(), "coros-4194305-2", "coros-x", "other"];
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
