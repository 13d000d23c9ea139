//! One sample: a child process that prints one line of JSON and ends.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;

/// No workload of any peer takes nearly as long; what does, hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the child to its end.
pub(crate) fn report<R: DeserializeOwned>(mut command: Command) -> Result<R> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let output = read_to_end(&mut child);
    if output.is_err() {
        // The kill fails only if the child has just ended by itself.
        child.kill().ok();
    }
    let status = child.wait().context("cannot wait for the child process")?;
    let (line, complaints) = output?;
    if !status.success() {
        bail!("{status}: {}", complaints.trim());
    }
    serde_json::from_str(&line).with_context(|| format!("the child printed {line:?}"))
}

/// The first line that the child prints, and what it wrote to stderr.
fn read_to_end(child: &mut Child) -> Result<(String, String)> {
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    });
    let (sender, line) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line).map(|_| line);
        sender.send(read).ok();
    });
    let line = line
        .recv_timeout(LIMIT)
        .map_err(|_| anyhow!("no result within {} s", LIMIT.as_secs()))?
        .context("cannot read the child's result")?;
    let complaints = complaints.join().expect("reading does not panic");
    Ok((line, complaints))
}
