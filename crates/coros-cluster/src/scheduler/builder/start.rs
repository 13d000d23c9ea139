//! Starting a scheduler: this process gets a node for its workers, and a coroutine that sees to them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use coros_core::{Address, Context};
use coros_net::{Authority, Node, Secret};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::super::agent::{self, Agent};
use super::super::finder;
use super::super::judge::{self, Judge};
use super::super::listeners::Listeners;
use super::super::plan::{Plan, Usage};
use super::super::setup::Setup;
use super::super::shell::{Cluster, Here, Settings, Shell, Workers};
use super::super::target::HERE;
use super::super::{Inner, Scheduler, StartError};
use super::{By, On, SchedulerBuilder};
use crate::blocking::blocking;
use crate::computation::{self, Cargo, CargoError, Given, Program, ProgramError};
use crate::machine::{Load, Machine, memory_for_calls};
use crate::placement::NodeView;
use crate::process::Launcher;
use crate::protocol::{Duties, ToScheduler};
use crate::resources::Resources;
use crate::service::protocol::{Key, OWN_NETWORK};

impl SchedulerBuilder {
    /// Starts the workers, and returns when the first of them takes calls; on nodes, when the first of these
    /// has the program, and lends workers as soon as it has some to lend.
    ///
    /// The workers and this process form a network of their own with a new authority, so no
    /// secret is read or kept, and nobody else can join, be it a node that lends the workers. A
    /// [service](Scheduler::at) is a part of it.
    ///
    /// Cancel safe: dropping the future ends the workers.
    ///
    /// # Errors
    /// When this program cannot be or guard workers, when there can be no node, when no worker
    /// could be started in three attempts, or came within [`patience`](Self::patience), when what
    /// [travels](Self::depends) with the program or what workers are [given](Self::env) cannot be, and when
    /// the [log filter](Self::log) makes no sense.
    pub async fn start(mut self) -> Result<Scheduler, StartError> {
        let other = self.program.clone();
        // Who starts workers guards them too.
        let needs_entry = other.is_none() || matches!(self.on, On::ThisMachine);
        if needs_entry && !crate::worker::entered() {
            return Err(StartError::NoEntry);
        }
        let program = match self.program {
            Some(program) => program,
            None => Launcher::this_program()
                .map_err(|error| StartError::NoWorkers(format!("no executable: {error}")))?,
        };
        let log = filter(self.log)?;
        let given = self.start.check();
        given.map_err(|error| StartError::Given(error.to_string()))?;
        // Reading it takes as long as all the rest, so it begins first.
        let programs = match &mut self.on {
            On::ThisMachine => None,
            On::Nodes(nodes) => {
                let also = std::mem::take(&mut nodes.also);
                Some(AbortOnDropHandle::new(tokio::spawn(programs(other, also))))
            }
        };
        let node_error = |error: &dyn fmt::Display| StartError::Node(error.to_string());
        let secret = Secret::random();
        let authority = Authority::derive(&secret, OWN_NETWORK);
        let authority = authority.map_err(|error| node_error(&error))?;
        let node = match &self.on {
            On::ThisMachine => Node::builder().listen((Ipv4Addr::LOCALHOST, 0).into()),
            On::Nodes(nodes) => reached_as(&nodes.node),
        };
        let node = node
            .member(false)
            .name("client")
            .authority(authority.clone())
            .silence(self.silence)
            .handshake_limit(self.start_limit);
        let node = match self.folder {
            Some(folder) => node.files(folder),
            None => node,
        };
        let node = node.build().await.map_err(|error| node_error(&error))?;
        let files = tops(&self.given, matches!(self.on, On::Nodes(_)));
        let tidying = match self.setup.tears_down() {
            true => self.setup.limit,
            false => Duration::ZERO,
        };
        let plan = Plan {
            prefetch: self.prefetch,
            retries: self.retries,
            start_limit: self.start_limit,
            grace: self.grace + tidying,
            setup_limit: self.setup.limit,
            prepares: self.setup.set_up_node.is_some(),
            tidies_up: self.setup.tear_down_node.is_some(),
            silence: self.silence,
            log,
            files: files.map_err(|error| StartError::Depends(error.to_string()))?,
        };
        let settings = |plan, workers| Settings {
            plan,
            workers,
            stderr: Arc::clone(&self.stderr),
            authority,
            client: None,
        };
        let (started, has_started) = oneshot::channel();
        let listeners = Listeners::new(self.on_event);
        let seat = Seat::new(plan.ending(), node.clone(), listeners, started);
        let behind = match (self.on, programs) {
            (On::Nodes(nodes), Some(programs)) => {
                let cargo = async {
                    let no_program =
                        |why: &dyn fmt::Display| StartError::NoWorkers(why.to_string());
                    let programs = programs.await.map_err(|why| no_program(&why))?;
                    let programs = programs.map_err(|why| no_program(&why))?;
                    let cargo = Cargo::load(programs, self.given, self.start).await;
                    let cargo = cargo.map_err(|error| StartError::Depends(error.to_string()))?;
                    Ok(Arc::new(cargo))
                };
                let usage = Usage {
                    terms: nodes.terms,
                    patience: nodes.patience,
                    limit: self.workers.unwrap_or(usize::MAX),
                };
                let judge = Judge {
                    node: node.clone(),
                    placement: nodes.placement,
                    setup: self.setup,
                };
                match nodes.by {
                    By::Itself => {
                        // While all of that is read.
                        let finder = finder::start_for(nodes.node.clone(), seat.address.clone());
                        let cluster = Cluster {
                            node: nodes.node,
                            usage,
                            cargo: cargo.await?,
                            asks: judge.here(),
                        };
                        Behind::Shell(settings(plan, Workers::At(cluster, finder)))
                    }
                    By::Service(service) => Behind::Agent(agent::Settings {
                        node: nodes.node,
                        service,
                        here: node.location(),
                        key: Key::of(&secret),
                        plan,
                        usage,
                        cargo: cargo.await?,
                        judge,
                        stderr: self.stderr,
                    }),
                }
            }
            _ => {
                let given = computation::check(self.given).await;
                given.map_err(|error| StartError::Depends(error.to_string()))?;
                let cores = || std::thread::available_parallelism().map_or(1, usize::from);
                let workers = self.workers.unwrap_or_else(cores);
                let here = blocking(look_here).await;
                let (shared, here) = here.map_err(StartError::Shared)?;
                let here = Here {
                    room: room(workers, self.resources, self.memory, &here.machine),
                    duties: duties_here(&self.setup, &node, &here)?,
                    node: Arc::new(here),
                    workers,
                    path: program,
                    start: self.start,
                    shared,
                };
                Behind::Shell(settings(plan, Workers::Here(Box::new(here))))
            }
        };
        let inner = Inner {
            shell: seat.give(behind),
            node,
            next_call: AtomicU64::new(0),
        };
        // Made first, so that giving up on `start` ends what has begun.
        let scheduler = Scheduler {
            inner: Arc::new(inner),
        };
        match has_started.await {
            Ok(Ok(())) => Ok(scheduler),
            Ok(Err(why)) => Err(StartError::NoWorkers(why)),
            Err(_) => Err(StartError::NoWorkers("the scheduler was terminated".into())),
        }
    }
}

/// What is behind the handles of a scheduler.
enum Behind {
    Shell(Settings),
    Agent(agent::Settings),
}

/// The coroutine of a scheduler that is not known yet: what it is told meanwhile waits. It ends when this is
/// dropped.
struct Seat {
    address: Address<ToScheduler>,
    behind: oneshot::Sender<Behind>,
}

impl Seat {
    fn new(
        ending: Duration,
        node: Node,
        listeners: Listeners,
        started: oneshot::Sender<Result<(), String>>,
    ) -> Self {
        let coroutine = coros_core::build().name("scheduler").daemon().grace(ending);
        let (behind, given) = oneshot::channel();
        let run = async move |me: Context<_>| match given.await {
            Ok(Behind::Shell(settings)) => {
                let shell = Shell::new(&me, node, settings, listeners, started);
                shell.run(me).await;
            }
            Ok(Behind::Agent(settings)) => {
                let agent = Agent::new(&me, settings, listeners, started);
                agent.run(me).await;
            }
            Err(_) => {}
        };
        Seat {
            address: coroutine.spawn(run).address(),
            behind,
        }
    }

    fn give(self, behind: Behind) -> Address<ToScheduler> {
        // If it has ended, the runtime is about to.
        let _ = self.behind.send(behind);
        self.address
    }
}

/// What workers log: what was said, if that makes sense, or as much as this process.
fn filter(log: Option<String>) -> Result<String, StartError> {
    let Some(log) = log else {
        return Ok(LevelFilter::current().to_string());
    };
    match EnvFilter::try_new(&log) {
        Ok(_) => Ok(log),
        Err(error) => Err(StartError::LogFilter(error.to_string())),
    }
}

/// This program, or the one in place of it, and those for other targets.
async fn programs(
    other: Option<PathBuf>,
    also: Vec<PathBuf>,
) -> Result<(Arc<Program>, Vec<Arc<Program>>), ProgramError> {
    blocking(move || {
        let first = match other {
            None => Program::this(),
            Some(path) => Program::at(&path).map(Arc::new),
        };
        let also = also.iter().map(|path| Program::at(path).map(Arc::new));
        Ok((first?, also.collect::<Result<_, _>>()?))
    })
    .await
}

/// This machine as a node, with a folder for what its workers share. Blocks.
fn look_here() -> io::Result<(TempDir, NodeView)> {
    let shared = tempfile::tempdir()?;
    let here = NodeView {
        load: Load::look(shared.path()),
        ..NodeView::new(HERE, Machine::look([]))
    };
    Ok((shared, here))
}

/// What calls may need that run on this machine at a time.
fn room(workers: usize, named: Resources, memory: Option<u64>, here: &Machine) -> Resources {
    let mut room = named.memory(memory.unwrap_or(memory_for_calls(here.memory)));
    room.set_cores(u32::try_from(workers).unwrap_or(u32::MAX));
    room
}

/// What workers of this machine do before and after all calls.
fn duties_here(setup: &Setup, node: &Node, here: &NodeView) -> Result<Duties, StartError> {
    if !setup.is_needed() {
        return Ok(Duties::default());
    }
    judge::duties(setup, node, here).map_err(StartError::NoWorkers)
}

/// Where a worker finds what travels: in its own folder, or here.
fn tops(given: &[Given], travels: bool) -> Result<Vec<(String, PathBuf)>, CargoError> {
    let top = |given: &Given| {
        let name = given.name()?;
        let here = || std::path::absolute(&given.path).map_err(|why| given.unread(why));
        let path = match travels {
            true => PathBuf::from(&name),
            false => here()?,
        };
        Ok((name, path))
    };
    given.iter().map(top).collect()
}

/// A node that is reached where another one of its process is.
pub(crate) fn reached_as(node: &Node) -> coros_net::Builder {
    let builder = Node::builder();
    match node.location().endpoint.map(|endpoint| endpoint.ip()) {
        Some(ip @ IpAddr::V6(_)) => builder
            .listen((Ipv6Addr::UNSPECIFIED, 0).into())
            .advertise((ip, 0).into()),
        Some(ip) => builder
            .listen((Ipv4Addr::UNSPECIFIED, 0).into())
            .advertise((ip, 0).into()),
        None => builder.listen((Ipv4Addr::UNSPECIFIED, 0).into()),
    }
}
