//! One worker process, from the side that starts it: starting it, passing on what it says on standard
//! error, and making sure that nothing of it is left.
//!
//! A worker leads a process group of its own. However it ends, and when the handle
//! [`Process`] is dropped, the whole group is killed, so that what a job has started ends with
//! it. Should this process be killed itself, the worker sees the end of its standard input.

mod blank;

use std::collections::VecDeque;
#[cfg(unix)]
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{BoxFuture, told};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::oneshot;

pub(crate) use self::blank::Blank;
use crate::computation::Start;
use crate::isolation::{Cgroup, Isolation, Limits, explain, how_it_ended, signal_of};
use crate::protocol::to_frame;
use crate::worker::WORKER_ARGUMENT;
use crate::worker::confined::Confinement;

/// A longer line is passed on in pieces.
const LONGEST_LINE: usize = 4096;
/// So many last lines are kept for error messages.
const LAST_LINES: usize = 20;
/// What a process leaves in its pipe is read for so long after its end: processes that it has
/// started elsewhere may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Takes a line that a worker wrote to standard error: the worker's name, the line. The next one is read
/// when the future is done.
pub(crate) type LineSink = Arc<dyn Fn(&str, &str) -> BoxFuture<()> + Send + Sync>;

/// How to start a worker.
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) stderr: LineSink,
    pub(crate) place: Place,
}

/// Where a worker runs.
#[derive(Debug)]
pub(crate) enum Place {
    /// Where this process does, with the same environment and more.
    Here(Start),
    /// In a folder of its own, with nothing in its environment that is this process's own, and held to what it
    /// may have.
    Folder {
        blank: Box<Blank>,
        start: Start,
        isolation: Box<Isolation>,
    },
}

/// What holds a worker to its place, for when it has ended.
#[derive(Debug)]
struct Bounds {
    limits: Limits,
    cgroup: Option<Cgroup>,
}

/// How a process ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// By itself, in words.
    #[serde(deserialize_with = "told")]
    pub(crate) why: String,
    /// It did not: [`Process::kill`] ended it.
    pub(crate) killed: bool,
    /// Its last lines on standard error.
    pub(crate) last_words: Vec<String>,
}

impl End {
    /// Of a process that could not be started.
    pub(crate) fn never_began(why: String) -> Self {
        End {
            why,
            killed: false,
            last_words: Vec::new(),
        }
    }
}

/// A running worker process. Dropping it kills the process and its group.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    kill: Option<oneshot::Sender<()>>,
}

impl Process {
    /// One that there is not.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Process { pid: 0, kill: None }
    }

    /// Kills the process and all of its group; its end is reported as ever.
    pub(crate) fn kill(&mut self) {
        self.kill.take();
    }
}

impl Launcher {
    /// The executable that runs now, as it was when it started.
    pub(crate) fn this_program() -> io::Result<PathBuf> {
        // This link leads to the running file even after a rebuild has replaced or deleted it.
        let link = PathBuf::from("/proc/self/exe");
        if cfg!(target_os = "linux") && link.exists() {
            Ok(link)
        } else {
            std::env::current_exe()
        }
    }

    /// Starts a worker, gives it `handover`, and calls `ended` once when it is gone.
    pub(crate) fn launch(
        self,
        name: &Arc<str>,
        handover: Vec<u8>,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> io::Result<Process> {
        let lines = Lines::new(Arc::clone(name), self.stderr);
        let (group, stdin, stderr, input, bounds) = match self.place {
            Place::Here(start) => {
                let (group, stdin, stderr) = Group::spawn(here(&self.program, name, &start))?;
                (group, stdin, stderr, handover, None)
            }
            Place::Folder {
                blank,
                start,
                mut isolation,
            } => {
                let Blank {
                    group,
                    stdin,
                    stderr,
                    cgroup,
                } = *blank;
                if let Some(cgroup) = &cgroup {
                    isolation.counted = cgroup.counts();
                }
                let limits = isolation.limits;
                let confinement = Confinement {
                    isolation: *isolation,
                    program: self.program,
                    name: name.to_string(),
                    start,
                };
                let frame = to_frame(&confinement).map_err(io::Error::other)?;
                let bounds = Bounds { limits, cgroup };
                (
                    group,
                    stdin,
                    stderr,
                    [frame, handover].concat(),
                    Some(bounds),
                )
            }
        };
        let pid = group.pid;
        let (kill, killed) = oneshot::channel();
        tokio::spawn(async move {
            ended(watch(group, (stdin, input), (stderr, lines), killed, bounds).await);
        });
        Ok(Process {
            pid,
            kill: Some(kill),
        })
    }
}

/// A worker that runs where this process does.
fn here(program: &Path, name: &str, start: &Start) -> Command {
    let mut command = Command::new(program);
    command
        .arg(WORKER_ARGUMENT)
        .arg(name)
        .args(&start.arguments)
        .envs(&start.environment)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0).arg0(own_name());
    command
}

/// For `ps`: the name of the program, not that of the link to it.
#[cfg(unix)]
pub(crate) fn own_name() -> OsString {
    let name = std::env::args_os().next();
    name.unwrap_or_else(|| OsString::from("coros"))
}

/// Sees a process through to its end.
async fn watch(
    mut group: Group,
    (mut stdin, handover): (ChildStdin, Vec<u8>),
    (mut stderr, mut lines): (ChildStderr, Lines),
    mut kill: oneshot::Receiver<()>,
    bounds: Option<Bounds>,
) -> End {
    // An error means that the process has ended, which is about to be seen. The pipe stays open
    // until then: its end would mean that this process is gone.
    let hand_over = async {
        let _ = stdin.write_all(&handover).await;
        std::future::pending::<()>().await;
    };
    let mut killed = false;
    let status = {
        let process = async {
            tokio::select! {
                status = group.child.wait() => return status,
                _ = &mut kill => {}
            }
            // Who has ended before is not said to have been killed.
            if let Ok(Some(status)) = group.child.try_wait() {
                return Ok(status);
            }
            killed = true;
            kill_group(group.pid);
            // Also those that have left the group.
            if let Some(cgroup) = bounds.as_ref().and_then(|bounds| bounds.cgroup.as_ref()) {
                cgroup.kill();
            }
            let _ = group.child.start_kill();
            group.child.wait().await
        };
        tokio::select! {
            status = process => status,
            () = hand_over => unreachable!("it is pending for ever"),
            () = async { lines.read(&mut stderr).await; std::future::pending().await } => {
                unreachable!("it is pending for ever")
            }
        }
    };
    group.end();
    let _ = tokio::time::timeout(LAST_WORDS, lines.read(&mut stderr)).await;
    let last_words: Vec<_> = lines.last.into();
    let why = match (status, &bounds) {
        (Ok(status), Some(bounds)) => bounds.explain(status, &last_words),
        (Ok(status), None) => how_it_ended(status.code(), signal_of(status)),
        (Err(error), _) => format!("its end could not be seen: {error}"),
    };
    if let Some(cgroup) = bounds.and_then(|bounds| bounds.cgroup)
        && let Err(error) = cgroup.remove().await
    {
        tracing::warn!(%error, "cannot remove the control group of a worker");
    }
    End {
        why,
        killed,
        last_words,
    }
}

impl Bounds {
    /// What they had to do with an end.
    fn explain(&self, status: ExitStatus, last_words: &[String]) -> String {
        let counters = self.cgroup.as_ref().map(Cgroup::counters);
        let counters = counters.unwrap_or_default();
        explain(status, &self.limits, &counters, last_words)
    }
}

/// A process and its group, killed when dropped.
#[derive(Debug)]
struct Group {
    child: Child,
    pid: u32,
    ended: bool,
}

impl Group {
    /// Starts one, whose standard input and error are piped.
    fn spawn(mut command: Command) -> io::Result<(Self, ChildStdin, ChildStderr)> {
        let mut child = command.spawn()?;
        let pid = child
            .id()
            .expect("a child that has not been waited for has an id");
        let stdin = child.stdin.take().expect("it was piped");
        let stderr = child.stderr.take().expect("it was piped");
        let group = Group {
            child,
            pid,
            ended: false,
        };
        Ok((group, stdin, stderr))
    }

    /// The leader has ended; so shall the rest.
    fn end(&mut self) {
        // The number stays the group's while it has members; without members this reaches nobody,
        // because numbers are not used again so soon.
        kill_group(self.pid);
        self.ended = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            kill_group(self.pid);
        }
    }
}

/// Kills all processes of a group.
#[cfg(unix)]
pub(crate) fn kill_group(leader: u32) {
    use nix::sys::signal::{Signal, killpg};
    if let Ok(pid) = i32::try_from(leader) {
        // The only error is that there is nobody left.
        let _ = killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
}

#[cfg(not(unix))]
pub(crate) fn kill_group(_leader: u32) {}

/// Cuts standard error into lines, passes them on and keeps the last ones.
struct Lines {
    name: Arc<str>,
    sink: LineSink,
    partial: Vec<u8>,
    /// Those that have not been passed on.
    waiting: VecDeque<String>,
    /// What is being done with the one before.
    passing: Option<BoxFuture<()>>,
    last: VecDeque<String>,
}

impl Lines {
    fn new(name: Arc<str>, sink: LineSink) -> Self {
        Lines {
            name,
            sink,
            partial: Vec::new(),
            waiting: VecDeque::new(),
            passing: None,
            last: VecDeque::new(),
        }
    }

    /// Reads to the end and passes all on. Cancel safe.
    async fn read(&mut self, stderr: &mut ChildStderr) {
        let mut buffer = [0; LONGEST_LINE];
        loop {
            self.pass_on().await;
            match stderr.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => self.take(&buffer[..n]),
            }
        }
        if !self.partial.is_empty() {
            self.cut();
        }
        self.pass_on().await;
    }

    async fn pass_on(&mut self) {
        loop {
            if let Some(passing) = &mut self.passing {
                passing.await;
                self.passing = None;
            }
            let Some(line) = self.waiting.pop_front() else {
                return;
            };
            self.passing = Some((self.sink)(&self.name, &line));
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.partial.pop();
                self.cut();
            } else if self.partial.len() >= LONGEST_LINE {
                self.cut();
            }
        }
    }

    /// What has come is a line.
    fn cut(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        self.waiting.push_back(line);
    }
}

/// The last lines of a worker as the end of an error message.
pub(crate) fn last_words(lines: &[String]) -> String {
    use fmt::Write;
    let mut text = String::new();
    if !lines.is_empty() {
        text.push_str("; it said last:");
        for line in lines {
            let _ = write!(text, "\n    {line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn standard_error_is_cut_into_bounded_lines() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink: LineSink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |name: &str, line: &str| {
                seen.lock().unwrap().push(format!("{name}: {}", line.len()));
                Box::pin(std::future::ready(()))
            })
        };
        let mut lines = Lines::new("w1".into(), sink);
        lines.take(b"one\ntw");
        lines.take(b"o\n\n");
        lines.take(&[b'x'; LONGEST_LINE]);
        lines.take(b"rest");
        for _ in 0..LAST_LINES {
            lines.take(b"\nlast");
        }
        lines.cut();
        lines.pass_on().await;
        assert_eq!(lines.last, vec!["last"; LAST_LINES]);
        let seen = seen.lock().unwrap();
        assert_eq!(seen[..5], ["w1: 3", "w1: 3", "w1: 0", "w1: 4096", "w1: 4"]);
    }
}
