//! Which calls run on which nodes, and how many at a time.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::farm::*;
use common::service::{at, close, farm_with_service};
use common::work::*;
use common::*;
use coros::cluster::daemon::Daemon;
use coros::cluster::placement::{Decision, NodeView, Placement, Rule};
use coros::cluster::{Event, SchedulerBuilder, Target, worker};
use coros::{JobError, Scheduler};
use libtest_mimic::Arguments;
use tokio::sync::mpsc;

async fn no_more_calls_run_than_there_are_slots() {
    let farm = Farm::of([2]).await;
    let [a, b] = [farm.scheduler().await, farm.scheduler().await];
    let (to, mut work) = told::<Work>();
    let jobs = (0..10).map(|n| [&a, &b][n % 2].submit(until_told(to.clone())));
    let jobs: Vec<_> = jobs.collect();
    let (mut running, mut ended, mut most) = (Vec::new(), 0, 0);
    let mut of = BTreeSet::new();
    while ended < 10 {
        match work.recv().await.unwrap() {
            Work::Begun(place, address) => {
                of.insert(place.folder.parent().unwrap().to_owned());
                running.push(address);
                most = running.len().max(most);
                assert!(running.len() <= 2, "more than there are slots");
            }
            Work::Ended(_) => ended += 1,
        }
        // As soon as both slots are taken one ends, and whoever waits begins.
        if running.len() == 2 || ended >= 8 {
            for address in running.drain(..1.min(running.len())) {
                address.send(()).unwrap();
            }
        }
    }
    assert_eq!((most, of.len()), (2, 2), "both run, one slot each");
    for job in jobs {
        job.await.unwrap();
    }
    for scheduler in [a, b] {
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

async fn exclusive_clients_run_in_turn() {
    let farm = Farm::of([2]).await;
    let alone = async || {
        let scheduler = Scheduler::cluster(&farm.client().await).exclusive();
        quiet(scheduler).start().await.unwrap()
    };
    let first = alone().await;
    let (to, mut work) = told::<Work>();
    let one = first.submit(until_told(to.clone()));
    let Some(Work::Begun(_, address)) = work.recv().await else {
        panic!("it has not begun")
    };
    let second = alone().await;
    let other = second.submit(until_told(to));
    let begins = tokio::time::timeout(Duration::from_millis(500), work.recv());
    assert!(begins.await.is_err(), "it is not alone");
    assert_eq!(farm.daemons[0].status().await.unwrap().clients.len(), 2);
    address.send(()).unwrap();
    one.await.unwrap();
    // It still has the node, though it has nothing to do.
    assert_eq!(first.run(square(2)).await, Ok(4));
    let ended = work.recv().await.unwrap();
    assert!(matches!(ended, Work::Ended(_)), "{ended:?}");
    assert!(work.try_recv().is_err(), "it is not alone");
    first.close().await.unwrap();
    let Some(Work::Begun(_, address)) = work.recv().await else {
        panic!("it does not begin")
    };
    address.send(()).unwrap();
    other.await.unwrap();
    second.close().await.unwrap();
    farm.close().await;
}

async fn nodes_are_used_as_the_client_wants() {
    let farm = Farm::of([2, 2]).await;
    let placement = Placement::builder()
        .rule(Rule::new().name("farm-2").exclude())
        .rule(Rule::new().workers(1))
        .build()
        .unwrap();
    let (to, mut events) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .placement(placement)
        .on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    loop {
        match events.recv().await.unwrap() {
            Event::NodeNotUsed { name, reason, .. } => {
                assert_eq!((&*name, &*reason), ("farm-2", "rule 1 excludes it"));
                break;
            }
            Event::NodeFound { node, .. } => assert_eq!(node.name, "farm-1"),
            _ => {}
        }
    }
    // Who listens later hears of it first.
    let first = scheduler.events().next().await;
    assert!(matches!(first, Some(Event::NodeNotUsed { name, .. }) if &*name == "farm-2"));
    let mut places = scheduler.map((0..50).map(|_| where_am_i()));
    let mut pids = BTreeSet::new();
    while let Some(place) = places.next().await {
        pids.insert(place.unwrap().pid);
    }
    assert_eq!(pids.len(), 1);
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn calls_run_where_they_are_told_to() {
    let farm = Farm::of([1, 2]).await;
    let scheduler = farm.scheduler().await;
    let mut events = scheduler.events();
    let names = workers(&mut events, 3).await;
    let nodes = scheduler.nodes().await;
    let expected = ["farm-1", "farm-2"].map(Target::node);
    assert_eq!(BTreeSet::from_iter(nodes), BTreeSet::from(expected.clone()));
    for (n, target) in expected.iter().enumerate() {
        for _ in 0..10 * (n + 1) {
            let place = scheduler
                .run(where_am_i().at(target.clone()))
                .await
                .unwrap();
            assert_eq!(node_of(&place.worker), target.name());
        }
    }
    let each = scheduler.run_each_worker(|_| where_am_i()).await;
    let ran = each.iter().map(|(target, place)| {
        let place = place.as_ref().unwrap();
        assert_eq!(place.worker, target.name());
        Arc::from(target.name())
    });
    assert_eq!(ran.collect::<BTreeSet<Arc<str>>>(), names);
    let each = scheduler.run_each_node(|_| where_am_i()).await;
    let ran = each.iter().map(|(target, place)| {
        let place = place.as_ref().unwrap();
        assert_eq!(node_of(&place.worker), target.name());
        target.clone()
    });
    assert_eq!(ran.collect::<BTreeSet<_>>(), BTreeSet::from(expected));

    // Where there is nobody is an error at once.
    let error = scheduler.run(square(1).at(Target::node("farm-9"))).await;
    let says = "there is no node farm-9; there are: farm-1, farm-2";
    let mut sorted = error.unwrap_err();
    if let JobError::NoTarget { there, .. } = &mut sorted {
        there.sort();
    }
    assert_eq!(sorted.to_string(), says);
    let error = scheduler
        .run(square(1).at(Target::worker("w99@farm-1")))
        .await;
    assert!(matches!(error, Err(JobError::NoTarget { .. })), "{error:?}");
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// The workers in which a call has run that was for each.
async fn each_worker(scheduler: &Scheduler) -> BTreeSet<String> {
    let each = scheduler.run_each_worker(|_| where_am_i()).await;
    let ran = each.into_iter().map(|(target, place)| {
        let place = place.unwrap();
        assert_eq!(place.worker, target.name());
        place.worker
    });
    ran.collect()
}

/// First thing, when hardly one has started.
async fn each_worker_that_there_may_be_is_reached() {
    let (farm, service) = farm_with_service([1, 2]).await;
    for scheduler in [farm.scheduler().await, at(&farm, &service).await] {
        let nodes = each_worker(&scheduler).await;
        let mut nodes: Vec<_> = nodes.iter().map(|name| node_of(name)).collect();
        nodes.sort();
        assert_eq!(nodes, ["farm-1", "farm-2", "farm-2"]);
        scheduler.close().await.unwrap();
    }
    let limited = Scheduler::cluster(&farm.client().await).workers(2);
    for scheduler in [Scheduler::local().workers(2), limited] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        assert_eq!(each_worker(&scheduler).await.len(), 2);
        scheduler.close().await.unwrap();
    }
    close(farm, service).await;
}

async fn workers_that_do_not_come_are_not_waited_for() {
    let farm = Farm::of([1, 2]).await;
    let other = farm.scheduler().await;
    let there = |event: &Event| match event {
        Event::NodeReady { node } if node.name == "farm-1" => Some(()),
        _ => None,
    };
    until(&mut other.events(), there).await;
    let (to, mut work) = told::<Work>();
    let job = other.submit(until_told(to).at(Target::node("farm-1")));
    let Some(Work::Begun(_, end)) = work.recv().await else {
        panic!("it does not begin")
    };
    let scheduler = farm.scheduler().await;
    let reached = each_worker(&scheduler).await;
    assert_eq!(reached.len(), 2);
    assert!(reached.iter().all(|name| node_of(name) == "farm-2"));
    // Nor are those of nodes that are to run nothing.
    for node in scheduler.nodes().await {
        scheduler.suspend(node).await.unwrap();
    }
    assert_eq!(each_worker(&scheduler).await, BTreeSet::new());
    end.send(()).unwrap();
    job.await.unwrap();
    other.close().await.unwrap();
    // Whoever waits when all ends is told so.
    let waits = scheduler.run_each_worker(|_| where_am_i());
    let (each, closed) = tokio::join!(waits, scheduler.close());
    assert!(each.is_empty());
    closed.unwrap();
    farm.close().await;
}

/// Names need not be unique.
async fn twins_are_told_from_each_other() {
    let mut farm = Farm::new();
    for folder in ["one", "other"] {
        let node = farm.builder("twin");
        let daemon = Daemon::builder(node, farm.folder(folder)).slots(1);
        farm.daemons.push(daemon.start().await.unwrap());
    }
    let scheduler = farm.scheduler().await;
    workers(&mut scheduler.events(), 2).await;
    let each = scheduler.run_each_node(|_| where_am_i()).await;
    let pids: BTreeSet<_> = each
        .iter()
        .map(|(_, it)| it.as_ref().unwrap().pid)
        .collect();
    assert_eq!(pids.len(), 2);
    // What is suspended is all that is left when one is resumed, whichever that is.
    for node in scheduler.nodes().await {
        scheduler.suspend(node).await.unwrap();
    }
    let waits = scheduler.submit(where_am_i());
    let (last, place) = each.last().unwrap();
    let mut events = scheduler.events();
    scheduler.resume(last.clone()).await.unwrap();
    workers(&mut events, 1).await;
    let ran = waits.await.unwrap();
    let again = scheduler.run(where_am_i().at(last.clone())).await.unwrap();
    assert_eq!((ran.pid, &ran.worker), (again.pid, &again.worker));
    assert_ne!(ran.pid, place.as_ref().unwrap().pid);
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn nodes_and_workers_can_be_told_what_to_do() {
    let farm = Farm::of([1, 1]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(2),
    ] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 2).await;
        let before = scheduler.run(where_am_i()).await.unwrap();
        let worker = Target::worker(before.worker.as_str());
        scheduler.restart(worker.clone()).await.unwrap();
        loop {
            match events.next().await.unwrap() {
                Event::WorkerClosed { pid, .. } => assert_eq!(pid, before.pid),
                Event::WorkerReady { pid, .. } => {
                    assert_ne!(pid, before.pid);
                    break;
                }
                _ => {}
            }
        }
        let error = scheduler.restart(worker).await.unwrap_err();
        assert!(matches!(error, JobError::NoTarget { .. }), "{error}");

        let node = scheduler.nodes().await.swap_remove(0);
        let error = scheduler.restart(node.clone()).await.unwrap_err();
        let why = format!("{node} cannot be restarted: only a worker can");
        assert_eq!(error.to_string(), why);
        let worker = scheduler.workers().await.swap_remove(0);
        let error = scheduler.close_node(worker.clone()).await.unwrap_err();
        let why = format!("{worker} cannot be closed as a node: only a node can");
        assert_eq!(error.to_string(), why);
        let error = scheduler.close_worker(node.clone()).await.unwrap_err();
        let why = format!("{node} cannot be closed as a worker: only a worker can");
        assert_eq!(error.to_string(), why);
        if node.name() == "local" {
            let error = scheduler.close_node(node.clone()).await.unwrap_err();
            assert_eq!(error.to_string(), "node local is closed with its scheduler");
        }
        scheduler.suspend(node.clone()).await.unwrap();
        let (to, mut work) = told::<Work>();
        let job = scheduler.submit(until_told(to).at(node.clone()));
        let waits = tokio::time::timeout(Duration::from_millis(300), work.recv());
        assert!(waits.await.is_err(), "it runs where it may not");
        scheduler.resume(node).await.unwrap();
        let Some(Work::Begun(_, address)) = work.recv().await else {
            panic!("it does not begin")
        };
        address.send(()).unwrap();
        job.await.unwrap();
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

async fn workers_are_suspended_resumed_and_closed_each_for_itself() {
    let (farm, service) = farm_with_service([2]).await;
    let node = farm.client().await;
    let daemon = &farm.daemons[0];
    controls_workers(Scheduler::local().workers(2), None).await;
    controls_workers(Scheduler::cluster(&node), Some(daemon)).await;
    let node = farm.client().await;
    controls_workers(Scheduler::at(&node), Some(daemon)).await;
    close(farm, service).await;
}

/// What is told of a worker's state, in short.
fn of_state(event: &Event) -> Option<String> {
    match event {
        Event::WorkerSuspended { name, .. } => Some(format!("{name} suspended")),
        Event::WorkerResumed { name, .. } => Some(format!("{name} resumed")),
        Event::WorkerClosed { name, .. } => Some(format!("{name} closed")),
        Event::WorkerLost { .. } | Event::WorkerFailed { .. } => panic!("{event}"),
        _ => None,
    }
}

/// With two workers; at the node of a daemon, if so.
async fn controls_workers(scheduler: SchedulerBuilder, daemon: Option<&Daemon>) {
    let scheduler = quiet(scheduler).start().await.unwrap();
    let both = each_worker(&scheduler).await;
    assert_eq!(both.len(), 2);
    let [one, other] = <[_; 2]>::try_from(scheduler.workers().await).unwrap();
    let mut events = scheduler.events();
    let (to, mut work) = told::<Work>();
    let running = scheduler.submit(until_told(to.clone()).at(one.clone()));
    let Some(Work::Begun(before, end)) = work.recv().await else {
        panic!("it does not begin")
    };
    assert_eq!(before.worker, one.name());
    // It goes on with what it runs, and begins nothing.
    for _ in 0..2 {
        scheduler.suspend(one.clone()).await.unwrap();
    }
    let mut waits = scheduler.submit(where_am_i().at(one.clone()));
    end.send(()).unwrap();
    assert_eq!(running.await.as_deref(), Ok(one.name()));
    assert!(matches!(work.recv().await, Some(Work::Ended(_))));
    for job in [(); 8].map(|()| scheduler.submit(where_am_i())) {
        assert_eq!(job.await.unwrap().worker, other.name());
    }
    let only_other = BTreeSet::from([other.name().to_owned()]);
    assert_eq!(each_worker(&scheduler).await, only_other);
    let suspended = format!("{} suspended", one.name());
    // Whoever listens late hears of it.
    for events in [&mut events, &mut scheduler.events()] {
        assert_eq!(until(events, of_state).await, suspended);
    }
    let waited = tokio::time::timeout(Duration::from_millis(300), &mut waits).await;
    assert!(waited.is_err(), "it runs where it may not");
    for _ in 0..2 {
        scheduler.resume(one.clone()).await.unwrap();
    }
    // It is what it was.
    assert_eq!(waits.await.unwrap().pid, before.pid);
    assert_eq!(
        until(&mut events, of_state).await,
        format!("{} resumed", one.name())
    );

    // None comes in place of one that is closed.
    let running = scheduler.submit(until_told(to.clone()).at(one.clone()));
    let Some(Work::Begun(_, end)) = work.recv().await else {
        panic!("it does not begin")
    };
    let waits = scheduler.submit(where_am_i().at(one.clone()));
    // A service has been told of it before this has come back.
    scheduler.run(where_am_i()).await.unwrap();
    scheduler.close_worker(one.clone()).await.unwrap();
    assert_eq!(waits.await.unwrap_err(), JobError::TargetLost(one.clone()));
    let error = scheduler.close_worker(one.clone()).await.unwrap_err();
    assert!(matches!(error, JobError::NoTarget { .. }), "{error}");
    end.send(()).unwrap();
    assert_eq!(running.await.as_deref(), Ok(one.name()));
    assert_eq!(
        until(&mut events, of_state).await,
        format!("{} closed", one.name())
    );
    let jobs = [(); 8].map(|()| scheduler.submit(where_am_i()));
    assert_eq!(each_worker(&scheduler).await, only_other);
    for job in jobs {
        assert_eq!(job.await.unwrap().worker, other.name());
    }
    if let Some(daemon) = daemon {
        lends(daemon, &[1]).await;
        // With its last worker goes the node.
        scheduler.close_worker(other).await.unwrap();
        let closed = |event: &Event| matches!(event, Event::NodeClosed { .. }).then_some(());
        until(&mut events, closed).await;
        assert_eq!(scheduler.nodes().await, []);
    } else {
        let error = scheduler.close_worker(other).await.unwrap_err();
        let why = "is the last one, and closed with its scheduler";
        assert!(error.to_string().ends_with(why), "{error}");
    }
    scheduler.close().await.unwrap();
}

/// What the user's function decides may change while calls run.
async fn a_node_may_be_used_no_longer_and_again() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let farm = Farm::of([1]).await;
    let busy = Arc::new(AtomicBool::new(false));
    let is_busy = Arc::clone(&busy);
    let decide = move |_: &NodeView, decision| match is_busy.load(Ordering::Relaxed) {
        true => Decision::exclude("it is busy"),
        false => decision,
    };
    let placement = Placement::builder().allocate(decide).build().unwrap();
    let scheduler = Scheduler::cluster(&farm.client().await).placement(placement);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let before = scheduler.run(where_am_i()).await.unwrap();
    busy.store(true, Ordering::Relaxed);
    let mut told = None;
    loop {
        match events.next().await.unwrap() {
            Event::NodeNotUsed { reason, .. } => told = Some(reason),
            Event::WorkerClosed { pid, .. } => {
                assert_eq!(pid, before.pid);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(told.as_deref(), Some("it is busy"));
    lends(&farm.daemons[0], &[0]).await;
    let job = scheduler.submit(where_am_i());
    busy.store(false, Ordering::Relaxed);
    assert_ne!(job.await.unwrap().pid, before.pid);
    scheduler.close().await.unwrap();
    farm.close().await;
}

fn main() {
    worker::enter();
    let trials = trials![
        no_more_calls_run_than_there_are_slots,
        exclusive_clients_run_in_turn,
        nodes_are_used_as_the_client_wants,
        calls_run_where_they_are_told_to,
        each_worker_that_there_may_be_is_reached,
        workers_that_do_not_come_are_not_waited_for,
        twins_are_told_from_each_other,
        nodes_and_workers_can_be_told_what_to_do,
        workers_are_suspended_resumed_and_closed_each_for_itself,
        a_node_may_be_used_no_longer_and_again,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
