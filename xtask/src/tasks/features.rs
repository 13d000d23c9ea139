//! `cargo xtask features`: every useful set of the facade's features compiles.

use crate::command::Cmd;

/// The facade's features, each alone: the set without any must build too.
const SETS: &[&str] = &["", "macros", "net", "cluster"];

/// Check that the facade builds with no feature and with each of them alone
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    for set in SETS {
        Cmd::cargo("clippy --package coros --lib --no-default-features")
            .args(["--features", set, "--", "-D", "warnings"])
            .run()?;
    }
    Ok(())
}
