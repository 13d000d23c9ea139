//! Clients of a service, which has their calls run on the nodes that it finds.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use common::farm::*;
use common::service::*;
use common::*;
use coros::cluster::placement::{Decision, Placement, Rule};
use coros::cluster::service::{Service, ServiceEvent};
use coros::cluster::{Event, Target, worker};
use coros::net::{Folder, Received, SendFile};
use coros::{Address, JobError, Scheduler};
use libtest_mimic::Arguments;
use tokio::sync::mpsc;

#[coros::remote]
fn says(line: String) {
    eprintln!("{line}");
}

async fn two_clients_share() {
    let (farm, service) = farm_with_service([2]).await;
    let (to, mut begun) = told::<Begun>();
    let schedulers = [at(&farm, &service).await, at(&farm, &service).await];
    let calls = ["one", "other"].map(|of| computes(of.into(), to.clone()));
    let mut jobs = Vec::new();
    for (scheduler, call) in schedulers.iter().zip(calls) {
        jobs.push(scheduler.submit(call));
    }
    let running = [next(&mut begun).await, next(&mut begun).await];
    let of: BTreeSet<_> = running.iter().map(|it| &*it.of).collect();
    assert_eq!(of, BTreeSet::from(["one", "other"]));
    turns(&service, &[true, true]).await;
    for it in running {
        it.end.send(()).unwrap();
    }
    for job in jobs {
        assert!(job.await.unwrap().ends_with("@farm-1"));
    }
    for scheduler in schedulers {
        scheduler.close().await.unwrap();
    }
    turns(&service, &[]).await;
    close(farm, service).await;
}

async fn exclusive_clients_run_in_turn() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let node = client(&farm, &service).await;
    let first = quiet(Scheduler::at(&node))
        .exclusive()
        .start()
        .await
        .unwrap();
    let (to, mut begun) = told::<Begun>();
    let job = first.submit(computes("first".into(), to.clone()));
    let running = next(&mut begun).await;
    let (tell, mut events) = mpsc::unbounded_channel();
    let second = quiet(Scheduler::at(&node))
        .exclusive()
        .on_event(move |event| drop(tell.send(event.clone())));
    let second = tokio::spawn(second.start());
    turns(&service, &[true, false]).await;
    loop {
        if let Event::ServiceBusy { name, before } = events.recv().await.unwrap() {
            assert_eq!((&*name, before), ("scheduler", 1));
            break;
        }
    }
    assert!(!second.is_finished());
    running.end.send(()).unwrap();
    job.await.unwrap();
    first.close().await.unwrap();
    // By itself.
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.run(square(3)).await, Ok(9));
    second.close().await.unwrap();
    close(farm, service).await;
}

/// Another program, which does the same.
fn other_program(farm: &Farm) -> PathBuf {
    let path = farm.folder("other-program");
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    // Outside of all that is run, and of what is only for debuggers.
    let mut program = std::fs::read(&path).unwrap();
    let at = program
        .windows(MARK.len())
        .position(|it| it == MARK)
        .unwrap();
    program[at..at + MARK.len()].reverse();
    std::fs::write(&path, program).unwrap();
    path
}

#[used]
static MARK_OF_THIS: [u8; 16] = *MARK;
const MARK: &[u8; 16] = b"<this, not that>";

async fn one_for_whose_program_there_is_no_room_waits_for_some() {
    let farm = Farm::of([1]).await;
    // It is closed, and its folder free, whoever still has the handle.
    let (size, _closed) = {
        let (tell, mut events) = mpsc::unbounded_channel();
        let service = farm.service();
        let service = service.on_event(passing(tell));
        let service = service.start().await.unwrap();
        at(&farm, &service).await.close().await.unwrap();
        service.close().await;
        loop {
            if let ServiceEvent::ProgramReceived { bytes, .. } = events.recv().await.unwrap() {
                break (bytes, service);
            }
        }
    };
    let service = farm.service();
    let service = service.cache(size + size / 2).start().await.unwrap();
    let first = at(&farm, &service).await;
    let (tell, mut events) = mpsc::unbounded_channel();
    let second = Scheduler::at(&client(&farm, &service).await)
        .program(other_program(&farm))
        .on_event(move |event| drop(tell.send(event.clone())));
    let second = tokio::spawn(quiet(second).start());
    loop {
        if let Event::ServiceNotUsed { name, reason } = events.recv().await.unwrap() {
            assert_eq!(&*name, "scheduler");
            assert!(reason.contains("there is no room for"), "{reason}");
            break;
        }
    }
    first.close().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.run(square(3)).await, Ok(9));
    second.close().await.unwrap();
    close(farm, service).await;
}

async fn one_that_waits_for_its_turn_can_be_given_up() {
    let (farm, service) = farm_with_service([1]).await;
    let node = client(&farm, &service).await;
    let start = || quiet(Scheduler::at(&node)).exclusive().start();
    let first = start().await.unwrap();
    let second = tokio::spawn(start());
    turns(&service, &[true, false]).await;
    second.abort();
    turns(&service, &[true]).await;
    assert_eq!(first.run(square(3)).await, Ok(9));
    first.close().await.unwrap();
    close(farm, service).await;
}

async fn no_call_is_lost() {
    let (farm, service) = farm_with_service([2, 2]).await;
    let scheduler = at(&farm, &service).await;
    let mut results = scheduler.map((0..20_000).map(square));
    for n in 0..20_000 {
        assert_eq!(results.next().await, Some(Ok(n * n)));
    }
    assert_eq!(results.next().await, None);
    // All at once, too.
    let jobs: Vec<_> = (0..20_000).map(|n| scheduler.submit(square(n))).collect();
    for (n, job) in (0..).zip(jobs) {
        assert_eq!(job.await, Ok(n * n));
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// Sends a file to the client.
#[coros::remote]
async fn sends(text: String) -> Result<(), coros::net::SendFileError> {
    let path = worker::shared_folder().unwrap().join("result");
    std::fs::write(&path, text).unwrap();
    let (node, client) = (worker::node().unwrap(), worker::client().unwrap());
    node.send_file(client, &path, SendFile::new()).await?;
    Ok(())
}

async fn workers_and_client_talk_without_the_service() {
    let (farm, service) = farm_with_service([1]).await;
    let inbox = tempfile::tempdir().unwrap();
    let (to, mut received) = told::<Received>();
    let folder = Folder::new(inbox.path()).on_received(move |file| drop(to.send(file)));
    let scheduler = Scheduler::at(&client(&farm, &service).await).files(folder);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let (to, mut begun) = told::<Begun>();
    let job = scheduler.submit(computes("it".into(), to));
    let Begun { at, end, .. } = next(&mut begun).await;
    let links = scheduler.node().links();
    let linked: Vec<_> = links.iter().map(|peer| &*peer.name).collect();
    assert_eq!(linked, [at.as_str()], "with the worker and nobody else");
    end.send(()).unwrap();
    assert_eq!(job.await, Ok(at));
    scheduler.run(sends("42".into())).await.unwrap();
    assert_eq!(received.recv().await.unwrap().size, 2);
    let text = std::fs::read_to_string(inbox.path().join("result")).unwrap();
    assert_eq!(text, "42");
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

async fn the_client_decides_which_nodes_are_used() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let placement = Placement::builder().allocate(|node, decision| match &*node.name {
        "farm-2" => Decision::exclude("it is mine"),
        _ => decision,
    });
    let (to, mut events) = mpsc::unbounded_channel();
    let scheduler = Scheduler::at(&client(&farm, &service).await)
        .placement(placement.build().unwrap())
        .on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    loop {
        if let Event::NodeNotUsed { name, reason, .. } = events.recv().await.unwrap() {
            assert_eq!((&*name, &*reason), ("farm-2", "it is mine"));
            break;
        }
    }
    for _ in 0..20 {
        let completion = scheduler.submit(square(3)).completion().await;
        assert_eq!(completion.result, Ok(9));
        assert_eq!(node_of(&completion.worker.unwrap()), "farm-1");
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

async fn a_node_gets_the_program_that_it_can_run() {
    let (farm, service) = farm_with_service([1]).await;
    let node = client(&farm, &service).await;
    gets_the_program_that_it_can_run(&farm, || Scheduler::at(&node)).await;
    close(farm, service).await;
}

#[coros::remote]
fn set_up(node: String) -> String {
    format!("prepared as {node}")
}

#[coros::remote]
fn what_was_set_up() -> Option<String> {
    worker::node_value::<String>()?.ok()
}

async fn the_client_prepares_each_node_its_own_way() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let scheduler = Scheduler::at(&client(&farm, &service).await)
        .set_up_node(|node| Some(set_up(node.name.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    workers(&mut scheduler.events(), 2).await;
    let values = scheduler.run_each_node(|_| what_was_set_up()).await;
    let values: BTreeMap<_, _> = values.into_iter().collect();
    for node in ["farm-1", "farm-2"] {
        let value = values[&Target::node(node)].clone();
        assert_eq!(value, Ok(Some(format!("prepared as {node}"))));
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// Though the service may know it before the client can listen.
async fn which_nodes_are_not_used_is_told() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let rule = Rule::new().name("farm-2").exclude();
    let placement = Placement::builder().rule(rule).build().unwrap();
    let scheduler = Scheduler::at(&client(&farm, &service).await).placement(placement);
    let scheduler = quiet(scheduler).start().await.unwrap();
    // Nobody has listened so far, and the service knows all nodes.
    scheduler.run(square(2)).await.unwrap();
    for _ in 0..2 {
        let mut events = scheduler.events();
        let unused = until(&mut events, |event| match event {
            Event::NodeNotUsed { name, .. } => Some(name.to_string()),
            _ => None,
        });
        assert_eq!(unused.await, "farm-2");
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

async fn nodes_and_workers_are_known_by_name() {
    let (farm, service) = farm_with_service([1, 1]).await;
    let scheduler = at(&farm, &service).await;
    workers(&mut scheduler.events(), 2).await;
    let [one, other] = ["farm-1", "farm-2"].map(Target::node);
    let nodes: BTreeSet<_> = scheduler.nodes().await.into_iter().collect();
    assert_eq!(nodes, BTreeSet::from([one.clone(), other.clone()]));
    scheduler.suspend(other.clone()).await.unwrap();
    let waits = scheduler.submit(square(4).at(other.clone()));
    for _ in 0..10 {
        let completion = scheduler.submit(square(3)).completion().await;
        assert_eq!(node_of(&completion.worker.unwrap()), "farm-1");
    }
    scheduler.resume(other).await.unwrap();
    assert_eq!(waits.await, Ok(16));
    let nobody = Target::node("nobody");
    for error in [
        scheduler.suspend(nobody.clone()).await.unwrap_err(),
        scheduler.run(square(3).at(nobody)).await.unwrap_err(),
    ] {
        assert!(matches!(error, JobError::NoTarget { .. }), "{error}");
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// A node that serves one client takes no other one.
async fn a_client_that_another_service_goes_on_for_is_the_same() {
    let mut farm = Farm::new();
    let daemon = farm.daemon("farm-1").slots(1).serve(1);
    farm.daemons.push(daemon.start().await.unwrap());
    let service = farm.service().start().await.unwrap();
    let scheduler = quiet(Scheduler::at(&farm.client().await));
    let scheduler = scheduler.start().await.unwrap();
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    service.close().await;
    let service = farm.service().start().await.unwrap();
    assert_eq!(scheduler.run(square(4)).await, Ok(16));
    scheduler.close().await.unwrap();
    farm.daemons[0].served().await.unwrap();
    close(farm, service).await;
}

async fn what_happens_is_told_in_order_and_once() {
    let (farm, service) = farm_with_service([2]).await;
    let (to, mut told_early) = mpsc::unbounded_channel();
    let scheduler = Scheduler::at(&client(&farm, &service).await)
        .on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let mut results = scheduler.map((0..500).map(square));
    while let Some(result) = results.next().await {
        result.unwrap();
    }
    let ready = workers(&mut scheduler.events(), 2).await;
    scheduler.close().await.unwrap();
    let mut begun = BTreeMap::<u64, u32>::new();
    let mut last = Event::Scheduled;
    let mut ended = BTreeSet::new();
    let mut closed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event.clone() {
            Event::JobStarted {
                job,
                attempt,
                function,
                arguments,
                ..
            } => {
                assert!(!ended.contains(&job), "{job}");
                assert!(function.ends_with("square"), "{function}");
                assert_eq!(
                    arguments.decode::<(u64,)>(scheduler.node()).unwrap(),
                    (job,)
                );
                assert!(begun.insert(job, attempt) < Some(attempt), "{job}");
            }
            Event::JobEnded {
                job,
                attempts,
                error,
                ..
            } => {
                assert_eq!(begun.get(&job), Some(&attempts));
                assert!(ended.insert(job) && error.is_none(), "{job}");
            }
            Event::WorkerClosed { name, .. } => assert!(closed.insert(name)),
            _ => {}
        }
        last = event;
    }
    assert_eq!(last.to_string(), "the scheduler is closed");
    assert_eq!(ended.len(), 500);
    assert!(closed.is_superset(&ready), "{closed:?}");
    let mut first = Vec::new();
    while let Ok(event) = told_early.try_recv() {
        let name = match event {
            Event::ServiceFound { .. } => "found",
            Event::ServiceReady { .. } => "ready",
            Event::NodeFound { .. } => "node found",
            Event::NodeReady { .. } => "node ready",
            Event::WorkerReady { .. } => "worker ready",
            _ => continue,
        };
        first.push(name);
    }
    first.dedup();
    let all = ["found", "ready", "node found", "node ready", "worker ready"];
    assert_eq!(first, all);
    close(farm, service).await;
}

async fn what_workers_write_is_heard_at_the_client() {
    let (farm, service) = farm_with_service([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let scheduler = Scheduler::at(&client(&farm, &service).await).stderr(move |worker, line| {
        to.send((worker.to_owned(), line.to_owned())).unwrap();
        // As a terminal that was stopped.
        let _ = released.lock().unwrap().recv();
    });
    let scheduler = scheduler.start().await.unwrap();
    for line in ["one", "two", "three"] {
        scheduler.run(says(line.into())).await.unwrap();
    }
    assert_eq!(lines.recv().await.unwrap().1, "one");
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    drop(release);
    for line in ["two", "three"] {
        let (worker, written) = lines.recv().await.unwrap();
        assert_eq!((&*node_of(&worker), &*written), ("farm-1", line));
    }
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

async fn a_call_that_is_cancelled_frees_its_worker() {
    let (farm, service) = farm_with_service([1]).await;
    let scheduler = at(&farm, &service).await;
    let (to, mut begun) = told::<Begun>();
    let job = scheduler.submit(computes("it".into(), to));
    next(&mut begun).await;
    job.cancel();
    assert_eq!(job.await, Err(JobError::Cancelled));
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
    close(farm, service).await;
}

/// Never ends, and does not let itself be dropped.
#[coros::remote]
fn stays(to: Address<()>) {
    to.send(()).unwrap();
    loop {
        std::thread::park();
    }
}

async fn workers_that_do_not_end_are_named() {
    #[coros::remote]
    fn never_tidies_up() {
        loop {
            std::thread::park();
        }
    }
    let (farm, service) = farm_with_service([1]).await;
    let scheduler = Scheduler::at(&client(&farm, &service).await)
        .grace(Duration::from_millis(100))
        .setup_limit(Duration::from_millis(100))
        .tear_down_worker(|_| Some(never_tidies_up()));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let (to, mut begun) = told::<()>();
    let job = scheduler.submit(stays(to));
    begun.recv().await.unwrap();
    let error = scheduler.close().await.unwrap_err();
    assert_eq!(error.killed.len(), 1, "{error}");
    assert_eq!(job.await, Err(JobError::Closed));
    turns(&service, &[]).await;
    close(farm, service).await;
}

async fn without_a_service_it_is_said_what_to_do() {
    let farm = Farm::of([1]).await;
    let scheduler = Scheduler::at(&farm.client().await).patience(Duration::from_millis(300));
    let error = scheduler.start().await.unwrap_err().to_string();
    assert!(
        error.contains("does `coros scheduler` run there"),
        "{error}"
    );
    farm.close().await;
}

async fn of_several_services_one_is_chosen_by_name() {
    let (farm, first) = farm_with_service([1]).await;
    let builder = farm.knows_all("other").peer(endpoint(first.node()));
    let other = Service::builder(builder, farm.folder("other")).on_event(|_| changed());
    let other = other.start().await.unwrap();
    let node = client(&farm, &first).await;
    let scheduler = quiet(Scheduler::at(&node)).service("other");
    let scheduler = scheduler.start().await.unwrap();
    turns(&other, &[true]).await;
    turns(&first, &[]).await;
    scheduler.close().await.unwrap();
    other.close().await;
    close(farm, first).await;
}

async fn one_that_drains_takes_nobody_and_goes_on_with_who_is_there() {
    let (farm, service) = farm_with_service([1]).await;
    let scheduler = at(&farm, &service).await;
    let mut drained = Box::pin(service.drain());
    assert!(futures_util::poll!(&mut drained).is_pending());
    assert!(service.status().await.unwrap().draining);
    let late = Scheduler::at(&client(&farm, &service).await);
    let late = late.patience(Duration::from_millis(1500));
    let error = late.start().await.unwrap_err().to_string();
    assert!(error.contains("about to end"), "{error}");
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
    drained.await.unwrap();
    close(farm, service).await;
}

fn main() {
    worker::enter();
    let trials = trials![
        two_clients_share,
        exclusive_clients_run_in_turn,
        one_for_whose_program_there_is_no_room_waits_for_some,
        one_that_waits_for_its_turn_can_be_given_up,
        no_call_is_lost,
        workers_and_client_talk_without_the_service,
        the_client_decides_which_nodes_are_used,
        a_node_gets_the_program_that_it_can_run,
        the_client_prepares_each_node_its_own_way,
        which_nodes_are_not_used_is_told,
        nodes_and_workers_are_known_by_name,
        a_client_that_another_service_goes_on_for_is_the_same,
        what_happens_is_told_in_order_and_once,
        what_workers_write_is_heard_at_the_client,
        a_call_that_is_cancelled_frees_its_worker,
        workers_that_do_not_end_are_named,
        without_a_service_it_is_said_what_to_do,
        of_several_services_one_is_chosen_by_name,
        one_that_drains_takes_nobody_and_goes_on_with_who_is_there,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
