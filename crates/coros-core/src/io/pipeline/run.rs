//! A pipeline that runs.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use tokio_util::task::AbortOnDropHandle;

use super::{LineFile, Stdout};
use crate::io::ReadLineError;

/// A pipeline whose stages were started.
///
/// Dropping it kills all stages. Only the processes of the stages themselves are killed, here and
/// by [`kill`](Self::kill), not what they started in turn.
///
/// None of its waits has a limit of its own: put [`tokio::time::timeout`] around them. The methods
/// that take `&mut self` are cancel safe, so that one may go on afterwards; dropping
/// [`communicate`](Self::communicate) kills the stages.
///
/// # Examples
///
/// ```
/// use coros_core::io::{Pipeline, command};
///
/// # #[cfg(unix)]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncWriteExt;
///
/// let mut upper = Pipeline::new(command("cat", ["-"])).pipe(command("tr", ["a-z", "A-Z"])).spawn()?;
/// upper.stdin().expect("not closed yet").write_all(b"one\ntwo\n").await?;
/// upper.close_stdin();
/// assert_eq!(upper.read_line().await?.as_deref(), Some("ONE"));
/// assert_eq!(upper.read_line().await?.as_deref(), Some("TWO"));
/// assert_eq!(upper.read_line().await?, None);
/// assert!(upper.wait().await?.iter().all(|status| status.success()));
/// # Ok(()) }
/// # #[cfg(not(unix))] fn main() {}
/// ```
#[derive(Debug)]
pub struct RunningPipeline {
    stdin: Option<ChildStdin>,
    stdout: Option<Stdout>,
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    child: Child,
    stderr: Arc<Mutex<Tail>>,
    /// Ends when every process that has the stage's standard error has closed it.
    drain: Option<AbortOnDropHandle<()>>,
}

impl RunningPipeline {
    pub(super) fn new(mut children: Vec<Child>, stderr_kept: usize) -> Self {
        let stdin = children.first_mut().and_then(|first| first.stdin.take());
        let stdout = children
            .last_mut()
            .and_then(|last| last.stdout.take())
            .map(LineFile::new);
        let stages = children
            .into_iter()
            .map(|child| Stage::new(child, stderr_kept))
            .collect();
        Self {
            stdin,
            stdout,
            stages,
        }
    }

    /// The standard input of the first stage; `None` if it was closed, taken, or redirected by
    /// [`Pipeline::stdin`](super::Pipeline::stdin).
    ///
    /// Writing waits while the pipes are full, so a program that writes much and reads later must
    /// do both at once: take one end into another coroutine ([`take_stdin`](Self::take_stdin)), or
    /// use [`communicate`](Self::communicate). When the stages no longer read, writing is an error
    /// of kind [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    pub fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Takes the standard input of the first stage, for another coroutine. Dropping it closes it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Closes the standard input of the first stage: it reads its end.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// The standard output of the last stage; `None` if it was taken, redirected by
    /// [`Pipeline::stdout`](super::Pipeline::stdout), or discarded by [`wait`](Self::wait).
    pub fn stdout(&mut self) -> Option<&mut LineFile<tokio::process::ChildStdout>> {
        self.stdout.as_mut()
    }

    /// Takes the standard output of the last stage, for another coroutine.
    pub fn take_stdout(&mut self) -> Option<LineFile<tokio::process::ChildStdout>> {
        self.stdout.take()
    }

    /// The next line that the last stage writes; `None` at the end, or if there is no
    /// [`stdout`](Self::stdout).
    ///
    /// # Errors
    ///
    /// As [`LineFile::read_line`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`LineFile::read_line`].
    pub async fn read_line(&mut self) -> Result<Option<String>, ReadLineError> {
        match &mut self.stdout {
            Some(stdout) => stdout.read_line().await,
            None => Ok(None),
        }
    }

    /// All that the last stage still writes; empty if there is no [`stdout`](Self::stdout).
    ///
    /// # Errors
    ///
    /// If reading fails.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`LineFile::read_all`].
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        match &mut self.stdout {
            Some(stdout) => stdout.read_all().await.map(Into::into),
            None => Ok(Vec::new()),
        }
    }

    /// How many stages there are.
    #[must_use]
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// The process ids of the stages; `None` for one that has ended and been waited for.
    #[must_use]
    pub fn ids(&self) -> Vec<Option<u32>> {
        self.stages.iter().map(|stage| stage.child.id()).collect()
    }

    /// The end of what a stage, counted from 0, has written to its standard error so far. It is
    /// complete after [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// If there is no such stage.
    #[must_use]
    pub fn stderr(&self, stage: usize) -> StderrTail {
        self.stages[stage].stderr_tail()
    }

    /// Waits until all stages have ended, and returns how, the first one first.
    ///
    /// Closes the standard input (if it was not taken), and reads and discards what is left of the
    /// output (if it was not taken), so that no stage waits for us. Ends when all stages have
    /// ended *and* their output and standard error are closed: a process that a stage leaves behind
    /// and that still has these open keeps it waiting.
    ///
    /// # Errors
    ///
    /// If the system fails to read or wait.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: call it again.
    pub async fn wait(&mut self) -> io::Result<Vec<ExitStatus>> {
        self.close_stdin();
        let discard = discard(&mut self.stdout);
        let ends = try_join_all(self.stages.iter_mut().map(Stage::wait));
        tokio::try_join!(discard, ends).map(|((), statuses)| statuses)
    }

    /// Writes `input` to the first stage and closes its standard input, reads all output, and
    /// waits for all stages; all at once, so that whatever the sizes nobody waits for a full pipe.
    ///
    /// A first stage that stops reading early (`head -1`) is no error: the rest of the input is
    /// dropped, and the statuses tell how the stages ended. The output is held in memory. Ends as
    /// [`wait`](Self::wait) does.
    ///
    /// # Errors
    ///
    /// If the system fails to read, write or wait. The stages are killed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the stages.
    pub async fn communicate(mut self, input: impl AsRef<[u8]>) -> io::Result<PipelineOutput> {
        let stdin = self.stdin.take();
        let write = async {
            let Some(mut stdin) = stdin else {
                return Ok(());
            };
            match stdin.write_all(input.as_ref()).await {
                Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(why),
                _ => Ok(()),
            }
            // Dropped here, which closes it.
        };
        let stdout = self.stdout.take();
        let read = async {
            match stdout {
                Some(mut stdout) => stdout.read_all().await.map(Vec::from),
                None => Ok(Vec::new()),
            }
        };
        let ends = try_join_all(self.stages.iter_mut().map(Stage::wait));
        let ((), stdout, statuses) = tokio::try_join!(write, read, ends)?;
        let stderr = self.stages.iter().map(Stage::stderr_tail).collect();
        Ok(PipelineOutput {
            stdout,
            stderr,
            statuses,
        })
    }

    /// Kills all stages that still run and waits until they have ended.
    ///
    /// # Errors
    ///
    /// If the system fails to kill or wait.
    ///
    /// # Cancel safety
    ///
    /// The kills happen at the first poll; after that, dropping the future only stops the waiting.
    pub async fn kill(&mut self) -> io::Result<Vec<ExitStatus>> {
        self.start_kill()?;
        try_join_all(self.stages.iter_mut().map(|stage| stage.child.wait())).await
    }

    /// Kills all stages that still run, without waiting.
    ///
    /// # Errors
    ///
    /// If the system fails to kill one; the others are killed all the same.
    pub fn start_kill(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for stage in &mut self.stages {
            match stage.child.try_wait() {
                Ok(Some(_ended)) => {}
                Ok(None) => result = result.and(stage.child.start_kill()),
                Err(why) => result = result.and(Err(why)),
            }
        }
        result
    }
}

/// Reads an output to its end and forgets it; keeps its place when dropped half way.
async fn discard(stdout: &mut Option<Stdout>) -> io::Result<()> {
    const AT_ONCE: usize = 64 * 1024;
    if let Some(open) = stdout {
        while !open.read(AT_ONCE).await?.is_empty() {}
        *stdout = None;
    }
    Ok(())
}

impl Stage {
    fn new(mut child: Child, stderr_kept: usize) -> Self {
        let tail = Arc::new(Mutex::new(Tail {
            kept: VecDeque::new(),
            limit: stderr_kept,
            skipped: 0,
        }));
        let drain = child
            .stderr
            .take()
            .map(|stderr| AbortOnDropHandle::new(tokio::spawn(drain(stderr, Arc::clone(&tail)))));
        Self {
            child,
            stderr: tail,
            drain,
        }
    }

    /// Waits for the process, and for the end of its standard error.
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        if let Some(drain) = &mut self.drain {
            // It fails only with the runtime, which then ends us too.
            let _ = drain.await;
            self.drain = None;
        }
        Ok(status)
    }

    fn stderr_tail(&self) -> StderrTail {
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        StderrTail {
            bytes: tail.kept.iter().copied().collect(),
            skipped: tail.skipped,
        }
    }
}

/// Reads a standard error to its end, or to an error, which is an end too: what came is kept.
async fn drain(mut stderr: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut piece = vec![0; 8 * 1024];
    while let Ok(n @ 1..) = stderr.read(&mut piece).await {
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(&piece[..n]);
    }
}

/// The last `limit` bytes of a stream.
#[derive(Debug)]
struct Tail {
    kept: VecDeque<u8>,
    limit: usize,
    skipped: u64,
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.kept.extend(piece);
        let excess = self.kept.len().saturating_sub(self.limit);
        self.kept.drain(..excess);
        self.skipped += excess as u64;
    }
}

/// The end of what a stage wrote to its standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StderrTail {
    /// The last bytes, at most as many as the pipeline [keeps](super::Pipeline::keep_stderr).
    pub bytes: Vec<u8>,
    /// How many bytes came before these and were not kept.
    pub skipped: u64,
}

impl StderrTail {
    /// The bytes as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// What [`RunningPipeline::communicate`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineOutput {
    /// All that the last stage wrote to its standard output.
    pub stdout: Vec<u8>,
    /// The end of what each stage wrote to its standard error, the first one first.
    pub stderr: Vec<StderrTail>,
    /// How each stage ended, the first one first.
    pub statuses: Vec<ExitStatus>,
}

impl PipelineOutput {
    /// Whether all stages ended with success.
    ///
    /// A stage that is cut off because the next one stopped reading counts as failed: on unix it
    /// ends by `SIGPIPE`.
    #[must_use]
    pub fn success(&self) -> bool {
        self.statuses.iter().all(ExitStatus::success)
    }
}
