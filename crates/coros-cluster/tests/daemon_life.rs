//! What the owner of a node does with it while others use it.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::farm::*;
use common::*;
use coros::cluster::daemon::DaemonEvent;
use coros::cluster::{Event, worker};
use coros::{Address, Context, Scheduler};
use libtest_mimic::Arguments;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

#[coros::remote]
fn nothing() {}

/// Tells that it has begun, and ends when it is told to.
#[coros::remote]
async fn until_told(mut me: Context<()>, begun: Address<Address<()>>) {
    begun.send(me.address()).unwrap();
    me.receive().await;
}

/// A farm of one node with one slot, which tells what happens.
async fn telling(serve: Option<usize>) -> (Farm, UnboundedReceiver<DaemonEvent>) {
    let mut farm = Farm::new();
    let (tell, told) = unbounded_channel();
    let mut daemon = farm.daemon("farm-1").slots(1).on_event(passing(tell));
    if let Some(clients) = serve {
        daemon = daemon.serve(clients);
    }
    farm.daemons.push(daemon.start().await.unwrap());
    (farm, told)
}

async fn what_happens_is_told_once_and_in_order() {
    let (farm, mut told) = telling(Some(2)).await;
    let daemon = &farm.daemons[0];
    for id in 1..=2 {
        let scheduler = farm.scheduler().await;
        scheduler.run(nothing()).await.unwrap();
        let status = daemon.status().await.unwrap();
        assert_eq!((status.slots, status.lent, status.clients.len()), (1, 1, 1));
        let client = &status.clients[0];
        assert_eq!(
            (client.id, client.lent, &*client.from.name),
            (id, 1, "desk")
        );
        scheduler.close().await.unwrap();
        idle(daemon).await;
    }
    daemon.served().await.unwrap();
    daemon.drain().await.unwrap();
    // It is too late to come.
    assert_eq!(daemon.status().await.unwrap().slots, 1);
    farm.close().await;

    let mut events = Vec::new();
    while let Some(event) = told.recv().await {
        events.push(match event {
            DaemonEvent::ClientCame { id, exclusive, .. } => format!("{id} came {exclusive}"),
            DaemonEvent::ProgramReceived { id, bytes } => {
                let program = std::env::current_exe().unwrap();
                // Without what is for debuggers.
                assert!((1..=program.metadata().unwrap().len()).contains(&bytes));
                format!("{id} sent it")
            }
            DaemonEvent::ClientLeft { id, .. } => format!("{id} left"),
            DaemonEvent::Slots { slots, lent } => format!("{lent} of {slots}"),
            event => format!("{event:?}"),
        });
    }
    // Whether it gives back its slot first or is gone first is the client's affair.
    let of = |what: &str| {
        let events = events.iter().filter(|event| event.contains(what));
        events.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("1 c"), ["1 came false"]);
    assert_eq!(events[..3], ["1 came false", "1 sent it", "1 of 1"]);
    assert_eq!(of("2 "), ["2 came false", "2 left"]);
    assert_eq!(
        of(" of "),
        ["1 of 1", "0 of 1", "1 of 1", "0 of 1", "0 of 0"]
    );
    assert_eq!(of("left"), ["1 left", "2 left"]);
    assert_eq!(
        events[events.len() - 3..],
        ["Draining", "0 of 0", "Drained"]
    );
}

/// Whoever still has the handle.
async fn the_folder_of_a_daemon_that_is_closed_is_free() {
    let farm = Farm::new();
    let closed = farm.daemon("farm-1").start().await.unwrap();
    closed.close().await;
    let next = farm.daemon("farm-1").start().await.unwrap();
    next.close().await;
    drop(closed);
}

/// The node serves on, and the function is let be.
async fn a_function_that_panics_at_an_event_ends_nothing() {
    let mut farm = Farm::new();
    let (tell, mut told) = unbounded_channel();
    let daemon = farm.daemon("farm-1").on_event(move |_| {
        tell.send(()).unwrap();
        panic!("ouch")
    });
    farm.daemons.push(daemon.start().await.unwrap());
    let scheduler = farm.scheduler().await;
    scheduler.run(nothing()).await.unwrap();
    scheduler.close().await.unwrap();
    farm.close().await;
    assert_eq!((told.recv().await, told.recv().await), (Some(()), None));
}

/// While there is one that could take it, it waits for that.
async fn a_call_is_told_to_wait_when_the_last_node_goes_that_could_take_it() {
    let farm = Farm::of([1, 2]).await;
    farm.daemons[1].suspend();
    let (tell, mut events) = unbounded_channel();
    let scheduler = quiet(Scheduler::cluster(&farm.client().await))
        .on_event(move |event| drop(tell.send(event.clone())));
    let scheduler = scheduler.start().await.unwrap();
    let mut ready = 0;
    while ready < 2 {
        let event = events.recv().await.unwrap();
        ready += usize::from(matches!(event, Event::NodeReady { .. }));
    }
    let job = scheduler.submit(nothing().cpus(2));
    // So that all have come by when this one has.
    scheduler.run(nothing()).await.unwrap();
    farm.daemons[1].close().await;
    let mut ended = false;
    let waits = loop {
        match events.recv().await.unwrap() {
            Event::NodeEnded { node } => ended = node.name == "farm-2",
            Event::JobWaits { job, .. } => break job,
            _ => {}
        }
    };
    assert_eq!((waits, ended), (job.id(), true));
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn a_suspended_node_lends_nothing_until_it_is_resumed() {
    let (farm, mut told) = telling(None).await;
    let daemon = &farm.daemons[0];
    daemon.suspend();
    let scheduler = farm.scheduler().await;
    let (to, mut begun) = self::told();
    let first = scheduler.submit(until_told(to.clone()));
    let status = daemon.status().await.unwrap();
    assert_eq!((status.suspended, status.lent, status.slots), (true, 0, 1));
    // Nothing is lent by another name.
    daemon.resize(2);
    assert_eq!(daemon.status().await.unwrap().lent, 0);
    daemon.resize(1);
    daemon.resume();
    let running = begun.recv().await.unwrap();

    // What runs goes on, what comes waits.
    daemon.suspend();
    daemon.suspend();
    running.send(()).unwrap();
    first.await.unwrap();
    // All that has happened so far, down to the second time that nothing is lent.
    let mut happened = Vec::new();
    let slots = DaemonEvent::Slots { slots: 0, lent: 0 };
    while happened.iter().filter(|event| **event == slots).count() < 2 {
        happened.push(told.recv().await.unwrap());
    }
    assert_eq!(daemon.status().await.unwrap().lent, 0);
    let second = scheduler.submit(until_told(to));
    assert_eq!(daemon.status().await.unwrap().lent, 0);
    daemon.resume();
    begun.recv().await.unwrap().send(()).unwrap();
    second.await.unwrap();
    scheduler.close().await.unwrap();
    farm.close().await;
    while let Some(event) = told.recv().await {
        happened.push(event);
    }
    let suspended = happened.iter();
    let suspended = suspended.filter(|event| **event == DaemonEvent::Suspended);
    // Of the two times after each other that is told once.
    assert_eq!(suspended.count(), 2, "{happened:?}");
}

async fn what_is_evicted_runs_again() {
    let (farm, mut told) = telling(None).await;
    let daemon = &farm.daemons[0];
    let scheduler = farm.scheduler().await;
    let (to, mut begun) = self::told();
    let job = scheduler.submit(until_told(to));
    // It runs on for as long as it may be told to end.
    let _running = begun.recv().await.unwrap();
    daemon.suspend();
    daemon.evict();
    while !matches!(
        told.recv().await.unwrap(),
        DaemonEvent::ClientLeft { id: 1, .. }
    ) {}
    let work = std::fs::read_dir(farm.folder("farm-1").join("work")).unwrap();
    assert_eq!(work.count(), 0);
    // The client comes back, and has nothing.
    while !matches!(
        told.recv().await.unwrap(),
        DaemonEvent::ClientCame { id: 2, .. }
    ) {}
    assert_eq!(daemon.status().await.unwrap().lent, 0);
    daemon.resume();
    begun.recv().await.unwrap().send(()).unwrap();
    job.await.unwrap();
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// One client is one, also when it has been sent away.
async fn a_client_that_comes_back_is_the_same() {
    let (farm, mut told) = telling(Some(1)).await;
    let daemon = &farm.daemons[0];
    let mut served = Box::pin(daemon.served());
    let scheduler = farm.scheduler().await;
    let (to, mut begun) = self::told();
    let job = scheduler.submit(until_told(to));
    let _running = begun.recv().await.unwrap();
    daemon.evict();
    let comes = async {
        while !matches!(
            told.recv().await.unwrap(),
            DaemonEvent::ClientCame { id: 2, .. }
        ) {}
    };
    tokio::select! {
        biased;
        _ = &mut served => panic!("it has gone"),
        () = comes => {}
    }
    begun.recv().await.unwrap().send(()).unwrap();
    job.await.unwrap();
    let other = quiet(Scheduler::cluster(&farm.client().await));
    let error = other.patience(Duration::from_secs(1)).start().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("takes no more clients"), "{error}");
    scheduler.close().await.unwrap();
    served.await.unwrap();
    farm.close().await;
}

/// The way to a node, on which nothing gets through while it is shut.
async fn gate(to: SocketAddr, open: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        let (mut from_near, mut to_near) = near.split();
        let (mut from_far, mut to_far) = far.split();
        let there = async {
            let (mut bytes, mut open) = ([0; 4096], open);
            while let Ok(read @ 1..) = from_near.read(&mut bytes).await
                && open.wait_for(|open| *open).await.is_ok()
                && to_far.write_all(&bytes[..read]).await.is_ok()
            {}
        };
        tokio::join!(there, tokio::io::copy(&mut from_far, &mut to_near)).1
    });
    endpoint
}

/// Else its end, which may follow at once, would be taken for a loss.
async fn a_scheduler_is_closed_when_its_nodes_have_heard_that_it_leaves() {
    let (farm, _told) = telling(Some(1)).await;
    let daemon = &farm.daemons[0];
    let (shut, open) = watch::channel(true);
    let gate = gate(endpoint(daemon.node()), open).await;
    let node = farm.builder("desk").peer(gate).build().await.unwrap();
    let scheduler = quiet(Scheduler::cluster(&node)).start().await.unwrap();
    scheduler.run(nothing()).await.unwrap();
    shut.send_replace(false);
    let mut closing = Box::pin(scheduler.close());
    let early = tokio::time::timeout(Duration::from_secs(1), &mut closing).await;
    assert!(early.is_err(), "the node cannot have heard");
    shut.send_replace(true);
    closing.await.unwrap();
    // One that was lost might come back for a minute.
    let served = tokio::time::timeout(Duration::from_secs(30), daemon.served());
    served.await.expect("it has left").unwrap();
    farm.close().await;
}

/// The processes that this one has started, and their control groups.
#[cfg(target_os = "linux")]
fn left() -> Vec<String> {
    let me = std::process::id();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children =
        threads.filter_map(|it| std::fs::read_to_string(it.path().join("children")).ok());
    let children = children.collect::<String>();
    let children = children.split_whitespace();
    let running = children.filter(|pid| is_running(pid.parse().unwrap()));
    let mut left: Vec<_> = running.map(str::to_owned).collect();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        let inside = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for folder in inside.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())) {
            let name = folder.file_name().into_string().unwrap();
            if name.starts_with(&format!("coros-{me}-")) {
                left.push(name);
            }
            folders.push(folder.path());
        }
    }
    left
}

/// With many launches at once, more than one is started in advance.
#[cfg(target_os = "linux")]
async fn nothing_is_left_of_processes_that_nobody_needed() {
    const SLOTS: usize = 8;
    for _ in 0..3 {
        let farm = Farm::of([SLOTS]).await;
        let scheduler = farm.scheduler().await;
        let (begun, mut told) = unbounded_channel();
        let to = coros::spawn(async move |mut me: Context<Address<()>>| {
            while let Some(begins) = me.receive().await {
                let _ = begun.send(begins);
            }
        });
        let calls = (0..SLOTS).map(|_| scheduler.submit(until_told(to.address())));
        let calls: Vec<_> = calls.collect();
        for _ in 0..SLOTS {
            told.recv().await.unwrap();
        }
        drop(calls);
        scheduler.close().await.unwrap();
        farm.close().await;
    }
    // Guards see that they are not needed any more, which nobody waits for.
    let started = std::time::Instant::now();
    while !left().is_empty() && started.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left(), [""; 0]);
}

fn main() {
    worker::enter();
    let trials = trials![
        what_happens_is_told_once_and_in_order,
        the_folder_of_a_daemon_that_is_closed_is_free,
        a_function_that_panics_at_an_event_ends_nothing,
        a_call_is_told_to_wait_when_the_last_node_goes_that_could_take_it,
        a_suspended_node_lends_nothing_until_it_is_resumed,
        what_is_evicted_runs_again,
        a_client_that_comes_back_is_the_same,
        a_scheduler_is_closed_when_its_nodes_have_heard_that_it_leaves,
        #[cfg(target_os = "linux")]
        nothing_is_left_of_processes_that_nobody_needed,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
