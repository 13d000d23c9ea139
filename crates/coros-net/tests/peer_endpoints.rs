//! Where a peer listens, by its own word and by that of others; in virtual time.

mod common;

use std::time::Duration;

use common::{collector, events, next, sent};
use coros_core::remote::Location;
use coros_core::{Context, Exit, SendError};
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{Node, PeerEvent, Rci};
use tokio::time::{Instant, sleep};

async fn one(_me: Context<()>, (): ()) -> u32 {
    1
}

/// Whether `node` can start something at a place.
async fn reaches(node: &Node, at: &Location) -> bool {
    let one: Rci<(), (), u32> = node.function_at(at, "one");
    one.start(()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_false_endpoint_does_not_outlast_the_true_one() {
    let network = SimNetwork::new(1);
    let [desk, farm, other] = ["desk", "farm", "other"].map(|name| network.host(name).builder());
    let desk = desk.build().await.expect("it starts");
    let farm = farm.build().await.expect("it starts");
    let other = other.build().await.expect("it starts");
    farm.offer("one", one).expect("it is the first");
    let truth = farm.location();
    // Where nobody listens, and where somebody else does.
    let mut nobody = truth.clone();
    let endpoint = nobody.endpoint.as_mut().expect("it listens");
    endpoint.set_port(endpoint.port() + 1);
    let mut somebody = truth.clone();
    somebody.endpoint = other.location().endpoint;

    // Somebody has an address there all the time, so that what is known is kept.
    let _kept: Rci<(), (), u32> = desk.function_at(&nobody, "one");
    let unreached = [reaches(&desk, &nobody).await, {
        // What failed just now is not tried again.
        sleep(Duration::from_secs(2)).await;
        reaches(&desk, &somebody).await
    }];
    assert_eq!(unreached, [false, false]);
    sleep(Duration::from_secs(2)).await;
    // One who tells the truth is believed at the latest when the others have failed again.
    let mut tries = 1;
    while !reaches(&desk, &truth).await {
        sleep(Duration::from_secs(2)).await;
        tries += 1;
        assert!(tries <= 2);
    }
    // What the peer says itself is believed, and nobody else from then on.
    assert!(reaches(&desk, &nobody).await);
    farm.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_advertises_an_endpoint_that_leads_nowhere_keeps_its_sessions() {
    // As behind a translation of addresses that nobody has told of: there is a host, and nobody
    // listens. And as at the other end of a tunnel, where the host is even that of the peer.
    for host in ["desk", "farm"] {
        keeps_its_sessions(host).await;
    }
}

async fn keeps_its_sessions(host: &str) {
    let network = SimNetwork::new(2);
    let latency = Duration::from_millis(20);
    network.latency(latency..=latency);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let desk = hosts[0].builder().build().await.expect("it starts");
    let mut nowhere = desk.location().endpoint.expect("it listens");
    nowhere.set_port(nowhere.port() + 1);
    if host == "farm" {
        nowhere.set_ip(hosts[1].ip());
    }
    let farm = hosts[1].builder().advertise(nowhere);
    let farm = farm.build().await.expect("it starts");
    let (address, mut received) = collector::<u32>();
    let endpoint = desk.location().endpoint.expect("it listens");
    farm.connect(endpoint).await.expect("it can be reached");
    let remote = sent(&farm, &desk, &address);
    remote.deliver(0).await.expect("there is a link");
    for n in 1..=20 {
        network.cut(&hosts[0], &hosts[1]);
        remote.deliver(n).await.expect("the farm makes another");
    }
    for n in 0..=20 {
        assert_eq!(next(&mut received).await, n);
    }
    // When it is no more, nobody waits for the whole grace.
    hosts[1].kill();
    let began = Instant::now();
    let lost = remote.deliver(21).await;
    assert!(
        matches!(lost, Err(SendError::Disconnected(21, _))),
        "{lost:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_dialled_elsewhere_than_it_says_keeps_its_sessions() {
    let network = SimNetwork::new(3);
    let latency = Duration::from_millis(20);
    network.latency(latency..=latency);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let desk = hosts[0].builder().build().await.expect("it starts");
    // As one that others reach by a published port: where it says there is a host, and nobody listens.
    let mut says = desk.location().endpoint.expect("it listens");
    says.set_port(says.port() + 1);
    let farm = hosts[1].builder().advertise(says);
    let farm = farm.build().await.expect("it starts");
    let there = farm.listening_on().expect("it listens");
    desk.connect(there).await.expect("it can be reached");
    let (address, mut received) = collector::<u32>();
    let (home, mut at_home) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let back = sent(&desk, &farm, &home);
    for n in 0..20 {
        // Neither when it was idle.
        let idle = Duration::from_secs(if n % 5 == 4 { 40 } else { 0 });
        sleep(idle).await;
        network.cut(&hosts[0], &hosts[1]);
        remote.deliver(n).await.expect("there is another");
        back.deliver(n).await.expect("likewise");
        assert_eq!(
            (next(&mut received).await, next(&mut at_home).await),
            (n, n)
        );
    }
    hosts[1].kill();
    let began = Instant::now();
    remote.deliver(21).await.expect_err("it is no more");
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_was_dialled_knows_of_a_death_at_once_as_well() {
    let network = SimNetwork::new(4);
    let latency = Duration::from_millis(20);
    network.latency(latency..=latency);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let desk = hosts[0].builder().build().await.expect("it starts");
    let farm = hosts[1].builder().build().await.expect("it starts");
    let endpoint = desk.location().endpoint.expect("it listens");
    farm.connect(endpoint).await.expect("it can be reached");
    let (address, _received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    let watched = remote.clone();
    let exit = tokio::spawn(async move { watched.exit().await });
    remote.deliver(0).await.expect("there is a link");
    hosts[1].kill();
    let began = Instant::now();
    remote.deliver(1).await.expect_err("it is no more");
    assert_eq!(exit.await.expect("no panic"), Exit::Disconnected);
    assert!(began.elapsed() < 4 * latency, "{:?}", began.elapsed());
}

const LATENCY: Duration = Duration::from_millis(20);
/// The default.
const GRACE: Duration = Duration::from_secs(5);

/// The desk listens nowhere and has a link with the farm.
async fn behind_a_wall(network: &SimNetwork) -> ([SimHost; 2], [Node; 2]) {
    network.latency(LATENCY..=LATENCY);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let desk = hosts[0].builder().no_listen().build();
    let desk = desk.await.expect("it starts");
    let farm = hosts[1].builder().build().await.expect("it starts");
    let endpoint = farm.location().endpoint.expect("it listens");
    desk.connect(endpoint).await.expect("it can be reached");
    (hosts, [desk, farm])
}

#[tokio::test(start_paused = true)]
async fn who_listens_nowhere_loses_nothing_by_a_reset() {
    let network = SimNetwork::new(5);
    let (hosts, [desk, farm]) = behind_a_wall(&network).await;
    let (there, mut at_farm) = collector::<u32>();
    let (here, mut at_desk) = collector::<u32>();
    let [to_farm, to_desk] = [sent(&farm, &desk, &there), sent(&desk, &farm, &here)];
    let watched = to_desk.clone();
    let exit = tokio::spawn(async move { watched.exit().await });
    let mut told = events(&farm);
    for round in 0..40 {
        for n in 10 * round..10 * round + 9 {
            to_farm.send(n).expect("there is room");
            to_desk.send(n).expect("there is room");
        }
        // While it is written, is under way, has come, is acknowledged.
        sleep(LATENCY / 2 * (round % 8)).await;
        // The farm is cut off at times, so that it takes the desk more than one attempt.
        let is_away = round % 10 == 9;
        if is_away {
            network.partition([&hosts[0]], [&hosts[1]]);
        }
        network.cut(&hosts[0], &hosts[1]);
        let last = 10 * round + 9;
        let both = async { tokio::join!(to_farm.deliver(last), to_desk.deliver(last)) };
        let wall = async {
            sleep(GRACE * 3 / 5).await;
            network.heal();
        };
        let ((there, here), ()) = tokio::join!(both, wall);
        there.expect("the desk makes another link");
        here.expect("the desk makes another link");
    }
    for n in 0..400 {
        assert_eq!((next(&mut at_farm).await, next(&mut at_desk).await), (n, n));
    }
    assert!(at_farm.try_recv().is_err() && at_desk.try_recv().is_err());
    assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
    for _ in 0..40 {
        assert!(matches!(next(&mut told).await, PeerEvent::Lost(..)));
        assert!(matches!(next(&mut told).await, PeerEvent::Returned(_)));
    }
    assert!(!exit.is_finished(), "it is one session all the time");
}

#[tokio::test(start_paused = true)]
async fn the_death_of_who_listens_nowhere_is_known_when_the_grace_is_over() {
    let network = SimNetwork::new(6);
    let (hosts, [desk, farm]) = behind_a_wall(&network).await;
    let (here, _at_desk) = collector::<u32>();
    let to_desk = sent(&desk, &farm, &here);
    to_desk.deliver(0).await.expect("there is a link");
    let mut told = events(&farm);
    assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
    hosts[0].kill();
    let began = Instant::now();
    let exit = to_desk.exit();
    assert!(matches!(next(&mut told).await, PeerEvent::Lost(..)));
    assert!(began.elapsed() <= 2 * LATENCY, "{:?}", began.elapsed());
    assert_eq!(exit.await, Exit::Disconnected);
    let took = began.elapsed();
    assert!(took >= GRACE && took <= GRACE + 2 * LATENCY, "{took:?}");
    assert_eq!(farm.census().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn who_listens_nowhere_knows_of_a_death_at_once() {
    let network = SimNetwork::new(7);
    let (hosts, [desk, farm]) = behind_a_wall(&network).await;
    let (there, _at_farm) = collector::<u32>();
    let to_farm = sent(&farm, &desk, &there);
    to_farm.deliver(0).await.expect("there is a link");
    hosts[1].kill();
    let began = Instant::now();
    assert_eq!(to_farm.exit().await, Exit::Disconnected);
    assert!(began.elapsed() < 4 * LATENCY, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_advertises_no_port_means_his_own() {
    let network = SimNetwork::new(8);
    let advertised = ([192, 0, 2, 7], 0).into();
    let builder = network.host("desk").builder().advertise(advertised);
    let desk = builder.build().await.expect("it starts");
    let port = desk.listening_on().expect("it listens").port();
    assert_ne!(port, 0);
    let says = desk.location().endpoint.expect("it listens");
    assert_eq!(says, (advertised.ip(), port).into());
}
