//! Files to workers and back: each travels out with the program, and what a worker makes of it is sent back into a
//! folder of the client, who is told of each that has come.
//!
//!     mkdir /tmp/sorted
//!     cargo run --release --example discoro_files -- /tmp/sorted Cargo.toml README.md
//!     cargo run --release --example discoro_files -- /tmp/sorted Cargo.toml --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use coros::Context;
use coros::cluster::worker;
use coros::net::{Folder, Received, SendFile};
use farm::Farm;
use say::say;

/// Sorts the lines of files elsewhere.
#[derive(Parser)]
struct Args {
    /// The folder for what comes back.
    folder: PathBuf,

    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    farm: Farm,
}

/// Sorts the lines of a file that has come along, and sends the result to the client; how many lines there
/// are.
#[coros::remote]
async fn sort(name: String) -> anyhow::Result<usize> {
    let path = worker::file(&name).context("it did not come along")?;
    let text = tokio::fs::read_to_string(path).await?;
    let mut lines: Vec<_> = text.split_inclusive('\n').collect();
    lines.sort_unstable();
    // The folder that the workers of a machine share is gone with them.
    let shared = worker::shared_folder().context("this is no worker")?;
    let sorted = shared.join(format!("{name}.sorted"));
    tokio::fs::write(&sorted, lines.concat()).await?;

    let (Some(node), Some(client)) = (worker::node(), worker::client()) else {
        anyhow::bail!("this is no worker");
    };
    node.send_file(client, &sorted, SendFile::new().replace())
        .await?;
    Ok(lines.len())
}

/// Says what has come.
async fn clerk(mut me: Context<Received>, files: usize) {
    for _ in 0..files {
        if let Some(file) = me.receive().await {
            say!("{} has come: {} bytes", file.name, file.size);
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        folder,
        files,
        farm,
    } = Args::parse();
    let expected = files.len();
    // It does not hold up the end of a program that has failed.
    let clerk = coros::build().daemon().spawn(move |me| clerk(me, expected));
    let to_clerk = clerk.address();
    // It has no bound, so it cannot be full, and it is there as long as the folder is.
    let folder = Folder::new(folder).on_received(move |file| drop(to_clerk.send(file)));
    let mut scheduler = farm.scheduler().await?.files(folder);
    let mut names = Vec::new();
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str());
        names.push(name.with_context(|| format!("{} has no name", file.display()))?);
        scheduler = scheduler.depends(file);
    }
    let scheduler = scheduler.start().await?;
    let mut sorted = scheduler.map(names.iter().map(|name| sort((*name).to_owned())));
    for name in &names {
        let lines = sorted.next().await.context("there is one for each")??;
        say!("{name}: {lines} lines are sorted");
    }
    clerk.join().await?;
    scheduler.close().await?;
    Ok(())
}
