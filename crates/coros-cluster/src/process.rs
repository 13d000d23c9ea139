//! One worker process, from the side that starts it: starting it, passing on what it says on standard
//! error, and making sure that nothing of it is left.
//!
//! A worker has a [guard](crate::guard). However it ends, and when the handle [`Process`] is dropped, all that it
//! has started is killed. Should this process be killed itself, its guard sees to it all the same; the worker
//! sees the end of its standard input.

mod blank;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{BoxFuture, readable_within, told};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

pub(crate) use self::blank::Blank;
use crate::computation::Start;
use crate::guard::{Errors, Guard, Guarded, Input, Piped, Program};
use crate::isolation::{Cgroup, Isolation, Limits, hit, how_it_ended, signal_of};
use crate::protocol::to_frame;
use crate::worker::WORKER_ARGUMENT;
use crate::worker::confined::Confinement;

/// A longer line is passed on in pieces.
const LONGEST_LINE: usize = 4096;
/// So many last lines are kept for error messages.
const LAST_LINES: usize = 20;
/// What a process leaves in its pipe is read for so long after its end: what it has started may hold the pipe
/// open where it cannot be found.
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
    /// What it may have been for: the limits that it has hit.
    #[serde(deserialize_with = "told_lines")]
    pub(crate) hit: Vec<String>,
    /// It did not: [`Process::kill`] ended it.
    pub(crate) killed: bool,
    /// Its last lines on standard error.
    #[serde(deserialize_with = "told_lines")]
    pub(crate) last_words: Vec<String>,
}

/// Lines that somebody else has kept: as many, and as long, as this process would have.
fn told_lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let lines = Vec::<String>::deserialize(deserializer)?;
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    let readable = last.iter().map(|line| readable_within(line, LONGEST_LINE));
    Ok(readable.collect())
}

impl End {
    /// Of a process that could not be started.
    pub(crate) fn never_began(why: String) -> Self {
        End {
            why,
            hit: Vec::new(),
            killed: false,
            last_words: Vec::new(),
        }
    }
}

/// A running worker process. Dropping it kills the process and all that it has started.
#[derive(Debug)]
pub(crate) struct Process {
    kill: Option<oneshot::Sender<String>>,
}

impl Process {
    /// One that there is not.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Process { kill: None }
    }

    /// Kills the process and all that it has started; its end is reported as ever.
    pub(crate) fn kill(&mut self) {
        self.kill.take();
    }

    /// The same, because of what it has done: that is told as its end.
    pub(crate) fn kill_for(&mut self, why: String) {
        if let Some(kill) = self.kill.take() {
            // It may have ended meanwhile.
            let _ = kill.send(why);
        }
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

    /// Starts a worker, gives it `handover`, and calls `ended` once when it is gone, or could not be started.
    pub(crate) fn launch(
        self,
        name: &Arc<str>,
        handover: Vec<u8>,
        ended: impl FnOnce(End) + Send + 'static,
    ) -> io::Result<Process> {
        let lines = Lines::new(Arc::clone(name), self.stderr);
        let (kill, killed) = oneshot::channel();
        match self.place {
            Place::Here(start) => {
                let program = here(self.program, name, &start);
                tokio::spawn(async move {
                    let end = match begin(&program).await {
                        Ok((guarded, input, error)) => {
                            let (input, error) = ((input, handover), (error, lines));
                            watch(guarded, input, error, killed, None).await
                        }
                        Err(why) => {
                            let path = program.path.display();
                            End::never_began(format!("{path} cannot be started: {why}"))
                        }
                    };
                    ended(end);
                });
            }
            Place::Folder {
                blank,
                start,
                mut isolation,
            } => {
                let Blank {
                    guarded,
                    input,
                    error,
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
                let input = (input, [frame, handover].concat());
                let error = (error, lines);
                tokio::spawn(async move {
                    ended(watch(guarded, input, error, killed, Some(bounds)).await);
                });
            }
        }
        Ok(Process { kill: Some(kill) })
    }
}

/// What a worker has of this process.
const WORKER: Piped = Piped {
    input: true,
    output: false,
};

async fn begin(program: &Program) -> io::Result<(Guarded, Input, Errors)> {
    let (guarded, pipes) = Guard::start()?.run(program, WORKER).await?;
    let input = pipes.input.expect("it is piped");
    Ok((guarded, input, pipes.error))
}

/// A worker that runs where this process does.
fn here(path: PathBuf, name: &str, start: &Start) -> Program {
    let first = [WORKER_ARGUMENT, name].map(OsString::from);
    let arguments = start.arguments.iter().map(OsString::from);
    let added = start.environment.iter();
    let added = added.map(|(name, value)| (name.into(), value.into()));
    Program {
        path,
        called: Some(own_name()),
        arguments: first.into_iter().chain(arguments).collect(),
        environment: std::env::vars_os().chain(added).collect(),
        folder: std::env::current_dir().ok(),
    }
}

/// For `ps`: the name of the program, not that of the link to it.
pub(crate) fn own_name() -> OsString {
    let name = std::env::args_os().next();
    name.unwrap_or_else(|| OsString::from("coros"))
}

/// Sees a process through to its end.
async fn watch(
    mut guarded: Guarded,
    (mut stdin, handover): (Input, Vec<u8>),
    (mut stderr, mut lines): (Errors, Lines),
    mut kill: oneshot::Receiver<String>,
    bounds: Option<Bounds>,
) -> End {
    // An error means that the process has ended, which is about to be seen. The pipe stays open
    // until then: its end would mean that this process is gone.
    let hand_over = async {
        let _ = stdin.write_all(&handover).await;
        std::future::pending::<()>().await;
    };
    let (mut killed, mut killed_for) = (false, None);
    let status = {
        let process = async {
            let why = tokio::select! {
                status = guarded.wait() => return status,
                why = &mut kill => why.ok(),
            };
            // Who has ended before is not said to have been killed.
            if let Some(status) = guarded.has_ended() {
                return status;
            }
            (killed, killed_for) = (why.is_none(), why);
            guarded.kill();
            // All at once, where there is one.
            if let Some(cgroup) = bounds.as_ref().and_then(|bounds| bounds.cgroup.as_ref()) {
                cgroup.kill();
            }
            guarded.wait().await
        };
        tokio::select! {
            status = process => status,
            () = hand_over => unreachable!("it is pending for ever"),
            () = async { lines.read(&mut stderr).await; std::future::pending().await } => {
                unreachable!("it is pending for ever")
            }
        }
    };
    guarded.end().await;
    let _ = tokio::time::timeout(LAST_WORDS, lines.read(&mut stderr)).await;
    let last_words = without_empty_backtraces(lines.last.into());
    let seen = status.as_ref().ok().copied();
    let hit = bounds.iter().flat_map(|it| it.hit(seen, &last_words));
    let hit = killed_for.into_iter().chain(hit).collect();
    let why = match status {
        Ok(status) => how_it_ended(status.code(), signal_of(status)),
        Err(error) => format!("its end could not be seen: {error}"),
    };
    if let Some(cgroup) = bounds.and_then(|bounds| bounds.cgroup)
        && let Err(error) = cgroup.remove().await
    {
        tracing::warn!(%error, "cannot remove the control group of a worker");
    }
    End {
        why,
        hit,
        killed,
        last_words,
    }
}

impl Bounds {
    /// Which of them a process has hit, also if its end could not be seen.
    fn hit(&self, status: Option<ExitStatus>, last_words: &[String]) -> Vec<String> {
        let counters = self.cgroup.as_ref().map(Cgroup::counters);
        let counters = counters.unwrap_or_default();
        hit(status, &self.limits, &counters, last_words)
    }
}

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
    async fn read(&mut self, stderr: &mut Errors) {
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

/// What a panic says without the backtraces that have nothing in them, as those of a program that travels without names.
fn without_empty_backtraces(lines: Vec<String>) -> Vec<String> {
    // `   0: a::function`.
    let is_frame = |line: &String| {
        let number = line.trim_start().split_once(": ").map(|(number, _)| number);
        number.is_some_and(|it| it.parse::<usize>().is_ok())
    };
    let mut kept = Vec::with_capacity(lines.len());
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        if line != "stack backtrace:" || lines.peek().is_some_and(is_frame) {
            kept.push(line);
            continue;
        }
        // That there is more to be had by asking for it is not true either.
        lines.next_if(|line| line.starts_with("note: Some details are omitted"));
    }
    kept
}

/// The last lines of a worker as the end of an error message. They may be of a call before the one that was lost: what a
/// worker reports comes another way.
pub(crate) fn last_words(lines: &[String]) -> String {
    use fmt::Write;
    let mut text = String::new();
    if !lines.is_empty() {
        text.push_str("; it said last, perhaps long before that:");
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

    #[test]
    fn a_backtrace_with_nothing_in_it_is_not_reported() {
        let said = |lines: &[&str]| lines.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let note = "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.";
        let empty = [
            "thread 'main' panicked at a.rs:1:1:",
            "boom",
            "stack backtrace:",
        ];
        let rest = ["", "thread 'main' panicked at b.rs:1:1:", "again"];
        let all = [&empty[..], &rest, &empty[2..], &[note, "more"]].concat();
        let kept = [&empty[..2], &rest, &["more"]].concat();
        assert_eq!(without_empty_backtraces(said(&all)), kept);
        assert_eq!(without_empty_backtraces(said(&empty)), empty[..2]);
        let full = [
            &empty[..],
            &["   0: a::b", "             at ./a.rs:1:1", note],
        ]
        .concat();
        assert_eq!(without_empty_backtraces(said(&full)), full);
    }

    #[test]
    fn what_was_said_last_is_not_taken_for_the_reason() {
        let told = last_words(&["thread 'w1' panicked".into(), "ouch".into()]);
        let says = "; it said last, perhaps long before that:\n    thread 'w1' panicked\n    ouch";
        assert_eq!(told, says);
        assert_eq!(last_words(&[]), "");
    }

    #[test]
    fn what_another_has_kept_is_cut_and_made_readable() {
        let lines = (0..30).map(|n| format!("{n}\x1b[2J{}", "x".repeat(LONGEST_LINE)));
        let end = End {
            why: "\x07".into(),
            hit: Vec::new(),
            killed: false,
            last_words: lines.collect(),
        };
        let told = postcard::to_stdvec(&end).unwrap();
        let End {
            why, last_words, ..
        } = postcard::from_bytes(&told).unwrap();
        assert_eq!(last_words.len(), LAST_LINES);
        assert!(
            last_words[0].starts_with("10\\u{1b}[2Jx"),
            "{}",
            last_words[0]
        );
        for line in last_words.iter().chain([&why]) {
            assert!(line.len() <= LONGEST_LINE + 100, "{}", line.len());
            assert!(!line.contains(char::is_control));
        }
    }

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
