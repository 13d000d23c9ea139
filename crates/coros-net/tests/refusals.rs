//! What real nodes say to each other, and to others, when they do not talk.

mod common;

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use common::kept::Kept;
use common::meddler::{Harm, Meddler, Of};
use common::*;
use coros_net::{
    Authority, ConnectError, HandshakeError, Node, NodeCertificate, PeerEvent, Secret,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TryRecvError;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the dialler and the dialled node say about each other.
async fn refusals(dialler: &Node, dialled: &Node) -> [HandshakeError; 2] {
    let mut events = events(dialled);
    let connected = soon(dialler.connect(endpoint(dialled))).await;
    let Err(ConnectError::Handshake { why, .. }) = connected else {
        panic!("{connected:?}");
    };
    let event = next(&mut events).await;
    let PeerEvent::Refused(_, refused) = event else {
        panic!("{event:?}");
    };
    [why, refused]
}

async fn with_certificate(certificate: NodeCertificate) -> Node {
    let node = Node::builder()
        .certificate(certificate)
        .member(false)
        .silence(PATIENT);
    node.build().await.expect("it starts")
}

async fn certified(authority: &Authority, name: &str) -> Node {
    with_certificate(authority.certify(name, DAY).expect("it is a name")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_certificates_talk_under_the_names_in_them() {
    let authority = Authority::generate("weather", DAY).unwrap();
    let [desk, farm] = [
        certified(&authority, "desk").await,
        certified(&authority, "farm").await,
    ];
    let (address, mut received) = collector::<u32>();
    soon(sent(&farm, &desk, &address).deliver(7)).await.unwrap();
    assert_eq!(next(&mut received).await, 7);
    assert_eq!(&*desk.peers()[0].name, "farm");
    let error = Node::builder()
        .name("farm")
        .certificate(authority.certify("desk", DAY).unwrap())
        .build()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is for \"desk\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_authority_is_refused_on_both_sides() {
    let [ours, theirs] = [(); 2].map(|()| Authority::generate("default", DAY).unwrap());
    let [desk, farm] = [
        certified(&ours, "desk").await,
        certified(&theirs, "farm").await,
    ];
    let [near, far] = refusals(&desk, &farm).await;
    for (error, authority) in [(near, ours), (far, theirs)] {
        let ours = authority.fingerprint();
        assert_eq!(error, HandshakeError::OtherAuthority { ours });
    }
    let shared = node("shared", &Secret::random()).await;
    for (dialler, dialled) in [(&desk, &shared), (&shared, &desk)] {
        let [near, far] = refusals(dialler, dialled).await.map(|it| it.to_string());
        assert_ne!(near, far);
        for says in [near, far] {
            assert!(says.contains("a secret: give"), "{says}");
            assert!(says.contains("`coros secret issue`"), "{says}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_out_of_their_time_are_refused_on_both_sides() {
    let authority = Authority::derive(&Secret::random(), "default").unwrap();
    let now = SystemTime::now();
    let start = async |from, to| {
        let credentials = authority.issue_for("desk", from, to).unwrap();
        Node::builder()
            .member(false)
            .credentials(credentials)
            .build()
            .await
            .unwrap()
    };
    let good = start(now - DAY, now + DAY).await;
    let past = start(now - 3 * DAY, now - 2 * DAY - Duration::from_secs(9)).await;
    let future = start(now + 2 * DAY + Duration::from_secs(99), now + 3 * DAY).await;
    let [near, far] = refusals(&past, &good).await;
    let says = "this node's certificate expired 2 days ago, on 2";
    assert!(near.to_string().starts_with(says), "{near}");
    let says = "the peer's certificate expired 2 days ago";
    assert!(far.to_string().starts_with(says), "{far}");
    let [near, far] = refusals(&good, &future).await;
    assert!(
        near.to_string().contains("at least 2 days ahead of"),
        "{near}"
    );
    assert!(matches!(far, HandshakeError::ClocksDiffer { .. }), "{far}");
    assert!(far.to_string().contains("set both right"), "{far}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_are_no_nodes_are_shown_out_and_nobody_is_bothered() {
    let farm = node("farm", &Secret::random()).await;
    let mut events = events(&farm);
    for first_words in [
        &b"GET / HTTP/1.1\r\nhost: farm\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        &[0; 64],
    ] {
        let mut tcp = TcpStream::connect(endpoint(&farm)).await.unwrap();
        tcp.write_all(first_words).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        soon(tcp.read_to_end(&mut answer)).await.unwrap();
        // Nothing but a TLS alert.
        assert!(matches!(answer[..], [0x15, 3, 3, 0, 2, 2, _]), "{answer:?}");
    }
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_connection_is_refused() {
    let secret = Secret::random();
    let desk = node("desk", &secret).await;
    // Those who say all at once are not listened to before they say more, or their time is over.
    let farm = builder("farm", &secret).handshake_limit(Duration::from_millis(500));
    let farm = farm.build().await.unwrap();
    let mut events = events(&farm);
    let (address, mut received) = collector::<u32>();
    // It counts as told to somebody from here on, not from the first visit.
    farm.encode(&address).unwrap();
    let before = Kept::at_rest(&farm).await;
    let tap = Meddler::between(endpoint(&farm), Of::Dialler, Harm::None).await;
    soon(desk.connect(tap.endpoint)).await.unwrap();
    soon(sent(&farm, &desk, &address).deliver(7)).await.unwrap();
    assert_eq!(next(&mut received).await, 7);
    assert_eq!(next(&mut events).await, PeerEvent::Joined(desk.location()));
    let whole = tap.seen(Of::Dialler);
    // The first record is the client's hello.
    let hello = 5 + usize::from(u16::from_be_bytes([whole[3], whole[4]]));
    for first in [whole.len(), hello, hello, hello / 2] {
        let mut replay = TcpStream::connect(endpoint(&farm)).await.unwrap();
        replay.write_all(&whole[..first]).await.unwrap();
        let mut answer = vec![0; 4096];
        if first == hello {
            let answered = soon(replay.read(&mut answer)).await.unwrap();
            assert!(answered > 500, "a certificate at least");
        }
        replay.write_all(&whole[first..]).await.unwrap();
        match soon(replay.read_to_end(&mut answer)).await {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    // The link that it was taken from is as it was, and nothing came by the others.
    soon(sent(&farm, &desk, &address).deliver(8)).await.unwrap();
    assert_eq!(next(&mut received).await, 8);
    assert_eq!(received.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(farm.peers().len(), 1);
    desk.close().await;
    before.again_by(&farm).await;
}
