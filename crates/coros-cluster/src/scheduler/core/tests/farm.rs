//! Many nodes, half of which die at once while results are on their way.

use std::collections::{HashMap, VecDeque};

use super::super::*;

const HOSTS: u32 = 128;
const CORES: u32 = 4;
const CALLS: u64 = 20_000;

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

struct Farm {
    core: Core<u64>,
    /// What each worker has, the first of which runs.
    workers: HashMap<WorkerId, VecDeque<(CallId, u32)>>,
    /// Results that their worker has sent before it died.
    late: Vec<(WorkerId, CallId, u32)>,
    results: HashMap<CallId, u64>,
}

impl Farm {
    fn new() -> Self {
        let mut farm = Farm {
            core: Core::new(Config {
                prefetch: 3,
                bulky_prefetch: 1,
                retries: 3,
                hosts_may_come: true,
            }),
            workers: HashMap::new(),
            late: Vec::new(),
            results: HashMap::new(),
        };
        for host in (0..HOSTS).map(HostId) {
            let room = Resources::cpus(CORES);
            let could = room.clone();
            farm.tell(Input::HostRoom { host, room, could });
            for n in 0..CORES {
                let worker = WorkerId(host.0 * CORES + n);
                farm.workers.insert(worker, VecDeque::new());
                farm.tell(Input::WorkerReady { worker, host });
            }
        }
        farm
    }

    fn tell(&mut self, input: Input<u64, u64>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(input, &mut out);
            self.core.dispatch(&mut out);
            for output in out {
                inputs.extend(self.obey(output));
            }
        }
    }

    /// Does what it is told at once; the answer.
    fn obey(&mut self, output: Output<u64, u64>) -> Option<Input<u64, u64>> {
        match output {
            Output::Start {
                worker,
                call,
                attempt,
            } => {
                let has = self.workers.get_mut(&worker).expect("it is alive");
                has.push_back((call, attempt));
                None
            }
            Output::Revoke {
                worker,
                call,
                attempt,
                ..
            } => {
                let has = self.workers.get_mut(&worker).expect("it is alive");
                let place = has.iter().position(|it| *it == (call, attempt));
                Some(match place {
                    Some(0) | None => Input::Kept {
                        worker,
                        call,
                        attempt,
                    },
                    Some(place) => {
                        has.remove(place);
                        Input::Returned {
                            worker,
                            call,
                            attempt,
                        }
                    }
                })
            }
            Output::Finished { call, outcome, .. } => {
                let Outcome::Done { result, .. } = outcome else {
                    panic!("{call:?}: {outcome:?}")
                };
                let before = self.results.insert(call, result);
                assert_eq!(before, None, "{call:?} has two results");
                None
            }
            Output::Retry { .. } | Output::Unplaceable { .. } => None,
            Output::Kill { .. } | Output::Retired { .. } => panic!("{output:?}"),
        }
    }

    /// Some worker ends what it runs; false when none runs anything.
    fn step(&mut self, dice: &mut Dice) -> bool {
        let busy = self.workers.iter().filter(|(_, has)| !has.is_empty());
        let mut busy: Vec<_> = busy.map(|(id, _)| *id).collect();
        busy.sort_unstable();
        if busy.is_empty() {
            return false;
        }
        let worker = busy[dice.below(busy.len())];
        let has = self.workers.get_mut(&worker).expect("it was just there");
        let (call, attempt) = has.pop_front().expect("it is busy");
        self.tell(done(worker, call, attempt));
        true
    }

    /// A node is gone, some of whose results are still on their way.
    fn kill(&mut self, host: HostId, dice: &mut Dice) {
        for worker in (0..CORES).map(|n| WorkerId(host.0 * CORES + n)) {
            let has = self.workers.remove(&worker).expect("it is alive");
            if let Some((call, attempt)) = has.front()
                && dice.below(2) == 0
            {
                self.late.push((worker, *call, *attempt));
            }
            self.tell(Input::WorkerLost { worker });
        }
        self.tell(Input::HostLost { host });
    }
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
fn when_half_of_the_nodes_die_at_once_every_call_has_one_result() {
    let (mut farm, mut dice) = (Farm::new(), Dice(7));
    for call in (0..CALLS).map(CallId) {
        farm.tell(Input::Submit {
            call,
            item: call.0,
            bulky: false,
            options: None,
        });
    }
    for _ in 0..CALLS / 4 {
        farm.step(&mut dice);
    }
    for host in (0..HOSTS).step_by(2).map(HostId) {
        farm.kill(host, &mut dice);
    }
    assert!(farm.late.len() > 64, "{}", farm.late.len());
    while farm.step(&mut dice) {
        // What comes late is the result of nothing any more.
        if dice.below(20) == 0
            && let Some((worker, call, attempt)) = farm.late.pop()
        {
            farm.tell(done(worker, call, attempt));
        }
    }
    assert_eq!(farm.results.len() as u64, CALLS);
    assert!(farm.results.iter().all(|(call, n)| *n == call.0 * call.0));
    assert_eq!(farm.core.demand().total, 0);
}
