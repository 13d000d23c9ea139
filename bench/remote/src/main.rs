//! Coroutines of two processes: coros beside its peers, in one table.

mod bars;
mod cases;
mod files;
mod peers;
mod report;
mod server;
mod tally;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use cases::{Case, Workload};
use peers::Peer;
use report::{Extent, RunReport};

/// Measures coros beside its peers and prints one table.
#[derive(Parser)]
#[command(version, after_help = include_str!("help.txt"), max_term_width = 100)]
struct Args {
    /// Fewer rounds and smaller sizes: for a first look, not for a claim
    #[arg(long)]
    quick: bool,
    /// A few messages of each peer: only whether it works; also in a debug build
    #[arg(long, conflicts_with = "quick")]
    check: bool,
    /// Rounds, each one sample of every cell [default: 5, quick: 3, check: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these workloads, as in `--only small,ask`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        ignore_case = true,
        hide_possible_values = true
    )]
    only: Vec<Workload>,
    /// Only these peers, as in `--peers coros,tls`
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
    /// First fetch the peers that cargo cannot (Erlang with apt-get, pycos with pip)
    #[arg(long)]
    install: bool,
    /// Run one workload with this process as the sender and print what it measured
    #[arg(long, hide = true, num_args = 3, value_names = ["PEER", "WORKLOAD", "N"])]
    child: Option<Vec<String>>,
    /// Be the receiver
    #[arg(long, hide = true, num_args = 3, value_names = ["PEER", "NODES", "FOLDER"])]
    server: Option<Vec<String>>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (&args.child, &args.server) {
        (Some(words), _) => child(words).map(|()| ExitCode::SUCCESS),
        (None, Some(words)) => server(words).map(|()| ExitCode::SUCCESS),
        (None, None) => bench(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("remote: {error:#}");
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

fn server(words: &[String]) -> Result<()> {
    let [peer, nodes, folder] = words else {
        bail!("--server takes PEER NODES FOLDER")
    };
    let peer = Peer::from_str(peer, true).map_err(anyhow::Error::msg)?;
    let nodes = nodes
        .parse()
        .with_context(|| format!("{nodes:?} is not a number"))?;
    peer.serve(nodes, Path::new(folder))
}

fn bench(args: &Args) -> Result<ExitCode> {
    ensure!(
        args.check || !cfg!(debug_assertions),
        "this is a debug build, its figures mean nothing: cargo run --release"
    );
    let extent = if args.check {
        Extent::Check
    } else if args.quick {
        Extent::Quick
    } else {
        Extent::Full
    };
    let peers = chosen(&args.peers);
    if args.install {
        install(&peers)?;
    }
    let (peers, missing): (Vec<Peer>, Vec<Peer>) =
        peers.into_iter().partition(|peer| peer.is_installed());
    for &peer in &peers {
        peer.prepare()
            .with_context(|| format!("cannot build the part of {}", peer.title()))?;
    }
    let cases = cases(extent, &chosen(&args.only));
    let rounds = args.rounds.map_or(extent.rounds(), usize::from);
    if let Some(file) = &args.json {
        // An hour of measuring is not to end with a file that cannot be written.
        std::fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let report = RunReport::new(extent, rounds, &peers, missing, &cases).measure();
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

/// Fetches what is not there yet.
fn install(peers: &[Peer]) -> Result<()> {
    let missing = peers.iter().filter(|peer| !peer.is_installed());
    let missing: Vec<Peer> = missing.copied().collect();
    let mut packages: Vec<&str> = missing
        .iter()
        .flat_map(|peer| peer.debian_packages())
        .copied()
        .collect();
    packages.sort_unstable();
    packages.dedup();
    harness::tools::apt_get_install(&packages)?;
    missing.iter().try_for_each(|peer| peer.install())
}

/// Those that were asked for; all, if none was.
fn chosen<T: ValueEnum + Copy + PartialEq>(asked_for: &[T]) -> Vec<T> {
    let is_chosen = |value: &T| asked_for.is_empty() || asked_for.contains(value);
    T::value_variants()
        .iter()
        .copied()
        .filter(is_chosen)
        .collect()
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
