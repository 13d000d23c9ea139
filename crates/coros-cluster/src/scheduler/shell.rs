//! The scheduler's coroutine: carries messages to the state machines and does what they say.

mod calls;
mod claims;
mod hosts;
mod muster;
mod nodes;
mod patience;
mod survey;
mod targets;
#[cfg(test)]
mod tests;
mod undone;
mod unused;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use coros_core::{Address, Context, Exit};
use coros_net::{Authority, Location, Node, PeerEvent, clock};
use hashbrown::HashMap;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use self::calls::{Output, Report};
use self::hosts::Host;
use self::muster::Muster;
pub(super) use self::nodes::Cluster;
use self::patience::Patience;
pub(crate) use self::survey::Survey;
use self::unused::Unused;
pub(super) use self::workers::full_name;
use self::workers::{Worker, name_of};
use super::absent::Absent;
use super::builder::Stderr;
use super::core::{self, Core, HostId, WorkerId};
use super::finder::ToFinder;
use super::lines::Printer;
use super::listeners::Listeners;
use super::plan::Plan;
use super::pool;
use super::{Command, Event, Item, Submission};
use crate::computation::Start;
use crate::placement::NodeView;
use crate::protocol::{Duties, FromWorker, ToScheduler, ToWorker};
use crate::resources::Resources;

/// So many messages are taken before calls are given out.
const BATCH: usize = 256;
/// How soon sending is tried again when a link has as many bytes queued as it takes.
const STALL: Duration = Duration::from_millis(5);

pub(super) struct Settings {
    pub(super) plan: Plan,
    pub(super) workers: Workers,
    pub(super) stderr: Stderr,
    /// Of the network of the workers.
    pub(super) authority: Authority,
    /// Who the client is to them, if not this process.
    pub(super) client: Option<Location>,
}

/// Where the workers are; who finds the nodes.
pub(super) enum Workers {
    Here(Box<Here>),
    At(Cluster, Address<ToFinder>),
}

/// This machine, as far as it is for workers.
pub(super) struct Here {
    /// What calls that run here at a time may need in all.
    pub(super) room: Resources,
    /// This machine.
    pub(super) node: Arc<NodeView>,
    /// How many workers there are.
    pub(super) workers: usize,
    /// Their program.
    pub(super) path: PathBuf,
    /// With what they are started.
    pub(super) start: Start,
    /// What runs in them before and after all calls.
    pub(super) duties: Duties,
    /// What they share.
    pub(super) shared: TempDir,
}

pub(super) struct Shell {
    address: Address<ToScheduler>,
    node: Node,
    core: Core<Item>,
    hosts: BTreeMap<HostId, Host>,
    next_host: u32,
    cluster: Option<Cluster>,
    finder: Option<Address<ToFinder>>,
    /// The hosts whose liaisons have not ended.
    liaisons: HashSet<HostId>,
    /// Until when they are waited for, once that is all that is left to do.
    farewell: Option<Instant>,
    /// The nodes where no worker has started, until one has.
    failing: HashSet<NodeId>,
    /// The nodes that are not to be used any more.
    left: HashSet<NodeId>,
    /// The nodes that were lost and have not come back.
    absent: Absent,
    /// How many calls the nodes have been told of, and since when there are fewer, if that is so: until
    /// when it is not told.
    wanted: usize,
    calm: Option<Instant>,
    /// Why nodes are not used, for whoever waits for one.
    unused: BTreeMap<String, Unused>,
    patience: Patience,
    /// Who waits for all workers.
    muster: Muster,
    workers: HashMap<WorkerId, Worker>,
    /// Those that have claimed something, perhaps some that are gone; and the number of the last claim.
    claiming: BTreeSet<WorkerId>,
    last_claim: u64,
    ids: pool::WorkerIds,
    plan: Plan,
    here: Option<Here>,
    printer: Printer,
    authority: Authority,
    client: Option<Location>,
    /// Who waits for the first worker.
    started: Option<oneshot::Sender<Result<(), String>>>,
    /// Who waits for the last one to end.
    closing: Vec<oneshot::Sender<Vec<Arc<str>>>>,
    /// Those that had to be killed then.
    killed: Vec<WorkerId>,
    phase: Phase,
    /// Why the last worker that did not start did not.
    last_failure: String,
    listeners: Listeners,
    /// The client takes nothing of what came of its calls: none begins, and workers keep what comes.
    paused: bool,
    /// What the core wants done; kept for its memory.
    todo: Vec<Output>,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// No worker can be started: why. Calls are refused until somebody closes.
    Failed(String),
    Closing,
    Closed,
}

impl Shell {
    pub(super) fn new(
        me: &Context<ToScheduler>,
        node: Node,
        settings: Settings,
        listeners: Listeners,
        started: oneshot::Sender<Result<(), String>>,
    ) -> Self {
        let (here, cluster, finder) = match settings.workers {
            Workers::Here(here) => (Some(*here), None, None),
            Workers::At(cluster, finder) => (None, Some(cluster), Some(finder)),
        };
        let muster = Muster::new(Instant::now(), here.is_some(), settings.plan.until_ready());
        Shell {
            address: me.address(),
            node,
            core: Core::new(settings.plan.core(cluster.is_some())),
            hosts: BTreeMap::new(),
            next_host: 0,
            cluster,
            finder,
            liaisons: HashSet::new(),
            farewell: None,
            failing: HashSet::new(),
            left: HashSet::new(),
            absent: Absent::default(),
            wanted: 0,
            calm: None,
            unused: BTreeMap::new(),
            patience: Patience::default(),
            muster,
            workers: HashMap::new(),
            claiming: BTreeSet::new(),
            last_claim: 0,
            ids: pool::WorkerIds::default(),
            plan: settings.plan,
            here,
            printer: Printer::new(settings.stderr),
            authority: settings.authority,
            client: settings.client,
            started: Some(started),
            closing: Vec::new(),
            killed: Vec::new(),
            phase: Phase::Open,
            last_failure: String::new(),
            listeners,
            paused: false,
            todo: Vec::new(),
        }
    }

    /// Runs until the scheduler is closed, or told to terminate, as at the end of the program.
    pub(super) async fn run(mut self, mut me: Context<ToScheduler>) {
        let mut terminating = me.terminating();
        let mut told = false;
        let mut inbox = Vec::with_capacity(BATCH);
        self.watch_links();
        self.start_hosts();
        self.watch_patience();
        while !matches!(self.phase, Phase::Closed) {
            let tick = clock::until(self.deadline());
            tokio::select! {
                biased;
                () = &mut terminating, if !told => {
                    told = true;
                    self.close(None);
                }
                n = me.receive_many(&mut inbox, BATCH) => {
                    if n == 0 {
                        // The runtime ends. Dropping the processes kills them.
                        break;
                    }
                }
                () = tick => self.tick(),
            }
            for message in inbox.drain(..) {
                self.take(message);
            }
            self.dispatch();
            self.act();
            self.settle_all();
            self.act();
            self.settle_claims();
            if self.want() {
                self.dispatch();
                self.act();
            }
            self.flush();
            self.unstall();
            self.watch_patience();
            self.look_whether_mustered();
        }
    }

    /// Has the ends of links come as commands, after all that came over the link.
    fn watch_links(&self) {
        let address = self.address.clone();
        self.node.on_peer_event(move |event| {
            let (peer, why) = match event {
                PeerEvent::Lost(peer, why) => (peer, why.to_string()),
                PeerEvent::Left(peer) => (peer, "it has closed its link".to_owned()),
                _ => return,
            };
            let command = Command::Unlinked(peer.node, why);
            drop(address.send(ToScheduler::Command(command)));
        });
    }

    /// Has the end of the session with a worker of a node come as a command. A link of this machine that is
    /// down says that its worker is frozen, or about to end; one that crosses a network may come back.
    fn watch_session(&self, worker: WorkerId, control: &Address<ToWorker>) {
        let address = self.address.clone();
        control.on_exit(move |exit| {
            // One that ends as it was told to may still have to tidy up.
            if exit != Exit::Finished {
                let command = Command::SessionEnded(worker, exit.to_string());
                drop(address.send(ToScheduler::Command(command)));
            }
        });
    }

    fn is_remote(&self, host: HostId) -> bool {
        self.hosts.get(&host).is_some_and(Host::is_remote)
    }

    /// When there is something to do if nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let stalled = self
            .workers
            .values()
            .any(|worker| !worker.stalled.is_empty());
        let retry = stalled.then(|| Instant::now() + STALL);
        let pools = self.hosts.values().filter_map(|host| host.pool.deadline());
        pools
            .chain(retry)
            .chain(self.patience.deadline())
            .chain(self.mustered_at())
            .chain(self.calm)
            .chain(self.farewell)
            .min()
    }

    fn take(&mut self, message: ToScheduler) {
        match message {
            ToScheduler::Report(worker, report) => self.report(worker, report),
            ToScheduler::Command(command) => self.command(command),
            // It is no client.
            ToScheduler::Service(..) => {}
        }
    }

    fn report(&mut self, worker: WorkerId, report: FromWorker) {
        match report {
            FromWorker::SettingUp => {
                let limit = self.plan.setup_limit;
                self.tell_pool_of(worker, pool::Input::SettingUp { worker, limit });
            }
            FromWorker::NodeSetUp(value) => self.node_set_up(worker, value),
            FromWorker::SetupFailed(why) => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.failure = Some(why);
                }
            }
            FromWorker::TearDownFailed(reason) => {
                if let Some(it) = self.workers.get(&worker) {
                    let (name, node) = (Arc::clone(&it.name), self.node_at(it.host));
                    self.emit(&Event::TearDownFailed { name, node, reason });
                }
            }
            FromWorker::NodeTidiedUp => {
                self.tell_pool_of(worker, pool::Input::HostTidiedUp { worker });
            }
            FromWorker::Ready { control, pid } => self.ready(worker, control, pid),
            FromWorker::Begun { call, attempt } => self.begun(worker, call, attempt),
            FromWorker::Done {
                call,
                attempt,
                result,
                ran,
            } => {
                let result = Report { result, ran };
                self.tell_core(core::Input::Done {
                    worker,
                    call,
                    attempt,
                    result,
                });
            }
            FromWorker::Returned { call, attempt } => {
                self.tell_core(core::Input::Returned {
                    worker,
                    call,
                    attempt,
                });
            }
            FromWorker::Kept { call, attempt } => {
                self.tell_core(core::Input::Kept {
                    worker,
                    call,
                    attempt,
                });
            }
            FromWorker::TimedOut { call, attempt } => {
                self.tell_core(core::Input::TimedOut {
                    worker,
                    call,
                    attempt,
                });
            }
            FromWorker::Stuck { call, attempt } => {
                self.tell_core(core::Input::Stuck {
                    worker,
                    call,
                    attempt,
                });
            }
        }
    }

    fn ready(&mut self, id: WorkerId, control: Address<ToWorker>, pid: u32) {
        let Some(host) = self.workers.get(&id).map(|worker| worker.host) else {
            return;
        };
        // One that is being killed may have said so before.
        if self.hosts.get(&host).is_none_or(|it| !it.pool.is_live(id)) {
            return;
        }
        if self.is_remote(host) {
            self.watch_session(id, &control);
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.control = Some(control);
        worker.pid = pid;
        if self.paused {
            self.send(id, ToWorker::Pause(true));
        }
        let event = self.workers[&id].is_ready(&self.node_at(host));
        self.is_of_use(host);
        self.muster.has_come(Instant::now());
        self.tell_pool(host, pool::Input::Ready { worker: id });
        if matches!(self.phase, Phase::Open) {
            self.emit(&event);
            self.tell_core(core::Input::WorkerReady { worker: id, host });
            self.has_started();
        }
    }

    /// Calls run from now on.
    fn has_started(&mut self) {
        if let Some(started) = self.started.take() {
            let _ = started.send(Ok(()));
            self.emit(&Event::Scheduled);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Submit(submissions) => {
                for Submission { call, item } in submissions {
                    self.submit(call, item);
                }
            }
            Command::Cancel(call) => self.tell_core(core::Input::Cancel { call }),
            Command::Ended { worker, end } => self.ended(worker, end),
            Command::Unlinked(node, why) => {
                let worker = self.workers.iter().find(|(_, it)| it.node == Some(node));
                if let Some((&worker, it)) = worker
                    && !self.is_remote(it.host)
                {
                    self.tell_pool_of(worker, pool::Input::Unlinked { worker, why });
                }
            }
            Command::SessionEnded(worker, why) => {
                self.tell_pool_of(worker, pool::Input::Unlinked { worker, why });
            }
            Command::Found(found) => self.found(*found),
            Command::Decided(question, verdict) => self.decided(*question, *verdict),
            Command::NotUsed(at, why) => self.not_used(&at, why),
            Command::Desk(host, message) => self.desk_says(host, message),
            Command::Progress(host) => self.makes_progress(host),
            Command::HostGone(host, gone) => self.liaison_ended(host, gone),
            Command::Subscribe(to) => self.subscribe(to),
            Command::Survey(reply) => drop(reply.send(self.survey())),
            Command::Targets(kind, reply) => {
                // Who has asked may have gone away.
                let _ = reply.send(self.targets(kind));
            }
            Command::Muster(reply) => self.muster.join(Instant::now(), reply),
            Command::Control(target, action, reply) => {
                // Who has asked may have gone away.
                let _ = reply.send(self.control(&target, action));
            }
            Command::Pause(paused) => self.pause(paused),
            Command::Close(tell) => self.close(tell),
            // What one with a service is told.
            Command::Joined { .. } | Command::Left { .. } | Command::Sent { .. } => {}
        }
    }

    fn subscribe(&mut self, to: mpsc::UnboundedSender<Event>) {
        let mut there: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.control.is_some())
            .collect();
        there.sort_unstable_by_key(|(id, _)| **id);
        let so_far = |it: &Worker| it.so_far(&self.node_at(it.host)).collect::<Vec<_>>();
        let workers = there.into_iter().flat_map(|(_, it)| so_far(it));
        // Whoever begins to listen late, as the client of a service does, is to know why.
        let nodes = self.not_used_so_far().chain(self.awaited_so_far());
        let nodes = nodes.chain(self.ready_so_far());
        let before: Vec<_> = nodes.chain(workers).collect();
        self.listeners.add(to, before);
    }

    fn close(&mut self, tell: Option<oneshot::Sender<Vec<Arc<str>>>>) {
        self.closing.extend(tell);
        match self.phase {
            Phase::Open => {
                self.phase = Phase::Closing;
                self.tell_core(core::Input::Close);
                self.close_hosts();
            }
            // The pool has closed itself.
            Phase::Failed(_) if self.workers.is_empty() => self.closed(&[]),
            Phase::Failed(_) => self.phase = Phase::Closing,
            Phase::Closing | Phase::Closed => {}
        }
    }

    fn closed(&mut self, killed: &[Arc<str>]) {
        self.phase = Phase::Closed;
        if self.tells_ends() {
            let killed = killed.to_vec();
            self.emit(&Event::Closed { killed });
        }
        for tell in self.closing.drain(..) {
            let _ = tell.send(killed.to_vec());
        }
    }

    fn emit(&mut self, event: &Event) {
        self.listeners.tell(event);
    }

    /// Whether ends are told of here: a client elsewhere does so itself, once for each call and once for all.
    fn tells_ends(&self) -> bool {
        self.client.is_none()
    }

    fn tell_core(&mut self, input: core::Input<Item, Report>) {
        self.core.handle(input, &mut self.todo);
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
        let ready = self.workers.iter().filter(|(_, it)| it.control.is_some());
        let ready: Vec<_> = ready.map(|(id, _)| *id).collect();
        for id in ready {
            self.send(id, ToWorker::Pause(paused));
        }
    }

    fn name(&self, worker: WorkerId) -> Arc<str> {
        self.workers
            .get(&worker)
            .map_or_else(|| name_of(worker), |it| Arc::clone(&it.name))
    }
}
