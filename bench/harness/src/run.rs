//! Runs the cases: each sample in a fresh child process, rounds interleaved across the peers.
//!
//! One sample is one (peer, case, round). Inside a round all peers run a case one after the other, so that a ratio compares
//! neighbours in time, and who comes first rotates from round to round. A fresh process makes memory figures
//! honest and keeps one peer's heap from another.

use serde::Serialize;

use crate::machine::{self, Disturbance, Meter};
use crate::progress::Progress;
use crate::{Peer, Suite, child, noise};

#[derive(Debug, Serialize)]
#[serde(bound = "")]
pub struct Sample<S: Suite> {
    pub peer: S::Peer,
    #[serde(flatten)]
    pub case: S::Case,
    pub round: usize,
    pub report: S::Report,
    /// [How fast](machine::speed) the machine was, before the child or after it.
    pub speed: f64,
    /// CPUs that it could not have during the child's life; `None` where the system does not tell.
    pub disturbance: Option<Disturbance>,
    /// Whether medians are made of it; ratios settle it for pairs.
    pub kept: bool,
}

/// A child that crashed, hung or computed nonsense. Its peer sits out the rest of that case.
#[derive(Debug, Serialize)]
#[serde(bound = "")]
pub struct Failure<S: Suite> {
    pub peer: S::Peer,
    #[serde(flatten)]
    pub case: S::Case,
    pub error: String,
}

#[derive(Debug, Serialize)]
#[serde(bound = "")]
pub struct Outcome<S: Suite> {
    pub samples: Vec<Sample<S>>,
    pub failures: Vec<Failure<S>>,
}

impl<S: Suite> Default for Outcome<S> {
    fn default() -> Self {
        Outcome {
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }
}

pub fn run<S: Suite>(peers: &[S::Peer], cases: &[S::Case], rounds: usize) -> Outcome<S> {
    let mut outcome = Outcome::<S>::default();
    let runs_a_round: usize = cases
        .iter()
        .map(|&case| peers.iter().filter(|&&peer| S::has(case, peer)).count())
        .sum();
    let progress = Progress::new(runs_a_round * rounds);
    for round in 0..rounds {
        for &case in cases {
            for turn in 0..peers.len() {
                let peer = peers[(turn + round) % peers.len()];
                if S::has(case, peer) && !outcome.has_failed(peer, case) {
                    let what = format!("round {} of {rounds}: {}", round + 1, S::name(case));
                    progress.starts(&what, peer.title());
                    outcome.add(peer, case, round);
                }
                if S::has(case, peer) {
                    progress.step();
                }
            }
        }
    }
    progress.finish();
    outcome.discard_disturbed(peers, cases);
    outcome
}

impl<S: Suite> Outcome<S> {
    pub fn has_failed(&self, peer: S::Peer, case: S::Case) -> bool {
        self.failures
            .iter()
            .any(|failure| failure.peer == peer && failure.case == case)
    }

    fn add(&mut self, peer: S::Peer, case: S::Case, round: usize) {
        let before = machine::speed();
        let meter = Meter::now();
        let report = S::command(peer, case).and_then(child::report);
        let disturbance = meter.until_now();
        match report {
            Ok(report) => {
                self.samples.push(Sample {
                    peer,
                    case,
                    round,
                    report,
                    speed: before.min(machine::speed()),
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
    pub(crate) fn discard_disturbed(&mut self, peers: &[S::Peer], cases: &[S::Case]) {
        let mut speeds: Vec<f64> = self.samples.iter().map(|sample| sample.speed).collect();
        speeds.sort_unstable_by(f64::total_cmp);
        let usual = speeds.get(speeds.len() / 2).copied().unwrap_or(0.0);
        for sample in &mut self.samples {
            if let Some(disturbance) = &mut sample.disturbance {
                disturbance.slowed =
                    (1.0 - sample.speed / usual).max(0.0) * machine::cores() as f64;
            }
        }
        for &case in cases {
            for &peer in peers {
                let in_cell = |sample: &&mut Sample<S>| sample.peer == peer && sample.case == case;
                let cell: Vec<_> = self.samples.iter_mut().filter(in_cell).collect();
                let levels: Vec<f64> = cell.iter().map(|s| noise::level(s.disturbance)).collect();
                for (sample, counts) in cell.into_iter().zip(noise::counting(&levels)) {
                    sample.kept = counts;
                }
            }
        }
    }

    pub(crate) fn cell(&self, peer: S::Peer, case: S::Case) -> impl Iterator<Item = &Sample<S>> {
        self.samples
            .iter()
            .filter(move |s| s.peer == peer && s.case == case)
    }

    /// How much of the run had to be left out, whether to believe the rest, and what failed.
    #[must_use]
    pub fn remarks(&self) -> String {
        let discarded = self.samples.iter().filter(|sample| !sample.kept).count();
        let noisy = self
            .samples
            .iter()
            .filter(|s| s.kept && noise::level(s.disturbance) > noise::DISTURBED)
            .count();
        let mut text = format!(
            "{} samples; {discarded} discarded because something else took more than {} CPU; {noisy} kept \
             although it did, as too few were better\n",
            self.samples.len(),
            noise::DISTURBED,
        );
        if noisy * 10 > self.samples.len() {
            text += "The machine was busy: read spreads before ratios, and run again when it is quiet.\n";
        }
        for failure in &self.failures {
            let (peer, case) = (failure.peer.title(), S::name(failure.case));
            text += &format!("{peer} failed in {case}: {}\n", failure.error);
        }
        text
    }
}
