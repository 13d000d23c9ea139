//! Limits that each process keeps itself, and who goes first when the machine has no memory left.
//!
//! Memory and processes are better counted by a control group, for a worker and all that it has
//! started together. Where there is none:
//!
//! - Memory is limited by `RLIMIT_DATA`: memory that a process can write to and shares with nobody.
//!   `RLIMIT_AS` counts addresses, of which a program with many threads has many more than memory:
//!   64 MiB for each heap of glibc, guard pages, mapped files, and the terabytes that sanitizers and
//!   some runtimes set aside. But `RLIMIT_DATA` too counts what was asked for and not what was
//!   touched, so stacks of threads count as a whole; and each process has as much. Asking for more
//!   fails, which ends a Rust program with `memory allocation of N bytes failed`.
//! - Processes are limited by `RLIMIT_NPROC`, which counts those of the user, whoever started them:
//!   the limit is on top of those that there are. What others of the user start later is missing to
//!   this process. It does not hold root.

use std::path::Path;

use rustix::process::{
    Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit,
};

use super::{ApplyError, Check, Isolation, failed};

const NAME: &str = "rlimits";

/// For all others.
const STANDS_BACK: i32 = 19;

/// Of -1000 to 1000: a worker goes before the daemon and before most others.
const FIRST_TO_GO: i32 = 500;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

pub(super) fn apply(isolation: &Isolation) -> Result<Vec<Check>, ApplyError> {
    let (limits, counted) = (&isolation.limits, isolation.counted);
    let memory = limits.memory.filter(|_| !counted.memory);
    let mut processes = limits.processes.filter(|_| !counted.processes);
    let mut checks = Vec::new();
    if processes.is_some() && rustix::process::getuid().is_root() {
        processes = None;
        let why = "no control group counts them, and the other limit does not hold root";
        let to_do = "give the node control groups, or a user of its own";
        checks.push(Check::no("processes", why, to_do));
    }
    let of_the_user = processes.map(|most| most.saturating_add(tasks_of_this_user()));
    let limits = [
        (Resource::Core, "no core files", Some(0)),
        (Resource::Fsize, "size of a file", limits.file_size),
        (Resource::Nofile, "open files", limits.open_files),
        (Resource::Data, "memory of a process", memory),
        (Resource::Nproc, "processes of the user", of_the_user),
    ];
    let mut kept = Vec::new();
    for (resource, name, most) in limits {
        if let Some(most) = most {
            lower(resource, most)?;
            kept.push(name);
        }
    }
    checks.push(Check::yes(NAME, kept.join(", ")));

    if isolation.nice > 0 {
        // Whoever starts it may stand back already, and nobody may undo that.
        let now = getpriority_process(None).map_err(failed("nice"))?;
        let nice = now.saturating_add(isolation.nice.into()).min(STANDS_BACK);
        setpriority_process(None, nice).map_err(failed("nice"))?;
    }
    go_first();
    Ok(checks)
}

pub(super) fn probe() -> Check {
    let detail = "the size of a file, open files; memory of a process and processes of the user \
                  where no control group counts them";
    Check::yes(NAME, detail)
}

/// Nobody can raise it again, not even by so much as the system would let them.
fn lower(resource: Resource, most: u64) -> Result<(), ApplyError> {
    let now = getrlimit(resource);
    let most = now.maximum.map_or(most, |maximum| maximum.min(most));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit).map_err(failed("limits"))
}

/// How many threads this user has in all processes, as far as `/proc` shows.
fn tasks_of_this_user() -> u64 {
    let me = rustix::process::getuid().as_raw();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let tasks = processes.filter_map(|process| tasks(&process.path(), me));
    tasks.sum()
}

/// How many threads a process has, if it is that user's; `None` for what is no process.
fn tasks(process: &Path, user: u32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;

    let tasks = process.join("task").metadata().ok()?;
    // A folder is linked to by itself, its parent, and each folder in it.
    (tasks.uid() == user).then(|| tasks.nlink().saturating_sub(2))
}

/// Without it a worker is killed no sooner than others: nothing to fail for.
fn go_first() {
    let now = std::fs::read_to_string(OOM_SCORE).unwrap_or_default();
    if now.trim().parse().is_ok_and(|now: i32| now < FIRST_TO_GO) {
        let _ = std::fs::write(OOM_SCORE, FIRST_TO_GO.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_of_who_asks() {
        let me = rustix::process::getuid().as_raw();
        let mine = Path::new("/proc/self");
        let before = std::fs::read_dir("/proc/self/task").unwrap().count() as u64;
        assert_eq!(tasks(mine, me), Some(before));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        assert_eq!(tasks(mine, me), Some(before + 1));
        assert_eq!(tasks(mine, me + 1), None);
        assert_eq!(tasks(Path::new("/proc/sys"), me), None);
        assert!(tasks_of_this_user() > before);
        drop(end);
        assert!(thread.join().unwrap().is_err());
    }
}
