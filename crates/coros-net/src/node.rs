//! A node: this process, or a part of it, on a network.

mod error;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use coros_core::Address;
use coros_core::remote::{self, CodecError, Exchange, Location, NodeId, RemoteId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::Builder;
use crate::carrier::Import;
use crate::dormancy::Dormant;
use crate::events::{self, Events, PeerEvent};
use crate::exports::Exports;
use crate::files::{Files, Store};
use crate::functions::{Functions, FunctionsInlet};
use crate::greeting;
use crate::membership;
use crate::names::Names;
use crate::parts::{Part, Parts};
use crate::peer::Peer;
use crate::pending::Pending;
use crate::rendezvous::Ticket;
use crate::scope::{self, Scope};
use crate::session::Timing;
use crate::tls::Tls;
use crate::transport::Transport;

pub use self::error::{ConnectError, NodeError};

/// How long a link that closes may take to write what is queued, and [`Node::close`] waits for.
pub(crate) const FLUSH: Duration = Duration::from_secs(2);

/// How long a node that leaves tries to reach each of a few members to tell, if it has no link.
const TELL: Duration = Duration::from_millis(500);

/// A process's place on a network: other nodes reach the coroutines whose addresses it has given
/// them, and it theirs.
///
/// Links to other nodes open at first use, or by [`connect`](Node::connect), and are encrypted
/// and authenticated both ways. A process may have several nodes. Clones are the same node; it
/// closes by [`close`](Node::close), or when the last clone is dropped.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use coros_net::{Node, Secret};
///
/// let secret = Secret::random();
/// let desk = Node::builder().name("desk").secret(secret.clone()).build().await?;
/// let farm = Node::builder().name("farm").secret(secret).build().await?;
///
/// let peer = desk.connect(farm.location().endpoint.unwrap()).await?;
/// assert_eq!(&*peer.name, "farm");
/// desk.close().await;
/// farm.close().await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node {
    handle: Arc<NodeHandle>,
}

struct NodeHandle {
    inner: Arc<Inner>,
    exchange: Arc<dyn Exchange>,
}

/// What the node's tasks and peers share.
pub(crate) struct Inner {
    pub(crate) location: Location,
    pub(crate) listening: Option<SocketAddr>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) network: String,
    pub(crate) tls: Tls,
    pub(crate) config: Config,
    pub(crate) exports: Arc<Exports>,
    pub(crate) parts: Parts,
    pub(crate) functions: Arc<Functions>,
    pub(crate) events: Events,
    pub(crate) files: Files,
    pub(crate) names: Names,
    /// Connections that have not shown yet who they are.
    pub(crate) pending: Pending,
    /// Peers that are kept though there is no link.
    pub(crate) dormant: Dormant,
    /// Its place among the members, if it is one.
    pub(crate) membership: Option<Arc<membership::Shell>>,
    pub(crate) runtime: Handle,
    /// Readers and writers.
    pub(crate) links: TaskTracker,
    /// All other tasks.
    pub(crate) tasks: TaskTracker,
    /// The node makes no more links.
    pub(crate) leaving: CancellationToken,
    /// The node's tasks end.
    pub(crate) stop: CancellationToken,
    closing: AtomicBool,
    /// Who is not new, when new peers are refused.
    refusing: Mutex<Option<HashSet<NodeId>>>,
    tickets: AtomicU64,
    peers: Mutex<BTreeMap<NodeId, Weak<Peer>>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) timing: Timing,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// How many connections may be unauthenticated at a time.
    pub(crate) pending: usize,
    /// How many bytes of messages may wait for one peer.
    pub(crate) outbox: usize,
}

impl Node {
    /// What a node needs to know before it starts; nothing, if the defaults fit.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let exchange = Arc::new(Scope {
            node: Arc::clone(&inner),
            peer: None,
            session: None,
        });
        Node {
            handle: Arc::new(NodeHandle { inner, exchange }),
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    /// Who this node is and where it listens.
    #[must_use]
    pub fn location(&self) -> Location {
        self.inner().location.clone()
    }

    /// Where this node listens on this machine; others may be told of
    /// [another](crate::Builder::advertise) endpoint.
    #[must_use]
    pub fn listening_on(&self) -> Option<SocketAddr> {
        self.inner().listening
    }

    /// Links with the node that listens at `endpoint`; the link there is already, if there is one.
    ///
    /// Gives up after the handshake's time limit, 5 s by default.
    ///
    /// # Errors
    /// [`ConnectError`]: nobody listens there, not a coros node, another secret, …
    ///
    /// # Cancel safety
    /// Dropping the future gives up the attempt.
    pub async fn connect(&self, endpoint: SocketAddr) -> Result<Location, ConnectError> {
        greeting::connect(self.inner(), endpoint, Duration::MAX).await
    }

    /// The nodes that are there, as far as this one knows: those that it has a link with, or a
    /// session whose link was idle, and those that others have told of.
    ///
    /// ```
    /// # async fn list(node: coros_net::Node) {
    /// for peer in node.peers() {
    ///     let link = if node.links().contains(&peer) { "a link" } else { "no link" };
    ///     println!("{peer}: {link}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn peers(&self) -> Vec<Location> {
        self.inner().events.present()
    }

    /// The nodes that this one has a link with now. Links open at first use and close when they
    /// are idle, so these are mostly a few of the [`peers`](Node::peers).
    #[must_use]
    pub fn links(&self) -> Vec<Location> {
        let peers = self.inner().all_peers();
        peers.iter().filter_map(|peer| peer.linked()).collect()
    }

    /// Ends the session with a peer: says goodbye after what is queued for it. Whatever waits for it
    /// ends with `Disconnected`, and so does what it waits for here. False if there is none. No link
    /// is made for the goodbye: a peer whose link was idle and is closed finds out when it next
    /// wants something. What is done after this and before the session has ended reaches nobody: messages
    /// are given back, and [`terminate`](coros_core::Address::terminate) is lost.
    ///
    /// The peer is not kept away: the next use of an address, by either, or the membership, makes a
    /// new session. One that is a member stays one of the [`peers`](Node::peers), and its names are found as
    /// before; any other has [left](PeerEvent::Left). [`refuse_new`](Node::refuse_new) keeps strangers away.
    pub fn close_peer(&self, peer: &NodeId) -> bool {
        self.inner().close_peer(*peer)
    }

    /// Refuses, from now on, or no more, links and files of peers that are not among the
    /// [`peers`](Node::peers) now. Those that are stay, come and go as before, also after they were
    /// lost, and this node may still make links itself; whom it has one with is not new. Of members
    /// that come later it takes no notice, whoever tells of them. Whoever is refused is told why.
    pub fn refuse_new(&self, refuse: bool) {
        self.inner().refuse_new(refuse);
    }

    /// Calls `f` for each peer there is, as [`PeerEvent::Joined`], and then for each change, in
    /// order, until the node closes.
    ///
    /// `f` runs on a task of the node that calls all subscribers, one after the other: it must not block. While
    /// it does nobody is told of anything, and what happens queues up; when much does, what undoes itself, as
    /// a peer that was lost and has returned, is left out.
    pub fn on_peer_event(&self, f: impl FnMut(PeerEvent) + Send + 'static) {
        self.inner().events.subscribe(events::calling(f));
    }

    /// Sends each peer there is, as [`PeerEvent::Joined`], and then each change to a coroutine, in
    /// order, until the node closes, the coroutine ends, or the session with its node does.
    ///
    /// `wrap` makes the event one of the coroutine's messages. A bounded mailbox that is full
    /// misses events. The subscription counts as an address: it keeps the mailbox open.
    pub fn peer_events<M: Send + 'static>(
        &self,
        address: Address<M>,
        mut wrap: impl FnMut(PeerEvent) -> M + Send + 'static,
    ) {
        let coroutine = address.clone();
        let subscription = self.inner().events.subscribe(Box::new(move |event| {
            address.send(wrap(event)).is_ok() || !address.is_closed()
        }));
        coroutine.on_exit(move |_| subscription.end());
    }

    /// Encodes a value that may have addresses in it, to be taken to another node by other means
    /// than a message.
    ///
    /// The coroutines whose addresses are in it can be reached by peers until they end, or the node
    /// closes, and those of other nodes as long as the session with their node lasts: until then
    /// they count as having an address, since nobody knows who reads it.
    /// [`encode_for`](Node::encode_for) ends that, for coroutines of this process, with the session
    /// of the peer it is meant for.
    ///
    /// # Errors
    /// When the value's `Serialize` fails.
    pub fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        encode(&self.handle.exchange, value)
    }

    /// Encodes a value for one peer; see [`encode`](Node::encode).
    ///
    /// # Errors
    /// When the value's `Serialize` fails.
    pub fn encode_for<T: Serialize>(&self, peer: NodeId, value: &T) -> Result<Vec<u8>, CodecError> {
        let scope = Scope {
            node: Arc::clone(self.inner()),
            peer: Some(peer),
            session: None,
        };
        encode(&(Arc::new(scope) as Arc<dyn Exchange>), value)
    }

    /// Decodes what [`encode`](Node::encode) wrote, here or on another node of the network:
    /// addresses in it work.
    ///
    /// # Errors
    /// When the bytes are not exactly one `T`.
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        remote::with_exchange(&self.handle.exchange, || remote::decode(bytes))
    }

    /// Leaves the network: says goodbye to all peers after what is queued for them, and waits, at
    /// most two seconds, until that is written; then ends all tasks of the node. Members without a
    /// link hear of it from those that have one. The `Deserialize` of a message that does not return is
    /// waited for for two seconds more, and so is a callback for peer events; what still runs then is
    /// left behind, with a warning in the log.
    ///
    /// Whatever waits for a peer ends with `Disconnected`. Closing twice is closing once.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the node goes on closing.
    pub async fn close(&self) {
        let inner = Arc::clone(self.inner());
        let untold = inner.untold();
        if untold.is_empty() {
            inner.begin_close();
        }
        let runtime = inner.runtime.clone();
        let closing = async move {
            inner.find_someone_to_tell(untold).await;
            inner.begin_close();
            inner.finish_close().await;
        };
        // An error says that the runtime has shut down, and the tasks with it.
        let _ = runtime.spawn(closing).await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.inner().location)
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if self.inner.begin_close() {
            let finish = Arc::clone(&self.inner).finish_close();
            drop(self.inner.runtime.spawn(finish));
        }
    }
}

/// What a node starts with.
pub(crate) struct Start {
    pub(crate) location: Location,
    pub(crate) listening: Option<SocketAddr>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) network: String,
    pub(crate) tls: Tls,
    pub(crate) config: Config,
    pub(crate) events: Events,
    /// Where peers put files.
    pub(crate) store: Option<Store>,
    /// How it takes part in the membership, if it does.
    pub(crate) member: Option<membership::Settings>,
}

impl Inner {
    pub(crate) fn new(start: Start) -> Self {
        let runtime = Handle::current();
        let exports = Arc::<Exports>::default();
        let functions = Arc::new(Functions::new(runtime.clone()));
        let parts = Parts::default();
        let inlet = FunctionsInlet::new(Arc::clone(&functions), Arc::clone(&exports));
        parts.serve(Part::Functions, Arc::new(inlet));
        let shell = |settings| membership::Shell::new(start.location.clone(), settings);
        Inner {
            names: Names::new(start.location.clone()),
            membership: start.member.map(shell).map(Arc::new),
            location: start.location,
            listening: start.listening,
            transport: start.transport,
            network: start.network,
            tls: start.tls,
            config: start.config,
            exports,
            parts,
            functions,
            events: start.events,
            files: Files::new(start.store),
            pending: Pending::default(),
            dormant: Dormant::default(),
            runtime,
            links: TaskTracker::new(),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
            closing: AtomicBool::new(false),
            refusing: Mutex::default(),
            tickets: AtomicU64::new(0),
            peers: Mutex::default(),
        }
    }

    /// What all handles of a coroutine of another node share.
    pub(crate) fn import(self: &Arc<Self>, id: &RemoteId) -> Arc<Import> {
        self.peer(&id.location).import(id.coroutine)
    }

    /// The peer at a location, with or without a link.
    pub(crate) fn peer(self: &Arc<Self>, location: &Location) -> Arc<Peer> {
        let mut peers = self.lock_peers();
        if let Some(peer) = peers.get(&location.node).and_then(Weak::upgrade) {
            drop(peers);
            peer.learn(location);
            return peer;
        }
        let peer = Peer::new(self, location);
        peers.insert(location.node, Arc::downgrade(&peer));
        peer
    }

    /// Nobody refers to a peer any more.
    pub(crate) fn forget(&self, id: NodeId) {
        let mut peers = self.lock_peers();
        // Another one may have taken its place.
        if peers.get(&id).is_some_and(|peer| peer.strong_count() == 0) {
            peers.remove(&id);
        }
    }

    /// Ends the session with a peer, if there is one, by goodbye. The next use of an address of the
    /// peer begins another.
    pub(crate) fn close_peer(&self, id: NodeId) -> bool {
        let peer = self.present_peer(id);
        peer.is_some_and(|peer| {
            let open = peer.has_session();
            peer.close();
            open
        })
    }

    /// Whether a peer is there as the membership has it, and this node is too.
    pub(crate) fn has_member(&self, id: NodeId) -> bool {
        let membership = self.membership.as_ref();
        !self.is_closing() && membership.is_some_and(|membership| membership.has(id))
    }

    /// Others take a peer for dead. What waits for it has a limit of its own, the grace period; only
    /// an idle link would not be missed.
    pub(crate) fn doubt(&self, id: NodeId) {
        if let Some(peer) = self.present_peer(id) {
            peer.doubt();
        }
    }

    /// Whether there is a session with a peer that the peer knows of as well.
    pub(crate) fn shares_session(&self, id: NodeId) -> bool {
        self.present_peer(id)
            .is_some_and(|peer| peer.shares_session())
    }

    pub(crate) fn present_peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.lock_peers().get(&id).and_then(Weak::upgrade)
    }

    fn refuse_new(self: &Arc<Self>, refuse: bool) {
        if let Some(membership) = &self.membership {
            membership.refuse_new(self, refuse);
        }
        let known = refuse.then(|| self.events.known());
        let before = std::mem::replace(&mut *self.lock_refusing(), known);
        drop(before);
    }

    /// Whether a peer that dials is to be sent away.
    pub(crate) fn refuses(&self, id: NodeId) -> bool {
        let known = |known: &HashSet<NodeId>| known.contains(&id);
        let is_new = self.lock_refusing().as_ref().is_some_and(|it| !known(it));
        // One that this node has linked with itself comes back when that link has broken.
        is_new && !self.shares_session(id)
    }

    fn lock_refusing(&self) -> MutexGuard<'_, Option<HashSet<NodeId>>> {
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// How many peers the table has, also of those that nobody refers to any more.
    pub(crate) fn known(&self) -> usize {
        self.lock_peers().len()
    }

    pub(crate) fn all_peers(&self) -> Vec<Arc<Peer>> {
        // Collected first: dropping a peer under the lock would take it twice.
        self.lock_peers()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// False if the node is closing already.
    fn begin_close(self: &Arc<Self>) -> bool {
        if self.closing.swap(true, Ordering::SeqCst) {
            return false;
        }
        // Before the goodbyes: those who get one pass it on.
        if let Some(membership) = &self.membership {
            membership.leave(self);
        }
        self.leaving.cancel();
        for peer in self.all_peers() {
            peer.close();
        }
        true
    }

    /// A member without any link needs one to say that it leaves.
    async fn find_someone_to_tell(self: &Arc<Self>, members: Vec<Location>) {
        for endpoint in members.into_iter().filter_map(|member| member.endpoint) {
            let connecting = greeting::connect(self, endpoint, Duration::MAX);
            if let Ok(Ok(_)) = tokio::time::timeout(TELL, connecting).await {
                return;
            }
        }
    }

    /// Some of the members, if they do not hear of this one's leaving otherwise.
    fn untold(&self) -> Vec<Location> {
        let linked = || self.all_peers().iter().any(|peer| peer.linked().is_some());
        match &self.membership {
            Some(membership) if !self.is_closing() && !linked() => {
                let mut members = membership.members();
                members.truncate(3);
                members
            }
            _ => Vec::new(),
        }
    }

    async fn finish_close(self: Arc<Self>) {
        self.links.close();
        let _ = tokio::time::timeout(FLUSH, self.links.wait()).await;
        self.stop.cancel();
        if tokio::time::timeout(FLUSH, self.links.wait())
            .await
            .is_err()
        {
            for peer in self.all_peers().iter().filter(|peer| peer.is_reading()) {
                let peer = peer.location();
                tracing::warn!(
                    %peer,
                    "closed while a message of this peer is being read: does a Deserialize block?"
                );
            }
        }
        self.events.close();
        self.names.close();
        self.tasks.close();
        if tokio::time::timeout(FLUSH, self.tasks.wait())
            .await
            .is_err()
        {
            let tasks = self.tasks.len();
            tracing::warn!(
                tasks,
                "closed without these: does a callback for peer events block?"
            );
        }
        self.exports.close();
        self.parts.close();
        self.functions.close();
    }

    fn lock_peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Weak<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode<T: Serialize>(exchange: &Arc<dyn Exchange>, value: &T) -> Result<Vec<u8>, CodecError> {
    let encode = &mut |buffer: &mut Vec<u8>| remote::encode(value, buffer);
    scope::value(exchange, encode)
}
