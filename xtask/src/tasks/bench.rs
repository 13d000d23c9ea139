//! `cargo xtask bench`: coros and its peers side by side.

use anyhow::bail;
use std::path::{Path, PathBuf};

use crate::command::{Cmd, root};

/// The first is what is measured if none is said.
const BENCHES: [&str; 3] = ["local", "remote", "cluster"];

/// Measure coros beside its peers on this machine (bench/, workspaces of their own)
///
/// `cargo xtask bench` measures coroutines on one machine, beside raw tokio channels and actor
/// libraries; `cargo xtask bench remote` those of two processes, beside raw TLS and others that
/// cross processes; `cargo xtask bench cluster` calls in worker processes, beside what Python has for
/// that. Prints tables: medians, spread, and ratios within the same run. The full run takes long and
/// wants a quiet machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer rounds and smaller sizes: a few minutes
    #[arg(long)]
    quick: bool,
    /// Only see whether all compile, and whether messages arrive between processes and calls in workers
    /// (without kameo and ractor_cluster, which take minutes to build)
    #[arg(long, conflicts_with_all = ["quick", "rest"])]
    check: bool,
    /// `local` (if none is said), `remote` or `cluster`, then what the benchmark is to be handed:
    /// `--json FILE`, `--install`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.check {
        Cmd::cargo("check").current_dir(&folder("local")?).run()?;
        // Without kameo and ractor_cluster, whose dependencies take several times as long as all others.
        Cmd::cargo("run --no-default-features")
            .args(["--", "--check"])
            .current_dir(&folder("remote")?)
            .run()?;
        return Cmd::cargo("run")
            .args(["--", "--check"])
            .current_dir(&folder("cluster")?)
            .run();
    }
    let (name, rest) = match args.rest.split_first() {
        Some((name, rest)) if BENCHES.contains(&name.as_str()) => (name.as_str(), rest),
        _ => (BENCHES[0], &args.rest[..]),
    };
    Cmd::cargo("run --release")
        .arg("--")
        .args(args.quick.then_some("--quick"))
        .args(rest)
        .current_dir(&folder(name)?)
        .run()
}

fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new("bench").join(name);
    if !root().join(&folder).join("Cargo.toml").exists() {
        bail!("{} is not in this checkout", folder.display());
    }
    Ok(folder)
}
