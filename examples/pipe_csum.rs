//! Feeds files to an external program and reads what it answers: checksums by `sha1sum`.
//!
//! A coroutine writes to the program while another reads from it, so neither end waits for the
//! other with a full pipe. A file of any size takes little memory.
//!
//!     cargo run --release --example pipe_csum -- Cargo.toml Cargo.lock
//!     cargo run --release --example pipe_csum -- --program sha256sum README.md

mod say;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use coros::io::{Pipeline, command};
use say::say;
use tokio::fs::File;
use tokio::process::ChildStdin;
use tokio::sync::Semaphore;

/// Prints the checksums of files as sha1sum does.
#[derive(Parser)]
struct Args {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// What computes the checksum of its standard input.
    #[arg(long, default_value = "sha1sum")]
    program: String,
}

/// How many programs run at a time.
const AT_ONCE: usize = 8;

async fn feed(_me: Context<()>, mut file: File, mut stdin: ChildStdin) -> std::io::Result<u64> {
    tokio::io::copy(&mut file, &mut stdin).await
    // Dropping `stdin` closes it, so that the program sees the end.
}

async fn checksum(program: &str, path: &Path) -> anyhow::Result<String> {
    let file = File::open(path).await?;
    let mut running = Pipeline::new(command(program, [""; 0])).spawn()?;
    let stdin = running.take_stdin().context("the input is a pipe")?;
    let feeder = coros::spawn(move |me| feed(me, file, stdin));
    let line = running.read_line().await?;
    let fed = feeder.await?;

    let statuses = running.wait().await?;
    anyhow::ensure!(
        statuses[0].success(),
        "{program} failed, {}: {}",
        statuses[0],
        running.stderr(0).text().trim_end()
    );
    fed.context("cannot read the file")?;
    let line = line.unwrap_or_default();
    let sum = line.split_whitespace().next();
    Ok(sum
        .with_context(|| format!("{program} printed no checksum"))?
        .to_owned())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { files, program } = Args::parse();
    let program: Arc<str> = program.into();
    let slots = Arc::new(Semaphore::new(AT_ONCE));

    let sums: Vec<_> = files
        .iter()
        .map(|path| {
            let (path, program, slots) = (path.clone(), Arc::clone(&program), Arc::clone(&slots));
            coros::spawn(async move |_me: Context<()>| {
                let _slot = slots.acquire().await?;
                checksum(&program, &path).await
            })
        })
        .collect();

    let mut failed = 0;
    for (path, sum) in files.iter().zip(sums) {
        match sum.await? {
            Ok(sum) => say!("{sum}  {}", path.display()),
            Err(error) => {
                eprintln!("{}: {error:#}", path.display());
                failed += 1;
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} files failed", files.len());
    Ok(())
}
