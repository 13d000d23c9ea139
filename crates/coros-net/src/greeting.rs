//! From a transport's stream to a link: TLS, then a hello each way.
//!
//! The dialler speaks first. What the dialled side answers decides whether the connection becomes
//! the link between the two; see [`rendezvous`](crate::rendezvous). All of it has one time limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coros_core::remote::Location;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsStream;

use crate::HandshakeError;
use crate::buffer::ReadBuffer;
use crate::files;
use crate::identity::{MAX_NAME, PeerIdentity};
use crate::link::Link;
use crate::node::{ConnectError, Inner};
use crate::peer::{Failure, Greeting, Linked, Peer};
use crate::read_ahead::{Carried, ReadAhead};
use crate::rendezvous::Ticket;
use crate::roster::Fact;
use crate::tame;
use crate::transport::BoxStream;
use crate::unheard::{self, Trouble};
use crate::wire::{self, Envelope, Frame, Goodbye, Hello, Kind, SessionId};

/// How long a peer that broke the protocol is given to read so.
const TELL: Duration = Duration::from_millis(500);

/// Dials a peer that somebody wants to reach. The dial has been announced to the peer.
pub(crate) fn spawn_dial(peer: Arc<Peer>) {
    let node = Arc::clone(peer.node());
    // Moved into the task first, so that the dial is over even if the task never runs.
    let dial = Dial::new(peer);
    let limit = node.config.handshake;
    let dialling = async move {
        let mut dial = dial;
        dial.run(limit).await;
    };
    node.tasks.spawn_on(dialling, &node.runtime);
}

/// Dials a peer to mend the break of this number. The dial has been announced to the peer.
pub(crate) async fn dial_again(peer: &Arc<Peer>, number: u64, limit: Duration) -> Ticket {
    let mut dial = Dial::new(Arc::clone(peer));
    dial.mends = Some(number);
    dial.run(limit).await;
    dial.ticket
}

/// Dials whoever listens at an endpoint, who may take so long to show that he is of the network.
pub(crate) async fn connect(
    node: &Arc<Inner>,
    endpoint: SocketAddr,
    patience: Duration,
) -> Result<Location, ConnectError> {
    let limit = node.config.handshake;
    limited(node, endpoint, limit, async {
        let dial = Connection::dial(node, endpoint);
        let connection = limited(node, endpoint, patience.min(limit), dial).await?;
        if connection.identity.node == node.location.node {
            return Err(ConnectError::Itself { endpoint });
        }
        let peer = node.peer(&Location {
            node: connection.identity.node,
            name: Arc::clone(&connection.identity.name),
            endpoint: Some(endpoint),
        });
        peer.dial_begins();
        let mut dial = Dial::new(Arc::clone(&peer));
        dial.reason = "the dial was given up".into();
        let greeted = greet(&mut dial, connection, endpoint).await;
        if let Err(error) = &greeted {
            dial.failed(error);
        }
        greeted?;
        peer.linked().ok_or_else(|| ConnectError::lost(endpoint))
    })
    .await
}

/// Dials a peer for a connection that will carry files and never be a link; until when the peer is
/// who it is.
pub(crate) async fn dial_files(
    node: &Arc<Inner>,
    peer: &Location,
) -> Result<(files::Stream, SystemTime), ConnectError> {
    let Some(endpoint) = peer.endpoint else {
        let name = peer.name.to_string();
        return Err(ConnectError::NotListening { name });
    };
    limited(node, endpoint, node.config.handshake, async {
        let mut connection = Connection::dial(node, endpoint).await?;
        if connection.identity.node != peer.node {
            let name = connection.identity.name.to_string();
            return Err(ConnectError::Restarted { endpoint, name });
        }
        let greeted = async {
            connection.write(node, &hello_for_files(node)).await?;
            match connection.read_hello(node).await? {
                (.., wire::FILES) => Ok((connection.stream, connection.identity.until)),
                _ => Err(HandshakeError::Protocol("it knows of no files".into())),
            }
        };
        let failed = |why| ConnectError::Handshake { endpoint, why };
        greeted.await.map_err(failed)
    })
    .await
}

async fn limited<T>(
    node: &Inner,
    endpoint: SocketAddr,
    limit: Duration,
    dial: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::select! {
        biased;
        () = node.leaving.cancelled() => Err(ConnectError::Closed),
        dialled = tokio::time::timeout(limit, dial) => {
            dialled.unwrap_or(Err(ConnectError::TimedOut { endpoint, after: limit }))
        }
    }
}

/// A dial that a peer knows of. However it ends, the peer gets to know.
struct Dial {
    peer: Arc<Peer>,
    ticket: Ticket,
    /// The break that it is to mend.
    mends: Option<u64>,
    /// The session that it has greeted for.
    greeted: Option<u64>,
    reason: String,
    failure: Failure,
    counts: bool,
}

impl Dial {
    fn new(peer: Arc<Peer>) -> Self {
        Dial {
            ticket: peer.node().ticket(),
            peer,
            mends: None,
            greeted: None,
            reason: "this node has stopped".into(),
            failure: Failure::None,
            counts: true,
        }
    }

    /// Makes a link, if that can be.
    async fn run(&mut self, limit: Duration) {
        let node = Arc::clone(self.peer.node());
        let location = self.peer.location();
        let Some(endpoint) = location.endpoint else {
            return;
        };
        let dialled = async {
            let connection = Connection::dial(&node, endpoint).await?;
            if connection.identity.node != location.node {
                return Err(ConnectError::Restarted {
                    endpoint,
                    name: connection.identity.name.to_string(),
                });
            }
            greet(self, connection, endpoint).await
        };
        if let Err(error) = limited(&node, endpoint, limit, dialled).await {
            self.failed(&error);
        }
    }

    fn failed(&mut self, error: &ConnectError) {
        self.reason = error.to_string();
        self.failure = match error {
            ConnectError::Unreachable { endpoint, why }
                if why.kind() == io::ErrorKind::ConnectionRefused =>
            {
                Failure::Nobody(*endpoint)
            }
            ConnectError::Restarted { endpoint, .. } => Failure::Nobody(*endpoint),
            ConnectError::Handshake { why, .. } => match why {
                HandshakeError::Refused(_) => Failure::Gone,
                HandshakeError::Connection { .. } => Failure::Broke,
                _ => Failure::None,
            },
            _ => Failure::None,
        };
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        if self.counts {
            let (peer, reason) = (&self.peer, &self.reason);
            if peer.dial_over(self.ticket, self.greeted, reason, self.failure) {
                spawn_dial(Arc::clone(peer));
            }
        }
    }
}

/// Shakes hands as the dialled side, and starts the link.
pub(crate) async fn accept(node: Arc<Inner>, stream: BoxStream, from: SocketAddr) {
    use HandshakeError::{BadCertificate, Connection, NoCertificate, NotCoros, TimedOut};
    let limit = node.config.handshake;
    let accepted = tokio::time::timeout(limit, accepted(&node, stream, from)).await;
    let error = match accepted {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => TimedOut(limit),
    };
    match error {
        // Whoever can reach the port can cause these: not worth anybody's attention.
        NotCoros(_) | Connection { .. } | TimedOut(_) | BadCertificate(_) | NoCertificate => {
            tracing::debug!(%from, %error, "no handshake");
        }
        error => {
            let trouble = Trouble::refused(from, &error);
            unheard::say(trouble, format_args!("{from} was refused: {error}"));
            node.events.tell(Fact::Refused(from, error));
        }
    }
}

async fn accepted(
    node: &Arc<Inner>,
    stream: BoxStream,
    from: SocketAddr,
) -> Result<(), HandshakeError> {
    let mut connection = Connection::accept(node, stream).await?;
    let (hello, purpose) = match connection.read_hello(node).await {
        Ok(hello) => hello,
        Err(error) => return Err(connection.protest(node, error).await),
    };
    let mut location = hello.location.clone();
    if let Some(endpoint) = &mut location.endpoint
        && endpoint.ip().is_unspecified()
    {
        endpoint.set_ip(from.ip());
    }
    if node.refuses(location.node) {
        let why = "it takes no new peers now".to_owned();
        return connection.refuse(node, &Goodbye::Refused(why)).await;
    }
    match purpose {
        0 => {}
        wire::FILES => {
            connection.write(node, &hello_for_files(node)).await?;
            let until = connection.identity.until;
            files::serve(node, connection.stream, location, until);
            return Ok(());
        }
        other => {
            let why = format!("a connection for unknown purpose {other}");
            return Err(HandshakeError::Protocol(why));
        }
    }
    let peer = node.peer(&location);
    let ticket = node.ticket();
    match peer.greeted(ticket, &location, &hello).await {
        Ok(linked) => {
            if let Some(there) = peer.claims(from.ip()) {
                spawn_look(Arc::clone(&peer), linked.course.epoch, there);
            }
            let greeting = linked.hello.clone();
            connection.into_link(peer, ticket, linked, greeting).spawn();
            Ok(())
        }
        Err(goodbye) => connection.refuse(node, &goodbye).await,
    }
}

/// Looks whether anybody listens where a peer that has dialled says that it does. If nobody ever did,
/// that nobody does shows nothing of the peer, which may have said a wrong port, or be at the other
/// end of a tunnel.
fn spawn_look(peer: Arc<Peer>, epoch: u64, there: SocketAddr) {
    let node = Arc::clone(peer.node());
    let looking = async move {
        let node = peer.node();
        let dial = tokio::time::timeout(node.config.handshake, node.transport.dial(there));
        tokio::select! {
            biased;
            () = node.leaving.cancelled() => {}
            dialled = dial => {
                if let Ok(Ok(_)) = dialled {
                    peer.found(epoch, there);
                }
            }
        }
    };
    node.tasks.spawn_on(looking, &node.runtime);
}

/// Greets the peer that was dialled; what becomes of that.
async fn greet(
    dial: &mut Dial,
    mut connection: Connection,
    endpoint: SocketAddr,
) -> Result<(), ConnectError> {
    let (peer, ticket) = (Arc::clone(&dial.peer), dial.ticket);
    let node = Arc::clone(peer.node());
    let failed = |why| ConnectError::Handshake { endpoint, why };
    let hello = match peer.greet(ticket, dial.mends).await {
        Greeting::Go(hello, session) => {
            dial.greeted = Some(session);
            hello
        }
        Greeting::Linked => return Ok(()),
        Greeting::Stop if node.is_closing() => return Err(ConnectError::Closed),
        Greeting::Stop => return Err(ConnectError::lost(endpoint)),
        Greeting::Wait => {
            dial.counts = false;
            drop(connection);
            return settled(&peer, endpoint).await;
        }
    };
    connection.write(&node, &hello).await.map_err(failed)?;
    let answered = match connection.read_answer(&node).await {
        Ok(answered) => answered,
        Err(error) => return Err(failed(connection.protest(&node, error).await)),
    };
    match answered {
        Answered::Hello(hello, _) => {
            let mut location = hello.location.clone();
            location.endpoint = location.endpoint.or(Some(endpoint));
            match peer.welcomed(ticket, &location, &hello, endpoint) {
                Ok(Some(linked)) => {
                    connection
                        .into_link(peer, ticket, linked, Vec::new())
                        .spawn();
                    return Ok(());
                }
                Ok(None) => drop(connection),
                Err(Goodbye::Refused(why)) => {
                    let error = HandshakeError::Protocol(why);
                    return Err(failed(connection.protest(&node, error).await));
                }
                // Else the peer would take the end of its link for a loss.
                Err(goodbye) => {
                    connection.dismiss(&node, &goodbye).await;
                    return Err(ConnectError::lost(endpoint));
                }
            }
        }
        Answered::Duplicate => {
            peer.duplicate(ticket);
            drop(connection);
        }
    }
    settled(&peer, endpoint).await
}

async fn settled(peer: &Peer, endpoint: SocketAddr) -> Result<(), ConnectError> {
    if peer.settled().await {
        Ok(())
    } else {
        Err(ConnectError::lost(endpoint))
    }
}

/// An authenticated connection that is not a link yet.
struct Connection {
    stream: TlsStream<Carried>,
    buffer: ReadBuffer,
    identity: PeerIdentity,
}

enum Answered {
    /// With what the connection is for.
    Hello(Hello, u64),
    Duplicate,
}

impl Connection {
    async fn dial(node: &Inner, endpoint: SocketAddr) -> Result<Self, ConnectError> {
        let stream = node
            .transport
            .dial(endpoint)
            .await
            .map_err(|why| ConnectError::Unreachable { endpoint, why })?;
        let (stream, identity) = node
            .tls
            .dial(ReadAhead::new(stream))
            .await
            .map_err(|why| ConnectError::Handshake { endpoint, why })?;
        Ok(Connection {
            stream,
            buffer: ReadBuffer::new(),
            identity,
        })
    }

    async fn accept(node: &Inner, stream: BoxStream) -> Result<Self, HandshakeError> {
        let (stream, identity) = node.tls.accept(ReadAhead::new(stream)).await?;
        Ok(Connection {
            stream,
            buffer: ReadBuffer::new(),
            identity,
        })
    }

    async fn write(&mut self, node: &Inner, bytes: &[u8]) -> Result<(), HandshakeError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match written.await {
            Ok(()) => Ok(()),
            // The peer may have said why before it closed.
            Err(error) => match self.read_answer(node).await {
                Err(HandshakeError::Connection { .. }) | Ok(_) => Err(node.tls.explain(&error)),
                Err(why) => Err(why),
            },
        }
    }

    async fn read_hello(&mut self, node: &Inner) -> Result<(Hello, u64), HandshakeError> {
        match self.read_answer(node).await? {
            Answered::Hello(hello, purpose) => Ok((hello, purpose)),
            Answered::Duplicate => Err(HandshakeError::Protocol(
                "it did not begin with a hello".into(),
            )),
        }
    }

    /// Reads one frame; what follows it stays in the buffer.
    async fn read_answer(&mut self, node: &Inner) -> Result<Answered, HandshakeError> {
        loop {
            let mut answer = None;
            let identity = &self.identity;
            self.buffer
                .frames(1, |frames| {
                    answer = frames.first().map(|frame| understand(identity, frame));
                    Ok(false)
                })
                .map_err(|e| HandshakeError::Protocol(e.to_string()))?;
            if let Some(answer) = answer {
                return answer;
            }
            match self.buffer.fill(&mut self.stream).await {
                Ok(0) => return Err(node.tls.explain(&io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(node.tls.explain(&error)),
            }
        }
    }

    fn into_link(self, peer: Arc<Peer>, ticket: Ticket, linked: Linked, greeting: Vec<u8>) -> Link {
        let Connection {
            stream,
            buffer,
            identity,
        } = self;
        Link {
            peer,
            ticket,
            until: identity.until,
            stream,
            buffer,
            greeting,
            token: linked.token,
            course: linked.course,
        }
    }

    /// Tells a peer that broke the protocol, so that both sides know.
    async fn protest(self, node: &Inner, error: HandshakeError) -> HandshakeError {
        if let HandshakeError::Protocol(why) = &error {
            self.dismiss(node, &Goodbye::Refused(why.clone())).await;
        }
        error
    }

    /// Says why there is no link to a peer that may not read it.
    async fn dismiss(self, node: &Inner, why: &Goodbye) {
        let _ = tokio::time::timeout(TELL, self.refuse(node, why)).await;
    }

    /// Says why there is no link, and waits until the dialler has read it and closed.
    async fn refuse(mut self, node: &Inner, why: &Goodbye) -> Result<(), HandshakeError> {
        let mut frame = Vec::new();
        wire::write_value(&mut frame, plain(Kind::Goodbye), why);
        self.write(node, &frame).await?;
        // However the dialler closes: it has been told.
        let _ = self.stream.shutdown().await;
        let mut waste = [0; 256];
        while let Ok(1..) = self.stream.read(&mut waste).await {}
        Ok(())
    }
}

fn hello_for_files(node: &Inner) -> Vec<u8> {
    let hello = Hello {
        network: node.network.clone(),
        location: node.location.clone(),
        number: 0,
        session: SessionId { ours: 0, theirs: 0 },
        received: [0; 2],
        capacity: 0,
    };
    let envelope = Envelope {
        target: wire::FILES,
        ..plain(Kind::Hello)
    };
    let mut frame = Vec::new();
    wire::write_value(&mut frame, envelope, &hello);
    frame
}

fn plain(kind: Kind) -> Envelope {
    Envelope {
        kind,
        target: 0,
        correlation: 0,
    }
}

fn understand(identity: &PeerIdentity, frame: &Frame<'_>) -> Result<Answered, HandshakeError> {
    let protocol = |e: wire::WireError| HandshakeError::Protocol(e.to_string());
    match frame.envelope.kind {
        Kind::Hello => {
            let hello: Hello = wire::read_value(frame).map_err(protocol)?;
            let location = &hello.location;
            let truthful = location.node == identity.node
                && location.name == identity.name
                && hello.network == *identity.network
                && location.name.len() <= MAX_NAME;
            if !truthful {
                let why = "its hello does not agree with its certificate";
                return Err(HandshakeError::Protocol(why.into()));
            }
            Ok(Answered::Hello(hello, frame.envelope.target))
        }
        Kind::Goodbye => match wire::read_value(frame).map_err(protocol)? {
            Goodbye::Duplicate => Ok(Answered::Duplicate),
            Goodbye::Leaving => Err(HandshakeError::Refused("it is shutting down".into())),
            Goodbye::Refused(why) => Err(HandshakeError::Refused(tame::text(&why))),
            Goodbye::Closed => Err(HandshakeError::Refused("it has ended the session".into())),
        },
        kind => Err(protocol(wire::WireError::Unexpected(kind))),
    }
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;
    use proptest::prelude::*;

    use super::*;

    fn identity() -> PeerIdentity {
        PeerIdentity {
            network: "default".into(),
            node: NodeId(7),
            name: "desk".into(),
            until: SystemTime::UNIX_EPOCH,
        }
    }

    fn understood(kind: Kind, payload: &[u8]) -> Result<Answered, HandshakeError> {
        let frame = Frame {
            envelope: plain(kind),
            payload,
            lent: &[],
        };
        understand(&identity(), &frame)
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic_or_lets_a_liar_in(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            kind in prop::sample::select(vec![Kind::Hello, Kind::Goodbye, Kind::Message]),
        ) {
            if let Ok(Answered::Hello(Hello { location, .. }, _)) = understood(kind, &payload) {
                prop_assert_eq!((location.node, &*location.name), (NodeId(7), "desk"));
            }
        }

        #[test]
        fn no_changed_hello_makes_it_panic_or_lets_a_liar_in(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in any::<prop::sample::Index>(),
        ) {
            let hello = Hello {
                network: "default".into(),
                location: Location {
                    node: NodeId(7),
                    name: "desk".into(),
                    endpoint: Some(([127, 0, 0, 1], 7).into()),
                },
                number: 3,
                session: SessionId { ours: 5, theirs: 300 },
                received: [7, 1000],
                capacity: 1 << 20,
            };
            let mut payload = postcard::to_allocvec(&hello).unwrap();
            prop_assert!(understood(Kind::Hello, &payload).is_ok());
            let at = at.index(payload.len());
            payload[at] = byte;
            payload.truncate(length.index(payload.len() + 1));
            if let Ok(Answered::Hello(Hello { location, .. }, _)) = understood(Kind::Hello, &payload) {
                prop_assert_eq!((location.node, &*location.name), (NodeId(7), "desk"));
            }
        }
    }
}
