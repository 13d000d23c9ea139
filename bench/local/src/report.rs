//! Everything about one run: what was run, on what, and what came out, as text and as JSON.

use serde::Serialize;

use crate::bars::{self, Bar};
use crate::machine::Machine;
use crate::noise;
use crate::peers::Peer;
use crate::results::{self, Cell, Column};
use crate::run::{self, Case, Outcome};
use crate::table;
use crate::workloads::WORKERS;

const LOCK_FILE: &str = include_str!("../Cargo.lock");

#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    machine: Machine,
    /// Sizes and rounds are those of `--quick`.
    quick: bool,
    rounds: usize,
    worker_threads: usize,
    allocator: &'static str,
    versions: Vec<Version>,
    not_installed: Vec<Peer>,
    cells: Vec<Cell>,
    bars: Vec<Bar>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
    #[serde(skip)]
    peers: Vec<Peer>,
    #[serde(skip)]
    cases: Vec<Case>,
}

#[derive(Debug, Serialize)]
struct Version {
    peer: Peer,
    version: String,
}

impl RunReport {
    pub(crate) fn new(
        quick: bool,
        rounds: usize,
        peers: &[Peer],
        not_installed: Vec<Peer>,
        cases: &[Case],
    ) -> Self {
        let version = |&peer: &Peer| {
            let version = peer.package().and_then(locked_version);
            let version = version.or_else(|| peer.installed_version())?;
            Some(Version { peer, version })
        };
        RunReport {
            machine: Machine::inspect(),
            quick,
            rounds,
            worker_threads: WORKERS,
            allocator: "default",
            versions: peers.iter().filter_map(version).collect(),
            not_installed,
            cells: Vec::new(),
            bars: Vec::new(),
            outcome: Outcome::default(),
            peers: peers.to_vec(),
            cases: cases.to_vec(),
        }
    }

    pub(crate) fn measure(mut self) -> Self {
        self.outcome = run::run(&self.peers, &self.cases, self.rounds);
        let columns = Column::of(&self.cases);
        for &peer in &self.peers {
            let cells = columns
                .iter()
                .filter_map(|&column| results::cell(&self.outcome, peer, column));
            self.cells.extend(cells);
        }
        self.bars = bars::judge(&self.outcome, &columns);
        self
    }

    pub(crate) fn text(&self) -> String {
        let Machine {
            cpu,
            cores,
            memory_gib,
            kernel,
            rustc,
        } = &self.machine;
        let memory = memory_gib.map_or_else(String::new, |gib| format!(", {gib} GiB"));
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|v| format!("{} {}", v.peer.title(), v.version))
            .collect();
        let size = if self.quick {
            "quick: small sizes, for a first look"
        } else {
            "full sizes"
        };
        let columns = Column::of(&self.cases);
        let mut text = format!(
            "{cpu}, {cores} cores{memory}, {kernel}, {rustc}\n\
             {}\n\
             {size}; rounds: {}; worker threads: {}; {} allocator; a cell is median xRATIO to tokio mpsc, \
             min-max; --help explains the rest\n\n{}\n",
            versions.join("; "),
            self.rounds,
            self.worker_threads,
            self.allocator,
            table::render(&self.peers, &self.not_installed, &columns, &self.outcome),
        );
        text += &self.noise();
        for failure in &self.outcome.failures {
            let (peer, workload) = (failure.peer.title(), failure.case.workload.name());
            text += &format!("{peer} failed in {workload}: {}\n", failure.error);
        }
        if self.peers.contains(&Peer::Coros) {
            text += "\nBars for coroutines on tokio tasks, from this run:\n";
            text += &bars::render(&self.bars);
        }
        text
    }

    /// How much of the run had to be left out, and whether to believe the rest.
    fn noise(&self) -> String {
        let samples = &self.outcome.samples;
        let discarded = samples.iter().filter(|sample| !sample.kept).count();
        let noisy = samples
            .iter()
            .filter(|s| s.kept && noise::level(s.disturbance) > noise::DISTURBED)
            .count();
        let mut text = format!(
            "{} samples; {discarded} discarded because something else took more than {} CPU; {noisy} kept \
             although it did, as too few were better\n",
            samples.len(),
            noise::DISTURBED,
        );
        if noisy * 10 > samples.len() {
            text += "The machine was busy: read spreads before ratios, and run again when it is quiet.\n";
        }
        text
    }
}

/// The version of `package` in this program's lock file.
fn locked_version(package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK_FILE.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_rust_peer_has_a_version() {
        for package in Peer::value_variants()
            .iter()
            .filter_map(|peer| peer.package())
        {
            assert!(
                locked_version(package).is_some(),
                "{package} is not in Cargo.lock"
            );
        }
        assert_eq!(locked_version("no-such-package"), None);
    }
}
