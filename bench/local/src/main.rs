//! Coroutines on one machine: coros beside its peers, in one table.

mod bars;
mod peers;
mod report;
mod results;
mod run;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use peers::Peer;
use report::RunReport;
use run::Case;
use workloads::Workload;

/// Measures coros beside its peers and prints one table.
#[derive(Parser)]
#[command(version, after_help = include_str!("help.txt"), max_term_width = 100)]
struct Args {
    /// Fewer rounds and smaller sizes, under two minutes in all: for a first look, not for a claim
    #[arg(long)]
    quick: bool,
    /// Rounds, each one sample of every cell [default: 5, quick: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these workloads, as in `--only w2,w5`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        ignore_case = true,
        hide_possible_values = true
    )]
    only: Vec<Workload>,
    /// Only these peers, as in `--peers coros,tokio`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        ignore_case = true,
        hide_possible_values = true
    )]
    peers: Vec<Peer>,
    /// Also write machine, versions, cells, bars and every sample as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// W1 also with 10,000,000 coroutines, coros alone (needs about 6 GB)
    #[arg(long)]
    ten_million: bool,
    /// First fetch the peers that cargo cannot (Erlang, Go) with apt-get
    #[arg(long)]
    install: bool,
    /// Run one workload in this process and print what it measured
    #[arg(long, hide = true, num_args = 3, value_names = ["PEER", "WORKLOAD", "N"])]
    child: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.child {
        Some(words) => child(words).map(|()| ExitCode::SUCCESS),
        None => bench(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("local: {error:#}");
        ExitCode::FAILURE
    })
}

fn child(words: &[String]) -> Result<()> {
    let [peer, workload, n] = words else {
        bail!("--child takes PEER WORKLOAD N")
    };
    let peer = Peer::from_str(peer, true).map_err(anyhow::Error::msg)?;
    let workload = Workload::from_str(workload, true).map_err(anyhow::Error::msg)?;
    let n: u64 = n.parse().with_context(|| format!("{n:?} is not a size"))?;
    println!("{}", serde_json::to_string(&peer.run(workload, n)?)?);
    Ok(())
}

fn bench(args: &Args) -> Result<ExitCode> {
    ensure!(
        !cfg!(debug_assertions),
        "this is a debug build, its figures mean nothing: cargo run --release"
    );
    if args.install {
        install()?;
    }
    let cases = cases(args);
    let (peers, missing): (Vec<_>, Vec<_>) = peers(args)
        .into_iter()
        .partition(|&peer| peer.debian_package().is_none() || peer.installed_version().is_some());
    for &peer in &peers {
        peer.prepare()
            .with_context(|| format!("cannot build the part of {}", peer.title()))?;
    }
    let rounds = args
        .rounds
        .map_or(if args.quick { 3 } else { 5 }, usize::from);
    let report = RunReport::new(args.quick, rounds, &peers, missing, &cases);
    if let Some(file) = &args.json {
        // An hour of measuring is not to end with a file that cannot be written.
        std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let report = report.measure();
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, json + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if report.outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn peers(args: &Args) -> Vec<Peer> {
    let chosen = |peer: &Peer| args.peers.is_empty() || args.peers.contains(peer);
    Peer::value_variants()
        .iter()
        .copied()
        .filter(chosen)
        .collect()
}

fn cases(args: &Args) -> Vec<Case> {
    let mut cases = Vec::new();
    let chosen = |workload: &Workload| args.only.is_empty() || args.only.contains(workload);
    for &workload in Workload::value_variants()
        .iter()
        .filter(|workload| chosen(workload))
    {
        let (full, quick): (&[u64], &[u64]) = match workload {
            Workload::W1 => (&[100_000, 1_000_000], &[20_000, 50_000]),
            Workload::W2 | Workload::W3 => (&[10_000_000], &[1_000_000]),
            Workload::W4 | Workload::Ask => (&[1_000_000], &[200_000]),
            Workload::W5 | Workload::W6 => (&[5_000_000], &[500_000]),
            Workload::W7 => (&[10_000], &[1_000]),
        };
        let sizes = if args.quick { quick } else { full };
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
