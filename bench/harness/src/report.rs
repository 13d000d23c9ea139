//! Everything about one run: what was run, on what, and what came out, as text and as JSON.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bars::{self, Bar};
use crate::machine::Machine;
use crate::results::{self, Cell, Column};
use crate::run::{self, Outcome};
use crate::table::{self, Source};
use crate::tools::locked_version;
use crate::{Peer, Suite};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    Full,
    Quick,
    /// Only whether all work.
    Check,
}

impl Extent {
    #[must_use]
    pub fn rounds(self) -> usize {
        match self {
            Extent::Full => 5,
            Extent::Quick => 3,
            Extent::Check => 1,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Extent::Full => "full sizes",
            Extent::Quick => "quick: small sizes, for a first look",
            Extent::Check => "check: a few messages, the figures mean nothing",
        }
    }
}

/// What a report says of a suite beside what was measured.
pub trait Reported: Suite {
    type Column: Column<Suite = Self>;

    /// The one that has bars to reach.
    const OURS: Self::Peer;
    /// The one that all are compared with.
    const BASE: Self::Peer;
    /// The suite's own Cargo.lock.
    const LOCK_FILE: &'static str;
    const WORKER_THREADS: usize;
    /// Whose these are, if that has to be said.
    const WORKERS_OF: &'static str;
    /// What is above the bars.
    const BARS: &'static str;

    fn columns(cases: &[Self::Case]) -> Vec<Self::Column>;

    fn header(column: Self::Column) -> String;

    /// The tables that the columns are in, each with what is above it; one without words, unless there are
    /// too many for that.
    fn tables(columns: &[Self::Column]) -> Vec<(&'static str, Vec<Self::Column>)> {
        vec![("", columns.to_vec())]
    }

    fn judge(outcome: &Outcome<Self>, columns: &[Self::Column]) -> Vec<Bar>;
}

/// The version of a peer.
#[must_use]
pub fn version<S: Reported>(peer: S::Peer) -> Option<String> {
    let package = peer.package();
    let locked = package.and_then(|package| locked_version(S::LOCK_FILE, package));
    locked.or_else(|| peer.installed_version())
}

/// What is to be run.
#[derive(Debug)]
pub struct Plan<S: Suite> {
    pub extent: Extent,
    pub rounds: usize,
    pub peers: Vec<S::Peer>,
    /// Peers that cannot take part here, and why.
    pub missing: Vec<(S::Peer, &'static str)>,
    pub cases: Vec<S::Case>,
}

#[derive(Debug, Serialize)]
#[serde(bound = "")]
struct RunReport<S: Reported> {
    machine: Machine,
    extent: Extent,
    rounds: usize,
    worker_threads: usize,
    allocator: &'static str,
    versions: Vec<Version<S::Peer>>,
    missing: Vec<(S::Peer, &'static str)>,
    cells: Vec<Cell<S::Column>>,
    bars: Vec<Bar>,
    #[serde(flatten)]
    outcome: Outcome<S>,
    #[serde(skip)]
    peers: Vec<S::Peer>,
    #[serde(skip)]
    columns: Vec<S::Column>,
}

#[derive(Debug, Serialize)]
struct Version<P> {
    peer: P,
    version: String,
}

/// Carries a plan out, prints the table, and writes all of it to `json`. Whether all of it worked.
pub fn publish<S: Reported>(plan: Plan<S>, json: Option<&Path>) -> Result<ExitCode> {
    let cannot_write = |file: &Path| format!("cannot write {}", file.display());
    if let Some(file) = json {
        // An hour of measuring is not to end with a file that cannot be written.
        std::fs::write(file, "").with_context(|| cannot_write(file))?;
    }
    let report = RunReport::measured(plan);
    print!("{}", report.text());
    if let Some(file) = json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, json + "\n").with_context(|| cannot_write(file))?;
    }
    Ok(if report.outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl<S: Reported> RunReport<S> {
    fn measured(plan: Plan<S>) -> Self {
        let version = |&peer: &S::Peer| {
            let version = version::<S>(peer)?;
            Some(Version { peer, version })
        };
        let machine = Machine::inspect();
        let outcome = run::run(&plan.peers, &plan.cases, plan.rounds);
        let columns = S::columns(&plan.cases);
        let mut cells = Vec::new();
        for &peer in &plan.peers {
            let columns = columns.iter();
            cells.extend(
                columns.filter_map(|&column| results::cell(&outcome, peer, S::BASE, column)),
            );
        }
        RunReport {
            machine,
            extent: plan.extent,
            rounds: plan.rounds,
            worker_threads: S::WORKER_THREADS,
            allocator: "default",
            versions: plan.peers.iter().filter_map(version).collect(),
            missing: plan.missing,
            cells,
            bars: S::judge(&outcome, &columns),
            outcome,
            peers: plan.peers,
            columns,
        }
    }

    fn text(&self) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|v| format!("{} {}", v.peer.title(), v.version))
            .collect();
        let mut text = format!(
            "{}\n{}\n\
             {}; rounds: {}; worker threads: {}{}; {} allocator; a cell is median xRATIO to {}, \
             min-max; --help explains the rest\n\n",
            self.machine,
            versions.join("; "),
            self.extent.text(),
            self.rounds,
            self.worker_threads,
            S::WORKERS_OF,
            self.allocator,
            S::BASE.title(),
        );
        for (title, columns) in S::tables(&self.columns) {
            if !title.is_empty() {
                text += &format!("{title}\n");
            }
            let source = Source {
                outcome: &self.outcome,
                columns: &columns,
                peers: &self.peers,
                missing: &self.missing,
                base: S::BASE,
            };
            text += &format!("{}\n", table::render(&source, S::header));
        }
        text += &self.outcome.remarks();
        if self.peers.contains(&S::OURS) && self.extent != Extent::Check {
            text += &format!("\n{}\n", S::BARS);
            text += &bars::render(&self.bars);
        }
        text
    }
}
