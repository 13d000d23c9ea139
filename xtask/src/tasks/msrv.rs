//! `cargo xtask msrv`: the oldest Rust that the manifests promise.

use anyhow::{Context as _, bail};

use crate::command::{Cmd, root, target_dir};

/// Check that everything builds with the oldest Rust that Cargo.toml promises
///
/// With that very toolchain in use there is nothing left to do: every other check is this one.
/// Otherwise it needs that toolchain: `rustup toolchain install VERSION`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<()> {
    let promised = promised()?;
    let in_use = Cmd::new("rustc").arg("--version").output()?;
    if in_use.starts_with(&format!("rustc {promised}.")) {
        eprintln!("{in_use} is the oldest promised: what it builds and tests is the check");
        return Ok(());
    }
    if !Cmd::new("rustup")
        .args(["run", &promised, "rustc", "--version"])
        .succeeds()
    {
        bail!(
            "Rust {promised} is not installed; `rustup toolchain install {promised} --profile \
             minimal` brings it"
        );
    }
    Cmd::new("rustup")
        .args([
            "run",
            &promised,
            "cargo",
            "check",
            "--workspace",
            "--all-targets",
            "--target-dir",
        ])
        .arg(target_dir("msrv"))
        .run()
}

/// `rust-version` of the workspace, major and minor.
fn promised() -> anyhow::Result<String> {
    let path = root().join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read {}", path.display()))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .with_context(|| format!("{} has no line `rust-version = \"...\"`", path.display()))?;
    Ok(version.to_owned())
}
