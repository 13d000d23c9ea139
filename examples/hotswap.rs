//! Replaces the function of a running coroutine while messages wait for it.
//!
//! The coroutine keeps its address and its mailbox; no message is lost or handled twice. The
//! running function decides: it refuses a function that it does not know, and hands its state
//! over to one that it does. The functions are in `hotswap_funcs.rs`.
//!
//!     cargo run --release --example hotswap
//!     cargo run --release --example hotswap -- 1000000

mod hotswap_funcs;
mod say;

use std::ops::RangeInclusive;

use clap::Parser;
use coros::{Address, SwapError};
use hotswap_funcs::Request;
use say::say;

/// Swaps a server's function while requests are queued, and checks that each was handled once.
#[derive(Parser)]
struct Args {
    /// How many numbers to send to each version of the server.
    #[arg(default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    numbers: u64,
}

fn send(server: &Address<Request>, numbers: RangeInclusive<u64>) -> anyhow::Result<()> {
    for n in numbers {
        server.send(Request::Add(n))?;
    }
    Ok(())
}

// One thread, so that the server does not run while `main` fills its mailbox.
#[coros::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Args { numbers } = Args::parse();

    let server = coros::spawn(hotswap_funcs::sum);
    send(&server, 1..=numbers)?;
    say!("sum: {}", server.ask(Request::Totals).await?);

    // Not every function will do. Whoever offers it is told why.
    match server.swap(hotswap_funcs::forget_everything).await {
        Err(SwapError::Refused(why)) => say!("refused: {why}"),
        other => anyhow::bail!("expected a refusal, not {other:?}"),
    }

    // These are still in the mailbox when the function is replaced, so that the new one gets them.
    send(&server, numbers + 1..=2 * numbers)?;
    say!("{numbers} more numbers wait in the mailbox");
    server.swap(hotswap_funcs::sum_and_squares).await?;

    let totals = server.ask(Request::Totals).await?;
    say!("sum_and_squares: {totals}");
    anyhow::ensure!(
        totals.sum == (1..=2 * numbers).sum(),
        "a number was lost or added twice"
    );

    // Awaiting drops the last address, by which the server sees that no more will come.
    say!("handled {} numbers in all", server.await?);
    Ok(())
}
