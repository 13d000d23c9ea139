//! How nodes find each other.

mod common;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use coros_net::sim::SimNetwork;
use coros_net::{
    BoxFuture, Builder, ConnectError, Folder, Node, NodeError, PeerEvent, Resolve, Secret,
    SendFile, Transport,
};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// Until a node knows another one.
async fn knows(node: &Node, other: &Node) {
    let mut events = events(node);
    loop {
        let event = events.recv().await.expect("the node is open");
        if let PeerEvent::Joined(peer) | PeerEvent::Returned(peer) = event
            && peer == other.location()
        {
            return;
        }
    }
}

async fn started(builder: Builder) -> Node {
    builder.build().await.expect("it starts")
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_starts_later_is_found_and_found_again() {
    let network = SimNetwork::new(1);
    let [desk, farm] = ["desk", "farm"].map(|name| network.host(name));
    let there = SocketAddr::from((farm.ip(), 7000));
    let desk = started(desk.builder().peer(there).member(false)).await;
    let mut at_desk = events(&desk);
    let start = || started(farm.builder().listen(there).member(false));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let PeerEvent::Unreachable(endpoint, why) = next(&mut at_desk).await else {
        panic!("nobody is there");
    };
    assert_eq!(endpoint, there);
    assert!(why.contains("cannot reach"), "{why}");
    assert!(at_desk.try_recv().is_err(), "it is told once");
    let first = start().await;
    let found = tokio::time::timeout(Duration::from_secs(31), at_desk.recv()).await;
    assert_eq!(found.unwrap(), Some(PeerEvent::Joined(first.location())));
    // Another launch in its place.
    first.close().await;
    assert_eq!(next(&mut at_desk).await, PeerEvent::Left(first.location()));
    let again = start().await;
    let found = tokio::time::timeout(Duration::from_secs(5), next(&mut at_desk)).await;
    assert_eq!(found.unwrap(), PeerEvent::Joined(again.location()));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_from_the_start_misses_nothing() {
    let network = SimNetwork::new(1);
    let [desk, farm] = ["desk", "farm"].map(|name| network.host(name));
    let there = SocketAddr::from((farm.ip(), 7000));
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let desk = desk.builder().peer(there).member(false);
    let desk = started(desk.on_peer_event(move |event| drop(sender.send(event)))).await;
    let unreachable = |event| matches!(event, PeerEvent::Unreachable(at, _) if at == there);
    assert!(unreachable(next(&mut told).await));
    let mut late = events(&desk);
    let farm = started(farm.builder().listen(there).member(false)).await;
    let joined = PeerEvent::Joined(farm.location());
    assert_eq!(
        next(&mut late).await,
        joined,
        "it is told of nothing before"
    );
    assert_eq!(next(&mut told).await, joined);
}

#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<Vec<SocketAddr>>>);

impl Resolve for Answers {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        assert_eq!((host, port), ("farms.example", 7000));
        let found = self.0.lock().expect("it works here").clone();
        Box::pin(async move {
            if found.is_empty() {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(found)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn all_addresses_of_a_name_are_found_whenever_they_change() {
    let network = SimNetwork::new(2);
    let answers = Answers::default();
    let desk = network.host("desk").builder().member(false);
    let desk = desk.dns("farms.example:7000").resolver(answers.clone());
    let desk = desk.build().await.unwrap();
    let mut farms = Vec::new();
    for count in 1..4 {
        let farm = network
            .host(&format!("farm{count}"))
            .builder()
            .member(false);
        farms.push(farm.build().await.unwrap());
        answers
            .0
            .lock()
            .unwrap()
            .push(endpoint(farms.last().unwrap()));
        tokio::time::timeout(Duration::from_secs(31), knows(&desk, farms.last().unwrap()))
            .await
            .unwrap();
        assert_eq!(desk.peers().len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_found_is_told_once_and_looked_up_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    std::fs::write(&path, "farms.example:7000\n").unwrap();
    let ways: [fn(Builder, &Path) -> Builder; 3] = [
        |desk, _| desk.peer("farms.example:7000"),
        |desk, _| desk.dns("farms.example:7000"),
        |desk, path| desk.peers_file(path),
    ];
    for way in ways {
        let network = SimNetwork::new(1);
        let [desk, farm] = ["desk", "farm"].map(|name| network.host(name));
        let answers = Answers::default();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let desk = way(desk.builder().member(false), &path).resolver(answers.clone());
        let desk = desk.on_peer_event(move |event| drop(sender.send(event)));
        let _desk = started(desk).await;
        let start = Instant::now();
        let PeerEvent::NotFound(name, why) = next(&mut told).await else {
            panic!("there is no such host");
        };
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(name.to_string(), "farms.example:7000");
        let expected = "cannot look up where farms.example:7000 is: entity not found";
        assert_eq!(&*why, expected);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert!(told.try_recv().is_err(), "it is told once");
        let farm = started(farm.builder().member(false)).await;
        answers.0.lock().unwrap().push(endpoint(&farm));
        let found = tokio::time::timeout(Duration::from_secs(31), told.recv()).await;
        assert_eq!(found.unwrap(), Some(PeerEvent::Joined(farm.location())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_flooded_keeps_no_other_from_being_heard() {
    let network = SimNetwork::new(6);
    let [desk, farm, hole] = ["desk", "farm", "hole"].map(|name| network.host(name));
    // Each dial there takes as long as it may.
    network.partition([&desk], [&hole]);
    let flood = (1..=10_000).map(|port| SocketAddr::from((hole.ip(), port)));
    let answers = Answers(Arc::new(Mutex::new(flood.collect())));
    let there = SocketAddr::from((farm.ip(), 7000));
    let desk = desk.builder().member(false).peer(there);
    let desk = desk.dns("farms.example:7000").resolver(answers);
    let desk = started(desk).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let farm = started(farm.builder().listen(there).member(false)).await;
    let found = tokio::time::timeout(Duration::from_secs(31), knows(&desk, &farm)).await;
    found.expect("the next dial finds it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_peers_is_read_again_when_it_changes() {
    let secret = Secret::random();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    std::fs::write(&path, "# nobody yet\n").unwrap();
    let desk = started(builder("desk", &secret).peers_file(&path)).await;
    let farm = node("farm", &secret).await;
    std::fs::write(&path, format!("{}  # the farm\n", endpoint(&farm))).unwrap();
    soon(knows(&desk, &farm)).await;
    // What cannot be read changes nothing.
    std::fs::write(&path, "nonsense\n").unwrap();
    let barn = node("barn", &secret).await;
    let mut at_desk = events(&desk);
    assert_eq!(next(&mut at_desk).await, PeerEvent::Joined(farm.location()));
    std::fs::write(&path, format!("{}\n{}\n", endpoint(&farm), endpoint(&barn))).unwrap();
    soon(knows(&desk, &barn)).await;
    assert_eq!(
        next(&mut at_desk).await,
        PeerEvent::Joined(barn.location()),
        "farm stayed"
    );
}

#[tokio::test]
async fn what_is_no_peer_is_named() {
    let secret = Secret::random();
    let desk = || builder("desk", &secret);
    let error = desk().peer("farm").build().await.unwrap_err();
    assert!(matches!(error, NodeError::Peer { .. }));
    assert_eq!(
        error.to_string(),
        "\"farm\" is no peer: a port is missing: give HOST:PORT, such as farm.example:7340"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let error = desk().peers_file(&path).build().await.unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    std::fs::write(&path, "10.0.0.1:7\n\nfarm\n").unwrap();
    let error = desk().peers_file(&path).build().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("peers, line 3: a port is missing"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_none_of_us_is_not_pestered() {
    let network = SimNetwork::new(1);
    let [desk, web] = ["desk", "web"].map(|name| network.host(name));
    let there = SocketAddr::from((web.ip(), 80));
    let mut listener = web.listen(there).await.unwrap();
    let (sender, mut dialled) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        loop {
            let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
            let (mut stream, _) = accepted.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            streams.push(stream);
            sender.send(()).unwrap();
        }
    });
    let desk = desk.builder().peer(there).build().await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(dialled.try_recv().is_ok());
    assert!(dialled.try_recv().is_err(), "once");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(dialled.try_recv().is_ok(), "but not given up");
    drop(desk);
}

#[tokio::test(start_paused = true)]
async fn however_many_are_given_few_are_dialled_at_once() {
    let network = SimNetwork::new(1);
    let [desk, web] = ["desk", "web"].map(|name| network.host(name));
    let (sender, mut dialled) = tokio::sync::mpsc::unbounded_channel();
    let mut builder = desk.builder();
    for port in 1..=200 {
        let there = SocketAddr::from((web.ip(), port));
        let mut listener = web.listen(there).await.unwrap();
        let sender = sender.clone();
        tokio::spawn(async move {
            // It never answers.
            let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
            sender.send(port).unwrap();
            std::future::pending::<()>().await;
            drop(accepted);
        });
        builder = builder.peer(there);
    }
    let desk = builder.build().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = std::iter::from_fn(|| dialled.try_recv().ok()).count();
    assert_eq!(first, 64);
    // Each has its turn.
    for _ in first..200 {
        dialled.recv().await.unwrap();
    }
    soon(desk.close()).await;
}

#[tokio::test(start_paused = true)]
async fn peers_of_peers_learn_the_advertised_endpoint() {
    let network = SimNetwork::new(3);
    let [gate, inside, desk, barn] =
        ["gate", "inside", "desk", "barn"].map(|name| network.host(name));
    let outside = SocketAddr::from((gate.ip(), 9000));
    let inside = inside.builder().advertise(outside).build().await.unwrap();
    // Whatever comes to the gate goes on to the node inside.
    forward(&gate, outside, inside.listening_on().unwrap()).await;
    let desk = desk.builder().peer(outside).build().await.unwrap();
    soon(knows(&desk, &inside)).await;
    let barn = barn.builder().peer(endpoint(&desk)).build().await.unwrap();
    soon(knows(&barn, &inside)).await;
    let told = barn
        .peers()
        .into_iter()
        .find(|peer| *peer == inside.location())
        .unwrap();
    assert_eq!(told.endpoint, Some(outside));
    soon(barn.connect(told.endpoint.unwrap())).await.unwrap();
    assert!(barn.links().contains(&inside.location()));
}

async fn forward(gate: &coros_net::sim::SimHost, at: SocketAddr, to: SocketAddr) {
    let mut listener = gate.listen(at).await.expect("it works here");
    let gate = gate.clone();
    tokio::spawn(async move {
        loop {
            let accepted = std::future::poll_fn(|cx| listener.poll_accept(cx)).await;
            let (mut near, _) = accepted.expect("it works here");
            let mut far = gate.dial(to).await.expect("it works here");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_while_friends_stay() {
    let secret = Secret::random();
    let farm = node("farm", &secret).await;
    let [desk, barn] = [node("desk", &secret).await, node("barn", &secret).await];
    soon(desk.connect(endpoint(&farm))).await.unwrap();
    farm.refuse_new(true);
    let error = soon(barn.connect(endpoint(&farm))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
    assert!(
        error.to_string().contains("it takes no new peers now"),
        "{error}"
    );
    assert_eq!(farm.links(), [desk.location()]);
    // It may make links itself, and then it knows the peer.
    soon(farm.connect(endpoint(&barn))).await.unwrap();
    assert_eq!(farm.links().len(), 2);
    farm.refuse_new(false);
    let mill = node("mill", &secret).await;
    soon(mill.connect(endpoint(&farm))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn strangers_come_in_by_no_other_door_than_the_one_that_is_closed() {
    let network = SimNetwork::new(1);
    let inbox = tempfile::tempdir().expect("there is room");
    let build = async |name| {
        network
            .host(name)
            .builder()
            .build()
            .await
            .expect("it starts")
    };
    let farm = network
        .host("farm")
        .builder()
        .files(Folder::new(inbox.path()));
    let farm = farm.build().await.expect("it starts");
    let desk = build("desk").await;
    desk.connect(endpoint(&farm)).await.expect("it takes peers");
    farm.refuse_new(true);

    // Neither by what members tell of each other, though the friend takes the stranger in.
    let barn = build("barn").await;
    barn.connect(endpoint(&desk)).await.expect("it takes peers");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(desk.peers().contains(&barn.location()));
    assert_eq!(farm.peers(), [desk.location()]);
    let links = farm.links();
    assert!(!links.contains(&barn.location()), "{links:?}");
    let error = barn.connect(endpoint(&farm)).await.expect_err("it is new");
    assert!(error.to_string().contains("no new peers"), "{error}");

    // Nor by a file.
    let letter = inbox.path().join("letter");
    std::fs::write(&letter, "hello").expect("there is room");
    let (there, options) = (farm.location(), SendFile::new().name("other"));
    let sent = barn.send_file(&there, &letter, options);
    let error = sent.await.expect_err("it is new");
    assert!(error.to_string().contains("no new peers"), "{error}");
    assert!(!inbox.path().join("other").exists());

    // And nobody takes it for dead, since its friend answers for it.
    assert!(barn.peers().contains(&farm.location()));
    farm.refuse_new(false);
    barn.connect(endpoint(&farm))
        .await
        .expect("it takes peers again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_closed_ends_on_both_sides_and_can_begin_anew() {
    let [desk, farm] = pair().await;
    let (mut at_desk, mut at_farm) = (events(&desk), events(&farm));
    assert!(!desk.close_peer(&farm.location().node), "there is none");
    soon(desk.connect(endpoint(&farm))).await.unwrap();
    for events in [&mut at_desk, &mut at_farm] {
        assert!(matches!(next(events).await, PeerEvent::Joined(_)));
    }
    let (address, _received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let mut exit = Box::pin(remote.exit());
    // From now on, and not from after the end, when it would open another session.
    assert!(polled(&mut exit).await.is_pending());
    soon(remote.deliver(1)).await.unwrap();
    assert!(desk.close_peer(&farm.location().node));
    assert_eq!(soon(exit).await, coros_core::Exit::Disconnected);
    for events in [&mut at_desk, &mut at_farm] {
        assert!(matches!(next(events).await, PeerEvent::Left(_)));
    }
    soon(async {
        while remote.deliver(2).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for events in [&mut at_desk, &mut at_farm] {
        assert!(matches!(next(events).await, PeerEvent::Joined(_)));
    }
}
