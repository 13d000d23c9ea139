//! Scheduling by events: a call is sent to a worker as soon as an event says that the worker is there, and the next
//! when another says that this one has ended. What a worker had that is lost, others get.
//!
//! This is what a scheduler does by itself, and better; it is for those who know something that a scheduler does
//! not, such as which worker has which data.
//!
//!     cargo run --release --example discoro_events
//!     cargo run --release --example discoro_events -- 20 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;
mod sieve;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::{Event, Target};
use coros::{Job, JobError, Scheduler};
use farm::Farm;
use say::say;

/// Counts primes, and gives out the work by itself.
#[derive(Parser)]
struct Args {
    /// How often.
    #[arg(default_value_t = 6)]
    calls: u32,

    #[command(flatten)]
    farm: Farm,
}

#[coros::remote]
fn primes_up_to(n: u32) -> usize {
    sieve::primes(n).len()
}

/// What there is to do, and who does it.
struct Plan {
    scheduler: Scheduler,
    to_do: Vec<u32>,
    idle: VecDeque<Arc<str>>,
    /// By the number of the job.
    running: HashMap<u64, (u32, Job<usize>)>,
}

impl Plan {
    async fn on(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::WorkerReady { name, pid, .. } => {
                say!("{name} (pid {pid}) is ready");
                self.idle.push_back(name);
            }
            Event::WorkerLost { name, .. } | Event::WorkerClosed { name, .. } => {
                self.idle.retain(|idle| *idle != name);
            }
            Event::JobEnded { job, worker, .. } => {
                let Some((n, job)) = self.running.remove(&job) else {
                    return Ok(());
                };
                match (job.await, worker) {
                    (Ok(primes), Some(worker)) => {
                        say!("{worker}: {primes} primes up to {n}");
                        self.idle.push_back(worker);
                    }
                    (Err(JobError::TargetLost(_) | JobError::NoTarget { .. }), _) => {
                        self.to_do.push(n);
                    }
                    (ended, _) => drop(ended?),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn give_out(&mut self) {
        while !self.idle.is_empty()
            && let Some(n) = self.to_do.pop()
            && let Some(worker) = self.idle.pop_front()
        {
            let call = primes_up_to(n).at(Target::worker(worker));
            let job = self.scheduler.submit(call);
            self.running.insert(job.id(), (n, job));
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { calls, farm } = Args::parse();
    let scheduler = farm.scheduler().await?.start().await?;
    // First it tells which workers there are.
    let mut events = scheduler.events();
    let mut plan = Plan {
        scheduler: scheduler.clone(),
        to_do: (1..=calls).map(|n| n.saturating_mul(100_000)).collect(),
        idle: VecDeque::new(),
        running: HashMap::new(),
    };
    while !(plan.to_do.is_empty() && plan.running.is_empty()) {
        let event = events.next().await.context("the scheduler has ended")?;
        plan.on(event).await?;
        plan.give_out();
    }
    scheduler.close().await?;
    Ok(())
}
