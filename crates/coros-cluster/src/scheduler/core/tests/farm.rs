//! Many nodes, half of which die at once, whatever their calls are about.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;

const SEEDS: u64 = 10;
const HOSTS: u32 = 128;
const CORES: u32 = 2;
const CALLS: u64 = 800;
/// Of the highest priority, submitted last.
const URGENT: u64 = 100;

/// A number that looks random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// What a worker is told.
#[derive(Clone, Copy)]
enum Order {
    Start(CallId, u32),
    Revoke(CallId, u32, bool),
}

#[derive(Default)]
struct Worker {
    /// What it has not heard yet.
    orders: VecDeque<Order>,
    /// The first of which runs.
    has: VecDeque<(CallId, u32)>,
}

/// Of how many calls that were on the way at a node that died.
#[derive(Debug, Default)]
struct Lost {
    unheard: usize,
    running: usize,
    behind: usize,
    asked_back: usize,
    waiting: usize,
}

struct Farm {
    dice: Dice,
    core: Core<u64>,
    /// By their numbers; those that are gone are `None`.
    workers: Vec<Option<Worker>>,
    alive: Vec<WorkerId>,
    /// Results that their worker has sent before it died.
    late: Vec<(WorkerId, CallId, u32)>,
    cancelled: BTreeSet<CallId>,
    outcomes: BTreeMap<CallId, Outcome<u64>>,
}

impl Farm {
    fn new(seed: u64) -> Self {
        let mut farm = Farm {
            dice: Dice(seed),
            core: Core::new(Config {
                prefetch: 3,
                bulky_prefetch: 1,
                retries: 3,
                hosts_may_come: true,
            }),
            workers: Vec::new(),
            alive: Vec::new(),
            late: Vec::new(),
            cancelled: BTreeSet::new(),
            outcomes: BTreeMap::new(),
        };
        for host in (0..HOSTS).map(HostId) {
            let room = Resources::cpus(CORES);
            let could = room.clone();
            farm.tell([Input::HostRoom { host, room, could }]);
            for worker in workers_of(host) {
                farm.workers.push(Some(Worker::default()));
                farm.alive.push(worker);
                farm.tell([Input::WorkerReady { worker, host }]);
            }
        }
        farm
    }

    /// All of it in one turn.
    fn tell(&mut self, inputs: impl IntoIterator<Item = Input<u64, u64>>) {
        let mut out = Vec::new();
        for input in inputs {
            self.core.handle(input, &mut out);
        }
        self.core.dispatch(&mut out);
        for output in out {
            self.obey(output);
        }
    }

    fn obey(&mut self, output: Output<u64, u64>) {
        match output {
            Output::Start {
                worker,
                call,
                attempt,
            } => {
                let worker = self.worker(worker).expect("it is alive");
                worker.orders.push_back(Order::Start(call, attempt));
            }
            Output::Revoke {
                worker,
                call,
                attempt,
                abort,
            } => {
                // One that dies in the same turn hears nothing any more.
                if let Some(worker) = self.worker(worker) {
                    let order = Order::Revoke(call, attempt, abort);
                    worker.orders.push_back(order);
                }
            }
            Output::Finished { call, outcome, .. } => {
                let before = self.outcomes.insert(call, outcome);
                assert_eq!(before, None, "{call:?} ends twice");
            }
            Output::Retry { .. } => {}
            Output::Kill { .. } | Output::Retired { .. } | Output::Unplaceable { .. } => {
                panic!("{output:?}")
            }
        }
    }

    /// One that is alive.
    fn worker(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers[id.0 as usize].as_mut()
    }

    fn submit(&mut self, call: CallId) {
        self.tell([Input::Submit {
            call,
            item: call.0,
            bulky: call.0.is_multiple_of(7),
            options: options(call),
        }]);
    }

    fn cancel(&mut self) {
        let call = CallId(self.dice.below(CALLS as usize) as u64);
        if !self.outcomes.contains_key(&call) {
            self.cancelled.insert(call);
            self.tell([Input::Cancel { call }]);
        }
    }

    /// Some worker hears something, or ends what it runs; false when none has anything to do.
    fn step(&mut self) -> bool {
        let n = self.alive.len();
        let first = self.dice.below(n);
        let mut workers = (first..first + n).map(|it| self.alive[it % n]);
        let busy = workers.find(|id| {
            let it = self.workers[id.0 as usize].as_ref();
            it.is_some_and(|it| !it.orders.is_empty() || !it.has.is_empty())
        });
        let Some(id) = busy else {
            return false;
        };
        let hears = self.dice.below(3) > 0;
        let worker = self.worker(id).expect("it is alive");
        if worker.orders.is_empty() || !(hears || worker.has.is_empty()) {
            let (call, attempt) = worker.has.pop_front().expect("it is busy");
            self.tell([done(id, call, attempt)]);
        } else {
            let answers = worker.hear(id);
            self.tell(answers);
        }
        true
    }

    /// Half of the nodes are gone, before anybody does anything about any of them. Some of their results are still on
    /// their way. Gives which calls cannot be begun again.
    fn half_dies(&mut self, lost: &mut Lost) -> BTreeSet<CallId> {
        let mut hosts: Vec<_> = (0..HOSTS).map(HostId).collect();
        for n in (1..hosts.len()).rev() {
            hosts.swap(n, self.dice.below(n + 1));
        }
        hosts.truncate(HOSTS as usize / 2);
        let (mut abandoned, mut inputs) = (BTreeSet::new(), Vec::new());
        for host in hosts {
            for worker in workers_of(host) {
                let it = self.workers[worker.0 as usize].take();
                let it = it.expect("it is alive");
                let unheard = it.orders.iter().filter_map(|order| match order {
                    Order::Start(call, attempt) => Some((*call, *attempt)),
                    Order::Revoke(..) => None,
                });
                let unheard: Vec<_> = unheard.collect();
                lost.running += usize::from(!it.has.is_empty());
                lost.behind += it.has.len().saturating_sub(1);
                lost.unheard += unheard.len();
                lost.asked_back += it.orders.len() - unheard.len();
                for (call, attempt) in it.has.into_iter().chain(unheard) {
                    if self.dice.below(2) == 0 {
                        self.late.push((worker, call, attempt));
                    }
                    if runs_once(call) && !self.outcomes.contains_key(&call) {
                        abandoned.insert(call);
                    }
                }
                inputs.push(Input::WorkerLost { worker });
            }
            inputs.push(Input::HostLost { host });
        }
        self.alive
            .retain(|id| self.workers[id.0 as usize].is_some());
        lost.waiting += self.core.count().1;
        self.tell(inputs);
        abandoned
    }

    /// Whoever is left has nothing, and each can begin something.
    fn all_slots_are_free(&mut self) {
        assert!(!self.core.has_calls());
        assert_eq!(self.core.demand().total, 0);
        for n in 0..self.alive.len() as u64 {
            self.submit(CallId(CALLS + URGENT + n));
        }
        for worker in self.workers.iter().flatten() {
            assert_eq!(worker.orders.len(), 1);
        }
    }
}

impl Worker {
    /// What it answers to all that it is told.
    fn hear(&mut self, worker: WorkerId) -> Vec<Input<u64, u64>> {
        let mut answers = Vec::new();
        for order in self.orders.drain(..) {
            let (call, attempt, abort) = match order {
                Order::Start(call, attempt) => {
                    self.has.push_back((call, attempt));
                    continue;
                }
                Order::Revoke(call, attempt, abort) => (call, attempt, abort),
            };
            let place = self.has.iter().position(|it| *it == (call, attempt));
            if let Some(place) = place.filter(|place| *place > 0 || abort) {
                self.has.remove(place);
                answers.push(Input::Returned {
                    worker,
                    call,
                    attempt,
                });
            } else {
                answers.push(Input::Kept {
                    worker,
                    call,
                    attempt,
                });
            }
        }
        answers
    }
}

fn workers_of(host: HostId) -> impl Iterator<Item = WorkerId> {
    (0..CORES).map(move |n| WorkerId(host.0 * CORES + n))
}

fn runs_once(call: CallId) -> bool {
    call.0 < CALLS && call.0 % 10 == 1
}

/// There are calls of all kinds.
fn options(call: CallId) -> Option<Box<Options>> {
    let mut options = Options::default();
    match call.0 % 10 {
        _ if call.0 >= CALLS + URGENT => return None,
        _ if call.0 >= CALLS => options.priority = 2,
        _ if runs_once(call) => options.retries = Some(0),
        2 => options.needs = Resources::cpus(1 + call.0 as u32 / 10 % CORES),
        3 => options.priority = 1,
        4 => {
            options.io = true;
            options.needs = Resources::default();
        }
        _ => return None,
    }
    Some(Box::new(options))
}

fn done(worker: WorkerId, call: CallId, attempt: u32) -> Input<u64, u64> {
    Input::Done {
        worker,
        call,
        attempt,
        result: call.0 * call.0,
    }
}

#[test]
fn when_half_of_the_nodes_die_at_once_every_call_ends_once() {
    let mut lost = Lost::default();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut farm = Farm::new(seed);
        (0..CALLS).for_each(|call| farm.submit(CallId(call)));
        for _ in 0..farm.dice.below(2 * CALLS as usize) {
            farm.step();
            if farm.dice.below(50) == 0 {
                farm.cancel();
            }
        }
        (CALLS..CALLS + URGENT).for_each(|call| farm.submit(CallId(call)));
        let abandoned = farm.half_dies(&mut lost);
        while farm.step() {
            // What comes late is the result of nothing any more.
            if farm.dice.below(5) == 0
                && let Some((worker, call, attempt)) = farm.late.pop()
            {
                farm.tell([done(worker, call, attempt)]);
            }
        }
        assert_eq!(farm.outcomes.len() as u64, CALLS + URGENT);
        for (call, outcome) in &farm.outcomes {
            let is_right = match outcome {
                Outcome::Abandoned { losses, .. } => *losses == 1 && abandoned.contains(call),
                Outcome::Cancelled => farm.cancelled.contains(call),
                Outcome::Done { result, .. } => {
                    *result == call.0 * call.0
                        && !abandoned.contains(call)
                        && !farm.cancelled.contains(call)
                }
                _ => false,
            };
            assert!(is_right, "{call:?}: {outcome:?}");
        }
        farm.all_slots_are_free();
    }
    let Lost {
        unheard,
        running,
        behind,
        asked_back,
        waiting,
    } = lost;
    for some in [unheard, running, behind, asked_back, waiting] {
        assert!(some > 50, "{lost:?}");
    }
}
