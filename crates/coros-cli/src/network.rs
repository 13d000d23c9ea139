//! Getting into a network, and finding a node there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use coros::net::{Builder, ConnectError, Location, Node, NodeCertificate, PeerEvent};
use tokio::time::Instant;

use crate::flags::network::{Around, Identity};
use crate::terminal::{one_line, reason, say};

/// How long a name is waited for.
const FIND: Duration = Duration::from_secs(5);
/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// A node with that identity.
pub(crate) fn builder(identity: &Identity) -> anyhow::Result<Builder> {
    let mut builder = Node::builder();
    if let Some(name) = &identity.name {
        builder = builder.name(name);
    }
    Ok(match &identity.certificate {
        Some(folder) => builder.certificate(NodeCertificate::load(folder)?),
        None => builder.network(identity.network.as_str()),
    })
}

/// A node that will be a member, so that it learns of those that the ones around it know: it listens
/// where these can dial it.
pub(crate) async fn member(identity: &Identity, around: &Around) -> anyhow::Result<Builder> {
    // Those that are found may be on any machine.
    let ip = match around.discover {
        true => Ipv4Addr::UNSPECIFIED,
        false => Ipv4Addr::LOCALHOST,
    };
    let mut listen = SocketAddr::from((ip, 0));
    for peer in &around.peer {
        let found = look_up(peer).await?;
        if found.iter().any(|endpoint| !endpoint.ip().is_loopback()) {
            let has_v4 = found.iter().any(SocketAddr::is_ipv4);
            listen = match has_v4 || around.discover {
                true => (Ipv4Addr::UNSPECIFIED, 0).into(),
                false => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
        }
    }
    let builder = builder(identity)?.discover(around.discover);
    Ok(builder.listen(listen))
}

/// Links with those around, which tell of the others. One that is there is enough.
pub(crate) async fn join(node: &Node, around: &Around, hint: &str) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for peer in &around.peer {
        match connect(node, peer, hint).await {
            Ok(location) => tracing::debug!(%location, "asked"),
            Err(error) => failed.push(error),
        }
    }
    // Those that are found come by themselves.
    if failed.len() < around.peer.len() || around.discover {
        for error in failed {
            say(&reason(&error));
        }
        return Ok(());
    }
    match failed.pop() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Where others were found, and no link could be made; and why.
#[derive(Clone, Default)]
pub(crate) struct Unreachable(Arc<Mutex<BTreeMap<SocketAddr, Arc<str>>>>);

impl Unreachable {
    pub(crate) fn watch(node: &Node) -> Self {
        let all = Unreachable::default();
        let told = all.clone();
        node.on_peer_event(move |event| {
            if let PeerEvent::Unreachable(endpoint, why) = event {
                told.lock().insert(endpoint, why);
            }
        });
        all
    }

    /// Says a line for each.
    pub(crate) fn say(&self) {
        for why in self.lock().values() {
            say(&one_line(why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way to one node: an endpoint, or a name that those around know.
pub(crate) struct Way<'a> {
    target: &'a str,
    around: &'a Around,
    /// What to ask whoever finds nobody there.
    hint: &'static str,
}

impl<'a> Way<'a> {
    pub(crate) fn to(target: &'a str, around: &'a Around, hint: &'static str) -> Self {
        Way {
            target,
            around,
            hint,
        }
    }

    fn is_endpoint(&self) -> bool {
        self.target.contains(':')
    }

    /// A node that can find it.
    pub(crate) async fn builder(&self, identity: &Identity) -> anyhow::Result<Builder> {
        if self.is_endpoint() {
            return Ok(builder(identity)?.no_listen());
        }
        if self.around.peer.is_empty() && !self.around.discover {
            bail!(
                "nobody can be asked where {:?} is: give HOST:PORT in its place, a --peer, or --discover",
                self.target
            );
        }
        member(identity, self.around).await
    }

    pub(crate) async fn find(&self, node: &Node) -> anyhow::Result<Location> {
        let Way {
            target,
            around,
            hint,
        } = self;
        if self.is_endpoint() {
            return connect(node, target, hint).await;
        }
        let unreachable = Unreachable::watch(node);
        join(node, around, hint).await?;
        let deadline = Instant::now() + FIND;
        loop {
            let mut known = node.peers();
            known.retain(|peer| &*peer.name == *target);
            match &known[..] {
                [] => {}
                [one] => return Ok(one.clone()),
                several => bail!(
                    "{} nodes are called {target:?}, on {}: give HOST:PORT in place of the name",
                    several.len(),
                    endpoints(several)
                ),
            }
            if Instant::now() >= deadline {
                let known = match around.peer.is_empty() {
                    true => "those that are found on the local network: does it --discover?",
                    false => "those that the --peer know: check the name",
                };
                unreachable.say();
                bail!("no node is called {target:?} among {known}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn endpoints(nodes: &[Location]) -> String {
    let endpoints = nodes.iter().filter_map(|node| node.endpoint);
    let endpoints: Vec<_> = endpoints.map(|endpoint| endpoint.to_string()).collect();
    endpoints.join(" and ")
}

async fn look_up(target: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host(target).await;
    let found = found.with_context(|| {
        format!("cannot find the host of {target:?}: give HOST:PORT, or [ADDRESS]:PORT for IPv6")
    })?;
    Ok(found.collect())
}

/// Links with whoever listens there; of several addresses of a host, with the first that answers.
async fn connect(node: &Node, target: &str, hint: &str) -> anyhow::Result<Location> {
    let mut error = None;
    for endpoint in look_up(target).await? {
        match node.connect(endpoint).await {
            Ok(location) => return Ok(location),
            Err(failed) => error = Some(failed),
        }
    }
    match error {
        Some(ConnectError::Unreachable { endpoint, source }) => {
            bail!("cannot reach {endpoint}: {source}; {hint}, and listen on this port?")
        }
        // It says all that its sources say.
        Some(error) => bail!("{error}"),
        None => bail!("{target:?} has no address"),
    }
}
