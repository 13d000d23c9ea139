//! Coroutines of two processes: coros beside its peers, in one table.

mod bars;
mod cases;
mod files;
mod peers;
mod report;
mod server;
mod tally;
mod workloads;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use harness::equipment::{Setting, bench};
use harness::options::{Options, one};
use harness::report::Extent;

use cases::{Case, Remote, Workload};
use peers::Peer;

/// Measures coros beside its peers and prints one table.
#[derive(Parser)]
#[command(version, after_help = include_str!("help.txt"), max_term_width = 100)]
struct Args {
    #[command(flatten)]
    options: Options<Peer, Workload>,
    #[command(flatten)]
    setting: Setting,
    /// Be the receiver
    #[arg(long, hide = true, num_args = 3, value_names = ["PEER", "NODES", "FOLDER"])]
    server: Option<Vec<String>>,
}

fn main() -> ExitCode {
    run_or_measure(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("remote: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_or_measure(args: &Args) -> Result<ExitCode> {
    if let Some((peer, workload, n)) = args.options.child()? {
        println!("{}", serde_json::to_string(&peer.run(workload, n)?)?);
    } else if let Some(words) = &args.server {
        server(words)?;
    } else {
        return bench::<Remote, Workload>(&args.options, &args.setting, cases);
    }
    Ok(ExitCode::SUCCESS)
}

fn server(words: &[String]) -> Result<()> {
    let [peer, nodes, folder] = words else {
        bail!("--server takes PEER NODES FOLDER")
    };
    let nodes = nodes
        .parse()
        .with_context(|| format!("{nodes:?} is not a number"))?;
    one::<Peer>(peer)?.serve(nodes, Path::new(folder))
}

fn cases(extent: Extent, workloads: &[Workload]) -> Vec<Case> {
    let size = |workload| match workload {
        Workload::Small => [4_000_000, 500_000, 2_000],
        Workload::Large => [1_500_000, 200_000, 2_000],
        Workload::Ping => [40_000, 5_000, 100],
        Workload::Ask => [400_000, 50_000, 2_000],
        Workload::Bulk => [1 << 30, 128 << 20, 1 << 20],
        Workload::Idle => [1_000, 100, 3],
        Workload::Kill | Workload::Freeze => [1, 1, 1],
    };
    // It takes as long as it takes, which is tested elsewhere.
    let left_out = |workload: &&Workload| extent == Extent::Check && **workload == Workload::Freeze;
    let case = |&workload| Case {
        workload,
        n: size(workload)[extent as usize],
    };
    workloads
        .iter()
        .filter(|workload| !left_out(workload))
        .map(case)
        .collect()
}
