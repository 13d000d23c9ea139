//! A node that lets others start coroutines here: `remote_coro_client` does.
//!
//! A function is offered under a name, with a limit on how many coroutines of it may run for one
//! peer. Each start makes a coroutine of this process, which the starter sends messages and joins
//! as one of its own. It ends with its starter's session, so that nothing is left of a client that
//! has crashed.
//!
//! Server and client belong together by the secret in the user's configuration folder
//! (`coros secret`).
//!
//!     cargo run --release --example remote_coro_server
//!     cargo run --release --example remote_coro_server -- 4500 --host 0.0.0.0

mod remote_coro_funcs;
mod say;

use std::net::IpAddr;

use clap::Parser;
use coros::net::Offer;
use coros::{Context, Node};
use remote_coro_funcs::{MEAN, Sample, Summary};
use say::say;

/// Lets others start coroutines that work out means. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 4500)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
}

/// The function that is started: `label` is its argument, as whoever starts it gave it.
async fn mean(mut me: Context<Sample>, label: String) -> Summary {
    let label = say::readable(label.as_bytes());
    say!("{label} begins");
    let (mut values, mut mean) = (0, 0.0);
    while let Some(sample) = me.receive().await {
        match sample {
            Sample::Value(value) => {
                values += 1;
                mean += (value - mean) / values as f64;
            }
            Sample::SoFar(reply) => reply.send(mean),
            Sample::End => break,
        }
    }
    say!("{label} ends after {values} values");
    Summary { values, mean }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let node = Node::builder()
        .name("remote_coro_server")
        .listen((host, port).into())
        .build()
        .await?;
    node.offer_with(MEAN, Offer::new().per_peer(100), mean)?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }
    std::future::pending().await
}
