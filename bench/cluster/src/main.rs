//! Calls in worker processes: coros beside its peers, in one table.

mod bars;
mod cases;
mod descendants;
mod peers;
mod report;
mod spawns;
mod tcp;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use harness::equipment::{Setting, bench};
use harness::options::Options;

use cases::{Cluster, Workload};
use peers::Peer;

/// Measures coros beside its peers and prints one table a subject.
#[derive(Parser)]
#[command(version, after_help = include_str!("help.txt"), max_term_width = 100)]
struct Args {
    #[command(flatten)]
    options: Options<Peer, Workload>,
    #[command(flatten)]
    setting: Setting,
    /// Send back what comes
    #[arg(long, hide = true)]
    echo: bool,
}

fn main() -> ExitCode {
    run_or_measure(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("cluster: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_or_measure(args: &Args) -> Result<ExitCode> {
    if let Some((peer, workload, n)) = args.options.child()? {
        println!("{}", serde_json::to_string(&peer.run(workload, n)?)?);
    } else if args.echo {
        tcp::echo()?;
    } else {
        return bench::<Cluster, Workload>(&args.options, &args.setting, cases::of);
    }
    Ok(ExitCode::SUCCESS)
}
