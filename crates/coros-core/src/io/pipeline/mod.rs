//! Processes chained by pipes, as `a | b | c` in a shell.
//!
//! Between two stages there is one pipe of the operating system: no byte of it passes through this
//! process. We hold the two ends, the first one's standard input and the last one's standard
//! output, and the read ends of every stage's standard error, which a small task for each drains
//! from the start. So a stage that writes much there is never held up by us, and of what it wrote
//! the end is kept, where programs say why they failed.

mod run;

use std::ffi::OsStr;
use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::LineFile;
pub use run::{PipelineOutput, RunningPipeline, StderrTail};

/// How much of the end of each stage's standard error is kept unless told otherwise, in bytes:
/// 64 KiB.
pub const DEFAULT_STDERR_KEPT: usize = 64 * 1024;

/// A command from a program and its arguments, in one expression.
///
/// For more (environment, folder) build a [`Command`] or a [`std::process::Command`].
///
/// # Examples
///
/// ```
/// use coros_core::io::command;
///
/// let sort = command("sort", ["-u", "-n"]);
/// assert_eq!(sort.as_std().get_program(), "sort");
/// ```
pub fn command<I>(program: impl AsRef<OsStr>, arguments: I) -> Command
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Programs to be started with each one's standard output as the next one's standard input.
///
/// # Examples
///
/// ```
/// use coros_core::io::{Pipeline, command};
///
/// # #[cfg(unix)]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let output = Pipeline::new(command("grep", ["-v", "^#"]))
///     .pipe(command("sort", ["-r"]))
///     .spawn()?
///     .communicate(b"b\n# comment\nc\na\n")
///     .await?;
/// assert!(output.success());
/// assert_eq!(output.stdout, b"c\nb\na\n");
/// # Ok(()) }
/// # #[cfg(not(unix))] fn main() {}
/// ```
#[derive(Debug)]
#[must_use = "nothing is started before `spawn`"]
pub struct Pipeline {
    stages: Vec<Command>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    stderr_kept: usize,
}

impl Pipeline {
    /// A pipeline of one stage.
    ///
    /// The command's standard streams are set by the pipeline, whatever they were.
    pub fn new(command: impl Into<Command>) -> Self {
        Self {
            stages: vec![command.into()],
            stdin: None,
            stdout: None,
            stderr_kept: DEFAULT_STDERR_KEPT,
        }
    }

    /// Adds a stage that reads what the last one writes.
    pub fn pipe(mut self, command: impl Into<Command>) -> Self {
        self.stages.push(command.into());
        self
    }

    /// Where the first stage reads from, in place of our
    /// [`stdin`](RunningPipeline::stdin): a file, `Stdio::null()`, `Stdio::inherit()`.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Where the last stage writes to, in place of us: a file, `Stdio::null()`,
    /// `Stdio::inherit()`.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// How many bytes of the end of each stage's standard error are kept;
    /// [`DEFAULT_STDERR_KEPT`] unless told otherwise.
    pub fn keep_stderr(mut self, bytes: usize) -> Self {
        self.stderr_kept = bytes;
        self
    }

    /// Starts all stages, the first one first.
    ///
    /// # Errors
    ///
    /// [`SpawnPipelineError`] if one cannot be started: which one, and why. Those started before
    /// it are killed.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with io enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::io::{Pipeline, command};
    ///
    /// # #[cfg(unix)]
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let pipeline = Pipeline::new(command("cat", ["-"])).pipe(command("no-such-program", ["-x"]));
    /// let error = pipeline.spawn().unwrap_err();
    /// assert!(error.to_string().starts_with("cannot start `no-such-program` (stage 2 of 2): "));
    /// # }
    /// # #[cfg(not(unix))] fn main() {}
    /// ```
    pub fn spawn(self) -> Result<RunningPipeline, SpawnPipelineError> {
        let of = self.stages.len();
        let (mut stdin, mut last_stdout) = (self.stdin, self.stdout);
        let mut children: Vec<Child> = Vec::with_capacity(of);
        for (index, mut command) in self.stages.into_iter().enumerate() {
            command.stdin(stdin.take().unwrap_or_else(Stdio::piped));
            let is_last = index + 1 == of;
            let stdout = if is_last { last_stdout.take() } else { None };
            command.stdout(stdout.unwrap_or_else(Stdio::piped));
            command.stderr(Stdio::piped()).kill_on_drop(true);
            // Whatever fails here, dropping `children` kills those that run.
            let started = command.spawn().and_then(|mut child| {
                if !is_last {
                    let output = child.stdout.take().expect("the stage's output is piped");
                    stdin = Some(output.try_into()?);
                }
                Ok(child)
            });
            match started {
                Ok(child) => children.push(child),
                Err(why) => {
                    let program = command
                        .as_std()
                        .get_program()
                        .to_string_lossy()
                        .into_owned();
                    return Err(SpawnPipelineError {
                        program,
                        position: index + 1,
                        of,
                        why: folder_error(&command).unwrap_or(why),
                    });
                }
            }
            // Dropping the command here closes our copy of the pipe it reads from: only then does
            // the stage before see when this one has gone.
        }
        Ok(RunningPipeline::new(children, self.stderr_kept))
    }
}

/// Why a command cannot be started in its folder, if that is it: the system's error does not tell
/// a missing folder from a missing program.
fn folder_error(command: &Command) -> Option<io::Error> {
    let folder = command.as_std().get_current_dir()?;
    // Inside of it: a folder that can be seen may still be one that cannot be entered.
    let why = std::fs::metadata(folder.join(".")).err()?;
    let text = format!("its folder {} cannot be entered: {why}", folder.display());
    Some(io::Error::new(why.kind(), text))
}

/// A stage of a pipeline could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{program}` (stage {position} of {of}): {why}")]
pub struct SpawnPipelineError {
    /// The program, as it was given.
    pub program: String,
    /// Which stage, counted from 1.
    pub position: usize,
    /// How many stages the pipeline has.
    pub of: usize,
    /// Why it was not started.
    pub why: io::Error,
}

/// The output of the last stage.
type Stdout = LineFile<tokio::process::ChildStdout>;
