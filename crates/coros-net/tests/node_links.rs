//! How links come to be, and are told of.

mod common;

use std::time::Duration;

use common::*;
use coros_core::{Context, Exit, SendError};
use coros_net::{ConnectError, HandshakeError, NodeError, PeerEvent, Secret};

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
    let why = HandshakeError::OtherSecret;
    assert!(matches!(&error, ConnectError::Handshake { why: s, .. } if *s == why));
    assert!(error.to_string().contains("different secrets"), "{error}");
    let PeerEvent::Refused(_, refused) = next(&mut at_farm).await else {
        panic!()
    };
    assert_eq!(refused, why);

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
        why: HandshakeError::NotCoros(_),
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
