//! What must not happen again, and what is worth an example.

use super::super::{CallId, HostId, Input, Local, Outcome, Output, WorkerId};
use super::steps::{Asks, At, Step};
use super::world::World;
use crate::resources::Resources;

/// A world with a host for so many calls at a time, as many workers there, and so many calls
/// submitted.
fn world(workers: u32, prefetch: usize, retries: u32, calls: usize) -> World {
    let mut world = World::new(prefetch, retries, true);
    add_host(&mut world, workers);
    world.step(&Step::Submit(calls, Asks::default()));
    world
}

fn add_host(world: &mut World, workers: u32) -> HostId {
    let host = world.new_host(Resources::cpus(workers));
    for _ in 0..workers {
        world.new_worker(host);
    }
    host
}

fn cpus(n: u32) -> Asks {
    Asks {
        needs: Resources::cpus(n),
        ..Asks::default()
    }
}

fn loads(world: &World) -> Vec<usize> {
    world.in_flight.values().map(Vec::len).collect()
}

/// The first call of a worker ends, and the core knows.
fn finish(world: &mut World, n: usize) {
    world.step(&Step::Receive(n));
    world.step(&Step::Finish(n, 0));
    world.step(&Step::Report(n, false));
}

fn is_done(world: &World, call: CallId) -> bool {
    matches!(world.finished.get(&call), Some(Outcome::Done { .. }))
}

#[test]
fn workers_get_a_call_before_anything_is_prefetched() {
    assert_eq!(loads(&world(3, 2, 1, 5)), [2, 2, 1]);
}

#[test]
fn what_waits_behind_a_long_call_goes_to_an_idle_worker() {
    let mut world = world(2, 4, 1, 4);
    // Worker 1 is through with both of its calls while worker 0 is still in its first.
    world.step(&Step::Receive(0));
    finish(&mut world, 1);
    finish(&mut world, 1);
    for _ in 0..2 {
        world.step(&Step::Receive(0));
    }
    world.step(&Step::Report(0, false));
    assert_eq!(world.in_flight[&WorkerId(1)], [(CallId(2), 2)]);
}

#[test]
fn an_idle_worker_gets_what_is_next_in_order() {
    let mut world = world(1, 4, 1, 5);
    for worker in [1, 2] {
        add_host(&mut world, 1);
        assert_eq!(world.asked.len(), worker);
        assert!(world.asked.contains(&(CallId(worker as u64), 1)));
    }
    world.settle();
}

#[test]
fn cancelled_calls_do_not_hide_those_that_wait() {
    // Worker 0 has a call and another behind, worker 1 only a cancelled one.
    let mut world = world(2, 2, 1, 5);
    for call in [1, 3] {
        world.tell(Input::Cancel { call: CallId(call) });
    }
    add_host(&mut world, 1);
    world.settle();
}

#[test]
fn a_suspended_worker_begins_nothing_until_it_is_resumed() {
    let mut world = world(2, 2, 1, 6);
    let suspend = |world: &mut World, suspended| {
        let worker = WorkerId(0);
        world.tell(Input::Suspend { worker, suspended });
    };
    let taken = |world: &World| world.core.taken(HostId(0));
    suspend(&mut world, true);
    // What waits there comes back; what runs goes on.
    assert_eq!(world.asked.len(), 2);
    for _ in 0..5 {
        world.step(&Step::Receive(0));
        world.step(&Step::Report(0, false));
    }
    assert_eq!(loads(&world), [1, 3]);
    let there = Asks {
        at: At::Worker(0),
        ..Asks::default()
    };
    let waits = world.submit(&there);
    let io = world.submit(&Asks { io: true, ..there });
    finish(&mut world, 0);
    assert_eq!(loads(&world), [0, 3]);
    // It has a core, though nothing runs there, and keeps nobody from the others.
    assert_eq!(taken(&world), 2);
    for _ in 0..5 {
        finish(&mut world, 1);
    }
    assert_eq!(loads(&world), [0, 0]);
    assert_eq!(taken(&world), 1);
    suspend(&mut world, false);
    assert_eq!(loads(&world), [2, 0]);
    finish(&mut world, 0);
    finish(&mut world, 0);
    assert!(is_done(&world, waits) && is_done(&world, io));
    assert_eq!(taken(&world), 0);
    world.settle();
}

#[test]
fn whoever_has_to_go_is_a_suspended_worker_last() {
    let mut world = world(2, 0, 1, 0);
    for (worker, idle) in [(0, 1), (1, 0)] {
        let worker = WorkerId(worker);
        let suspend = |suspended| Input::Suspend { worker, suspended };
        world.tell(suspend(true));
        assert_eq!(world.core.idle(HostId(0)), Some(WorkerId(idle)));
        world.tell(suspend(false));
    }
}

#[test]
fn a_call_that_kills_workers_takes_nobody_with_it() {
    let mut world = world(1, 8, 2, 6);
    let poison = CallId(2);
    for which in 0..40 {
        world.step(&Step::Receive(0));
        let (id, list) = world.in_flight.first_key_value().expect("one worker");
        let (id, running) = (*id, list.first().copied());
        if running.is_some_and(|(call, _)| call == poison) {
            world.tell(Input::WorkerLost { worker: id });
            world.new_worker(HostId(0));
        } else {
            world.step(&Step::Finish(0, which));
            world.step(&Step::Report(0, false));
        }
    }
    let poisoned = &world.finished[&poison];
    assert!(matches!(poisoned, Outcome::Abandoned { losses: 3, .. }));
    let done = (0..6).filter(|n| is_done(&world, CallId(*n))).count();
    assert_eq!(done, 5, "{:?}", world.finished);
}

#[test]
fn a_late_result_of_an_earlier_attempt_is_ignored() {
    let mut world = world(1, 0, 3, 1);
    world.tell(Input::WorkerLost {
        worker: WorkerId(0),
    });
    world.new_worker(HostId(0));
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

/// As the client of a service may do, which is not to be trusted.
#[test]
fn a_number_that_is_used_again_while_its_call_is_at_a_worker_is_that_of_none() {
    let mut world = world(1, 1, 1, 2);
    let call = CallId(0);
    world.tell(Input::Cancel { call });
    let again = Input::<u64, u64>::Submit {
        call,
        item: 7,
        bulky: false,
        options: None,
    };
    let mut out = Vec::new();
    world.core.handle(again, &mut out);
    let (item, outcome) = (7, Outcome::Cancelled);
    let finished = Output::Finished {
        call,
        item,
        outcome,
    };
    assert_eq!(out, [finished]);
    world.settle();
}

#[test]
fn closing_ends_every_call() {
    let mut world = world(1, 1, 1, 5);
    let mut out = Vec::new();
    world.core.handle(Input::<u64, u64>::Close, &mut out);
    assert_eq!(out.len(), 5);
    world.core.dispatch(&mut out);
    assert_eq!(out.len(), 5);
}

#[test]
fn of_bulky_calls_only_a_few_are_sent_ahead() {
    let mut world = world(2, 5, 3, 0);
    let bulky = Asks {
        bulky: true,
        ..Asks::default()
    };
    world.step(&Step::Submit(9, bulky));
    assert_eq!(loads(&world), [3, 3]);
    // Nor does any other call go before them.
    world.step(&Step::Submit(1, Asks::default()));
    assert_eq!(loads(&world), [3, 3]);
    finish(&mut world, 0);
    assert_eq!(loads(&world), [3, 3]);
}

#[test]
fn a_higher_priority_overtakes_what_was_prefetched() {
    let mut world = world(2, 4, 1, 8);
    assert_eq!(loads(&world), [4, 4]);
    let urgent = world.submit(&Asks {
        priority: 1,
        ..Asks::default()
    });
    // Everything that waits at workers is asked back; the urgent call is next, whoever is first.
    assert_eq!(world.asked.len(), 6);
    for n in [0, 1] {
        while !world.workers[&WorkerId(n)].to.is_empty() {
            world.step(&Step::Receive(n as usize));
        }
        for _ in 0..3 {
            world.step(&Step::Report(n as usize, false));
        }
    }
    finish(&mut world, 1);
    assert!(
        world.in_flight[&WorkerId(0)]
            .iter()
            .any(|(call, _)| *call == urgent)
    );
    // It waits behind a long call at worker 0, and worker 1 is idle: it moves.
    world.step(&Step::Receive(0));
    world.step(&Step::Receive(0));
    world.step(&Step::Report(0, false));
    assert_eq!(world.in_flight[&WorkerId(1)].first(), Some(&(urgent, 2)));
}

#[test]
fn a_large_call_does_not_starve() {
    let mut world = world(3, 4, 1, 6);
    let large = world.submit(&cpus(3));
    for n in 0..100 {
        if is_done(&world, large) {
            return;
        }
        world.step(&Step::Submit(2, Asks::default()));
        finish(&mut world, n % 3);
    }
    panic!("it never got its turn");
}

#[test]
fn only_one_host_waits_for_a_large_call() {
    let mut world = world(2, 0, 1, 2);
    add_host(&mut world, 2);
    world.step(&Step::Submit(1, Asks::default()));
    // Two run on host 0 and one on host 1.
    world.step(&Step::Submit(1, cpus(2)));
    world.step(&Step::Submit(3, Asks::default()));
    assert_eq!(loads(&world), [1, 1, 1, 0], "host 1 is kept");
    finish(&mut world, 0);
    assert_eq!(loads(&world), [1, 1, 1, 0], "host 0 goes on");
    finish(&mut world, 2);
    assert_eq!(loads(&world), [1, 1, 1, 0], "the large one runs");
    assert_eq!(world.in_flight[&WorkerId(2)], [(CallId(3), 1)]);
}

#[test]
fn a_room_that_shrinks_takes_nothing_away() {
    let mut world = world(3, 2, 1, 9);
    let host = HostId(0);
    let room = Resources::cpus(1);
    world.set_room(host, room);
    assert_eq!(world.asked.len(), 6, "all that has not begun");
    for n in 0..3 {
        for _ in 0..5 {
            world.step(&Step::Receive(n));
            world.step(&Step::Report(n, false));
        }
    }
    assert_eq!(loads(&world), [1, 1, 1]);
    finish(&mut world, 0);
    finish(&mut world, 1);
    assert_eq!(loads(&world), [0, 0, 3], "there is room for one");
}

#[test]
fn what_no_host_has_is_told_once_and_waits_for_one_that_has() {
    let mut world = world(1, 2, 1, 0);
    let call = world.submit(&cpus(4));
    let (host, room) = (HostId(0), Resources::cpus(2));
    // The model knows whom it has told.
    world.set_room(host, room);
    world.step(&Step::Submit(1, Asks::default()));
    assert_eq!(world.in_flight[&WorkerId(0)], [(CallId(1), 1)]);
    add_host(&mut world, 4);
    finish(&mut world, 1);
    assert!(is_done(&world, call));
}

#[test]
fn what_no_host_has_is_refused_when_none_will_come() {
    let mut world = World::new(2, 1, false);
    add_host(&mut world, 1);
    let call = world.submit(&cpus(2));
    assert!(matches!(world.finished[&call], Outcome::NoRoom { .. }));
}

#[test]
fn calls_for_a_host_or_worker_end_with_it() {
    let mut world = World::new(2, 3, true);
    let hosts = [add_host(&mut world, 1), add_host(&mut world, 1)];
    let at = |at| Asks {
        at,
        ..Asks::default()
    };
    let of_host: Vec<_> = (0..2).map(|_| world.submit(&at(At::Host(0)))).collect();
    let of_worker: Vec<_> = (0..2).map(|_| world.submit(&at(At::Worker(1)))).collect();
    let nowhere = world.submit(&at(At::Worker(2)));
    assert!(matches!(
        world.finished[&nowhere],
        Outcome::TargetLost { .. }
    ));
    world.tell(Input::WorkerLost {
        worker: WorkerId(1),
    });
    for call in of_worker {
        assert!(matches!(world.finished[&call], Outcome::TargetLost { .. }));
    }
    // A host is still there without its worker.
    world.tell(Input::WorkerLost {
        worker: WorkerId(0),
    });
    world.new_worker(hosts[0]);
    assert_eq!(world.in_flight[&WorkerId(2)], [(of_host[0], 2)]);
    world.tell(Input::HostLost { host: hosts[0] });
    for call in of_host {
        assert!(matches!(world.finished[&call], Outcome::TargetLost { .. }));
    }
}

#[test]
fn a_call_for_a_worker_is_not_held_up_by_what_is_prefetched_there() {
    let mut world = world(2, 4, 1, 4);
    let call = world.submit(&Asks {
        at: At::Worker(1),
        ..Asks::default()
    });
    for n in 0..40 {
        if is_done(&world, call) {
            return;
        }
        world.step(&Step::Submit(2, Asks::default()));
        finish(&mut world, n % 2);
    }
    panic!("it never got its turn");
}

#[test]
fn io_calls_share_workers_and_take_no_room() {
    let mut world = world(2, 4, 1, 2);
    let io = Asks {
        io: true,
        ..cpus(8)
    };
    world.step(&Step::Submit(1000, io));
    assert_eq!(loads(&world), [501, 501]);
}

#[test]
fn a_killed_worker_is_held_against_nobody() {
    let mut world = world(1, 4, 1, 3);
    world.step(&Step::Submit(
        1,
        Asks {
            io: true,
            ..Asks::default()
        },
    ));
    // It cannot be dropped.
    world.step(&Step::Receive(0));
    world.tell(Input::Cancel { call: CallId(0) });
    for _ in 0..5 {
        world.step(&Step::Receive(0));
    }
    world.step(&Step::Report(0, false));
    assert!(world.doomed.contains(&WorkerId(0)));
    world.round(0);
    assert!(world.suspects.is_empty());
    let worker = WorkerId(1);
    assert_eq!(world.in_flight[&worker].len(), 3, "sent ahead as ever");
    // So one loss more is none too much.
    world.tell(Input::WorkerLost { worker });
    world.new_worker(HostId(0));
    world.settle();
    assert!(
        (1..4).all(|n| is_done(&world, CallId(n))),
        "{:?}",
        world.finished
    );
}

#[test]
fn what_was_wrongly_taken_to_run_comes_back_from_a_worker_that_retires() {
    let mut world = world(1, 4, 1, 2);
    world.step(&Step::Receive(0));
    world.step(&Step::Receive(0));
    // The worker goes on with the second call just when a more urgent one is sent.
    world.step(&Step::Finish(0, 0));
    let urgent = world.submit(&Asks {
        priority: 1,
        ..Asks::default()
    });
    world.step(&Step::Report(0, false));
    world.step(&Step::Receive(0));
    world.tell(Input::Retire {
        worker: WorkerId(0),
    });
    // It has kept the second one.
    world.step(&Step::Report(0, false));
    assert!(world.asked.contains(&(urgent, 1)));
    world.settle();
}

#[test]
fn nobody_waits_for_what_is_stuck_after_it_was_asked_back() {
    let mut world = world(1, 4, 1, 4);
    for _ in 0..4 {
        world.step(&Step::Receive(0));
    }
    for _ in 0..3 {
        world.step(&Step::Finish(0, 0));
    }
    world.submit(&Asks {
        priority: 1,
        ..Asks::default()
    });
    assert!(world.asked.contains(&(CallId(3), 1)));
    // The worker has begun it by then.
    world.step(&Step::TimeOut(0, 0));
    world.step(&Step::Receive(0));
    for _ in 0..4 {
        world.step(&Step::Report(0, false));
    }
    let late = &world.finished[&CallId(3)];
    assert!(matches!(late, Outcome::TimedOut { .. }));
    world.settle();
}

/// Even then it begins nothing any more.
#[test]
fn a_worker_is_killed_that_is_stuck_in_what_it_has_ended() {
    let mut world = world(1, 4, 1, 3);
    world.step(&Step::Receive(0));
    world.step(&Step::TimeOut(0, 0));
    world.step(&Step::Finish(0, 0));
    world.step(&Step::Report(0, false));
    assert!(is_done(&world, CallId(0)));
    world.step(&Step::Receive(0));
    world.step(&Step::Report(0, false));
    assert!(world.doomed.contains(&WorkerId(0)));
    world.settle();
    assert!((0..3).all(|n| is_done(&world, CallId(n))));
}

#[test]
fn a_worker_retires_when_it_has_nothing_left() {
    let mut world = world(2, 4, 1, 6);
    let worker = WorkerId(0);
    assert_eq!(world.core.idle(HostId(0)), None, "both have calls");
    world.tell(Input::Retire { worker });
    assert_eq!(world.asked.len(), 2);
    for _ in 0..5 {
        world.step(&Step::Receive(0));
        world.step(&Step::Report(0, false));
    }
    assert!(world.retired.is_empty());
    finish(&mut world, 0);
    assert!(world.retired.contains(&worker));
    world.settle();
}

#[test]
fn an_idle_worker_is_one_that_may_retire() {
    let mut world = world(2, 4, 1, 1);
    let (busy, idle) = (WorkerId(0), WorkerId(1));
    assert_eq!(world.in_flight[&busy].len(), 1);
    assert_eq!(world.core.idle(HostId(0)), Some(idle));
    world.tell(Input::Retire { worker: idle });
    assert_eq!(world.core.idle(HostId(0)), None);
}

#[test]
fn what_waits_is_wanted_where_it_may_run() {
    let mut world = World::new(0, 1, true);
    let [one, other] = [2, 4].map(|cores| add_host(&mut world, cores));
    let submit = |world: &mut World, n, needs, at| {
        let asks = Asks {
            needs,
            at,
            ..Asks::default()
        };
        world.step(&Step::Submit(n, asks));
    };
    let local = |taken, waiting, large: &[(usize, usize)]| Local {
        taken,
        waiting,
        large: large.iter().copied().collect(),
    };
    let demand = |world: &World| {
        let demand = world.core.demand();
        let at = |host| demand.at[host].clone();
        (demand.anywhere, at(&one), at(&other))
    };
    let none = || local(0, 0, &[]);
    assert_eq!(demand(&world), (0, none(), none()));
    submit(&mut world, 1, Resources::cpus(2), At::Host(0));
    assert_eq!(demand(&world), (0, local(2, 0, &[]), none()));
    submit(&mut world, 2, Resources::cpus(1), At::Host(0));
    submit(&mut world, 1, Resources::cpus(1), At::Worker(0));
    assert_eq!(demand(&world), (0, local(2, 3, &[]), none()));
    // One runs; one that waits counts what it needs, wherever it may run.
    submit(&mut world, 2, Resources::cpus(3), At::Anywhere);
    let large = [(3, 3)];
    assert_eq!(
        demand(&world),
        (0, local(2, 3, &large), local(3, 0, &large))
    );
    // But not where there is not enough of something else.
    submit(&mut world, 1, Resources::cpus(4).memory(1), At::Anywhere);
    submit(
        &mut world,
        1,
        Resources::cpus(1).named("gpu", 1),
        At::Anywhere,
    );
    assert_eq!(
        demand(&world),
        (0, local(2, 3, &large), local(3, 0, &large))
    );
    assert_eq!(world.core.demand().total, 5 + 3 + 3 + 4 + 1);
    // A worker is enough for all io calls, which take one as long as nothing else does.
    let mut world = World::new(0, 1, true);
    let io = Asks {
        io: true,
        ..Asks::default()
    };
    world.step(&Step::Submit(3, io));
    assert_eq!(world.core.demand().total, 1);
    let host = add_host(&mut world, 1);
    assert_eq!(world.core.demand().at[&host], local(1, 0, &[]));
    assert_eq!(world.core.demand().total, 1);
}

/// What a host has lent at present says nothing of what it can lend.
#[test]
fn a_call_is_told_when_no_host_can_have_room_for_it_any_more() {
    let mut world = world(1, 2, 1, 0);
    let lends_later = |world: &mut World| {
        let host = world.new_host(Resources::default());
        let (room, could) = (Resources::default(), Resources::cpus(4));
        world.tell(Input::HostRoom { host, room, could });
        host
    };
    let host = lends_later(&mut world);
    let calls = [(); 2].map(|()| world.submit(&cpus(4)));
    assert!(world.unplaceable.is_empty());
    let other = lends_later(&mut world);
    world.tell(Input::HostLost { host });
    assert!(world.unplaceable.is_empty(), "there is another");
    world.tell(Input::HostLost { host: other });
    assert!(world.unplaceable.iter().eq(&calls));
    // Who is told once has to be told again.
    let host = lends_later(&mut world);
    assert!(world.unplaceable.is_empty());
    world.tell(Input::HostLost { host });
    assert!(world.unplaceable.iter().eq(&calls));
}

#[test]
fn what_no_host_has_is_waited_for_for_a_while() {
    let mut world = world(1, 2, 1, 0);
    let (fits, large) = (world.submit(&cpus(1)), world.submit(&cpus(4)));
    for call in [fits, large] {
        world.tell(Input::NoneCame { call });
    }
    let needs = Resources::cpus(4);
    assert_eq!(world.finished[&large], Outcome::NoRoom { needs });
    assert!(!world.finished.contains_key(&fits));
    world.settle();
}

/// Whoever waits too long for a host gives up, and what comes then finds those that there are.
#[test]
fn what_is_given_up_leaves_hosts_and_workers() {
    let mut world = world(1, 2, 1, 0);
    let large = world.submit(&cpus(4));
    world.tell(Input::GiveUp);
    assert_eq!(world.finished[&large], Outcome::Closed);
    world.step(&Step::Submit(1, Asks::default()));
    assert_eq!(world.in_flight[&WorkerId(0)], [(CallId(1), 1)]);
    finish(&mut world, 0);
    assert!(is_done(&world, CallId(1)));
    world.settle();
}
