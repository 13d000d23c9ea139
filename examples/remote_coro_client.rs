//! Starts coroutines on the node of `remote_coro_server`, sends them numbers, asks them in
//! between, and joins them: as with coroutines of its own.
//!
//!     cargo run --release --example remote_coro_client
//!     cargo run --release --example remote_coro_client -- 20 --peer 192.0.2.7:4500

mod dial;
mod remote_coro_funcs;
mod say;

use anyhow::Context as _;
use clap::Parser;
use coros::Node;
use coros::net::{HostPort, Rci};
use dial::dial;
use remote_coro_funcs::{MEAN, Sample, Summary};
use say::say;

/// Has another node work out means.
#[derive(Parser)]
struct Args {
    /// How many coroutines to start there.
    #[arg(default_value_t = 3)]
    coroutines: u32,

    /// Where remote_coro_server listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4500")]
    peer: HostPort,
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { coroutines, peer } = Args::parse();
    let node = Node::builder().name("remote_coro_client").no_listen();
    let node = node.build().await?;
    let server = dial(&node, &peer)
        .await
        .context("does remote_coro_server run?")?;
    let mean: Rci<String, Sample, Summary> = node.function_at(&server, MEAN);

    // All of them run at the same time, over there.
    let mut started = Vec::new();
    for n in 1..=coroutines {
        let coro = mean.start(format!("coroutine {n}")).await?;
        say!("coroutine {n} runs at {}", server.name);
        started.push((n, coro));
    }
    for (n, coro) in &started {
        for value in 1..=10 {
            coro.send(Sample::Value(f64::from(n * value)))?;
        }
        let so_far = coro.ask(Sample::SoFar).await?;
        say!("coroutine {n}: {so_far} so far");
        coro.deliver(Sample::Value(0.0)).await?;
        coro.send(Sample::End)?;
    }
    for (n, coro) in started {
        let Summary { values, mean } = coro.join().await?;
        say!("coroutine {n}: {mean} is the mean of {values} values");
    }
    node.close().await;
    Ok(())
}
