//! `cargo xtask miri`: the mailbox under Rust's interpreter, where that is installed.

use anyhow::bail;

use crate::command::{Cmd, target_dir};

/// Run the unit tests of the mailbox under miri, where it is installed
///
/// Finds undefined behaviour that neither loom nor AddressSanitizer sees (aliasing, uninitialised
/// memory). It is a component of the nightly toolchain that is not part of every day's build:
/// `rustup component add miri rust-src --toolchain nightly`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which unit tests of coros-core
    #[arg(default_value = "mailbox")]
    name: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // A file ~/.cargo/bin/cargo-miri proves nothing: rustup puts one there for a component that is
    // not installed.
    if !Cmd::new("rustup")
        .args(["run", "nightly", "cargo", "miri", "--version"])
        .succeeds()
    {
        bail!(
            "miri is not installed on this machine; `rustup component add miri rust-src \
             --toolchain nightly` brings it where rustup can download. Meanwhile `cargo xtask \
             loom` and `cargo xtask asan` check the same code"
        );
    }
    Cmd::cargo_nightly("miri test --package coros-core --lib")
        .arg("--target-dir")
        .arg(target_dir("miri"))
        .arg(&args.name)
        // tokio's runtime asks for the time and the machine's cores.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .run()
}
