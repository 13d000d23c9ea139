//! `cargo xtask doc`: the API documentation.

use crate::command::Cmd;

/// Build the API documentation; a broken link is an error
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Show it in the browser
    #[arg(long)]
    open: bool,
    /// With private items, for those who work on coros itself
    #[arg(long)]
    private: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The documentation of a crate's users and that of its authors may link differently; only the
    // first has to be whole.
    let flags = if args.private { "" } else { "-D warnings" };
    Cmd::cargo("doc --workspace --lib --no-deps")
        .args(args.private.then_some("--document-private-items"))
        .args(args.open.then_some("--open"))
        .env("RUSTDOCFLAGS", flags)
        .run()
}
