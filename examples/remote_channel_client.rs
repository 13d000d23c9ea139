//! Subscribes coroutines to the channel of `remote_channel_server`, in another program or on
//! another machine.
//!
//! A channel of another node is used as one of this node. When it is closed there, or its node is
//! lost, the coroutines are released and their `receive` ends.
//!
//!     cargo run --release --example remote_channel_client
//!     cargo run --release --example remote_channel_client -- 4 --peer 192.0.2.7:4600

mod dial;
mod say;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::net::HostPort;
use coros::{Channel, Context, Node};
use dial::dial;
use say::say;

/// Adds up what comes through another node's channel.
#[derive(Parser)]
struct Args {
    /// How many coroutines subscribe.
    #[arg(default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    coroutines: u64,

    /// Where remote_channel_server listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4600")]
    peer: HostPort,
}

/// `None` comes when nobody can send to it any more: when the channel has been closed, or its node is
/// lost.
async fn sum(mut me: Context<u64>) -> (u64, u64) {
    let (mut count, mut sum) = (0, 0);
    while let Some(n) = me.receive().await {
        count += 1;
        sum += n;
    }
    (count, sum)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { coroutines, peer } = Args::parse();
    let node = Node::builder().name("remote_channel_client").no_listen();
    let node = node.build().await?;
    dial(&node, &peer)
        .await
        .context("does remote_channel_server run?")?;
    let numbers: Channel<u64> = node
        .locate_timeout("numbers", Duration::from_secs(10))
        .await?;

    let sums: Vec<_> = (0..coroutines).map(|_| coros::spawn(sum)).collect();
    for sum in &sums {
        numbers.subscribe(sum)?;
    }
    say!("{coroutines} coroutines have subscribed to {peer}");
    for sum in sums {
        let (count, sum) = sum.join().await?;
        say!("{count} numbers, their sum is {sum}");
    }
    node.close().await;
    anyhow::ensure!(
        numbers.is_closed(),
        "the server is gone: there may have been more"
    );
    Ok(())
}
