//! `cargo xtask deny`: the dependencies' licences, duplicates and sources.

use crate::command::Cmd;
use crate::tools;

/// Check licences, duplicate versions and sources of all dependencies (deny.toml)
///
/// Installs cargo-deny where it is missing. Advisories are a check of their own, since their
/// database has to be fetched: `cargo deny check advisories`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    tools::DENY.ensure()?;
    Cmd::new("cargo")
        .args(["deny", "check", "bans", "licenses", "sources"])
        .run()
}
