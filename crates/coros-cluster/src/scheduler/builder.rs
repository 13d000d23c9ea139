//! What can be said of a scheduler: with workers on this machine, or on the nodes of a network.

mod start;

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Message;
use coros_net::{Folder, Node};

pub(crate) use self::start::reached_as;
use super::Event;
use super::agent::Which;
use super::listeners::EventSink;
use super::setup::{Setup, for_node};
use crate::computation::{Given, Start};
use crate::daemon::leases::Terms;
use crate::function::Call;
use crate::placement::{NodeView, Placement};
use crate::resources::Resources;

/// How long calls wait for a node, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of a scheduler: see [`Scheduler::local`](crate::Scheduler::local), [`cluster`](crate::Scheduler::cluster) and [`at`](crate::Scheduler::at).
#[must_use = "a builder does nothing until `start`"]
pub struct SchedulerBuilder {
    on: On,
    workers: Option<usize>,
    memory: Option<u64>,
    /// What has a name.
    resources: Resources,
    prefetch: usize,
    retries: u32,
    start_limit: Duration,
    grace: Duration,
    silence: Duration,
    log: Option<String>,
    program: Option<PathBuf>,
    given: Vec<Given>,
    start: Start,
    stderr: Stderr,
    setup: Setup,
    on_event: Option<EventSink>,
    folder: Option<Folder>,
}

/// Where the workers are.
enum On {
    ThisMachine,
    Nodes(Nodes),
}

/// The nodes of a network, and how they are used.
struct Nodes {
    node: Node,
    by: By,
    placement: Placement,
    terms: Terms,
    patience: Duration,
    /// This program, as it was built for other targets.
    also: Vec<PathBuf>,
}

/// Who sees to them.
enum By {
    /// This process.
    Itself,
    /// A service.
    Service(Which),
}

/// Takes a line that a worker wrote to standard error: the worker's name, the line.
pub(crate) type Stderr = Arc<dyn Fn(&str, &str) + Send + Sync>;

impl SchedulerBuilder {
    pub(super) fn local() -> Self {
        Self::on(On::ThisMachine)
    }

    pub(super) fn cluster(node: Node) -> Self {
        Self::nodes_of(node, By::Itself)
    }

    pub(super) fn at(node: Node) -> Self {
        Self::nodes_of(node, By::Service(Which::Any))
    }

    fn nodes_of(node: Node, by: By) -> Self {
        let terms = Terms {
            exclusive: false,
            priority: 0,
        };
        Self::on(On::Nodes(Nodes {
            node,
            by,
            placement: Placement::default(),
            terms,
            patience: PATIENCE,
            also: Vec::new(),
        }))
    }

    fn on(on: On) -> Self {
        SchedulerBuilder {
            on,
            workers: None,
            memory: None,
            resources: Resources::default(),
            prefetch: 256,
            retries: 3,
            start_limit: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            silence: Duration::from_secs(2),
            log: None,
            program: None,
            given: Vec::new(),
            start: Start::default(),
            setup: Setup::default(),
            // Where standard error is closed, nobody wants to know.
            stderr: Arc::new(|worker, line| {
                let _ = writeln!(std::io::stderr(), "[{worker}] {line}");
            }),
            on_event: None,
            folder: None,
        }
    }

    /// How many worker processes there are at most, each running one call at a time: one for each core
    /// unless told otherwise, or all that the nodes of a network lend. It is also how
    /// many [cores](crate::Call::cpus) such calls may take together.
    ///
    /// # Panics
    /// When it is 0.
    pub fn workers(mut self, n: usize) -> Self {
        assert!(n > 0, "a scheduler needs at least one worker");
        self.workers = Some(n);
        self
    }

    /// Which service of the network it is, by the name of its node, where there are several: the first that
    /// is found unless told otherwise.
    ///
    /// # Panics
    /// On a scheduler that is not [at a service](crate::Scheduler::at).
    pub fn service(mut self, name: impl Into<String>) -> Self {
        match &mut self.nodes("service").by {
            By::Service(service) => *service = Which::Named(name.into()),
            By::Itself => panic!("service is for a scheduler at one"),
        }
        self
    }

    /// Likewise, by where its node listens, whatever that is called.
    ///
    /// # Panics
    /// On a scheduler that is not [at a service](crate::Scheduler::at).
    pub fn service_at(mut self, endpoint: SocketAddr) -> Self {
        match &mut self.nodes("service_at").by {
            By::Service(service) => *service = Which::At(endpoint),
            By::Itself => panic!("service_at is for a scheduler at one"),
        }
        self
    }

    /// Which nodes of the network are used, and how much of each: all of every one unless told
    /// otherwise.
    ///
    /// # Panics
    /// On a scheduler with workers on this machine.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.nodes("placement").placement = placement;
        self
    }

    /// Has every node that it uses for itself alone, as soon as those that were there before are done. By
    /// default nodes are shared with other clients of the same priority, slot by slot.
    ///
    /// At a [service](crate::Scheduler::at) it has all nodes alone: [`start`](Self::start) waits, for as long as that takes,
    /// until those who came before it have left.
    ///
    /// # Panics
    /// On a scheduler with workers on this machine.
    pub fn exclusive(mut self) -> Self {
        self.nodes("exclusive").terms.exclusive = true;
        self
    }

    /// How important its calls are to the nodes beside those of other clients: 0 unless told otherwise, and
    /// the higher goes first. At a [service](crate::Scheduler::at) it also goes first among those who wait for it.
    ///
    /// # Panics
    /// On a scheduler with workers on this machine.
    pub fn priority(mut self, priority: i32) -> Self {
        self.nodes("priority").terms.priority = priority;
        self
    }

    /// How long calls wait while there is no node: 60 s unless told otherwise, from when there are both
    /// calls and no node, and longer as long as the program is on its way to one. Then those that wait end with
    /// [`JobError::NoWorkers`](super::JobError::NoWorkers), which says what was found and why it was not used; and so
    /// do at once those that come later, for as long again or until a node is found.
    ///
    /// A call that needs more than any node has that is there waits for as long for one that has, and ends with
    /// [`JobError::NoRoom`](super::JobError::NoRoom).
    ///
    /// While there are nodes that lend nothing, because they are suspended or others have all they have,
    /// calls wait for as long as that lasts, and after this time
    /// [`Event::NoSlots`] says so.
    ///
    /// At a [service](crate::service), calls wait for a node for a week at most.
    ///
    /// # Panics
    /// On a scheduler with workers on this machine.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.nodes("patience").patience = countable(limit);
        self
    }

    fn nodes(&mut self, what: &str) -> &mut Nodes {
        match &mut self.on {
            On::Nodes(nodes) => nodes,
            On::ThisMachine => panic!("{what} is for a scheduler on the nodes of a network"),
        }
    }

    fn here(&self, what: &str, instead: &str) {
        if let On::Nodes(_) = self.on {
            panic!("{what} is for a scheduler with workers on this machine: {instead}");
        }
    }

    /// How much memory all calls that run on this machine at a time may [need](crate::Call::memory), in
    /// bytes: all that this process may have, unless told otherwise. On the nodes of a network it is what
    /// the [placement](Self::placement) says.
    ///
    /// # Panics
    /// On a scheduler on the nodes of a network.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.here("memory", "the placement says how much of a node is used");
        self.memory = Some(bytes);
        self
    }

    /// There is so much of what has this name on this machine, such as `gpu`, for calls that
    /// [need](crate::Call::resource) it. Nodes of a network say themselves [what they
    /// have](crate::daemon::DaemonBuilder::resources); how many graphics processors, is found out there.
    ///
    /// # Panics
    /// On a scheduler on the nodes of a network.
    pub fn resource(mut self, name: impl Into<Arc<str>>, n: u64) -> Self {
        self.here(
            "resource",
            "nodes say themselves what they have, by `coros node --resource`",
        );
        self.resources.set_named(name.into(), n);
        self
    }

    /// How many calls may wait at a worker behind the one that runs, so that it need not wait for
    /// the next: 256 unless told otherwise, and 4 when the next has more than 16 KiB of arguments. They go
    /// elsewhere when another worker has nothing to do.
    pub fn prefetch(mut self, calls: usize) -> Self {
        self.prefetch = calls;
        self
    }

    /// How often a call runs again when its worker was lost: 3 times unless told otherwise. Then
    /// it ends with [`JobError::Abandoned`](super::JobError::Abandoned).
    ///
    /// A loss counts for the call that the scheduler knows to have run there. What waited behind it may have been
    /// running instead, if results were lost with the worker; it is run alone next, and that loss, if there is another,
    /// counts. So a call that ends its worker each time may do so once more often than this says. With 0 a call runs at
    /// most once; nothing is prefetched then.
    pub fn retries(mut self, n: u32) -> Self {
        self.retries = n;
        self
    }

    /// How long a worker may take from the start of its process until it takes calls: 10 s unless
    /// told otherwise.
    pub fn start_limit(mut self, limit: Duration) -> Self {
        self.start_limit = countable(limit);
        self
    }

    /// How long a worker may take to end when told to, before it is killed: 5 s unless told
    /// otherwise.
    pub fn grace(mut self, period: Duration) -> Self {
        self.grace = countable(period);
        self
    }

    /// How long a worker may give no sign of life: 2 s unless told otherwise. After that and a
    /// tenth it is killed, and its calls run again elsewhere.
    ///
    /// A worker shows that it lives from a thread of its own, whatever its functions do, so this
    /// is for processes that are stopped: by `SIGSTOP`, or by a debugger, which wants it longer.
    ///
    /// Of a worker of a node it may be the network that is silent. So it has [another 5 s](coros_net::Builder::grace) to
    /// link again before it is given up. A process that has ended is told by its node, at once.
    pub fn silence(mut self, limit: Duration) -> Self {
        self.silence = limit;
        self
    }

    /// What workers log to standard error, in the words of `tracing_subscriber::EnvFilter`, such
    /// as `info,coros_net=debug`; `off` for nothing. Unless told they log everything up to the
    /// most verbose level that this process logs.
    ///
    /// A filter that makes no sense is an error of [`start`](Self::start).
    pub fn log(mut self, filter: impl Into<String>) -> Self {
        self.log = Some(filter.into());
        self
    }

    /// Starts another executable as worker, which must have the same remote functions.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Adds this very program as it was built for another target. A node gets the first that it can run, of
    /// the program itself and those that were added, in that order.
    ///
    /// # Panics
    /// On a scheduler with workers on this machine.
    pub fn binary(mut self, program: impl Into<PathBuf>) -> Self {
        self.nodes("binary").also.push(program.into());
        self
    }

    /// Has a file, or a folder with all that is in it, travel with the program: functions find it by
    /// [`worker::file`](crate::worker::file) under its own name. On a node it is in the working directory
    /// of each worker too, to be read and not to be written to; workers on this machine read the original.
    ///
    /// Links are followed, but those inside of a folder that lead to folders are left out, and so are folders in which there
    /// are no files. Anything else, such as a
    /// device, a pipe or a socket, is an error of [`start`](Self::start), as is what cannot be read. So are more files
    /// than can be told of: about 80,000.
    pub fn depends(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        self.given.push(Given { path, name: None });
        self
    }

    /// As [`depends`](Self::depends), under another name: a relative path with `/`.
    pub fn depends_as(mut self, path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        let (path, name) = (path.into(), Some(name.into()));
        self.given.push(Given { path, name });
        self
    }

    /// Sets a variable in the environment of the workers. Those of a node have, besides `PATH`, `HOME`,
    /// `TMPDIR` and what says which language and time zone it is, nothing else; workers on
    /// this machine have this process's environment.
    ///
    /// A name that is empty or has `=` in it, and a byte 0 in either, are an error of [`start`](Self::start), as is
    /// more than 1 MiB of variables and arguments in all, each with 128 bytes more.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let environment = &mut self.start.environment;
        environment.insert(name.into(), value.into());
        self
    }

    /// Gives the workers arguments, which they find in [`std::env::args`] after those that make them
    /// workers: the last of all.
    pub fn args<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        let arguments = arguments.into_iter().map(Into::into);
        self.start.arguments.extend(arguments);
        self
    }

    /// Has a function prepare each node, before any other runs there: it may load data into the
    /// [shared folder](crate::worker::shared_folder), which others only read, and what it gives is there for all workers
    /// of the node by [`node_value`](crate::worker::node_value). It runs once, in a process of its own, which ends then,
    /// and with it all that it has started: what is in a `static` there is for no worker, which is what
    /// [`set_up_worker`](Self::set_up_worker) is for. Workers start when it is done. `None` leaves a node as it is.
    ///
    /// Its arguments, and what it gives, may have 3 MiB each: what is larger belongs into a file that
    /// [travels](Self::depends), or the shared folder. A node where it fails three times in a row is not used, nor is
    /// one for which `call` panics. On a node that has no worker left, because
    /// its slots are wanted by others, it runs again when there is one.
    ///
    /// ```no_run
    /// # use coros_cluster::{Call, Scheduler};
    /// # fn load(path: String) -> Call<u64> { unimplemented!() }
    /// let scheduler = Scheduler::local().set_up_node(|node| {
    ///     (node.machine.cores.get() > 1).then(|| load("data.bin".into()))
    /// });
    /// ```
    pub fn set_up_node<R: Message>(
        mut self,
        call: impl Fn(&NodeView) -> Option<Call<R>> + Send + 'static,
    ) -> Self {
        self.setup.set_up_node = Some(for_node(call));
        self
    }

    /// Has a function tidy up each node that was prepared: once, in its last worker, when all others have
    /// ended, or in one that starts for that, if [`set_up_node`](Self::set_up_node) has prepared the node and none is
    /// left. The shared folder goes by itself. It does not run where the one that was told to was lost or killed, nor
    /// where the node was lost, or its owner has ended all that ran there (as Ctrl-C at a `coros node` does):
    /// [`Event::TearDownFailed`] tells so.
    pub fn tear_down_node<R: Message>(
        mut self,
        call: impl Fn(&NodeView) -> Option<Call<R>> + Send + 'static,
    ) -> Self {
        self.setup.tear_down_node = Some(for_node(call));
        self
    }

    /// Has a function prepare each worker before it takes calls: what it puts into a `static` is
    /// there for them. A worker where it fails is replaced, as one that does not start.
    pub fn set_up_worker<R: Message>(
        mut self,
        call: impl Fn(&NodeView) -> Option<Call<R>> + Send + 'static,
    ) -> Self {
        self.setup.set_up = Some(for_node(call));
        self
    }

    /// Has a function tidy up in each worker after its last call, when it is told to end. It does not run in
    /// one that is lost or killed, nor where its node was lost, or the node's owner has ended all that ran there; of these
    /// [`Event::TearDownFailed`] tells.
    pub fn tear_down_worker<R: Message>(
        mut self,
        call: impl Fn(&NodeView) -> Option<Call<R>> + Send + 'static,
    ) -> Self {
        self.setup.tear_down = Some(for_node(call));
        self
    }

    /// How long a function that prepares a node or a worker may take, and those that tidy
    /// up, both together: 30 s unless told otherwise. Then the worker is killed.
    pub fn setup_limit(mut self, limit: Duration) -> Self {
        self.setup.limit = countable(limit);
        self
    }

    /// Takes files from the workers into a folder of this machine, and more if that says so: a function has
    /// [its worker's node](crate::worker::node) send one to [its client](crate::worker::client). Without one
    /// all files are refused.
    ///
    /// ```no_run
    /// # use coros_cluster::worker;
    /// # use std::error::Error;
    /// use coros_net::SendFile;
    ///
    /// // A remote function, after `.files(Folder::new("results"))`.
    /// async fn render() -> Result<(), Box<dyn Error>> {
    ///     let (Some(node), Some(client)) = (worker::node(), worker::client()) else {
    ///         return Err("this is for workers".into());
    ///     };
    ///     tokio::fs::write("picture.png", b"...").await?;
    ///     node.send_file(client, "picture.png", SendFile::new()).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn files(mut self, folder: Folder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Called with every [`Event`], from the first. It runs in the scheduler's coroutine: it must
    /// not block, but may send to an address. If it panics, it is not called any more, and the log says so.
    pub fn on_event(mut self, f: impl Fn(&Event) + Send + 'static) -> Self {
        self.on_event = Some(Box::new(f));
        self
    }

    /// Called with every line that a worker writes to standard error: the worker's name and the
    /// line, without its end, cut at 4 KiB. By default it is printed to standard error as
    /// `[w1] line`. What workers here write to standard output goes to this process's; what workers on
    /// nodes write there comes as lines of standard error.
    ///
    /// It is called for one line at a time, in a thread that it may block: who writes more waits meanwhile, and
    /// nobody else. The lines of a worker come in order, and before its end is told unless they take longer
    /// than a fifth of a second then.
    pub fn stderr(mut self, f: impl Fn(&str, &str) + Send + Sync + 'static) -> Self {
        self.stderr = Arc::new(f);
        self
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder")
            .field("workers", &self.workers)
            .field("prefetch", &self.prefetch)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// As long as a clock can count: "never" is a year.
fn countable(time: Duration) -> Duration {
    time.min(Duration::from_secs(365 * 24 * 60 * 60))
}
