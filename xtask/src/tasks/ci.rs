//! `cargo xtask ci`: what has to pass before a change lands.

use crate::command::Cmd;

/// Run everything that has to pass before a change lands: .ci/run
///
/// The list of steps is the script itself; each step is a chore of this program. A full run takes
/// under 15 minutes on two cores, on a machine where nothing has been built yet.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only these steps, in the script's order
    steps: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    Cmd::new("bash").arg(".ci/run").args(&args.steps).run()
}
