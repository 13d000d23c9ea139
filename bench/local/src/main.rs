//! Coroutines on one machine: coros beside its peers, in one table.

mod bars;
mod peers;
mod report;
mod results;
mod run;
mod workloads;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use harness::Peer as _;
use harness::options::Options;
use harness::report::{Extent, Plan, publish};

use peers::Peer;
use run::Case;
use workloads::Workload;

/// Measures coros beside its peers and prints one table.
#[derive(Parser)]
#[command(version, after_help = include_str!("help.txt"), max_term_width = 100)]
struct Args {
    #[command(flatten)]
    options: Options<Peer, Workload>,
    /// W1 also with 10,000,000 coroutines, coros alone (needs about 6 GB)
    #[arg(long)]
    ten_million: bool,
    /// First fetch the peers that cargo cannot (Erlang, Go) with apt-get
    #[arg(long)]
    install: bool,
}

fn main() -> ExitCode {
    run_or_measure(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("local: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_or_measure(args: &Args) -> Result<ExitCode> {
    let Some((peer, workload, n)) = args.options.child()? else {
        return bench(args);
    };
    println!("{}", serde_json::to_string(&peer.run(workload, n)?)?);
    Ok(ExitCode::SUCCESS)
}

fn bench(args: &Args) -> Result<ExitCode> {
    ensure!(
        !cfg!(debug_assertions),
        "this is a debug build, its figures mean nothing: cargo run --release"
    );
    if args.install {
        install()?;
    }
    let extent = if args.options.quick {
        Extent::Quick
    } else {
        Extent::Full
    };
    let (peers, missing): (Vec<_>, Vec<_>) =
        args.options.peers().into_iter().partition(|&peer| {
            peer.debian_package().is_none() || peer.installed_version().is_some()
        });
    for &peer in &peers {
        peer.prepare()
            .with_context(|| format!("cannot build the part of {}", peer.title()))?;
    }
    let plan = Plan::<run::Local> {
        extent,
        rounds: args.options.rounds(extent),
        peers,
        missing: missing
            .into_iter()
            .map(|peer| (peer, "not installed"))
            .collect(),
        cases: cases(args),
    };
    publish(plan, args.options.json.as_deref())
}

fn cases(args: &Args) -> Vec<Case> {
    let mut cases = Vec::new();
    for workload in args.options.workloads() {
        let (full, quick): (&[u64], &[u64]) = match workload {
            Workload::W1 => (&[100_000, 1_000_000], &[20_000, 50_000]),
            Workload::W2 | Workload::W3 => (&[10_000_000], &[1_000_000]),
            Workload::W4 | Workload::Ask => (&[1_000_000], &[200_000]),
            Workload::W5 | Workload::W6 => (&[5_000_000], &[500_000]),
            Workload::W7 => (&[10_000], &[1_000]),
        };
        let sizes = if args.options.quick { quick } else { full };
        cases.extend(sizes.iter().map(|&n| Case {
            workload,
            n,
            only_coros: false,
        }));
        if workload == Workload::W1 && args.ten_million {
            cases.push(Case {
                workload,
                n: 10_000_000,
                only_coros: true,
            });
        }
    }
    cases
}

/// Fetches what is not there yet.
fn install() -> Result<()> {
    let missing = Peer::value_variants()
        .iter()
        .filter(|peer| peer.installed_version().is_none());
    let packages: Vec<&str> = missing.filter_map(|peer| peer.debian_package()).collect();
    harness::tools::apt_get_install(&packages)
}
