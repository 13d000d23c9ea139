//! What is measured: the figures of one workload, by their names, as JSON.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use coros::cluster::command::Command;
use coros::net::Secret;
use coros::{Address, Context, Scheduler};
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::machine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::functions::{Question, answers, back, length, pause, same};
use crate::place::{self, Place, WORKERS};

/// Questions that are under way to each worker at the same time.
const QUESTIONS: usize = 1024;
/// Bytes of a large argument.
const LARGE: usize = 4 << 20;
/// Large arguments that are under way at the same time.
const LARGE_WINDOW: usize = 16;
/// Without a result for so long there will be none: any restart of a worker is over by then.
const SILENCE: Duration = Duration::from_secs(10);
const MEBIBYTE: f64 = (1 << 20) as f64;

/// Runs `workload` at size `n`, after a warm-up at a small part of that size.
pub(crate) async fn run(place: &Place, workload: &str, n: u64) -> Result<Value> {
    if workload == "start" {
        return start(place).await;
    }
    let (scheduler, workers) = place.scheduler().await?;
    let warm = n.div_ceil(20);
    let figures = match workload {
        "calls" => {
            calls(&scheduler, warm).await?;
            let seconds = calls(&scheduler, n).await?;
            json!({ "thousands": n as f64 / seconds / 1e3 })
        }
        "direct" => direct(&scheduler, n).await?,
        "latency" => {
            latency(&scheduler, warm).await?;
            let mut trips = latency(&scheduler, n).await?;
            trips.sort_unstable_by(f64::total_cmp);
            let at = |part: f64| trips[((trips.len() as f64 * part) as usize).min(trips.len() - 1)];
            json!({ "median_micros": at(0.5), "tail_micros": at(0.99) })
        }
        "bulk" => {
            bulk(&scheduler, n.div_ceil(8)).await?;
            bulk(&scheduler, n).await?
        }
        "spawn" => {
            commands(&scheduler, warm).await?;
            let seconds = commands(&scheduler, n).await?;
            json!({ "thousands": n as f64 / seconds / 1e3 })
        }
        "idle" => idle(&scheduler, place, workers[0]).await?,
        "many" => many(&scheduler, n).await?,
        "kill" => killed(&scheduler, workers[0], n).await?,
        _ => bail!("there is no workload {workload:?}"),
    };
    scheduler.close().await?;
    Ok(figures)
}

/// Calls that do nothing: how many seconds `n` of them took.
async fn calls(scheduler: &Scheduler, n: u64) -> Result<f64> {
    let start = Instant::now();
    let mut results = scheduler.map((0..n).map(same));
    for n in 0..n {
        let result = results.next().await.context("a result is missing")??;
        ensure!(result == n, "the result of {n} is {result}");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Questions to a coroutine in each worker, which know nothing of the scheduler.
async fn direct(scheduler: &Scheduler, n: u64) -> Result<Value> {
    let (told, mut addresses) = mpsc::channel(WORKERS);
    let desk = coros::spawn(async move |mut me: Context<Address<Question>>| {
        while let Some(address) = me.receive().await {
            if told.send(address).await.is_err() {
                return;
            }
        }
    });
    let jobs = (0..WORKERS).map(|_| scheduler.submit(answers(desk.address())));
    let jobs: Vec<_> = jobs.collect();
    let mut askers = Vec::new();
    for _ in 0..WORKERS {
        askers.push(addresses.recv().await.context("nobody answers")?);
    }
    let each = n.div_ceil(WORKERS as u64);
    ask_all(&askers, each.div_ceil(20)).await?;
    let seconds = ask_all(&askers, each).await?;
    drop(askers);
    for job in jobs {
        job.await?;
    }
    let asked = (each * WORKERS as u64) as f64;
    Ok(json!({ "thousands": asked / seconds / 1e3 }))
}

async fn ask_all(workers: &[Address<Question>], n: u64) -> Result<f64> {
    let start = Instant::now();
    let tasks: Vec<_> = workers
        .iter()
        .map(|worker| {
            let worker = worker.clone();
            tokio::spawn(async move {
                let ask = async |n| {
                    let answer = worker.ask(|reply| Question { n, reply }).await?;
                    ensure!(answer == n, "asked for {n} and was told {answer}");
                    Ok(())
                };
                let answers = stream::iter(0..n).map(ask).buffer_unordered(QUESTIONS);
                answers.try_collect::<()>().await
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// One call under way: how long each took, in microseconds.
async fn latency(scheduler: &Scheduler, n: u64) -> Result<Vec<f64>> {
    let mut trips = Vec::with_capacity(n as usize);
    for n in 0..n {
        let start = Instant::now();
        let result = scheduler.run(same(n)).await?;
        trips.push(start.elapsed().as_secs_f64() * 1e6);
        ensure!(result == n, "the result of {n} is {result}");
    }
    Ok(trips)
}

async fn bulk(scheduler: &Scheduler, n: u64) -> Result<Value> {
    let large: Bytes = (0..LARGE as u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let mebibytes = (n as usize * LARGE) as f64 / MEBIBYTE;
    let start = Instant::now();
    let there = (0..n).map(|_| length(large.clone()));
    let mut lengths = scheduler.map(there).window(LARGE_WINDOW);
    while let Some(length) = lengths.next().await {
        ensure!(length? == LARGE as u64, "something is missing");
    }
    let there = mebibytes / start.elapsed().as_secs_f64();
    let start = Instant::now();
    let both = (0..n).map(|_| back(large.clone()));
    let mut copies = scheduler.map(both).window(LARGE_WINDOW);
    while let Some(copy) = copies.next().await {
        ensure!(copy? == large, "other bytes came back than were sent");
    }
    let both = 2.0 * mebibytes / start.elapsed().as_secs_f64();
    Ok(json!({ "mebibytes_there": there, "mebibytes_both": both }))
}

/// How many seconds it took to start a program `n` times.
async fn commands(scheduler: &Scheduler, n: u64) -> Result<f64> {
    let start = Instant::now();
    let mut ended = scheduler.map((0..n).map(|_| Command::new("/bin/true").output()));
    while let Some(output) = ended.next().await {
        let status = output?.status;
        ensure!(status.success(), "it {status}");
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Cold and warm: two clients one after the other, each a process as its user starts it.
async fn start(place: &Place) -> Result<Value> {
    let mut millis = Vec::new();
    for _ in 0..2 {
        let mut client = tokio::process::Command::from(place.first_result()?);
        // What happened when is on standard error, for whoever runs this by hand.
        let client = client.stdout(Stdio::piped()).spawn()?;
        let output = client.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().last().unwrap_or_default();
        let taken: f64 = line
            .parse()
            .with_context(|| format!("the client said {said:?}"))?;
        millis.push(taken);
    }
    let size = std::fs::metadata(std::env::current_exe()?)?.len() as f64 / MEBIBYTE;
    Ok(json!({ "program_mebibytes": size, "cold_millis": millis[0], "warm_millis": millis[1] }))
}

/// From the decision to run something, where the node is known if there is one.
pub(crate) async fn first_result(endpoint: Option<SocketAddr>) -> Result<()> {
    let builder = match endpoint {
        Some(endpoint) => place::cluster(endpoint, Secret::of_user()?).await?,
        None => place::local(),
    };
    let start = Instant::now();
    let so_far = move || start.elapsed().as_secs_f64() * 1e3;
    let builder = builder.on_event(move |event| eprintln!("{:9.2} ms  {event}", so_far()));
    let scheduler = builder.start().await?;
    let result = scheduler.run(same(7)).await?;
    let taken = so_far();
    ensure!(result == 7, "the result of 7 is {result}");
    println!("{taken}");
    scheduler.close().await?;
    Ok(())
}

/// After a few calls.
async fn idle(scheduler: &Scheduler, place: &Place, worker: u32) -> Result<Value> {
    calls(scheduler, 100).await?;
    let mebibytes = |bytes: Option<u64>| {
        let bytes = bytes.context("the system does not tell")?;
        anyhow::Ok(bytes as f64 / MEBIBYTE)
    };
    let mut figures = json!({
        "worker_mebibytes": mebibytes(machine::rss_of(worker))?,
        "worker_own_mebibytes": mebibytes(machine::own_of(worker))?,
    });
    if let Place::Node(node) = place {
        figures["node_mebibytes"] = json!(mebibytes(machine::rss_of(node.pid()))?);
        figures["node_own_mebibytes"] = json!(mebibytes(machine::own_of(node.pid()))?);
    }
    Ok(figures)
}

async fn many(scheduler: &Scheduler, n: u64) -> Result<Value> {
    calls(scheduler, 1_000).await?;
    machine::forget_peak()?;
    let before = machine::rss().context("the system does not tell")?;
    calls(scheduler, n).await?;
    let most = machine::peak_rss().context("the system does not tell")?;
    Ok(json!({ "growth_mebibytes": most.saturating_sub(before) as f64 / MEBIBYTE }))
}

/// Calls of a tenth of a second each; after a tenth of them a worker is killed.
async fn killed(scheduler: &Scheduler, worker: u32, n: u64) -> Result<Value> {
    let start = Instant::now();
    let mut results = scheduler.map((0..n).map(pause)).unordered();
    let mut good = 0;
    while let Ok(Some(ended)) = tokio::time::timeout(SILENCE, results.next()).await {
        if ended.result == Ok(ended.index as u64) {
            good += 1;
            if good == n / 10 {
                kill(Pid::from_raw(worker as i32), Signal::SIGKILL)?;
            }
        }
    }
    let mut figures = json!({ "results": good });
    if good == n {
        figures["seconds"] = json!(start.elapsed().as_secs_f64());
    }
    Ok(figures)
}
