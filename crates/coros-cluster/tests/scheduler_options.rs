//! What calls ask for: with real worker processes, which are this very test program.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{LIMIT, trials};
use coros::cluster::{Event, Resources, SchedulerBuilder, worker};
use coros::{Address, Context, JobError, Scheduler};
use libtest_mimic::Arguments;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

const SHORT: Duration = Duration::from_millis(100);

/// What calls tell while they run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Sign {
    /// It runs, with so many cores.
    Began(u32),
    Ended(u32),
    /// It runs until it gets a message there.
    Gate(u32, Address<()>),
    Dropped,
    /// It has started this process.
    Process(u32),
}

#[coros::remote]
fn square(n: u64) -> u64 {
    n * n
}

#[coros::remote]
fn pid() -> u32 {
    std::process::id()
}

#[coros::remote]
fn length(text: String) -> usize {
    text.len()
}

#[coros::remote]
fn exits() {
    std::process::exit(1)
}

/// Tells that it runs.
#[coros::remote]
fn tell(to: Address<Sign>, n: u32) {
    to.send(Sign::Began(n)).unwrap();
}

/// Takes its time, and tells of its begin and its end.
#[coros::remote]
fn work(to: Address<Sign>, cores: u32) {
    to.send(Sign::Began(cores)).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    to.send(Sign::Ended(cores)).unwrap();
}

/// Runs until it gets a message.
#[coros::remote]
async fn gated(mut me: Context<()>, to: Address<Sign>, n: u32) {
    to.send(Sign::Gate(n, me.address())).unwrap();
    me.receive().await;
}

#[coros::remote]
async fn wait_for_ever(to: Address<Sign>) {
    struct End(Address<Sign>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.send(Sign::Dropped).unwrap();
        }
    }
    to.send(Sign::Began(0)).unwrap();
    let _end = End(to);
    std::future::pending::<()>().await;
}

#[coros::remote]
fn compute_for_ever(to: Address<Sign>) {
    to.send(Sign::Process(std::process::id())).unwrap();
    loop {
        std::hint::spin_loop();
    }
}

/// Never comes to an await point.
#[coros::remote]
async fn block_for_ever() {
    std::thread::sleep(Duration::from_secs(1000));
}

/// Starts a process and waits for its end.
#[coros::remote]
fn run_a_process(to: Address<Sign>) {
    let mut child = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    to.send(Sign::Process(child.id())).unwrap();
    child.wait().unwrap();
}

/// How many calls have come together in this worker, and whether they all have.
static MET: AtomicUsize = AtomicUsize::new(0);
static ALL_MET: AtomicBool = AtomicBool::new(false);

#[coros::remote]
async fn meet(parties: usize) -> u32 {
    if MET.fetch_add(1, Ordering::Relaxed) + 1 == parties {
        ALL_MET.store(true, Ordering::Relaxed);
    }
    while !ALL_MET.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::process::id()
}

/// Computes until they have met.
#[coros::remote]
fn compute_until_met() -> u32 {
    while !ALL_MET.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    std::process::id()
}

/// The same, blocking a thread.
#[coros::remote]
fn meet_blocking(parties: usize) {
    static BARRIER: std::sync::OnceLock<std::sync::Barrier> = std::sync::OnceLock::new();
    BARRIER
        .get_or_init(|| std::sync::Barrier::new(parties))
        .wait();
}

fn local(workers: usize) -> SchedulerBuilder {
    Scheduler::local().workers(workers).stderr(|_, _| {})
}

async fn start(workers: usize) -> Scheduler {
    local(workers).start().await.unwrap()
}

/// An address for signs, and where they come out.
fn signs() -> (Address<Sign>, mpsc::UnboundedReceiver<Sign>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let coro = coros::spawn(async move |mut me: Context<Sign>| {
        while let Some(sign) = me.receive().await {
            sender.send(sign).unwrap();
        }
    });
    (coro.address(), receiver)
}

async fn next_gate(from: &mut mpsc::UnboundedReceiver<Sign>) -> (u32, Address<()>) {
    match from.recv().await {
        Some(Sign::Gate(n, gate)) => (n, gate),
        other => panic!("{other:?}"),
    }
}

async fn next_process(from: &mut mpsc::UnboundedReceiver<Sign>) -> u32 {
    match from.recv().await {
        Some(Sign::Process(pid)) => pid,
        other => panic!("{other:?}"),
    }
}

/// Returns when all workers have got what they were to get for all that was submitted before.
async fn heard(scheduler: &Scheduler, workers: u32) {
    // The scheduler has dealt with it,
    scheduler.run(square(0).io()).await.unwrap();
    // and every worker gets one of these after that.
    let (to, mut from) = signs();
    let jobs: Vec<_> = (0..workers)
        .map(|n| scheduler.submit(gated(to.clone(), n).io()))
        .collect();
    let mut gates = Vec::new();
    for _ in 0..workers {
        gates.push(next_gate(&mut from).await.1);
    }
    for gate in gates {
        gate.send(()).unwrap();
    }
    for job in jobs {
        job.await.unwrap();
    }
}

/// A worker tells of the end of a call before the scheduler knows of it, so what is counted here is
/// never more than what runs.
async fn running_calls_never_take_more_cores_than_there_are() {
    let scheduler = start(4).await;
    let (to, mut from) = signs();
    let calls = (0..200).map(|n| {
        let cores = [1, 1, 3, 1, 2, 4, 1][n % 7];
        work(to.clone(), cores).cpus(cores)
    });
    let mut calls = scheduler.map(calls);
    while let Some(result) = calls.next().await {
        result.unwrap();
    }
    let (mut running, mut most, mut ended) = (0, 0, 0);
    while ended < 200 {
        match from.recv().await {
            Some(Sign::Began(cores)) => running += cores,
            Some(Sign::Ended(cores)) => {
                running -= cores;
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
        most = most.max(running);
    }
    assert_eq!(most, 4);
    scheduler.close().await.unwrap();
}

async fn a_call_of_two_cores_has_them_to_itself() {
    let scheduler = start(4).await;
    let (to, mut from) = signs();
    let gate = |n| scheduler.submit(gated(to.clone(), n).cpus(2));
    let jobs = [gate(0), gate(1), gate(2)];
    let small = scheduler.submit(tell(to.clone(), 3));
    let first = next_gate(&mut from).await;
    let second = next_gate(&mut from).await;
    let mut both = [first.0, second.0];
    both.sort_unstable();
    assert_eq!(both, [0, 1], "they run at a time");
    first.1.send(()).unwrap();
    // The small one was submitted after the large one, and would have had room all the time.
    let (n, third) = next_gate(&mut from).await;
    assert_eq!(n, 2);
    second.1.send(()).unwrap();
    assert_eq!(from.recv().await, Some(Sign::Began(3)));
    third.send(()).unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    small.await.unwrap();
    scheduler.close().await.unwrap();
}

async fn a_higher_priority_overtakes_what_waits_at_workers() {
    let scheduler = start(2).await;
    let (to, mut from) = signs();
    let gates = [0, 1].map(|n| scheduler.submit(gated(to.clone(), n)));
    let (_, long) = next_gate(&mut from).await;
    let (_, short) = next_gate(&mut from).await;
    // These wait at both workers.
    let low: Vec<_> = (10..60)
        .map(|n| scheduler.submit(tell(to.clone(), n)))
        .collect();
    let high = [2, 1].map(|p| scheduler.submit(tell(to.clone(), p as u32).priority(p)));
    let urgent = scheduler.submit(tell(to.clone(), 3).priority(3));
    heard(&scheduler, 2).await;
    // Whichever worker they were sent to: it is the other one that is free.
    short.send(()).unwrap();
    for n in [3, 2, 1] {
        assert_eq!(from.recv().await, Some(Sign::Began(n)));
    }
    for job in low.into_iter().chain(high).chain([urgent]) {
        job.await.unwrap();
    }
    long.send(()).unwrap();
    for gate in gates {
        gate.await.unwrap();
    }
    scheduler.close().await.unwrap();
}

async fn calls_of_one_priority_run_in_order_and_those_of_a_higher_one_before() {
    let scheduler = start(1).await;
    let (to, mut from) = signs();
    let gate = scheduler.submit(gated(to.clone(), 0));
    let (_, first) = next_gate(&mut from).await;
    // They wait at the worker, and for it.
    let priorities = [0, 1, -1, 0, 2, 1];
    let calls = (1..).zip(priorities.into_iter().cycle()).take(60);
    let calls: Vec<_> = calls.collect();
    let submit =
        |(n, priority): &(u32, i32)| scheduler.submit(tell(to.clone(), *n).priority(*priority));
    let jobs: Vec<_> = calls.iter().map(submit).collect();
    heard(&scheduler, 1).await;
    first.send(()).unwrap();
    for priority in [2, 1, 0, -1] {
        for (n, _) in calls.iter().filter(|(_, it)| *it == priority) {
            assert_eq!(from.recv().await, Some(Sign::Began(*n)));
        }
    }
    for job in jobs.into_iter().chain([gate]) {
        job.await.unwrap();
    }
    scheduler.close().await.unwrap();
}

async fn a_thousand_io_calls_share_a_worker_with_one_that_computes() {
    let scheduler = start(1).await;
    let computes = scheduler.submit(compute_until_met());
    let mut io = scheduler.map((0..1000).map(|_| meet(1000).io()));
    let mut pids = Vec::new();
    while let Some(pid) = io.next().await {
        pids.push(pid.unwrap());
    }
    assert_eq!(pids, vec![computes.await.unwrap(); 1000]);
    // Those that are not async each have a thread.
    let mut io = scheduler.map((0..20).map(|_| meet_blocking(20).io()));
    while let Some(met) = io.next().await {
        met.unwrap();
    }
    scheduler.close().await.unwrap();
}

async fn io_calls_are_dropped_where_they_wait() {
    let scheduler = start(1).await;
    let (to, mut from) = signs();
    let job = scheduler.submit(wait_for_ever(to.clone()).io());
    assert_eq!(from.recv().await, Some(Sign::Began(0)));
    drop(job);
    assert_eq!(from.recv().await, Some(Sign::Dropped));
    let late = scheduler
        .run(wait_for_ever(to).io().time_limit(SHORT))
        .await;
    assert_eq!(late, Err(JobError::TimedOut(SHORT)));
    assert_eq!(from.recv().await, Some(Sign::Began(0)));
    assert_eq!(from.recv().await, Some(Sign::Dropped));
    // One that cannot be dropped is left to itself.
    let before = scheduler.run(pid()).await.unwrap();
    let (to, mut from) = signs();
    let late = scheduler
        .run(compute_for_ever(to).io().time_limit(SHORT))
        .await;
    assert_eq!(late, Err(JobError::TimedOut(SHORT)));
    assert_eq!(next_process(&mut from).await, before);
    assert_eq!(scheduler.run(pid()).await, Ok(before));
    scheduler.close().await.unwrap();
}

/// As many of them as there is room for on the link are, and the others go.
#[cfg(target_os = "linux")]
async fn cancelled_calls_are_not_kept_for_a_worker_that_reads_nothing() {
    let scheduler = local(1).silence(LIMIT).start().await.unwrap();
    let stopped = scheduler.run(pid()).await.unwrap();
    common::signal(stopped, nix::sys::signal::Signal::SIGSTOP);
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    };
    let large = "x".repeat(8 << 20);
    for _ in 0..60 {
        let job = scheduler.submit(length(large.clone()).io());
        // Whatever was said before a question has been done some time before the answer to the next.
        for _ in 0..2 {
            scheduler.workers().await;
        }
        drop(job);
    }
    let kept = resident();
    assert!(kept < 60 * large.len() / 2, "{kept}");
    common::signal(stopped, nix::sys::signal::Signal::SIGCONT);
    assert_eq!(scheduler.run(pid()).await, Ok(stopped));
    assert_eq!(
        scheduler.run(length(large.clone()).io()).await,
        Ok(large.len())
    );
    scheduler.close().await.unwrap();
}

async fn an_async_call_out_of_time_is_dropped() {
    let scheduler = start(1).await;
    let (to, mut from) = signs();
    let before = scheduler.run(pid()).await.unwrap();
    let late = scheduler.run(wait_for_ever(to).time_limit(SHORT)).await;
    assert_eq!(late, Err(JobError::TimedOut(SHORT)));
    assert_eq!(from.recv().await, Some(Sign::Began(0)));
    assert_eq!(from.recv().await, Some(Sign::Dropped));
    assert_eq!(scheduler.run(pid()).await, Ok(before), "its worker lives");
    // Who is in time is none of that.
    let long = Duration::from_secs(1000);
    assert_eq!(scheduler.run(square(3).time_limit(long)).await, Ok(9));
    scheduler.close().await.unwrap();
}

/// The next loss of a worker: why.
async fn next_loss(events: &mut coros::cluster::Events) -> String {
    loop {
        if let Event::WorkerLost { reason, .. } = events.next().await.unwrap() {
            return reason;
        }
    }
}

async fn a_call_that_computes_out_of_time_ends_with_its_worker_alone() {
    // Were the others held to be suspects, one would be given up.
    let scheduler = local(1).retries(1).start().await.unwrap();
    let mut events = scheduler.events();
    let (to, mut from) = signs();
    let late = [
        scheduler.submit(compute_for_ever(to.clone()).time_limit(SHORT)),
        scheduler.submit(compute_for_ever(to).time_limit(SHORT)),
    ];
    let others: Vec<_> = (0..20).map(|n| scheduler.submit(square(n))).collect();
    for job in late {
        assert_eq!(job.await, Err(JobError::TimedOut(SHORT)));
        let reason = next_loss(&mut events).await;
        assert!(reason.contains("longer than its time limit"), "{reason}");
        #[cfg(target_os = "linux")]
        common::ended(next_process(&mut from).await).await;
    }
    for (job, n) in others.into_iter().zip(0..) {
        assert_eq!(job.await, Ok(n * n));
    }
    scheduler.close().await.unwrap();
    drop(from.try_recv());
}

async fn an_async_call_that_never_waits_ends_with_its_worker_too() {
    let scheduler = start(1).await;
    let mut events = scheduler.events();
    let late = scheduler.run(block_for_ever().time_limit(SHORT)).await;
    assert_eq!(late, Err(JobError::TimedOut(SHORT)));
    next_loss(&mut events).await;
    drop(scheduler.submit(block_for_ever()));
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
}

#[cfg(target_os = "linux")]
async fn what_a_call_has_started_ends_with_it() {
    let scheduler = start(1).await;
    let mut events = scheduler.events();
    let (to, mut from) = signs();
    let late = scheduler.submit(run_a_process(to.clone()).time_limit(SHORT));
    common::ended(next_process(&mut from).await).await;
    assert_eq!(late.await, Err(JobError::TimedOut(SHORT)));
    next_loss(&mut events).await;

    let job = scheduler.submit(run_a_process(to.clone()));
    let pid = next_process(&mut from).await;
    job.cancel();
    assert_eq!(job.await, Err(JobError::Cancelled));
    common::ended(pid).await;
    let reason = next_loss(&mut events).await;
    assert!(reason.contains("was cancelled"), "{reason}");

    // A dropped job is cancelled.
    let job = scheduler.submit(compute_for_ever(to));
    let pid = next_process(&mut from).await;
    drop(job);
    common::ended(pid).await;
    assert_eq!(scheduler.run(square(3)).await, Ok(9));
    scheduler.close().await.unwrap();
}

async fn what_nobody_has_is_refused_at_once() {
    let scheduler = local(2)
        .resource("gpu", 1)
        .memory(1000)
        .start()
        .await
        .unwrap();
    let refused = scheduler.run(square(1).cpus(3)).await;
    assert_eq!(refused, Err(JobError::NoRoom(Resources::cpus(3))));
    let error = scheduler.run(square(1).resource("gpu", 2)).await;
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "it needs 1 core, 2 gpu, and no machine has so much");
    let needs = Resources::cpus(1).memory(1001);
    let refused = scheduler.run(square(1).needs(needs.clone())).await;
    assert_eq!(refused, Err(JobError::NoRoom(needs)));

    // What there is one of is had in turn.
    let (to, mut from) = signs();
    let jobs = [0, 1].map(|n| scheduler.submit(gated(to.clone(), n).resource("gpu", 1)));
    let (_, gate) = next_gate(&mut from).await;
    assert_eq!(
        scheduler.run(square(3).memory(1000).priority(1)).await,
        Ok(9)
    );
    assert!(from.try_recv().is_err(), "two have the only one");
    gate.send(()).unwrap();
    next_gate(&mut from).await.1.send(()).unwrap();
    for job in jobs {
        job.await.unwrap();
    }
    scheduler.close().await.unwrap();
}

async fn a_call_says_how_often_it_may_run() {
    let scheduler = start(1).await;
    for retries in [0, 1] {
        let error = scheduler.run(exits().retries(retries)).await.unwrap_err();
        let JobError::Abandoned { losses, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(losses, retries + 1);
    }
    scheduler.close().await.unwrap();
}

fn main() {
    worker::enter();
    let trials = trials![
        running_calls_never_take_more_cores_than_there_are,
        a_call_of_two_cores_has_them_to_itself,
        a_higher_priority_overtakes_what_waits_at_workers,
        calls_of_one_priority_run_in_order_and_those_of_a_higher_one_before,
        a_thousand_io_calls_share_a_worker_with_one_that_computes,
        io_calls_are_dropped_where_they_wait,
        #[cfg(target_os = "linux")]
        cancelled_calls_are_not_kept_for_a_worker_that_reads_nothing,
        an_async_call_out_of_time_is_dropped,
        a_call_that_computes_out_of_time_ends_with_its_worker_alone,
        an_async_call_that_never_waits_ends_with_its_worker_too,
        #[cfg(target_os = "linux")]
        what_a_call_has_started_ends_with_it,
        what_nobody_has_is_refused_at_once,
        a_call_says_how_often_it_may_run,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
