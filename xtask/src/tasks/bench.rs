//! `cargo xtask bench`: coros and its peers side by side.

use anyhow::bail;
use std::path::Path;

use crate::command::{Cmd, root};

/// Measure coros beside its peers on this machine (bench/local, a workspace of its own)
///
/// Prints one table: medians, spread, and the ratio to raw tokio channels within the same run. The
/// full run takes long and wants a quiet machine.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer rounds and smaller sizes: under two minutes
    #[arg(long)]
    quick: bool,
    /// Only see whether it compiles
    #[arg(long, conflicts_with_all = ["quick", "rest"])]
    check: bool,
    /// Handed to the benchmark: `--json FILE`, `--install`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let folder = Path::new("bench/local");
    if !root().join(folder).join("Cargo.toml").exists() {
        bail!("{} is not in this checkout", folder.display());
    }
    if args.check {
        return Cmd::cargo("check").current_dir(folder).run();
    }
    Cmd::cargo("run --release")
        .arg("--")
        .args(args.quick.then_some("--quick"))
        .args(&args.rest)
        .current_dir(folder)
        .run()
}
