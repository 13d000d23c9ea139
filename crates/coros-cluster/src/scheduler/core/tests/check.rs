//! What must hold, found out by looking at everything.

use super::super::{CallId, HostId, Place, Rank, WorkerId};
use super::world::World;
use crate::resources::Resources;

impl World {
    pub(super) fn check_everything(&self) {
        self.check_waiting();
        self.check_idle();
        self.check_behind();
    }

    /// The CPU-bound calls at a worker.
    fn cpu(&self, worker: WorkerId) -> Vec<(CallId, u32)> {
        let list = self.in_flight[&worker].iter().copied();
        list.filter(|(call, _)| !self.is_io(*call)).collect()
    }

    /// It may be sent ahead, and others behind it.
    fn is_plain(&self, call: CallId) -> bool {
        let spec = &self.specs[&call];
        !spec.io
            && spec.place == Place::Anywhere
            && spec.needs == Resources::cpus(1)
            && self.retries(call) > 0
            && !self.suspects.contains(&call)
    }

    fn workers_of(&self, host: HostId) -> impl Iterator<Item = WorkerId> {
        let all = self.host_of.iter();
        all.filter(move |(_, of)| **of == host).map(|(id, _)| *id)
    }

    /// What the calls on a host take.
    fn taken(&self, host: HostId) -> Resources {
        let mut taken = Resources::default();
        for worker in self.workers_of(host) {
            if let Some((call, _)) = self.cpu(worker).first() {
                taken.add(&self.specs[call].needs);
            }
        }
        taken
    }

    fn is_overfull(&self, host: HostId) -> bool {
        !self
            .taken(host)
            .fits(&self.hosts[&host], &Resources::default())
    }

    /// The hosts that have room for a call when nothing else runs there.
    pub(super) fn holding(&self, call: CallId) -> Vec<HostId> {
        let spec = &self.specs[&call];
        let there = |host: &HostId| match spec.place {
            Place::Anywhere => true,
            Place::Host(only) => only == *host,
            Place::Worker(worker) => self.host_of.get(&worker) == Some(host),
        };
        let fits = |host: &HostId| spec.needs.fits(&self.hosts[host], &Resources::default());
        let hosts = self.hosts.keys().copied();
        hosts.filter(|host| there(host) && fits(host)).collect()
    }

    /// Those where it could be, sooner or later.
    fn candidates(&self, call: CallId) -> Vec<HostId> {
        let mut hosts = self.holding(call);
        let only = match self.specs[&call].place {
            Place::Worker(only) => Some(only),
            _ => None,
        };
        hosts.retain(|host| {
            let open = self.workers_of(*host).any(|worker| self.is_open(worker));
            open && only.is_none_or(|only| !self.suspended.contains(&only))
        });
        hosts
    }

    /// The workers of a host where a call could begin right now.
    fn idle(&self, host: HostId, call: CallId) -> Vec<WorkerId> {
        let spec = &self.specs[&call];
        if self.is_overfull(host) || !spec.needs.fits(&self.hosts[&host], &self.taken(host)) {
            return Vec::new();
        }
        let there = |worker: &WorkerId| match spec.place {
            Place::Anywhere => true,
            Place::Host(only) => only == host,
            Place::Worker(only) => only == *worker,
        };
        let idle = |worker: &WorkerId| self.is_open(*worker) && self.cpu(*worker).is_empty();
        let workers = self.workers_of(host);
        workers
            .filter(|worker| there(worker) && idle(worker))
            .collect()
    }

    /// Whether a call that waits keeps all that comes after it from beginning at this worker: it
    /// can only be there.
    fn keeps(&self, call: CallId, worker: WorkerId) -> bool {
        let host = self.host_of[&worker];
        if self.specs[&call].place == Place::Worker(worker) {
            return self.candidates(call) == [host];
        }
        match self.specs[&call].place {
            Place::Worker(other) if !self.cpu(other).is_empty() => false,
            _ => self.candidates(call) == [host],
        }
    }

    fn waiting_before(&self, rank: Rank) -> impl Iterator<Item = CallId> {
        let before = self.waiting.range(..rank).map(|rank| rank.call);
        before.filter(|call| !self.is_io(*call))
    }

    /// A call goes to a worker. It does not wait any more.
    pub(super) fn check_start(&self, rank: Rank, worker: WorkerId) {
        let (call, host) = (rank.call, self.host_of[&worker]);
        let spec = &self.specs[&call];
        assert!(self.is_open(worker), "{worker:?} is not to get any more");
        match spec.place {
            Place::Anywhere => {}
            Place::Host(only) => assert_eq!(host, only),
            Place::Worker(only) => assert_eq!(worker, only),
        }
        if spec.io {
            return;
        }
        let there = self.cpu(worker);
        if there.is_empty() {
            assert!(
                self.idle(host, call).contains(&worker),
                "{host:?} has no room"
            );
        } else {
            let plain = there.iter().all(|(call, _)| self.is_plain(*call));
            assert!(
                plain && self.is_plain(call),
                "only plain calls are prefetched"
            );
            let most = match self.bulky.contains(&call) {
                true => self.config.bulky_prefetch,
                false => self.config.prefetch,
            };
            assert!(there.len() <= most, "{worker:?} is over-committed");
            assert!(
                !self.is_overfull(host),
                "nothing starts on a host without room"
            );
        }
        for earlier in self.waiting_before(rank) {
            assert!(
                self.idle(host, earlier).is_empty(),
                "{earlier:?} comes before {call:?}"
            );
            assert!(
                !self.keeps(earlier, worker),
                "{worker:?} is kept for {earlier:?}"
            );
        }
        for (_, other) in self.behind() {
            let late = self.specs[&other].priority > spec.priority;
            assert!(
                !late,
                "{other:?} waits behind another while {call:?} starts"
            );
        }
    }

    /// What is free is for calls of a higher priority than this, which are on their way back from
    /// workers; everything else waits until they are there.
    fn is_promised(&self, priority: i32) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|(call, _)| self.specs[call].priority > priority)
    }

    /// Nothing waits while a worker is free for it.
    fn check_idle(&self) {
        let mut seen: Vec<CallId> = Vec::new();
        for rank in &self.waiting {
            let call = rank.call;
            let spec = &self.specs[&call];
            if spec.io {
                let mut workers = self.in_flight.keys();
                let free = workers.any(|worker| {
                    self.is_open(*worker)
                        && match spec.place {
                            Place::Anywhere => true,
                            Place::Host(host) => self.host_of[worker] == host,
                            Place::Worker(only) => only == *worker,
                        }
                });
                assert!(!free, "{call:?} is an io call and waits");
                continue;
            }
            let alike = |other: &&CallId| {
                let of = &self.specs[*other];
                let plain = self.is_plain(**other) == self.is_plain(call);
                plain && (&of.needs, of.place) == (&spec.needs, spec.place)
            };
            if seen.iter().find(alike).is_some() {
                continue;
            }
            let hosts = self.hosts.keys().copied();
            let free: Vec<_> = hosts
                .filter(|host| !self.idle(*host, call).is_empty())
                .collect();
            let kept =
                |other: &&CallId| self.candidates(**other).iter().any(|it| free.contains(it));
            let kept = seen.iter().filter(kept).count();
            let promised = self.is_promised(spec.priority);
            assert!(
                promised || free.len() <= kept,
                "{call:?} waits beside a free worker"
            );
            seen.push(call);
        }
    }

    /// What waits behind others at workers and has not been asked back.
    pub(super) fn behind(&self) -> Vec<(WorkerId, CallId)> {
        let workers = self
            .in_flight
            .keys()
            .filter(|worker| !self.doomed.contains(*worker));
        let behind = workers.flat_map(|worker| {
            let known = self.core.hosts.get(*worker).expect("it is there");
            known.behind.iter().map(|rank| (*worker, rank.call))
        });
        behind.collect()
    }

    fn check_behind(&self) {
        let behind = self.behind();
        for (worker, call) in &behind {
            let host = self.host_of[worker];
            assert!(self.is_wanted(*call) && self.is_plain(*call));
            assert!(
                self.is_open(*worker) && !self.is_overfull(host),
                "it may not stay"
            );
            for earlier in self.waiting_before(self.rank(*call)) {
                if self.is_plain(earlier) {
                    // Among plain calls of one priority the order is that in which they were sent,
                    // and what comes after them waits until that is over.
                    let lower = self.specs[&earlier].priority > self.specs[call].priority;
                    assert!(!lower, "{call:?} is in the way of {earlier:?}");
                    break;
                }
                if self.is_promised(self.specs[&earlier].priority) {
                    break;
                }
                assert!(
                    !self.keeps(earlier, *worker),
                    "{call:?} is in the way of {earlier:?}"
                );
            }
        }
        // Whoever could begin elsewhere is on the way there, or what is free is for others. They
        // are all alike, and the first is the one that the least may be kept from.
        let ranks = behind.iter().map(|(_, call)| self.rank(*call));
        if let Some(first) = ranks.min() {
            let mut free = 0;
            for host in self.hosts.keys() {
                let idle = self.idle(*host, first.call).len();
                if idle == 0 {
                    continue;
                }
                let kept_by = |call| self.candidates(call).contains(host);
                let kept = self.waiting_before(first).any(kept_by);
                assert!(
                    kept || !self.asked.is_empty(),
                    "{first:?} waits beside a free worker"
                );
                let last = Rank::new(i32::MIN, CallId(u64::MAX));
                if !self.waiting_before(last).any(kept_by) {
                    let cores = self.hosts[host].cores() - self.taken(*host).cores();
                    free += idle.min(cores as usize);
                }
            }
            assert!(
                free <= self.asked.len(),
                "{first:?} waits beside a free worker"
            );
        }
        // Cancelled calls are not asked back twice, and all that was asked is in flight.
        for (call, attempt) in &self.asked {
            let mut lists = self.in_flight.values();
            assert!(lists.any(|list| list.contains(&(*call, *attempt))));
        }
    }
}
