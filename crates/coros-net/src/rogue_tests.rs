//! Peers that have a certificate and do not keep to the protocol.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coros_core::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsStream;

use crate::exports::Found;
use crate::identity::DEFAULT_NETWORK;
use crate::tls::Tls;
use crate::wire::{self, Envelope, Goodbye, HEADER, Hello, Kind, Parsed, SessionId};
use crate::{
    Authority, Builder, Credentials, HandshakeError, Location, Node, NodeId, PeerEvent, Secret,
};

struct Scene {
    events: mpsc::UnboundedReceiver<PeerEvent>,
    stream: TlsStream<TcpStream>,
    node: Node,
    rogue: Credentials,
    authority: Authority,
}

impl Scene {
    /// A node, and a rogue that has shaken hands with it.
    async fn set() -> Self {
        Scene::set_with(|node| node).await
    }

    async fn set_with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK).unwrap();
        let credentials = authority.issue("rogue").unwrap();
        let builder = Node::builder()
            .member(false)
            .authority(authority.clone())
            .silence(Duration::from_secs(20));
        let node = options(builder).build().await.expect("it starts");
        let (sender, events) = mpsc::unbounded_channel();
        node.on_peer_event(move |event| drop(sender.send(event)));
        let stream = dial(&node, &credentials).await;
        Scene {
            events,
            stream,
            node,
            rogue: credentials,
            authority,
        }
    }

    async fn dial(&self) -> TlsStream<TcpStream> {
        dial(&self.node, &self.rogue).await
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    fn hello(&self) -> Vec<u8> {
        hello(self.rogue.node(), "rogue")
    }

    async fn event(&mut self) -> PeerEvent {
        let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv());
        event.await.expect("in time").expect("the node lives")
    }

    /// All frames until the node closes the connection.
    async fn hear(&mut self) -> Vec<(Kind, Vec<u8>)> {
        let mut bytes = Vec::new();
        // However it closes.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.stream.read_to_end(&mut bytes))
            .await
            .expect("in time");
        let mut frames = Vec::new();
        while let Ok(Parsed::Frame(frame, length)) = wire::parse(&bytes) {
            frames.push((frame.envelope.kind, frame.payload.to_vec()));
            bytes.drain(..length);
        }
        frames
    }
}

async fn dial(node: &Node, rogue: &Credentials) -> TlsStream<TcpStream> {
    let endpoint = node.location().endpoint.unwrap();
    let tcp = TcpStream::connect(endpoint).await.unwrap();
    let (stream, _) = Tls::new(rogue).unwrap().dial(tcp).await.unwrap();
    stream
}

impl Scene {
    /// What the node says last: why it refuses.
    async fn refused(&mut self) -> String {
        let heard = self.hear().await;
        let Some((Kind::Goodbye, payload)) = heard.last() else {
            panic!("{heard:?}");
        };
        match postcard::from_bytes(payload) {
            Ok(Goodbye::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn plain(kind: Kind) -> Envelope {
    Envelope {
        kind,
        target: 0,
        correlation: 0,
    }
}

/// Of the hellos that count.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

fn hello(node: NodeId, name: &str) -> Vec<u8> {
    hello_after(node, name, NUMBERS.fetch_add(1, Ordering::Relaxed))
}

fn hello_after(node: NodeId, name: &str, number: u64) -> Vec<u8> {
    hello_for(0, node, name, number)
}

/// The greeting on a connection for another purpose than a link, if that is not 0.
pub(crate) fn hello_for(purpose: u64, node: NodeId, name: &str, number: u64) -> Vec<u8> {
    let hello = Hello {
        network: DEFAULT_NETWORK.into(),
        location: Location {
            node,
            name: name.into(),
            endpoint: None,
        },
        number,
        session: SessionId { ours: 1, theirs: 0 },
        received: [0; 2],
        capacity: 1 << 20,
    };
    let mut bytes = Vec::new();
    let envelope = Envelope {
        target: purpose,
        ..plain(Kind::Hello)
    };
    wire::write_value(&mut bytes, envelope, &hello);
    bytes
}

#[tokio::test]
async fn a_broken_frame_ends_the_link_and_says_so() {
    let mut too_long = [0; HEADER];
    too_long[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    too_long[4] = Kind::Message as u8;
    too_long[5] = 1;
    let mut unknown = [0; HEADER];
    unknown[4] = 99;
    let mut bad_request = Vec::new();
    wire::write(&mut bad_request, plain(Kind::Request), &[200, 1, 1]);
    let mut second_hello = Vec::new();
    wire::write(&mut second_hello, plain(Kind::Hello), &[]);
    for (frame, says) in [
        (&too_long[..], "4294967295 bytes is too long"),
        (&unknown, "unknown kind 99"),
        (&bad_request, "Request frame"),
        (&second_hello, "Hello frame that nobody may send"),
    ] {
        let mut scene = Scene::set().await;
        scene.say(&scene.hello()).await;
        assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
        scene.say(frame).await;
        let PeerEvent::Lost(_, reason) = scene.event().await else {
            panic!("{says}");
        };
        assert!(reason.contains(says), "{reason}");
        let told = scene.refused().await;
        assert!(told.contains(says), "{told}");
    }
}

#[tokio::test]
async fn nobody_gets_in_under_another_id_or_name() {
    for another_id in [true, false] {
        let mut scene = Scene::set().await;
        let own = scene.rogue.node();
        let lie = if another_id {
            hello(NodeId(own.0 ^ 1), "rogue")
        } else {
            hello(own, "desk")
        };
        scene.say(&lie).await;
        let PeerEvent::Refused(_, HandshakeError::Protocol(why)) = scene.event().await else {
            panic!("it must be refused");
        };
        assert!(why.contains("does not agree with its certificate"), "{why}");
        assert_eq!(scene.refused().await, why);
    }
}

#[tokio::test]
async fn a_live_session_is_not_to_be_had_by_those_who_claim_to_be_its_peer() {
    let mut scene = Scene::set().await;
    let desk = Node::builder()
        .member(false)
        .name("rogue")
        .authority(scene.authority.clone());
    let desk = desk.silence(Duration::from_secs(20)).build().await.unwrap();
    desk.connect(scene.node.location().endpoint.unwrap())
        .await
        .unwrap();
    assert_eq!(scene.event().await, PeerEvent::Joined(desk.location()));
    // Another of the same name is another node.
    scene.rogue = scene.authority.issue("rogue").unwrap();
    scene.stream = scene.dial().await;
    scene.say(&scene.hello()).await;
    assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
    assert_eq!(scene.node.peers().len(), 2);
    // The id of the peer, with a certificate of one's own; also as the newest of its links.
    let mut linked = Vec::new();
    for last in [0, u64::MAX] {
        let stream = scene.dial().await;
        linked.push(std::mem::replace(&mut scene.stream, stream));
        let lie = hello_after(desk.location().node, "rogue", last);
        scene.say(&lie).await;
        let PeerEvent::Refused(_, HandshakeError::Protocol(_)) = scene.event().await else {
            panic!("it must be refused");
        };
        scene.refused().await;
    }
    let (sender, mut received) = mpsc::unbounded_channel();
    let coro = coros_core::spawn(async move |mut me: Context<u32>| {
        while let Some(n) = me.receive().await {
            let _ = sender.send(n);
        }
    });
    let there = desk.encode(&coro.address()).unwrap();
    let there: coros_core::Address<u32> = scene.node.decode(&there).unwrap();
    there.deliver(7).await.unwrap();
    assert_eq!(received.recv().await, Some(7));
    desk.close().await;
    while scene.event().await != PeerEvent::Left(desk.location()) {}
}

#[tokio::test]
async fn a_greeting_that_is_cut_anywhere_harms_nobody() {
    let mut scene = Scene::set().await;
    let hello = scene.hello();
    for cut in 0..hello.len() {
        scene.stream = scene.dial().await;
        scene.say(&hello[..cut]).await;
        if cut % 2 == 0 {
            scene.stream.shutdown().await.unwrap();
        } else {
            scene.stream.get_mut().0.shutdown().await.unwrap();
        }
        assert_eq!(scene.hear().await, [], "cut after {cut} bytes");
    }
    // In two pieces it is as good as in one.
    for (round, cut) in [1, HEADER, hello.len() - 1].into_iter().enumerate() {
        scene.stream = scene.dial().await;
        let hello = scene.hello();
        scene.say(&hello[..cut]).await;
        scene.say(&hello[cut..]).await;
        match scene.event().await {
            PeerEvent::Joined(_) if round == 0 => {}
            PeerEvent::Returned(_) if round > 0 => {}
            other => panic!("{other:?} in round {round}"),
        }
        scene.stream.shutdown().await.unwrap();
        assert!(matches!(scene.event().await, PeerEvent::Lost(..)));
    }
}

#[tokio::test]
async fn nothing_counts_before_the_hello() {
    for kind in [Kind::Message, Kind::Watch, Kind::Ping] {
        let mut scene = Scene::set().await;
        let mut frame = Vec::new();
        wire::write(&mut frame, plain(kind), &[]);
        scene.say(&frame).await;
        let PeerEvent::Refused(_, HandshakeError::Protocol(why)) = scene.event().await else {
            panic!("{kind:?} must be refused");
        };
        assert_eq!(scene.refused().await, why);
    }
}

#[tokio::test]
async fn a_peer_that_says_no_more_than_hello_is_lost() {
    let mut scene = Scene::set_with(|node| node.silence(Duration::from_millis(200))).await;
    scene.say(&scene.hello()).await;
    assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
    let PeerEvent::Lost(_, reason) = scene.event().await else {
        panic!("it is silent");
    };
    assert!(reason.contains("no sign of life"), "{reason}");
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_read_is_shown_out() {
    let mut scene = Scene::set_with(|node| node.outbox(1)).await;
    scene.say(&scene.hello()).await;
    assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
    let mut pings = Vec::new();
    for correlation in 1..1000 {
        let kind = Kind::Ping;
        let envelope = Envelope {
            correlation,
            ..plain(kind)
        };
        wire::write(&mut pings, envelope, &[]);
    }
    let flood = async { while scene.stream.write_all(&pings).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), flood)
        .await
        .expect("the node closes the connection");
    let PeerEvent::Lost(_, reason) = scene.event().await else {
        panic!("it is lost");
    };
    assert!(reason.contains("does not read the answers"), "{reason}");
    assert_eq!(scene.node.peers(), []);
}

#[tokio::test]
async fn a_peer_that_sends_more_than_it_may_is_shown_out() {
    for (kind, in_all) in [
        (Kind::Message, false),
        (Kind::Deliver, false),
        (Kind::Message, true),
        (Kind::Answer, false),
    ] {
        let mut scene = Scene::set_with(|node| node.outbox(1)).await;
        scene.say(&scene.hello()).await;
        assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
        let mut payload = Vec::new();
        coros_core::remote::encode(&vec![0_u8; 60_000], &mut payload).unwrap();
        let targets = [(); 2].map(|()| {
            let stuck = coros_core::spawn(async |me: Context<Vec<u8>>| {
                let () = std::future::pending().await;
                drop(me);
            });
            let address = stuck.address();
            let told = scene.node.encode_for(scene.rogue.node(), &address);
            told.unwrap();
            address.id()
        });
        let mut frames = Vec::new();
        // As many as fit into what may be under way, and one more.
        for n in 0..wire::WINDOW / 60_000 + 2 {
            let envelope = Envelope {
                target: targets[if in_all { n % 2 } else { 0 }],
                ..plain(kind)
            };
            wire::write(&mut frames, envelope, &payload);
        }
        // It may be closed before all is written.
        let _ = scene.stream.write_all(&frames).await;
        let PeerEvent::Lost(_, why) = scene.event().await else {
            panic!("it is lost");
        };
        let expected = match kind {
            Kind::Answer => "Answer frame that nobody may send",
            _ => "than may be under way",
        };
        assert!(why.contains(expected), "{why}");
    }
}

#[tokio::test]
async fn after_its_goodbye_a_peer_holds_nothing() {
    let mut scene = Scene::set().await;
    scene.say(&scene.hello()).await;
    assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
    let coro = coros_core::spawn(async |mut me: Context<()>| me.receive().await);
    let address = coro.address();
    // Somebody else has been told of it, so that it can be found.
    scene.node.encode_for(NodeId(9), &address).unwrap();
    let mut last_words = Vec::new();
    wire::write_value(&mut last_words, plain(Kind::Goodbye), &Goodbye::Leaving);
    for kind in [Kind::Message, Kind::Watch, Kind::Deliver] {
        let envelope = Envelope {
            target: address.id(),
            ..plain(kind)
        };
        wire::write(&mut last_words, envelope, &[]);
    }
    scene.say(&last_words).await;
    assert!(matches!(scene.event().await, PeerEvent::Left(_)));
    scene.hear().await;
    let exports = &scene.node.inner().exports;
    drop(exports.release(NodeId(9)));
    assert!(matches!(
        exports.find(address.id(), scene.rogue.node()),
        Some(Found::Ended(None))
    ));
    drop(address);
    let joined = tokio::time::timeout(Duration::from_secs(10), coro.join());
    assert_eq!(joined.await.expect("nobody holds it"), Ok(None));
}

#[tokio::test]
async fn a_peer_that_closes_its_half_is_lost_and_the_other_half_is_closed() {
    for politely in [true, false] {
        let mut scene = Scene::set().await;
        scene.say(&scene.hello()).await;
        assert!(matches!(scene.event().await, PeerEvent::Joined(_)));
        if politely {
            scene.stream.shutdown().await.unwrap();
        } else {
            // Without a word of TLS.
            scene.stream.get_mut().0.shutdown().await.unwrap();
        }
        assert!(matches!(scene.event().await, PeerEvent::Lost(..)));
        scene.hear().await;
    }
}
