//! `cargo xtask test`: every test of the project, on a machine that may have nothing but Rust.

use crate::command::{Cmd, in_ci};
use crate::tools;

/// Install what the tests need where it is missing, then run all of them
///
/// Looks for the test runner (cargo-nextest) and for the programs that the tests start (curl,
/// openssl, ...), and installs what is missing: cargo-nextest by `cargo install`, programs by
/// `apt-get` where you are root or have sudo. Then it runs the examples in the documentation, and
/// the tests of the whole workspace, after it has said which of them it skips and why. The exit
/// status is that of the first runner that failed.
///
/// With arguments, runs only the tests that they select: `cargo xtask test -p coros-core mailbox`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Handed to `cargo nextest run`: a name, `-p CRATE`, `-E 'FILTER'`, `--no-capture`, ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::ensure_test_programs()?;
    tools::NEXTEST.ensure()?;
    let nextest = Cmd::cargo("nextest run")
        .args(in_ci().then_some(["--profile", "ci"]).into_iter().flatten());
    if !args.nextest.is_empty() {
        return nextest.args(&args.nextest).run();
    }
    // The tests come last, so that their summary is what the eye finds, with why some are not in it.
    Cmd::cargo("test --workspace --doc").run()?;
    Cmd::cargo("nextest run --workspace --no-run").run()?;
    let skipped = Cmd::cargo("nextest list --workspace --run-ignored ignored-only")
        .args(["--message-format", "oneline"])
        .output()?;
    let tested = nextest.arg("--workspace").run();
    if !skipped.trim().is_empty() {
        println!("what this machine does not run, and why:\n{skipped}");
    }
    tested
}
