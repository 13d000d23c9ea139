//! Programs that start programs: `xargs -P 2` and GNU parallel.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use harness::tools::output_of;

use crate::cases::{Figures, Measure};

pub(crate) const XARGS: &[&str] = &["xargs", "-P2", "-n1", "/bin/true"];
pub(crate) const PARALLEL: &[&str] = &["parallel", "--will-cite", "-j2", "/bin/true"];

/// Starts `/bin/true` `n` times.
pub(crate) fn run(program: &[&str], n: u64) -> Result<Figures> {
    let start = Instant::now();
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program[0]))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let numbers: String = (0..n).map(|n| format!("{n}\n")).collect();
    input.write_all(numbers.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    ensure!(status.success(), "{}: {status}", program[0]);
    let elapsed = start.elapsed().as_secs_f64();
    Ok(Figures::default().with(Measure::Thousands, n as f64 / elapsed / 1e3))
}

/// The last word of the first line that it prints of its version.
pub(crate) fn version(program: &[&str]) -> Option<String> {
    let text = output_of(program[0], &["--version"])?;
    let word = text.lines().next()?.split(' ').next_back()?;
    Some(word.to_owned())
}
