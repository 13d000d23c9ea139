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
        let now = Instant::now();
        let config = Config {
            start_limit: LIMIT,
            grace: GRACE,
        };
        let pool = Pool::new(config, WorkerIds::default());
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
            killed: false,
        })
    }

    /// It has been killed as told.
    fn end_killed(&mut self, n: u32) -> Vec<Output> {
        self.tell(Input::Ended {
            worker: WorkerId(n),
            why: "SIGKILL".into(),
            killed: true,
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
        Output::Goodbye {
            worker: WorkerId(1),
        },
        Output::Goodbye {
            worker: WorkerId(2),
        },
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
    let goodbye = Output::Goodbye { worker };
    assert_eq!(clock.tell(Input::Retire { worker }), [goodbye]);
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
    let goodbye = Output::Goodbye { worker };
    assert_eq!(clock.tell(Input::Retire { worker }), [goodbye]);
    let told = clock.now;
    assert_eq!(clock.wait(), [Output::Kill { worker }]);
    assert_eq!(clock.now - told, GRACE);
    assert_eq!(clock.end_killed(1), [Output::Retired { worker }]);
    assert_eq!(clock.pool.deadline(), None);
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
