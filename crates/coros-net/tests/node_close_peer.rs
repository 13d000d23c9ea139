//! What the end of a session, by `close_peer`, means to the other side; in virtual time.

mod common;

use std::time::Duration;

use common::{collector, events, next, sent};
use coros_core::{Address, SendError};
use coros_net::sim::SimNetwork;
use coros_net::{Node, PeerEvent};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const LATENCY: Duration = Duration::from_millis(10);

/// So many members that know each other, by way of the first.
async fn members(network: &SimNetwork, number: usize, period: Duration) -> Vec<Node> {
    network.latency(LATENCY..=LATENCY);
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..number {
        let host = network.host(&format!("n{n}"));
        let builder = host.builder().probe(period).idle(Duration::from_secs(3));
        let node = builder.build().await.expect("it starts");
        if let Some(first) = nodes.first() {
            let endpoint = first.location().endpoint.expect("it listens");
            node.connect(endpoint).await.expect("it is there");
        }
        nodes.push(node);
    }
    sleep(period * 3).await;
    nodes
}

/// The events from now on.
async fn told(node: &Node) -> mpsc::UnboundedReceiver<PeerEvent> {
    let mut told = events(node);
    for _ in node.peers() {
        assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
    }
    told
}

fn so_far(told: &mut mpsc::UnboundedReceiver<PeerEvent>) -> Vec<PeerEvent> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

async fn until_dormant(nodes: [&Node; 2]) {
    let [desk, farm] = nodes;
    while desk.links().contains(&farm.location()) || farm.links().contains(&desk.location()) {
        sleep(LATENCY).await;
    }
}

/// Members that need no link look after others, so that the two have none.
#[tokio::test(start_paused = true)]
async fn a_member_whose_dormant_session_is_ended_is_not_lost_by_the_other() {
    let network = SimNetwork::new(1);
    let nodes = members(&network, 3, Duration::from_secs(20)).await;
    let [desk, farm, _] = &nodes[..] else {
        panic!("three")
    };
    let (address, mut received) = collector::<u32>();
    let remote = sent(farm, desk, &address);
    let (home, mut at_home) = collector::<u32>();
    let back = sent(desk, farm, &home);
    let mut at_farm = told(farm).await;
    // The next use is by who has ended it, then by the other, which finds out by that.
    for n in 1..=2 {
        remote.deliver(n).await.expect("it is there");
        assert_eq!(next(&mut received).await, n);
        back.deliver(n).await.expect("it is there");
        assert_eq!(next(&mut at_home).await, n);
        until_dormant([desk, farm]).await;
        assert!(desk.close_peer(&farm.location().node), "there was one");
        if n == 2 {
            let found_out = back.deliver(0).await;
            assert!(
                matches!(found_out, Err(SendError::Disconnected(0, _))),
                "{found_out:?}"
            );
        }
    }
    remote.deliver(3).await.expect("another session");
    back.deliver(3).await.expect("another session");
    sleep(LATENCY * 10).await;
    assert_eq!(so_far(&mut at_farm), []);
}

/// At each moment while a link is made, by whoever ends the session or by the other.
#[tokio::test(start_paused = true)]
async fn a_member_whose_session_is_ended_while_its_link_is_made_is_lost_by_nobody() {
    for (wait, by_other) in (0..100).flat_map(|wait| [(wait, false), (wait, true)]) {
        let network = SimNetwork::new(wait);
        let nodes = members(&network, 2, Duration::from_secs(1)).await;
        let [desk, farm] = &nodes[..] else {
            panic!("two")
        };
        let (user, home) = if by_other { (farm, desk) } else { (desk, farm) };
        let (address, mut received) = collector::<u32>();
        let remote = sent(home, user, &address);
        let mut told = [told(desk).await, told(farm).await];
        assert!(desk.close_peer(&farm.location().node));
        // The next use makes another.
        while remote.send(1).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(wait)).await;
        desk.close_peer(&farm.location().node);
        // And so does the next, which has to wait for no more than the end of the one before.
        let began = Instant::now();
        while remote.deliver(2).await.is_err() {
            assert!(began.elapsed() < LATENCY * 10, "{wait} ms");
            sleep(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() < LATENCY * 20, "{wait} ms");
        while next(&mut received).await != 2 {}
        sleep(Duration::from_secs(5)).await;
        for (who, told) in ["desk", "farm"].iter().zip(&mut told) {
            assert_eq!(so_far(told), [], "{wait} ms, {by_other}: {who}");
        }
        for node in &nodes {
            node.close().await;
        }
    }
}

/// Two that are no members.
async fn strangers(network: &SimNetwork) -> [Node; 2] {
    network.latency(LATENCY..=LATENCY);
    let build = async |name| {
        let builder = network.host(name).builder().member(false);
        let node = builder.idle(Duration::from_secs(3)).build();
        node.await.expect("it starts")
    };
    [build("desk").await, build("farm").await]
}

/// At each moment while a link is made again.
#[tokio::test(start_paused = true)]
async fn a_dormant_session_that_is_ended_as_soon_as_it_is_used_ends_on_both_sides() {
    for wait in 0..100 {
        let network = SimNetwork::new(wait);
        let [desk, farm] = &strangers(&network).await;
        let (address, mut received) = collector::<u32>();
        let remote = sent(farm, desk, &address);
        remote.deliver(1).await.expect("it is there");
        // Of this one only the session has an address.
        let (only, mut over) = collector::<u32>();
        let (keeper, mut kept) = collector::<Address<u32>>();
        let keeper = sent(desk, farm, &keeper);
        keeper.deliver(only).await.expect("it is there");
        let held = next(&mut kept).await;
        held.deliver(1).await.expect("it is there");
        assert_eq!(next(&mut over).await, 1);
        drop(keeper);
        until_dormant([desk, farm]).await;
        let mut told = [told(desk).await, told(farm).await];
        remote.send(2).expect("there is room");
        sleep(Duration::from_millis(wait)).await;
        assert!(desk.close_peer(&farm.location().node), "{wait} ms");
        while remote.deliver(3).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        while next(&mut received).await != 3 {}
        assert_eq!(common::soon(over.recv()).await, None, "{wait} ms");
        for told in &mut told {
            let told = so_far(told);
            let is_lost = told.iter().any(|it| matches!(it, PeerEvent::Lost(..)));
            assert!(!is_lost, "{wait} ms: {told:?}");
        }
    }
}

/// The dial for a session goes on for a while after that has ended: its greeting is slow at some moment.
#[tokio::test(start_paused = true)]
async fn the_next_session_does_not_fail_with_the_dial_for_the_one_before() {
    let mut dialled = 0;
    for wait in 0..100 {
        let network = SimNetwork::new(wait);
        let nodes = members(&network, 2, Duration::from_secs(1)).await;
        let [desk, farm] = &nodes[..] else {
            panic!("two")
        };
        let (address, mut received) = collector::<u32>();
        let remote = sent(farm, desk, &address);
        let mut told = [told(desk).await, told(farm).await];
        assert!(desk.close_peer(&farm.location().node));
        while remote.send(1).is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(wait)).await;
        network.latency(LATENCY * 20..=LATENCY * 20);
        sleep(Duration::from_millis(2)).await;
        network.latency(LATENCY..=LATENCY);
        if desk.links().contains(&farm.location()) {
            break;
        }
        dialled += 1;
        assert!(desk.close_peer(&farm.location().node), "{wait} ms");
        let delivered = common::soon(remote.deliver(2)).await;
        assert!(delivered.is_ok(), "{wait} ms: {delivered:?}");
        while next(&mut received).await != 2 {}
        sleep(LATENCY * 10).await;
        for told in &mut told {
            assert_eq!(so_far(told), [], "{wait} ms");
        }
        for node in &nodes {
            node.close().await;
        }
    }
    assert!(dialled > 10, "{dialled} ms");
}

/// At each moment while a link is made again.
#[tokio::test(start_paused = true)]
async fn nobody_goes_on_to_dial_for_a_dormant_session_that_is_ended() {
    for wait in 0..100 {
        let network = SimNetwork::new(wait);
        let [desk, farm] = &strangers(&network).await;
        let (address, _received) = collector::<u32>();
        let remote = sent(farm, desk, &address);
        remote.deliver(1).await.expect("it is there");
        until_dormant([desk, farm]).await;
        let mut told = told(desk).await;
        remote.send(2).expect("there is room");
        sleep(Duration::from_millis(wait)).await;
        assert!(desk.close_peer(&farm.location().node), "{wait} ms");
        sleep(Duration::from_secs(2)).await;
        let left = PeerEvent::Left(farm.location());
        assert_eq!(so_far(&mut told), [left], "{wait} ms");
        assert_eq!(desk.links(), [], "{wait} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn all_have_left_for_a_node_that_closes_members_or_not() {
    let network = SimNetwork::new(1);
    let nodes = members(&network, 2, Duration::from_secs(1)).await;
    let [desk, farm] = &nodes[..] else {
        panic!("two")
    };
    let mut told = [told(desk).await, told(farm).await];
    desk.close().await;
    let left = [farm, desk].map(|node| PeerEvent::Left(node.location()));
    for (told, left) in told.iter_mut().zip(left) {
        assert_eq!(next(told).await, left);
    }
}

/// What was acknowledged has come, in order and once, however often sessions are ended by either.
#[tokio::test(start_paused = true)]
async fn ends_of_sessions_lose_nothing_acknowledged_and_keep_the_order() {
    for seed in 0..10_u64 {
        let network = SimNetwork::new(seed);
        let nodes = members(&network, 2, Duration::from_secs(1)).await;
        network.latency(Duration::from_millis(1)..=Duration::from_millis(20));
        let [desk, farm] = &nodes[..] else {
            panic!("two")
        };
        let mut told = [told(desk).await, told(farm).await];
        let (address, mut received) = collector::<u32>();
        let remote = sent(farm, desk, &address);
        let pair = [desk.clone(), farm.clone()];
        let closing = tokio::spawn(async move {
            for n in 0..40_u64 {
                sleep(Duration::from_millis((seed * 7 + n * 131) % 997)).await;
                let by = usize::from((n + seed) % 3 == 0);
                pair[by].close_peer(&pair[1 - by].location().node);
            }
        });
        let mut acknowledged = Vec::new();
        for n in 1.. {
            if closing.is_finished() {
                break;
            }
            let _ = remote.send(2 * n);
            match common::soon(remote.deliver(2 * n + 1)).await {
                Ok(()) => acknowledged.push(2 * n + 1),
                Err(_) => sleep(Duration::from_millis(3)).await,
            }
        }
        sleep(Duration::from_secs(5)).await;
        let all: Vec<_> = std::iter::from_fn(|| received.try_recv().ok()).collect();
        assert!(all.is_sorted_by(|a, b| a < b), "seed {seed}: {all:?}");
        acknowledged.retain(|it| all.binary_search(it).is_err());
        assert!(
            !all.is_empty() && acknowledged.is_empty(),
            "seed {seed}: {acknowledged:?}"
        );
        assert_eq!(desk.peers(), [farm.location()], "seed {seed}");
        for (who, told) in ["desk", "farm"].iter().zip(&mut told) {
            assert_eq!(so_far(told), [], "seed {seed}: {who}");
        }
        for node in &nodes {
            node.close().await;
        }
    }
}
