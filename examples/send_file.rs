//! Files from one process to another: sent, fetched back, deleted.
//!
//! A node that has a `Folder` takes files from its peers, and lets them do with the files what the
//! folder allows. A coroutine of the server learns of each that has come.
//!
//!     cargo run --release --example send_file -- --serve /tmp/inbox
//!     cargo run --release --example send_file -- --to 127.0.0.1:8011 README.md

mod dial;
mod say;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use coros::net::{FetchFile, Folder, HostPort, Location, Received, SendFile};
use coros::{Context, Node};
use dial::dial;
use say::say;

/// Sends files to another process, or takes them.
#[derive(Parser)]
#[command(name = "send_file")]
struct Args {
    /// Take files into this folder, until Ctrl-C.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["to", "files"])]
    serve: Option<PathBuf>,

    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8011")]
    listen: SocketAddr,

    /// Send the files to the server that listens there.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "serve")]
    to: Option<HostPort>,

    /// What to send; no two with one name.
    #[arg(required_unless_present = "serve")]
    files: Vec<PathBuf>,

    /// Fetch each file back, into this folder.
    #[arg(long, value_name = "FOLDER")]
    back: Option<PathBuf>,

    /// Delete each file at the server in the end.
    #[arg(long)]
    delete: bool,
}

/// Says what has come.
async fn clerk(mut me: Context<Received>) {
    while let Some(file) = me.receive().await {
        let name = say::readable(file.name.as_bytes());
        say!(
            "{name} has come: {} bytes, {} of them now",
            file.size,
            file.moved
        );
    }
}

async fn serve(folder: &Path, listen: SocketAddr) -> anyhow::Result<()> {
    let clerk = coros::spawn(clerk);
    let to_clerk = clerk.address();
    let folder = Folder::new(folder)
        .largest(10 << 30)
        .allow_fetch()
        .allow_delete()
        // It has no bound, so it cannot be full, and it is there as long as the node is.
        .on_received(move |file| drop(to_clerk.send(file)));
    let node = Node::builder().listen(listen).files(folder).build().await?;
    say!(
        "listening on {}",
        node.listening_on().context("it does not listen")?
    );
    clerk.join().await?;
    Ok(())
}

/// What a file is called there.
fn name(path: &Path) -> anyhow::Result<&str> {
    let name = path.file_name().context("this is no name of a file")?;
    name.to_str().context("its name is not UTF-8")
}

/// No second file would replace the first.
fn names_differ(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut named = BTreeMap::new();
    for path in files {
        let name = name(path).with_context(|| format!("cannot send {}", path.display()))?;
        if let Some(other) = named.insert(name, path) {
            let [other, path] = [other, path].map(|it| it.display());
            anyhow::bail!("{other} and {path} would both be {name:?} there: rename one of them");
        }
    }
    Ok(())
}

async fn send(node: &Node, to: &Location, path: &Path, args: &Args) -> anyhow::Result<()> {
    let name = name(path)?;
    // Called after each piece; here only for the last one of a large file to tell.
    let mut pieces = 0;
    let options = SendFile::new().replace().progress(move |at| {
        pieces += 1;
        if at.done == at.total && pieces > 2 {
            say!("{} bytes in {} pieces", at.total, pieces - 1);
        }
    });
    let sent = node.send_file(to, path, options).await?;
    match sent.moved {
        _ if sent.already => say!("{name}: the same is there already"),
        moved if moved == sent.size => say!("{name}: sent {moved} bytes"),
        moved => say!("{name}: sent the last {moved} of {} bytes", sent.size),
    }
    if let Some(folder) = &args.back {
        let copy = folder.join(name);
        let fetched = node.fetch_file(to, name, &copy, FetchFile::new()).await?;
        say!(
            "{name}: fetched {} bytes into {}",
            fetched.moved,
            copy.display()
        );
    }
    if args.delete {
        node.delete_file(to, name).await?;
        say!("{name}: deleted there");
    }
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(folder) = &args.serve {
        return serve(folder, args.listen).await;
    }
    let to = args.to.as_ref().context("no address to send to")?;
    if let Err(error) = names_differ(&args.files) {
        let error = format!("{error:#}");
        Args::command()
            .error(ErrorKind::ValueValidation, error)
            .exit();
    }
    let node = Node::builder().no_listen().build().await?;
    let peer = dial(&node, to)
        .await
        .context("does `send_file --serve` run there?")?;
    for path in &args.files {
        let sent = send(&node, &peer, path, &args).await;
        sent.with_context(|| format!("cannot send {}", path.display()))?;
    }
    node.close().await;
    Ok(())
}
