//! The process that runs calls.
//!
//! A worker is a process of the client's own executable, started by its scheduler with
//! `--coros-worker NAME` as arguments. [`enter`] sees them before the program's own `main` does
//! and becomes the worker:
//!
//! 1. It reads a handover from standard input: credentials, where the client is, how to reach its
//!    scheduler. Then standard input is `/dev/null` for the functions that run here.
//! 2. Its node links to the client's, and a coroutine takes the scheduler's orders.
//! 3. A thread runs one call at a time, so a function may compute for as long as it likes: orders,
//!    messages and the heartbeat of the link have a thread and a runtime of their own. Async
//!    functions are polled on that thread too; what they spawn, and io calls, run in a third
//!    place, a runtime for the functions' own tasks.
//!
//! It ends when told to, when the link is down, and when its standard input ends, which says that
//! the client is gone, however it went. Then everything that it has started ends with it: its
//! `guard` sees to that.

mod calls;
pub(crate) mod confined;
mod control;
mod duty;
mod lifeline;

use std::ffi::OsStr;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use coros_core::Address;
use coros_core::remote::{CodecError, Message};
use coros_net::{Location, Node};
use tokio::runtime::{Builder, Handle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use self::calls::Calls;
use self::duty::{Caretaker, Next};
use self::lifeline::Lifeline;
use crate::blob::Blob;
#[cfg(unix)]
use crate::guard;
use crate::protocol::{CLIENT_SILENCE, Handover, ToScheduler, read_frame};

/// What makes a process a worker. An argument and not an environment variable, so that the
/// processes that a worker starts do not inherit it.
pub(crate) const WORKER_ARGUMENT: &str = "--coros-worker";

/// Threads for what functions spawn, and io calls: one is left when a coroutine computes.
const TASK_THREADS: usize = 2;

/// What makes a process that of a worker which a daemon confines: see [`confined`].
pub(crate) const CONFINED_ARGUMENT: &str = "--coros-confined-worker";

/// What makes a process a guard: see [`guard`].
#[cfg(unix)]
pub(crate) const GUARD_ARGUMENT: &str = "--coros-guard";

static ENTERED: AtomicBool = AtomicBool::new(false);
static NAME: OnceLock<String> = OnceLock::new();
static NODE: OnceLock<Node> = OnceLock::new();
static CLIENT: OnceLock<Location> = OnceLock::new();
static NODE_VALUE: OnceLock<Blob> = OnceLock::new();
static SHARED: OnceLock<PathBuf> = OnceLock::new();
static FILES: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();

/// Becomes a worker if a scheduler started this process as one, and does not return then.
///
/// `#[coros::main]` does this. A program with a `main` of its own calls it first thing there;
/// without it, [`Scheduler::local`](crate::Scheduler::local) refuses to start.
pub fn enter() {
    ENTERED.store(true, Ordering::Relaxed);
    let argument = std::env::args_os().nth(1);
    let served = match argument.as_deref() {
        Some(it) if it == OsStr::new(WORKER_ARGUMENT) => run(),
        Some(it) if it == OsStr::new(CONFINED_ARGUMENT) => confined::become_worker(),
        #[cfg(unix)]
        Some(it) if it == OsStr::new(GUARD_ARGUMENT) => become_guard(),
        _ => return,
    };
    let code = match served {
        Ok(()) => 0,
        Err(error) => {
            // It cannot be told where standard error is closed.
            let _ = writeln!(std::io::stderr(), "{error}");
            1
        }
    };
    std::process::exit(code);
}

/// Whether this program can be started as a worker: it has called [`enter`].
pub(crate) fn entered() -> bool {
    ENTERED.load(Ordering::Relaxed)
}

/// The name of this worker, such as `w1`; `None` in a process that is none.
#[must_use]
pub fn name() -> Option<&'static str> {
    NAME.get().map(String::as_str)
}

/// Where a worker finds a file that [travels](crate::SchedulerBuilder::depends) with the program, or one in
/// a folder that does; `None` where there is none of that name, and in a process that is no worker.
///
/// ```no_run
/// use coros_cluster::worker;
///
/// // After `.depends("data/words")`, which is a folder.
/// let path = worker::file("words/en.txt").expect("it travels with the program");
/// ```
#[must_use]
pub fn file(name: &str) -> Option<PathBuf> {
    let inside = |(top, path): &(String, PathBuf)| match name.strip_prefix(top.as_str())? {
        "" => Some(path.clone()),
        rest => Some(path.join(rest.strip_prefix('/')?)),
    };
    let path = FILES.get()?.iter().find_map(inside)?;
    path.exists().then_some(path)
}

/// This worker's node on the network that it forms with its client and the other workers; `None` in a process
/// that is none. It finds coroutines by name, sends files to [the client](client), …
#[must_use]
pub fn node() -> Option<&'static Node> {
    NODE.get()
}

/// Where the client of this worker is, for its [node]; `None` in a process that is no worker.
///
/// The client takes files if it [wants to](crate::SchedulerBuilder::files).
#[must_use]
pub fn client() -> Option<&'static Location> {
    CLIENT.get()
}

/// What the [setup of this node](crate::SchedulerBuilder::set_up_node) gave, if there was one; `None` in a
/// process that is no worker.
///
/// Decodes it anew each time.
///
/// # Errors
/// When it is not of this type.
pub fn node_value<T: Message>() -> Option<Result<T, CodecError>> {
    let (node, value) = (NODE.get()?, NODE_VALUE.get()?);
    Some(node.decode(&value.0))
}

/// A folder that all workers of this scheduler on this machine share, empty at the beginning, and gone
/// with the last of them; `None` in a process that is no worker.
///
/// On a node that is [set up](crate::SchedulerBuilder::set_up_node), the function that does so writes to it, and
/// all others read, also the one that tidies up: what they try to write is an error, where the system can see to that
/// ([`Daemon::check`](crate::daemon::Daemon::check) tells). Large data need not be in the memory of each: a file there
/// can be mapped into memory by all of them. Without a setup all may write.
#[must_use]
pub fn shared_folder() -> Option<&'static Path> {
    SHARED.get().map(PathBuf::as_path)
}

/// Why a worker did not come to work.
#[derive(Debug)]
struct WorkerError(String);

impl WorkerError {
    fn new(doing: &str, why: &dyn fmt::Display) -> Self {
        WorkerError(format!("{doing}: {why}"))
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn run() -> Result<(), WorkerError> {
    not_for_people(WORKER_ARGUMENT)?;
    let mut lifeline =
        Lifeline::take().map_err(|error| WorkerError::new("cannot use standard input", &error))?;
    let mut handover: Handover = read_frame(&mut lifeline)
        .map_err(|error| WorkerError::new("no handover on standard input", &error))?;
    lifeline
        .watch()
        .map_err(|error| WorkerError::new("cannot start a thread", &error))?;
    let _ = NAME.set(handover.credentials.name().to_owned());
    let absolute = |(name, path): (String, PathBuf)| Ok((name, std::path::absolute(path)?));
    let files: Result<_, std::io::Error> = std::mem::take(&mut handover.files)
        .into_iter()
        .map(absolute)
        .collect();
    let files = files.map_err(|error| WorkerError::new("cannot tell where it is", &error))?;
    let _ = FILES.set(files);
    let shared = std::fs::canonicalize(&handover.shared);
    let shared =
        shared.map_err(|error| WorkerError::new("cannot find its shared folder", &error))?;
    let _ = SHARED.set(shared);
    log(&handover.log);

    // The main thread is the link's. Functions have their threads elsewhere.
    let link = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| WorkerError::new("cannot start a runtime", &error))?;
    let tasks = Builder::new_multi_thread()
        .worker_threads(TASK_THREADS)
        .thread_name("tasks")
        .enable_all()
        .build()
        .map_err(|error| WorkerError::new("cannot start a runtime", &error))?;
    let served = link.block_on(serve(handover, tasks.handle()));
    // What blocks there ends with the process.
    tasks.shutdown_background();
    served
}

#[cfg(unix)]
fn become_guard() -> Result<(), WorkerError> {
    not_for_people(GUARD_ARGUMENT)?;
    guard::life::run().map_err(|error| WorkerError::new("cannot guard", &error))
}

fn not_for_people(argument: &str) -> Result<(), WorkerError> {
    if std::io::stdin().is_terminal() {
        let why = "it is how a scheduler starts its workers, with more on standard input";
        let what = format!("the argument {argument} is not for people");
        return Err(WorkerError::new(&what, &why));
    }
    Ok(())
}

/// Logs what the client wants logged, to standard error, which is a pipe to the client.
fn log(filter: &str) {
    // The client has parsed it before. Another program that is started as worker may be older.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("error"));
    if filter.max_level_hint() != Some(LevelFilter::OFF) {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
}

/// All interfaces, in the family of that address.
fn everywhere(at: SocketAddr) -> SocketAddr {
    match at {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, at.port()).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, at.port()).into(),
    }
}

async fn serve(handover: Handover, tasks: &Handle) -> Result<(), WorkerError> {
    let node = Node::builder()
        .member(false)
        .name(handover.credentials.name())
        .credentials(handover.credentials)
        .silence(CLIENT_SILENCE)
        .heartbeat(handover.heartbeat)
        .handshake_limit(handover.link_limit);
    let node = match handover.listen {
        None => node,
        Some(at) if at.ip().is_loopback() => node.listen(at),
        // The machine may be known by an address that it does not have itself.
        Some(at) => node.listen(everywhere(at)).advertise(at),
    };
    let node = node
        .build()
        .await
        .map_err(|error| WorkerError::new("cannot start a node", &error))?;
    let endpoint = handover
        .home
        .endpoint
        .ok_or_else(|| WorkerError("the scheduler does not say where it listens".into()))?;
    let home = node
        .connect(endpoint)
        .await
        .map_err(|error| WorkerError::new("cannot link to the scheduler", &error))?;
    let scheduler: Address<ToScheduler> = node
        .decode(&handover.scheduler.0)
        .map_err(|error| WorkerError::new("cannot read the scheduler's address", &error))?;

    let client = handover.client.unwrap_or(home);
    let _ = (NODE.set(node.clone()), CLIENT.set(client));
    let worker = handover.worker;
    let caretaker = Caretaker {
        duties: handover.duties,
        node: &node,
        tasks,
        scheduler: &scheduler,
        worker,
    };
    let next = caretaker.begin(handover.purpose).await;
    let next = next.map_err(WorkerError)?;
    if next == Next::End {
        coros_core::runtime::clean_up().await;
        node.close().await;
        return Ok(());
    }
    let calls = Calls::start(tasks, &node, scheduler.clone(), worker)
        .map_err(|error| WorkerError::new("cannot start a thread", &error))?;
    let control = coros_core::build().name("worker").daemon().spawn({
        let scheduler = scheduler.clone();
        move |me| control::run(me, scheduler, worker, calls)
    });
    // Whatever its exit: there is no work without it.
    let last = control.join().await.unwrap_or(false);
    // Coroutines of calls, and what those have started.
    coros_core::runtime::clean_up().await;
    caretaker.tear_down(last).await;
    node.close().await;
    Ok(())
}
