//! Finds the coroutine of `tut_server` by its name, and sends it messages.
//!
//! One node of the network is enough to know, or to find on the local network: it tells of the names of
//! all others. Each client here is a
//! coroutine that locates the server by itself, as if it were the only one.
//!
//!     cargo run --release --example tut_client
//!     cargo run --release --example tut_client -- 5 10 --peer 192.0.2.7:4502
//!     cargo run --release --example tut_client -- --discover

mod dial;
mod say;
mod tut_messages;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::net::HostPort;
use coros::{Address, Context, Node};
use dial::dial;
use say::say;
use tut_messages::{Message, NAME};

/// Has a coroutine of another process add up numbers.
#[derive(Parser)]
struct Args {
    /// How many clients.
    #[arg(default_value_t = 2)]
    clients: u32,

    /// How many numbers each of them sends.
    #[arg(default_value_t = 3)]
    numbers: u64,

    /// Where a node of the network listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4502")]
    peer: HostPort,

    /// Find a node on the local network instead; tut_server has to --discover as well.
    #[arg(long, conflicts_with = "peer")]
    discover: bool,
}

async fn client(_me: Context<()>, node: Node, client: u32, numbers: u64) -> anyhow::Result<u64> {
    let limit = Duration::from_secs(30);
    let server: Address<Message> = node.locate_timeout(NAME, limit).await?;
    for number in 1..=numbers {
        server.deliver(Message::Add { client, number }).await?;
    }
    Ok(server.ask(|reply| Message::Sum { client, reply }).await?)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        clients,
        numbers,
        peer,
        discover,
    } = Args::parse();
    let node = Node::builder().name("tut_client").no_listen();
    let node = node.discover(discover).build().await?;
    if discover {
        eprintln!("looking for a tut_server with --discover on the local network");
    } else {
        dial(&node, &peer).await.context("does tut_server run?")?;
    }
    let mut started = Vec::new();
    for n in 1..=clients {
        let node = node.clone();
        started.push((n, coros::spawn(move |me| client(me, node, n, numbers))));
    }
    for (n, client) in started {
        let sum = client.join().await??;
        say!("client {n}: the sum of {numbers} numbers is {sum}");
    }
    node.close().await;
    Ok(())
}
