//! The results of many calls: in the order of the calls, and as they come.
//!
//! The first call takes longest. In order, its result is the first, and those of the others wait; as they come,
//! it is behind others, when there is more than one worker.
//!
//!     cargo run --release --example discoro_results
//!     cargo run --release --example discoro_results -- 20 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;
mod sieve;

use clap::Parser;
use farm::Farm;
use say::say;

/// Counts primes, on all cores.
#[derive(Parser)]
struct Args {
    /// How often.
    #[arg(default_value_t = 6)]
    calls: u32,

    /// How far each call goes on beyond the one after it.
    #[arg(long, default_value_t = 1_000_000)]
    step: u32,

    #[command(flatten)]
    farm: Farm,
}

#[coros::remote]
fn primes_up_to(n: u32) -> usize {
    sieve::primes(n).len()
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { calls, step, farm } = Args::parse();
    let scheduler = farm.scheduler().await?.start().await?;
    let numbers: Vec<_> = (1..=calls).rev().map(|n| n.saturating_mul(step)).collect();
    // Calls are made as there is room for them, so there may be any number.
    let calls = || numbers.iter().map(|n| primes_up_to(*n));

    say!("in the order of the calls:");
    let mut results = scheduler.map(calls());
    for n in &numbers {
        if let Some(primes) = results.next().await {
            say!("{} primes up to {n}", primes?);
        }
    }

    say!("as they come:");
    let mut results = scheduler.map(calls()).unordered();
    while let Some(done) = results.next().await {
        let worker = done.worker.as_deref().unwrap_or("nobody");
        let n = numbers[done.index];
        say!("{} primes up to {n}, by {worker}", done.result?);
    }
    scheduler.close().await?;
    Ok(())
}
