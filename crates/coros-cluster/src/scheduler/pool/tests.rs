//! The pool in virtual time.

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);

struct Clock {
    pool: Pool,
    now: Instant,
}

impl Clock {
    fn new(wanted: usize) -> Self {
        Clock::with(wanted, |_| ())
    }

    fn with(wanted: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            start_limit: LIMIT,
            grace: GRACE,
            prepares: false,
            tidies_up: false,
            far: false,
        };
        change(&mut config);
        let pool = Pool::new(config, WorkerIds::default());
        let now = Instant::now();
        let mut clock = Clock { pool, now };
        assert_eq!(clock.tell(Input::Want { workers: wanted }), []);
        clock
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.pool.handle(self.now, input, &mut out);
        out
    }

    /// Goes on to the next deadline.
    fn wait(&mut self) -> Vec<Output> {
        self.now = self
            .pool
            .deadline()
            .expect("something is due")
            .max(self.now);
        self.tell(Input::Tick)
    }

    fn end(&mut self, n: u32) -> Vec<Output> {
        self.tell(Input::Ended {
            worker: WorkerId(n),
            why: format!("end {n}"),
            hit: Vec::new(),
            killed: false,
            busy: false,
        })
    }

    /// It has been killed as told.
    fn end_killed(&mut self, n: u32) -> Vec<Output> {
        self.tell(Input::Ended {
            worker: WorkerId(n),
            why: "SIGKILL".into(),
            hit: Vec::new(),
            killed: true,
            busy: false,
        })
    }

    fn unlink(&mut self, n: u32) -> Vec<Output> {
        self.tell(Input::Unlinked {
            worker: WorkerId(n),
            why: format!("silence {n}"),
        })
    }
}

fn launch(n: u32) -> Output {
    Output::Launch {
        worker: WorkerId(n),
        purpose: Purpose::Work,
    }
}

fn prepare(n: u32) -> Output {
    Output::Launch {
        worker: WorkerId(n),
        purpose: Purpose::Prepare,
    }
}

fn failed_to_start(n: u32) -> Output {
    Output::Failed {
        worker: WorkerId(n),
        why: "killed while it started".into(),
    }
}

fn only_tidies_up(n: u32) -> Output {
    Output::Launch {
        worker: WorkerId(n),
        purpose: Purpose::TidyUp,
    }
}

fn goodbye(n: u32) -> Output {
    Output::Goodbye {
        worker: WorkerId(n),
        tidies_up: false,
    }
}

fn tidy_up(n: u32) -> Output {
    Output::Goodbye {
        worker: WorkerId(n),
        tidies_up: true,
    }
}

#[test]
fn a_lost_worker_is_replaced_once_its_last_words_are_heard() {
    let mut clock = Clock::new(2);
    assert_eq!(clock.wait(), [launch(1), launch(2)]);
    for worker in [WorkerId(1), WorkerId(2)] {
        assert_eq!(clock.tell(Input::Ready { worker }), []);
    }
    assert_eq!(clock.end(1), []);
    let lost = Output::Lost {
        worker: WorkerId(1),
        why: "end 1".into(),
    };
    assert_eq!(clock.unlink(1), [lost]);
    assert_eq!(clock.wait(), [launch(3)]);
}

/// One ready worker whose link is down.
fn unlinked() -> Clock {
    let mut clock = Clock::new(1);
    clock.wait();
    clock.tell(Input::Ready {
        worker: WorkerId(1),
    });
    assert_eq!(clock.unlink(1), []);
    clock
}

#[test]
fn a_process_that_ends_after_its_link_tells_how_by_itself() {
    let mut clock = unlinked();
    let lost = Output::Lost {
        worker: WorkerId(1),
        why: "end 1".into(),
    };
    assert_eq!(clock.end(1), [lost]);
}

#[test]
fn a_process_without_a_link_is_killed_and_the_link_is_the_reason() {
    let kill = Output::Kill {
        worker: WorkerId(1),
    };
    let lost = |why: &str| Output::Lost {
        worker: WorkerId(1),
        why: why.into(),
    };
    let mut clock = unlinked();
    let before = clock.now;
    assert_eq!(clock.wait(), [kill]);
    assert_eq!(clock.now - before, BREATH);
    assert_eq!(
        clock.end_killed(1),
        [lost("silence 1, so it was killed")],
        "and not that it was killed by a signal"
    );

    // It was about to end when it was told to be killed.
    let mut clock = unlinked();
    clock.wait();
    assert_eq!(clock.end(1), [lost("end 1")]);

    // Not even that ends it.
    let mut clock = unlinked();
    clock.wait();
    let before = clock.now;
    assert_eq!(clock.wait()[0], lost("silence 1, so it was killed"));
    assert_eq!(clock.now - before, LINGER);
    assert_eq!(clock.end(1), [], "its end comes too late to mean anything");
}

#[test]
fn who_is_killed_on_demand_is_replaced_without_delay_however_often() {
    let mut clock = Clock::new(1);
    for n in 1..10 {
        let worker = WorkerId(n);
        let before = clock.now;
        assert_eq!(clock.wait(), [launch(n)]);
        assert_eq!(clock.now, before, "nothing has gone wrong");
        clock.tell(Input::Ready { worker });
        let why = String::from("no longer wanted");
        let kill = || Input::Kill {
            worker,
            why: why.clone(),
        };
        assert_eq!(clock.tell(kill()), [Output::Kill { worker }]);
        assert_eq!(clock.tell(kill()), [], "once is enough");
        clock.end_killed(n);
        assert_eq!(clock.unlink(n), [Output::Lost { worker, why }]);
    }
}

/// Its calls are to blame.
#[test]
fn who_ends_at_work_is_replaced_without_delay_however_often() {
    for busy in [true, false] {
        let mut clock = Clock::new(1);
        for n in 1..10 {
            let worker = WorkerId(n);
            let before = clock.now;
            assert_eq!(clock.wait(), [launch(n)]);
            assert_eq!(clock.now == before, busy || n < 3, "{n}");
            clock.tell(Input::Ready { worker });
            let (why, killed) = (String::from("a crash"), false);
            clock.tell(Input::Ended {
                worker,
                why: why.clone(),
                hit: Vec::new(),
                killed,
                busy,
            });
            assert_eq!(clock.unlink(n), [Output::Lost { worker, why }]);
        }
    }
}

#[test]
fn closing_waits_no_longer_for_who_has_no_link() {
    let mut clock = unlinked();
    assert_eq!(clock.tell(Input::Close), []);
    let before = clock.now;
    clock.wait();
    assert_eq!(clock.now - before, BREATH);
    let closed = Output::Closed { killed: vec![] };
    assert_eq!(clock.end_killed(1).last(), Some(&closed));
}

#[test]
fn a_worker_that_does_not_report_is_killed() {
    let mut clock = Clock::new(1);
    clock.wait();
    assert_eq!(
        clock.wait(),
        [Output::Kill {
            worker: WorkerId(1)
        }]
    );
    let [Output::Failed { why, .. }] = &clock.end_killed(1)[..] else {
        panic!("it failed to start")
    };
    assert!(why.contains("did not report within 10s"), "{why}");
}

#[test]
fn failing_to_start_three_times_ends_it_with_the_reason() {
    let mut clock = Clock::new(2);
    clock.wait();
    assert!(matches!(clock.end(1)[..], [Output::Failed { .. }]));
    assert!(matches!(clock.end(2)[..], [Output::Failed { .. }]));
    let launched = clock.wait();
    assert!(launched.contains(&launch(3)), "{launched:?}");
    let out = clock.end(3);
    assert!(out.contains(&Output::GiveUp), "{out:?}");
    // Any other that was about to start is done away with.
    let n = clock.pool.processes.len();
    if n > 0 {
        assert!(matches!(
            clock.end(4)[..],
            [Output::Failed { .. }, Output::Closed { .. }]
        ));
    }
    assert_eq!(clock.pool.deadline(), None);
}

#[test]
fn while_one_works_the_others_may_fail_for_ever_at_a_bounded_rate() {
    let mut clock = Clock::new(2);
    clock.wait();
    clock.tell(Input::Ready {
        worker: WorkerId(1),
    });
    for n in 2..50 {
        let out = clock.end(n);
        assert!(matches!(out[..], [Output::Failed { .. }]), "{out:?}");
        let before = clock.now;
        assert_eq!(clock.wait(), [launch(n + 1)]);
        let delay = clock.now - before;
        assert!(
            delay <= LONGEST_DELAY && (n < 12 || delay == LONGEST_DELAY),
            "{n} {delay:?}"
        );
    }
}

#[test]
fn closing_waits_for_the_willing_and_kills_the_rest() {
    let mut clock = Clock::new(3);
    clock.wait();
    clock.tell(Input::Ready {
        worker: WorkerId(1),
    });
    clock.tell(Input::Ready {
        worker: WorkerId(2),
    });
    let expected = [
        goodbye(1),
        goodbye(2),
        Output::Kill {
            worker: WorkerId(3),
        },
    ];
    assert_eq!(clock.tell(Input::Close), expected);
    assert!(matches!(clock.end(1)[..], [Output::Lost { .. }]));
    assert!(matches!(clock.end(3)[..], [Output::Failed { .. }]));
    let before = clock.now;
    assert_eq!(
        clock.wait(),
        [Output::Kill {
            worker: WorkerId(2)
        }]
    );
    assert_eq!(clock.now - before, GRACE);
    let closed = Output::Closed {
        killed: vec![WorkerId(2)],
    };
    assert_eq!(clock.end(2).last(), Some(&closed));
}

#[test]
fn closing_an_empty_pool_is_over_at_once() {
    let mut clock = Clock::new(1);
    assert_eq!(
        clock.tell(Input::Close),
        [Output::Closed { killed: vec![] }]
    );
}

#[test]
fn those_that_start_go_first_when_fewer_are_wanted() {
    let mut clock = Clock::new(2);
    assert_eq!(clock.wait(), [launch(1), launch(2)]);
    let worker = WorkerId(1);
    assert_eq!(clock.tell(Input::Ready { worker }), []);
    let kill = Output::Kill {
        worker: WorkerId(2),
    };
    assert_eq!(clock.tell(Input::Want { workers: 1 }), [kill]);
    assert_eq!(clock.pool.surplus(), 0);
    let retired = Output::Retired {
        worker: WorkerId(2),
    };
    assert_eq!(clock.end_killed(2), [retired]);
    assert_eq!(clock.pool.deadline(), None, "it is not replaced");
}

#[test]
fn one_that_retires_says_goodbye_and_keeps_its_place_until_it_is_gone() {
    let mut clock = Clock::new(1);
    assert_eq!(clock.wait(), [launch(1)]);
    let worker = WorkerId(1);
    assert_eq!(clock.tell(Input::Ready { worker }), []);
    assert_eq!(clock.tell(Input::Want { workers: 0 }), []);
    assert_eq!(clock.pool.surplus(), 1);
    assert_eq!(clock.tell(Input::Retire { worker }), [goodbye(1)]);
    assert_eq!(clock.pool.surplus(), 0);
    // Wanted again, but there is no place yet.
    assert_eq!(clock.tell(Input::Want { workers: 1 }), []);
    assert_eq!(clock.pool.len(), 1);
    assert_eq!(clock.end(1), [Output::Retired { worker }]);
    assert_eq!(clock.wait(), [launch(2)]);
}

#[test]
fn one_that_does_not_go_is_killed_when_its_grace_is_over() {
    let mut clock = Clock::new(1);
    assert_eq!(clock.wait(), [launch(1)]);
    let worker = WorkerId(1);
    assert_eq!(clock.tell(Input::Ready { worker }), []);
    assert_eq!(clock.tell(Input::Want { workers: 0 }), []);
    assert_eq!(clock.tell(Input::Retire { worker }), [goodbye(1)]);
    let told = clock.now;
    assert_eq!(clock.wait(), [Output::Kill { worker }]);
    assert_eq!(clock.now - told, GRACE);
    assert_eq!(clock.end_killed(1), [Output::Retired { worker }]);
    assert_eq!(clock.pool.deadline(), None);
}

/// What it said before it was told.
#[test]
fn one_that_is_ready_when_it_is_being_killed_takes_no_calls() {
    let mut clock = Clock::new(1);
    assert_eq!(clock.wait(), [launch(1)]);
    let worker = WorkerId(1);
    let kill = Output::Kill { worker };
    assert_eq!(clock.tell(Input::Want { workers: 0 }), [kill]);
    let told = clock.now;
    assert_eq!(clock.tell(Input::Ready { worker }), []);
    assert!(!clock.pool.is_live(worker));
    assert_eq!(clock.wait(), [retired(1)], "not even that ends it");
    assert_eq!(clock.now - told, LINGER);

    let mut clock = just_prepared();
    clock.wait();
    let worker = WorkerId(2);
    let kill = Output::Kill { worker };
    assert_eq!(
        clock.wait(),
        [Output::Kill {
            worker: WorkerId(1)
        }]
    );
    assert_eq!(clock.tell(Input::Want { workers: 0 }), [kill]);
    assert_eq!(clock.tell(Input::Ready { worker }), []);
    assert_eq!(clock.end_killed(1), [retired(1)]);
    assert_eq!(clock.end_killed(2)[0], retired(2));
}

#[test]
fn a_setup_has_a_limit_of_its_own() {
    let mut clock = Clock::new(1);
    assert_eq!(clock.wait(), [launch(1)]);
    let worker = WorkerId(1);
    let limit = 3 * LIMIT;
    assert_eq!(clock.tell(Input::SettingUp { worker, limit }), []);
    let began = clock.now;
    assert_eq!(clock.wait(), [Output::Kill { worker }]);
    assert_eq!(clock.now - began, limit);
    let why = format!("killed, because its setup took longer than {limit:?}");
    assert_eq!(clock.end_killed(1), [Output::Failed { worker, why }]);
}

/// The host has just been prepared, for two workers.
fn just_prepared() -> Clock {
    let mut clock = Clock::with(2, |config| {
        (config.prepares, config.tidies_up) = (true, true);
    });
    assert_eq!(clock.wait(), [prepare(1)]);
    let worker = WorkerId(1);
    assert_eq!(clock.tell(Input::HostPrepared { worker }), []);
    clock
}

/// Two ready workers on a host that was prepared for them.
fn prepared() -> Clock {
    let mut clock = just_prepared();
    assert_eq!(clock.end(1), [retired(1)]);
    assert_eq!(clock.wait(), [launch(2), launch(3)]);
    for worker in [WorkerId(2), WorkerId(3)] {
        assert_eq!(clock.tell(Input::Ready { worker }), []);
    }
    clock
}

#[test]
fn who_has_prepared_the_host_makes_room_for_those_that_work() {
    let mut clock = just_prepared();
    assert_eq!(clock.wait(), [launch(2)], "it has a place of two still");
    assert_eq!(clock.end(1), [retired(1)]);
    assert_eq!(clock.wait(), [launch(3)]);

    let mut clock = just_prepared();
    let (worker, began) = (WorkerId(1), clock.now);
    assert_eq!(clock.wait(), [launch(2)]);
    assert_eq!(clock.wait(), [Output::Kill { worker }], "it does not end");
    assert_eq!(clock.now - began, GRACE);
    assert_eq!(clock.end_killed(1), [retired(1)]);
}

impl Clock {
    fn retire(&mut self, n: u32) -> Vec<Output> {
        let worker = WorkerId(n);
        self.tell(Input::Retire { worker })
    }
}

fn retired(n: u32) -> Output {
    Output::Retired {
        worker: WorkerId(n),
    }
}

#[test]
fn the_host_is_tidied_up_before_anybody_else_starts() {
    let mut clock = prepared();
    assert_eq!(clock.retire(2), [goodbye(2)]);
    assert_eq!(clock.retire(3), [], "it is the last one, and not alone yet");
    let end = [retired(2), tidy_up(3)];
    assert_eq!(clock.end(2), end);
    // As many are wanted as ever, but not before it is gone.
    let told = clock.now;
    assert_eq!(clock.tell(Input::Tick), []);
    assert_eq!(
        clock.pool.deadline(),
        Some(told + GRACE),
        "its time begins when it is told"
    );
    assert_eq!(clock.end(3), [retired(3)]);
    assert_eq!(clock.wait(), [prepare(4)]);
    assert_eq!(clock.pool.deadline(), Some(clock.now + LIMIT));
}

#[test]
fn who_leaves_one_that_starts_behind_is_not_the_last() {
    let mut clock = prepared();
    assert_eq!(clock.retire(2), [goodbye(2)]);
    assert_eq!(clock.end(2), [retired(2)]);
    assert_eq!(clock.wait(), [launch(4)]);
    assert_eq!(
        clock.retire(3),
        [goodbye(3)],
        "another is about to be there"
    );
    // When all end it is, as the other is killed.
    let mut clock = prepared();
    assert_eq!(clock.retire(2), [goodbye(2)]);
    assert_eq!(clock.end(2), [retired(2)]);
    assert_eq!(clock.wait(), [launch(4)]);
    let kill = Output::Kill {
        worker: WorkerId(4),
    };
    assert_eq!(clock.tell(Input::Close), [kill]);
    assert_eq!(clock.end_killed(4)[1], tidy_up(3));
}

#[test]
fn where_nobody_is_left_one_comes_only_to_tidy_up() {
    // The other has not ended yet, which is of no use any more.
    let mut clock = just_prepared();
    let kill = |n| Output::Kill {
        worker: WorkerId(n),
    };
    assert_eq!(clock.wait(), [launch(2)]);
    assert_eq!(clock.tell(Input::Close), [kill(1), kill(2)]);
    assert_eq!(clock.end_killed(2), [failed_to_start(2)]);
    assert_eq!(clock.end_killed(1), [retired(1), only_tidies_up(3)]);
    let began = clock.now;
    assert_eq!(clock.wait(), [kill(3)]);
    assert_eq!(clock.now - began, LIMIT + GRACE);
    let killed = vec![WorkerId(3)];
    let why = "killed, because it did not tidy up within 15s of its start".into();
    let worker = WorkerId(3);
    assert_eq!(
        clock.end_killed(3),
        [
            Output::TidyUpFailed { worker, why },
            Output::Closed { killed }
        ],
        "that is tried once"
    );

    // Nor does it have to wait for those that were about to start.
    let mut clock = just_prepared();
    assert_eq!(clock.end(1), [retired(1)]);
    assert_eq!(clock.tell(Input::Want { workers: 0 }), [only_tidies_up(2)]);
    // It goes on, whatever is wanted.
    assert_eq!(clock.tell(Input::Want { workers: 2 }), []);
    assert_eq!(clock.tell(Input::Close), []);
    let worker = WorkerId(2);
    assert_eq!(clock.tell(Input::HostTidiedUp { worker }), []);
    let killed = Vec::new();
    assert_eq!(clock.end(2), [retired(2), Output::Closed { killed }]);

    let mut clock = just_prepared();
    assert_eq!(clock.end(1), [retired(1)]);
    clock.tell(Input::HostGone);
    assert_eq!(clock.tell(Input::Want { workers: 0 }), []);
}

#[test]
fn who_is_being_killed_does_not_keep_others_from_tidying_up() {
    let mut clock = prepared();
    let worker = WorkerId(3);
    let why = String::from("its call was cancelled");
    clock.tell(Input::Kill { worker, why });
    assert_eq!(clock.tell(Input::Close), []);
    assert_eq!(clock.end_killed(3)[1], tidy_up(2));
}

#[test]
fn a_place_is_taken_until_the_end_of_a_far_process_is_known() {
    for far in [false, true] {
        let mut clock = Clock::with(1, |config| config.far = far);
        clock.wait();
        let worker = WorkerId(1);
        clock.tell(Input::Ready { worker });
        let why = String::from("its call was cancelled");
        let kill = Input::Kill { worker, why };
        assert_eq!(clock.tell(kill), [Output::Kill { worker }]);
        let lost = clock.wait();
        assert!(matches!(lost[0], Output::Lost { .. }), "{lost:?}");
        if far {
            assert_eq!(lost.len(), 1);
            assert!(clock.pool.is_over() && clock.pool.len() == 1);
            assert_eq!(clock.pool.deadline(), None);
            assert_eq!(clock.end_killed(1), []);
            assert_eq!(clock.pool.len(), 0);
            assert_eq!(clock.wait(), [launch(2)]);
        } else {
            assert_eq!(lost[1..], [launch(2)]);
        }
    }
}

mod at_random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Wait,
        Want(usize),
        Prepared(usize),
        Ready(usize),
        Retire(usize),
        Kill(usize),
        End(usize),
        Unlink(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let n = any::<usize>;
        prop_oneof![
            6 => Just(Step::Wait),
            2 => (0..4_usize).prop_map(Step::Want),
            3 => n().prop_map(Step::Prepared),
            3 => n().prop_map(Step::Ready),
            3 => n().prop_map(Step::Retire),
            1 => n().prop_map(Step::Kill),
            3 => n().prop_map(Step::End),
            1 => n().prop_map(Step::Unlink),
        ]
    }

    /// What has come of it.
    #[derive(Default)]
    struct Seen {
        /// Those whose processes have not ended.
        there: BTreeSet<WorkerId>,
        /// Who prepares the host, until that is done.
        prepares: Option<WorkerId>,
        /// Who has done so, and is about to end.
        has_prepared: BTreeSet<WorkerId>,
        is_prepared: bool,
        tidies_up: Option<WorkerId>,
        closed: bool,
    }

    impl Seen {
        fn take(&mut self, out: Vec<Output>) {
            for output in out {
                match output {
                    Output::Launch { worker, purpose } => {
                        assert_eq!(self.tidies_up, None, "the host is being tidied up");
                        assert_eq!(purpose != Purpose::Prepare, self.is_prepared);
                        if purpose != Purpose::Work {
                            assert_eq!(self.there, BTreeSet::new(), "it is not alone");
                        }
                        match purpose {
                            Purpose::Work => {}
                            Purpose::Prepare => self.prepares = Some(worker),
                            Purpose::TidyUp => self.tidies_up = Some(worker),
                        }
                        self.there.insert(worker);
                    }
                    Output::Goodbye { worker, tidies_up } => {
                        if tidies_up {
                            assert!(self.is_prepared);
                            assert_eq!(self.tidies_up, None);
                            assert_eq!(self.there, BTreeSet::from([worker]), "it is not alone");
                            self.tidies_up = Some(worker);
                        }
                    }
                    Output::Lost { worker, .. }
                    | Output::Failed { worker, .. }
                    | Output::Retired { worker }
                    | Output::TidyUpFailed { worker, .. } => self.gone(worker),
                    Output::Closed { .. } => self.closed = true,
                    Output::Kill { .. } | Output::GiveUp => {}
                }
            }
        }

        fn gone(&mut self, worker: WorkerId) {
            self.there.remove(&worker);
            self.prepares.take_if(|it| *it == worker);
            if self.tidies_up.take_if(|it| *it == worker).is_some() {
                self.is_prepared = false;
            }
        }

        fn pick(&self, n: usize) -> Option<WorkerId> {
            let count = self.there.len().max(1);
            self.there.iter().nth(n % count).copied()
        }
    }

    proptest! {
        #[test]
        fn a_host_is_prepared_and_tidied_up_in_turns(
            steps in prop::collection::vec(step(), 1..80), willing: bool, obedient: bool
        ) {
            let mut clock =
                Clock::with(2, |config| (config.prepares, config.tidies_up) = (true, true));
            let mut seen = Seen::default();
            let mut retiring = BTreeSet::new();
            for step in steps {
                let out = match step {
                    Step::Wait if clock.pool.deadline().is_some() => clock.wait(),
                    Step::Wait => Vec::new(),
                    Step::Want(workers) => clock.tell(Input::Want { workers }),
                    Step::Prepared(n) => {
                        let Some(worker) = seen.pick(n).filter(|it| seen.prepares == Some(*it))
                        else {
                            continue;
                        };
                        let there = clock.pool.processes.contains_key(&worker);
                        seen.is_prepared |= there;
                        seen.prepares = None;
                        seen.has_prepared.insert(worker);
                        clock.tell(Input::HostPrepared { worker })
                    }
                    Step::Ready(n) => {
                        let works = |it: &WorkerId| {
                            let other = [seen.prepares, seen.tidies_up].contains(&Some(*it));
                            !other && !seen.has_prepared.contains(it)
                        };
                        let Some(worker) = seen.pick(n).filter(works) else {
                            continue;
                        };
                        let process = clock.pool.processes.get(&worker);
                        if process.is_none_or(|it| it.ready.is_some()) {
                            continue;
                        }
                        clock.tell(Input::Ready { worker })
                    }
                    Step::Retire(n) => {
                        let ready = |it: &WorkerId| {
                            let process = clock.pool.processes.get(it);
                            process.is_some_and(|it| it.ready.is_some())
                        };
                        let Some(worker) = seen.pick(n).filter(ready) else {
                            continue;
                        };
                        if !retiring.insert(worker) {
                            continue;
                        }
                        clock.tell(Input::Retire { worker })
                    }
                    Step::Kill(n) => {
                        let Some(worker) = seen.pick(n) else { continue };
                        let why = "whatever".into();
                        clock.tell(Input::Kill { worker, why })
                    }
                    Step::Unlink(n) => {
                        let Some(worker) = seen.pick(n) else { continue };
                        clock.unlink(worker.0)
                    }
                    Step::End(n) => {
                        let Some(worker) = seen.pick(n) else { continue };
                        let mut out = clock.end(worker.0);
                        out.extend(clock.unlink(worker.0));
                        out
                    }
                };
                seen.take(out);
            }
            // It all ends: each by itself, or when it is killed, or not even then.
            let began = clock.now;
            let out = clock.tell(Input::Close);
            seen.take(out);
            while !seen.closed {
                for worker in seen.there.clone() {
                    let is_killed = clock.pool.processes[&worker].killed.is_some();
                    if willing || (obedient && is_killed) {
                        let out = clock.end(worker.0);
                        seen.take(out);
                    }
                }
                if !seen.closed {
                    let out = clock.wait();
                    seen.take(out);
                }
            }
            let took = clock.now - began;
            prop_assert!(took <= clock.pool.config.closing(), "{took:?}");
            prop_assert!(!seen.is_prepared, "nobody has tidied up");
        }
    }
}

#[test]
fn the_limits_that_it_has_hit_are_told_whoever_has_ended_it() {
    for (kill, told) in [
        (true, "too slow: it forked, and it swelled"),
        (false, "SIGKILL: it forked, and it swelled"),
    ] {
        let mut clock = unlinked();
        let worker = WorkerId(1);
        if kill {
            let why = "too slow".into();
            clock.tell(Input::Kill { worker, why });
        }
        let lost = clock.tell(Input::Ended {
            worker,
            why: "SIGKILL".into(),
            hit: vec!["it forked".into(), "it swelled".into()],
            killed: kill,
            busy: true,
        });
        let why = told.into();
        assert_eq!(lost, [Output::Lost { worker, why }]);
    }
}
