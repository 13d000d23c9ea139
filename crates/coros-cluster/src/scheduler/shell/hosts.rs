//! The shell's hosts: this machine, and the nodes that lend slots; with as many workers on each as
//! there may be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use coros_net::Location;

use super::super::core::{self, HostId};
use super::super::liaison::FAREWELL;
use super::super::pool::{self, Pool, Purpose};
use super::super::reach::facing;
use super::nodes::Remote;
use super::workers::{Worker, full_name, name_of};
use super::{Phase, Shell, WorkerId};
use crate::blob::Blob;
use crate::daemon::folder::SHARED;
use crate::daemon::protocol::ToDesk;
use crate::placement::NodeView;
use crate::protocol::Duties;
use crate::resources::Resources;

/// A machine on which workers run.
pub(super) struct Host {
    pub(super) pool: Pool,
    /// All its workers have ended, for good.
    closed: bool,
    /// As it was when it was looked at last.
    pub(super) node: Arc<NodeView>,
    /// What its workers do before and after all calls.
    duties: Duties,
    /// It is to run nothing for the time being.
    pub(super) held: bool,
    /// Nor ever again.
    pub(super) closing: bool,
    pub(super) remote: Option<Remote>,
}

impl Host {
    pub(super) fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Whether calls may be sent there, now or when it has lent slots.
    pub(super) fn takes_calls(&self) -> bool {
        !self.closed && !self.closing && self.remote.as_ref().is_none_or(Remote::is_there)
    }

    /// What a worker has to do, and no more.
    pub(super) fn duties(&self, purpose: Purpose) -> Duties {
        let duties = self.duties.clone();
        match purpose {
            Purpose::Work => Duties {
                set_up_node: None,
                ..duties
            },
            Purpose::Prepare => Duties {
                set_up_node: duties.set_up_node,
                ..Duties::default()
            },
            Purpose::TidyUp => Duties {
                tear_down_node: duties.tear_down_node,
                node_value: duties.node_value,
                ..Duties::default()
            },
        }
    }

    /// Whether each of its workers has something to undo when it ends.
    pub(super) fn tears_down_workers(&self) -> bool {
        self.duties.tear_down.is_some()
    }

    /// Whether one of its workers prepares it.
    pub(super) fn is_prepared(&self) -> bool {
        self.duties.set_up_node.is_some()
    }

    /// Whether there are more workers than there may be, or slots are asked back.
    fn is_unsettled(&self) -> bool {
        let asked = self.remote.as_ref().is_some_and(|remote| remote.asked > 0);
        !self.closed && (asked || self.pool.surplus() > 0)
    }

    /// The name of a node; this machine has none.
    pub(super) fn name(&self) -> Option<&str> {
        self.remote.as_ref().map(|remote| &*remote.at.name)
    }

    /// Where a worker there finds this process, and where it listens itself; `None` for where
    /// nodes do by themselves, which is for this machine alone.
    pub(super) fn ways(&self, home: Location) -> (Location, Option<SocketAddr>) {
        let there = self.remote.as_ref().and_then(|remote| remote.at.endpoint);
        let Some(there) = there else {
            return (home, None);
        };
        let endpoint = home.endpoint.map(|endpoint| match facing(there) {
            Some(ip) => SocketAddr::new(ip, endpoint.port()),
            None => endpoint,
        });
        let home = Location { endpoint, ..home };
        (home, Some(SocketAddr::new(there.ip(), 0)))
    }
}

/// A room with so many cores.
pub(super) fn with(cores: usize, room: &Resources) -> Resources {
    let mut room = room.clone();
    room.set_cores(u32::try_from(cores).unwrap_or(u32::MAX));
    room
}

impl Shell {
    /// Those of a network come when they are found.
    pub(super) fn start_hosts(&mut self) {
        if let Some(here) = &mut self.here {
            let duties = std::mem::take(&mut here.duties);
            let node = Arc::clone(&here.node);
            let local = self.add_host(node, duties, None);
            self.fit(local);
        }
    }

    pub(super) fn add_host(
        &mut self,
        node: Arc<NodeView>,
        duties: Duties,
        remote: Option<Remote>,
    ) -> HostId {
        let id = HostId(self.next_host);
        self.next_host += 1;
        let config = pool::Config {
            prepares: duties.set_up_node.is_some(),
            tidies_up: duties.tear_down_node.is_some(),
            far: remote.is_some(),
            ..self.plan.pool()
        };
        let host = Host {
            pool: Pool::new(config, self.ids.clone()),
            closed: false,
            node,
            duties,
            held: false,
            closing: false,
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
        self.lose_patience(now);
        self.all_closed();
    }

    /// A host that is there, as events tell of it.
    pub(super) fn node_at(&self, host: HostId) -> Arc<NodeView> {
        Arc::clone(&self.hosts[&host].node)
    }

    /// The name of a worker, as `w3@farm-1`.
    pub(super) fn name_at(&self, host: HostId, worker: WorkerId) -> Arc<str> {
        match self.hosts.get(&host).and_then(Host::name) {
            Some(node) => full_name(worker, node),
            None => name_of(worker),
        }
    }

    /// Where the workers of a host find the folder that they share.
    pub(super) fn shared_at(&self, host: HostId) -> PathBuf {
        match &self.here {
            Some(here) if !self.is_remote(host) => here.shared.path().to_owned(),
            _ => Path::new("..").join(SHARED),
        }
    }

    /// Has the pool of a host start or end as many workers as there may be.
    pub(super) fn fit(&mut self, id: HostId) {
        let Some(host) = self.hosts.get(&id) else {
            return;
        };
        let (cores, workers, could) = match (&host.remote, &self.here) {
            (Some(remote), _) => (
                remote.usable,
                remote.usable.min(remote.workers()),
                self.could_hold(remote),
            ),
            (None, Some(here)) => (here.workers, here.workers, with(here.workers, &here.room)),
            (None, None) => return,
        };
        // The room stays that of a host that is held: calls wait for it.
        let workers = if host.held { 0 } else { workers };
        let room = with(cores, &could);
        let host = id;
        self.tell_core(core::Input::HostRoom { host, room, could });
        self.tell_pool(id, pool::Input::Want { workers });
        self.tell_pool(id, pool::Input::Tick);
    }

    /// Has a host run nothing for the time being, or go on.
    pub(super) fn hold(&mut self, id: HostId, held: bool) {
        if let Some(host) = self.hosts.get_mut(&id) {
            host.held = held;
            self.tell_state(id);
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
        self.has_none_wait(worker);
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.retiring = true;
        }
        self.tell_core(core::Input::Retire { worker });
    }

    /// Whether a worker can be closed: on this machine one stays.
    pub(super) fn may_close(&self, worker: WorkerId) -> bool {
        let here = self
            .here
            .as_ref()
            .filter(|_| !self.is_remote(self.workers[&worker].host));
        here.is_none_or(|here| here.workers > 1)
    }

    /// Lets go of a worker, and has none come in its place; of its node, when it is the last one there.
    pub(super) fn close_worker(&mut self, worker: WorkerId) {
        let id = self.workers[&worker].host;
        let others =
            |(other, it): &(&WorkerId, &Worker)| it.host == id && !it.retiring && **other != worker;
        let left = self.workers.iter().filter(others).count();
        if let Some(remote) = self.remote(id) {
            remote.left = left;
            if left == 0 {
                return self.close_node(id);
            }
        } else if let Some(here) = &mut self.here {
            here.workers -= 1;
        }
        self.retire(worker);
        self.fit(id);
    }

    /// A node is prepared: those that work there may come.
    pub(super) fn node_set_up(&mut self, worker: WorkerId, value: Blob) {
        let Some(host) = self.workers.get(&worker).map(|worker| worker.host) else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(&host) {
            host.duties.node_value = Some(value);
        }
        self.tell_pool(host, pool::Input::HostPrepared { worker });
    }

    /// After anything has happened to the workers of a host: retires those that are too many, and gives
    /// back slots that nobody uses.
    pub(super) fn settle(&mut self, id: HostId) {
        self.give_back(id);
        let Some(host) = self.hosts.get(&id) else {
            return;
        };
        if host.remote.as_ref().is_none_or(|it| !it.gone) {
            let retiring = self
                .workers
                .iter()
                .filter(|(worker, it)| it.host == id && it.retiring && host.pool.is_live(**worker));
            for _ in retiring.count()..host.pool.surplus() {
                // The others go on with their calls; the first that ends leaves one idle, as nothing more
                // starts than there is room for.
                let Some(worker) = self.core.idle(id).or_else(|| self.waits_at(id)) else {
                    break;
                };
                self.retire(worker);
            }
        }
        self.look_whether_closed(id);
        self.forget(id);
    }

    /// Calls may have ended where there are too many workers.
    pub(super) fn settle_all(&mut self) {
        let unsettled = self.hosts.iter().filter(|(_, host)| host.is_unsettled());
        for id in unsettled.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.settle(id);
        }
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

    /// When all pools are closed, and all nodes have heard that it leaves, so is the scheduler, if it is to be.
    pub(super) fn all_closed(&mut self) {
        let all = self.hosts.values().all(|host| host.closed);
        let wanted = matches!(self.phase, Phase::Closing)
            || (matches!(self.phase, Phase::Failed(_)) && !self.closing.is_empty());
        if all && wanted && self.has_taken_leave() {
            let killed = std::mem::take(&mut self.killed);
            let killed: Vec<_> = killed.into_iter().map(name_of).collect();
            self.closed(&killed);
        }
    }

    /// Whether all liaisons have ended, or have had as long as they may. Until then whoever ends the scheduler's
    /// node or process would be taken for lost.
    fn has_taken_leave(&mut self) -> bool {
        let now = Instant::now();
        self.liaisons.is_empty() || *self.farewell.get_or_insert(now + FAREWELL) <= now
    }

    /// The pool of a host has given up.
    pub(super) fn give_up(&mut self, id: HostId) {
        let why = self.last_failure.clone();
        match self.is_remote(id) {
            true => self.no_worker_starts(id, &why),
            false => self.fail(why),
        }
    }

    fn fail(&mut self, why: String) {
        self.phase = Phase::Failed(why.clone());
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why));
        }
        self.tell_core(core::Input::Close);
    }
}
