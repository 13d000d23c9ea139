//! A chat client on a TCP socket: sends the lines of standard input to `chat_sock_server`, and
//! prints what the others say.
//!
//! It waits for both at once. At the end of standard input it leaves.
//!
//!     cargo run --release --example chat_sock_client
//!     cargo run --release --example chat_sock_client -- 1234 --host chat.example.org

mod say;
mod typed;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::io::MessageStream;
use say::say;
use tokio::net::TcpStream;
use typed::Lines;

/// Says the lines of standard input in a chat and prints what the others say.
#[derive(Parser)]
struct Args {
    /// The server's port.
    #[arg(default_value_t = 1234)]
    port: u16,

    /// Where chat_sock_server listens.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
}

async fn chat(stream: TcpStream) -> anyhow::Result<()> {
    let mut stream = MessageStream::new(stream);
    let mut lines = Lines::new();
    let mut typing = true;
    loop {
        tokio::select! {
            line = lines.next(), if typing => match line? {
                Some(line) => stream.send_message(line.as_bytes()).await?,
                None => {
                    typing = false;
                    // The server hangs up when it has everything, which ends the loop.
                    stream.shutdown().await?;
                }
            },
            said = stream.receive_message() => match said? {
                Some(line) => say!("{}", say::readable(&line)),
                None if typing => anyhow::bail!("the server hung up"),
                None => return Ok(()),
            },
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { port, host } = Args::parse();
    let connect = TcpStream::connect((&*host, port));
    let stream = tokio::time::timeout(Duration::from_secs(10), connect)
        .await
        .map_err(anyhow::Error::from)
        .and_then(|connected| Ok(connected?))
        .with_context(|| format!("cannot connect to {host}:{port}; does chat_sock_server run?"))?;
    if std::io::stdin().is_terminal() {
        eprintln!("say something; Ctrl-D leaves");
    }
    chat(stream).await
}
