//! The shell's hosts: this machine, and the nodes that lend slots.
//!
//! A slot is a worker here. As many workers are started on a node as it has granted slots; when
//! it asks for some back, those that do least are retired, and their slots are given back when their
//! processes are gone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::Address;
use coros_net::{Location, Node};

use super::super::Event;
use super::super::core::{self, CallId, HostId};
use super::super::finder::{self, Found, ToFinder};
use super::super::liaison::{Liaison, ToLiaison};
use super::super::pool::{self, Pool};
use super::workers::{Running, name_of};
use super::{Phase, Shell, WorkerId};
use crate::blob::Blob;
use crate::computation::Cargo;
use crate::daemon::folder::SHARED;
use crate::daemon::leases::{Terms, Wish};
use crate::daemon::protocol::{FromDesk, NodeState, ToDesk};
use crate::machine::{Machine, Target};
use crate::placement::{Decision, NodeView, Placement, Share};
use crate::process::End;
use crate::protocol::{Duties, Duty, ToWorker};
use crate::resources::Resources;

/// For how long fewer calls than before must wait or run until nodes are told so.
const CALM: Duration = Duration::from_millis(100);
/// The longest name that a node may have.
const LONGEST_NAME: usize = 64;

/// The network whose nodes are used, and how.
pub(in super::super) struct Cluster {
    pub(in super::super) node: Node,
    pub(in super::super) placement: Placement,
    pub(in super::super) terms: Terms,
    /// How long calls wait when there is no node.
    pub(in super::super) patience: Duration,
    pub(in super::super) cargo: Arc<Cargo>,
    pub(in super::super) target: Target,
    /// How many workers there may be in all.
    pub(in super::super) limit: usize,
}

/// A machine on which workers run.
pub(super) struct Host {
    pub(super) pool: Pool,
    /// All its workers have ended, for good.
    closed: bool,
    /// What its workers do before and after all calls; without the setup of the node once that is done.
    duties: Duties,
    /// The setup of the node, again.
    set_up_node: Option<Duty>,
    /// It is to run nothing for the time being.
    held: bool,
    /// Who ends last, when all others have.
    last: Option<WorkerId>,
    remote: Option<Remote>,
}

/// A node that lends slots.
struct Remote {
    at: Location,
    liaison: Address<ToLiaison>,
    /// What calls may need there, but for the cores, of which there is one for each slot.
    room: Resources,
    /// How many of its slots are of use.
    share: usize,
    /// What it has been told of that.
    wish: Wish,
    /// How many there are.
    slots: usize,
    /// How many of them are asked back.
    asked: usize,
    /// The program is there.
    ready: bool,
    /// A worker there has taken calls.
    useful: bool,
    /// Its desk is no more.
    gone: bool,
}

impl Host {
    pub(super) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether calls may be sent there, now or when it has lent slots.
    pub(super) fn takes_calls(&self) -> bool {
        !self.closed && self.remote.as_ref().is_none_or(|it| it.ready && !it.gone)
    }

    pub(super) fn duties(&self) -> Duties {
        self.duties.clone()
    }

    /// How many workers there may be, of so many.
    fn workers(&self, most: usize) -> usize {
        // One prepares the node first.
        match self.duties.set_up_node.is_some() {
            true => most.min(1),
            false => most,
        }
    }

    /// The name of a node; this machine has none.
    pub(super) fn name(&self) -> Option<&str> {
        self.remote.as_ref().map(|remote| &*remote.at.name)
    }

    /// Where a worker there finds the client, and where it listens itself; `None` for where
    /// nodes do by themselves, which is for this machine alone.
    pub(super) fn ways(&self, client: Location) -> (Location, Option<SocketAddr>) {
        let there = self.remote.as_ref().and_then(|remote| remote.at.endpoint);
        let Some(there) = there else {
            return (client, None);
        };
        let endpoint = client.endpoint.map(|endpoint| match facing(there) {
            Some(ip) => SocketAddr::new(ip, endpoint.port()),
            None => endpoint,
        });
        let client = Location { endpoint, ..client };
        (client, Some(SocketAddr::new(there.ip(), 0)))
    }
}

/// What calls may need on a node of which so much is used.
fn room(machine: &Machine, share: &Share) -> Resources {
    let memory = match share.memory {
        // It does not tell how much it has.
        0 => u64::MAX,
        bytes => bytes,
    };
    Resources::default()
        .memory(memory)
        .named("gpu", machine.gpus.into())
}

/// The address of this machine that a route to there begins with: nothing is sent.
fn facing(there: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match there {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(there).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

impl Shell {
    pub(super) fn start_hosts(&mut self) {
        if let Some(cluster) = &self.cluster {
            self.patience = Some(Instant::now() + cluster.patience);
            let (node, scheduler) = (cluster.node.clone(), self.address.clone());
            let finder = coros_core::build()
                .name("finder")
                .daemon()
                .spawn(move |me| finder::run(me, node, scheduler));
            self.finder = Some(finder.address());
        } else {
            let duties = self.here.as_ref().map(|here| self.duties_for(here));
            let duties = match duties.transpose() {
                Ok(duties) => duties.unwrap_or_default(),
                Err(why) => return self.fail(why),
            };
            let local = self.add_host(duties, None);
            self.fit(local);
        }
    }

    /// What workers of a node do before and after all calls.
    fn duties_for(&self, view: &NodeView) -> Result<Duties, String> {
        let setup = &self.setup;
        let made = |f: &Option<super::super::setup::ForNode>| match f {
            Some(f) => f(&self.node, view).transpose(),
            None => Ok(None),
        };
        let wrong = |why| {
            format!(
                "what is to prepare node {} cannot be sent: {why}",
                view.name
            )
        };
        Ok(Duties {
            set_up_node: made(&setup.set_up_node).map_err(wrong)?,
            tear_down_node: made(&setup.tear_down_node).map_err(wrong)?,
            set_up: made(&setup.set_up).map_err(wrong)?,
            tear_down: made(&setup.tear_down).map_err(wrong)?,
            node_value: None,
        })
    }

    fn add_host(&mut self, duties: Duties, remote: Option<Remote>) -> HostId {
        let id = HostId(self.next_host);
        self.next_host += 1;
        let host = Host {
            pool: Pool::new(self.pool, self.ids.clone()),
            closed: false,
            set_up_node: duties.set_up_node.clone(),
            duties,
            held: false,
            last: None,
            remote,
        };
        self.hosts.insert(id, host);
        id
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let due = |host: &Host| host.pool.deadline().is_some_and(|deadline| deadline <= now);
        let due = self.hosts.iter().filter(|(_, host)| due(host));
        let due: Vec<_> = due.map(|(id, _)| *id).collect();
        for host in due {
            self.tell_pool(host, pool::Input::Tick);
        }
        if self.patience.is_some_and(|deadline| deadline <= now) {
            self.waited_in_vain();
        }
    }

    /// The name of a worker, as `w3@farm-1`.
    pub(super) fn name_at(&self, host: HostId, worker: WorkerId) -> Arc<str> {
        let name = name_of(worker);
        let host = self.hosts.get(&host).and_then(|host| host.remote.as_ref());
        let full = host.map(|remote| format!("{name}@{}", remote.at.name));
        match full {
            Some(full) if full.len() <= LONGEST_NAME => full.into(),
            _ => name,
        }
    }

    /// Says something to the desk at a node.
    pub(super) fn order(&self, host: HostId, order: ToDesk) {
        let remote = self.hosts.get(&host).and_then(|host| host.remote.as_ref());
        if let Some(remote) = remote {
            // When it has ended, that is on its way as a command.
            let _ = remote.liaison.send(ToLiaison::Order(order));
        }
    }

    pub(super) fn found(&mut self, found: Found) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let Found { at, daemon, view } = found;
        if let Err(mismatch) = cluster.target.fits(&view.machine) {
            return self.not_used(&at, mismatch.to_string());
        }
        let node = NodeView {
            addresses: at.endpoint.map(|it| it.ip()).into_iter().collect(),
            load: view.load,
            ..NodeView::new(&*at.name, view.machine)
        };
        let decision = cluster.placement.decide(&node);
        // It may lend less than it has.
        let of_use = |share: &Share| view.slots.min(share.workers.get() as usize);
        let mut remotes = self.hosts.values_mut();
        let used = remotes.find_map(|host| host.remote.as_mut().filter(|it| it.at == at));
        if let Some(remote) = used {
            // What runs there when it is not to be used any more ends.
            match decision {
                Decision::Use(share) => {
                    remote.room = room(&node.machine, &share);
                    remote.share = of_use(&share);
                    self.unused.remove(&at.to_string());
                }
                Decision::Excluded(why) => {
                    remote.share = 0;
                    self.not_used(&at, why.to_string());
                }
            }
            return;
        }
        let share = match decision {
            Decision::Use(share) => share,
            Decision::Excluded(why) => return self.not_used(&at, why.to_string()),
        };
        let duties = match self.duties_for(&node) {
            Ok(duties) => duties,
            Err(why) => return self.not_used(&at, why),
        };
        let host = HostId(self.next_host);
        let liaison = Liaison {
            host,
            node: cluster.node.clone(),
            daemon,
            at: at.clone(),
            terms: cluster.terms,
            cargo: Arc::clone(&cluster.cargo),
            scheduler: self.address.clone(),
        };
        let liaison = coros_core::build()
            .name(format!("liaison with {}", at.name))
            .daemon()
            .spawn(move |me| liaison.run(me));
        self.unused.remove(&at.to_string());
        let room = room(&node.machine, &share);
        // Without cores until it has lent slots.
        self.tell_core(core::Input::HostRoom {
            host,
            room: room.clone(),
        });
        self.emit(&Event::NodeFound {
            endpoint: at.endpoint,
            node: Arc::new(node),
        });
        let remote = Remote {
            at,
            room,
            liaison: liaison.address(),
            share: of_use(&share),
            wish: Wish::default(),
            slots: 0,
            asked: 0,
            ready: false,
            useful: false,
            gone: false,
        };
        self.add_host(duties, Some(remote));
    }

    pub(super) fn not_used(&mut self, at: &Location, why: String) {
        if self.unused.get(&at.to_string()) == Some(&why) {
            return;
        }
        self.emit(&Event::NodeNotUsed {
            name: Arc::clone(&at.name),
            endpoint: at.endpoint,
            reason: why.clone(),
        });
        self.unused.insert(at.to_string(), why);
    }

    pub(super) fn desk_says(&mut self, id: HostId, message: FromDesk) {
        let Some(remote) = self.hosts.get_mut(&id).and_then(|it| it.remote.as_mut()) else {
            return;
        };
        match message {
            // The liaison's.
            FromDesk::Send(_) => {}
            FromDesk::Ready => {
                remote.ready = true;
                let name = Arc::clone(&remote.at.name);
                self.emit(&Event::NodeReady { name });
                if let Some(started) = self.started.take() {
                    let _ = started.send(Ok(()));
                }
            }
            FromDesk::Unfit(why) => {
                self.order(id, ToDesk::Leave);
                self.host_gone(id, &format!("it cannot take the program: {why}"));
            }
            FromDesk::Grant(slots) => {
                remote.slots += slots;
                self.fit(id);
            }
            FromDesk::Reclaim(slots) => {
                remote.asked = slots;
                self.fit(id);
            }
            FromDesk::State(state) => {
                let name = Arc::clone(&remote.at.name);
                self.emit(&match state {
                    NodeState::Open => Event::NodeResumed { name },
                    NodeState::Suspended => Event::NodeSuspended { name },
                    NodeState::Draining => Event::NodeDraining { name },
                });
            }
            FromDesk::Launched { worker, pid } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.process = Some(Running::There { pid });
                }
            }
            FromDesk::Line { worker, line } => {
                let name = self.name(worker);
                (self.stderr)(&name, &line);
            }
            FromDesk::Ended { worker, end } => self.ended(worker, end),
        }
    }

    /// Tells each node of how many slots there is use, if that has changed. That there is less is told
    /// only after a while, because the next call often comes at once.
    pub(super) fn want(&mut self) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let now = Instant::now();
        let (mut calls, mut left) = (self.core.demand(), cluster.limit);
        if calls < self.wanted {
            let until = *self.calm.get_or_insert(now + CALM);
            match until <= now {
                true => self.calm = None,
                false => calls = self.wanted,
            }
        } else {
            self.calm = None;
        }
        self.wanted = calls;
        let mut orders = Vec::new();
        for (id, host) in &mut self.hosts {
            let Some(remote) = host.remote.as_mut().filter(|it| it.ready && !it.gone) else {
                continue;
            };
            let likes = match host.held {
                true => 0,
                false => remote.share.min(left),
            };
            let needs = match cluster.terms.exclusive {
                true => likes,
                false => likes.min(calls),
            };
            left -= likes;
            calls -= needs.min(calls);
            let wish = Wish { needs, likes };
            if wish != remote.wish {
                remote.wish = wish;
                orders.push((*id, ToDesk::Want(wish)));
            }
        }
        for (id, order) in orders {
            self.order(id, order);
        }
    }

    /// Has the pool of a host start or end as many workers as there may be.
    fn fit(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id) else {
            return;
        };
        let (most, room) = match &host.remote {
            None => (self.local, &self.room),
            Some(remote) => (remote.slots.saturating_sub(remote.asked), &remote.room),
        };
        // The room stays that of a host that is held: calls wait for it.
        let workers = if host.held { 0 } else { host.workers(most) };
        let mut room = room.clone();
        room.set_cores(u32::try_from(most).unwrap_or(u32::MAX));
        self.tell_core(core::Input::HostRoom { host: id, room });
        self.tell_pool(id, pool::Input::Want { workers });
        self.tell_pool(id, pool::Input::Tick);
    }

    /// Has a host run nothing for the time being, or go on.
    pub(super) fn hold(&mut self, id: HostId, held: bool) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.held = held;
            self.fit(id);
        }
        if held {
            let here = self.workers.iter();
            let here = here.filter(|(_, it)| it.host == id && !it.retiring);
            for worker in here.map(|(worker, _)| *worker).collect::<Vec<_>>() {
                self.retire(worker);
            }
        }
    }

    /// A worker gets no more calls, and ends when it has none left.
    pub(super) fn retire(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.retiring = true;
        }
        self.tell_core(core::Input::Retire { worker });
    }

    /// A worker of a host takes calls.
    pub(super) fn is_of_use(&mut self, id: HostId) {
        if let Some(remote) = self.hosts.get_mut(&id).and_then(|it| it.remote.as_mut()) {
            remote.useful = true;
            self.failing.remove(&remote.at.node);
        }
    }

    /// The first worker of a node has prepared it: the others may come.
    pub(super) fn node_set_up(&mut self, worker: WorkerId, value: Blob) {
        let Some(worker) = self.workers.get(&worker) else {
            return;
        };
        let id = worker.host;
        if let Some(host) = self.hosts.get_mut(&id) {
            host.duties.set_up_node = None;
            host.duties.node_value = Some(value);
            self.fit(id);
        }
    }

    /// Tells a worker to end. If the node is to be tidied up, that is for the last one, when all others are
    /// gone.
    pub(super) fn goodbye(&mut self, id: WorkerId) {
        self.flush_worker(id);
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.dismissed = true;
        let host = worker.host;
        let mut others = self.workers.values().filter(|it| it.host == host);
        let stays = others.any(|it| it.control.is_some() && !it.dismissed);
        let of_node = self.hosts.get(&host).map(|host| &host.duties);
        let tidy =
            of_node.is_some_and(|it| it.tear_down_node.is_some() && it.set_up_node.is_none());
        if tidy && !stays {
            if let Some(host) = self.hosts.get_mut(&host) {
                host.last = Some(id);
            }
            self.see_to_last(host, id);
        } else {
            let tear_down_node = false;
            self.send(id, ToWorker::Goodbye { tear_down_node });
        }
    }

    /// After a worker is gone, or the last one is known: lets that tidy up the node if it is alone.
    pub(super) fn see_to_last(&mut self, id: HostId, gone: WorkerId) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let Some(last) = host.last else {
            return;
        };
        if last == gone && !self.workers.contains_key(&last) {
            // Whoever comes next prepares it anew.
            host.last = None;
            host.duties.set_up_node = host.set_up_node.clone();
            host.duties.node_value = None;
            return;
        }
        let mut others = self.workers.iter().filter(|(_, it)| it.host == id);
        if others.all(|(other, _)| *other == last) {
            let tear_down_node = true;
            self.send(last, ToWorker::Goodbye { tear_down_node });
        }
    }

    /// Where the workers of a host find the folder that they share.
    pub(super) fn shared_at(&self, host: HostId) -> PathBuf {
        match &self.shared {
            Some(folder) if !self.is_remote(host) => folder.path().to_owned(),
            _ => Path::new("..").join(SHARED),
        }
    }

    /// After anything has happened to the workers of a host: retires those that are too many, and gives
    /// back slots that nobody uses.
    pub(super) fn settle(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let gone = host.remote.as_ref().is_some_and(|it| it.gone);
        let surplus = if gone { 0 } else { host.pool.surplus() };
        let back = host.remote.as_mut().map_or(0, |remote| {
            let unused = remote.slots.saturating_sub(host.pool.len());
            let back = unused.min(remote.asked);
            remote.slots -= back;
            remote.asked -= back;
            back
        });
        if back > 0 {
            self.order(id, ToDesk::GiveBack(back));
        }
        let retiring = self.workers.values();
        let retiring = retiring.filter(|it| it.host == id && it.retiring).count();
        for _ in retiring..surplus {
            // The others go on with their calls; the first that ends leaves one idle, as nothing more
            // starts than there is room for.
            let Some(worker) = self.core.idle(id) else {
                break;
            };
            self.retire(worker);
        }
        self.forget(id);
    }

    /// Calls may have ended where there are too many workers.
    pub(super) fn settle_all(&mut self) {
        let many = |host: &Host| !host.closed && host.pool.surplus() > 0;
        let many = self.hosts.iter().filter(|(_, host)| many(host));
        for id in many.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.settle(id);
        }
    }

    /// The desk at a node is no more, and with it go its workers.
    pub(super) fn host_gone(&mut self, id: HostId, why: &str) {
        let Some(remote) = self.hosts.get_mut(&id).and_then(|it| it.remote.as_mut()) else {
            return;
        };
        if std::mem::replace(&mut remote.gone, true) {
            return;
        }
        (remote.slots, remote.asked, remote.ready) = (0, 0, false);
        let at = remote.at.clone();
        if matches!(self.phase, Phase::Open) {
            self.emit(&Event::NodeLost {
                name: Arc::clone(&at.name),
                reason: why.to_owned(),
            });
        }
        self.unused.insert(at.to_string(), why.to_owned());
        self.fit(id);
        let workers = self.workers.iter().filter(|(_, it)| it.host == id);
        let workers: Vec<_> = workers.map(|(worker, _)| *worker).collect();
        for worker in workers {
            let end = End::never_began(format!("its node was lost: {why}"));
            self.ended(worker, end);
        }
        self.forget(id);
    }

    /// Forgets a node that is gone, once its workers are.
    fn forget(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id) else {
            return;
        };
        let Some(remote) = host.remote.as_ref().filter(|it| it.gone) else {
            return;
        };
        if host.pool.len() > 0 {
            return;
        }
        if let Some(finder) = &self.finder {
            let _ = finder.send(ToFinder::Lost(remote.at.node, remote.useful));
        }
        self.hosts.remove(&id);
        self.tell_core(core::Input::HostLost { host: id });
        self.all_closed();
    }

    pub(super) fn close_hosts(&mut self) {
        self.finder = None;
        let hosts: Vec<_> = self.hosts.keys().copied().collect();
        for host in hosts {
            self.tell_pool(host, pool::Input::Close);
        }
        self.all_closed();
    }

    pub(super) fn pool_closed(&mut self, id: HostId, killed: Vec<WorkerId>) {
        self.killed.extend(killed);
        self.order(id, ToDesk::Leave);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.closed = true;
        }
        self.all_closed();
    }

    /// When all pools are closed, so is the scheduler, if it is to be.
    fn all_closed(&mut self) {
        let all = self.hosts.values().all(|host| host.closed);
        let wanted = matches!(self.phase, Phase::Closing)
            || (matches!(self.phase, Phase::Failed(_)) && !self.closing.is_empty());
        if all && wanted {
            let killed = std::mem::take(&mut self.killed);
            let killed: Vec<_> = killed.into_iter().map(name_of).collect();
            self.closed(&killed);
        }
    }

    /// The pool of a host has given up.
    pub(super) fn give_up(&mut self, id: HostId) {
        let why = self.last_failure.clone();
        if let Some(remote) = self.hosts.get(&id).and_then(|it| it.remote.as_ref()) {
            self.failing.insert(remote.at.node);
            self.order(id, ToDesk::Leave);
            self.host_gone(id, &format!("workers do not start there: {why}"));
            return;
        }
        self.fail(why);
    }

    fn fail(&mut self, why: String) {
        self.phase = Phase::Failed(why.clone());
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why));
        }
        self.tell_core(core::Input::Close);
    }

    /// Keeps an eye on whether a node is there, for those who wait for one: one whose slots are
    /// lent to others at present will do.
    pub(super) fn watch_patience(&mut self) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let mut remotes = self.hosts.values().filter_map(|host| host.remote.as_ref());
        // One where no worker has started before has to show that it is of use.
        let hopeful = |it: &Remote| it.useful || !self.failing.contains(&it.at.node);
        let any = remotes.any(|it| it.ready && !it.gone && hopeful(it));
        self.patience = match (any, self.patience) {
            (true, _) => None,
            (false, None) if matches!(self.phase, Phase::Open) => {
                Some(Instant::now() + cluster.patience)
            }
            (false, waiting) => waiting,
        };
    }

    /// A call needs more than any node has lent so far. That is worth telling when there are nodes, none of
    /// which has so much.
    pub(super) fn unplaceable(&mut self, call: CallId) {
        let Some(item) = self.core.item(call) else {
            return;
        };
        let one_core = Resources::cpus(1);
        let needs = item.options.as_ref();
        let needs = needs.map_or(&one_core, |it| &it.core.needs);
        let function = item.function;
        let mut remotes = self.hosts.values().filter_map(|host| host.remote.as_ref());
        let has_so_much = |remote: &Remote| {
            let mut room = remote.room.clone();
            room.set_cores(u32::try_from(remote.share).unwrap_or(u32::MAX));
            needs.fits(&room, &Resources::default())
        };
        if self.hosts.is_empty() || remotes.any(has_so_much) {
            return;
        }
        self.emit(&Event::JobWaits {
            job: call.0,
            function,
        });
    }

    /// There has been no node for too long: nobody shall wait any longer.
    fn waited_in_vain(&mut self) {
        self.patience = None;
        let why = self.why_no_node();
        self.emit(&Event::NoNodes {
            reason: why.clone(),
        });
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why));
        }
        self.tell_core(core::Input::Close);
    }

    /// What there is instead of a worker.
    pub(super) fn why_no_node(&self) -> String {
        let limit = self
            .cluster
            .as_ref()
            .map_or(Duration::ZERO, |it| it.patience);
        let mut why = format!("no node was there for {limit:?}");
        let coming = self.hosts.values().filter_map(|host| host.remote.as_ref());
        let coming = coming.filter(|it| !it.gone).map(|remote| {
            let state = "it is still receiving the program";
            (remote.at.to_string(), state.to_owned())
        });
        let unused = self
            .unused
            .iter()
            .map(|(at, why)| (at.clone(), why.clone()));
        let all: BTreeMap<_, _> = unused.chain(coming).collect();
        if all.is_empty() {
            why.push_str(
                "; none was found: does `coros node` run there, with the same secret, and does this \
                 program know where (by a peer, or by discovery)?",
            );
        }
        for (at, reason) in all {
            let _ = write!(why, "\n    {at}: {reason}");
        }
        why
    }
}
