//! A socket as an asynchronous file of lines.
//!
//! `LineFile` reads and writes lines over anything asynchronous and, on unix, over any file
//! descriptor: pipe, terminal, device, or socket, as the server here. The client sends the lines
//! of a file, the server sends each back in upper case, and the client checks what comes.
//!
//!     cargo run --release --example socket_afile -- README.md

mod say;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use coros::io::LineFile;
use coros::{Address, Context};
use say::say;
use tokio::fs::File;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};

/// Sends the lines of a file to a server and back.
#[derive(Parser)]
struct Args {
    /// A text file.
    file: PathBuf,
}

#[cfg(unix)]
fn server_file(stream: TcpStream) -> io::Result<LineFile<coros::io::Descriptor>> {
    LineFile::from_fd(stream.into_std()?.into())
}

#[cfg(not(unix))]
fn server_file(stream: TcpStream) -> io::Result<LineFile<TcpStream>> {
    Ok(LineFile::new(stream))
}

/// Returns how many lines came.
async fn server(_me: Context<()>, listener: TcpListener) -> anyhow::Result<u64> {
    let (stream, _) = listener.accept().await?;
    let mut lines = server_file(stream)?;
    let mut count = 0;
    while let Some(line) = lines.read_line_bytes().await? {
        lines.write_line(line.to_ascii_uppercase()).await?;
        count += 1;
    }
    Ok(count)
}

/// Sends the lines, and tells `checker` what has to come back. Returns how many.
async fn sender(
    _me: Context<()>,
    (path, file): (PathBuf, File),
    socket: OwnedWriteHalf,
    checker: Address<Vec<u8>>,
) -> anyhow::Result<u64> {
    let (mut lines, mut socket) = (LineFile::new(file), LineFile::new(socket));
    let mut count = 0;
    while let Some(line) = lines
        .read_line_bytes()
        .await
        .with_context(|| format!("cannot read {}", path.display()))?
    {
        // Waits while the checker is behind: its mailbox is bounded.
        checker.deliver(line.to_ascii_uppercase()).await?;
        socket.write_line(line).await?;
        count += 1;
    }
    socket.shutdown().await?;
    Ok(count)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { file: path } = Args::parse();
    let file = File::open(&path)
        .await
        .with_context(|| format!("cannot open {}", path.display()))?;

    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let stream = TcpStream::connect(listener.local_addr()?).await?;
    let server = coros::spawn(|me| server(me, listener));
    let (from_server, to_server) = stream.into_split();

    // One coroutine sends while the other reads, so that no buffer fills up for ever.
    let checker = coros::build()
        .capacity(1024)
        .spawn(async |mut me: Context<Vec<u8>>| {
            let mut answers = LineFile::new(from_server);
            let mut count = 0;
            while let Some(expected) = me.receive().await {
                count += 1;
                let answer = answers.read_line_bytes().await?;
                anyhow::ensure!(
                    answer.as_deref() == Some(&*expected),
                    "line {count} came back as {answer:?}"
                );
            }
            Ok(count)
        });
    let address = checker.address();
    let sender = coros::spawn(move |me| sender(me, (path, file), to_server, address));

    let checked = checker.await??;
    say!("the client sent {} lines", sender.await??);
    say!("the server received {} lines", server.await??);
    say!("{checked} lines came back as they should");
    Ok(())
}
