//! The shell's nodes: those that were found, what their desks say, and how many slots are asked of each.
//!
//! A slot is leave to run on one core. As many workers run on a node as it has lent slots that are
//! [usable](Remote::usable); when it asks for some back, those that do least are retired, and their slots are
//! given back when their processes are gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::Address;
use coros_core::remote::NodeId;
use coros_net::{Location, Node};

use super::super::Event;
use super::super::core::{self, HostId};
use super::super::finder::{Found, ToFinder};
use super::super::judge::{Asks, Question, Verdict};
use super::super::liaison::{Gone, Liaison, ToLiaison};
use super::super::plan::Usage;
use super::super::pool;
use super::super::wishes::{self, Lender};
use super::{Phase, Shell, WorkerId};
use crate::computation::Cargo;
use crate::daemon::leases::Wish;
use crate::daemon::protocol::{FromDesk, NodeState, ToDesk, View};
use crate::machine::{Machine, memory_for_calls};
use crate::placement::{NodeView, Share};
use crate::process::End;
use crate::resources::Resources;

/// For how long fewer calls than before must wait or run until nodes are told so.
const CALM: Duration = Duration::from_millis(100);

/// The network whose nodes are used, and how.
pub(in super::super) struct Cluster {
    pub(in super::super) node: Node,
    pub(in super::super) usage: Usage,
    pub(in super::super) cargo: Arc<Cargo>,
    /// The judge of nodes.
    pub(in super::super) asks: Asks,
}

/// A node that lends slots.
pub(super) struct Remote {
    pub(super) at: Location,
    liaison: Address<ToLiaison>,
    /// What calls may need there, but for the cores, of which there is one for each slot.
    pub(super) room: Resources,
    /// How many of its slots are of use, and how many workers there may be, if none is closed.
    share: usize,
    workers: usize,
    /// As many as were left when one was closed.
    pub(super) left: usize,
    /// What it has been told of that.
    wish: Wish,
    /// How many there are.
    slots: usize,
    /// How many of them are asked back.
    pub(super) asked: usize,
    /// How often it has lent some.
    grants: u64,
    /// On how many of them workers may run.
    pub(super) usable: usize,
    /// The program is there.
    pub(super) ready: bool,
    /// Whether it lends any.
    state: NodeState,
    /// And whether any is used, as was told.
    told: NodeState,
    /// It is about to end, and nothing of this program is left there.
    drained: bool,
    /// A worker there has taken calls.
    pub(super) useful: bool,
    /// It was told that what was prepared there is not undone.
    pub(super) undone: bool,
    /// Its desk is no more.
    pub(super) gone: bool,
}

impl Remote {
    /// Whether it has the program.
    pub(super) fn is_there(&self) -> bool {
        self.ready && !self.gone
    }

    pub(super) fn lends(&self) -> bool {
        self.slots > 0
    }

    /// How many of its slots are of use.
    pub(super) fn share(&self) -> usize {
        self.share.min(self.left)
    }

    /// How many workers there may be.
    pub(super) fn workers(&self) -> usize {
        self.workers.min(self.left)
    }

    /// How many workers there may be, if it lends all that is of use.
    pub(super) fn most_workers(&self) -> usize {
        match self.state {
            NodeState::Open if !self.gone => self.share().min(self.workers()),
            _ => 0,
        }
    }

    /// Why it lends nothing.
    pub(super) fn why_none(&self) -> &'static str {
        match self.state {
            _ if !self.ready => "it is still receiving the program",
            NodeState::Suspended => "it is suspended",
            NodeState::Draining => "it is about to end",
            NodeState::Open if self.share() == 0 => "it is not to be used at present",
            NodeState::Open => "it lends all that it has to others",
        }
    }
}

/// How much of a node is used, and the room that there is for calls; it may lend less than it has.
fn of_use(view: &View, share: &Share) -> (usize, usize, Resources) {
    let slots = view.slots.min(share.cpus.get() as usize);
    (
        slots,
        share.workers.get() as usize,
        room(&view.machine, share),
    )
}

/// What calls may need on a node of which so much is used.
fn room(machine: &Machine, share: &Share) -> Resources {
    let all = memory_for_calls(machine.memory);
    Resources::of(machine).memory(all.min(memory_for_calls(share.memory)))
}

impl Shell {
    /// Says something to the desk at a node.
    pub(super) fn order(&self, host: HostId, order: ToDesk) {
        let remote = self.hosts.get(&host).and_then(|host| host.remote.as_ref());
        if let Some(remote) = remote {
            // When it has ended, that is on its way as a command.
            let _ = remote.liaison.send(ToLiaison::Order(order));
        }
    }

    pub(super) fn remote(&mut self, id: HostId) -> Option<&mut Remote> {
        self.hosts.get_mut(&id)?.remote.as_mut()
    }

    pub(super) fn found(&mut self, found: Found) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        if !matches!(self.phase, Phase::Open) || self.left.contains(&found.node()) {
            return;
        }
        if let Err(mismatch) = cluster.cargo.fits(&found.view.machine) {
            return self.not_used(&found.at, mismatch.to_string());
        }
        let node = found.shown();
        let new = self.used(&found.at).is_none();
        let question = Question { found, node, new };
        (cluster.asks)(&self.address, Box::new(question));
    }

    /// Whose computation it is: the client's, also when another service goes on with it.
    fn computation(&self) -> NodeId {
        let client = self.client.as_ref().map(|it| it.node);
        client.unwrap_or_else(|| self.node.location().node)
    }

    fn used(&self, at: &Location) -> Option<HostId> {
        let mut hosts = self.hosts.iter();
        let used = hosts.find(|(_, host)| host.remote.as_ref().is_some_and(|it| it.at == *at));
        used.map(|(id, _)| *id)
    }

    /// What the judge says of a node.
    pub(super) fn decided(&mut self, question: Question, verdict: Verdict) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        if !matches!(self.phase, Phase::Open) {
            return;
        }
        let Question { found, node, .. } = question;
        let Found { at, daemon, view } = found;
        if let Some(id) = self.used(&at) {
            return self.fit_share(id, node, &view, verdict.share);
        }
        let (share, workers, room) = match verdict.share {
            Ok(share) => of_use(&view, &share),
            Err(why) => return self.not_used(&at, why),
        };
        // One that was in use when it was asked about comes again.
        let Some(duties) = verdict.duties else {
            return;
        };
        let computation = match cluster.cargo.computation_for(&view.machine) {
            Ok(computation) => computation,
            Err(mismatch) => return self.not_used(&at, mismatch.to_string()),
        };
        let host = HostId(self.next_host);
        let liaison = Liaison {
            host,
            id: self.computation(),
            node: cluster.node.clone(),
            daemon,
            at: at.clone(),
            terms: cluster.usage.terms,
            computation,
            cargo: Arc::clone(&cluster.cargo),
            scheduler: self.address.clone(),
            printer: self.printer.clone(),
        };
        let liaison = coros_core::build()
            .name(format!("liaison with {}", at.name))
            .daemon()
            .spawn(move |me| liaison.run(me));
        self.liaisons.insert(host);
        self.muster.has_come(Instant::now());
        let node = Arc::new(node);
        self.patience.in_vain.clear();
        if self.known_unfit(&at).is_none() {
            self.unused.remove(&at.to_string());
            let node = Arc::clone(&node);
            let is_back = self.absent.is_back(&at);
            self.emit(&match is_back {
                true => Event::NodeReturned { node },
                false => Event::NodeFound { node },
            });
        }
        let remote = Remote {
            at,
            liaison: liaison.address(),
            room,
            share,
            workers,
            left: usize::MAX,
            wish: Wish::default(),
            slots: 0,
            asked: 0,
            grants: 0,
            usable: 0,
            ready: false,
            state: NodeState::Open,
            told: NodeState::Open,
            drained: false,
            useful: false,
            undone: false,
            gone: false,
        };
        let id = self.add_host(node, duties, Some(remote));
        // Without cores until it has lent slots.
        self.fit(id);
    }

    /// How much of a node that is in use is used from now on.
    fn fit_share(&mut self, id: HostId, node: NodeView, view: &View, share: Result<Share, String>) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let Some(remote) = &mut host.remote else {
            return;
        };
        host.node = Arc::new(node);
        let at = remote.at.clone();
        let now = match &share {
            Ok(share) => of_use(view, share),
            // What runs there ends.
            Err(_) => (0, remote.workers, remote.room.clone()),
        };
        if now != (remote.share, remote.workers, remote.room.clone()) {
            (remote.share, remote.workers, remote.room) = now;
            self.fit(id);
        }
        match share {
            // That it is of use has to be seen.
            Ok(_) if self.known_unfit(&at).is_some() => {}
            Ok(_) => drop(self.unused.remove(&at.to_string())),
            Err(why) => self.not_used(&at, why),
        }
    }

    /// The nodes that have the program, and which of them lend nothing.
    pub(super) fn ready_so_far(&self) -> impl Iterator<Item = Event> {
        let remotes = self.hosts.values();
        let remotes = remotes.filter_map(|host| Some((host, host.remote.as_ref()?)));
        let ready = remotes.filter(|(_, remote)| remote.is_there());
        ready.flat_map(|(host, remote)| Event::ready_and(remote.told, &host.node))
    }

    pub(super) fn desk_says(&mut self, id: HostId, message: FromDesk) {
        let Some(remote) = self.remote(id) else {
            return;
        };
        match message {
            // The liaison's.
            FromDesk::Send(_) | FromDesk::Pack(_) | FromDesk::Coming => {}
            FromDesk::Ready => {
                remote.ready = true;
                let at = remote.at.clone();
                self.muster.has_come(Instant::now());
                if self.known_unfit(&at).is_some() {
                    self.unused.remove(&at.to_string());
                }
                let node = self.node_at(id);
                self.emit(&Event::NodeReady { node });
                self.tell_state(id);
                self.look_whether_drained(id);
                self.has_started();
            }
            FromDesk::Unfit(why) => {
                self.order(id, ToDesk::Leave);
                self.host_gone(
                    id,
                    Gone::Unfit(format!("it cannot take the program: {why}")),
                );
            }
            // What follows from that is seen to by the next plan.
            FromDesk::Grant(slots) => {
                // It may say anything.
                remote.slots = remote.slots.saturating_add(slots);
                remote.grants += 1;
                self.muster.has_come(Instant::now());
            }
            FromDesk::Reclaim(slots) => remote.asked = slots,
            FromDesk::State(state) => {
                remote.state = state;
                self.tell_state(id);
                self.look_whether_drained(id);
            }
            FromDesk::Claimed { worker, number } => self.claimed(worker, number),
            FromDesk::Ended { worker, end } => self.ended_at(id, worker, end),
            FromDesk::Ending => self.stays_undone(id, &Gone::Ended),
        }
    }

    /// Tells whether a node that has the program lends anything that is used, if that is another than was told.
    pub(super) fn tell_state(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.closing) else {
            return;
        };
        let Some(remote) = host.remote.as_mut().filter(|remote| remote.is_there()) else {
            return;
        };
        let state = match remote.state {
            NodeState::Open if host.held => NodeState::Suspended,
            state => state,
        };
        if std::mem::replace(&mut remote.told, state) != state {
            let node = Arc::clone(&host.node);
            self.emit(&Event::of_state(state, node));
        }
    }

    /// Asks each node for as many slots as there is use for, and has as many workers there as may be; `true` if
    /// that makes a difference to what can run. That there is less use is told only after a while, because the
    /// next call often comes at once.
    pub(super) fn want(&mut self) -> bool {
        let Some(cluster) = &self.cluster else {
            return false;
        };
        let demand = self.core.demand();
        let mut total = demand.total;
        let lends = |host: &super::Host, remote: &Remote| remote.is_there() && !host.held;
        let lenders: Vec<_> = self
            .hosts
            .iter()
            .filter_map(|(id, host)| {
                let remote = host.remote.as_ref()?;
                let mut lender = Lender {
                    share: if lends(host, remote) {
                        remote.share()
                    } else {
                        0
                    },
                    has: remote.slots.saturating_sub(remote.asked),
                    usable: remote.usable,
                    workers: host.pool.len(),
                    grants: remote.grants,
                    used: remote.wish.used,
                    local: demand.at.get(id).cloned().unwrap_or_default(),
                };
                if self.muster.is_on() {
                    total += lender.all_work(remote.workers());
                }
                Some((*id, lender))
            })
            .collect();
        let (now, mut soon) = (Instant::now(), 0);
        if total < self.wanted && *self.calm.get_or_insert(now + CALM) > now {
            soon = self.wanted - total;
        } else {
            (self.wanted, self.calm) = (total, None);
        }
        let (ids, lenders): (Vec<_>, Vec<_>) = lenders.into_iter().unzip();
        let Usage { terms, limit, .. } = cluster.usage;
        let plans = wishes::plan(&lenders, demand.anywhere, soon, limit, terms.exclusive);
        let mut changed = false;
        for (id, plan) in ids.into_iter().zip(plans) {
            let Some(remote) = self.remote(id) else {
                continue;
            };
            let usable = std::mem::replace(&mut remote.usable, plan.usable);
            let wish = std::mem::replace(&mut remote.wish, plan.wish);
            // One without the program cannot be told, and has been told nothing.
            if wish != plan.wish && remote.is_there() {
                self.order(id, ToDesk::Want(plan.wish));
            }
            if usable != plan.usable {
                changed = true;
                self.fit(id);
            }
        }
        changed
    }

    /// Gives back slots of a node that are asked back and not in use.
    pub(super) fn give_back(&mut self, id: HostId) {
        let taken = self.core.taken(id);
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let Some(remote) = &mut host.remote else {
            return;
        };
        // A call may take more cores than its worker.
        let busy = host.pool.len().max(taken);
        let back = remote.slots.saturating_sub(busy).min(remote.asked);
        remote.slots -= back;
        remote.asked -= back;
        if back > 0 {
            self.order(id, ToDesk::GiveBack(back));
            self.look_whether_drained(id);
        }
    }

    fn look_whether_drained(&mut self, id: HostId) {
        let Some(remote) = self.remote(id) else {
            return;
        };
        let drained = remote.told == NodeState::Draining && remote.slots == 0;
        if drained && !std::mem::replace(&mut remote.drained, true) {
            let node = self.node_at(id);
            self.emit(&Event::NodeDrained { node });
        }
    }

    /// Lets go of a node, when what runs there has ended.
    pub(super) fn close_node(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        host.closing = true;
        self.left.extend(host.remote.as_ref().map(|it| it.at.node));
        self.hold(id, true);
    }

    pub(super) fn look_whether_closed(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        let Some(remote) = &mut host.remote else {
            return;
        };
        if !host.closing || remote.gone || host.pool.len() > 0 {
            return;
        }
        remote.gone = true;
        let node = Arc::clone(&host.node);
        self.order(id, ToDesk::Leave);
        self.emit(&Event::NodeClosed { node });
    }

    /// A worker of a host takes calls.
    pub(super) fn is_of_use(&mut self, id: HostId) {
        if let Some(remote) = self.remote(id) {
            remote.useful = true;
            let node = remote.at.node;
            self.failing.remove(&node);
        }
    }

    /// The workers of a node end before they take calls.
    pub(super) fn no_worker_starts(&mut self, id: HostId, why: &str) {
        if let Some(remote) = self.remote(id) {
            let node = remote.at.node;
            self.failing.insert(node);
            self.order(id, ToDesk::Leave);
            self.host_gone(
                id,
                Gone::Unfit(format!("workers do not start there: {why}")),
            );
        }
    }

    pub(super) fn liaison_ended(&mut self, id: HostId, gone: Gone) {
        self.liaisons.remove(&id);
        self.host_gone(id, gone);
        self.all_closed();
    }

    /// The desk at a node is no more, and with it go its workers.
    pub(super) fn host_gone(&mut self, id: HostId, gone: Gone) {
        let Some(remote) = self.remote(id) else {
            return;
        };
        if std::mem::replace(&mut remote.gone, true) {
            return;
        }
        (remote.slots, remote.asked, remote.usable) = (0, 0, 0);
        let gone = gone.when(remote.state);
        self.stays_undone(id, &gone);
        let Some(remote) = self.remote(id) else {
            return;
        };
        let at = remote.at.clone();
        let node = self.node_at(id);
        let why = gone.to_string();
        self.is_gone(&at, &gone, node);
        self.tell_pool(id, pool::Input::HostGone);
        self.fit(id);
        let workers = self.workers.iter().filter(|(_, it)| it.host == id);
        let workers: Vec<WorkerId> = workers.map(|(worker, _)| *worker).collect();
        for worker in workers {
            let end = End::never_began(format!("its node is gone: {why}"));
            self.ended(worker, end);
        }
        self.forget(id);
    }

    /// Forgets a node that is gone, once its workers are.
    pub(super) fn forget(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id) else {
            return;
        };
        let Some(remote) = host.remote.as_ref().filter(|it| it.gone) else {
            return;
        };
        // What there is still to be told of one says where it was.
        let here = self.workers.values().any(|it| it.host == id);
        if here || !host.pool.is_over() {
            return;
        }
        if let Some(finder) = &self.finder {
            let _ = finder.send(ToFinder::Lost(remote.at.node, remote.useful));
        }
        self.hosts.remove(&id);
        self.tell_core(core::Input::HostLost { host: id });
        self.all_closed();
    }

    /// A worker's process at a node has ended, also one that was given up before.
    fn ended_at(&mut self, host: HostId, worker: WorkerId, end: End) {
        match self.workers.contains_key(&worker) {
            true => self.ended(worker, end),
            false => self.tell_pool(
                host,
                pool::Input::Ended {
                    worker,
                    why: end.why,
                    hit: end.hit,
                    killed: end.killed,
                    busy: false,
                },
            ),
        }
    }
}
