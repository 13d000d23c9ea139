//! A chat server on a TCP socket: what one client says, all others hear.
//!
//! One coroutine is the room; each connection is a coroutine with a mailbox for the lines that it
//! has to pass on. The room monitors them, so that it learns of every end exactly once, whether a
//! client left, sent garbage, or was thrown out because it does not read.
//!
//!     cargo run --release --example chat_sock_server
//!     cargo run --release --example chat_sock_server -- 1234 --host 0.0.0.0

mod say;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::io::MessageStream;
use coros::{Address, Context, Exit};
use say::say;
use tokio::net::{TcpListener, TcpStream};

/// Passes on what each client says to all others. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 1234)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
}

/// The largest line in bytes.
const LINE_LIMIT: usize = 64 * 1024;

/// How many lines a guest, or the room, may be behind.
const BACKLOG: usize = 1024;

enum Event {
    Joined(u64, Address<String>),
    Said(u64, String),
    Left(u64, Exit),
}

async fn room(mut me: Context<Event>) {
    let mut guests = BTreeMap::new();
    while let Some(event) = me.receive().await {
        match event {
            Event::Joined(id, guest) => {
                me.monitor(&guest, move |exit| Event::Left(id, exit));
                say!("guest {id} joined");
                tell(&guests, None, &format!("guest {id} joined"));
                guests.insert(id, guest);
                tell_one(&guests, id, format!("you are guest {id}"));
            }
            Event::Said(id, line) => tell(&guests, Some(id), &format!("guest {id} says: {line}")),
            Event::Left(id, exit) => {
                say!("guest {id} left: {exit}");
                guests.remove(&id);
                tell(&guests, None, &format!("guest {id} left"));
            }
        }
    }
}

fn tell(guests: &BTreeMap<u64, Address<String>>, except: Option<u64>, line: &str) {
    for &id in guests.keys().filter(|id| Some(**id) != except) {
        tell_one(guests, id, line.to_owned());
    }
}

fn tell_one(guests: &BTreeMap<u64, Address<String>>, id: u64, line: String) {
    let guest = &guests[&id];
    // The mailbox is bounded: who does not read must not cost the others memory.
    if guest.send(line).is_err() {
        guest.terminate();
    }
}

/// The coroutine of one connection. Both things that it waits for are cancel-safe, so that one
/// `select!` does.
async fn guest(
    mut me: Context<String>,
    id: u64,
    stream: TcpStream,
    room: Address<Event>,
) -> anyhow::Result<()> {
    let mut stream = MessageStream::with_limit(stream, LINE_LIMIT);
    room.deliver(Event::Joined(id, me.address())).await?;
    loop {
        tokio::select! {
            Some(line) = me.receive() => stream.send_message(line.as_bytes()).await?,
            message = stream.receive_message() => match message? {
                Some(line) => {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    // Waits while the room is behind.
                    room.deliver(Event::Said(id, line)).await?;
                }
                None => return Ok(()),
            },
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let listener = TcpListener::bind((&*host, port))
        .await
        .with_context(|| format!("cannot listen on {host}:{port}"))?;
    say!("listening on {}", listener.local_addr()?);

    let room = coros::build().capacity(BACKLOG).spawn(room);
    for id in 1.. {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely too many open files: some will be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let room = room.address();
        let guests = coros::build().capacity(BACKLOG);
        drop(guests.spawn_fallible(move |me| guest(me, id, stream, room)));
    }
    Ok(())
}
