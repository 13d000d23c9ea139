//! Watches the logs of many machines from one: each serves the lines of its standard input through
//! a channel, filtered where they come up, and one client prints what all of them let through.
//!
//! Every server has a channel of the same name; the client asks each node for its own. A server that
//! ends, or is lost, releases the coroutine that has subscribed to it, so the client knows; which of
//! the two it was, the channel says: only one that ends closes it.
//!
//!     tail -f /var/log/syslog | cargo run --release --example log_watch -- serve 4801 --contains error
//!     cargo run --release --example log_watch -- watch 127.0.0.1:4801 192.0.2.7:4801

mod dial;
mod say;
mod typed;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::net::HostPort;
use coros::{Channel, Context, Node};
use dial::dial;
use say::say;
use tokio::task::JoinSet;
use typed::Lines;

/// Watches the logs of many machines from one.
#[derive(Parser)]
enum Args {
    /// Lets others watch the lines of standard input. Ends with them.
    Serve {
        /// 0 takes a free port.
        #[arg(default_value_t = 4801)]
        port: u16,

        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1")]
        host: IpAddr,

        /// What watchers know this machine by.
        #[arg(long, default_value = "log_watch")]
        name: String,

        /// Only lines with this in them are sent.
        #[arg(long, default_value = "")]
        contains: String,
    },

    /// Prints what the servers send, until all of them have ended. One that is lost is a failure.
    Watch {
        /// Where they listen.
        #[arg(required = true, value_name = "HOST:PORT")]
        servers: Vec<HostPort>,
    },
}

/// After so many lines the server waits until the watchers have them.
const WAIT_AT: u64 = 256;

/// How long it waits for watchers that are slow, or do not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of every server's channel.
const LOG: &str = "log";

async fn serve(at: SocketAddr, name: String, contains: String) -> anyhow::Result<()> {
    let node = Node::builder().name(name).listen(at).build().await?;
    let log = Channel::named(LOG);
    // It runs here: what nobody wants to see does not go over the network.
    log.set_transform(move |line: String| line.contains(&contains).then_some(line));
    node.register(LOG, &log)?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }
    say!("sending the lines of standard input, until it ends");
    let mut sent = 0_u64;
    let mut lines = Lines::new();
    while let Some(line) = lines.next().await? {
        sent += 1;
        if sent.is_multiple_of(WAIT_AT) {
            // A log that is read faster than it travels loses nothing.
            log.deliver(line, 0, PATIENCE).await?;
        } else {
            log.send(line)?;
        }
    }
    log.close();
    node.close().await;
    Ok(())
}

async fn print(mut me: Context<String>, from: String) {
    while let Some(line) = me.receive().await {
        say!("{from}: {}", say::readable(line.as_bytes()));
    }
}

async fn watch(servers: Vec<HostPort>) -> anyhow::Result<()> {
    let node = Node::builder().name("log_watch").no_listen();
    let node = node.build().await?;
    let mut logs = Vec::new();
    for at in servers {
        let server = dial(&node, &at)
            .await
            .context("does log_watch serve run?")?;
        let log: Channel<String> = node.locate_at(&server, LOG).await?;
        logs.push((server.name.to_string(), log));
    }
    let mut printers = JoinSet::new();
    for (name, log) in logs {
        let from = name.clone();
        let printer = coros::spawn(move |me| print(me, from));
        log.subscribe(&printer)?;
        log.ask_subscribers().await?;
        say!("watching {name}");
        // All at once: `receive` ends when only we would have a printer's address, so that we let go
        // of it by joining.
        printers.spawn(async move { (name, printer.join().await, log.is_closed()) });
    }
    let mut lost = Vec::new();
    while let Some(printed) = printers.join_next().await {
        let (name, printed, has_ended) = printed?;
        printed?;
        if has_ended {
            say!("{name} has ended");
        } else {
            say!("{name} is lost");
            lost.push(name);
        }
    }
    node.close().await;
    anyhow::ensure!(
        lost.is_empty(),
        "gone, or out of reach: {}; there may have been more",
        lost.join(", ")
    );
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args::Serve {
            port,
            host,
            name,
            contains,
        } => serve((host, port).into(), name, contains).await,
        Args::Watch { servers } => watch(servers).await,
    }
}
