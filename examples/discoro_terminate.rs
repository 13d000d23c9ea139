//! A coroutine that is ended keeps what it has: it asks to be told (`terminating`), sends its state to the client
//! when it is, and another one goes on from there, in the same worker or in another.
//!
//! The first is ended here because its job is cancelled, the second because the scheduler closes: a third could
//! go on from what that has saved, with another scheduler, tomorrow.
//!
//!     cargo run --release --example discoro_terminate
//!     cargo run --release --example discoro_terminate -- 1000000 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use std::ops::RangeInclusive;

use anyhow::Context as _;
use clap::Parser;
use coros::{Address, Context};
use farm::Farm;
use say::say;
use serde::{Deserialize, Serialize};

/// Adds up numbers in two coroutines, one after the other.
#[derive(Parser)]
struct Args {
    /// How many.
    #[arg(default_value_t = 1000)]
    numbers: u64,

    #[command(flatten)]
    farm: Farm,
}

/// All that an adder needs to go on.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct State {
    count: u64,
    sum: u64,
}

#[derive(Serialize, Deserialize)]
enum ToClient {
    Begun(Address<u64>),
    Saved(State),
}

/// Goes on from a state, until it is to end.
#[coros::remote]
async fn adder(
    mut me: Context<u64>,
    mut state: State,
    client: Address<ToClient>,
) -> anyhow::Result<()> {
    let mut stop = me.terminating();
    client.send(ToClient::Begun(me.address()))?;
    loop {
        tokio::select! {
            // What has come before counts.
            biased;
            Some(n) = me.receive() => {
                state.count += 1;
                state.sum += n;
            }
            () = &mut stop => {
                client.deliver(ToClient::Saved(state)).await?;
                return Ok(());
            }
        }
    }
}

/// Gives an adder that begins some numbers.
async fn feed(me: &mut Context<ToClient>, numbers: RangeInclusive<u64>) -> anyhow::Result<()> {
    let Some(ToClient::Begun(adder)) = me.receive().await else {
        anyhow::bail!("the adder does not begin");
    };
    let last = *numbers.end();
    for n in numbers {
        if n < last {
            adder.feed(n).await?;
        } else {
            // Then it has all of them.
            adder.deliver(n).await?;
        }
    }
    Ok(())
}

/// Waits for what an adder has.
async fn saved(me: &mut Context<ToClient>) -> anyhow::Result<State> {
    let Some(ToClient::Saved(state)) = me.receive().await else {
        anyhow::bail!("the adder has not saved its state");
    };
    say!("saved: {} numbers, their sum is {}", state.count, state.sum);
    Ok(state)
}

async fn client(mut me: Context<ToClient>, numbers: u64, farm: Farm) -> anyhow::Result<()> {
    let scheduler = farm.scheduler().await?.start().await?;
    let first = scheduler.submit(adder(State::default(), me.address()));
    feed(&mut me, 1..=numbers / 2).await?;
    say!("the first is cancelled");
    first.cancel();
    let state = saved(&mut me).await?;

    let _second = scheduler.submit(adder(state, me.address()));
    feed(&mut me, numbers / 2 + 1..=numbers).await?;
    say!("the scheduler closes");
    scheduler.close().await.context("it was not in time")?;
    saved(&mut me).await?;
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { numbers, farm } = Args::parse();
    coros::spawn(move |me| client(me, numbers, farm))
        .join()
        .await?
}
