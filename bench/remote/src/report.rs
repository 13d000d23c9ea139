//! Everything about one run: what was run, on what, and what came out, as text and as JSON.

use harness::bars::{self, Bar};
use harness::machine::Machine;
use harness::results::{self, Cell};
use harness::run::{self, Outcome};
use harness::table::{self, Source};
use harness::tools::locked_version;
use serde::Serialize;

use crate::cases::{Case, Column, Remote};
use crate::peers::Peer;
use crate::workloads::WORKERS;

const LOCK_FILE: &str = include_str!("../Cargo.lock");

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Extent {
    Full,
    Quick,
    Check,
}

impl Extent {
    pub(crate) fn rounds(self) -> usize {
        match self {
            Extent::Full => 5,
            Extent::Quick => 3,
            Extent::Check => 1,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    machine: Machine,
    extent: Extent,
    rounds: usize,
    worker_threads: usize,
    allocator: &'static str,
    versions: Vec<Version>,
    not_installed: Vec<Peer>,
    cells: Vec<Cell<Column>>,
    bars: Vec<Bar>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome<Remote>,
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
        extent: Extent,
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
            extent,
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
                .filter_map(|&column| results::cell(&self.outcome, peer, Peer::Tls, column));
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
        let size = match self.extent {
            Extent::Full => "full sizes",
            Extent::Quick => "quick: small sizes, for a first look",
            Extent::Check => "check: a few messages, the figures mean nothing",
        };
        let columns = Column::of(&self.cases);
        let source = Source {
            outcome: &self.outcome,
            columns: &columns,
            peers: &self.peers,
            missing: &self.not_installed,
            base: Peer::Tls,
        };
        let mut text = format!(
            "{}\n{}\n\
             {size}; rounds: {}; worker threads: {} in each process; {} allocator; a cell is median xRATIO to \
             tokio-rustls, min-max; --help explains the rest\n\n{}\n",
            self.machine,
            versions.join("; "),
            self.rounds,
            self.worker_threads,
            self.allocator,
            table::render(&source, Column::header),
        );
        text += &self.outcome.remarks();
        if self.peers.contains(&Peer::Coros) && self.extent != Extent::Check {
            text += "\nBars for messages between processes, from this run:\n";
            text += &bars::render(&self.bars);
        }
        text
    }
}
