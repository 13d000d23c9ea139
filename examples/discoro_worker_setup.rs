//! Data in memory, once for each worker: before a worker takes its first call, a function puts into a `static` what
//! all calls there need; after the last one, another says what it was good for.
//!
//!     cargo run --release --example discoro_worker_setup -- 1 10 1000
//!     cargo run --release --example discoro_worker_setup -- 78498 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;
mod sieve;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::worker;
use coros::{Address, Context};
use farm::Farm;
use say::say;

/// Looks primes up, in a table that each worker has in its memory.
#[derive(Parser)]
struct Args {
    /// The numbers of primes: 1 for 2, 2 for 3, …
    #[arg(required = true)]
    numbers: Vec<usize>,

    /// How far the table goes.
    #[arg(long, default_value_t = 1_000_000)]
    up_to: u32,

    #[command(flatten)]
    farm: Farm,
}

static PRIMES: OnceLock<Vec<u32>> = OnceLock::new();
static LOOKED_UP: AtomicU64 = AtomicU64::new(0);

/// Runs in each worker before its first call.
#[coros::remote]
fn prepare(up_to: u32) {
    PRIMES.get_or_init(|| sieve::primes(up_to));
}

#[coros::remote]
fn prime(number: usize) -> anyhow::Result<u32> {
    let primes = PRIMES.get().context("the worker was not prepared")?;
    let prime = number.checked_sub(1).and_then(|n| primes.get(n));
    LOOKED_UP.fetch_add(1, Ordering::Relaxed);
    prime.copied().with_context(|| {
        let last = primes.len();
        format!("the table has the primes 1 to {last}, and not {number}")
    })
}

/// Runs in each worker after its last call: its name, and how many calls it had.
#[coros::remote]
async fn sum_up(to: Address<(String, u64)>) -> anyhow::Result<()> {
    let name = worker::name().context("this is no worker")?.to_owned();
    to.deliver((name, LOOKED_UP.load(Ordering::Relaxed)))
        .await?;
    Ok(())
}

/// Says who has done how much; how much that was in all.
async fn teller(mut me: Context<(String, u64)>) -> u64 {
    let mut total = 0;
    while let Some((worker, count)) = me.receive().await {
        say!("{worker} has looked up {count}");
        total += count;
    }
    total
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        numbers,
        up_to,
        farm,
    } = Args::parse();
    // It does not hold up the end of a program that has failed.
    let teller = coros::build().daemon().spawn(teller);
    let to_teller = teller.address();
    let scheduler = farm.scheduler().await?;
    let scheduler = scheduler
        .set_up_worker(move |_| Some(prepare(up_to)))
        .tear_down_worker(move |_| Some(sum_up(to_teller.clone())));
    let scheduler = scheduler.start().await?;
    let mut primes = scheduler.map(numbers.iter().map(|number| prime(*number)));
    for number in &numbers {
        if let Some(found) = primes.next().await {
            say!("prime {number} is {}", found?);
        }
    }
    drop(primes);
    scheduler.close().await?;
    // Nobody else can tell it anything.
    drop(scheduler);
    say!("{} in all", teller.join().await?);
    Ok(())
}
