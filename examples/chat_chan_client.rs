//! Speaks in the room of `chat_chan_server`: sends the lines of standard input to the channel, and
//! prints what the others say. At the end of standard input it leaves.
//!
//!     cargo run --release --example chat_chan_client -- anna
//!     cargo run --release --example chat_chan_client -- bert --peer chat.example.org:4700

mod chat_chan_line;
mod dial;
mod say;
mod typed;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context as _;
use chat_chan_line::{Line, ROOM};
use clap::Parser;
use coros::net::{HostPort, NodeId};
use coros::{Channel, Context, Node};
use dial::dial;
use say::say;
use typed::Lines;

/// Says the lines of standard input in a chat and prints what the others say.
#[derive(Parser)]
struct Args {
    /// Who you are.
    name: String,

    /// Where chat_chan_server listens.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4700")]
    peer: HostPort,
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Prints what the others say, until the room is closed or lost.
async fn listen(mut me: Context<Line>, here: NodeId) {
    while let Some(line) = me.receive().await {
        // What is sent to a channel also comes to whoever has sent it.
        if line.node != here {
            let [from, text] = [&line.from, &line.text].map(|it| say::readable(it.as_bytes()));
            say!("{from}: {text}");
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { name, peer } = Args::parse();
    let node = Node::builder().name(name.clone()).no_listen();
    let node = node.build().await?;
    dial(&node, &peer)
        .await
        .context("does chat_chan_server run?")?;
    let room: Channel<Line> = node.locate_timeout(ROOM, PATIENCE).await?;
    let here = node.location().node;
    let listener = coros::spawn(move |me| listen(me, here));
    room.subscribe(&listener)?;
    let others = room.ask_subscribers().await?.saturating_sub(1);
    match others {
        1 => say!("1 other is in the room"),
        _ => say!("{others} others are in the room"),
    }
    if std::io::stdin().is_terminal() {
        eprintln!("say something; Ctrl-D leaves");
    }

    // `receive` ends when only we would have the listener's address, so that we let go of it.
    let mut end = std::pin::pin!(listener.join());
    let mut lines = Lines::new();
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(text) = line? else { break };
                if text.trim().is_empty() {
                    continue;
                }
                let (node, from) = (here, name.clone());
                // Our own listener has it as well, unless the room has dropped it.
                if room.deliver(Line { node, from, text }, 0, PATIENCE).await? == 0 {
                    say!("nobody has heard that");
                }
            }
            _ = &mut end => anyhow::bail!("the server is gone"),
        }
    }
    // With the node its subscribers leave the room.
    node.close().await;
    Ok(())
}
