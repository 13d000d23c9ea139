//! How links end: by a cut, by silence, by closing; and what becomes of what waits for them.

mod common;

use std::time::{Duration, Instant};

use common::*;
use coros_core::{Context, Exit, SendError};
use coros_net::{Node, PeerEvent, Secret};

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
