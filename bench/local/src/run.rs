//! Runs the cases: each sample in a fresh child process, rounds interleaved across the peers.
//!
//! One sample is one (peer, case, round). Inside a round all peers run a case one after the other, so that a ratio compares
//! neighbours in time, and who comes first rotates from round to round. A fresh process makes memory figures
//! honest and keeps one peer's heap from another.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use crate::machine::{Disturbance, Meter};
use crate::noise;
use crate::peers::Peer;
use crate::progress::Progress;
use crate::workloads::{Report, Workload};

/// No workload of any peer takes nearly as long; what does, hangs.
const CHILD_LIMIT: Duration = Duration::from_secs(180);

/// A workload at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) n: u64,
    /// Only coros is asked to do this one.
    pub(crate) only_coros: bool,
}

impl Case {
    pub(crate) fn has(self, peer: Peer) -> bool {
        peer.takes_part_in(self.workload) && (!self.only_coros || peer == Peer::Coros)
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) peer: Peer,
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) round: usize,
    pub(crate) report: Report,
    /// CPUs that others had during the child's life; `None` where the system does not tell.
    pub(crate) disturbance: Option<Disturbance>,
    /// Whether medians are made of it; ratios settle it for pairs.
    pub(crate) kept: bool,
}

/// A child that crashed, hung or computed nonsense. Its peer sits out the rest of that case.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) peer: Peer,
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) error: String,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) samples: Vec<Sample>,
    pub(crate) failures: Vec<Failure>,
}

pub(crate) fn run(peers: &[Peer], cases: &[Case], rounds: usize) -> Outcome {
    let mut outcome = Outcome::default();
    let runs_a_round: usize = cases
        .iter()
        .map(|case| peers.iter().filter(|&&peer| case.has(peer)).count())
        .sum();
    let progress = Progress::new(runs_a_round * rounds);
    for round in 0..rounds {
        for &case in cases {
            for turn in 0..peers.len() {
                let peer = peers[(turn + round) % peers.len()];
                if case.has(peer) && !outcome.has_failed(peer, case) {
                    progress.starts(peer, case, round, rounds);
                    outcome.add(peer, case, round);
                }
                if case.has(peer) {
                    progress.step();
                }
            }
        }
    }
    progress.finish();
    outcome.discard_disturbed(peers, cases);
    outcome
}

impl Outcome {
    pub(crate) fn has_failed(&self, peer: Peer, case: Case) -> bool {
        self.failures
            .iter()
            .any(|failure| failure.peer == peer && failure.case == case)
    }

    fn add(&mut self, peer: Peer, case: Case, round: usize) {
        let meter = Meter::now();
        match sample(peer, case) {
            Ok(report) => {
                let disturbance = meter.until_now();
                self.samples.push(Sample {
                    peer,
                    case,
                    round,
                    report,
                    disturbance,
                    kept: true,
                });
            }
            Err(error) => {
                self.failures.push(Failure {
                    peer,
                    case,
                    error: format!("{error:#}"),
                });
            }
        }
    }

    /// Settles which samples of each cell count.
    fn discard_disturbed(&mut self, peers: &[Peer], cases: &[Case]) {
        for &case in cases {
            for &peer in peers {
                let in_cell = |sample: &&mut Sample| sample.peer == peer && sample.case == case;
                let cell: Vec<_> = self.samples.iter_mut().filter(in_cell).collect();
                let levels: Vec<f64> = cell.iter().map(|s| noise::level(s.disturbance)).collect();
                for (sample, counts) in cell.into_iter().zip(noise::counting(&levels)) {
                    sample.kept = counts;
                }
            }
        }
    }

    /// All samples of one cell.
    pub(crate) fn cell(&self, peer: Peer, case: Case) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |s| s.peer == peer && s.case == case)
    }
}

fn sample(peer: Peer, case: Case) -> Result<Report> {
    let mut command = peer.command(case.workload, case.n)?;
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
        .recv_timeout(CHILD_LIMIT)
        .map_err(|_| anyhow!("no result within {} s", CHILD_LIMIT.as_secs()))?
        .context("cannot read the child's result")?;
    let complaints = complaints.join().expect("reading does not panic");
    Ok((line, complaints))
}
