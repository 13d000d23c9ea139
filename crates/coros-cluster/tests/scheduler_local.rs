//! A scheduler with real worker processes, which are this very test program.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::collections::HashSet;
#[cfg(unix)]
use std::fs;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
#[cfg(unix)]
use std::time::Instant;

use common::*;
use coros::cluster::{Event, worker};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[coros::remote]
fn square(n: u64) -> u64 {
    n * n
}

#[coros::remote]
fn nothing() {}

#[coros::remote]
fn halve(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(2) {
        Ok(n / 2)
    } else {
        Err(format!("{n} is odd"))
    }
}

#[coros::remote]
fn panics(text: String) -> u64 {
    panic!("{text}")
}

#[coros::remote]
async fn panics_later(text: String) -> u64 {
    tokio::task::yield_now().await;
    panic!("{text}")
}

#[coros::remote]
async fn add(a: u64, b: u64) -> u64 {
    // The timers of a worker work.
    tokio::time::sleep(Duration::from_millis(1)).await;
    a + b
}

#[coros::remote]
fn exits(code: i32) {
    eprintln!("about to leave");
    std::process::exit(code)
}

#[coros::remote]
fn where_am_i() -> (u32, String) {
    (
        std::process::id(),
        worker::name().unwrap_or_default().to_owned(),
    )
}

#[coros::remote]
fn text(n: usize) -> String {
    "x".repeat(n)
}

#[coros::remote]
fn length(text: String) -> usize {
    text.len()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Life {
    Began,
    Dropped,
}

/// Tells that it runs, and ends when it is told to, which it tells as well.
#[coros::remote]
async fn wait_for_ever(to: Address<Life>) {
    struct End(Address<Life>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.send(Life::Dropped).unwrap();
        }
    }
    to.send(Life::Began).unwrap();
    let _end = End(to);
    std::future::pending::<()>().await;
}

/// Starts a process, and leaves it behind.
#[coros::remote]
fn leaves_a_child() -> u32 {
    std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap()
        .id()
}

#[derive(Debug, Serialize, Deserialize)]
enum Hello {
    From(Address<u64>),
    Sum(u64),
}

/// A coroutine with a mailbox: tells its address and adds up three messages.
#[coros::remote]
async fn adder(mut me: Context<u64>, to: Address<Hello>, start: u64) -> Result<u64, String> {
    to.send(Hello::From(me.address()))
        .map_err(|error| error.to_string())?;
    let mut sum = start;
    for _ in 0..3 {
        sum += me.receive().await.ok_or("nobody is left")?;
    }
    to.send(Hello::Sum(sum))
        .map_err(|error| error.to_string())?;
    Ok(sum)
}

async fn two_workers() -> Scheduler {
    Scheduler::local()
        .workers(2)
        .stderr(|_, _| {})
        .start()
        .await
        .unwrap()
}

async fn calls_give_their_values() {
    assert_eq!(
        (square(3).here().await, add(1, 2).here().await),
        (Ok(9), Ok(3))
    );
    let scheduler = two_workers().await;
    assert_eq!(scheduler.run(square(5)).await, Ok(25));
    assert_eq!(scheduler.run(add(20, 22)).await, Ok(42));
    assert_eq!(scheduler.run(nothing()).await, Ok(()));
    assert_eq!(scheduler.run(halve(8)).await, Ok(4));
    assert_eq!(
        scheduler.run(halve(7)).await,
        Err(JobError::Failed("7 is odd".into()))
    );
    let (pid, name) = scheduler.run(where_am_i()).await.unwrap();
    assert!(pid != std::process::id() && name.starts_with('w'));
    assert_eq!(worker::name(), None);
    scheduler.close().await.unwrap();
    assert_eq!(scheduler.run(square(5)).await, Err(JobError::Closed));
    scheduler.close().await.unwrap();
}

async fn a_panic_is_an_error_and_costs_no_worker() {
    let scheduler = two_workers().await;
    for _ in 0..3 {
        let error = scheduler.run(panics("ouch".into())).await;
        assert_eq!(error, Err(JobError::Panicked("ouch".into())));
        let error = scheduler.run(panics_later("ouch".into())).await;
        assert_eq!(error, Err(JobError::Panicked("ouch".into())));
    }
    let (_, name) = scheduler.run(where_am_i()).await.unwrap();
    assert!(name == "w1" || name == "w2", "{name}");
    scheduler.close().await.unwrap();
}

async fn a_map_keeps_order_and_window() {
    let scheduler = two_workers().await;
    let (asked, window) = (Arc::new(AtomicUsize::new(0)), 100);
    let items = {
        let asked = Arc::clone(&asked);
        (0..5000).inspect(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
        })
    };
    let mut squares = scheduler.map(items.map(square)).window(window);
    let mut n = 0;
    while let Some(value) = squares.next().await {
        assert_eq!(value, Ok(n * n));
        n += 1;
        let ahead = asked.load(Ordering::Relaxed) - n as usize;
        assert!(ahead <= window, "{ahead} items ahead");
    }
    assert_eq!(n, 5000);
    let mut seen = HashSet::new();
    let mut unordered = scheduler.map((0..5000).map(square)).unordered();
    while let Some(done) = unordered.next().await {
        let n = done.index as u64;
        assert_eq!(done.result, Ok(n * n));
        assert!(seen.insert(n) && done.worker.is_some() && done.attempts > 0);
    }
    assert_eq!(seen.len(), 5000);
    scheduler.close().await.unwrap();
}

async fn a_remote_coroutine_has_a_mailbox() {
    let scheduler = two_workers().await;
    let talk = coros::spawn(|mut me: Context<Hello>| async move {
        let Some(Hello::From(adder)) = me.receive().await else {
            panic!("no greeting")
        };
        for n in [1, 2, 3] {
            adder.send(n).unwrap();
        }
        let Some(Hello::Sum(sum)) = me.receive().await else {
            panic!("no sum")
        };
        sum
    });
    let job = scheduler.submit(adder(talk.address(), 10));
    assert_eq!(talk.join().await, Ok(16));
    assert_eq!(job.await, Ok(16));
    scheduler.close().await.unwrap();
}

async fn after_closing_no_address_is_left_that_a_call_took_along() {
    let scheduler = two_workers().await;
    let counter = coros::spawn(async |mut me: Context<Hello>| {
        let mut received = 0;
        while me.receive().await.is_some() {
            received += 1;
        }
        received
    });
    let adder = scheduler.submit(adder(counter.address(), 10));
    drop(adder);
    scheduler.close().await.unwrap();
    // The scheduler is still there.
    assert!(counter.join().await.unwrap() <= 1);
    drop(scheduler);
}

async fn a_call_that_kills_workers_is_given_up_and_hurts_no_other() {
    let scheduler = Scheduler::local()
        .workers(2)
        .retries(2)
        .stderr(|_, _| {})
        .start()
        .await
        .unwrap();
    let mut events = scheduler.events();
    let bad = scheduler.submit(exits(7));
    let mut good = scheduler.map((0..300).map(square));
    let mut n = 0;
    while let Some(value) = good.next().await {
        assert_eq!(value, Ok(n * n));
        n += 1;
    }
    let completion = bad.completion().await;
    let Err(JobError::Abandoned { losses: 3, reason }) = completion.result else {
        panic!("{completion:?}")
    };
    assert!(reason.contains("ended with exit status 7"), "{reason}");
    assert!(reason.contains("about to leave"), "{reason}");
    // A new worker takes the place of each.
    let (mut lost, mut ready) = (0, 0);
    while (lost, ready) != (3, 5) {
        match events.next().await.unwrap() {
            Event::WorkerLost { given_up, .. } => {
                lost += 1;
                assert_eq!(given_up, usize::from(lost == 3));
            }
            Event::WorkerReady { .. } => ready += 1,
            _ => {}
        }
    }
    scheduler.close().await.unwrap();
}

async fn a_call_that_may_not_be_repeated_is_not() {
    let scheduler = Scheduler::local()
        .workers(1)
        .retries(0)
        .stderr(|_, _| {})
        .start()
        .await
        .unwrap();
    let error = scheduler.run(exits(1)).await.unwrap_err();
    assert!(
        matches!(error, JobError::Abandoned { losses: 1, .. }),
        "{error:?}"
    );
    assert_eq!(scheduler.run(square(2)).await, Ok(4));
    scheduler.close().await.unwrap();
}

async fn a_dropped_job_is_cancelled_where_it_runs() {
    let (address, mut life) = life();
    let scheduler = Scheduler::local().workers(1).start().await.unwrap();
    let job = scheduler.submit(wait_for_ever(address));
    assert_eq!(life.recv().await, Some(Life::Began));
    drop(job);
    // The slot is free again.
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    assert_eq!(life.recv().await, Some(Life::Dropped));
    let queued = scheduler.submit(square(3));
    queued.cancel();
    assert!(matches!(queued.await, Err(JobError::Cancelled) | Ok(9)));
    scheduler.close().await.unwrap();
}

async fn what_waits_behind_a_long_call_runs_elsewhere() {
    let (address, _life) = life();
    let scheduler = two_workers().await;
    let long = scheduler.submit(wait_for_ever(address));
    let mut values = scheduler.map((0..1000).map(square));
    while let Some(value) = values.next().await {
        value.unwrap();
    }
    drop(long);
    scheduler.close().await.unwrap();
}

async fn what_is_too_large_is_refused_both_ways() {
    let scheduler = two_workers().await;
    let (large, most) = (17 << 20, 15 << 20);
    let error = scheduler.run(length("x".repeat(large))).await.unwrap_err();
    assert!(
        error.to_string().contains("arguments cannot be sent")
            && error.to_string().contains("path of a file"),
        "{error}"
    );
    let error = scheduler.run(text(large)).await.unwrap_err();
    assert!(
        error.to_string().contains("result cannot be sent")
            && error.to_string().contains("path of a file"),
        "{error}"
    );
    // Below the limit of one message, but together far above what a link queues.
    let mut values = scheduler.map((0..20).map(|_| length("x".repeat(most))));
    while let Some(value) = values.next().await {
        assert_eq!(value, Ok(most));
    }
    let mut values = scheduler.map((0..20).map(|_| text(most)));
    while let Some(value) = values.next().await {
        assert_eq!(value.unwrap().len(), most);
    }
    scheduler.close().await.unwrap();
}

#[cfg(target_os = "linux")]
async fn nothing_is_left_of_a_worker() {
    let scheduler = two_workers().await;
    let mut events = scheduler.events();
    let mut pids = Vec::new();
    for _ in 0..2 {
        let Some(Event::WorkerReady { pid, node, .. }) = events.next().await else {
            panic!()
        };
        assert_eq!(node.name, "local");
        assert!(node.machine.memory > 0 && node.load.disk_free.is_some());
        pids.push(pid);
    }
    let mut started = vec![scheduler.run(leaves_a_child()).await.unwrap()];
    scheduler.close().await.unwrap();
    assert!(
        !pids.iter().any(|pid| is_running(*pid)),
        "close waits for the end"
    );

    // Without closing, and with a worker that is killed.
    let scheduler = two_workers().await;
    let (pid, _) = scheduler.run(where_am_i()).await.unwrap();
    started.push(scheduler.run(leaves_a_child()).await.unwrap());
    signal(pid, Signal::SIGKILL);
    started.push(scheduler.run(leaves_a_child()).await.unwrap());
    drop(scheduler);
    for pid in started.into_iter().chain([pid]) {
        ended(pid).await;
    }
}

#[cfg(target_os = "linux")]
async fn closing_kills_a_worker_that_does_not_end() {
    let scheduler = Scheduler::local()
        .workers(1)
        .grace(Duration::from_millis(100))
        .start()
        .await
        .unwrap();
    let (pid, name) = scheduler.run(where_am_i()).await.unwrap();
    signal(pid, Signal::SIGSTOP);
    let error = scheduler.close().await.unwrap_err();
    assert_eq!(error.killed, [Arc::from(name)]);
    assert!(!is_running(pid));
}

/// A frozen worker is told from one that was killed, and does not hold up its calls for long.
#[cfg(target_os = "linux")]
async fn a_frozen_worker_is_given_up_in_time() {
    let scheduler = two_workers().await;
    let mut events = scheduler.events();
    let (frozen, _) = scheduler.run(where_am_i()).await.unwrap();
    let stopped = Instant::now();
    signal(frozen, Signal::SIGSTOP);
    // Both workers have some of these.
    let mut pids = scheduler.map((0..100).map(|_| where_am_i()));
    while let Some(value) = pids.next().await {
        assert_ne!(value.unwrap().0, frozen);
    }
    let took = stopped.elapsed();
    let (pid, reason, jobs) = loop {
        if let Event::WorkerLost {
            pid, reason, jobs, ..
        } = events.next().await.unwrap()
        {
            break (pid, reason, jobs);
        }
    };
    assert_eq!(pid, frozen);
    assert!(
        reason.starts_with("no sign of life for 2.") && reason.ends_with(", so it was killed"),
        "{reason}"
    );
    assert!(jobs > 0);
    // 2.4 s, and a machine that is busy.
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(!is_running(frozen));
    scheduler.close().await.unwrap();
}

/// A client that stands still for longer than a worker may does not take that for the worker's
/// silence.
async fn a_client_that_computes_loses_no_worker() {
    let client = async {
        let scheduler = Scheduler::local()
            .workers(1)
            .silence(Duration::from_millis(500))
            .start()
            .await
            .unwrap();
        let (pid, _) = scheduler.run(where_am_i()).await.unwrap();
        // It computes, for longer than that, and its runtime has but this thread.
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(scheduler.run(where_am_i()).await.unwrap().0, pid);
        scheduler.close().await.unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::spawn_blocking(move || runtime.block_on(client))
        .await
        .unwrap();
}

async fn workers_log_what_they_are_told_to() {
    let (to, mut lines) = mpsc::unbounded_channel();
    let scheduler = Scheduler::local()
        .workers(1)
        .log("coros_net=trace,coros_cluster=off")
        .stderr(move |_, line| drop(to.send(line.to_owned())))
        .start()
        .await
        .unwrap();
    scheduler.run(nothing()).await.unwrap();
    scheduler.close().await.unwrap();
    drop(scheduler);
    let mut seen = Vec::new();
    while let Some(line) = lines.recv().await {
        seen.push(line);
    }
    assert!(!seen.is_empty());
    for line in seen {
        assert!(line.contains("coros_net"), "{line}");
        assert!(
            !line.contains('\u{1b}'),
            "colours do not belong here: {line}"
        );
    }
    let error = Scheduler::local().log("a=b=c").start().await.unwrap_err();
    assert!(error.to_string().contains("log makes no sense"), "{error}");
}

/// What [`wait_for_ever`] tells.
fn life() -> (Address<Life>, mpsc::UnboundedReceiver<Life>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let coro = coros::spawn(async move |mut me: Context<Life>| {
        while let Some(sign) = me.receive().await {
            sender.send(sign).unwrap();
        }
    });
    (coro.address(), receiver)
}

async fn a_program_that_is_not_there_is_named() {
    let scheduler = Scheduler::local().program("/no/such/program").start();
    let error = scheduler.await.unwrap_err().to_string();
    assert!(
        error.contains("/no/such/program") && error.contains("No such file"),
        "{error}"
    );
}

#[cfg(unix)]
async fn a_program_that_ends_at_once_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "echo 'out of cheese' >&2; exit 3");
    let error = Scheduler::local()
        .stderr(|_, _| {})
        .program(program)
        .start()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ended with exit status 3"), "{text}");
    assert!(text.contains("out of cheese"), "{text}");
}

#[cfg(unix)]
async fn a_program_that_never_reports_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "exec sleep 1000");
    let begun = Instant::now();
    let limit = Duration::from_millis(100);
    let scheduler = Scheduler::local()
        .workers(1)
        .start_limit(limit)
        .program(program)
        .start();
    let error = scheduler.await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("did not report within 100ms"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[cfg(unix)]
fn script(folder: &Path, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn main() {
    worker::enter();
    let trials = trials![
        calls_give_their_values,
        a_panic_is_an_error_and_costs_no_worker,
        a_map_keeps_order_and_window,
        a_remote_coroutine_has_a_mailbox,
        after_closing_no_address_is_left_that_a_call_took_along,
        a_call_that_kills_workers_is_given_up_and_hurts_no_other,
        a_call_that_may_not_be_repeated_is_not,
        a_dropped_job_is_cancelled_where_it_runs,
        what_waits_behind_a_long_call_runs_elsewhere,
        what_is_too_large_is_refused_both_ways,
        #[cfg(target_os = "linux")]
        nothing_is_left_of_a_worker,
        #[cfg(target_os = "linux")]
        closing_kills_a_worker_that_does_not_end,
        #[cfg(target_os = "linux")]
        a_frozen_worker_is_given_up_in_time,
        a_client_that_computes_loses_no_worker,
        workers_log_what_they_are_told_to,
        a_program_that_is_not_there_is_named,
        #[cfg(unix)]
        a_program_that_ends_at_once_is_quoted,
        #[cfg(unix)]
        a_program_that_never_reports_is_killed,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
