//! Datagrams: a server coroutine and many clients, each with a UDP socket of its own.
//!
//! tokio's sockets work inside coroutines as anywhere. A datagram may get lost, so a client that
//! hears nothing asks again.
//!
//!     cargo run --release --example udp -- 50
//!     cargo run --release --example udp -- --serve 0.0.0.0:9000
//!     cargo run --release --example udp -- 50 --to 192.168.1.7:9000

mod say;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use say::say;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Sends datagrams to a server in this program, or in another.
#[derive(Parser)]
struct Args {
    /// How many clients.
    #[arg(default_value_t = 10, conflicts_with = "serve")]
    clients: usize,

    /// Only serve, at this address, until Ctrl-C.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "to")]
    serve: Option<SocketAddr>,

    /// Only start clients, of the server at this address.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<SocketAddr>,
}

const ATTEMPTS: u32 = 5;
const PATIENCE: Duration = Duration::from_millis(500);

/// Sends each datagram back in upper case.
async fn server(_me: Context<()>, socket: UdpSocket) -> anyhow::Result<()> {
    // No datagram is larger.
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        say!("received \"{text}\" from {from}");
        socket.send_to(text.to_uppercase().as_bytes(), from).await?;
    }
}

async fn client(_me: Context<()>, number: usize, server: SocketAddr) -> anyhow::Result<String> {
    ask(&format!("client {number}"), server)
        .await
        .with_context(|| format!("cannot ask {server}"))
}

/// Sends a datagram until an answer comes.
async fn ask(question: &str, server: SocketAddr) -> anyhow::Result<String> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; 65_536];
    for _ in 0..ATTEMPTS {
        socket.send(question.as_bytes()).await?;
        if let Ok(length) = timeout(PATIENCE, socket.recv(&mut buffer)).await {
            return Ok(String::from_utf8_lossy(&buffer[..length?]).into_owned());
        }
    }
    anyhow::bail!("no answer after {ATTEMPTS} attempts")
}

async fn bind(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    say!("listening on {}", socket.local_addr()?);
    Ok(socket)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(address) = args.serve {
        let socket = bind(address).await?;
        return coros::spawn(|me| server(me, socket)).await?;
    }

    let to = match args.to {
        Some(address) => address,
        None => {
            let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
            let address = socket.local_addr()?;
            // A daemon: the program need not wait for its end.
            drop(coros::build().daemon().spawn(|me| server(me, socket)));
            address
        }
    };
    let clients: Vec<_> = (0..args.clients)
        .map(|number| coros::spawn(move |me| client(me, number, to)))
        .collect();
    for client in clients {
        say!("answer: {}", client.await??);
    }
    Ok(())
}
