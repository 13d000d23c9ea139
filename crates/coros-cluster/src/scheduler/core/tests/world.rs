//! The core against a naive model: what must hold after every input, whatever comes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{CallId, Config, Core, Input, Outcome, Output, State, WorkerId};
use super::worker::{FakeWorker, ToWorker};

type Out = Output<u64, u64>;

/// What must hold, kept in the most naive way.
pub(super) struct World {
    pub(super) core: Core<u64>,
    config: Config,
    pub(super) workers: BTreeMap<WorkerId, FakeWorker>,
    pub(super) next_worker: u32,
    waiting: BTreeSet<CallId>,
    pub(super) in_flight: BTreeMap<WorkerId, Vec<(CallId, u32)>>,
    suspects: BTreeSet<CallId>,
    cancelled: BTreeSet<CallId>,
    pub(super) finished: BTreeMap<CallId, Outcome<u64>>,
    losses: BTreeMap<CallId, u32>,
    pub(super) submitted: u64,
    /// Every report so far, for coming again.
    pub(super) delivered: Vec<Input<u64, u64>>,
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        World {
            core: Core::new(config),
            config,
            workers: BTreeMap::new(),
            next_worker: 0,
            waiting: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            suspects: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            finished: BTreeMap::new(),
            losses: BTreeMap::new(),
            submitted: 0,
            delivered: Vec::new(),
        }
    }

    /// Notes an input in the model, hands it to the core, and checks what the core answers.
    pub(super) fn tell(&mut self, input: Input<u64, u64>) {
        self.note(&input);
        let mut out = Vec::new();
        self.core.handle(input, &mut out);
        let decided = out.len();
        self.core.dispatch(&mut out);
        for (place, output) in out.into_iter().enumerate() {
            self.check(output, place >= decided);
        }
        self.check_idle();
    }

    fn note(&mut self, input: &Input<u64, u64>) {
        match input {
            Input::Submit { call, .. } => {
                self.waiting.insert(*call);
            }
            Input::WorkerReady { worker, .. } => {
                self.in_flight.insert(*worker, Vec::new());
            }
            Input::Done {
                worker,
                call,
                attempt,
                ..
            } => {
                self.leave(*worker, *call, *attempt);
            }
            Input::Returned {
                worker,
                call,
                attempt,
            } => {
                let here = self.leave(*worker, *call, *attempt);
                if here && !self.cancelled.contains(call) {
                    self.waiting.insert(*call);
                }
            }
            Input::WorkerLost { worker } => {
                let slots = self.workers[worker].slots;
                let lost = self.in_flight.remove(worker).unwrap_or_default();
                for (place, (call, _)) in lost.into_iter().enumerate() {
                    self.suspects.insert(call);
                    let losses = self.losses.entry(call).or_default();
                    *losses += u32::from(place < slots);
                    if *losses <= self.config.retries && !self.cancelled.contains(&call) {
                        self.waiting.insert(call);
                    }
                }
            }
            Input::Cancel { call } => {
                if !self.finished.contains_key(call) && call.0 < self.submitted {
                    self.cancelled.insert(*call);
                    self.waiting.remove(call);
                }
            }
            Input::Kept { .. } | Input::Retire { .. } | Input::Close => {}
        }
    }

    fn leave(&mut self, worker: WorkerId, call: CallId, attempt: u32) -> bool {
        let Some(list) = self.in_flight.get_mut(&worker) else {
            return false;
        };
        let before = list.len();
        list.retain(|it| *it != (call, attempt));
        list.len() < before
    }

    fn check(&mut self, output: Out, dispatching: bool) {
        match output {
            Output::Retired { .. } => panic!("nobody retires"),
            Output::Start {
                worker,
                call,
                attempt,
            } => {
                assert!(dispatching);
                assert_eq!(
                    self.waiting.pop_first(),
                    Some(call),
                    "the oldest goes first"
                );
                assert_eq!(self.core.item(call), Some(&call.0));
                let list = self.in_flight.get_mut(&worker).expect("a live worker");
                let alone = list.iter().any(|(call, _)| self.suspects.contains(call));
                assert!(!alone, "a suspect runs alone");
                assert!(
                    !self.suspects.contains(&call) || list.is_empty(),
                    "a suspect runs alone"
                );
                list.push((call, attempt));
                let slots = self.workers[&worker].slots;
                let prefetch = if self.config.retries == 0 {
                    0
                } else {
                    self.config.prefetch
                };
                assert!(
                    list.len() <= slots + prefetch,
                    "{worker:?} is over-committed"
                );
                self.send(worker, ToWorker::Start(call, attempt));
            }
            Output::Revoke {
                worker,
                call,
                attempt,
                abort,
            } => {
                assert!(self.in_flight[&worker].contains(&(call, attempt)));
                assert_eq!(abort, self.cancelled.contains(&call));
                self.send(worker, ToWorker::Revoke(call, attempt));
            }
            Output::Retry { call, .. } => assert!(self.suspects.contains(&call)),
            Output::Finished {
                call,
                item,
                outcome,
            } => {
                assert_eq!(item, call.0);
                match &outcome {
                    Outcome::Done {
                        result, attempts, ..
                    } => {
                        assert_eq!(*result, call.0 * 10);
                        assert!(*attempts > 0);
                    }
                    Outcome::Abandoned { losses, .. } => {
                        assert_eq!(*losses, self.config.retries + 1);
                        assert_eq!(self.losses[&call], *losses);
                    }
                    Outcome::Cancelled => assert!(self.cancelled.contains(&call)),
                    Outcome::Closed => {}
                }
                let before = self.finished.insert(call, outcome);
                assert_eq!(before, None, "{call:?} finished twice");
            }
        }
    }

    /// Nothing waits here, and nothing waits behind a running call, while a worker is free.
    fn check_idle(&self) {
        let free = |(worker, list): (&WorkerId, &Vec<(CallId, u32)>)| {
            let reserved = list.iter().any(|(call, _)| self.suspects.contains(call));
            let slots = self.workers[worker].slots;
            if reserved {
                0
            } else {
                slots.saturating_sub(list.len())
            }
        };
        let idle: usize = self.in_flight.iter().map(free).sum();
        match self.waiting.first() {
            Some(first) if self.suspects.contains(first) => {
                assert!(self.in_flight.values().all(|list| !list.is_empty()));
            }
            Some(_) => assert_eq!(idle, 0, "a call waits beside a free slot"),
            None => {
                let behind = self.in_flight.iter().flat_map(|(worker, list)| {
                    let behind = list.iter().skip(self.workers[worker].slots);
                    behind.filter(|(call, _)| {
                        let home = State::InFlight {
                            worker: *worker,
                            revoked: false,
                        };
                        !self.cancelled.contains(call) && self.core.calls[call].state == home
                    })
                });
                let behind = behind.count();
                let coming: usize = self.core.workers.values().map(|w| w.revoked).sum();
                assert!(
                    behind == 0 || coming >= idle,
                    "calls wait behind, slots are free"
                );
            }
        }
    }

    fn send(&mut self, worker: WorkerId, message: ToWorker) {
        self.workers
            .get_mut(&worker)
            .expect("a known worker")
            .to
            .push_back(message);
    }
}
