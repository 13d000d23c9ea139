//! What must not happen again, and what is worth an example.

use super::super::{CallId, Config, Input, Outcome, WorkerId};
use super::steps::Step;
use super::world::World;

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
