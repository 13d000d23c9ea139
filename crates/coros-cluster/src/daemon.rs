//! The daemon of a node: lends this machine to programs that have never been here.
//!
//! [`Daemon`] is what `coros node` runs. It is a node of the network of its clients and registered
//! there; a client finds it, sends the program that it is itself, unless that is here already, and is
//! lent *slots*, each of which is leave to run one worker process. What comes from those that
//! run belongs to their client, who has a network of his own with them: the daemon
//! sees neither calls nor messages, and workers never see the secret of the daemons' network. On Linux they stand
//! back for it (`nice` 5), so that it answers while they compute.
//!
//! | part | what it is |
//! |---|---|
//! | `keeper` | the coroutine that clients find; opens a desk for each |
//! | `desk` | the coroutine that has one client's program and workers |
//! | `leases` | who may use how many slots: a state machine |
//! | `fetch` | how a program comes to be here |
//! | `folder`, `bounds`, `spare` | the folders in which workers run; what they may have besides; what becomes the next one |
//! | `protocol` | what all of them and the clients say to each other |
//! | `event` | what happens, for whoever wants to know |

mod bounds;
mod claims;
mod desk;
mod event;
pub(crate) mod fetch;
pub(crate) mod folder;
mod keeper;
pub(crate) mod leases;
pub(crate) mod protocol;
mod spare;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coros_core::{Address, Reply};
use coros_net::{Location, Node, NodeError, RegisterError, Secret};

use self::bounds::Rules;
pub use self::event::DaemonEvent;
use self::folder::WorkRoot;
use self::keeper::{Keeper, Settings};
use self::protocol::{NAME, Own, ToDaemon};
use self::spare::Spare;
use crate::blocking::blocking;
use crate::farewell;
use crate::guard;
pub use crate::isolation::Check;
use crate::isolation::{self, Limits, amount};
use crate::machine::{Label, Machine, Resource};
use crate::store::{self, Store};
use crate::told::Told;

/// A worker that does nothing has some of it: the program, and what the runtime and links take.
const LEAST_MEMORY: u64 = 64 << 20;
/// The process that guards a worker, and in the worker a thread for links, two for tasks, and one for a function.
const LEAST_PROCESSES: u64 = 5;
/// How long workers and their folders may take to go at the end.
const GRACE: Duration = Duration::from_secs(10);

/// A node that runs workers for others. Dropping it, or the end of the program by Ctrl-C, closes it;
/// [`close`](Daemon::close) waits for that.
#[derive(Debug)]
pub struct Daemon {
    node: Node,
    keeper: Address<ToDaemon>,
    store: Store,
    work: WorkRoot,
}

/// What a daemon is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many slots there are when it is not suspended.
    pub slots: usize,
    /// How many are lent.
    pub lent: usize,
    /// It lends none at present: see [`suspend`](Daemon::suspend).
    pub suspended: bool,
    /// It is about to end: see [`drain`](Daemon::drain).
    pub draining: bool,
    /// Who has a desk, in the order in which they came.
    pub clients: Vec<ClientStatus>,
}

/// What a client has of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Its number, never used twice.
    pub id: u64,
    /// Its node.
    pub from: Location,
    /// It wants to be alone.
    pub exclusive: bool,
    /// The higher goes first.
    pub priority: i32,
    /// How many slots it has.
    pub lent: usize,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The folder for programs cannot be used: why, and what to do.
    #[error("{0}")]
    Store(String),
    /// The folder for workers cannot be made.
    #[error("cannot make the folder {}, in which workers run: {why}", .path.display())]
    Work {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// What workers may not read is not a path.
    #[error("cannot tell where {} is: {why}", .path.display())]
    Path {
        /// What was given.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// What workers may [read](DaemonBuilder::readable) cannot be found.
    #[error("workers cannot be let read {}: {why}", .path.display())]
    Readable {
        /// What was given.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// Workers do not start with so little [memory](DaemonBuilder::memory).
    #[error(
        "workers cannot be run in {}: all together need {} at least",
        amount(*.bytes),
        amount(LEAST_MEMORY)
    )]
    Memory {
        /// What was given.
        bytes: u64,
    },
    /// Workers do not start with so few [processes](DaemonBuilder::processes).
    #[error(
        "workers cannot be run with {most} processes and threads each: one needs {LEAST_PROCESSES} at least, with that \
         which guards it"
    )]
    Processes {
        /// What was given.
        most: u64,
    },
    /// What programs and files may take makes no sense: why, and what would.
    #[error("{0}")]
    Room(String),
    /// This program did not enter in a way that would let it confine workers.
    #[error(
        "this program cannot confine workers: put #[coros::main] on its `async fn main`, or call \
         coros::cluster::worker::enter() first thing in `main`"
    )]
    NoEntry,
    /// The node cannot be started.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It cannot be found by others.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The daemon has ended.
    #[error("the daemon has ended")]
    Ended,
}

/// Options of a daemon: see [`Daemon::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct DaemonBuilder {
    node: coros_net::Builder,
    folder: PathBuf,
    slots: Option<usize>,
    cache: u64,
    largest: Option<u64>,
    labels: Vec<Label>,
    resources: Vec<Resource>,
    serve: Option<usize>,
    memory: Option<u64>,
    work: u64,
    limits: Limits,
    readable: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
    control_groups: bool,
    told: Told<DaemonEvent>,
}

impl Daemon {
    /// A daemon with a node that is built so, and a folder of its own, in which it keeps programs and
    /// runs workers. The folder is made if it is missing; no other daemon may use it.
    ///
    /// What `node` says of [files](coros_net::Builder::files) is replaced. The program must enter as one with
    /// [workers](crate::Scheduler::local) does: it confines those that it starts.
    pub fn builder(node: coros_net::Builder, folder: impl Into<PathBuf>) -> DaemonBuilder {
        DaemonBuilder {
            node,
            folder: folder.into(),
            slots: None,
            cache: store::USUAL_LIMIT,
            largest: None,
            labels: Vec::new(),
            resources: Vec::new(),
            serve: None,
            memory: None,
            work: 64 << 30,
            limits: Limits {
                memory: None,
                processes: Some(512),
                file_size: Some(64 << 30),
                open_files: None,
            },
            readable: Vec::new(),
            hidden: Vec::new(),
            control_groups: true,
            told: Told::default(),
        }
    }

    /// What this system has of all that holds workers to their place, and what can be done about the rest.
    /// Nothing is started or changed.
    ///
    /// Blocks for some milliseconds.
    #[must_use]
    pub fn check() -> Vec<Check> {
        let mut checks = isolation::probe();
        checks.push(guard::check());
        checks
    }

    /// Whether there is a daemon at a node, as far as another node of its network knows: one hears of it a moment after
    /// they are linked.
    #[must_use]
    pub fn is_at(there: &Location, node: &Node) -> bool {
        let mut daemons = node.locate_all::<Address<ToDaemon>>(NAME).into_iter();
        daemons.any(|(at, _)| at.node == there.node)
    }

    /// How much memory a daemon lends of a machine, in bytes, if so much is [wanted](DaemonBuilder::memory): 0 if the
    /// machine does not tell how much it has, and nothing is wanted.
    #[must_use]
    pub fn memory_lent(machine: &Machine, wanted: Option<u64>) -> u64 {
        match (wanted, machine.memory) {
            (None, all) => all / 8 * 7,
            (Some(bytes), 0) => bytes,
            (Some(bytes), all) => bytes.min(all),
        }
    }

    /// The node on the network of its clients.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// How it stands.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn status(&self) -> Result<Status, DaemonError> {
        self.ask(Own::Status).await
    }

    /// From now on there are so many slots. Of those that are lent beyond that, each is asked back, and
    /// comes when its worker has nothing left to do. While the node is suspended none is lent all the
    /// same.
    pub fn resize(&self, slots: usize) {
        self.tell(Own::Resize(slots));
    }

    /// Lends no slots, and asks back those that are lent: running calls go on to their end, others
    /// wait, or run elsewhere. Clients may come, and those that are there may stay.
    pub fn suspend(&self) {
        self.tell(Own::Suspend(true));
    }

    /// Lends slots again after [`suspend`](Self::suspend).
    pub fn resume(&self) {
        self.tell(Own::Suspend(false));
    }

    /// Kills all workers, and with them what they run; clients run it again elsewhere. They may come
    /// back: this is for after [`suspend`](Self::suspend), when calls have had long enough.
    pub fn evict(&self) {
        self.tell(Own::Evict);
    }

    /// Resolves when as many clients have come as it [serves](DaemonBuilder::serve), and all have left, or
    /// were lost and have not come back for a minute: never, if it serves any number.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn served(&self) -> Result<(), DaemonError> {
        self.ask(Own::Served).await
    }

    /// Takes no new clients, asks back all slots, and waits until none is lent: until all calls that
    /// run here have ended.
    ///
    /// Cancel safe: what has been asked back stays so.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn drain(&self) -> Result<(), DaemonError> {
        self.ask(Own::Drain).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        f: impl FnOnce(Reply<T>) -> Own,
    ) -> Result<T, DaemonError> {
        let answer = self.keeper.ask(|reply| ToDaemon::Own(f(reply)));
        answer.await.map_err(|_| DaemonError::Ended)
    }

    fn tell(&self, own: Own) {
        // To one that has ended nothing can be done.
        let _ = self.keeper.send(ToDaemon::Own(own));
    }

    /// Kills all workers, waits until nothing is left of them, and closes the node. It waits for 10 s at most: what it takes
    /// longer to remove, or cannot be removed, stays in the daemon's folder, unless this process goes on; the next daemon that
    /// has the folder tries again. The log says so, which it does not when the daemon ends otherwise: dropped, or with its
    /// process.
    ///
    /// Cancel safe: once polled, it ends.
    pub async fn close(&self) {
        self.node.unregister(NAME);
        self.keeper.terminate();
        self.keeper.exit().await;
        self.node.close().await;
        let work = self.work.clone();
        for left in blocking(move || work.left()).await {
            let left = left.display();
            tracing::warn!(
                "{left} is not removed, as that takes longer or cannot be: the next daemon with this folder tries again"
            );
        }
        self.store.release();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.keeper.terminate();
    }
}

impl DaemonBuilder {
    /// How many workers run at a time, each on a core: one for each core unless told otherwise.
    pub fn slots(mut self, n: usize) -> Self {
        self.slots = Some(n);
        self
    }

    /// How many bytes programs and files may take, with those that are not in use, and with the copies of files
    /// with which workers run: 10 GiB unless told otherwise, and 1 MiB at least. Each counts for 4 KiB at least. Those used
    /// longest ago go first.
    pub fn cache(mut self, bytes: u64) -> Self {
        self.cache = bytes;
        self
    }

    /// How many bytes one program or file may have: as many as [all](Self::cache) unless told otherwise, which is the
    /// most, and 1 MiB at least.
    pub fn largest_file(mut self, bytes: u64) -> Self {
        self.largest = Some(bytes);
        self
    }

    /// Takes so many clients, and no more: see [`Daemon::served`]. One that comes again, as after its link was
    /// cut, is the same.
    ///
    /// # Panics
    /// When it is 0.
    pub fn serve(mut self, clients: usize) -> Self {
        assert!(clients > 0, "a daemon is for one client at least");
        self.serve = Some(clients);
        self
    }

    /// How much memory all workers together may have, in bytes: seven eighths of what this process may have
    /// unless told otherwise, and 64 MiB at least. It is what clients see of this machine, and any one call may want
    /// all of it.
    ///
    /// Where this process may make control groups ([`check`](Daemon::check) tells), they see to it: when
    /// all together want more, one of them is killed. Elsewhere each process of a worker may have as much by
    /// itself, where the system can see to that.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// How many processes and threads a worker may have, with all that it starts and the one that guards it: 512 unless
    /// told otherwise, and 5 at least. Where no control group counts them, they do not hold root
    /// ([`check`](Daemon::check) tells).
    pub fn processes(mut self, n: u64) -> Self {
        self.limits.processes = Some(n);
        self
    }

    /// How many bytes a worker may write to one file: 64 GiB unless told otherwise.
    pub fn file_size(mut self, bytes: u64) -> Self {
        self.limits.file_size = Some(bytes);
        self
    }

    /// How many bytes of the disk the workers of one client may fill, all together, besides the files that came
    /// with their program: 64 GiB unless told otherwise. Whatever has a name counts for 4 KiB at least: each file,
    /// folder and link, those to the files that came among them. What a worker leaves when it ends counts until it has been
    /// removed: nobody is killed for that who has written nothing, but while that alone is more, no other worker of that
    /// client starts.
    ///
    /// It is looked at every second, or less often where there are very many files. When they have more, the
    /// one that has written most is killed, and that is told as its end: of several that alone have more than is allowed any
    /// may be it, as nobody looks further than that; likewise one that hides what it has: with a folder
    /// that may not be looked into, with more than 128 folders inside of each other, with more than 100,000 beside each
    /// other, or, on Linux, with a process that does not show which files it has open. There, files that have no name any
    /// more count for as long as a process has them open; not those that it has only mapped into memory, or sent on their
    /// way to another.
    pub fn work(mut self, bytes: u64) -> Self {
        self.work = bytes;
        self
    }

    /// Lets workers read a file, or all in a folder, besides their own and what the system has for
    /// everybody, such as programs and libraries. It has to be there when the daemon starts.
    pub fn readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// Hides a file, or all in a folder, from workers, though it is in a place that they may read: keys and
    /// certificates, where they are not those of the user. The secret of the user and the daemon's folder are
    /// hidden anyway.
    ///
    /// As with all that workers may do, where the system can see to that: [`check`](Daemon::check) tells.
    pub fn hidden(mut self, path: impl Into<PathBuf>) -> Self {
        self.hidden.push(path.into());
        self
    }

    /// Makes no control groups for workers, as where the system lets it make none: for tests.
    #[doc(hidden)]
    pub fn without_control_groups(mut self) -> Self {
        self.control_groups = false;
        self
    }

    /// Called with every [`DaemonEvent`], from the first. It runs in the daemon's coroutine: it must
    /// not block, but may send to an address. If it panics, it is not called any more, and the log says so.
    pub fn on_event(mut self, f: impl Fn(&DaemonEvent) + Send + Sync + 'static) -> Self {
        self.told = Told::new(f);
        self
    }

    /// What clients can choose it by.
    pub fn labels(mut self, labels: impl IntoIterator<Item = Label>) -> Self {
        self.labels.extend(labels);
        self
    }

    /// What there is for calls that [need](crate::Call::resource) it, besides cores, memory and the graphics processors that
    /// are found; one called `gpu` counts in place of these. What calls of all clients that run here at a time need of it
    /// is never more.
    pub fn resources(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        self.resources.extend(resources);
        self
    }

    /// Whether [`start`](Self::start) could start it, as far as that can be told while nothing is made or started: another
    /// daemon may use the folder or the port.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Those of [`start`](Self::start).
    pub async fn check(self) -> Result<(), DaemonError> {
        possible(self.memory, &self.limits, self.readable).await?;
        fetch::largest(self.largest, self.cache).map_err(DaemonError::Room)?;
        seen_from_here(self.hidden)?;
        let checked = store::check_in(&self.folder).await;
        checked.map_err(DaemonError::Store)?;
        Ok(self.node.check().await?)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the folder cannot be used, what workers may have cannot be given, or the node cannot be started.
    pub async fn start(self) -> Result<Daemon, DaemonError> {
        let DaemonBuilder {
            node,
            folder,
            slots,
            cache,
            largest,
            labels,
            resources,
            serve,
            memory,
            work: most,
            mut limits,
            readable,
            mut hidden,
            control_groups,
            told,
        } = self;
        let readable = possible(memory, &limits, readable).await?;
        let largest = fetch::largest(largest, cache).map_err(DaemonError::Room)?;
        let opened = store::open_in(&folder, cache).await;
        let (folder, store) = opened.map_err(DaemonError::Store)?;
        // The lock of the store keeps others out of this one too.
        let path = folder.join("work");
        let work = WorkRoot::open(&path).await;
        let work = work.map_err(|why| DaemonError::Work { path, why })?;
        let mut machine = blocking(move || Machine::look(labels)).await;
        machine.resources.extend(resources);
        let slots = slots.unwrap_or(machine.cores.get() as usize);
        machine.memory = Daemon::memory_lent(&machine, memory);
        limits.memory = Some(machine.memory).filter(|bytes| *bytes > 0);
        // After the machine was looked at, which has less in a group.
        let cgroups = match control_groups {
            true => blocking(move || bounds::prepare(limits.memory)).await,
            false => None,
        };
        hidden.extend(Secret::path_of_user());
        hidden.push(folder.clone());
        let rules = Rules {
            limits,
            work: most,
            spare: Spare::new(limits, cgroups),
            readable,
            hidden: seen_from_here(hidden)?,
        };

        let node = node.files(store.folder(largest, cache)).build().await?;
        let spare = Arc::clone(&rules.spare);
        tokio::task::spawn_blocking(move || spare.fill());
        let keeper = Keeper::new(Settings {
            machine,
            folder,
            slots,
            largest,
            serve,
            store: store.clone(),
            work: work.clone(),
            rules,
            told,
        });
        let keeper = coros_core::build()
            .name(NAME)
            .daemon()
            .grace(GRACE)
            .spawn(move |me| keeper.run(me))
            .address();
        farewell::closes_after(&node, &keeper, GRACE);
        let daemon = Daemon {
            node,
            keeper,
            store,
            work,
        };
        daemon.node.register(NAME, &daemon.keeper)?;
        Ok(daemon)
    }
}

/// What workers may read, if all that they are to have makes sense.
async fn possible(
    memory: Option<u64>,
    limits: &Limits,
    readable: Vec<PathBuf>,
) -> Result<Vec<PathBuf>, DaemonError> {
    if !crate::worker::entered() {
        return Err(DaemonError::NoEntry);
    }
    if let Some(bytes) = memory.filter(|bytes| *bytes < LEAST_MEMORY) {
        return Err(DaemonError::Memory { bytes });
    }
    if let Some(most) = limits.processes.filter(|most| *most < LEAST_PROCESSES) {
        return Err(DaemonError::Processes { most });
    }
    blocking(move || found(readable)).await
}

/// Whoever names what is not there has mistyped it.
fn found(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, DaemonError> {
    let found = |path: PathBuf| match path.metadata().and_then(|_| std::path::absolute(&path)) {
        Ok(absolute) => Ok(absolute),
        Err(why) => Err(DaemonError::Readable { path, why }),
    };
    paths.into_iter().map(found).collect()
}

/// Workers are elsewhere.
fn seen_from_here(paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, DaemonError> {
    let absolute =
        |path: PathBuf| std::path::absolute(&path).map_err(|why| DaemonError::Path { path, why });
    paths.into_iter().map(absolute).collect()
}
