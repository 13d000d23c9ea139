//! How links come to be, end, and are told of.

mod common;

use std::time::{Duration, Instant};

use common::*;
use coros_core::{Context, Exit, SendError};
use coros_net::{ConnectError, HandshakeError, Node, NodeError, PeerEvent, Secret};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_tells_both_sides() {
    let [desk, farm] = pair().await;
    let (mut at_desk, mut at_farm) = (events(&desk), events(&farm));
    let peer = soon(desk.connect(endpoint(&farm))).await.unwrap();
    assert_eq!(
        (&*peer.name, peer.endpoint),
        ("farm", farm.location().endpoint)
    );
    assert_eq!(next(&mut at_desk).await, PeerEvent::Joined(farm.location()));
    assert_eq!(next(&mut at_farm).await, PeerEvent::Joined(desk.location()));
    // Again, and from the other side: the link there is.
    soon(desk.connect(endpoint(&farm))).await.unwrap();
    soon(farm.connect(endpoint(&desk))).await.unwrap();
    assert_eq!(
        events(&farm).recv().await,
        Some(PeerEvent::Joined(desk.location()))
    );
    desk.close().await;
    assert_eq!(next(&mut at_farm).await, PeerEvent::Left(desk.location()));
    assert_eq!(next(&mut at_desk).await, PeerEvent::Left(farm.location()));
    assert!(at_desk.recv().await.is_none(), "the node has closed");
    assert!(farm.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_messages() {
    let [desk, farm] = pair().await;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let coro = coros_core::spawn(async move |mut me: Context<PeerEvent>| {
        while let Some(event) = me.receive().await {
            sender.send(event).unwrap();
        }
    });
    desk.peer_events(coro.address(), |event| event);
    soon(farm.connect(endpoint(&desk))).await.unwrap();
    assert_eq!(next(&mut seen).await, PeerEvent::Joined(farm.location()));
    farm.close().await;
    assert_eq!(next(&mut seen).await, PeerEvent::Left(farm.location()));
    desk.close().await;
    assert_eq!(
        soon(coro.join()).await,
        Ok(()),
        "the last address went with the node"
    );
}

#[tokio::test]
async fn events_for_a_coroutine_end_with_it() {
    let desk = node("desk", &Secret::random()).await;
    let coro = coros_core::spawn(async |mut me: Context<PeerEvent>| drop(me.receive().await));
    let (held, mut dropped) = tokio::sync::mpsc::channel::<()>(1);
    desk.peer_events(coro.address(), move |event| {
        let _held = &held;
        event
    });
    coro.address().terminate();
    assert_eq!(soon(dropped.recv()).await, None, "without any event");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_secret_is_refused_on_both_sides() {
    let desk = node("desk", &Secret::random()).await;
    let farm = node("farm", &Secret::random()).await;
    let mut at_farm = events(&farm);
    let error = soon(desk.connect(endpoint(&farm))).await.unwrap_err();
    let source = HandshakeError::OtherSecret;
    assert!(matches!(&error, ConnectError::Handshake { source: s, .. } if *s == source));
    assert!(error.to_string().contains("different secrets"), "{error}");
    let PeerEvent::Refused(_, refused) = next(&mut at_farm).await else {
        panic!()
    };
    assert_eq!(refused, source);

    let (address, _received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let SendError::Disconnected(7, why) = soon(remote.deliver(7)).await.unwrap_err() else {
        panic!("there can be no link");
    };
    assert!(
        why.contains("farm@") && why.contains("different secrets"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_refused_on_both_sides() {
    let secret = Secret::random();
    let desk = builder("desk", &secret)
        .network("home")
        .build()
        .await
        .unwrap();
    let farm = builder("farm", &secret)
        .network("work")
        .build()
        .await
        .unwrap();
    let mut at_farm = events(&farm);
    let error = soon(desk.connect(endpoint(&farm)))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("this node on network \"home\""), "{error}");
    let PeerEvent::Refused(_, refused) = next(&mut at_farm).await else {
        panic!()
    };
    assert_eq!(
        refused.to_string(),
        "the peer is on network \"home\", this node on network \"work\""
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_node_is_named() {
    let secret = Secret::random();
    let desk = builder("desk", &secret)
        .handshake_limit(Duration::from_millis(300))
        .build()
        .await;
    let desk = desk.unwrap();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let error = soon(desk.connect(silent)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");

    drop(listener);
    let error = soon(desk.connect(silent)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&silent.to_string()), "{error}");

    let error = soon(desk.connect(endpoint(&desk))).await.unwrap_err();
    assert!(matches!(error, ConnectError::Itself { .. }), "{error}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let web = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n").await
    });
    let error = soon(desk.connect(web)).await.unwrap_err();
    let ConnectError::Handshake {
        source: HandshakeError::NotCoros(_),
        ..
    } = error
    else {
        panic!("{error}");
    };
    desk.close().await;
    let error = soon(desk.connect(silent)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Closed), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named() {
    let [desk, _farm] = pair().await;
    let taken = builder("barn", &Secret::random())
        .listen(endpoint(&desk))
        .build()
        .await;
    let error = taken.unwrap_err();
    assert!(matches!(error, NodeError::Listen { .. }));
    assert!(
        error.to_string().contains(&endpoint(&desk).to_string()),
        "{error}"
    );
    assert!(
        error.to_string().contains("another program has this port"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_listen_is_reached_over_its_own_link() {
    let secret = Secret::random();
    let desk = builder("desk", &secret).no_listen().build().await.unwrap();
    let farm = node("farm", &secret).await;
    let (address, mut received) = collector::<u32>();
    let remote = sent(&desk, &farm, &address);
    let error = remote.send(1).unwrap_err().to_string();
    assert!(
        error.contains("desk") && error.contains("does not accept any"),
        "{error}"
    );
    assert_eq!(soon(remote.exit()).await, Exit::Disconnected);
    soon(desk.connect(endpoint(&farm))).await.unwrap();
    let mut at_farm = events(&farm);
    assert_eq!(next(&mut at_farm).await, PeerEvent::Joined(desk.location()));
    remote.send(2).unwrap();
    assert_eq!(next(&mut received).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_dials_lose_nothing() {
    let secret = Secret::random();
    for round in 0..60 {
        let [desk, farm] = [node("desk", &secret).await, node("farm", &secret).await];
        let (on_desk, mut at_desk) = collector::<u32>();
        let (on_farm, mut at_farm) = collector::<u32>();
        let to_farm = sent(&farm, &desk, &on_farm);
        let to_desk = sent(&desk, &farm, &on_desk);
        let mut tasks = tokio::task::JoinSet::new();
        for to in [to_farm, to_desk] {
            tasks.spawn(async move {
                for n in 0..100 {
                    to.send(n).unwrap();
                }
                soon(to.deliver(100)).await.unwrap();
            });
        }
        if round % 3 == 0 {
            let (desk, endpoint) = (desk.clone(), endpoint(&farm));
            tasks.spawn(async move { drop(soon(desk.connect(endpoint)).await.unwrap()) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        for n in 0..=100 {
            assert_eq!(next(&mut at_desk).await, n);
            assert_eq!(next(&mut at_farm).await, n);
        }
        assert_eq!((desk.peers().len(), farm.peers().len()), (1, 1));
        desk.close().await;
        farm.close().await;
    }
}

/// Two nodes, the second reached through a cable. Sessions end with their links.
async fn cabled(silence: Duration, outbox: usize) -> ([Node; 2], Cable) {
    let secret = Secret::random();
    let (cable, to) = Cable::lay().await;
    let farm = builder("farm", &secret)
        .advertise(cable.endpoint)
        .silence(silence)
        .grace(Duration::ZERO)
        .build();
    let farm = farm.await.expect("it starts");
    to.send_replace(farm.listening_on());
    let desk = builder("desk", &secret)
        .silence(silence)
        .grace(Duration::ZERO)
        .outbox(outbox)
        .no_listen()
        .build();
    ([desk.await.expect("it starts"), farm], cable)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_cable_is_known_at_once_and_ends_all_waits() {
    let ([desk, farm], cable) = cabled(PATIENT, 1 << 20).await;
    let full = coros_core::build()
        .capacity(1)
        .spawn(async |me: Context<u32>| {
            let () = std::future::pending().await;
            drop(me);
        });
    let remote = sent(&farm, &desk, &full.address());
    let (mut at_desk, mut at_farm) = (events(&desk), events(&farm));
    soon(remote.deliver(1)).await.unwrap();
    let mut waiting = Box::pin(remote.deliver(2));
    let mut watching = Box::pin(remote.exit());
    assert!(polled(&mut waiting).await.is_pending());
    assert!(polled(&mut watching).await.is_pending());
    // What another coroutine has received shows that both have come.
    let (other, _received) = collector::<u32>();
    soon(sent(&farm, &desk, &other).deliver(0)).await.unwrap();
    assert_eq!(next(&mut at_desk).await, PeerEvent::Joined(farm.location()));
    assert_eq!(next(&mut at_farm).await, PeerEvent::Joined(desk.location()));
    let start = Instant::now();
    cable.cut();
    let SendError::Disconnected(2, why) = soon(waiting).await.unwrap_err() else {
        panic!("the link is lost");
    };
    assert!(why.starts_with("farm@"), "{why}");
    assert_eq!(soon(watching).await, Exit::Disconnected);
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Lost(..)));
    assert!(matches!(next(&mut at_farm).await, PeerEvent::Lost(..)));
    assert!(start.elapsed() < PATIENT / 4, "not by silence");
    full.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cable_that_is_cut_and_mended_loses_nothing() {
    let secret = Secret::random();
    // Whoever dials, it is through a cable.
    let mut cabled = Vec::new();
    for name in ["desk", "farm"] {
        let (cable, to) = Cable::lay().await;
        let node = builder(name, &secret).advertise(cable.endpoint).build();
        let node = node.await.unwrap();
        to.send_replace(node.listening_on());
        cabled.push((node, cable));
    }
    let [(desk, near), (farm, far)] = cabled.try_into().ok().unwrap();
    let (address, mut received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let mut at_desk = events(&desk);
    soon(remote.deliver(0)).await.unwrap();
    assert_eq!(next(&mut at_desk).await, PeerEvent::Joined(farm.location()));
    let watching = tokio::spawn({
        let remote = remote.clone();
        async move { remote.exit().await }
    });
    const EACH: u32 = 2000;
    for round in 0..10 {
        for n in 1..=EACH {
            remote.send(round * EACH + n).unwrap();
            if n == EACH / 2 {
                near.cut();
                far.cut();
                assert!(matches!(next(&mut at_desk).await, PeerEvent::Lost(..)));
                near.release();
                far.release();
            }
        }
        let back = next(&mut at_desk).await;
        assert_eq!(back, PeerEvent::Returned(farm.location()));
    }
    soon(remote.deliver(10 * EACH + 1)).await.unwrap();
    for n in 0..=10 * EACH + 1 {
        assert_eq!(next(&mut received).await, n);
    }
    address.terminate();
    assert_eq!(soon(watching).await.unwrap(), Exit::Terminated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_process_is_gone_is_known_at_once() {
    let secret = Secret::random();
    let (cable, to) = Cable::lay().await;
    let farm = builder("farm", &secret).advertise(cable.endpoint).build();
    let farm = farm.await.unwrap();
    to.send_replace(farm.listening_on());
    let desk = builder("desk", &secret)
        .grace(PATIENT)
        .build()
        .await
        .unwrap();
    let (address, _received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    soon(remote.deliver(0)).await.unwrap();
    let mut watching = Box::pin(remote.exit());
    assert!(polled(&mut watching).await.is_pending());
    let start = Instant::now();
    // Nobody listens any more, and then the connection is closed: as the system does.
    cable.end().await;
    assert_eq!(soon(watching).await, Exit::Disconnected);
    assert!(start.elapsed() < PATIENT / 4, "not by patience");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_ends_with_its_link() {
    let ([desk, farm], cable) = cabled(PATIENT, 1 << 20).await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<u32>| {
            gone.await.unwrap();
            let mut all = Vec::new();
            while let Some(message @ 1..) = me.receive().await {
                all.push(message);
            }
            all
        });
    let (other, _received) = collector::<u32>();
    let [remote, other] = [&slow.address(), &other].map(|a| sent(&farm, &desk, a));
    let mut at_farm = events(&farm);
    soon(remote.deliver(1)).await.unwrap();
    assert!(matches!(next(&mut at_farm).await, PeerEvent::Joined(_)));
    let mut second = Box::pin(remote.deliver(2));
    assert!(polled(&mut second).await.is_pending());
    remote.send(3).unwrap();
    soon(other.deliver(0)).await.unwrap();
    cable.cut();
    soon(second).await.unwrap_err();
    assert!(matches!(next(&mut at_farm).await, PeerEvent::Lost(..)));
    // What its sender was told is lost must not come after what is sent later.
    cable.release();
    let fourth = tokio::spawn({
        let remote = remote.clone();
        async move { remote.deliver(4).await }
    });
    assert!(matches!(next(&mut at_farm).await, PeerEvent::Returned(_)));
    go.send(()).unwrap();
    soon(fourth).await.unwrap().unwrap();
    soon(remote.deliver(0)).await.unwrap();
    assert_eq!(soon(slow.join()).await.unwrap(), [1, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_panics_harms_no_other() {
    let ([desk, farm], cable) = cabled(PATIENT, 1 << 20).await;
    let (address, mut received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let (told, mut exits) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..8 {
        remote.on_exit(|_| panic!("this watcher is out of order"));
        let told = told.clone();
        remote.on_exit(move |exit| drop(told.send(exit)));
    }
    soon(remote.deliver(1)).await.unwrap();
    assert_eq!(next(&mut received).await, 1);
    cable.cut();
    for _ in 0..8 {
        assert_eq!(next(&mut exits).await, Exit::Disconnected);
    }
    farm.close().await;
    // Nor whoever sets it where there is no link to be had.
    soon(remote.deliver(2)).await.unwrap_err();
    remote.on_exit(|_| panic!("this watcher is out of order"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_lost_in_time() {
    let silence = Duration::from_millis(1000);
    let ([desk, farm], cable) = cabled(silence, 1 << 20).await;
    let mut at_desk = events(&desk);
    soon(desk.connect(cable.endpoint)).await.unwrap();
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Joined(_)));
    // Heartbeats keep an idle link.
    assert!(
        tokio::time::timeout(3 * silence, at_desk.recv())
            .await
            .is_err()
    );
    cable.hold();
    let start = Instant::now();
    let PeerEvent::Lost(who, why) = next(&mut at_desk).await else {
        panic!()
    };
    assert_eq!(who, farm.location());
    assert!(why.contains("no sign of life"), "{why}");
    assert!(start.elapsed() < 2 * silence, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_lost_in_time_also_while_something_is_written_to_it() {
    let ([desk, farm], cable) = cabled(Duration::from_secs(1), 64 << 20).await;
    let (address, mut received) = collector::<Vec<u8>>();
    let remote = sent(&farm, &desk, &address);
    soon(remote.deliver(vec![])).await.unwrap();
    assert_eq!(next(&mut received).await, []);
    let mut at_desk = events(&desk);
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Joined(_)));
    cable.hold();
    // More than the sockets' buffers take: the write cannot end, and TCP alone would be patient
    // for a quarter of an hour.
    remote.send(vec![1; 15 << 20]).unwrap();
    let PeerEvent::Lost(_, why) = next(&mut at_desk).await else {
        panic!()
    };
    assert!(why.contains("no sign of life"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_peer_is_bounded() {
    let ([desk, farm], cable) = cabled(PATIENT, 100_000).await;
    let (address, mut received) = collector::<Vec<u8>>();
    let remote = sent(&farm, &desk, &address);
    soon(remote.deliver(vec![])).await.unwrap();
    assert_eq!(next(&mut received).await, []);
    cable.hold();
    // Longer than what the sockets' buffers take: it is being written until the cable is released.
    let long = 15 << 20;
    remote.send(vec![0; long]).unwrap();
    let back = remote.send(vec![1; 50_000]).unwrap_err();
    assert!(matches!(&back, SendError::Full(message) if message.len() == 50_000));
    let mut delivery = Box::pin(remote.deliver(vec![2; 60_000]));
    assert!(polled(&mut delivery).await.is_pending());
    let back = remote.send(vec![1; 50_000]).unwrap_err();
    assert!(matches!(back, SendError::Full(_)));
    cable.release();
    soon(delivery).await.unwrap();
    assert_eq!(next(&mut received).await.len(), long);
    assert_eq!(next(&mut received).await, vec![2; 60_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_what_is_queued() {
    for _ in 0..20 {
        let [desk, farm] = pair().await;
        let (address, mut received) = collector::<u32>();
        let remote = sent(&farm, &desk, &address);
        soon(remote.deliver(0)).await.unwrap();
        for n in 1..5000 {
            remote.send(n).unwrap();
        }
        soon(desk.close()).await;
        for n in 0..5000 {
            assert_eq!(next(&mut received).await, n);
        }
        let error = remote.send(1).unwrap_err().to_string();
        assert!(error.contains("this node has closed"), "{error}");
        assert_eq!(soon(remote.exit()).await, Exit::Disconnected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes() {
    let [desk, farm] = pair().await;
    let mut at_desk = events(&desk);
    soon(desk.connect(endpoint(&farm))).await.unwrap();
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Joined(_)));
    let (gone, listened) = (farm.location(), endpoint(&farm));
    drop(farm);
    assert_eq!(next(&mut at_desk).await, PeerEvent::Left(gone));
    soon(async {
        while std::net::TcpListener::bind(listened).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_another() {
    let secret = Secret::random();
    let desk = node("desk", &secret).await;
    let farm = node("farm", &secret).await;
    let (address, _received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let at = endpoint(&farm);
    farm.close().await;
    let again = builder("farm", &secret).listen(at).build().await.unwrap();
    let SendError::Disconnected(1, why) = soon(remote.deliver(1)).await.unwrap_err() else {
        panic!("a stale address reaches nobody");
    };
    assert!(why.contains("another node, \"farm\", listens"), "{why}");
    soon(desk.connect(endpoint(&again))).await.unwrap();
}

#[test]
fn a_runtime_that_is_dropped_takes_its_node_along() {
    let near = tokio::runtime::Runtime::new().unwrap();
    let far = tokio::runtime::Runtime::new().unwrap();
    let secret = Secret::random();
    let desk = near.block_on(node("desk", &secret));
    let farm = far.block_on(node("farm", &secret));
    let (address, _received) = far.block_on(async { collector::<u32>() });
    let remote = sent(&farm, &desk, &address);
    near.block_on(soon(remote.deliver(1))).unwrap();
    let watching = near.spawn({
        let remote = remote.clone();
        async move { remote.exit().await }
    });
    far.shutdown_timeout(Duration::from_secs(5));
    let exit = near.block_on(soon(watching)).unwrap();
    assert!(
        matches!(exit, Exit::Terminated | Exit::Disconnected),
        "{exit}"
    );
    // And ours, while something waits: nothing hangs, nothing panics.
    near.shutdown_timeout(Duration::from_secs(5));
    assert!(remote.send(2).is_ok_and(|()| true) || remote.send(2).is_err());
    drop((desk, farm));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_dials_that_cross_one_becomes_the_link() {
    let secret = Secret::random();
    for round in 0..200 {
        let nodes = [node("desk", &secret).await, node("farm", &secret).await];
        let [desk, farm] = &nodes;
        let mut told = [events(desk), events(farm)];
        // Now and then more than one of each at a time, too.
        let mut dials = tokio::task::JoinSet::new();
        for _ in 0..=round % 3 {
            for (from, to) in [(desk, farm), (farm, desk)] {
                let (from, to) = (from.clone(), to.location());
                dials.spawn(async move {
                    let linked = soon(from.connect(to.endpoint.unwrap())).await;
                    assert_eq!(linked.unwrap().node, to.node);
                });
            }
        }
        while let Some(dialled) = dials.join_next().await {
            dialled.unwrap();
        }
        // Everything goes over the one that both have.
        let (on_desk, mut at_desk) = collector::<u32>();
        let (on_farm, mut at_farm) = collector::<u32>();
        soon(sent(desk, farm, &on_desk).deliver(1)).await.unwrap();
        soon(sent(farm, desk, &on_farm).deliver(2)).await.unwrap();
        assert_eq!((next(&mut at_desk).await, next(&mut at_farm).await), (1, 2));
        for (of, other) in [(0, 1), (1, 0)] {
            let joined = PeerEvent::Joined(nodes[other].location());
            assert_eq!(next(&mut told[of]).await, joined, "round {round}");
            assert!(
                told[of].try_recv().is_err(),
                "round {round}: no other event"
            );
            let census = nodes[of].census();
            // A link has two tasks.
            assert_eq!((census.sessions, census.links), (1, 2), "round {round}");
        }
        for node in &nodes {
            soon(node.close()).await;
        }
    }
}
