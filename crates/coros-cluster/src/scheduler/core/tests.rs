//! The core against a naive model, in random worlds: messages in both directions are delayed,
//! duplicated and lost with their worker, workers come and go, owners cancel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

type Out = Output<u64, u64>;

/// A worker process as the contract describes it, with its two directions of the link.
#[derive(Default)]
struct FakeWorker {
    slots: usize,
    to: VecDeque<ToWorker>,
    from: VecDeque<Input<u64, u64>>,
    queue: VecDeque<(CallId, u32)>,
    running: Vec<(CallId, u32)>,
    dead: bool,
}

enum ToWorker {
    Start(CallId, u32),
    Revoke(CallId, u32),
}

impl FakeWorker {
    /// Takes the next message off the link.
    fn receive(&mut self, me: WorkerId) {
        match self.to.pop_front() {
            Some(ToWorker::Start(call, attempt)) => self.queue.push_back((call, attempt)),
            Some(ToWorker::Revoke(call, attempt)) => {
                let place = self.queue.iter().position(|it| *it == (call, attempt));
                if let Some(place) = place {
                    self.queue.remove(place);
                    self.from.push_back(Input::Returned {
                        worker: me,
                        call,
                        attempt,
                    });
                } else if self.running.contains(&(call, attempt)) {
                    self.from.push_back(Input::Kept {
                        worker: me,
                        call,
                        attempt,
                    });
                }
            }
            None => {}
        }
        while self.running.len() < self.slots {
            let Some(next) = self.queue.pop_front() else {
                break;
            };
            self.running.push(next);
        }
    }

    /// Ends one of the running calls.
    fn finish(&mut self, me: WorkerId, pick: usize) {
        if !self.running.is_empty() {
            let (call, attempt) = self.running.remove(pick % self.running.len());
            self.from.push_back(Input::Done {
                worker: me,
                call,
                attempt,
                result: call.0 * 10,
            });
        }
        if let Some(next) = self.queue.pop_front() {
            self.running.push(next);
        }
    }
}

fn copy(report: &Input<u64, u64>) -> Input<u64, u64> {
    match *report {
        Input::Done {
            worker,
            call,
            attempt,
            result,
        } => Input::Done {
            worker,
            call,
            attempt,
            result,
        },
        Input::Returned {
            worker,
            call,
            attempt,
        } => Input::Returned {
            worker,
            call,
            attempt,
        },
        Input::Kept {
            worker,
            call,
            attempt,
        } => Input::Kept {
            worker,
            call,
            attempt,
        },
        _ => unreachable!("workers report nothing else"),
    }
}

/// What must hold, kept in the most naive way.
struct World {
    core: Core<u64>,
    config: Config,
    workers: BTreeMap<WorkerId, FakeWorker>,
    next_worker: u32,
    waiting: BTreeSet<CallId>,
    in_flight: BTreeMap<WorkerId, Vec<(CallId, u32)>>,
    suspects: BTreeSet<CallId>,
    cancelled: BTreeSet<CallId>,
    finished: BTreeMap<CallId, Outcome<u64>>,
    losses: BTreeMap<CallId, u32>,
    submitted: u64,
    /// Every report so far, for coming again.
    delivered: Vec<Input<u64, u64>>,
}

impl World {
    fn new(config: Config) -> Self {
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
    fn tell(&mut self, input: Input<u64, u64>) {
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
            Input::Kept { .. } | Input::Close => {}
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

    fn step(&mut self, step: &Step) {
        let pick = |list: &[WorkerId], n: usize| (!list.is_empty()).then(|| list[n % list.len()]);
        let alive: Vec<_> = self.in_flight.keys().copied().collect();
        match *step {
            Step::Submit(n) => {
                for _ in 0..n {
                    let item = self.submitted;
                    self.submitted += 1;
                    self.tell(Input::Submit {
                        call: CallId(item),
                        item,
                    });
                }
            }
            Step::NewWorker(slots) => {
                let worker = WorkerId(self.next_worker);
                self.next_worker += 1;
                self.workers.insert(
                    worker,
                    FakeWorker {
                        slots,
                        ..FakeWorker::default()
                    },
                );
                self.tell(Input::WorkerReady { worker, slots });
            }
            Step::Receive(n) => {
                if let Some(id) = pick(&alive, n) {
                    let worker = self.workers.get_mut(&id).unwrap();
                    if !worker.dead {
                        worker.receive(id);
                    }
                }
            }
            Step::Finish(n, which) => {
                if let Some(id) = pick(&alive, n) {
                    let worker = self.workers.get_mut(&id).unwrap();
                    if !worker.dead {
                        worker.finish(id, which);
                    }
                }
            }
            Step::Report(n, twice) => {
                if let Some(id) = pick(&alive, n)
                    && let Some(report) = self.workers.get_mut(&id).unwrap().from.pop_front()
                {
                    self.report(report, twice);
                }
            }
            Step::Crash(n) => {
                if let Some(id) = pick(&alive, n) {
                    self.workers.get_mut(&id).unwrap().dead = true;
                }
            }
            Step::Lost(n) => {
                let dead: Vec<_> = alive
                    .into_iter()
                    .filter(|id| self.workers[id].dead)
                    .collect();
                if let Some(worker) = pick(&dead, n) {
                    self.tell(Input::WorkerLost { worker });
                    // What was still on its way comes too late and must change nothing.
                    let late = std::mem::take(&mut self.workers.get_mut(&worker).unwrap().from);
                    for report in late {
                        self.report(report, false);
                    }
                }
            }
            Step::Replay(n) => {
                if !self.delivered.is_empty() {
                    let old = copy(&self.delivered[n % self.delivered.len()]);
                    self.tell(old);
                }
            }
            Step::Cancel(n) => {
                if self.submitted > 0 {
                    self.tell(Input::Cancel {
                        call: CallId(n as u64 % self.submitted),
                    });
                }
            }
        }
    }

    fn report(&mut self, report: Input<u64, u64>, twice: bool) {
        self.delivered.push(copy(&report));
        let again = twice.then(|| copy(&report));
        self.tell(report);
        if let Some(again) = again {
            self.tell(again);
        }
    }

    /// From now on nothing goes wrong: everything must end.
    fn settle(&mut self) {
        while let Some(dead) = self.in_flight.keys().position(|id| self.workers[id].dead) {
            let id = *self.in_flight.keys().nth(dead).unwrap();
            self.tell(Input::WorkerLost { worker: id });
        }
        if self.in_flight.is_empty() {
            self.step(&Step::NewWorker(1));
        }
        for round in 0..10_000 {
            if self.finished.len() as u64 == self.submitted {
                break;
            }
            for n in 0..self.in_flight.len() {
                self.step(&Step::Receive(n));
                self.step(&Step::Report(n, false));
                self.step(&Step::Finish(n, round));
            }
        }
        for n in 0..self.in_flight.len() {
            for _ in 0..1_000 {
                self.step(&Step::Receive(n));
                self.step(&Step::Finish(n, 0));
                self.step(&Step::Report(n, false));
            }
        }
        assert_eq!(
            self.finished.len() as u64,
            self.submitted,
            "a call was lost"
        );
        assert!(self.in_flight.values().all(Vec::is_empty), "a slot leaked");
        let core = &self.core;
        assert!(core.calls.is_empty() && core.fresh.is_empty() && core.returned.is_empty());
        for worker in core.workers.values() {
            assert!(worker.in_flight.is_empty() && worker.revoked == 0 && !worker.reserved);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit(u64),
    NewWorker(usize),
    Receive(usize),
    Finish(usize, usize),
    Report(usize, bool),
    Crash(usize),
    Lost(usize),
    Cancel(usize),
    /// An old report comes once more.
    Replay(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..8u64).prop_map(Step::Submit),
        1 => (1..4usize).prop_map(Step::NewWorker),
        10 => any::<usize>().prop_map(Step::Receive),
        10 => any::<(usize, usize)>().prop_map(|(n, which)| Step::Finish(n, which)),
        10 => any::<(usize, bool)>().prop_map(|(n, twice)| Step::Report(n, twice)),
        1 => any::<usize>().prop_map(Step::Crash),
        1 => any::<usize>().prop_map(Step::Lost),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Replay),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_no_slot_leaks(
        prefetch in 0..6usize, retries in 0..4u32, steps in steps()
    ) {
        let mut world = World::new(Config { prefetch, retries });
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}

/// A world with workers of one slot each, and so many calls submitted.
fn world(workers: usize, prefetch: usize, retries: u32, calls: u64) -> World {
    let mut world = World::new(Config { prefetch, retries });
    for _ in 0..workers {
        world.step(&Step::NewWorker(1));
    }
    world.step(&Step::Submit(calls));
    world
}

#[test]
fn slots_fill_before_anything_is_prefetched() {
    let world = world(3, 2, 1, 5);
    let loads: Vec<_> = world.in_flight.values().map(Vec::len).collect();
    assert_eq!(loads, [2, 2, 1]);
}

#[test]
fn what_waits_behind_a_long_call_goes_to_an_idle_worker() {
    let mut world = world(2, 4, 1, 4);
    // Worker 1 is through with both of its calls while worker 0 is still in its first.
    for _ in 0..2 {
        world.step(&Step::Receive(0));
        world.step(&Step::Receive(1));
    }
    for _ in 0..2 {
        world.step(&Step::Finish(1, 0));
        world.step(&Step::Report(1, false));
    }
    world.step(&Step::Receive(0));
    world.step(&Step::Report(0, false));
    assert_eq!(world.in_flight[&WorkerId(1)], [(CallId(2), 2)]);
}

#[test]
fn cancelled_calls_do_not_hide_those_that_wait() {
    // Worker 0 has two slots and a call behind them, worker 1 only a cancelled one.
    let mut world = World::new(Config {
        prefetch: 1,
        retries: 1,
    });
    world.step(&Step::NewWorker(2));
    world.step(&Step::Submit(5));
    world.step(&Step::NewWorker(1));
    world.tell(Input::Cancel { call: CallId(4) });
    world.step(&Step::NewWorker(1));
    world.settle();
}

#[test]
fn a_call_that_kills_workers_takes_nobody_with_it() {
    let mut world = world(1, 8, 2, 6);
    let poison = CallId(2);
    for round in 0..40 {
        world.step(&Step::Receive(0));
        let (id, list) = world.in_flight.first_key_value().expect("one worker");
        let (id, running) = (*id, list.first().copied());
        if running.is_some_and(|(call, _)| call == poison) {
            world.tell(Input::WorkerLost { worker: id });
            world.step(&Step::NewWorker(1));
        } else {
            world.step(&Step::Finish(0, round));
            world.step(&Step::Report(0, false));
        }
    }
    assert!(matches!(
        world.finished[&poison],
        Outcome::Abandoned { losses: 3, .. }
    ));
    let done = world
        .finished
        .values()
        .filter(|o| matches!(o, Outcome::Done { .. }))
        .count();
    assert_eq!(done, 5, "{:?}", world.finished);
}

#[test]
fn a_late_result_of_an_earlier_attempt_is_ignored() {
    let mut world = world(1, 0, 3, 1);
    world.tell(Input::WorkerLost {
        worker: WorkerId(0),
    });
    world.step(&Step::NewWorker(1));
    let late = Input::Done {
        worker: WorkerId(0),
        call: CallId(0),
        attempt: 1,
        result: 0,
    };
    world.tell(late);
    assert!(world.finished.is_empty());
    assert_eq!(world.in_flight[&WorkerId(1)], [(CallId(0), 2)]);
}

#[test]
fn closing_ends_every_call() {
    let mut world = world(1, 1, 1, 5);
    world.tell(Input::Close);
    assert_eq!(world.finished.len(), 5);
    assert!(
        world
            .finished
            .values()
            .all(|outcome| *outcome == Outcome::Closed)
    );
}
