//! The limit of latency: a question and its answer over a bare connection of tokio, between two processes.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use harness::tools::this_executable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::cases::{Figures, Measure};

/// Bytes of a question, and of an answer: about what a call without arguments has.
const SIZE: usize = 64;

/// The other process: sends back what comes, until standard input ends.
pub(crate) fn echo() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let runtime = runtime()?;
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut bytes = [0; SIZE];
        loop {
            stream.read_exact(&mut bytes).await?;
            stream.write_all(&bytes).await?;
        }
        #[expect(unreachable_code, reason = "says what the block gives")]
        std::io::Result::Ok(())
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}

/// Asks `n` times, after a warm-up.
pub(crate) fn latency(n: u64) -> Result<Figures> {
    let mut other = Command::new(this_executable()?)
        .arg("--echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the other process")?;
    let mut line = String::new();
    let output = other.stdout.take().expect("stdout is piped");
    BufReader::new(output).read_line(&mut line)?;
    let at: std::net::SocketAddr = line.trim().parse().context("no address")?;
    let runtime = runtime()?;
    // On a worker, as any other task, and not on the thread that waits for the runtime.
    let trips = runtime.spawn(async move {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        ask(&mut stream, n.div_ceil(20)).await?;
        ask(&mut stream, n).await
    });
    let mut trips = runtime.block_on(trips)??;
    drop(other.stdin.take());
    other.wait()?;
    trips.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| trips[((trips.len() as f64 * part) as usize).min(trips.len() - 1)];
    Ok(Figures::default()
        .with(Measure::MedianMicros, at(0.5))
        .with(Measure::TailMicros, at(0.99)))
}

/// How long each answer took, in microseconds.
async fn ask(stream: &mut TcpStream, n: u64) -> std::io::Result<Vec<f64>> {
    let mut trips = Vec::with_capacity(n as usize);
    let mut bytes = [0; SIZE];
    for n in 0..n {
        let start = Instant::now();
        bytes[0] = n as u8;
        stream.write_all(&bytes).await?;
        stream.read_exact(&mut bytes).await?;
        trips.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(trips)
}

fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(crate::peers::WORKERS)
        .enable_all()
        .build()
        .context("the system does not let us start threads")
}
