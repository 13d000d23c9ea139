//! `coros send`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use coros::net::{ConnectError, Location, Node, SendFile, Transferred};

use super::builder;
use super::progress::Progress;
use super::report::{Sent, SentAll};
use crate::flags::files::SendFlags;
use crate::terminal::{Name, say};

/// How long a name is waited for.
const FIND: Duration = Duration::from_secs(5);
/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether all files are there.
pub(super) async fn run(flags: SendFlags) -> anyhow::Result<bool> {
    let node = builder(&flags.identity)?.no_listen().build().await?;
    let sent = send_all(&node, &flags).await;
    node.close().await;
    sent
}

async fn send_all(node: &Node, flags: &SendFlags) -> anyhow::Result<bool> {
    let to = find(node, &flags.node, &flags.peer).await?;
    let begun = Instant::now();
    let mut all = SentAll::new(&to);
    for path in &flags.files {
        let name = name_there(path, flags.to.as_deref());
        let begun = Instant::now();
        let sent = send(node, &to, path, &name, flags.replace).await;
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
) -> Result<Transferred, String> {
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
    sent.map_err(|error| error.to_string())
}

/// Its own name, in the folder that was asked for.
fn name_there(path: &Path, folder: Option<&str>) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match folder.map(|folder| folder.trim_end_matches('/')) {
        Some(folder) => format!("{folder}/{name}"),
        None => name.into_owned(),
    }
}

/// The node that is to get the files.
async fn find(node: &Node, target: &str, peers: &[String]) -> anyhow::Result<Location> {
    if target.contains(':') {
        return connect(node, target).await;
    }
    if peers.is_empty() {
        bail!("nobody can be asked where {target:?} is: give HOST:PORT in its place, or a --peer");
    }
    let mut error = None;
    for peer in peers {
        match connect(node, peer).await {
            Ok(location) => tracing::debug!(%location, "asked"),
            Err(failed) => error = Some(failed),
        }
    }
    let deadline = Instant::now() + FIND;
    loop {
        let mut known = node.peers();
        known.retain(|peer| &*peer.name == target);
        match &known[..] {
            [] => {}
            [one] => return Ok(one.clone()),
            several => bail!(
                "{} nodes are called {target:?}, on {}: give HOST:PORT in place of the name",
                several.len(),
                endpoints(several)
            ),
        }
        if let Some(error) = error.take_if(|_| node.peers().is_empty()) {
            return Err(error);
        }
        if Instant::now() >= deadline {
            bail!("no node is called {target:?} among those that the --peer know: check the name");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn endpoints(nodes: &[Location]) -> String {
    let endpoints = nodes.iter().filter_map(|node| node.endpoint);
    let endpoints: Vec<_> = endpoints.map(|endpoint| endpoint.to_string()).collect();
    endpoints.join(" and ")
}

/// Links with whoever listens there; of several addresses of a host, with the first that answers.
async fn connect(node: &Node, target: &str) -> anyhow::Result<Location> {
    let found = tokio::net::lookup_host(target).await;
    let found: Vec<SocketAddr> = found
        .with_context(|| format!("cannot find the host of {target:?}: give HOST:PORT"))?
        .collect();
    let mut error = None;
    for endpoint in found {
        match node.connect(endpoint).await {
            Ok(location) => return Ok(location),
            Err(failed) => error = Some(failed),
        }
    }
    match error {
        // It says all that its sources say.
        Some(error @ ConnectError::Unreachable { .. }) => {
            bail!("{error}; does `coros receive` run there, and listen on this port?")
        }
        Some(error) => bail!("{error}"),
        None => bail!("{target:?} has no address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_in_another_folder() {
        let path = Path::new("/a/b c.txt");
        assert_eq!(name_there(path, None), "b c.txt");
        assert_eq!(name_there(path, Some("x/y")), "x/y/b c.txt");
        assert_eq!(name_there(path, Some("x/")), "x/b c.txt");
    }
}
