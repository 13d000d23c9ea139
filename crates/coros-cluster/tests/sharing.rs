//! Clients that share nodes, and what each of them asks of which.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::time::{Duration, Instant};

use common::farm::*;
use common::*;
use coros::cluster::machine::Resource;
use coros::cluster::{Call, Event, Job, Target, worker};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// A call has begun: whose it is, at which worker, and what ends it.
#[derive(Debug, Serialize, Deserialize)]
struct Begun(String, String, Address<()>);

/// Computes until it is told to end.
#[coros::remote]
async fn computes(mut me: Context<()>, of: String, to: Address<Begun>) {
    let name = worker::name().unwrap_or_default().to_owned();
    to.send(Begun(of, name, me.address())).unwrap();
    me.receive().await;
}

/// Computes until it is told to end, and ends its worker then.
#[coros::remote]
async fn ends_its_worker(mut me: Context<()>, to: Address<Begun>) {
    let begun = Begun(String::new(), String::new(), me.address());
    to.send(begun).unwrap();
    me.receive().await;
    std::process::exit(3)
}

/// The next call that has begun.
async fn next(begun: &mut mpsc::UnboundedReceiver<Begun>) -> Begun {
    begun.recv().await.unwrap()
}

fn has_ended(event: &Event) -> Option<()> {
    matches!(event, Event::NodeEnded { .. }).then_some(())
}

async fn a_call_of_all_cores_has_them_alone() {
    let farm = Farm::of([2]).await;
    let first = farm.scheduler().await;
    let mut events = first.events();
    workers(&mut events, 2).await;
    let (to, mut begun) = told::<Begun>();
    let call = |of: &str| computes(of.to_owned(), to.clone());
    let large = first.submit(call("large").cpus(2));
    let Begun(.., end) = next(&mut begun).await;
    let second = farm.scheduler().await;
    let small: Vec<_> = (0..4).map(|_| second.submit(call("small"))).collect();
    // One is asked back: the worker goes that does nothing.
    let closed = |event: &Event| matches!(event, Event::WorkerClosed { .. }).then_some(());
    until(&mut events, closed).await;
    // Its slot is one of those that the call computes on.
    for _ in 0..20 {
        assert_eq!(lent(&farm.daemons[0]).await, [2, 0]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    end.send(()).unwrap();
    large.await.unwrap();
    for job in small {
        let Begun(of, _, end) = next(&mut begun).await;
        assert_eq!(of, "small");
        end.send(()).unwrap();
        job.await.unwrap();
    }
    first.close().await.unwrap();
    second.close().await.unwrap();
    farm.close().await;
}

/// Though another client always has calls for all slots, and that client goes on too.
async fn a_call_of_all_cores_has_its_turn() {
    let farm = Farm::of([2]).await;
    let [busy, other] = [farm.scheduler().await, farm.scheduler().await];
    let (to, mut begun) = told::<Begun>();
    let call = |of: &str| computes(of.to_owned(), to.clone());
    let submit = || busy.submit(call("small"));
    let mut small: Vec<Job<()>> = (0..4).map(|_| submit()).collect();
    let mut large = vec![other.submit(call("large").cpus(2))];
    // Both get on in turns, each of which may be some calls long.
    let mut turns: Vec<String> = Vec::new();
    while turns.iter().filter(|of| *of == "large").count() < 2 {
        let Begun(of, _, end) = next(&mut begun).await;
        match &*of {
            "large" => large.push(other.submit(call("large").cpus(2))),
            _ => small.push(submit()),
        }
        if turns.last() != Some(&of) {
            turns.push(of);
        }
        end.send(()).unwrap();
    }
    drop((small, large));
    busy.close().await.unwrap();
    other.close().await.unwrap();
    farm.close().await;
}

async fn a_node_that_lends_nothing_holds_up_nobody() {
    let farm = Farm::of([1, 1]).await;
    let node = farm.client().await;
    for suspended in [0, 1] {
        farm.daemons[suspended].suspend();
        let (to, mut events) = mpsc::unbounded_channel();
        let scheduler = Scheduler::cluster(&node).workers(1);
        let scheduler = scheduler.on_event(move |event| drop(to.send(event.clone())));
        let scheduler = quiet(scheduler).start().await.unwrap();
        let (mut ready, mut told) = (Vec::new(), 0);
        while ready.len() < 2 || told < 1 {
            match events.recv().await.unwrap() {
                Event::NodeReady { node } => ready.push(node.id),
                Event::NodeSuspended { node } => {
                    assert!(ready.contains(&node.id), "{} is not ready", node.name);
                    told += 1;
                }
                _ => {}
            }
        }
        assert_eq!(scheduler.run(square(3)).await, Ok(9));
        farm.daemons[suspended].resume();
        scheduler.close().await.unwrap();
        for daemon in &farm.daemons {
            idle(daemon).await;
        }
    }
    farm.close().await;
}

async fn there_are_never_more_workers_than_wanted() {
    let farm = Farm::of([2, 2]).await;
    let (to, mut events) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await).workers(1);
    let scheduler = scheduler.on_event(move |event| drop(to.send(event.clone())));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut results = scheduler.map((0..50).map(square));
    while let Some(result) = results.next().await {
        result.unwrap();
    }
    // The one worker's node gives it up; the other has it then.
    let ready = scheduler.workers().await;
    let at = usize::from(node_of(ready[0].name()) == "farm-2");
    farm.daemons[at].suspend();
    assert_eq!(scheduler.run(square(4)).await, Ok(16));
    lends(&farm.daemons[at], &[0]).await;
    assert_eq!(scheduler.run(square(5)).await, Ok(25));
    scheduler.close().await.unwrap();
    let (mut there, mut all) = (0_i32, 0);
    while let Ok(event) = events.try_recv() {
        match event {
            Event::WorkerReady { .. } => (there, all) = (there + 1, all + 1),
            Event::WorkerClosed { .. } | Event::WorkerLost { .. } => there -= 1,
            _ => {}
        }
        assert!(there <= 1, "more than are wanted");
    }
    assert_eq!(all, 2);
    farm.close().await;
}

/// A call for a node counts there, and nowhere else.
async fn who_needs_a_node_gets_its_share_of_that_one() {
    let farm = Farm::of([1, 1]).await;
    let busy = farm.scheduler().await;
    workers(&mut busy.events(), 2).await;
    let (to, mut begun) = told::<Begun>();
    let call = |of: &str| computes(of.to_owned(), to.clone());
    let many: Vec<_> = (0..6).map(|_| busy.submit(call("many"))).collect();
    let mut running = Vec::new();
    for _ in 0..2 {
        let Begun(_, at, end) = next(&mut begun).await;
        running.push((node_of(&at), end));
    }
    let other = farm.scheduler().await;
    let mut events = other.events();
    for _ in 0..2 {
        let ready = |event: &Event| matches!(event, Event::NodeReady { .. }).then_some(());
        until(&mut events, ready).await;
    }
    let one = other.submit(call("one").at(Target::node("farm-2")));
    // It has been heard there when somebody is asked for what he has.
    lends(&farm.daemons[1], &[1, 0]).await;
    let mut first = None;
    for turn in 0..4 {
        let at = running.iter().position(|(node, _)| node == "farm-2");
        running.swap_remove(at.unwrap()).1.send(()).unwrap();
        let Begun(of, at, end) = next(&mut begun).await;
        if of == "one" {
            assert_eq!(node_of(&at), "farm-2");
            end.send(()).unwrap();
            first = Some(turn);
            break;
        }
        running.push((node_of(&at), end));
    }
    assert!(
        first.is_some_and(|turn| turn <= 2),
        "its share is half of that node: {first:?}"
    );
    one.await.unwrap();
    drop(many);
    busy.close().await.unwrap();
    other.close().await.unwrap();
    farm.close().await;
}

/// What a call takes besides its core.
type Takes = fn(Call<()>) -> Call<()>;

/// Whoever's they are: they have the node in turns, and what takes nothing of it goes on beside them.
async fn calls_together_take_no_more_than_there_is() {
    let mut farm = Farm::new();
    let daemon = farm.daemon("farm-1").slots(6).memory(1 << 30);
    let license = "license=3".parse::<Resource>().unwrap();
    farm.daemons
        .push(daemon.resources([license]).start().await.unwrap());
    let service = farm.service().start().await.unwrap();
    let own = [farm.scheduler().await, farm.scheduler().await];
    let third = farm.scheduler().await;
    let client = service::client(&farm, &service).await;
    let served = async || quiet(Scheduler::at(&client)).start().await.unwrap();
    let at_service = [served().await, served().await];
    let takes: [Takes; 2] = [
        |call| call.memory(600 << 20),
        |call| call.resource("license", 2),
    ];
    for ([first, second], takes) in [(&own, takes[0]), (&own, takes[1]), (&at_service, takes[0])] {
        let (to, mut begun) = told::<Begun>();
        let call = |of: &str| computes(of.to_owned(), to.clone());
        let has = first.submit(takes(call("first")));
        let Begun(.., end) = next(&mut begun).await;
        let mut others_go_on = async |scheduler: &Scheduler| {
            for _ in 0..3 {
                let other = scheduler.submit(call("other"));
                let Begun(of, _, end) = next(&mut begun).await;
                assert_eq!(of, "other");
                end.send(()).unwrap();
                other.await.unwrap();
            }
        };
        // Nobody waits for one that was cancelled when it had its turn before others.
        let cancelled = third.submit(takes(call("cancelled")));
        others_go_on(&third).await;
        let waits = second.submit(takes(call("second")));
        others_go_on(second).await;
        drop(cancelled);
        others_go_on(&third).await;
        assert!(begun.try_recv().is_err());
        end.send(()).unwrap();
        has.await.unwrap();
        let Begun(of, _, end) = next(&mut begun).await;
        assert_eq!(of, "second");
        end.send(()).unwrap();
        waits.await.unwrap();
        // What one had whose worker has ended is there for the next.
        let ends = second.submit(takes(ends_its_worker(to.clone())).retries(0));
        let Begun(.., end) = next(&mut begun).await;
        let waits = first.submit(takes(call("first")));
        end.send(()).unwrap();
        let error = ends.await.unwrap_err();
        assert!(matches!(error, JobError::Abandoned { .. }), "{error}");
        let Begun(of, _, end) = next(&mut begun).await;
        assert_eq!(of, "first");
        end.send(()).unwrap();
        waits.await.unwrap();
    }
    for scheduler in own.into_iter().chain(at_service).chain([third]) {
        scheduler.close().await.unwrap();
    }
    service.close().await;
    farm.close().await;
}

/// Nor does it begin there.
async fn a_call_that_waits_for_what_it_takes_holds_up_no_node_that_is_to_end() {
    let mut farm = Farm::new();
    let daemon = farm.daemon("farm-1").slots(2).memory(1 << 30);
    farm.daemons.push(daemon.start().await.unwrap());
    let [first, second] = [farm.scheduler().await, farm.scheduler().await];
    let (to, mut begun) = told::<Begun>();
    let call = |of: &str| computes(of.to_owned(), to.clone()).memory(600 << 20);
    let has = first.submit(call("first"));
    let Begun(.., end) = next(&mut begun).await;
    let waits = second.submit(call("second"));
    workers(&mut second.events(), 1).await;
    let daemon = &farm.daemons[0];
    let (drained, ()) = tokio::join!(daemon.drain(), async {
        lends(daemon, &[1, 0]).await;
        end.send(()).unwrap();
        has.await.unwrap();
    });
    drained.unwrap();
    second.close().await.unwrap();
    assert_eq!(waits.await, Err(JobError::Closed));
    assert!(begun.try_recv().is_err());
    first.close().await.unwrap();
    farm.close().await;
}

async fn who_waits_for_a_slot_is_told_why() {
    let farm = Farm::of([1]).await;
    // So that the program is there.
    farm.scheduler().await.close().await.unwrap();
    farm.daemons[0].suspend();
    let scheduler = Scheduler::cluster(&farm.client().await).patience(Duration::from_secs(1));
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    let job = scheduler.submit(square(3));
    let told = |event: &Event| match event {
        Event::NoSlots { reason } => Some(reason.clone()),
        _ => None,
    };
    let reason = until(&mut events, told).await;
    assert!(reason.contains("farm-1"), "{reason}");
    assert!(reason.contains("it is suspended"), "{reason}");
    farm.daemons[0].resume();
    assert_eq!(job.await, Ok(9), "and goes on to wait");
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// It begins when somebody waits, and not when the last node goes. Who comes right after is told at once.
async fn patience_is_that_of_those_who_wait() {
    let farm = Farm::of([1]).await;
    let patience = Duration::from_millis(500);
    let scheduler = Scheduler::cluster(&farm.client().await).patience(patience);
    let scheduler = quiet(scheduler).start().await.unwrap();
    let mut events = scheduler.events();
    farm.daemons[0].close().await;
    until(&mut events, has_ended).await;
    for part in [1, 5] {
        tokio::time::sleep(patience * part / 4).await;
        let began = Instant::now();
        let error = scheduler.run(square(3)).await.unwrap_err();
        assert!(matches!(error, JobError::NoWorkers(_)), "{error}");
        let waited = began.elapsed();
        assert!(waited >= patience, "{waited:?}");
        assert_eq!(scheduler.run(square(3)).await, Err(error));
        assert!(began.elapsed() < 2 * patience, "{waited:?}, and once more");
    }
    scheduler.close().await.unwrap();
}

fn main() {
    worker::enter();
    let trials = trials![
        a_call_of_all_cores_has_them_alone,
        a_call_of_all_cores_has_its_turn,
        a_node_that_lends_nothing_holds_up_nobody,
        there_are_never_more_workers_than_wanted,
        who_needs_a_node_gets_its_share_of_that_one,
        calls_together_take_no_more_than_there_is,
        a_call_that_waits_for_what_it_takes_holds_up_no_node_that_is_to_end,
        who_waits_for_a_slot_is_told_why,
        patience_is_that_of_those_who_wait,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
