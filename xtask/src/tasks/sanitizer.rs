//! `cargo xtask asan` and `cargo xtask tsan`: tests under LLVM's sanitizers, which need a nightly
//! compiler.

use anyhow::bail;

use crate::command::{Cmd, target_dir};
use crate::tools;

/// Run the tests of coros-core under AddressSanitizer (needs a nightly toolchain, Linux)
///
/// Finds use after free, out of bounds and leaks in the one module with `unsafe` code. A selection
/// may follow: `cargo xtask asan mailbox`.
#[derive(clap::Args)]
pub(crate) struct AsanArgs {
    /// Handed to `cargo nextest run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

/// Run the tests of coros-core under ThreadSanitizer (needs a nightly toolchain with rust-src,
/// Linux)
///
/// Finds data races. The standard library has to be built with it too (`-Zbuild-std`), or its own
/// synchronisation is reported as races: `rustup component add rust-src --toolchain nightly`.
#[derive(clap::Args)]
pub(crate) struct TsanArgs {
    /// Handed to `cargo nextest run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    nextest: Vec<String>,
}

pub(crate) fn asan(args: &AsanArgs) -> anyhow::Result<()> {
    run("address", "asan", &[], &args.nextest)
}

pub(crate) fn tsan(args: &TsanArgs) -> anyhow::Result<()> {
    let sysroot = nightly("rustc", &["--print", "sysroot"])?;
    let sources = std::path::Path::new(&sysroot).join("lib/rustlib/src/rust/library/Cargo.lock");
    if !sources.exists() {
        bail!(
            "ThreadSanitizer needs the sources of the standard library; `rustup component add \
             rust-src --toolchain nightly` brings them"
        );
    }
    run("thread", "tsan", &["-Zbuild-std"], &args.nextest)
}

fn run(sanitizer: &str, folder: &str, flags: &[&str], selected: &[String]) -> anyhow::Result<()> {
    let target = host()?;
    tools::NEXTEST.ensure()?;
    // A target that is named, even if it is the host, keeps the flags away from build scripts and
    // macros.
    Cmd::cargo_nightly("nextest run --package coros-core --tests --profile sanitizer")
        .args(flags)
        .args(["--target", &target, "--target-dir"])
        .arg(target_dir(folder))
        .args(selected)
        .env("RUSTFLAGS", format!("-Zsanitizer={sanitizer}"))
        .run()
}

/// The target triple of the nightly compiler, if it has sanitizers.
pub(crate) fn host() -> anyhow::Result<String> {
    let version = nightly("rustc", &["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    match host {
        Some(host) if host.ends_with("-linux-gnu") => Ok(host.to_owned()),
        other => bail!(
            "sanitizers are set up for Linux with glibc; this compiler is for {}",
            other.unwrap_or("?")
        ),
    }
}

/// What a program of the nightly toolchain prints.
fn nightly(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let Ok(output) = Cmd::new("rustup")
        .args(["run", "nightly", program])
        .args(args)
        .output()
    else {
        bail!(
            "a nightly toolchain is needed; `rustup toolchain install nightly --profile minimal` \
             brings it"
        );
    };
    Ok(output)
}
