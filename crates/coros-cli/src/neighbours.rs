//! Who was on the network last, in a file of one's folder: whoever is started again finds the others by it though nobody
//! is where the command line says.
//!
//! It has where nodes and schedulers listen, one a line, and no clients, which come and go. It is written again when that
//! has changed, so that nothing stays in it that has gone while somebody is there. Others who belong to the network can
//! have any endpoint in it, though no more than [so many](MOST); who is there is found out by TLS as with all that are
//! given.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coros::cluster::daemon::Daemon;
use coros::cluster::service::Service;
use coros::net::{Builder, Node};

const FILE: &str = "peers";
/// One that is there is enough.
const MOST: usize = 64;
/// What is nothing else but that many endpoints is shorter.
const LONGEST: u64 = 1 << 13;
/// How often it is looked who is there: each is asked for among all.
const LOOK: Duration = Duration::from_secs(5);

/// A node that looks for those in the file of this folder, if there is one. One that is damaged is as good as none.
pub(crate) fn looked_for(builder: Builder, dir: &Path) -> Builder {
    let path = dir.join(FILE);
    match read(&path) {
        Some(_) => builder.peers_file(path),
        None => builder,
    }
}

/// Keeps the file of this folder as it should be, for as long as the node lives and this is polled.
pub(crate) async fn keep(node: &Node, dir: &Path) -> std::convert::Infallible {
    let path = dir.join(FILE);
    let mut written = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let there = there(node);
        // Whoever is alone now knows nobody better.
        if there.is_empty() || there == written {
            continue;
        }
        match write(path.clone(), there.clone()).await {
            Ok(()) => written = there,
            Err(error) => tracing::debug!(%error, "cannot write {}", path.display()),
        }
    }
}

/// Where nodes and schedulers listen.
fn there(node: &Node) -> BTreeSet<SocketAddr> {
    let peers = node.peers().into_iter();
    let last = peers.filter(|peer| Daemon::is_at(peer, node) || Service::is_at(peer, node));
    last.filter_map(|peer| peer.endpoint).take(MOST).collect()
}

/// As a whole or not at all.
async fn write(path: PathBuf, endpoints: BTreeSet<SocketAddr>) -> io::Result<()> {
    let lines = endpoints.iter().map(|endpoint| format!("{endpoint}\n"));
    let text: String = lines.collect();
    let write = move || {
        let new = path.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, &path)
    };
    tokio::task::spawn_blocking(write).await?
}

fn read(path: &Path) -> Option<Vec<SocketAddr>> {
    let length = path.metadata().ok()?.len();
    let text = (length <= LONGEST).then(|| std::fs::read_to_string(path))?;
    text.ok()?.lines().map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(read(&path), None);
        let endpoints = ["10.0.0.7:7341", "[::1]:9"].map(|it| it.parse().unwrap());
        write(path.clone(), endpoints.into()).await.unwrap();
        assert_eq!(read(&path), Some(endpoints.to_vec()));
        for text in ["10.0.0.7:73\n10.0", "farm:7341\n", &"\n".repeat(10_000)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
        let most = (0..MOST).map(|n| SocketAddr::from(([0xffff; 8], u16::MAX - n as u16)));
        write(path.clone(), most.collect()).await.unwrap();
        assert_eq!(read(&path).unwrap().len(), MOST);
    }
}
