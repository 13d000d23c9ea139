//! `cargo xtask loom`: the concurrent parts under the model checker.

use crate::command::{Cmd, target_dir};
use crate::tools;

/// Run the models of the concurrent parts under loom, which tries every interleaving
///
/// Models are the unit tests of coros-core whose paths contain `loom_`. They are built with `--cfg
/// loom` into a target folder of their own. A name selects: `cargo xtask loom loom_close`.
/// LOOM_MAX_PREEMPTIONS=2 makes a large model faster and less thorough; LOOM_LOG=trace with
/// `--no-capture` shows the interleaving that failed.
#[derive(clap::Args)]
pub(crate) struct Args {
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
    // nextest, unlike the plain runner, fails when nothing was selected: models that vanish are
    // noticed.
    Cmd::cargo("nextest run --package coros-core --lib --cargo-profile release --profile loom")
        .arg("--target-dir")
        .arg(target_dir("loom"))
        .args(selected)
        .env("RUSTFLAGS", "--cfg coros_loom")
        .run()
}
