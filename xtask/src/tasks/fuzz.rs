//! `cargo xtask fuzz`: what a stranger may send, made up by libFuzzer.

use anyhow::bail;
use std::path::Path;

use crate::command::{Cmd, root, target_dir};
use crate::tasks::sanitizer;
use crate::tools;

/// Fuzz the decoders of coros-net under AddressSanitizer (needs a nightly toolchain, Linux)
///
/// Each target for a minute, or the one that is named. An input that breaks something is written to
/// fuzz/artifacts/TARGET/, and the command that repeats it is printed; what leads to new code goes
/// to fuzz/corpus/TARGET/, which an ordinary test runs too. Needs a C++ compiler beside the nightly
/// toolchain, and installs cargo-fuzz where it is missing.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this one: a file of fuzz/fuzz_targets, without its ending
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Leave in the corpus only what is needed to reach all that it reaches, instead of fuzzing
    #[arg(long)]
    minimise: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let all = targets()?;
    let chosen: Vec<&String> = match &args.target {
        None => all.iter().collect(),
        Some(name) => match all.iter().find(|target| *target == name) {
            Some(target) => vec![target],
            None => bail!("there is no target {name:?}; there are {}", all.join(", ")),
        },
    };
    let host = sanitizer::host()?;
    tools::ensure_cxx()?;
    tools::FUZZ.ensure()?;
    // It leaves the seeds, which are written by the code as it is now, in a folder beside the corpus.
    Cmd::cargo("test --package coros-net --test fuzz_corpus each_seed").run()?;
    for target in chosen {
        let command = if args.minimise { "cmin" } else { "run" };
        let corpus = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        // Of frames and names, not of whole messages.
        let mut limits = vec!["-max_len=4096".to_owned()];
        if !args.minimise {
            limits.push(format!("-max_total_time={}", args.seconds));
            // In proportion to such inputs.
            limits.extend(["-rss_limit_mb=1024".into(), "-timeout=10".into()]);
        }
        Cmd::new("rustup")
            .args(["run", "nightly", "cargo", "fuzz", command])
            .args(["--target", &host, target])
            .arg(&corpus)
            .args((!args.minimise).then(|| target_dir("tmp/fuzz-seeds").join(target)))
            .arg("--")
            .args(limits)
            .run()?;
    }
    Ok(())
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join(Path::new("fuzz/fuzz_targets"));
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if let Some(stem) = path.file_stem() {
            targets.push(stem.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
