//! Getting into a network, and finding a node there.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use coros::Context;
use coros::net::{
    Builder, ConnectError, HostPort, IdentityError, Location, Node, NodeCertificate, NodeError,
    NodeId, PeerEvent,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::flags::member::Member;
use crate::flags::network::{Around, Identity, Network, Target};
use crate::log;
use crate::neighbours;
use crate::terminal::{one_line, say};

/// How long a name is waited for.
const FIND: Duration = Duration::from_secs(5);
/// When nothing more has been heard of anybody for so long, no other of that name is expected.
const SETTLED: Duration = Duration::from_millis(500);

/// Whether a node cannot be called what it was told to be, which does not mend itself.
pub(crate) fn is_named_wrongly(error: &NodeError) -> bool {
    use IdentityError::{Name, Network, OtherName};
    matches!(
        error,
        NodeError::Identity(Network(_) | Name(_) | OtherName { .. })
    )
}

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

/// A node of one who is part of its network for long, with a folder of its own, and the name it has on this machine unless
/// told.
pub(crate) fn long_lived(
    member: &Member,
    dir: &Path,
    port: u16,
    host: &str,
) -> anyhow::Result<Builder> {
    let network = member.network();
    let mut builder = builder(&network.identity)?
        .listen(member.listen(port))
        .discover(member.discover);
    if member.name.is_none() && member.certificate.is_none() && !host.is_empty() {
        builder = builder.name(host);
    }
    for peer in &member.peer {
        builder = builder.peer(peer);
    }
    let builder = neighbours::looked_for(builder, dir);
    Ok(say_who_is_not_linked(builder, !member.peer.is_empty()))
}

/// Starts a node that says goodbye to its peers at Ctrl-C too.
pub(crate) async fn start(builder: Builder) -> anyhow::Result<Node> {
    let node = builder.build().await?;
    let leaving = node.clone();
    let leave = move |me: Context<()>| async move {
        me.terminating().await;
        leaving.close().await;
    };
    // It ends with the program.
    drop(coros::build().daemon().spawn(leave));
    Ok(node)
}

/// Says which peers are refused, and which of those that were asked for cannot be reached, unless the
/// log does.
pub(crate) fn say_who_is_not_linked(builder: Builder, asked_for: bool) -> Builder {
    if log::tells_of_peers() {
        return builder;
    }
    builder.on_peer_event(move |event| match event {
        PeerEvent::Refused(from, error) => say(&format!("{from} was refused: {error}")),
        // Of one that is found, one endpoint of several may lead nowhere.
        PeerEvent::Unreachable(_, why) | PeerEvent::NotFound(_, why) if asked_for => {
            say(&format!("trying on: {}", one_line(&why)));
        }
        _ => {}
    })
}

/// A node that will be a member, so that it learns of those that the ones around it know: it listens
/// where these can dial it.
pub(crate) async fn member(network: &Network) -> anyhow::Result<Builder> {
    let Network { around, identity } = network;
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

/// Links with those around, which tell of the others. One that is there is enough. Gives those that were
/// given and are there.
pub(crate) async fn join(
    node: &Node,
    around: &Around,
    hint: &str,
) -> anyhow::Result<Vec<Location>> {
    let mut joined = Vec::new();
    let mut failed = Vec::new();
    for peer in &around.peer {
        match connect(node, peer, hint).await {
            Ok(location) => joined.push(location),
            Err(error) => failed.push(error),
        }
    }
    // Those that are found come by themselves.
    let alone = joined.is_empty() && !around.discover;
    let last = alone.then(|| failed.pop()).flatten();
    for error in failed {
        say(&format!("{error:#}"));
    }
    last.map_or(Ok(joined), Err)
}

/// Who has been there since the start, and if lost, why.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<BTreeMap<NodeId, Standing>>>);

type Standing = (Location, Option<Arc<str>>);

impl Seen {
    pub(crate) fn watch(node: &Node) -> Self {
        let all = Seen::default();
        let seen = all.clone();
        node.on_peer_event(move |event| {
            let mut peers = seen.lock();
            match event {
                PeerEvent::Joined(peer) | PeerEvent::Returned(peer) => {
                    peers.insert(peer.node, (peer, None));
                }
                PeerEvent::Lost(peer, why) => {
                    peers.insert(peer.node, (peer, Some(why)));
                }
                PeerEvent::Left(peer) => {
                    peers.remove(&peer.node);
                }
                _ => {}
            }
        });
        all
    }

    pub(crate) fn all(&self) -> Vec<Standing> {
        self.lock().values().cloned().collect()
    }

    /// One of that name that is lost, and why.
    fn lost(&self, name: &str) -> Option<(Location, Arc<str>)> {
        let mut all = self.all().into_iter();
        all.find_map(|(peer, lost)| Some((peer, lost?)).filter(|(peer, _)| &*peer.name == name))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    target: &'a Target,
    network: &'a Network,
    /// What to ask whoever finds nobody there.
    hint: &'static str,
}

impl<'a> Way<'a> {
    pub(crate) fn to(target: &'a Target, network: &'a Network, hint: &'static str) -> Self {
        Way {
            target,
            network,
            hint,
        }
    }

    /// A node that can find it.
    pub(crate) async fn builder(&self) -> anyhow::Result<Builder> {
        let Network { around, identity } = self.network;
        match self.target {
            Target::At(_) => Ok(builder(identity)?.no_listen()),
            Target::Named(name) if around.peer.is_empty() && !around.discover => bail!(
                "nobody can be asked where {name:?} is: give HOST:PORT in its place, a --peer, or --discover"
            ),
            Target::Named(_) => member(self.network).await,
        }
    }

    pub(crate) async fn find(&self, node: &Node) -> anyhow::Result<Location> {
        match self.target {
            Target::At(peer) => connect(node, peer, self.hint).await,
            Target::Named(name) => self.find_named(node, name).await,
        }
    }

    async fn find_named(&self, node: &Node, name: &str) -> anyhow::Result<Location> {
        let around = &self.network.around;
        let unreachable = Unreachable::watch(node);
        let seen = Seen::watch(node);
        let (heard, mut news) = watch::channel(());
        node.on_peer_event(move |_| heard.send_replace(()));
        let given = join(node, around, self.hint).await?;
        // Of several, the one that was given by its endpoint is meant.
        if let Some(one) = only(name, given)? {
            return Ok(one);
        }
        let deadline = Instant::now() + FIND;
        let mut known = None;
        loop {
            let settled = match known {
                Some(_) => deadline.min(Instant::now() + SETTLED),
                None => deadline,
            };
            let changed = matches!(timeout_at(settled, news.changed()).await, Ok(Ok(())));
            known = only(name, node.peers())?;
            match known {
                _ if changed => {}
                Some(one) => return Ok(one),
                None => break,
            }
        }
        if let Some((peer, why)) = seen.lost(name) {
            bail!("{peer} is lost: {why}");
        }
        let known = match around.peer.is_empty() {
            true => "those that are found on the local network: does it --discover?",
            false => "those that the --peer know: check the name",
        };
        unreachable.say();
        bail!("no node is called {name:?} among {known}");
    }
}

/// The one of that name.
fn only(name: &str, mut nodes: Vec<Location>) -> anyhow::Result<Option<Location>> {
    nodes.retain(|node| &*node.name == name);
    nodes.sort_by_key(|node| node.node);
    nodes.dedup_by_key(|node| node.node);
    if nodes.len() > 1 {
        let endpoints = nodes.iter().map(|node| match node.endpoint {
            Some(endpoint) => endpoint.to_string(),
            None => "one that listens nowhere".into(),
        });
        let mut endpoints: Vec<_> = endpoints.collect();
        endpoints.sort();
        bail!(
            "{} nodes are called {name:?}: {}; give HOST:PORT in place of the name",
            nodes.len(),
            endpoints.join(" and ")
        );
    }
    Ok(nodes.pop())
}

async fn look_up(peer: &HostPort) -> anyhow::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((peer.host(), peer.port())).await;
    let found = found.with_context(|| format!("cannot find the host {:?}", peer.host()))?;
    Ok(found.collect())
}

/// Links with whoever listens there; of several addresses of a host, with the first that answers.
async fn connect(node: &Node, peer: &HostPort, hint: &str) -> anyhow::Result<Location> {
    let mut error = None;
    for endpoint in look_up(peer).await? {
        match node.connect(endpoint).await {
            Ok(location) => return Ok(location),
            Err(failed) => error = Some(failed),
        }
    }
    match error {
        Some(ConnectError::Unreachable { endpoint, why }) => {
            bail!("cannot reach {endpoint}: {why}; {hint}, and listen on this port?")
        }
        Some(error) => Err(error.into()),
        None => bail!("{peer} has no address"),
    }
}

#[cfg(test)]
mod tests {
    use coros::net::sim::SimNetwork;

    use super::*;

    /// Nodes of these names, each linked with the first.
    async fn nodes<const N: usize>(network: &SimNetwork, names: [&str; N]) -> [Node; N] {
        let mut nodes = Vec::new();
        for name in names {
            let node = network.host(name).builder().build().await.unwrap();
            if let Some(first) = nodes.first() {
                node.connect(endpoint(first)).await.unwrap();
            }
            nodes.push(node);
        }
        nodes.try_into().expect("as many")
    }

    fn endpoint(node: &Node) -> SocketAddr {
        node.location().endpoint.expect("it listens")
    }

    async fn find(node: &Node, name: &str, peers: &[&Node]) -> anyhow::Result<Location> {
        let target = Target::Named(name.into());
        let peer = peers.iter().map(|peer| endpoint(peer).to_string());
        let network = Network {
            around: Around {
                peer: peer.map(|peer| peer.parse().unwrap()).collect(),
                discover: false,
            },
            identity: Identity {
                name: None,
                network: "default".into(),
                certificate: None,
            },
        };
        let way = Way::to(&target, &network, "is it there");
        way.find(node).await
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_of_one_name_the_one_whose_endpoint_is_given_is_meant() {
        let network = SimNetwork::new(1);
        let [me, farm, one, other] = nodes(&network, ["me", "farm", "desk", "desk"]).await;
        while me.peers().len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for given in [&one, &other] {
            let found = find(&me, "desk", &[&farm, given]).await.unwrap();
            assert_eq!(found, given.location());
        }
        let [a, b] = [endpoint(&one), endpoint(&other)];
        let says = format!(
            "2 nodes are called \"desk\": {} and {}; give HOST:PORT in place of the name",
            a.min(b),
            a.max(b)
        );
        for ambiguous in [&[&farm][..], &[&one, &other]] {
            let error = find(&me, "desk", ambiguous).await.unwrap_err();
            assert_eq!(error.to_string(), says);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_lost_meanwhile_is_told_of_as_such() {
        let network = SimNetwork::new(1);
        let [me, desk, farm] = nodes(&network, ["me", "desk", "farm"]).await;
        let lost = farm.location();
        let finding = tokio::spawn(async move { find(&me, "farm", &[&desk]).await });
        // While it looks whether there is another one of that name.
        tokio::time::sleep(SETTLED / 2).await;
        network.host("farm").kill();
        let error = finding.await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{lost} is lost: ")), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_is_heard_of_need_not_be_the_only_one() {
        let network = SimNetwork::new(1);
        let [me, farm, one] = nodes(&network, ["me", "farm", "desk"]).await;
        let later = network.host("desk").builder();
        let finding = tokio::spawn({
            let (me, farm) = (me.clone(), farm.clone());
            async move { find(&me, "desk", &[&farm]).await }
        });
        while !me.peers().contains(&one.location()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let later = later.build().await.unwrap();
        later.connect(endpoint(&me)).await.unwrap();
        let error = finding.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("2 nodes"), "{error}");
        later.close().await;
        // Now there is but one.
        let found = find(&me, "desk", &[&farm]).await.unwrap();
        assert_eq!(found, one.location());
    }
}
