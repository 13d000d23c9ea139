//! Programs that need not know of coros, run in workers.
//!
//! A [`Command`] becomes a [`Call`] like that of any remote function: it is handed to a scheduler, runs
//! in a worker in its working directory, with the files that [travel](crate::SchedulerBuilder::depends)
//! beside it, and holds the worker's place until nothing is left of it. What it writes comes as messages to
//! an address, or all together at the end. What it has started ends with it, and all of that with the call: also
//! when that is cancelled or fails, and on Linux also what has left its process group or session.
//!
//! ```no_run
//! # async fn example(scheduler: coros_cluster::Scheduler) -> Result<(), Box<dyn std::error::Error>> {
//! use coros_cluster::command::Command;
//!
//! let sorted = Command::new("sort").arg("-n").stdin("10\n9\n");
//! let sorted = scheduler.run(sorted.output()).await?;
//! assert!(sorted.status.success());
//! assert_eq!(sorted.stdout, b"9\n10\n");
//! # Ok(()) }
//! ```

pub(crate) mod group;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use coros_core::{Address, Context};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use self::group::Group;
use crate::blob::{self, Blob};
use crate::function::{self, Call, Failure, Function, Invocation, Remote, TerminateOnDrop};
use crate::guard::{self, Piped, Program};
use crate::isolation::{how_it_ended, signal_of};

/// The most that is read at a time.
const PIECE: usize = 64 << 10;
/// How many messages may wait to be written to standard input.
const INPUT: usize = 16;
/// After its end what is left in the pipes of a command is read: until nothing comes for so long, or as
/// much as a pipe holds, because what it has started and left behind may hold them open for ever.
const AFTER: Duration = Duration::from_millis(200);
const PIPE: usize = 1 << 20;
/// The most that [`Command::output`] gives of each stream: with the rest of the message, what a link
/// takes at a time.
const LARGEST: usize = 7 << 20;

/// A program to run, with its arguments.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use = "a command does nothing until a scheduler runs what `output` or `run` makes of it"]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    input: Blob,
    /// More comes as messages.
    goes_on: bool,
}

/// What a command that [runs](Command::run) tells of itself.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// It has begun. The address is that of its standard input, if it was to have one that
    /// [goes on](Command::stdin_goes_on).
    Began {
        /// The number of its process.
        pid: u32,
        /// Where to send what it shall read.
        stdin: Option<Address<Input>>,
    },
    /// It has written this to standard output.
    Stdout(#[serde(with = "blob::vec")] Vec<u8>),
    /// It has written this to standard error.
    Stderr(#[serde(with = "blob::vec")] Vec<u8>),
}

/// For the standard input of a command.
#[derive(Debug, Serialize, Deserialize)]
pub enum Input {
    /// It shall read this next.
    Data(#[serde(with = "blob::vec")] Vec<u8>),
    /// There is no more.
    End,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// All that a command wrote, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// What it wrote to standard output.
    #[serde(with = "blob::vec")]
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    #[serde(with = "blob::vec")]
    pub stderr: Vec<u8>,
}

impl Status {
    /// Whether it ended with exit status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&how_it_ended(self.code, self.signal))
    }
}

impl Command {
    /// A program: a path, relative to the working directory of the worker, or a name that is looked
    /// up in the folders of its `PATH`. It reads nothing unless told otherwise.
    pub fn new(program: impl Into<OsString>) -> Self {
        Command {
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            input: Blob::from(Vec::new()),
            goes_on: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, besides those that the worker has.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// What it reads from standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Blob::from(bytes.into());
        self
    }

    /// Lets it read more from standard input, which is sent to the address that [`Told::Began`] has, until
    /// [`Input::End`], or until nobody has that address any more.
    pub fn stdin_goes_on(mut self) -> Self {
        self.goes_on = true;
        self
    }

    /// A call that runs it and tells `to` what it writes, as it does: it waits when that does not
    /// come after.
    ///
    /// The call fails when the program cannot be started. One that ends with another exit status than 0
    /// is no failure, but a [`Status`].
    pub fn run(self, to: Address<Told>) -> Call<Status> {
        function::call::<Run>((self, to))
    }

    /// A call that runs it and gives all that it wrote. It fails when that is more than 7 MiB of one
    /// stream, as well as when the program cannot be started.
    pub fn output(self) -> Call<Output> {
        function::call::<Collect>(self)
    }

    fn program(&self) -> Program {
        let added = self.environment.iter();
        let added = added.map(|(name, value)| (name.clone(), value.clone()));
        Program {
            path: PathBuf::from(&self.program),
            called: None,
            arguments: self.arguments.clone(),
            environment: std::env::vars_os().chain(added).collect(),
            folder: std::env::current_dir().ok(),
        }
    }

    fn cannot_run(&self, why: &io::Error) -> String {
        format!("cannot run {}: {why}", self.program.display())
    }

    /// Runs it and hands over what it writes.
    async fn execute<S: Sink>(self, sink: &S) -> Result<Status, String> {
        let piped = Piped {
            input: !self.input.0.is_empty() || self.goes_on,
            output: true,
        };
        let started = Group::start(&self.program(), piped).await;
        let (mut command, pipes) = started.map_err(|why| self.cannot_run(&why))?;
        let stdin = pipes.input.map(|stdin| self.feed(stdin));
        let _writer = stdin.as_ref().map(TerminateOnDrop::new);
        sink.began(command.pid(), stdin).await?;
        let mut stdout = pipes.output.expect("it was piped");
        let mut stderr = pipes.error;
        let ended = CancellationToken::new();
        let status = async {
            let status = command.wait().await;
            ended.cancel();
            Ok(status)
        };
        let (status, (), ()) = tokio::try_join!(
            status,
            forward(&mut stdout, &ended, |bytes| sink
                .take(bytes, Stream::Stdout)),
            forward(&mut stderr, &ended, |bytes| sink
                .take(bytes, Stream::Stderr)),
        )?;
        let status = status.map_err(|why| format!("its end could not be seen: {why}"))?;
        command.end().await;
        Ok(Status {
            code: status.code(),
            signal: signal_of(status),
        })
    }

    /// Starts to write its standard input; where more goes.
    fn feed(&self, mut stdin: guard::Input) -> Address<Input> {
        let first = self.input.0.clone();
        let writer = async move |mut me: Context<Input>| {
            // A program need not read all that it is given.
            let mut written = stdin.write_all(&first).await;
            while written.is_ok()
                && let Some(Input::Data(bytes)) = me.receive().await
            {
                written = stdin.write_all(&bytes).await;
            }
        };
        coros_core::build()
            .name("standard input")
            .capacity(INPUT)
            .daemon()
            .spawn(writer)
            .address()
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// Where what a command writes goes.
trait Sink: Sync {
    async fn began(&self, pid: u32, stdin: Option<Address<Input>>) -> Result<(), String>;
    async fn take(&self, bytes: Vec<u8>, stream: Stream) -> Result<(), String>;
}

/// Reads to the end, and not for long after the process has ended.
async fn forward<F: Future<Output = Result<(), String>>>(
    from: &mut (impl AsyncRead + Unpin),
    ended: &CancellationToken,
    to: impl Fn(Vec<u8>) -> F,
) -> Result<(), String> {
    let mut buffer = vec![0; PIECE];
    let mut after = 0;
    while after < PIPE {
        let silent = async {
            ended.cancelled().await;
            tokio::time::sleep(AFTER).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = silent => break,
        };
        let Ok(n @ 1..) = read else { break };
        if ended.is_cancelled() {
            after += n;
        }
        to(buffer[..n].to_vec()).await?;
    }
    Ok(())
}

/// Tells an address.
struct Teller {
    to: Address<Told>,
    goes_on: bool,
}

impl Teller {
    async fn tell(&self, message: Told) -> Result<(), String> {
        let told = self.to.feed(message).await;
        told.map_err(|error| format!("nobody takes what it writes: {error}"))
    }
}

impl Sink for Teller {
    async fn began(&self, pid: u32, stdin: Option<Address<Input>>) -> Result<(), String> {
        let stdin = stdin.filter(|_| self.goes_on);
        self.tell(Told::Began { pid, stdin }).await
    }

    async fn take(&self, bytes: Vec<u8>, stream: Stream) -> Result<(), String> {
        self.tell(match stream {
            Stream::Stdout => Told::Stdout(bytes),
            Stream::Stderr => Told::Stderr(bytes),
        })
        .await
    }
}

/// Keeps all.
#[derive(Default)]
struct Keeper {
    stdout: std::sync::Mutex<Vec<u8>>,
    stderr: std::sync::Mutex<Vec<u8>>,
}

impl Sink for Keeper {
    async fn began(&self, _pid: u32, _stdin: Option<Address<Input>>) -> Result<(), String> {
        Ok(())
    }

    async fn take(&self, bytes: Vec<u8>, stream: Stream) -> Result<(), String> {
        let (kept, name) = match stream {
            Stream::Stdout => (&self.stdout, "output"),
            Stream::Stderr => (&self.stderr, "error"),
        };
        let mut kept = kept.lock().expect("nothing panics with it");
        if kept.len() + bytes.len() > LARGEST {
            return Err(format!(
                "it writes more than {} MiB to standard {name}: have it told to an address by \
                 `Command::run`, or let it write to a file",
                LARGEST >> 20
            ));
        }
        kept.extend_from_slice(&bytes);
        Ok(())
    }
}

struct Run;

impl Remote for Run {
    type Args = (Command, Address<Told>);
    type Output = Status;
    const NAME: &'static str = "coros::cluster::command::run";
    const ASYNC: bool = true;

    fn invoke((command, to): Self::Args) -> Invocation<Status> {
        let teller = Teller {
            to,
            goes_on: command.goes_on,
        };
        later(async move { command.execute(&teller).await })
    }
}

struct Collect;

impl Remote for Collect {
    type Args = Command;
    type Output = Output;
    const NAME: &'static str = "coros::cluster::command::output";
    const ASYNC: bool = true;

    fn invoke(command: Command) -> Invocation<Output> {
        later(async move {
            let keeper = Keeper::default();
            let status = command.execute(&keeper).await?;
            let all = |kept: std::sync::Mutex<Vec<u8>>| kept.into_inner().unwrap_or_default();
            Ok(Output {
                status,
                stdout: all(keeper.stdout),
                stderr: all(keeper.stderr),
            })
        })
    }
}

fn later<T>(run: impl Future<Output = Result<T, String>> + Send + 'static) -> Invocation<T> {
    Invocation::Later(Box::pin(async { run.await.map_err(Failure::Failed) }))
}

#[allow(unsafe_code, reason = "the linker puts the slice together")]
mod entries {
    use super::*;

    #[linkme::distributed_slice(function::FUNCTIONS)]
    static RUN: Function = Function::of::<Run>();
    #[linkme::distributed_slice(function::FUNCTIONS)]
    static COLLECT: Function = Function::of::<Collect>();
}
