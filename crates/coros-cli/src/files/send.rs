//! `coros send`.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use coros::net::{Location, Node, PeerEvent, Refusal, SendFile, SendFileError, Transferred};
use tokio::sync::watch;
use tokio::time::timeout;

use super::progress::Progress;
use super::report::{Sent, SentAll};
use crate::flags::files::SendFlags;
use crate::network::{self, Way};
use crate::terminal::{Name, say};

/// How much later than the end of its connections the goodbye of a node may come.
const GOODBYE: Duration = Duration::from_millis(200);

/// What each file is called there. No two have one name, where the second could only replace the
/// first.
pub(super) fn named(flags: &SendFlags) -> anyhow::Result<Vec<(&Path, String)>> {
    let mut files = Vec::new();
    let mut named = HashMap::new();
    for path in &flags.files {
        let name = name_there(path, flags.to.as_deref())?;
        if let Some(other) = named.insert(name.clone(), path) {
            bail!(
                "{} and {} would both be {name:?} there: send one of them with another --to",
                Name(other),
                Name(path)
            );
        }
        files.push((&**path, name));
    }
    Ok(files)
}

/// Whether all files are there.
pub(super) async fn run(flags: &SendFlags, files: Vec<(&Path, String)>) -> anyhow::Result<bool> {
    let way = Way::to(
        &flags.node,
        &flags.network,
        "does `coros receive` run there",
    );
    let node = network::start(way.builder().await?).await?;
    let sent = send_all(&node, &way, flags, files).await;
    node.close().await;
    sent
}

async fn send_all(
    node: &Node,
    way: &Way<'_>,
    flags: &SendFlags,
    files: Vec<(&Path, String)>,
) -> anyhow::Result<bool> {
    let to = way.find(node).await?;
    let begun = Instant::now();
    let mut all = SentAll::new(&to);
    let left = goodbye_of(node, &to);
    for (path, name) in files {
        let begun = Instant::now();
        let under_way = UnderWay(path);
        let sent = send(node, &to, path, &name, flags.replace).await;
        std::mem::forget(under_way);
        let sent = match sent {
            Ok(sent) => Ok(sent),
            Err(error) => Err(explain(&error, left.clone()).await),
        };
        let sent = Sent::new(path, name, sent, begun.elapsed());
        if let Some(error) = sent.error() {
            say(&format!("coros send: {}: {error}", Name(path)));
        }
        if !flags.json {
            sent.print()?;
        }
        all.add(sent);
    }
    all.took(begun.elapsed());
    if flags.json {
        all.print()?;
    }
    Ok(all.are_there())
}

async fn send(
    node: &Node,
    to: &Location,
    path: &Path,
    name: &str,
    replace: bool,
) -> Result<Transferred, SendFileError> {
    let progress = Progress::new(&Name(path).to_string());
    let told = progress.clone();
    let mut options = SendFile::new()
        .name(name)
        .progress(move |at| told.at(at.done, at.total));
    if replace {
        options = options.replace();
    }
    let sent = node.send_file(to, path, options).await;
    progress.finish();
    sent
}

/// Says what to do when it is dropped: at Ctrl-C, which drops all that runs.
struct UnderWay<'a>(&'a Path);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let path = Name(self.0);
        say(&format!(
            "coros send: interrupted while {path} was sent: the same command goes on from there"
        ));
    }
}

/// True when the receiver has left.
fn goodbye_of(node: &Node, to: &Location) -> watch::Receiver<bool> {
    let (leaves, left) = watch::channel(false);
    let to = to.node;
    node.on_peer_event(move |event| {
        if let PeerEvent::Left(peer) = event
            && peer.node == to
        {
            leaves.send_replace(true);
        }
    });
    left
}

/// Why a file was not sent. What to do is said in terms of this program.
async fn explain(error: &SendFileError, mut left: watch::Receiver<bool>) -> String {
    match error {
        // If the receiver said goodbye, that is why.
        SendFileError::Unreachable { name, peer, .. } | SendFileError::Lost { name, peer, .. }
            if matches!(
                timeout(GOODBYE, left.wait_for(|left| *left)).await,
                Ok(Ok(_))
            ) =>
        {
            format!(
                "cannot send {name:?} to {peer}: it has left, as `coros receive --once` does \
                 after one file"
            )
        }
        SendFileError::Refused {
            name,
            peer,
            why: Refusal::Exists,
        } => format!(
            "{peer} does not take {name:?}: a file with another content has that name; give \
             --replace to replace it, or another folder by --to"
        ),
        error => error.to_string(),
    }
}

/// Its own name, in the folder that was asked for.
fn name_there(path: &Path, folder: Option<&str>) -> anyhow::Result<String> {
    let Some(name) = path.file_name() else {
        bail!("{} is not a file: only files can be sent", Name(path));
    };
    let Some(name) = name.to_str() else {
        bail!(
            "the name of {} is not UTF-8, as names that travel have to be: rename it",
            Name(path)
        );
    };
    Ok(match folder.map(|folder| folder.trim_end_matches('/')) {
        Some(folder) => format!("{folder}/{name}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_in_another_folder() {
        let named = |folder| name_there(Path::new("/a/b c.txt"), folder).unwrap();
        assert_eq!(named(None), "b c.txt");
        assert_eq!(named(Some("x/y")), "x/y/b c.txt");
        assert_eq!(named(Some("x/")), "x/b c.txt");
    }
}
