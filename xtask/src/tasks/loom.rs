//! `cargo xtask loom`: the concurrent parts under the model checker.

use crate::command::{Cmd, target_dir};
use crate::tools;

/// Interleavings with more preemptions than this are left out unless asked for: the number of
/// interleavings grows by a large factor with each, and defects rarely need more than two.
const MAX_PREEMPTIONS: &str = "2";

/// Run the models of the concurrent parts under loom, which tries interleaving after interleaving
///
/// Models are the unit tests of coros-core whose paths contain `loom_`. They are built with
/// `--cfg coros_loom` into a target folder of their own. A name selects: `cargo xtask loom
/// loom_close`.
///
/// Of all interleavings it tries those with at most two preemptions per run, or as many as
/// LOOM_MAX_PREEMPTIONS says; with `--exhaustive`, all of them, which may take hours. LOOM_LOG=trace
/// with `--no-capture` shows the interleaving that failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Try every interleaving, and let no model be stopped for taking long
    #[arg(long)]
    exhaustive: bool,
    /// Handed to `cargo nextest run`; instead of `loom_`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::NEXTEST.ensure()?;
    let everything = ["loom_".to_owned()];
    let selected = if args.nextest.is_empty() {
        &everything[..]
    } else {
        &args.nextest
    };
    let profile = if args.exhaustive {
        "loom-exhaustive"
    } else {
        "loom"
    };
    // nextest, unlike the plain runner, fails when nothing was selected: models that vanish are
    // noticed.
    let models = Cmd::cargo("nextest run --package coros-core --lib --cargo-profile release")
        .args(["--profile", profile, "--target-dir"])
        .arg(target_dir("loom"))
        .args(selected)
        .env("RUSTFLAGS", "--cfg coros_loom");
    if args.exhaustive || std::env::var_os("LOOM_MAX_PREEMPTIONS").is_some() {
        return models.run();
    }
    models.env("LOOM_MAX_PREEMPTIONS", MAX_PREEMPTIONS).run()
}
