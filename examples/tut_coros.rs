//! Creates many coroutines at once. Each sleeps a little, waits for one message and returns it.
//!
//! A coroutine is an async function that owns a mailbox. It costs about half a kilobyte while it
//! waits, so that a million of them are nothing special.
//!
//!     cargo run --release --example tut_coros
//!     cargo run --release --example tut_coros -- 1000000

mod say;

use std::time::{Duration, Instant};

use clap::Parser;
use coros::Context;
use say::say;

/// Creates coroutines, sends each a message, and adds up what they return.
#[derive(Parser)]
struct Args {
    /// How many coroutines.
    #[arg(default_value_t = 10)]
    coroutines: u64,

    /// The longest time that a coroutine sleeps, in milliseconds.
    #[arg(long, default_value_t = 100)]
    sleep: u64,
}

/// The coroutine: `Context` is its end of the mailbox, here one for numbers.
async fn sleeper(mut me: Context<u64>, sleep: Duration) -> Option<u64> {
    me.sleep(sleep).await;
    me.receive().await
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { coroutines, sleep } = Args::parse();

    let start = Instant::now();
    let all: Vec<_> = (0..coroutines)
        .map(|n| {
            let sleep = Duration::from_millis(n % (sleep + 1));
            coros::spawn(move |me| sleeper(me, sleep))
        })
        .collect();
    say!("created {coroutines} coroutines in {:.2?}", start.elapsed());

    // What `spawn` returned is the coroutine's address as well. The message waits in the mailbox
    // while the coroutine sleeps.
    let start = Instant::now();
    for (n, coro) in (0..).zip(&all) {
        coro.send(n)?;
    }
    say!("sent each a message in {:.2?}", start.elapsed());

    // And it can be awaited for the result.
    let start = Instant::now();
    let mut sum = 0;
    for coro in all {
        sum += coro.await?.unwrap_or_default();
    }
    say!("all have returned after {:.2?} more", start.elapsed());

    anyhow::ensure!(
        sum == (0..coroutines).sum(),
        "a message was lost: the sum is {sum}"
    );
    say!("the sum of what they returned is {sum}");
    Ok(())
}
