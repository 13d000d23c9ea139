//! A process beside a worker that ends its commands when it has ended, however it did.
//!
//! There is one for all commands of a worker, which starts it with the first and tells it of the group of
//! each. It sees the end of its standard input when the worker has ended, and kills those groups; a
//! command that had just been started, and of which it had not been told, it finds by a variable that all
//! of them have in their environment, and what they started with them.

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::process::Command;

#[cfg(unix)]
use crate::process::own_name;
use crate::process::{Launcher, kill_group};
use crate::worker::GUARD_ARGUMENT;

/// What commands have in their environment: whose they are.
const VARIABLE: &str = "COROS_COMMAND_OF";

static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

struct Guard {
    _process: Child,
    stdin: ChildStdin,
}

/// What says that a command is one of this process: no other one says the same.
fn own_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        format!("{}-{now:x}", std::process::id())
    })
}

/// Sees to it that a command is found, should this process be killed.
///
/// # Errors
/// When the guard cannot be started.
pub(super) fn mark(command: &mut Command) -> io::Result<()> {
    command.env(VARIABLE, own_mark());
    let mut guard = lock();
    if guard.is_none() {
        *guard = Some(start()?);
    }
    Ok(())
}

/// Has this group end with this process.
pub(super) fn watch(group: u32) {
    tell(format_args!("{group}"));
}

/// It has ended.
pub(super) fn forget(group: u32) {
    tell(format_args!("-{group}"));
}

fn tell(what: std::fmt::Arguments<'_>) {
    let mut guard = lock();
    if let Some(there) = &mut *guard
        && writeln!(there.stdin, "{what}").is_err()
    {
        // It was killed. The next command has another.
        *guard = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Guard>> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start() -> io::Result<Guard> {
    let mut command = std::process::Command::new(Launcher::this_program()?);
    command
        .args([GUARD_ARGUMENT, own_mark()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        command.process_group(0).arg0(own_name());
    }
    let mut process = command.spawn()?;
    let stdin = process.stdin.take().expect("it was piped");
    Ok(Guard {
        _process: process,
        stdin,
    })
}

/// The guard's life.
pub(crate) fn run() {
    // What is sent to all processes of a terminal is not meant for this one.
    #[cfg(unix)]
    let _ = nix::sys::signal::SigSet::all().thread_block();
    let mut groups = HashSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.strip_prefix('-') {
            None => drop(line.parse::<u32>().map(|group| groups.insert(group))),
            Some(ended) => drop(ended.parse::<u32>().map(|group| groups.remove(&group))),
        }
    }
    for group in groups {
        kill_group(group);
    }
    if let Some(mark) = std::env::args().nth(2) {
        kill_marked(&mark);
    }
}

/// Kills whoever has the mark, until nobody has. A process that has just been started may have it only when it
/// has become the command.
#[cfg(target_os = "linux")]
fn kill_marked(mark: &str) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let wanted = format!("{VARIABLE}={mark}");
    let has_it = |pid: i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|variable| variable == wanted.as_bytes())
    };
    for _ in 0..10 {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
        let marked: Vec<_> = pids.filter(|pid| has_it(*pid)).collect();
        for pid in marked {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[cfg(not(target_os = "linux"))]
fn kill_marked(_mark: &str) {}
