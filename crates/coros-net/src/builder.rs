//! Starting a node.

use std::fmt;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::Location;

use crate::Secret;
use crate::discovery::{
    self, Dns, File, Fixed, HostPort, Multicast, Resolve, Source, SystemResolver,
};
use crate::events::{self, Events, PeerEvent, Subscriber};
use crate::files::{self, Folder};
use crate::greeting;
use crate::identity::{Authority, Credentials, DEFAULT_NETWORK, NodeCertificate};
use crate::membership;
use crate::names::gossip;
use crate::node::{Config, Inner, Node, NodeError, Start};
use crate::pending::Place;
use crate::session::Timing;
use crate::tcp::TcpTransport;
use crate::tls::Tls;
use crate::transport::{BoxListener, BoxStream, Transport};

/// How long the listener rests when the system is out of sockets.
const REST: Duration = Duration::from_millis(100);

/// Starts a [`Node`]. Made by [`Node::builder`].
#[derive(Debug)]
#[must_use = "nothing starts before `build`"]
pub struct Builder {
    name: Option<String>,
    network: Option<String>,
    listen: Option<SocketAddr>,
    advertise: Option<SocketAddr>,
    transport: Arc<dyn Transport>,
    trust: Trust,
    config: Config,
    heartbeat: Option<Duration>,
    folder: Option<Folder>,
    member: bool,
    membership: membership::Settings,
    peers: Vec<Peers>,
    resolver: Arc<dyn Resolve>,
    discover: bool,
    refusing: bool,
    subscribers: Subscribers,
}

/// Who is told of peers from the start.
#[derive(Default)]
struct Subscribers(Vec<Subscriber>);

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscribers({})", self.0.len())
    }
}

/// Where other nodes are to be found, as it was given.
#[derive(Debug)]
enum Peers {
    At(String),
    Named(String),
    In(PathBuf),
}

#[derive(Debug)]
enum Trust {
    OfUser,
    Secret(Secret),
    Authority(Authority),
    Certificate(NodeCertificate),
    Credentials(Credentials),
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            name: None,
            network: None,
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            advertise: None,
            transport: Arc::new(TcpTransport),
            trust: Trust::OfUser,
            config: Config {
                timing: Timing::default(),
                handshake: Duration::from_secs(5),
                pending: 256,
                outbox: 64 << 20,
            },
            heartbeat: None,
            folder: None,
            member: true,
            membership: membership::Settings::default(),
            peers: Vec::new(),
            resolver: Arc::new(SystemResolver),
            discover: false,
            refusing: false,
            subscribers: Subscribers::default(),
        }
    }
}

impl Builder {
    /// What people see; by default that of the [certificate](Builder::certificate), or the
    /// program's name and process id. Names need not differ.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The network to join, `default` unless given. An authority, a certificate and credentials
    /// name their own.
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = Some(network.into());
        self
    }

    /// Where to listen; by default on any free port of the loopback interface.
    pub fn listen(mut self, endpoint: SocketAddr) -> Self {
        self.listen = Some(endpoint);
        self
    }

    /// Listens nowhere: the node can dial others, and be reached over the links it has. When one of
    /// those breaks it makes another, and loses nothing, but nobody can find out that its process is
    /// no more: peers know of its death only when their [`grace`](Builder::grace) is over.
    pub fn no_listen(mut self) -> Self {
        self.listen = None;
        self
    }

    /// Where others are told to dial, when it is not where the node listens: behind address
    /// translation or in a container.
    ///
    /// By default the listener's address; for `0.0.0.0` and `::` that of the interface which
    /// leads outward. Port 0 stands for the one where it listens.
    pub fn advertise(mut self, endpoint: SocketAddr) -> Self {
        self.advertise = Some(endpoint);
        self
    }

    /// What carries the bytes, [`TcpTransport`] unless given. Links are TLS on whatever it is.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Arc::new(transport);
        self
    }

    /// The secret that the nodes of the network share; by default [`Secret::of_user`].
    pub fn secret(mut self, secret: Secret) -> Self {
        self.trust = Trust::Secret(secret);
        self
    }

    /// The authority that vouches for the nodes of the network.
    pub fn authority(mut self, authority: Authority) -> Self {
        self.trust = Trust::Authority(authority);
        self
    }

    /// A certificate for this node, from an authority that is somebody's own. Its links end when it
    /// expires, and there are no others. See
    /// [`Authority`] for how to come by one.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_net::{Node, NodeCertificate};
    ///
    /// let certificate = NodeCertificate::load("/etc/coros/desk")?;
    /// let node = Node::builder().certificate(certificate).build().await?;
    /// # Ok(()) }
    /// ```
    pub fn certificate(mut self, certificate: NodeCertificate) -> Self {
        self.trust = Trust::Certificate(certificate);
        self
    }

    /// Ready-made credentials: they fix the node's name and launch id, so they are for one start
    /// of one node.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.trust = Trust::Credentials(credentials);
        self
    }

    /// How long a peer may be silent before it counts as lost, 2 s by default. Nodes that have
    /// nothing to say say so twice in that time, by their own setting: set it alike on all, or
    /// [`heartbeat`](Builder::heartbeat) on those that are more patient than their peers.
    pub fn silence(mut self, limit: Duration) -> Self {
        self.config.timing.silence = limit;
        self
    }

    /// After how long a node that has nothing to say says so: half of
    /// [`silence`](Builder::silence) unless given.
    ///
    /// ```
    /// # use std::time::Duration;
    /// // Bears with peers that stand still for half a minute, and satisfies those that bear with
    /// // two seconds.
    /// let builder = coros_net::Node::builder()
    ///     .silence(Duration::from_secs(30))
    ///     .heartbeat(Duration::from_secs(1));
    /// ```
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// How long what is under way to a peer waits for a link that has broken to be made again, 5 s
    /// by default. Within it nothing is lost and nothing comes twice; after it, and with zero at
    /// once, all that waits for the peer ends with `Disconnected`. So it does at once when it is
    /// clear that the peer's process is no more: its connection was closed, and nobody listens
    /// where it did. (Where nobody was found to listen before, it may have said a wrong endpoint: then
    /// it has a second to dial by itself.)
    ///
    /// A peer that [listens nowhere](Builder::no_listen) cannot be asked. Whether its process has
    /// died or only its connection was reset, on a proxy or by a router, nobody can tell, so it has
    /// the whole of this time to dial again. Shorten it on a node that has to know sooner of the
    /// death of such clients than it wants them to survive a reset.
    ///
    /// What is under way when a link breaks is kept in memory, as is what is sent meanwhile: see
    /// [`outbox`](Builder::outbox).
    pub fn grace(mut self, limit: Duration) -> Self {
        self.config.timing.grace = limit;
        self
    }

    /// After how long a link that nobody uses is closed, 30 s by default: when neither side has
    /// anything but signs of life to say, and nobody waits for anything across it (a delivery, the
    /// answer to a question, the end of a coroutine). The session stays, and the next use makes
    /// another link. `Duration::MAX` keeps links. Members [look](Builder::probe) after each other, too,
    /// and a link that this needs before it would be closed stays.
    ///
    /// Both sides have to agree, and to be able to dial each other.
    ///
    /// Of peers that are no [members](Builder::member) 65,536 are kept in this way, at some 4 KiB
    /// each: when there is one more, the session whose link was closed first ends, and its peer
    /// counts as lost until the next use.
    pub fn idle(mut self, limit: Duration) -> Self {
        self.config.timing.idle = limit;
        self
    }

    /// How long a dial or a handshake may take, 5 s by default.
    pub fn handshake_limit(mut self, limit: Duration) -> Self {
        self.config.handshake = limit;
        self
    }

    /// How many bytes of messages may be kept for one peer, 64 MiB by default: those that wait to
    /// be written, and those that were written and that the peer has not acknowledged. `send` gives
    /// the message back when there are as many, `deliver` waits. So they do when 1 MiB has yet to be
    /// written to a link that is there.
    ///
    /// As many of each peer, and no less than 1 MiB, may wait here until coroutines take them out of
    /// their mailboxes. Peers know, and make the rest wait where it is.
    ///
    /// What a peer can make this node keep at most is four such accounts, each exceeded by one
    /// message: these two; answers to it that it does not read, as much as the first and no less than
    /// 1 MiB, beyond which its session ends; and 256 MiB that wait for one of the others, of which
    /// messages and deliveries of channels, all together, take up to 64 MiB (see
    /// [`Channel::send`](coros_core::Channel::send)), and
    /// [answers](coros_core::Reply::send) the rest. So it is 448 MiB by default. Beside it, handles
    /// are counted and not weighed: a million watches, for one.
    pub fn outbox(mut self, bytes: usize) -> Self {
        self.config.outbox = bytes;
        self
    }

    /// Lets peers send files to a folder of this machine, and more if it says so. Without one
    /// all files are refused.
    pub fn files(mut self, folder: Folder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Whether the node is a member of the network, true unless given: members find out who else
    /// there is, from one peer all the others, and whether they live. A node that
    /// [listens nowhere](Builder::no_listen) is none, since others could not look after it.
    ///
    /// One that is no member knows, and is known to, those that it has had a link with.
    pub fn member(mut self, member: bool) -> Self {
        self.member = member;
        self
    }

    /// How often a member looks after one of the others, 1 s by default, which also says how soon
    /// a member that died is known as such by all: with `n` members within
    /// `period * (3 * log10(n + 1) + 4)` after a link with it broke (at once when its process died,
    /// [`silence`](Builder::silence) and a tenth later when its machine did). A member has links all the time; the
    /// death of one without any is known within `period * (3 * log10(n + 1) + 46)`. `log10` counts as 1 at least.
    /// Set it alike on all.
    ///
    /// That two members cannot dial each other, behind two routers say, does no harm as long as others
    /// have links with both.
    ///
    /// Shorter ones find out sooner, and open more links: a member has, beside those that it uses,
    /// about two for each period in which an idle link stays open, however many members there are; where
    /// there are fewer, none of the links between them are idle.
    ///
    /// # Panics
    /// When it is shorter than 10 ms.
    pub fn probe(mut self, period: Duration) -> Self {
        let shortest = Duration::from_millis(10);
        assert!(
            period >= shortest,
            "{period:?} is too often to look after others"
        );
        self.membership.period = period;
        self
    }

    /// How many members the node remembers, present ones and those that are gone, 10,000 by
    /// default. It does not hear of more.
    pub fn member_limit(mut self, members: usize) -> Self {
        self.membership.limit = members;
        self
    }

    /// A node to have a link with: an endpoint, or `host:port`. It need not be there yet, and may go
    /// and come back: it is tried for as long as this node lives, at first each second, then ever more
    /// seldom down to twice a minute, and twice a minute where somebody is who refuses, as with another
    /// secret: what is wrong may be mended. One member is enough to learn of all others.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_net::Node;
    ///
    /// let node = Node::builder().peer("10.0.0.7:7000").peer("farm.example:7000").build().await?;
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "text and endpoints alike, as they are"
    )]
    pub fn peer(mut self, peer: impl ToString) -> Self {
        self.peers.push(Peers::At(peer.to_string()));
        self
    }

    /// Calls `f` as [`Node::on_peer_event`] does, from the start: nothing that happens while the node is
    /// built is missed, such as that nobody is where a [`peer`](Builder::peer) was given.
    pub fn on_peer_event(mut self, f: impl FnMut(PeerEvent) + Send + 'static) -> Self {
        self.subscribers.0.push(events::calling(f));
        self
    }

    /// Nodes to have links with: all addresses that a name has, with a port, `name:port`. It is
    /// looked up twice a minute. A headless service of Kubernetes is such a name.
    pub fn dns(mut self, name: impl Into<String>) -> Self {
        self.peers.push(Peers::Named(name.into()));
        self
    }

    /// Nodes to have links with: those in a file, one `host:port` a line, with comments from `#`
    /// on. When the file changes it is read again, within a second or so.
    ///
    /// ```text
    /// # the farm
    /// 10.0.0.7:7000
    /// farm.example:7000   # the new one
    /// ```
    pub fn peers_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.peers.push(Peers::In(path.into()));
        self
    }

    /// Whether to find nodes of the same network on the local network, and to be found by them, by
    /// multicast DNS; false unless given. Whoever is found is dialled as a given
    /// [`peer`](Builder::peer) is, if he refuses only every five minutes, and belongs to the network only if TLS
    /// says so, which may take 1 s.
    ///
    /// Strangers may announce nodes that there are not, or speak in the name of others. They delay no given peer, and no
    /// other node for long. Where N nodes are announced, that is N different launch ids at whatever addresses, and
    /// none of them answers, a node is dialled within N / 8 + 2 seconds, and for each address that strangers add to its
    /// own, or say in its place, as much later: 63 times at most. New ones that are announced without end come after it.
    /// 64 addresses of a node are dialled: who adds more may hide it, by chance, until it is announced again.
    /// Those that have gone before they were dialled count too, and N is about 3,000 at most: where more than about 2,000 are
    /// announced at a time all of them are forgotten, and looked for again after 5 s.
    ///
    /// The node is found by those who can dial it: with nothing given it
    /// [listens](Builder::listen) for this machine alone, on `0.0.0.0:0` for others too. (On `::1` nobody
    /// finds it where, as on Linux, the loopback interface has no multicast of version 6.) Whoever is on the local
    /// network can read what is announced: launch id, addresses and port, and a hash of the network's name,
    /// which anyone can compare with those of names that he guesses.
    ///
    /// Interfaces may come and go. Multicast is the machine's own, whatever
    /// [`transport`](Builder::transport) there is.
    ///
    /// ```no_run
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_net::Node;
    ///
    /// let node = Node::builder().listen(([0, 0, 0, 0], 0).into()).discover(true).build().await?;
    /// # Ok(()) }
    /// ```
    pub fn discover(mut self, discover: bool) -> Self {
        self.discover = discover;
        self
    }

    /// Who looks up the names of hosts, [`SystemResolver`] unless given.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Whether the node refuses peers that it does not know, as
    /// [`Node::refuse_new`](crate::Node::refuse_new) does later.
    pub fn refuse_new(mut self, refuse: bool) -> Self {
        self.refusing = refuse;
        self
    }

    /// Starts the node on the present tokio runtime.
    ///
    /// # Errors
    /// [`NodeError`]: no secret, a name that does not fit, a port that is taken.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    pub async fn build(mut self) -> Result<Node, NodeError> {
        let config = self.sane_config();
        let mut sources = self.sources()?;
        let (discover, refusing) = (self.discover, self.refusing);
        let subscribers = std::mem::take(&mut self.subscribers);
        let store = self.folder.take().map(Folder::open).transpose()?;
        let (listen, advertise) = (self.listen, self.advertise);
        let member = (self.member && listen.is_some()).then_some(self.membership);
        let transport = Arc::clone(&self.transport);
        let credentials = self.own_credentials().await?;
        let tls = Tls::new(&credentials).map_err(NodeError::Tls)?;
        let listener = match listen {
            Some(endpoint) => {
                let listening = transport.listen(endpoint).await;
                Some(listening.map_err(|why| NodeError::Listen { endpoint, why })?)
            }
            None => None,
        };
        let outward = listener.as_ref().map(|listener| listener.outward());
        let endpoint = advertise.map_or(outward, |mut endpoint| {
            if let (0, Some(outward)) = (endpoint.port(), outward) {
                endpoint.set_port(outward.port());
            }
            Some(endpoint)
        });
        let (events, dispatcher) = Events::new();
        for subscriber in subscribers.0 {
            events.subscribe(subscriber);
        }
        if discover {
            let listening = listener.as_ref().map(|listener| listener.endpoint());
            let (network, id) = (credentials.network(), credentials.node());
            let multicast = Multicast::start(network, id, listening);
            sources.push(Box::new(multicast.map_err(NodeError::Discover)?));
        }
        let node = Node::start(Inner::new(Start {
            location: Location {
                node: credentials.node(),
                name: credentials.name().into(),
                endpoint,
            },
            listening: listener.as_ref().map(|listener| listener.endpoint()),
            transport,
            network: credentials.network().to_owned(),
            tls,
            config,
            events,
            store,
            member,
        }));
        let inner = node.inner();
        gossip::open(inner);
        inner.tasks.spawn(dispatcher.run());
        inner.tasks.spawn(files::keep_clean(Arc::clone(inner)));
        if let Some(membership) = &inner.membership {
            membership.start(inner);
        }
        node.refuse_new(refusing);
        discovery::start(inner, sources);
        if let Some(listener) = listener {
            inner.tasks.spawn(listen_on(Arc::clone(inner), listener));
        }
        Ok(node)
    }

    /// Whether [`build`](Self::build) could start a node, as far as that can be told while nothing is made or started: it
    /// looks at names, keys, peers, and whether this machine has the address where the node is to listen. The port may
    /// be another's.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub async fn check(mut self) -> Result<(), NodeError> {
        self.sources()?;
        if let Some(endpoint) = self.listen {
            let any = SocketAddr::new(endpoint.ip(), 0);
            let listening = self.transport.listen(any).await;
            listening.map_err(|why| NodeError::Listen { endpoint, why })?;
        }
        if let Trust::OfUser = self.trust {
            // Whether a name fits depends on no secret.
            let secret = Secret::of_user_if_made()?;
            self.trust = Trust::Secret(secret.unwrap_or_else(Secret::random));
        }
        let credentials = self.own_credentials().await?;
        Tls::new(&credentials).map_err(NodeError::Tls)?;
        Ok(())
    }

    /// With times that a clock can count: "never" is a year, and nothing is done more often than
    /// a thousand times a second.
    fn sane_config(&self) -> Config {
        const SHORTEST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let sane = |time: Duration| time.clamp(SHORTEST, LONGEST);
        let Config { timing, .. } = self.config;
        let silence = sane(timing.silence);
        Config {
            timing: Timing {
                heartbeat: sane(self.heartbeat.unwrap_or(silence / 2)),
                silence,
                grace: timing.grace.min(LONGEST),
                idle: sane(timing.idle),
            },
            handshake: sane(self.config.handshake),
            ..self.config
        }
    }

    fn sources(&mut self) -> Result<Vec<Box<dyn Source>>, NodeError> {
        let mut sources = Vec::<Box<dyn Source>>::new();
        for peers in std::mem::take(&mut self.peers) {
            let resolver = Arc::clone(&self.resolver);
            let parse = |given: String| match given.parse::<HostPort>() {
                Ok(peer) => Ok(peer),
                Err(why) => Err(NodeError::Peer { given, why }),
            };
            sources.push(match peers {
                Peers::In(path) => Box::new(File::open(path, resolver)?),
                Peers::Named(name) => Box::new(Dns::new(parse(name)?, resolver)),
                Peers::At(peer) => {
                    let peer = parse(peer)?;
                    match peer.endpoint() {
                        Some(endpoint) => Box::new(Fixed::new(endpoint)),
                        None => Box::new(Dns::new(peer, resolver)),
                    }
                }
            });
        }
        Ok(sources)
    }

    async fn own_credentials(self) -> Result<Credentials, NodeError> {
        let network = self.network.unwrap_or_else(|| DEFAULT_NETWORK.to_owned());
        let derive = async |secret: Secret| {
            // Stretching a passphrase computes for a tenth of a second.
            let derived = move || Authority::derive(&secret, &network);
            match tokio::task::spawn_blocking(derived).await {
                Ok(authority) => authority,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        };
        let authority = match self.trust {
            Trust::Credentials(credentials) => return Ok(credentials),
            Trust::Certificate(certificate) => {
                let name = self.name.as_deref().unwrap_or(certificate.name());
                return Ok(certificate.issue(name)?);
            }
            Trust::Authority(authority) => authority,
            Trust::Secret(secret) => derive(secret).await?,
            Trust::OfUser => derive(Secret::of_user()?).await?,
        };
        let name = self.name.unwrap_or_else(default_name);
        Ok(authority.issue(&name)?)
    }
}

/// Accepts connections until the node leaves.
async fn listen_on(node: Arc<Inner>, mut listener: BoxListener) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = node.leaving.cancelled() => return,
            accepted = poll_fn(|cx| listener.poll_accept(cx)) => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let place = node.pending.enter(from.ip(), node.config.pending);
                let handshake = handshake(Arc::clone(&node), stream, from, place);
                node.tasks.spawn(handshake);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

async fn handshake(node: Arc<Inner>, stream: BoxStream, from: SocketAddr, place: Place) {
    let leaving = node.leaving.clone();
    tokio::select! {
        biased;
        () = leaving.cancelled() => {}
        () = place.lost() => tracing::debug!(%from, "too many connections without a handshake"),
        () = greeting::accept(node, stream, from) => {}
    }
}

fn default_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem());
    let program = program.map_or("node".into(), |stem| stem.to_string_lossy());
    format!("{program}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::Part;

    #[test]
    fn no_time_is_too_long_or_too_short_for_the_clock() {
        let given = |time| {
            let builder = Builder::default().silence(time).grace(time).idle(time);
            builder.handshake_limit(time).sane_config()
        };
        let (never, at_once) = (given(Duration::MAX), given(Duration::ZERO));
        let year = Duration::from_secs(365 * 24 * 60 * 60);
        let Timing {
            heartbeat,
            silence,
            grace,
            idle,
        } = never.timing;
        assert_eq!((heartbeat, silence), (year / 2, year));
        assert_eq!((grace, idle, never.handshake), (year, year, year));
        let ms = Duration::from_millis(1);
        let Timing {
            heartbeat,
            silence,
            grace,
            idle,
        } = at_once.timing;
        assert_eq!((heartbeat, silence, idle), (ms, ms, ms));
        assert_eq!((grace, at_once.handshake), (Duration::ZERO, ms));
    }

    /// A link may be there before any task has run, and who is at its other end says so once.
    #[tokio::test]
    async fn a_node_hears_of_its_first_link_from_the_beginning() {
        let builder = Builder::default().secret(Secret::random());
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let node = builder.peer(peer).build().await.unwrap();
        let hears = || {
            let inner = node.inner();
            let parts = [Part::Membership, Part::Names].map(|part| inner.parts.hears(part));
            (parts, inner.events.taps())
        };
        let at_once = hears();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(at_once, hears());
        assert_eq!(at_once, ([true; 2], 3));
        node.close().await;
    }

    #[tokio::test]
    async fn what_cannot_be_built_is_told_without_building_it() {
        let builder = || Node::builder().secret(Secret::random());
        builder().check().await.unwrap();
        // Whoever looks need not be the one who is to listen there.
        let node = builder().build().await.unwrap();
        let endpoint = node.location().endpoint.unwrap();
        builder().listen(endpoint).check().await.unwrap();
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 0));
        for (wrong, says) in [
            (builder().name("a/../b"), "cannot name a node"),
            (builder().network(""), "network"),
            (builder().peer("farm"), "\"farm\" is no peer"),
            (builder().listen(nowhere), "cannot listen on 192.0.2.1:0"),
        ] {
            let error = wrong.check().await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_heartbeat_may_be_given_first() {
        let second = Duration::from_secs(1);
        let builder = Builder::default().heartbeat(second).silence(30 * second);
        assert_eq!(builder.sane_config().timing.heartbeat, second);
        let builder = Builder::default().silence(30 * second);
        assert_eq!(builder.sane_config().timing.heartbeat, 15 * second);
    }
}
