//! A server on a TCP socket: each connection is a coroutine that answers messages.
//!
//! A stream of bytes has no message boundaries; `MessageStream` adds them, over any stream, also
//! an encrypted one. Try it with `tut_sock_client`:
//!
//!     cargo run --release --example tut_sock_server
//!     cargo run --release --example tut_sock_server -- 8010 --host 0.0.0.0 --cert server.crt --key server.key

mod say;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use coros::io::MessageStream;
use coros::io::tls::{Identity, TlsAcceptor};
use say::say;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// Answers each message with how many bytes came and the text in upper case. Ends at Ctrl-C.
#[derive(Parser)]
struct Args {
    /// 0 takes a free port.
    #[arg(default_value_t = 8010)]
    port: u16,

    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,

    /// The server's certificate, PEM: connections are encrypted then.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

impl Args {
    fn tls(&self) -> anyhow::Result<Option<TlsAcceptor>> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        Ok(Some(TlsAcceptor::new(Identity::from_files(cert, key)?)?))
    }
}

/// The coroutine of one connection. Nobody sends it messages by its mailbox, hence the `()`.
async fn connection(
    _me: Context<()>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
) {
    let answered = match tls {
        None => answer(stream, peer).await,
        Some(tls) => {
            match tokio::time::timeout(Duration::from_secs(10), tls.accept(stream)).await {
                Ok(Ok(stream)) => answer(stream, peer).await,
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(anyhow::anyhow!("no TLS handshake within ten seconds")),
            }
        }
    };
    match answered {
        Ok(count) => say!("{peer} is done after {count} messages"),
        Err(error) => say!("{peer} failed: {error:#}"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
) -> anyhow::Result<usize> {
    let mut messages = MessageStream::new(stream);
    let mut count = 0;
    while let Some(message) = messages.receive_message().await? {
        count += 1;
        say!("{peer} sent {} bytes", message.len());
        let text = String::from_utf8_lossy(&message).to_uppercase();
        let answer = format!("message {count}, {} bytes: {text}", message.len());
        messages.send_message(answer.as_bytes()).await?;
    }
    // An encrypted stream wants a farewell: without it, the client could not tell the end from a
    // connection that somebody has cut.
    messages.shutdown().await?;
    Ok(count)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let tls = args.tls()?;
    let (host, port) = (&*args.host, args.port);
    let listener = TcpListener::bind((host, port))
        .await
        .with_context(|| format!("cannot listen on {host}:{port}"))?;
    say!("listening on {}", listener.local_addr()?);

    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Most likely too many open files: some will be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let tls = tls.clone();
        drop(coros::spawn(move |me| connection(me, stream, peer, tls)));
    }
}
