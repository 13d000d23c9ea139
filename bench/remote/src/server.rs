//! The receiving process, and how the sending one talks to it: by lines over pipes.
//!
//! It first prints one line, its contact: whatever a client of that peer has to know. Then it
//! answers each line `await N` with what it has counted, as JSON, once N messages have come since
//! it began. It ends when its standard input does.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::tally::Tally;

/// So often a server looks whether all has come. Each look takes the counters from those who count.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a server has counted, and what it took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) cpu_seconds: f64,
}

/// CPU time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("there is always a usage of this process");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}

/// A port for those that cannot be given port 0. It is not one of those that the system gives out by
/// itself: before the receiver listens, somebody else would have it now and then.
pub(crate) fn free_port() -> Result<u16> {
    let any = || 20_000 + (RandomState::new().build_hasher().finish() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(any).take(100);
    ports.find(is_free).context("no port is free")
}

/// The server's side: until standard input ends. Blocks its thread.
pub(crate) fn answer(contact: &str, tally: &Tally) -> Result<()> {
    println!("{contact}");
    for line in std::io::stdin().lines() {
        let line = line.context("cannot read from the client")?;
        let n = line.strip_prefix("await ").unwrap_or(&line);
        let n: u64 = n
            .parse()
            .with_context(|| format!("the client said {line:?}"))?;
        let (count, sum) = loop {
            let (count, sum) = tally.total();
            if count >= n {
                break (count, sum);
            }
            std::thread::sleep(LOOK_AGAIN);
        };
        let counted = Counted {
            count,
            sum,
            cpu_seconds: cpu_seconds(),
        };
        println!("{}", serde_json::to_string(&counted)?);
    }
    Ok(())
}

/// The client's side. Killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) contact: String,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let input = process.stdin.take();
        let output = process.stdout.take().expect("stdout is piped");
        let mut server = Server {
            process,
            input,
            output: BufReader::new(output),
            contact: String::new(),
        };
        server.contact = server.line().context("the server has not started")?;
        Ok(server)
    }

    /// What the server has counted once `n` messages have come; blocks until then.
    pub(crate) fn count(&mut self, n: u64) -> Result<Counted> {
        let input = self.input.as_mut().expect("it is open until the end");
        writeln!(input, "await {n}").context("the server has ended")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))
    }

    /// Sends the server a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.process.id() as i32);
        kill(pid, signal).context("cannot signal the server")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the server has ended");
        line.truncate(line.len() - 1);
        Ok(line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        // Also when it is stopped. What it used counts as ours once it has been waited for.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What a server process is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// How many nodes it is to be; one except for idle peers.
    pub(crate) nodes: usize,
    /// Where files that it receives go.
    pub(crate) folder: &'a Path,
}
