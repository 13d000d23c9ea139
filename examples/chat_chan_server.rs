//! A chat room that is a channel: `chat_chan_client` speaks in it and hears the others.
//!
//! There is nothing to do for the server when somebody speaks: what is sent to the channel, from
//! whatever node, goes to all who have subscribed. Only its transform runs here: it drops shouting,
//! which is a line of capital letters, at least two, and no small one.
//!
//!     cargo run --release --example chat_chan_server
//!     cargo run --release --example chat_chan_server -- 4700 --host 0.0.0.0

mod chat_chan_line;
mod say;

use std::net::IpAddr;

use chat_chan_line::{LONGEST, Line, ROOM};
use clap::Parser;
use coros::{Channel, Context, Node};
use say::say;

/// Passes on what each client says to all. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 4700)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
}

fn is_shouting(text: &str) -> bool {
    let capitals = text.chars().filter(|it| it.is_uppercase());
    capitals.count() >= 2 && !text.chars().any(char::is_lowercase)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let node = Node::builder()
        .name("chat_chan_server")
        .listen((host, port).into())
        .build()
        .await?;
    // A transform must not block, and a terminal may.
    let printer = coros::spawn(async |mut me: Context<String>| {
        while let Some(from) = me.receive().await {
            say!("{from} shouts: dropped");
        }
    });
    let printer = printer.address();
    let room = Channel::named("room");
    room.set_transform(move |line: Line| {
        if is_shouting(&line.text) {
            let _ = printer.send(say::readable(line.from.as_bytes()));
            return None;
        }
        (line.text.len() <= LONGEST).then_some(line)
    });
    node.register(ROOM, &room)?;
    if let Some(at) = node.listening_on() {
        say!("listening on {at}");
    }
    std::future::pending().await
}
