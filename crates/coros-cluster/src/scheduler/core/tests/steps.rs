//! What can happen in a world, one thing at a time.

use super::super::{CallId, HostId, Input, Options, Place, WorkerId};
use super::worker::{FakeWorker, In, copy};
use super::world::World;
use crate::resources::Resources;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit(usize, Asks),
    NewHost(Resources),
    Room(usize, Resources),
    HostLost(usize),
    NewWorker(usize),
    Suspend(usize, bool),
    Retire(usize),
    Receive(usize),
    Finish(usize, usize),
    TimeOut(usize, usize),
    Report(usize, bool),
    Crash(usize),
    Lost(usize),
    Cancel(usize),
    GiveUp,
    NoneCame(usize),
    /// An old report comes once more.
    Replay(usize),
}

/// What a call asks for, with its place by picking one of those that there are.
#[derive(Clone, Debug)]
pub(super) struct Asks {
    pub(super) needs: Resources,
    pub(super) at: At,
    pub(super) priority: i32,
    pub(super) retries: Option<u32>,
    pub(super) io: bool,
    pub(super) bulky: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Anywhere,
    Host(usize),
    Worker(usize),
}

impl Default for Asks {
    fn default() -> Self {
        Asks {
            needs: Resources::cpus(1),
            at: At::Anywhere,
            priority: 0,
            retries: None,
            io: false,
            bulky: false,
        }
    }
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Submit(n, asks) => (0..*n).for_each(|_| {
                self.submit(asks);
            }),
            Step::NewHost(room) => {
                self.new_host(room.clone());
            }
            Step::Room(n, room) => {
                if let Some(host) = pick(self.hosts.keys(), *n) {
                    let room = room.clone();
                    self.set_room(host, room);
                }
            }
            Step::HostLost(n) => {
                if let Some(host) = pick(self.hosts.keys(), *n) {
                    self.tell(Input::HostLost { host });
                }
            }
            Step::NewWorker(n) => {
                if let Some(host) = pick(self.hosts.keys(), *n) {
                    self.new_worker(host);
                }
            }
            Step::Suspend(n, suspended) => {
                if let Some(worker) = pick(self.in_flight.keys(), *n) {
                    let suspended = *suspended;
                    self.tell(Input::Suspend { worker, suspended });
                }
            }
            Step::Retire(n) => {
                if let Some(worker) = pick(self.in_flight.keys(), *n) {
                    self.tell(Input::Retire { worker });
                }
            }
            Step::Receive(n) => self.with_worker(*n, FakeWorker::receive),
            Step::Finish(n, which) => self.with_worker(*n, |it, id| it.finish(id, *which)),
            Step::TimeOut(n, which) => self.with_worker(*n, |it, id| it.time_out(id, *which)),
            Step::Report(n, twice) => {
                if let Some(id) = pick(self.in_flight.keys(), *n)
                    && let Some(report) = self.worker(id).from.pop_front()
                {
                    self.report(report, *twice);
                }
            }
            Step::Crash(n) => self.with_worker(*n, |worker, _| worker.dead = true),
            Step::Lost(n) => {
                if let Some(worker) = pick(self.dead().iter(), *n) {
                    self.lose(worker);
                }
            }
            Step::Replay(n) => {
                if !self.delivered.is_empty() {
                    let old = copy(&self.delivered[n % self.delivered.len()]);
                    self.tell(old);
                }
            }
            Step::GiveUp => self.tell(Input::GiveUp),
            Step::NoneCame(n) => {
                if let Some(call) = pick(self.specs.keys(), *n) {
                    self.tell(Input::NoneCame { call });
                }
            }
            Step::Cancel(n) => {
                if let Some(call) = pick(self.specs.keys(), *n) {
                    self.tell(Input::Cancel { call });
                }
            }
        }
    }

    pub(super) fn submit(&mut self, asks: &Asks) -> CallId {
        let item = self.specs.len() as u64;
        let call = CallId(item);
        let place = match asks.at {
            At::Anywhere => Place::Anywhere,
            // The last one is gone, or never was.
            At::Host(n) => Place::Host(HostId(n as u32 % (self.next_host + 1))),
            At::Worker(n) => Place::Worker(WorkerId(n as u32 % (self.workers.len() as u32 + 1))),
        };
        let options = Options {
            needs: asks.needs.clone(),
            place,
            priority: asks.priority,
            retries: asks.retries,
            io: asks.io,
        };
        self.tell(Input::Submit {
            call,
            item,
            bulky: asks.bulky,
            options: Some(Box::new(options)),
        });
        call
    }

    pub(super) fn new_host(&mut self, room: Resources) -> HostId {
        let host = HostId(self.next_host);
        self.next_host += 1;
        self.set_room(host, room);
        host
    }

    /// As much as the host has it can have.
    pub(super) fn set_room(&mut self, host: HostId, room: Resources) {
        let could = room.clone();
        self.tell(Input::HostRoom { host, room, could });
    }

    pub(super) fn new_worker(&mut self, host: HostId) -> WorkerId {
        let worker = WorkerId(self.workers.len() as u32);
        self.workers.insert(worker, FakeWorker::default());
        self.tell(Input::WorkerReady { worker, host });
        worker
    }

    /// Workers that have crashed, of which the core does not know yet.
    fn dead(&self) -> Vec<WorkerId> {
        let known = self.in_flight.keys().copied();
        known.filter(|id| self.workers[id].dead).collect()
    }

    /// The core learns of the end of a worker.
    pub(super) fn lose(&mut self, worker: WorkerId) {
        self.tell(Input::WorkerLost { worker });
        // What was still on its way comes too late and must change nothing.
        let late = std::mem::take(&mut self.worker(worker).from);
        for report in late {
            self.report(report, false);
        }
    }

    fn worker(&mut self, id: WorkerId) -> &mut FakeWorker {
        self.workers.get_mut(&id).expect("a known worker")
    }

    /// Lets something happen in one of the workers that have not crashed.
    fn with_worker(&mut self, n: usize, f: impl FnOnce(&mut FakeWorker, WorkerId)) {
        if let Some(id) = pick(self.in_flight.keys(), n)
            && !self.workers[&id].dead
        {
            f(self.worker(id), id);
        }
    }

    fn report(&mut self, report: In, twice: bool) {
        self.delivered.push(copy(&report));
        let again = twice.then(|| copy(&report));
        self.tell(report);
        if let Some(again) = again {
            self.tell(again);
        }
    }

    /// Everything that is on its way arrives, and every call that runs ends.
    pub(super) fn round(&mut self, which: usize) {
        for worker in self.dead() {
            let host = self.host_of[&worker];
            self.lose(worker);
            self.new_worker(host);
        }
        for n in 0..self.in_flight.len() {
            self.step(&Step::Receive(n));
            self.step(&Step::Report(n, false));
            self.step(&Step::Finish(n, which));
        }
    }

    /// From now on nothing goes wrong and there is room for everything: every call must end, also
    /// while calls keep coming that come after them.
    pub(super) fn settle(&mut self) {
        if self.hosts.is_empty() {
            self.new_host(Resources::cpus(4));
        }
        for worker in self.suspended.clone() {
            let suspended = false;
            self.tell(Input::Suspend { worker, suspended });
        }
        let hosts: Vec<_> = self.hosts.keys().copied().collect();
        for host in hosts {
            let room = Resources::cpus(4).memory(4).named("gpu", 1);
            self.set_room(host, room);
            self.new_worker(host);
        }
        let endless = Asks {
            priority: i32::MIN,
            ..Asks::default()
        };
        let old = self.specs.len();
        for which in 0..2_000 {
            if self.finished.range(..CallId(old as u64)).count() == old {
                break;
            }
            while self.waiting.len() < 2 * self.in_flight.len() {
                self.submit(&endless);
            }
            self.round(which);
        }
        let ended = self.finished.range(..CallId(old as u64)).count();
        assert_eq!(ended, old, "calls wait for ever");
        for which in 0..20_000 {
            if self.in_flight.values().all(Vec::is_empty) && self.waiting.is_empty() {
                break;
            }
            self.round(which);
        }
        assert_eq!(self.finished.len(), self.specs.len(), "a call was lost");
        assert!(
            self.in_flight.values().all(Vec::is_empty),
            "a call is still there"
        );
        self.core.assert_empty();
    }
}

fn pick<'a, Id: Copy + 'a>(all: impl ExactSizeIterator<Item = &'a Id>, n: usize) -> Option<Id> {
    let len = all.len();
    all.copied().nth(n.checked_rem(len)?)
}
