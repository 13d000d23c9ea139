//! Getting to a node of which one knows `HOST:PORT`, which is an argument of type [`HostPort`].

use anyhow::Context as _;
use coros::Node;
use coros::net::{HostPort, Location};

/// Links with whoever listens there; if the host has several addresses, with the first that answers.
pub(crate) async fn dial(node: &Node, peer: &HostPort) -> anyhow::Result<Location> {
    let found = tokio::net::lookup_host((peer.host(), peer.port())).await;
    let found = found.with_context(|| format!("cannot find the host {:?}", peer.host()))?;
    let mut failed = None;
    for endpoint in found {
        match node.connect(endpoint).await {
            Ok(server) => return Ok(server),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => anyhow::bail!("{peer} has no address"),
    }
}
