//! Hosts and their workers: what is taken of their room, and who is to get the next call.
//!
//! Workers are listed at their host, and hosts among all, under how soon each is to get a call of
//! a kind: so the next is found without looking at all of them. [`Hosts::list`] puts these lists
//! right after every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ranking::Ranking;
use super::worker::{Entry, Front, Worker};
use super::{CallId, HostId, Place, Rank, WorkerId};
use crate::resources::Resources;

#[derive(Debug, Default)]
struct Host {
    room: Resources,
    /// As much as it can have at most.
    could: Resources,
    taken: Resources,
    workers: BTreeSet<WorkerId>,
    /// How many of them are suspended.
    suspended: usize,
    /// Nothing that comes after this call starts here.
    reserved: Option<Rank>,
    idle: Ranking<usize, WorkerId>,
    ahead: Ranking<usize, WorkerId>,
    io: Ranking<(bool, usize), WorkerId>,
    entry: HostEntry,
}

/// Under what a host is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct HostEntry {
    slots: Option<usize>,
    ahead: Option<usize>,
    io: Option<(bool, usize)>,
}

impl Host {
    /// More is taken than there is, since the room has shrunk.
    fn is_overfull(&self) -> bool {
        !self.taken.fits(&self.room, &Resources::default())
    }

    /// Whether it has a worker that does.
    fn takes_calls(&self) -> bool {
        !self.io.is_empty()
    }

    /// How many calls of one core could start now.
    fn slots(&self) -> usize {
        if self.is_overfull() {
            return 0;
        }
        let cores = self.room.cores() - self.taken.cores();
        self.idle.len().min(cores as usize)
    }

    fn wanted_entry(&self) -> HostEntry {
        let first_io = self.io.first().map(|(load, _)| load);
        if self.reserved.is_some() || self.is_overfull() {
            return HostEntry {
                io: first_io,
                ..HostEntry::default()
            };
        }
        let slots = self.slots();
        HostEntry {
            slots: (slots > 0).then_some(slots),
            ahead: self.ahead.first().map(|(load, _)| load),
            io: first_io,
        }
    }
}

#[derive(Debug)]
pub(super) struct Hosts {
    prefetch: usize,
    hosts: BTreeMap<HostId, Host>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Hosts where a call could start, by how many: those with the most are last.
    open: Ranking<usize, HostId>,
    /// Hosts where a call may be sent ahead, by the least load of a worker.
    ahead: Ranking<usize, HostId>,
    /// Hosts where io calls may go, by the least load of a worker.
    io: Ranking<(bool, usize), HostId>,
    /// How many calls of each priority wait behind others at workers, and how many of those that
    /// did are on their way back.
    behind: Tally,
    coming: Tally,
}

/// Counts by priority.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<i32, usize>,
    total: usize,
}

/// Whether that is not more than there is when nothing is taken.
fn fits(needs: &Resources, room: &Resources) -> bool {
    needs.fits(room, &Resources::default())
}

impl Tally {
    fn add(&mut self, rank: Rank) {
        *self.counts.entry(rank.priority()).or_insert(0) += 1;
        self.total += 1;
    }

    fn remove(&mut self, rank: Rank) {
        let priority = rank.priority();
        let count = self.counts.get_mut(&priority).expect("it was added");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&priority);
        }
        self.total -= 1;
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn lowest(&self) -> Option<i32> {
        self.counts.keys().next().copied()
    }

    pub(super) fn highest(&self) -> Option<i32> {
        self.counts.keys().next_back().copied()
    }

    /// How many of a higher priority than this.
    pub(super) fn above(&self, priority: i32) -> usize {
        let above = self.counts.iter().rev().take_while(|(p, _)| **p > priority);
        above.map(|(_, count)| count).sum()
    }
}

impl Hosts {
    pub(super) fn new(prefetch: usize) -> Self {
        Hosts {
            prefetch,
            hosts: BTreeMap::new(),
            workers: BTreeMap::new(),
            open: Ranking::default(),
            ahead: Ranking::default(),
            io: Ranking::default(),
            behind: Tally::default(),
            coming: Tally::default(),
        }
    }

    pub(super) fn set_room(&mut self, host: HostId, room: Resources, could: Resources) {
        let there = self.hosts.entry(host).or_default();
        (there.room, there.could) = (room, could);
        self.list_host(host);
    }

    pub(super) fn remove_host(&mut self, host: HostId) {
        for worker in self.workers_of(host) {
            self.remove(worker);
        }
        self.hosts.remove(&host);
    }

    pub(super) fn ready(&mut self, id: WorkerId, host: HostId) {
        if let Some(there) = self.hosts.get_mut(&host)
            && there.workers.insert(id)
        {
            self.workers.insert(id, Worker::new(host));
            self.list(id);
        }
    }

    /// Forgets a worker with all that it has.
    pub(super) fn remove(&mut self, id: WorkerId) -> Option<Worker> {
        let worker = self.workers.get_mut(&id)?;
        // So that it is listed nowhere.
        worker.retiring = true;
        self.list(id);
        let worker = self.workers.remove(&id)?;
        for rank in &worker.behind {
            self.behind.remove(*rank);
        }
        let host = self.host_mut(worker.host);
        host.workers.remove(&id);
        host.suspended -= usize::from(worker.suspended);
        if let Some(held) = &worker.held {
            host.taken.subtract(held);
        }
        self.list_host(worker.host);
        Some(worker)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = HostId> {
        self.hosts.keys().copied()
    }

    /// How many cores are in use there, or kept by suspended workers; at least one if any call runs there.
    pub(super) fn taken_cores(&self, host: HostId) -> usize {
        let Some(host) = self.hosts.get(&host) else {
            return 0;
        };
        let mut workers = host.workers.iter().map(|id| &self.workers[id]);
        let kept = match host.suspended {
            0 => 0,
            _ => workers.clone().filter(|it| it.keeps_core()).count(),
        };
        let cores = host.taken.cores() as usize + kept;
        if cores > 0 {
            return cores;
        }
        usize::from(workers.any(|worker| worker.load() > 0 || !worker.io.is_empty()))
    }

    pub(super) fn workers_of(&self, host: HostId) -> Vec<WorkerId> {
        let host = self.hosts.get(&host);
        host.map_or_else(Vec::new, |host| host.workers.iter().copied().collect())
    }

    pub(super) fn workers(&self) -> Vec<WorkerId> {
        self.workers.keys().copied().collect()
    }

    /// How many calls run at all workers.
    pub(super) fn running(&self) -> usize {
        let of_each = |it: &Worker| usize::from(it.front.is_some()) + it.io.len();
        self.workers.values().map(of_each).sum()
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    /// Whether a worker has a CPU-bound call.
    pub(super) fn is_busy(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|it| it.load() > 0)
    }

    pub(super) fn behind(&self) -> &Tally {
        &self.behind
    }

    pub(super) fn coming(&self) -> &Tally {
        &self.coming
    }

    /// A worker without a CPU-bound call, with the fewest others; a suspended one if there is no other.
    pub(super) fn idle(&self, host: HostId) -> Option<WorkerId> {
        let workers = self.hosts.get(&host)?.workers.iter();
        let idle = workers.filter(|id| {
            let worker = &self.workers[*id];
            worker.takes_calls() && worker.load() == 0
        });
        let key = |id: &&WorkerId| {
            let worker = &self.workers[*id];
            (worker.suspended, worker.io.len())
        };
        idle.min_by_key(key).copied()
    }

    /// Whether calls for this place can still be sent there.
    pub(super) fn takes_calls(&self, place: Place) -> bool {
        match place {
            Place::Anywhere => true,
            Place::Host(host) => self.hosts.contains_key(&host),
            Place::Worker(worker) => self.workers.get(&worker).is_some_and(Worker::takes_calls),
        }
    }

    /// Whether there is room for a call that needs this, once others have ended. Where there is no
    /// host yet, nobody knows.
    pub(super) fn may_hold(&self, place: Place, needs: &Resources) -> bool {
        self.some_host(place, |host| fits(needs, &host.room))
    }

    /// Whether some host there can have room for such a call some day, or there is none that could tell.
    pub(super) fn could_hold(&self, place: Place, needs: &Resources) -> bool {
        self.some_host(place, |host| fits(needs, &host.could))
    }

    fn some_host(&self, place: Place, holds: impl Fn(&Host) -> bool) -> bool {
        let is = |host| self.hosts.get(&host).is_some_and(&holds);
        match place {
            Place::Anywhere => self.hosts.is_empty() || self.hosts.values().any(&holds),
            Place::Host(host) => is(host),
            Place::Worker(worker) => self.workers.get(&worker).is_some_and(|it| is(it.host)),
        }
    }

    pub(super) fn holds(&self, host: HostId, needs: &Resources) -> bool {
        let host = self.hosts.get(&host);
        host.is_some_and(|host| fits(needs, &host.room))
    }

    /// How many calls of one core could start on hosts that are not reserved.
    pub(super) fn slots(&self) -> usize {
        self.open.iter().map(|(slots, _)| slots).sum()
    }

    /// How many could start on this host, reserved or not.
    pub(super) fn slots_of(&self, host: HostId) -> usize {
        self.host(host).slots()
    }

    /// A worker that can begin a CPU-bound call now.
    pub(super) fn free_worker(&self, place: Place, needs: &Resources) -> Option<WorkerId> {
        let fits = |id: HostId| {
            let host = self.host(id);
            let open = host.entry.slots.is_some();
            (open && needs.fits(&host.room, &host.taken)).then_some(host)
        };
        match place {
            Place::Anywhere => {
                let host = self.open.iter().rev().find_map(|(_, id)| fits(id))?;
                host.idle.first().map(|(_, worker)| worker)
            }
            Place::Host(host) => fits(host)?.idle.first().map(|(_, worker)| worker),
            Place::Worker(id) => {
                let worker = self.workers.get(&id)?;
                worker.entry.idle?;
                fits(worker.host).map(|_| id)
            }
        }
    }

    /// The worker where a call may be sent ahead, with the least to do, if no more than `most` CPU-bound calls.
    pub(super) fn worker_ahead(&self, most: usize) -> Option<WorkerId> {
        let (load, host) = self.ahead.first()?;
        if load > most {
            return None;
        }
        self.host(host).ahead.first().map(|(_, worker)| worker)
    }

    /// A worker that takes an io call.
    pub(super) fn worker_for_io(&self, place: Place) -> Option<WorkerId> {
        let host = match place {
            Place::Anywhere => self.io.first()?.1,
            Place::Host(host) => host,
            Place::Worker(worker) => return self.workers[&worker].is_open().then_some(worker),
        };
        self.host(host).io.first().map(|(_, worker)| worker)
    }

    /// The host that is best reserved for a call: of those that are not yet and have room for it,
    /// `before` if it is one, else the one where the least is missing.
    pub(super) fn to_reserve(
        &self,
        place: Place,
        needs: &Resources,
        before: Option<HostId>,
    ) -> Option<HostId> {
        let fits = |id: &HostId| {
            let free = |host: &Host| host.reserved.is_none() && host.takes_calls();
            self.hosts.get(id).is_some_and(free) && self.holds(*id, needs)
        };
        match place {
            Place::Anywhere => before.filter(fits).or_else(|| {
                let there = self.hosts.keys().copied().filter(fits);
                there.max_by_key(|id| self.host(*id).slots())
            }),
            Place::Host(host) => Some(host).filter(fits),
            Place::Worker(worker) => Some(self.workers.get(&worker)?.host).filter(fits),
        }
    }

    /// Whether there is no host left for what comes after those calls that have one.
    pub(super) fn all_reserved(&self) -> bool {
        let mut hosts = self.hosts.values();
        hosts.all(|host| host.reserved.is_some() || !host.takes_calls())
    }

    pub(super) fn reserve(&mut self, host: HostId, rank: Option<Rank>) {
        if let Some(there) = self.hosts.get_mut(&host) {
            there.reserved = rank;
            self.list_host(host);
        }
    }

    pub(super) fn reserve_worker(&mut self, worker: WorkerId, rank: Option<Rank>) {
        if self.workers.contains_key(&worker) {
            self.change(worker, |it| it.reserved = rank);
        }
    }

    /// Whether a call that waits behind another at this worker may stay there.
    pub(super) fn may_stay(&self, worker: &Worker, rank: Rank) -> bool {
        let host = self.host(worker.host);
        let reserved = [host.reserved, worker.reserved];
        worker.is_open()
            && !host.is_overfull()
            && reserved.into_iter().flatten().all(|first| rank < first)
    }

    /// A call begins at an idle worker.
    pub(super) fn begin(&mut self, id: WorkerId, front: Front, needs: &Arc<Resources>) {
        let worker = self.worker_mut(id);
        worker.front = Some(front);
        worker.held = Some(Arc::clone(needs));
        let host = worker.host;
        self.host_mut(host).taken.add(needs);
        self.list(id);
        self.list_host(host);
    }

    /// A call is sent ahead.
    pub(super) fn send_ahead(&mut self, id: WorkerId, rank: Rank) {
        self.behind.add(rank);
        self.change(id, |worker| worker.push_behind(rank));
    }

    pub(super) fn begin_io(&mut self, id: WorkerId, call: CallId) {
        self.change(id, |worker| {
            worker.io.insert(call);
        });
    }

    pub(super) fn leave_io(&mut self, id: WorkerId, call: CallId) {
        self.change(id, |worker| {
            worker.io.remove(&call);
        });
    }

    /// A CPU-bound call that was not asked back has left.
    pub(super) fn leave(&mut self, id: WorkerId, rank: Rank) {
        let worker = self.worker_mut(id);
        if worker.front.is_some_and(|front| front.rank == rank) {
            worker.front = None;
        } else if worker.remove_behind(rank) {
            self.behind.remove(rank);
        }
        self.advance(id);
    }

    /// A call that was asked back has left, or runs and stays; whether its owner still wants it.
    pub(super) fn leave_revoked(&mut self, id: WorkerId, rank: Rank, wanted: bool) {
        self.worker_mut(id).leaving.remove(&rank.call);
        if wanted {
            self.coming.remove(rank);
        }
        self.advance(id);
    }

    /// A call that waits behind another is asked back; whether its owner still wants it.
    pub(super) fn revoke(&mut self, id: WorkerId, rank: Rank, wanted: bool) {
        let worker = self.worker_mut(id);
        if worker.remove_behind(rank) {
            worker.leaving.insert(rank.call);
            self.behind.remove(rank);
            if wanted {
                self.coming.add(rank);
            }
            self.list(id);
        }
    }

    /// The owner of a call that was asked back no longer wants it.
    pub(super) fn unwanted(&mut self, rank: Rank) {
        self.coming.remove(rank);
    }

    /// The worker has said that it has begun a call that it was asked to give back: it is the
    /// front. Gives the one that was taken for it.
    pub(super) fn set_front(&mut self, id: WorkerId, rank: Rank, wanted: bool) -> Option<Rank> {
        let worker = self.worker_mut(id);
        worker.leaving.remove(&rank.call);
        let front = Front {
            rank,
            ahead: true,
            suspect: false,
        };
        let before = worker.front.replace(front);
        if wanted {
            self.coming.remove(rank);
        }
        self.list(id);
        before.map(|front| front.rank)
    }

    /// A call was wrongly taken for the front; whether its owner still wants it.
    pub(super) fn put_behind(&mut self, id: WorkerId, rank: Rank, wanted: bool) {
        if wanted {
            self.send_ahead(id, rank);
        } else {
            self.change(id, |worker| {
                worker.leaving.insert(rank.call);
            });
        }
    }

    pub(super) fn suspend(&mut self, id: WorkerId, suspended: bool) {
        let worker = self.worker_mut(id);
        let (before, host) = (worker.suspended, worker.host);
        let host = self.host_mut(host);
        host.suspended = host.suspended + usize::from(suspended) - usize::from(before);
        self.change(id, |worker| worker.suspended = suspended);
    }

    pub(super) fn is_suspended(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|it| it.suspended)
    }

    pub(super) fn retire(&mut self, id: WorkerId) {
        self.change(id, |worker| worker.retiring = true);
    }

    /// Whether a worker that is to retire has nothing left. Says so once.
    pub(super) fn has_retired(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        let has = worker.retiring && worker.load() == 0 && worker.io.is_empty();
        has && !std::mem::replace(&mut worker.retired, true)
    }

    /// A worker is to be killed; `false` when it was already.
    pub(super) fn doom(&mut self, id: WorkerId) -> bool {
        let before = self.worker_mut(id).doomed;
        self.change(id, |worker| worker.doomed = true);
        !before
    }

    /// When the front has left, the next one takes its place; when nothing is left, the room is
    /// free.
    fn advance(&mut self, id: WorkerId) {
        let worker = self.workers.get_mut(&id).expect("the caller knows it");
        if worker.front.is_none()
            && let Some(rank) = worker.behind.pop_front()
        {
            self.behind.remove(rank);
            worker.front = Some(Front {
                rank,
                ahead: true,
                suspect: false,
            });
        }
        let host = worker.host;
        let free = if worker.load() == 0 {
            worker.held.take()
        } else {
            None
        };
        self.list(id);
        if let Some(held) = free {
            self.host_mut(host).taken.subtract(&held);
            self.list_host(host);
        }
    }

    fn change(&mut self, id: WorkerId, f: impl FnOnce(&mut Worker)) {
        f(self.worker_mut(id));
        self.list(id);
    }

    /// Lists a worker as it is now, and its host if that makes a difference to it.
    fn list(&mut self, id: WorkerId) {
        let prefetch = self.prefetch;
        let worker = self.worker_mut(id);
        let new = worker.wanted_entry(prefetch);
        let old = std::mem::replace(&mut worker.entry, new);
        if old == new {
            return;
        }
        let Entry { idle, ahead, io } = new;
        let host_id = worker.host;
        let host = self.host_mut(host_id);
        host.idle.change(old.idle, idle, id);
        host.ahead.change(old.ahead, ahead, id);
        host.io.change(old.io, io, id);
        self.list_host(host_id);
    }

    fn list_host(&mut self, id: HostId) {
        let host = self.host_mut(id);
        let new = host.wanted_entry();
        let old = std::mem::replace(&mut host.entry, new);
        self.open.change(old.slots, new.slots, id);
        self.ahead.change(old.ahead, new.ahead, id);
        self.io.change(old.io, new.io, id);
    }

    #[cfg(test)]
    pub(super) fn assert_empty(&self) {
        assert_eq!((self.behind.total, self.coming.total), (0, 0));
        for host in self.hosts.values() {
            assert_eq!(host.taken, Resources::default(), "room is still taken");
        }
        for worker in self.workers.values() {
            assert!(worker.load() == 0 && worker.io.is_empty() && worker.held.is_none());
        }
    }

    fn host(&self, id: HostId) -> &Host {
        self.hosts.get(&id).expect("the caller knows the host")
    }

    fn host_mut(&mut self, id: HostId) -> &mut Host {
        self.hosts.get_mut(&id).expect("the caller knows the host")
    }

    fn worker_mut(&mut self, id: WorkerId) -> &mut Worker {
        self.workers
            .get_mut(&id)
            .expect("the caller knows the worker")
    }
}
