//! What the benches share: samples in fresh child processes, rounds that interleave the peers, what
//! counts as noise, ratios within a round, the table, the bars, the report and the command line.
//!
//! A bench is a [`Suite`]: its peers, its cases, and how to start the child that measures one of
//! them. What a sample's figures are, and what a column shows of them, is the suite's own.

pub mod bars;
pub mod child;
pub mod equipment;
pub mod figures;
pub mod machine;
pub mod noise;
pub mod options;
mod progress;
pub mod python;
pub mod report;
pub mod results;
pub mod run;
pub mod table;
pub mod tools;

use std::fmt::Debug;
use std::process::Command;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One who takes part.
pub trait Peer: Copy + Ord + Debug + Serialize {
    /// What it is called in the table.
    fn title(self) -> &'static str;

    /// Its name in Cargo.lock; `None` for what is not written in Rust.
    fn package(self) -> Option<&'static str>;

    /// What stands in for the version of a package in Cargo.lock.
    fn installed_version(self) -> Option<String>;
}

/// One bench: who takes part, and in what.
pub trait Suite: Sized + 'static {
    /// Who takes part. The order is that of the table's rows.
    type Peer: Peer;
    /// A workload at a size.
    type Case: Copy + Eq + Debug + Serialize;
    /// What a child process found; it prints it as one line of JSON.
    type Report: Debug + Serialize + DeserializeOwned;

    /// What a case is called in messages.
    fn name(case: Self::Case) -> String;

    /// Whether a peer is asked to do a case.
    fn has(case: Self::Case, peer: Self::Peer) -> bool;

    /// The child process that measures one case of one peer and prints one report.
    fn command(peer: Self::Peer, case: Self::Case) -> anyhow::Result<Command>;
}
