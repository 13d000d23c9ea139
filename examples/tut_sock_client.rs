//! A client on a TCP socket: sends messages to `tut_sock_server` and prints the answers.
//!
//! Two coroutines share the connection, one for each direction, so that no message waits for the
//! answer to the one before.
//!
//!     cargo run --release --example tut_sock_client
//!     cargo run --release --example tut_sock_client -- 8010 one two three --host localhost --ca ca.crt

mod say;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use coros::io::tls::{Authorities, TlsConnector};
use coros::io::{MessageReader, MessageStream, MessageWriter};
use say::say;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Sends messages to tut_sock_server and prints the answers.
#[derive(Parser)]
struct Args {
    /// The server's port.
    #[arg(default_value_t = 8010)]
    port: u16,

    /// What to send.
    #[arg(default_values = ["hello", "how are you?", "good bye"])]
    messages: Vec<String>,

    /// Where the server listens.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The certificate authority that vouches for the server, PEM: the connection is encrypted
    /// then.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

async fn send(
    _me: Context<()>,
    mut writer: MessageWriter<impl AsyncWrite + Unpin>,
    messages: Vec<String>,
) -> anyhow::Result<()> {
    for message in &messages {
        writer.send_message(message.as_bytes()).await?;
    }
    // Tells the server that no more will come.
    Ok(writer.shutdown().await?)
}

async fn receive(
    _me: Context<()>,
    mut reader: MessageReader<impl AsyncRead + Unpin>,
) -> anyhow::Result<usize> {
    let mut count = 0;
    while let Some(answer) = reader.receive_message().await? {
        say!("{}", say::readable(&answer));
        count += 1;
    }
    Ok(count)
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    messages: Vec<String>,
) -> anyhow::Result<()> {
    let sent = messages.len();
    let (reader, writer) = MessageStream::new(stream).into_split();
    let sender = coros::spawn(move |me| send(me, writer, messages));
    let receiver = coros::spawn(move |me| receive(me, reader));
    let received = receiver.await??;
    sender.await??;
    anyhow::ensure!(
        received == sent,
        "the server answered {received} of {sent} messages"
    );
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (host, port) = (&*args.host, args.port);
    let connect = TcpStream::connect((host, port));
    let stream = tokio::time::timeout(Duration::from_secs(10), connect)
        .await
        .map_err(anyhow::Error::from)
        .and_then(|connected| Ok(connected?))
        .with_context(|| format!("cannot connect to {host}:{port}; does tut_sock_server run?"))?;
    match &args.ca {
        None => talk(stream, args.messages).await,
        Some(ca) => {
            let tls = TlsConnector::new(Authorities::from_file(ca)?)?;
            talk(tls.connect(host, stream).await?, args.messages).await
        }
    }
}
