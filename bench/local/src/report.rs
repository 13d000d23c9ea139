//! Everything about one run: what was run, on what, and what came out, as text and as JSON.

use harness::bars::{self, Bar};
use harness::machine::Machine;
use harness::results::{self, Cell};
use harness::run::{self, Outcome};
use harness::table::{self, Source, count};
use harness::tools::locked_version;
use serde::Serialize;

use crate::peers::Peer;
use crate::results::{Column, Measure};
use crate::run::{Case, Local};
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
    cells: Vec<Cell<Column>>,
    bars: Vec<Bar>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome<Local>,
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
            let version = peer
                .package()
                .and_then(|package| locked_version(LOCK_FILE, package));
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
                .filter_map(|&column| results::cell(&self.outcome, peer, Peer::Tokio, column));
            self.cells.extend(cells);
        }
        self.bars = crate::bars::judge(&self.outcome, &columns);
        self
    }

    pub(crate) fn text(&self) -> String {
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
        let source = Source {
            outcome: &self.outcome,
            columns: &columns,
            peers: &self.peers,
            missing: &self.not_installed,
            base: Peer::Tokio,
        };
        let mut text = format!(
            "{}\n{}\n\
             {size}; rounds: {}; worker threads: {}; {} allocator; a cell is median xRATIO to tokio mpsc, \
             min-max; --help explains the rest\n\n{}\n",
            self.machine,
            versions.join("; "),
            self.rounds,
            self.worker_threads,
            self.allocator,
            table::render(&source, header),
        );
        text += &self.outcome.remarks();
        if self.peers.contains(&Peer::Coros) {
            text += "\nBars for coroutines on tokio tasks, from this run:\n";
            text += &bars::render(&self.bars);
        }
        text
    }
}

fn header(column: Column) -> String {
    let name = column.case.workload.name();
    let n = count(column.case.n);
    match column.measure {
        Measure::MillionsPerSecond => format!("{name}\n{n}\nM/s"),
        Measure::SpawnSeconds => format!("{name} spawn\n{n}\ns"),
        Measure::BytesPerIdle => format!("{name} idle\n{n}\nbytes"),
    }
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
                locked_version(LOCK_FILE, package).is_some(),
                "{package} is not in Cargo.lock"
            );
        }
    }
}
