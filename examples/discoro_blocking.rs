//! A worker computes for as long as it takes, and messages to and from a coroutine in the same worker come and go
//! all the while.
//!
//! A call that computes has a thread for itself. Calls that mostly wait (`io`) run beside it in the same
//! process, so both see the same statics: here the one tells how far the other is, and has it end.
//!
//!     cargo run --release --example discoro_blocking
//!     cargo run --release --example discoro_blocking -- 10 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::{Address, Context, Reply};
use farm::Farm;
use say::say;
use serde::{Deserialize, Serialize};

/// Asks a worker how far it is with its computation.
#[derive(Parser)]
struct Args {
    /// How often, before the computation is ended.
    #[arg(default_value_t = 3)]
    questions: usize,

    /// How long to wait before each question, in milliseconds.
    #[arg(long, default_value_t = 200)]
    every: u64,

    #[command(flatten)]
    farm: Farm,
}

static STARTED: AtomicU64 = AtomicU64::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// Does nothing but compute, until it is told to stop. How many numbers it has tried, and which of them
/// led through the highest one before it came to 1.
#[coros::remote]
fn collatz() -> (u64, u64) {
    let (mut highest, mut best) = (1, 1);
    while !STOP.load(Ordering::Relaxed) {
        let start = STARTED.fetch_add(1, Ordering::Relaxed) + 1;
        let mut n = u128::from(start);
        while n != 1 {
            n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            if n > highest {
                (highest, best) = (n, start);
            }
        }
    }
    (STARTED.load(Ordering::Relaxed), best)
}

#[derive(Serialize, Deserialize)]
enum ToWatcher {
    HowFar(Reply<u64>),
    Stop,
}

/// Answers from within the worker.
#[coros::remote]
async fn watcher(
    mut me: Context<ToWatcher>,
    client: Address<Address<ToWatcher>>,
) -> anyhow::Result<()> {
    client.send(me.address())?;
    while let Some(ToWatcher::HowFar(reply)) = me.receive().await {
        // Whoever has asked may be gone.
        reply.send(STARTED.load(Ordering::Relaxed));
    }
    STOP.store(true, Ordering::Relaxed);
    Ok(())
}

/// Asks, and says the answers.
async fn client(
    mut me: Context<Address<ToWatcher>>,
    questions: usize,
    every: Duration,
) -> anyhow::Result<()> {
    let watcher = me.receive().await.context("nobody watches")?;
    let mut last = 0;
    for _ in 0..questions {
        // Until it has got on, however busy its machine is.
        let before = last;
        while last == before {
            me.sleep(every).await;
            last = watcher.ask(ToWatcher::HowFar).await?;
        }
        say!("{last} numbers so far");
    }
    watcher.send(ToWatcher::Stop)?;
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Both calls are for the same worker.
    let scheduler = args.farm.scheduler().await?.workers(1).start().await?;
    let every = Duration::from_millis(args.every);
    let client = coros::spawn(move |me| client(me, args.questions, every));
    let computes = scheduler.submit(collatz().retries(0));
    let watches = scheduler.submit(watcher(client.address()).io().retries(0));
    watches.await?;
    client.join().await??;
    let (tried, best) = computes.await?;
    say!("of {tried} numbers {best} led highest");
    scheduler.close().await?;
    Ok(())
}
