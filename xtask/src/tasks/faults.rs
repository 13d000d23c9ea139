//! `cargo xtask faults`: processes that are killed and networks that fail, and what came of it.

use crate::command::Cmd;
use crate::tools;

/// Kill nodes, stop them, cut their network, and print what came of it: lost, doubled, stuck
///
/// Each fault runs a few times, with real processes on this machine and, where you are root, between
/// network namespaces. A short version of each is among the ordinary tests. What the machine lacks is
/// said. The exit status tells whether all was as promised.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each fault is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Also what takes a minute and more
    #[arg(long)]
    long: bool,
    /// In a release build: a debug build has less time to spare on a busy machine
    #[arg(long)]
    release: bool,
    /// Only these, by the names of the tests: `killed`, `one_way_loss`, ...
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure_test_programs()?;
    Cmd::cargo("test --quiet --package coros-net --test faults")
        .args(args.release.then_some("--release"))
        .args(["--", "--table", "--runs", &args.runs.to_string()])
        .args(args.long.then_some("--long"))
        .args(&args.names)
        .run()
}
