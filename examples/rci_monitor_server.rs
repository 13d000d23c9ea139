//! A node whose function `rci_monitor_client` starts and monitors.
//!
//! Some of the work fails. That is no concern of this node: a panic ends one coroutine, and whoever
//! monitors it is told.
//!
//!     cargo run --release --example rci_monitor_server
//!     cargo run --release --example rci_monitor_server -- 4501 --host 0.0.0.0

mod rci_monitor_funcs;
mod say;

use std::net::IpAddr;

use clap::Parser;
use coros::{Context, Node};
use rci_monitor_funcs::{WORK, Work};
use say::say;

/// Lets others start work here, some of which fails. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 4501)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
}

async fn work(mut me: Context<()>, work: Work) -> u32 {
    say!("{work:?} begins");
    match work {
        Work::Divide(a, b) => a.checked_div(b).expect("nobody divides by zero"),
        Work::Wait => me.receive().await.map_or(0, |()| 1),
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let node = Node::builder()
        .name("rci_monitor_server")
        .listen((host, port).into())
        .build()
        .await?;
    node.offer(WORK, work)?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }
    std::future::pending().await
}
