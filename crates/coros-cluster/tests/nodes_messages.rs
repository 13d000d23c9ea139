//! What workers of nodes say: to each other in messages, and on standard error.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::farm::*;
use common::*;
use coros::cluster::{Event, worker};
use coros::{Address, Context, Scheduler};
use libtest_mimic::Arguments;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[coros::remote]
fn says(line: String) {
    eprintln!("{line}");
}

#[coros::remote]
fn says_and_exits(line: String) {
    eprintln!("{line}");
    std::process::exit(3)
}

#[derive(Debug, Serialize, Deserialize)]
enum Hello {
    From(Address<Greeting>, String),
    Heard(String, String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Greeting {
    Greet(Address<Greeting>),
    Hello(String),
}

/// Tells its address, greets whom it is told to, and tells who greets it.
#[coros::remote]
async fn sociable(mut me: Context<Greeting>, to: Address<Hello>) -> Result<(), String> {
    let name = worker::name().unwrap_or_default().to_owned();
    to.send(Hello::From(me.address(), name.clone()))
        .map_err(|error| error.to_string())?;
    loop {
        match me.receive().await {
            Some(Greeting::Greet(other)) => other
                .deliver(Greeting::Hello(name.clone()))
                .await
                .map_err(|error| error.to_string())?,
            Some(Greeting::Hello(from)) => {
                let heard = Hello::Heard(name.clone(), from);
                return to.send(heard).map_err(|error| error.to_string());
            }
            None => return Err("nobody is left".into()),
        }
    }
}

async fn everyone_can_message_everyone() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    let (to, mut heard) = told::<Hello>();
    let jobs = [(); 2].map(|()| scheduler.submit(sociable(to.clone())));
    let mut met = Vec::new();
    while met.len() < 2 {
        match heard.recv().await.unwrap() {
            Hello::From(address, name) => met.push((address, name)),
            Hello::Heard(..) => panic!("nobody has greeted"),
        }
    }
    let [(a, first), (b, second)] = met.try_into().unwrap();
    assert_ne!(node_of(&first), node_of(&second));
    a.send(Greeting::Greet(b.clone())).unwrap();
    b.send(Greeting::Greet(a.clone())).unwrap();
    let mut greeted = BTreeSet::new();
    for _ in 0..2 {
        let Some(Hello::Heard(by, from)) = heard.recv().await else {
            panic!("somebody comes late")
        };
        greeted.insert((by, from));
    }
    let both = [(first.clone(), second.clone()), (second, first)];
    assert_eq!(greeted, BTreeSet::from(both));
    for job in jobs {
        job.await.unwrap();
    }
    scheduler.close().await.unwrap();
    farm.close().await;
}

async fn what_workers_write_comes_in_order() {
    let farm = Farm::of([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .log("off")
        .stderr(move |worker, line| drop(to.send((worker.to_owned(), line.to_owned()))));
    let scheduler = scheduler.start().await.unwrap();
    for n in 0..100 {
        scheduler.run(says(format!("line {n}"))).await.unwrap();
    }
    scheduler.close().await.unwrap();
    for n in 0..100 {
        let (worker, line) = lines.recv().await.unwrap();
        assert_eq!(line, format!("line {n}"));
        assert_eq!(node_of(&worker), "farm-1");
    }
    farm.close().await;
}

/// Writes to standard output, whatever captures that of a test.
#[coros::remote]
fn prints(line: String) {
    use std::io::Write;
    let mut stdout = std::io::stdout();
    stdout.write_all(line.as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// It is not for the terminal of whoever lends the machine.
async fn what_workers_of_nodes_print_comes_as_well() {
    let farm = Farm::of([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .log("off")
        .stderr(move |_, line| drop(to.send(line.to_owned())));
    let scheduler = scheduler.start().await.unwrap();
    for n in 0..10 {
        scheduler.run(prints(format!("out {n}\n"))).await.unwrap();
        scheduler.run(says(format!("line {n}"))).await.unwrap();
    }
    scheduler.close().await.unwrap();
    for n in 0..10 {
        assert_eq!(lines.recv().await.unwrap(), format!("out {n}"));
        assert_eq!(lines.recv().await.unwrap(), format!("line {n}"));
    }
    farm.close().await;
}

/// Writes to standard error until so many bytes are written.
#[coros::remote]
fn floods(bytes: usize) {
    use std::io::Write;
    let line = [&[b'x'; 999][..], b"\n"].concat();
    for _ in 0..bytes / line.len() {
        std::io::stderr().write_all(&line).unwrap();
    }
}

/// A terminal that takes nothing holds up who writes, and nothing else.
async fn lines_that_nobody_takes_hold_up_their_worker_alone() {
    let farm = Farm::of([2]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(2),
    ] {
        let (open, is_open) = std::sync::mpsc::channel::<()>();
        let is_open = std::sync::Mutex::new(is_open);
        let (count, mut lines) = mpsc::unbounded_channel();
        let scheduler = scheduler.log("off").stderr(move |_, _| {
            // Until it is open; then at once.
            let _ = is_open.lock().unwrap().recv();
            let _ = count.send(());
        });
        let scheduler = scheduler.start().await.unwrap();
        workers(&mut scheduler.events(), 2).await;
        let mut flood = scheduler.submit(floods(20_000_000));
        for n in 0..100 {
            assert_eq!(scheduler.run(square(n)).await, Ok(n * n));
        }
        let ends = tokio::time::timeout(Duration::from_secs(2), &mut flood);
        assert!(ends.await.is_err(), "somebody has kept 20 MB of lines");
        drop(open);
        flood.await.unwrap();
        for _ in 0..20_000 {
            lines.recv().await.unwrap();
        }
        scheduler.close().await.unwrap();
        assert_eq!(lines.try_recv().ok(), None, "more than it has written");
    }
    farm.close().await;
}

/// Also when they are printed slowly.
async fn what_a_worker_wrote_is_told_before_its_end() {
    let farm = Farm::of([1]).await;
    for scheduler in [
        Scheduler::cluster(&farm.client().await),
        Scheduler::local().workers(1),
    ] {
        let (to, mut told) = mpsc::unbounded_channel();
        let lost = to.clone();
        let scheduler = scheduler
            .log("off")
            .retries(0)
            .stderr(move |_, line| {
                std::thread::sleep(Duration::from_millis(5));
                let _ = to.send(line.to_owned());
            })
            .on_event(move |event| {
                if matches!(event, Event::WorkerLost { .. }) {
                    let _ = lost.send("lost".into());
                }
            });
        let scheduler = scheduler.start().await.unwrap();
        let lines: Vec<_> = (0..10).map(|n| format!("line {n}")).collect();
        let call = says_and_exits(lines.join("\n"));
        scheduler.run(call).await.unwrap_err();
        for expected in lines.iter().map(String::as_str).chain(["lost"]) {
            assert_eq!(told.recv().await.as_deref(), Some(expected));
        }
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

/// A variable can have a program load other code. The loader says so of each program that cannot, which
/// is the client's alone, and not the one that isolates it before.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
async fn what_a_client_sets_is_for_its_program_alone() {
    let farm = Farm::of([1]).await;
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::cluster(&farm.client().await)
        .log("off")
        .env("LD_PRELOAD", "./no-such-library.so")
        .stderr(move |_, line| drop(to.send(line.to_owned())));
    let scheduler = scheduler.start().await.unwrap();
    scheduler.run(square(1)).await.unwrap();
    scheduler.close().await.unwrap();
    drop(scheduler);
    let mut loads = 0;
    while let Some(line) = lines.recv().await {
        loads += usize::from(line.contains("no-such-library.so"));
    }
    assert_eq!(loads, 1);
    farm.close().await;
}

fn main() {
    worker::enter();
    let trials = trials![
        everyone_can_message_everyone,
        what_workers_write_comes_in_order,
        #[cfg(unix)]
        what_workers_of_nodes_print_comes_as_well,
        lines_that_nobody_takes_hold_up_their_worker_alone,
        what_a_worker_wrote_is_told_before_its_end,
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        what_a_client_sets_is_for_its_program_alone,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
