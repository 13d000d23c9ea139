//! Starts work on the node of `rci_monitor_server` and is told, by monitors, how each piece ended:
//! one is done, one panics, one is terminated from here.
//!
//! With `--stay` another one is left running: kill the server, by `kill -9` or by pulling the cable,
//! and its monitor says `disconnected`.
//!
//!     cargo run --release --example rci_monitor_client
//!     cargo run --release --example rci_monitor_client -- --stay --peer 192.0.2.7:4501

mod dial;
mod rci_monitor_funcs;
mod say;

use anyhow::Context as _;
use clap::Parser;
use coros::net::{HostPort, Rci, RemoteCoro};
use coros::{Context, Exit, Node};
use dial::dial;
use rci_monitor_funcs::{WORK, Work};
use say::say;

/// Has another node work, and prints how each piece of work ended.
#[derive(Parser)]
struct Args {
    /// Leave one running until the server is gone.
    #[arg(long)]
    stay: bool,

    /// Where rci_monitor_server listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4501")]
    peer: HostPort,
}

/// Starts one piece of work after the other, and waits for the message of its monitor.
async fn watch(
    mut me: Context<(Work, Exit)>,
    work: Rci<Work, (), u32>,
    stay: bool,
) -> anyhow::Result<()> {
    let start = async |me: &Context<(Work, Exit)>, what| {
        let coro: RemoteCoro<(), u32> = work.start(what).await?;
        me.monitor(&coro, move |exit| (what, exit));
        anyhow::Ok(coro)
    };
    for (what, terminate) in [
        (Work::Divide(84, 2), false),
        (Work::Divide(1, 0), false),
        (Work::Wait, true),
    ] {
        let coro = start(&me, what).await?;
        if terminate {
            coro.terminate();
        }
        let (what, exit) = me.receive().await.context("a monitor always fires")?;
        say!("{what:?}: {exit}");
        // Whoever joins gets the result as well.
        if let Ok(result) = coro.join().await {
            say!("{what:?} is {result}");
        }
    }
    if stay {
        let coro = start(&me, Work::Wait).await?;
        say!("waiting for the end of {}", *coro);
        let (what, exit) = me.receive().await.context("a monitor always fires")?;
        say!("{what:?}: {exit}");
    }
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { stay, peer } = Args::parse();
    let node = Node::builder().name("rci_monitor_client").no_listen();
    let node = node.build().await?;
    let server = dial(&node, &peer)
        .await
        .context("does rci_monitor_server run?")?;
    let work = node.function_at(&server, WORK);
    coros::spawn(move |me| watch(me, work, stay))
        .join()
        .await??;
    node.close().await;
    Ok(())
}
