//! What peers need before they can take part, and the run of a bench with those that can.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::Peer;
use crate::options::Options;
use crate::report::{Extent, Plan, Reported, publish};
use crate::tools::apt_get_install;

/// A peer that may have to be fetched or compiled first.
pub trait Equipment: Peer {
    /// Why it cannot run here, in the few words that its row has room for.
    fn missing(self) -> Option<&'static str>;

    /// Debian's packages that it misses, for a peer that cargo cannot fetch.
    fn debian_packages(self) -> &'static [&'static str];

    /// Fetches what neither cargo nor Debian has.
    fn install(self) -> Result<()>;

    /// Compiles what cargo did not.
    fn prepare(self) -> Result<()>;
}

/// What a bench with such peers can be told besides its [`Options`].
#[derive(Debug, clap::Args)]
pub struct Setting {
    /// A little of each peer, once: only whether it works; also in a debug build
    #[arg(long, conflicts_with = "quick")]
    check: bool,
    /// First fetch the peers that cargo cannot, with apt-get (Debian) and pip
    #[arg(long)]
    install: bool,
}

/// Runs a bench: the cases that there are for an extent, with the peers that were chosen.
pub fn bench<S, W>(
    options: &Options<S::Peer, W>,
    setting: &Setting,
    cases: impl FnOnce(Extent, &[W]) -> Vec<S::Case>,
) -> Result<ExitCode>
where
    S: Reported,
    S::Peer: Equipment + ValueEnum + Send + Sync,
    W: ValueEnum + Copy + PartialEq + Send + Sync + 'static,
{
    ensure!(
        setting.check || !cfg!(debug_assertions),
        "this is a debug build, its figures mean nothing: cargo run --release"
    );
    let extent = if setting.check {
        Extent::Check
    } else if options.quick {
        Extent::Quick
    } else {
        Extent::Full
    };
    let chosen = options.peers();
    if setting.install {
        install(&chosen)?;
    }
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for peer in chosen {
        match peer.missing() {
            Some(why) => missing.push((peer, why)),
            None => peers.push(peer),
        }
    }
    for &peer in &peers {
        peer.prepare()
            .with_context(|| format!("cannot build the part of {}", peer.title()))?;
    }
    let plan = Plan::<S> {
        extent,
        rounds: options.rounds(extent),
        peers,
        missing,
        cases: cases(extent, &options.workloads()),
    };
    publish(plan, options.json.as_deref())
}

/// Fetches what is not there yet.
fn install<P: Equipment>(peers: &[P]) -> Result<()> {
    let missing = peers.iter().filter(|peer| peer.missing().is_some());
    let missing: Vec<P> = missing.copied().collect();
    let packages = missing.iter().flat_map(|peer| peer.debian_packages());
    let mut packages: Vec<&str> = packages.copied().collect();
    packages.sort_unstable();
    packages.dedup();
    apt_get_install(&packages)?;
    missing.iter().try_for_each(|peer| peer.install())
}
