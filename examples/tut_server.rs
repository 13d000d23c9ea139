//! A coroutine that other processes find by its name: `tut_client` does.
//!
//! The name is given by the node, and whoever belongs to the network can look it up, whether or not it
//! is linked to this node: a link opens when the first message is sent. The name goes when the coroutine ends,
//! and when this process does, however that happens.
//!
//! Server and client belong together by the secret in the user's configuration folder
//! (`coros secret`).
//!
//!     cargo run --release --example tut_server
//!     cargo run --release --example tut_server -- 4502 --discover

mod say;
mod tut_messages;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use clap::Parser;
use coros::{Context, Node};
use say::say;
use tut_messages::{Message, NAME};

/// Adds up the numbers that clients send. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 4502)]
    port: u16,

    /// The address to listen on [default: 127.0.0.1, for this machine alone; with --discover
    /// 0.0.0.0, for all]
    #[arg(long)]
    host: Option<IpAddr>,

    /// Let clients on the local network find it.
    #[arg(long)]
    discover: bool,
}

async fn server(mut me: Context<Message>) {
    let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
    while let Some(message) = me.receive().await {
        match message {
            Message::Add { client, number } => {
                say!("client {client} sent {number}");
                let sum = sums.entry(client).or_default();
                *sum = sum.saturating_add(number);
            }
            Message::Sum { client, reply } => reply.send(sums.remove(&client).unwrap_or(0)),
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        port,
        host,
        discover,
    } = Args::parse();
    // Those that find it may be on any machine.
    let ip = match discover {
        true => Ipv4Addr::UNSPECIFIED,
        false => Ipv4Addr::LOCALHOST,
    };
    let host = host.unwrap_or(ip.into());
    let node = Node::builder()
        .name("tut_server")
        .listen((host, port).into())
        .discover(discover)
        .build()
        .await?;
    let server = coros::spawn(server);
    node.register(NAME, &server.address())?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }
    server.join().await?;
    Ok(())
}
