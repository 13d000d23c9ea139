//! `cargo xtask lint`: form and clippy.

use crate::command::Cmd;

/// Check the form (rustfmt) and the lints (clippy, warnings are errors) of everything
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Repair what can be repaired, instead of only telling
    #[arg(long)]
    fix: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let clippy = Cmd::cargo("clippy --workspace --all-targets");
    if args.fix {
        clippy
            .args(["--fix", "--allow-dirty", "--allow-staged"])
            .run()?;
        return Cmd::new("cargo").args(["fmt", "--all"]).run();
    }
    Cmd::new("cargo").args(["fmt", "--all", "--check"]).run()?;
    clippy.args(["--", "-D", "warnings"]).run()
}
