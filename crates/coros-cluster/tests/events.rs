//! What a scheduler tells of nodes, workers and calls; and what it does with a node that is closed.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use common::farm::*;
use common::service::{client as client_of, *};
use common::*;
use coros::cluster::daemon::Daemon;
use coros::cluster::{Event, Events, Target, worker};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
use tokio::sync::mpsc;

#[coros::remote]
fn square(n: u64) -> u64 {
    n * n
}

#[coros::remote]
fn fails(why: String) -> Result<(), String> {
    Err(why)
}

#[coros::remote]
fn takes(time: Duration) {
    std::thread::sleep(time);
}

/// Computes until it is told to end; a number tells them apart.
#[coros::remote]
async fn computes(mut me: Context<()>, number: u32, to: Address<Address<()>>) -> u32 {
    to.send(me.address()).unwrap();
    me.receive().await;
    number
}

/// When it is told to end, the worker ends if there is no such file.
#[coros::remote]
async fn ends(mut me: Context<()>, unless: PathBuf, to: Address<Address<()>>) {
    to.send(me.address()).unwrap();
    me.receive().await;
    if !unless.exists() {
        std::process::exit(3)
    }
}

/// Ends its worker before that can say anything of it.
#[coros::remote]
fn ends_at_once() {
    std::process::exit(3)
}

/// Says where it is.
#[coros::remote]
fn notes(to: Address<String>) {
    let name = worker::name().unwrap_or_default();
    to.send(name.to_owned()).unwrap();
}

/// What is told of a call, in short.
fn of_call(event: &Event) -> Option<String> {
    match event {
        Event::JobStarted { job, attempt, .. } => Some(format!("{job} begins, {attempt}")),
        Event::JobRetried { job, .. } => Some(format!("{job} again")),
        Event::JobEnded {
            job, error, ran, ..
        } => {
            let how = match error {
                None => "ends".to_owned(),
                Some(why) => format!("ends: {why}"),
            };
            let begun = if ran.is_some() { "" } else { " unbegun" };
            Some(format!("{job} {how}{begun}"))
        }
        _ => None,
    }
}

/// What is told of calls, until one has ended so often.
async fn of_calls(events: &mut Events, ends: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told
        .iter()
        .filter(|it: &&String| it.contains("ends"))
        .count()
        < ends
    {
        told.push(until(events, of_call).await);
    }
    told
}

/// At a scheduler of one's own and at a service, whose client has listened before or not.
async fn whoever_listens_late_hears_of_the_nodes_and_workers_that_are_ready() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let heard = async |scheduler: &Scheduler| {
        let mut events = scheduler.events();
        let (mut nodes, mut ready) = (BTreeSet::new(), BTreeSet::new());
        while (nodes.len(), ready.len()) != (2, 2) {
            match events.next().await.unwrap() {
                Event::NodeReady { node } => assert!(nodes.insert(node.name.clone())),
                Event::WorkerReady { name, node, .. } => {
                    assert!(name.ends_with(&format!("@{}", node.name)), "{name}");
                    assert!(node.machine.memory > 0 && node.load.disk_free.is_some());
                    assert!(node.id.is_some() && node.endpoint.is_some());
                    assert!(ready.insert(name));
                }
                _ => {}
            }
        }
        nodes
    };
    let client = farm.client().await;
    for scheduler in [Scheduler::cluster(&client), Scheduler::at(&client)] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        // All are ready when it has been heard once.
        for _ in 0..2 {
            let nodes = heard(&scheduler).await;
            assert_eq!(nodes, BTreeSet::from(["farm-1".into(), "farm-2".into()]));
        }
        // One that lends nothing is told to be so.
        let mut events = scheduler.events();
        scheduler.suspend(Target::node("farm-1")).await.unwrap();
        let suspended = |event: &Event| matches!(event, Event::NodeSuspended { .. }).then_some(());
        until(&mut events, suspended).await;
        let mut events = scheduler.events();
        let mut told = Vec::new();
        while told.len() < 3 {
            told.push(match events.next().await.unwrap() {
                Event::NodeReady { node } => format!("{} is ready", node.name),
                Event::NodeSuspended { node } => format!("{} is suspended", node.name),
                event => panic!("{event}"),
            });
        }
        let after = told.iter().position(|it| it == "farm-1 is suspended");
        assert_eq!(told[after.unwrap() - 1], "farm-1 is ready");
        assert!(told.contains(&"farm-2 is ready".to_owned()), "{told:?}");
        scheduler.resume(Target::node("farm-1")).await.unwrap();
        heard(&scheduler).await;
        // One that is let go is there no more.
        let mut events = scheduler.events();
        scheduler.close_node(Target::node("farm-2")).await.unwrap();
        let closed = |event: &Event| matches!(event, Event::NodeClosed { .. }).then_some(());
        until(&mut events, closed).await;
        let mut events = scheduler.events();
        let node = until(&mut events, |event| match event {
            Event::NodeReady { node } => Some(node.name.clone()),
            Event::WorkerReady { .. } => panic!("the node comes first"),
            _ => None,
        });
        assert_eq!(node.await, "farm-1");
        scheduler.close().await.unwrap();
    }
    // Nor is one that has ended.
    let scheduler = quiet(Scheduler::at(&client)).start().await.unwrap();
    let mut events = scheduler.events();
    workers(&mut events, 2).await;
    farm.daemons[1].close().await;
    let ended = |event: &Event| matches!(event, Event::NodeEnded { .. }).then_some(());
    until(&mut events, ended).await;
    let mut events = scheduler.events();
    let mut nodes = BTreeSet::new();
    loop {
        match events.next().await.unwrap() {
            Event::NodeReady { node } => drop(nodes.insert(node.name.clone())),
            // Nodes come before the workers.
            Event::WorkerReady { .. } => break,
            _ => {}
        }
    }
    assert_eq!(nodes, BTreeSet::from(["farm-1".into()]));
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// Whoever runs calls is none the worse for it.
async fn a_function_that_panics_at_an_event_ends_nothing() {
    let farm = Farm::of([1]).await;
    for scheduler in [
        Scheduler::local().workers(1),
        Scheduler::cluster(&farm.client().await),
    ] {
        let scheduler = scheduler.on_event(|event| panic!("at {event}"));
        let scheduler = quiet(scheduler).start().await.unwrap();
        assert_eq!(scheduler.run(square(3)).await, Ok(9));
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

/// Of whichever worker at the node: one may have come and gone before it was ready.
fn unnumbered(told: String) -> String {
    let Some((before, after)) = told.split_once("@farm-1") else {
        return told;
    };
    let before = before.trim_end_matches(|it: char| it.is_ascii_digit());
    format!("{before}@farm-1{after}")
}

/// Each change is one event, in order.
async fn what_happens_to_a_node_is_told_in_order() {
    let (asks, mut begun) = told::<Address<()>>();
    let farm = Farm::of([1]).await;
    let (to, mut events) = mpsc::unbounded_channel();
    let client = farm.client().await;
    let scheduler = Scheduler::cluster(&client);
    let scheduler = scheduler.on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let job = scheduler.submit(square(3));
    let id = job.id();
    assert_eq!(job.await, Ok(9));
    let daemon = &farm.daemons[0];
    daemon.suspend();
    let mut told = Vec::new();
    let mut next = async || {
        let event = events.recv().await.unwrap();
        let told = match &event {
            Event::NodeFound { node, .. } => format!("found {}", node.name),
            Event::WorkerReady { name, .. } => format!("{name} ready"),
            Event::WorkerClosed { name, .. } => format!("{name} closed"),
            Event::JobEnded {
                job,
                error: None,
                worker: Some(worker),
                ..
            } => {
                format!("{job} ended at {worker}")
            }
            event => event.to_string(),
        };
        unnumbered(told)
    };
    let mut until = async |last: &str| {
        while told.last().map(String::as_str) != Some(last) {
            told.push(next().await);
        }
        std::mem::take(&mut told)
    };
    let expected = [
        "found farm-1".to_owned(),
        "node farm-1 is ready".to_owned(),
        "the calls run from now on".to_owned(),
        "w@farm-1 ready".to_owned(),
        format!("job {id} (events::square) has begun at worker w@farm-1"),
        format!("{id} ended at w@farm-1"),
    ];
    assert_eq!(until(&expected[5]).await, expected);
    let expected = ["node farm-1 is suspended", "w@farm-1 closed"];
    assert_eq!(until("w@farm-1 closed").await, expected);
    daemon.resume();
    let expected = ["node farm-1 lends again", "w@farm-1 ready"];
    assert_eq!(until("w@farm-1 ready").await, expected);
    let node = Target::node("farm-1");
    scheduler.suspend(node.clone()).await.unwrap();
    let expected = ["node farm-1 is suspended", "w@farm-1 closed"];
    assert_eq!(until("w@farm-1 closed").await, expected);
    scheduler.resume(node.clone()).await.unwrap();
    let expected = ["node farm-1 lends again", "w@farm-1 ready"];
    assert_eq!(until("w@farm-1 ready").await, expected);
    // The daemon has it so, and the scheduler too: that is no change, nor is it that one of them has not.
    daemon.suspend();
    let expected = ["node farm-1 is suspended", "w@farm-1 closed"];
    assert_eq!(until("w@farm-1 closed").await, expected);
    scheduler.suspend(node.clone()).await.unwrap();
    daemon.resume();
    scheduler.resume(node).await.unwrap();
    let expected = ["node farm-1 lends again", "w@farm-1 ready"];
    assert_eq!(until("w@farm-1 ready").await, expected);
    let job = scheduler.submit(computes(7, asks));
    let id = job.id();
    let end = begun.recv().await.unwrap();
    let expected = format!("job {id} (events::computes) has begun at worker w@farm-1");
    assert_eq!(until(&expected).await, [expected]);
    let mut draining = Box::pin(daemon.drain());
    let expected = "node farm-1 is about to end";
    tokio::select! {
        biased;
        _ = &mut draining => panic!("something runs there"),
        told = until(expected) => assert_eq!(told, [expected]),
    }
    // Nor is this, of one that is about to end.
    daemon.suspend();
    daemon.resume();
    end.send(()).unwrap();
    assert_eq!(job.await, Ok(7));
    draining.await.unwrap();
    let expected = [
        format!("{id} ended at w@farm-1"),
        "w@farm-1 closed".to_owned(),
        "node farm-1 runs nothing more".to_owned(),
    ];
    assert_eq!(until(&expected[2]).await, expected);
    daemon.close().await;
    let ended = next().await;
    assert_eq!(ended, "node farm-1 has ended all that ran there");
    // Another one of that name.
    let again = Daemon::builder(farm.builder("farm-1"), farm.folder("again"));
    let again = again.slots(1).start().await.unwrap();
    again.node().connect(endpoint(&client)).await.unwrap();
    let returned = next().await;
    assert!(returned.starts_with("node farm-1 ("), "{returned}");
    assert!(returned.contains(" was found again: "), "{returned}");
    again.close().await;
    // It may have gone before it had opened; if not, it says what it is about to do.
    let ways = ["node farm-1 has ended", "node farm-1 was lost: "];
    let before = [
        "node farm-1 is about to end",
        "node farm-1 runs nothing more",
    ];
    loop {
        let told = next().await;
        if ways.iter().any(|way| told.starts_with(way)) {
            break;
        }
        assert!(before.contains(&&*told), "{told}");
    }
    scheduler.close().await.unwrap();
    assert_eq!(next().await, "the scheduler is closed");
    assert_eq!(events.recv().await, None);
}

/// Soon, and with what to do; not when it is too late.
async fn who_waits_for_a_node_or_a_service_is_told() {
    const PATIENCE: Duration = Duration::from_secs(50);
    let awaited = |event: &Event| match event {
        Event::NodesAwaited { limit, reason } => Some((*limit, reason.clone())),
        Event::NoNodes { .. } => panic!("{event}"),
        _ => None,
    };
    let client = Farm::new().client().await;
    for (scheduler, what) in [
        (
            Scheduler::at(&client),
            "a service, up to 50s; none was found: does `coros scheduler` run",
        ),
        (
            Scheduler::cluster(&client),
            "a node, up to 50s; none was found: does `coros node` run",
        ),
    ] {
        let (to, mut events) = mpsc::unbounded_channel();
        let scheduler = quiet(scheduler)
            .patience(PATIENCE)
            .on_event(move |event| drop(to.send(event.clone())));
        let starting = tokio::spawn(scheduler.start());
        let (limit, reason) = awaited(&events.recv().await.unwrap()).unwrap();
        assert_eq!(limit, PATIENCE);
        assert!(
            reason.starts_with(&format!("waiting for {what}")),
            "{reason}"
        );
        starting.abort();
    }
    // The client of a service that has no node waits for one, and hears that from there.
    let (mut farm, service) = farm_with_service([]).await;
    let (to, mut events) = mpsc::unbounded_channel();
    let scheduler = Scheduler::at(&client_of(&farm, &service).await)
        .on_event(move |event| drop(to.send(event.clone())));
    let starting = tokio::spawn(quiet(scheduler).start());
    let reason = loop {
        if let Some((_, reason)) = awaited(&events.recv().await.unwrap()) {
            break reason;
        }
    };
    assert!(
        reason.starts_with("waiting for a node, up to 60s"),
        "{reason}"
    );
    starting.abort();
    service.close().await;

    farm.add(1).await;
    let scheduler = Scheduler::cluster(&farm.client().await).patience(PATIENCE);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    farm.daemons[0].close().await;
    let waits = scheduler.submit(square(3));
    let told = until(&mut events, awaited).await;
    let (limit, reason) = &told;
    assert_eq!(*limit, PATIENCE);
    let why = ": it has ended all that ran there for this program";
    assert!(
        reason.contains("farm-1@") && reason.ends_with(why),
        "{reason}"
    );
    // Whoever comes later hears of it too.
    assert_eq!(
        awaited(&scheduler.events().next().await.unwrap()),
        Some(told)
    );
    drop(waits);
    scheduler.close().await.unwrap();
}

/// One that waits at its worker behind another has not.
async fn a_call_has_begun_when_it_runs() {
    let scheduler = quiet(Scheduler::local().workers(1)).start().await.unwrap();
    let mut events = scheduler.events();
    let (to, mut begun) = told::<Address<()>>();
    let jobs = [7, 8].map(|number| scheduler.submit(computes(number, to.clone())));
    for job in jobs {
        begun.recv().await.unwrap().send(()).unwrap();
        job.await.unwrap();
    }
    assert_eq!(
        of_calls(&mut events, 2).await,
        ["0 begins, 1", "0 ends", "1 begins, 1", "1 ends"]
    );
    scheduler.close().await.unwrap();
}

/// Also of one that is over before the next message goes.
async fn how_long_a_call_ran_is_told_as_its_worker_saw_it() {
    const TIME: Duration = Duration::from_millis(20);
    let scheduler = quiet(Scheduler::local().workers(1)).start().await.unwrap();
    let mut events = scheduler.events();
    let jobs = [(); 3].map(|()| scheduler.submit(takes(TIME)));
    for job in jobs {
        job.await.unwrap();
        let ran = until(&mut events, |event| match event {
            Event::JobEnded { ran, after, .. } => Some((ran.unwrap(), *after)),
            _ => None,
        });
        let (ran, after) = ran.await;
        assert!(TIME <= ran && ran <= after, "{ran:?} of {after:?}");
    }
    scheduler.close().await.unwrap();
}

async fn io_calls_begin_too_and_all_say_how_they_ended() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let scheduler = quiet(Scheduler::local().workers(1)).start().await.unwrap();
    let mut events = scheduler.events();
    let (to, mut begun) = told::<Address<()>>();
    let io = scheduler.submit(computes(1, to.clone()).io());
    let end = begun.recv().await.unwrap();
    let failed = scheduler.run(fails("it is raining".into())).await;
    assert!(failed.is_err());
    end.send(()).unwrap();
    io.await.unwrap();
    let expected = [
        "0 begins, 1",
        "1 begins, 1",
        "1 ends: it is raining",
        "0 ends",
    ];
    assert_eq!(of_calls(&mut events, 2).await, expected);
    let retried = scheduler.submit(ends(marker.clone(), to.clone()));
    begun.recv().await.unwrap().send(()).unwrap();
    let again = begun.recv().await.unwrap();
    std::fs::write(&marker, "").unwrap();
    again.send(()).unwrap();
    retried.await.unwrap();
    let expected = ["2 begins, 1", "2 again", "2 begins, 2", "2 ends"];
    assert_eq!(of_calls(&mut events, 1).await, expected);
    let one = scheduler.submit(computes(1, to.clone()));
    // As long as it has an address, it goes on.
    let _goes_on = begun.recv().await.unwrap();
    let other = scheduler.submit(computes(2, to));
    other.cancel();
    one.cancel();
    let cancelled = [
        "3 begins, 1",
        "4 ends: the call was cancelled unbegun",
        "3 ends: the call was cancelled",
    ];
    assert_eq!(of_calls(&mut events, 2).await, cancelled);
    scheduler.close().await.unwrap();
}

/// Its worker may have had no time to say so.
async fn a_call_that_ends_its_worker_at_once_has_begun() {
    let (farm, service) = farm_with_service([1]).await;
    for scheduler in [
        Scheduler::local().workers(1),
        Scheduler::at(&farm.client().await),
    ] {
        let scheduler = quiet(scheduler.retries(1)).start().await.unwrap();
        let mut events = scheduler.events();
        workers(&mut events, 1).await;
        for n in 0..10 {
            let call = ends_at_once();
            let job = scheduler.submit(if n % 2 == 0 { call } else { call.io() });
            let id = job.id();
            let error = job.await.unwrap_err();
            let told = [
                format!("{id} begins, 1"),
                format!("{id} again"),
                format!("{id} begins, 2"),
                format!("{id} ends: {error}"),
            ];
            assert_eq!(of_calls(&mut events, 1).await, told);
        }
        scheduler.close().await.unwrap();
    }
    close(farm, service).await;
}

/// Before that, as it is why.
async fn a_call_has_begun_before_it_ends_its_worker() {
    let scheduler = quiet(Scheduler::local().workers(1).retries(0));
    let scheduler = scheduler.start().await.unwrap();
    let mut events = scheduler.events();
    scheduler.run(ends_at_once()).await.unwrap_err();
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(match events.next().await.unwrap() {
            Event::JobStarted { worker, .. } => format!("begun at {worker}"),
            Event::WorkerLost { name, given_up, .. } => format!("{name} is lost, {given_up}"),
            Event::JobEnded { .. } => "ended".to_owned(),
            _ => continue,
        });
    }
    assert_eq!(told, ["begun at w1", "w1 is lost, 1", "ended"]);
    scheduler.close().await.unwrap();
}

/// Those that waited are none the worse for it, and nobody is told that they had run.
async fn a_lost_worker_had_calls_that_ran_and_calls_that_waited() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let scheduler = Scheduler::local().workers(1).prefetch(2);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let (to, mut begun) = told::<Address<()>>();
    let bad = scheduler.submit(ends(marker.clone(), to));
    let end = begun.recv().await.unwrap();
    let good: Vec<_> = (1..4).map(|n| scheduler.submit(square(n))).collect();
    // It has taken note of them when it has answered.
    assert_eq!(scheduler.workers().await.len(), 1);
    let mut losses = scheduler.events();
    end.send(()).unwrap();
    let lost = until(&mut losses, |event| match event {
        Event::WorkerLost {
            jobs,
            waited,
            given_up,
            ..
        } => Some((*jobs, *waited, *given_up)),
        _ => None,
    });
    assert_eq!(lost.await, (1, 2, 0));
    let again = begun.recv().await.unwrap();
    std::fs::write(&marker, "").unwrap();
    again.send(()).unwrap();
    assert_eq!(bad.completion().await.attempts, 2);
    for job in good {
        assert_eq!(job.completion().await.attempts, 1);
    }
    let mut expected = vec!["0 begins, 1", "0 again", "0 begins, 2", "0 ends"];
    expected.extend(["1 begins, 1", "1 ends", "2 begins, 1", "2 ends"]);
    expected.extend(["3 begins, 1", "3 ends"]);
    assert_eq!(of_calls(&mut events, 4).await, expected);
    scheduler.close().await.unwrap();
}

async fn who_hears_of_a_call_knows_its_arguments() {
    let scheduler = quiet(Scheduler::local().workers(1)).start().await.unwrap();
    let mut events = scheduler.events();
    let (to, mut begun) = told::<Address<()>>();
    let job = scheduler.submit(computes(7, to));
    begun.recv().await.unwrap();
    let started = until(&mut events, |event| match event {
        Event::JobStarted { arguments, .. } => Some(arguments.clone()),
        _ => None,
    });
    let arguments = started.await;
    let decoded = arguments.decode::<(u32, Address<Address<()>>)>(scheduler.node());
    let (number, to) = decoded.unwrap();
    assert_eq!(number, 7);
    // An address in them works: to this one the call itself would say where it is.
    let (me, mut ends) = told::<()>();
    to.send(me).unwrap();
    begun.recv().await.unwrap().send(()).unwrap();
    ends.recv().await.unwrap();
    job.cancel();
    let ended = until(&mut events, |event| match event {
        Event::JobEnded { arguments, .. } => Some(arguments.clone()),
        _ => None,
    });
    assert_eq!(ended.await, arguments);
    let wrong = arguments.decode::<(u32, String, u64)>(scheduler.node());
    assert!(wrong.is_err(), "{wrong:?}");
    scheduler.close().await.unwrap();
}

async fn a_closed_node_ends_what_it_runs_and_is_not_used_again() {
    let farm = Farm::of([1, 1]).await;
    let (note, mut torn_down) = told::<String>();
    let scheduler =
        Scheduler::cluster(&farm.client().await).tear_down_node(move |_| Some(notes(note.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    workers(&mut events, 2).await;
    let node = Target::node("farm-1");
    let (to, mut begun) = told::<Address<()>>();
    let call = |number| computes(number, to.clone()).at(node.clone());
    let runs = scheduler.submit(call(1));
    let end = begun.recv().await.unwrap();
    let waits = scheduler.submit(call(2));
    scheduler.close_node(node.clone()).await.unwrap();
    // From now on there is no such node.
    assert_eq!(scheduler.nodes().await, [Target::node("farm-2")]);
    for refused in [
        scheduler.close_node(node.clone()).await,
        scheduler.resume(node.clone()).await,
    ] {
        assert!(
            matches!(refused, Err(JobError::NoTarget { .. })),
            "{refused:?}"
        );
    }
    let refused = scheduler.run(call(3)).await;
    assert!(
        matches!(refused, Err(JobError::NoTarget { .. })),
        "{refused:?}"
    );
    end.send(()).unwrap();
    assert_eq!(runs.await, Ok(1));
    assert_eq!(waits.await, Err(JobError::TargetLost(node)));
    let told = until(&mut events, |event| match event {
        Event::WorkerClosed { .. }
        | Event::NodeClosed { .. }
        | Event::NodeEnded { .. }
        | Event::NodeLost { .. } => Some(event.to_string()),
        _ => None,
    });
    assert!(told.await.ends_with("has ended"));
    let closed = |event: &Event| match event {
        Event::NodeClosed { .. } | Event::NodeEnded { .. } | Event::NodeLost { .. } => {
            Some(event.to_string())
        }
        _ => None,
    };
    assert_eq!(until(&mut events, closed).await, "node farm-1 is closed");
    idle(&farm.daemons[0]).await;
    assert!(torn_down.recv().await.unwrap().ends_with("@farm-1"));
    // Looked at it is every second or two.
    let found = |event: &Event| match event {
        Event::NodeFound { .. }
        | Event::NodeReturned { .. }
        | Event::NodeEnded { .. }
        | Event::NodeLost { .. } => Some(event.to_string()),
        _ => None,
    };
    let again = tokio::time::timeout(Duration::from_millis(3500), until(&mut events, found));
    assert!(again.await.is_err(), "it is used again");
    // By others it is.
    let other = farm.scheduler().await;
    let there = |event: &Event| match event {
        Event::WorkerReady { name, .. } if name.ends_with("@farm-1") => Some(()),
        _ => None,
    };
    until(&mut other.events(), there).await;
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    other.close().await.unwrap();
    scheduler.close().await.unwrap();
    farm.close().await;
}

fn main() {
    worker::enter();
    let trials = trials![
        what_happens_to_a_node_is_told_in_order,
        a_function_that_panics_at_an_event_ends_nothing,
        whoever_listens_late_hears_of_the_nodes_and_workers_that_are_ready,
        who_waits_for_a_node_or_a_service_is_told,
        a_call_has_begun_when_it_runs,
        how_long_a_call_ran_is_told_as_its_worker_saw_it,
        io_calls_begin_too_and_all_say_how_they_ended,
        a_call_that_ends_its_worker_at_once_has_begun,
        a_call_has_begun_before_it_ends_its_worker,
        a_lost_worker_had_calls_that_ran_and_calls_that_waited,
        who_hears_of_a_call_knows_its_arguments,
        a_closed_node_ends_what_it_runs_and_is_not_used_again,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
