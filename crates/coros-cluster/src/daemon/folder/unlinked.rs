//! What the processes of a worker keep of files that have no name any more: the room on the disk stays taken until
//! nobody has them open.
//!
//! Not seen are files that are only mapped into memory, or on their way to another process over a socket.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::held::Held;
use crate::descendants::{below, parent};

/// Files of one folder.
#[derive(Debug)]
pub(super) struct Unlinked {
    /// As the system calls it.
    folder: PathBuf,
    /// Those that have been counted: many may have them open.
    seen: HashSet<(u64, u64)>,
}

impl Unlinked {
    /// # Errors
    /// When there is no such folder.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let seen = HashSet::new();
        Ok(Unlinked { folder, seen })
    }

    /// Adds what a worker has open, by the number of its process, and all that it has started, wherever that has gone.
    /// Blocks.
    pub(super) fn add(&mut self, worker: u32, held: &mut Held) {
        // What it leaves behind is its guard's, which is a child of this process.
        let guard = parent(worker).filter(|it| parent(*it) == Some(std::process::id()));
        let root = guard.unwrap_or(worker);
        for process in iter::once(root).chain(below(root)) {
            // Each thread may have files of its own.
            let threads = fs::read_dir(format!("/proc/{process}/task"));
            for thread in threads.into_iter().flatten().flatten() {
                self.add_thread(process, &thread.path(), held);
            }
        }
    }

    fn add_thread(&mut self, process: u32, thread: &Path, held: &mut Held) {
        let open = match fs::read_dir(thread.join("fd")) {
            Ok(open) => open,
            Err(why) => {
                if why.kind() == io::ErrorKind::PermissionDenied && has_memory(thread) {
                    held.missed(format!(
                        "process {process} does not show which files it has open"
                    ));
                }
                return;
            }
        };
        for file in open.flatten().map(|entry| entry.path()) {
            if let Ok(metadata) = file.metadata()
                && metadata.is_file()
                && metadata.nlink() == 0
                && self.had(&file)
                && self.seen.insert((metadata.dev(), metadata.ino()))
            {
                held.bytes = held
                    .bytes
                    .saturating_add(metadata.blocks().saturating_mul(512));
            }
        }
    }

    /// Whether a file had its name here.
    fn had(&self, file: &Path) -> bool {
        match file.read_link() {
            Ok(name) => name.starts_with(&self.folder),
            // No other folder is so deep.
            Err(why) => why.kind() == io::ErrorKind::InvalidFilename,
        }
    }
}

/// One that is about to end has none, and belongs to nobody.
fn has_memory(thread: &Path) -> bool {
    fs::read_to_string(thread.join("statm")).is_ok_and(|pages| !pages.starts_with("0 "))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;

    /// What is seen of a process.
    fn seen(process: u32, folder: &Path) -> Held {
        let mut held = Held::default();
        Unlinked::of(folder).unwrap().add(process, &mut held);
        held
    }

    #[test]
    fn files_without_a_name_are_counted_once_whoever_has_them() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // It has one, and so has what it starts; one has a name, and one is elsewhere.
        let script = "exec 9>f 8>g 7>$0/h; rm f $0/h
            for it in 9 8 7; do head -c 3000000 /dev/zero >&$it; done
            (echo; exec sleep 1000) & wait";
        let mut sh = Command::new("sh")
            .args(["-c", script])
            .arg(other.path())
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = sh.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let held = seen(sh.id(), folder.path());
        let group = rustix::process::Pid::from_child(&sh);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        sh.wait().unwrap();
        assert!((3_000_000..4_000_000).contains(&held.bytes), "{held:?}");
        assert_eq!(held.hidden, None);
    }

    #[test]
    fn who_does_not_show_what_is_open_is_told_and_the_dead_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut dead = Command::new("true").spawn().unwrap();
        let id = rustix::process::Pid::from_child(&dead);
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(id), ended).unwrap();
        // Root sees all; in this thread it is nobody.
        let look = |process| {
            nix::unistd::setfsuid(65_534.into());
            let mut held = Held::default();
            let mut unlinked = Unlinked::of(folder.path()).unwrap();
            unlinked.add_thread(
                process,
                &Path::new("/proc").join(process.to_string()),
                &mut held,
            );
            held.hidden
        };
        let looked =
            |process| std::thread::scope(|threads| threads.spawn(|| look(process)).join().unwrap());
        let (dead_one, other) = (looked(dead.id()), looked(1));
        dead.wait().unwrap();
        assert_eq!(dead_one, None);
        let told = "process 1 does not show which files it has open";
        assert_eq!(other.as_deref(), Some(told));
    }
}
