//! A channel that other programs subscribe to: `remote_channel_client` does, as often as you start
//! it.
//!
//! The channel lives here, so its transform runs here, and a message goes to each node once,
//! however many coroutines have subscribed there. The clients find the channel by its name.
//!
//! Server and clients belong together by the secret in the user's configuration folder
//! (`coros secret`).
//!
//!     cargo run --release --example remote_channel_server
//!     cargo run --release --example remote_channel_server -- 4600 --host 0.0.0.0 --subscribers 8

mod say;

use std::net::IpAddr;
use std::time::Duration;

use clap::Parser;
use coros::{Channel, Node};
use say::say;

/// Sends numbers to whoever has subscribed, then ends.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 4600)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// How many coroutines to wait for, on all nodes.
    #[arg(long, default_value_t = 4)]
    subscribers: usize,

    /// How many numbers to send.
    #[arg(long, default_value_t = 10)]
    numbers: u64,
}

/// After so many numbers it waits until all have come.
const WAIT_AT: u64 = 256;

const PATIENCE: Duration = Duration::from_secs(3600);

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let node = Node::builder()
        .name("remote_channel_server")
        .listen((args.host, args.port).into())
        .build()
        .await?;
    let numbers = Channel::named("numbers");
    // Only squares leave this node, and none that is divisible by 3.
    numbers.set_transform(|n: u64| (!n.is_multiple_of(3)).then_some(n * n));
    node.register("numbers", &numbers)?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }

    let reached = numbers.deliver(1, args.subscribers, PATIENCE).await?;
    say!("1 has reached {reached} coroutines");
    for n in 2..=args.numbers {
        if n % WAIT_AT == 0 {
            // Until all have what was sent: no more is under way than the nodes keep.
            numbers.deliver(n, 0, PATIENCE).await?;
        } else {
            numbers.send(n)?;
        }
    }
    // Behind all others, so they have come as well.
    let last = 3 * args.numbers + 1;
    let reached = numbers.deliver(last, 0, PATIENCE).await?;
    say!("the last has reached {reached} coroutines");
    // Releases the subscribers, also those on other nodes, behind the last message.
    numbers.close();
    node.close().await;
    Ok(())
}
