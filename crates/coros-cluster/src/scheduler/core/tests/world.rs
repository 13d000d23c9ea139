//! The core against a naive model: what there is, and what must be of every answer.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    CallId, Config, Core, HostId, Input, Options, Outcome, Output, Place, Rank, WorkerId,
};
use super::worker::{FakeWorker, In, ToWorker};
use crate::resources::Resources;

type Out = Output<u64, u64>;

/// What there is, kept in the most naive way.
pub(super) struct World {
    pub(super) core: Core<u64>,
    pub(super) config: Config,
    pub(super) workers: BTreeMap<WorkerId, FakeWorker>,
    pub(super) hosts: BTreeMap<HostId, Resources>,
    pub(super) next_host: u32,
    pub(super) host_of: BTreeMap<WorkerId, HostId>,
    pub(super) specs: BTreeMap<CallId, Options>,
    pub(super) waiting: BTreeSet<Rank>,
    /// What has been sent to each worker that is there, in order, and has not come back.
    pub(super) in_flight: BTreeMap<WorkerId, Vec<(CallId, u32)>>,
    /// Of these, what has been asked back.
    pub(super) asked: BTreeSet<(CallId, u32)>,
    pub(super) suspects: BTreeSet<CallId>,
    pub(super) bulky: BTreeSet<CallId>,
    /// Nobody waits for a host that has room for these.
    given_up: BTreeSet<CallId>,
    cancelled: BTreeSet<CallId>,
    pub(super) unplaceable: BTreeSet<CallId>,
    pub(super) suspended: BTreeSet<WorkerId>,
    pub(super) retiring: BTreeSet<WorkerId>,
    pub(super) retired: BTreeSet<WorkerId>,
    pub(super) doomed: BTreeSet<WorkerId>,
    pub(super) finished: BTreeMap<CallId, Outcome<u64>>,
    /// How many lost workers each call was on.
    losses: BTreeMap<CallId, u32>,
    /// Calls whose worker has just been lost, and that have to run again or end.
    lost: BTreeSet<CallId>,
    /// Every report so far, for coming again.
    pub(super) delivered: Vec<In>,
}

impl World {
    pub(super) fn new(prefetch: usize, retries: u32, hosts_may_come: bool) -> Self {
        let config = Config {
            prefetch,
            bulky_prefetch: prefetch.min(2),
            retries,
            hosts_may_come,
        };
        World {
            core: Core::new(config),
            config,
            workers: BTreeMap::new(),
            hosts: BTreeMap::new(),
            next_host: 0,
            host_of: BTreeMap::new(),
            specs: BTreeMap::new(),
            waiting: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            asked: BTreeSet::new(),
            suspects: BTreeSet::new(),
            bulky: BTreeSet::new(),
            given_up: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            unplaceable: BTreeSet::new(),
            suspended: BTreeSet::new(),
            retiring: BTreeSet::new(),
            retired: BTreeSet::new(),
            doomed: BTreeSet::new(),
            finished: BTreeMap::new(),
            losses: BTreeMap::new(),
            lost: BTreeSet::new(),
            delivered: Vec::new(),
        }
    }

    /// Notes an input in the model, hands it to the core, and checks what the core answers.
    pub(super) fn tell(&mut self, input: In) {
        self.note(&input);
        let mut out = Vec::new();
        self.core.handle(input, &mut out);
        let decided = out.len();
        self.core.dispatch(&mut out);
        for (place, output) in out.into_iter().enumerate() {
            self.take(output, place >= decided);
        }
        assert!(self.lost.is_empty(), "{:?} are nowhere", self.lost);
        self.check_everything();
    }

    pub(super) fn rank(&self, call: CallId) -> Rank {
        Rank::new(self.specs[&call].priority, call)
    }

    pub(super) fn is_io(&self, call: CallId) -> bool {
        self.specs[&call].io
    }

    pub(super) fn retries(&self, call: CallId) -> u32 {
        self.specs[&call].retries.unwrap_or(self.config.retries)
    }

    pub(super) fn is_wanted(&self, call: CallId) -> bool {
        !self.finished.contains_key(&call)
    }

    /// Whom there is hope for now is told when there is none again.
    fn note_hope(&mut self) {
        let mut told = std::mem::take(&mut self.unplaceable);
        let any = self.hosts.is_empty();
        told.retain(|call| {
            let nobody_knows = any && self.specs[call].place == Place::Anywhere;
            !nobody_knows && self.holding(*call).is_empty()
        });
        self.unplaceable = told;
    }

    fn note(&mut self, input: &In) {
        match input {
            Input::Submit {
                call,
                options,
                bulky,
                ..
            } => {
                if *bulky {
                    self.bulky.insert(*call);
                }
                let options = options.as_deref().cloned().unwrap_or_default();
                self.specs.insert(*call, options);
                self.waiting.insert(self.rank(*call));
            }
            Input::HostRoom { host, could, .. } => {
                self.hosts.insert(*host, could.clone());
                self.note_hope();
            }
            Input::HostLost { host } => {
                let workers = self.host_of.iter().filter(|(_, of)| *of == host);
                let workers: Vec<_> = workers.map(|(worker, _)| *worker).collect();
                for worker in workers {
                    self.note_loss(worker);
                }
                self.hosts.remove(host);
                self.note_hope();
            }
            Input::WorkerReady { worker, host } => {
                self.in_flight.insert(*worker, Vec::new());
                self.host_of.insert(*worker, *host);
            }
            Input::Suspend { worker, suspended } => {
                self.suspended.remove(worker);
                self.suspended.extend(suspended.then_some(*worker));
            }
            Input::Retire { worker } => {
                self.retiring.insert(*worker);
            }
            Input::Done {
                worker,
                call,
                attempt,
                ..
            }
            | Input::TimedOut {
                worker,
                call,
                attempt,
            } => {
                self.leave(*worker, *call, *attempt);
            }
            Input::Returned {
                worker,
                call,
                attempt,
            } => {
                if self.leave(*worker, *call, *attempt) && self.is_wanted(*call) {
                    self.waiting.insert(self.rank(*call));
                }
            }
            Input::Kept { call, attempt, .. } => {
                self.asked.remove(&(*call, *attempt));
            }
            Input::WorkerLost { worker } => self.note_loss(*worker),
            Input::Cancel { call } => {
                if self.specs.contains_key(call) && self.is_wanted(*call) {
                    self.cancelled.insert(*call);
                    self.waiting.remove(&self.rank(*call));
                }
            }
            Input::GiveUp => {
                let calls: Vec<_> = self.specs.keys().copied().collect();
                let wanted = calls.into_iter().filter(|call| self.is_wanted(*call));
                self.cancelled.extend(wanted.collect::<Vec<_>>());
                self.waiting.clear();
            }
            Input::NoneCame { call } => drop(self.given_up.insert(*call)),
            Input::Stuck { .. } | Input::Close => {}
        }
    }

    fn note_loss(&mut self, worker: WorkerId) {
        self.host_of.remove(&worker);
        self.retiring.remove(&worker);
        self.suspended.remove(&worker);
        for it in self.in_flight.remove(&worker).unwrap_or_default() {
            let call = it.0;
            self.asked.remove(&it);
            *self.losses.entry(call).or_default() += 1;
            if self.is_wanted(call) {
                self.lost.insert(call);
            }
            if !self.doomed.contains(&worker) && !self.is_io(call) {
                self.suspects.insert(call);
            }
        }
    }

    fn leave(&mut self, worker: WorkerId, call: CallId, attempt: u32) -> bool {
        let Some(list) = self.in_flight.get_mut(&worker) else {
            return false;
        };
        let before = list.len();
        list.retain(|it| *it != (call, attempt));
        let left = list.len() < before;
        if left {
            self.asked.remove(&(call, attempt));
        }
        left
    }

    fn take(&mut self, output: Out, dispatching: bool) {
        match output {
            Output::Start {
                worker,
                call,
                attempt,
            } => {
                assert!(dispatching);
                assert_eq!(self.core.item(call), Some(&call.0));
                let rank = self.rank(call);
                assert!(self.waiting.remove(&rank), "{call:?} does not wait");
                self.check_start(rank, worker);
                let list = self.in_flight.get_mut(&worker).expect("a live worker");
                list.push((call, attempt));
                let io = self.is_io(call);
                self.send(worker, ToWorker::Start { rank, attempt, io });
            }
            Output::Revoke {
                worker,
                call,
                attempt,
                abort,
            } => {
                assert!(self.in_flight[&worker].contains(&(call, attempt)));
                assert_eq!(abort, self.cancelled.contains(&call));
                if !abort {
                    assert!(self.asked.insert((call, attempt)), "asked twice");
                }
                let message = ToWorker::Revoke {
                    call,
                    attempt,
                    abort,
                };
                self.send(worker, message);
            }
            Output::Kill {
                worker,
                call,
                timed_out,
            } => {
                let done = matches!(self.finished.get(&call), Some(Outcome::Done { .. }));
                assert_eq!(timed_out, !self.cancelled.contains(&call) && !done);
                assert!(!self.is_wanted(call), "who wants it has to know");
                assert!(self.doomed.insert(worker), "killed twice");
                self.workers.get_mut(&worker).expect("a known worker").dead = true;
            }
            Output::Retry { call, .. } => {
                assert!(self.lost.remove(&call));
                self.waiting.insert(self.rank(call));
            }
            Output::Unplaceable { call } => {
                assert!(self.config.hosts_may_come);
                assert!(self.unplaceable.insert(call), "told twice");
                assert!(self.holding(call).is_empty());
            }
            Output::Retired { worker } => {
                assert!(self.retiring.contains(&worker));
                assert!(self.retired.insert(worker), "told twice");
            }
            Output::Finished {
                call,
                item,
                outcome,
            } => {
                assert_eq!(item, call.0);
                self.check_outcome(call, &outcome);
                self.lost.remove(&call);
                self.waiting.remove(&self.rank(call));
                let before = self.finished.insert(call, outcome);
                assert_eq!(before, None, "{call:?} finished twice");
            }
        }
    }

    fn check_outcome(&self, call: CallId, outcome: &Outcome<u64>) {
        match outcome {
            Outcome::Done {
                result, attempts, ..
            } => {
                assert_eq!(*result, call.0 * 10);
                assert!(*attempts > 0);
            }
            Outcome::TimedOut { attempts, .. } => assert!(*attempts > 0),
            Outcome::Abandoned { losses, .. } => {
                assert!(self.lost.contains(&call));
                assert_eq!(*losses, self.retries(call) + 1);
                assert!(self.losses[&call] >= *losses);
            }
            Outcome::TargetLost { .. } => {
                assert!(!self.is_there(self.specs[&call].place));
            }
            Outcome::NoRoom { needs } => {
                assert!(!self.config.hosts_may_come || self.given_up.contains(&call));
                assert_eq!(*needs, self.specs[&call].needs);
                assert!(self.holding(call).is_empty());
            }
            Outcome::Cancelled => assert!(self.cancelled.contains(&call)),
            Outcome::Closed => {}
        }
    }

    /// Whether calls for this place are not in vain.
    fn is_there(&self, place: Place) -> bool {
        match place {
            Place::Anywhere => true,
            Place::Host(host) => self.hosts.contains_key(&host),
            Place::Worker(worker) => self.takes_calls(worker),
        }
    }

    pub(super) fn takes_calls(&self, worker: WorkerId) -> bool {
        self.in_flight.contains_key(&worker)
            && !self.retiring.contains(&worker)
            && !self.doomed.contains(&worker)
    }

    /// Whether calls may go there now.
    pub(super) fn is_open(&self, worker: WorkerId) -> bool {
        self.takes_calls(worker) && !self.suspended.contains(&worker)
    }

    /// What waits is known to be able to run some day, or has been told that it is not.
    pub(super) fn check_waiting(&self) {
        for rank in &self.waiting {
            let spec = &self.specs[&rank.call];
            let known = match spec.place {
                Place::Anywhere => !self.hosts.is_empty(),
                Place::Host(host) => {
                    assert!(self.hosts.contains_key(&host), "it waits for nobody");
                    true
                }
                Place::Worker(worker) => {
                    let there = self.is_there(spec.place) || self.doomed.contains(&worker);
                    assert!(
                        there && self.in_flight.contains_key(&worker),
                        "it waits for nobody"
                    );
                    true
                }
            };
            if known && !spec.io && self.holding(rank.call).is_empty() {
                assert!(
                    self.unplaceable.contains(&rank.call),
                    "nobody knows that it waits"
                );
            }
        }
        for worker in &self.retiring {
            let done = self.in_flight[worker].is_empty();
            assert_eq!(done, self.retired.contains(worker));
        }
    }

    fn send(&mut self, worker: WorkerId, message: ToWorker) {
        let worker = self.workers.get_mut(&worker).expect("a known worker");
        worker.to.push_back(message);
    }
}
