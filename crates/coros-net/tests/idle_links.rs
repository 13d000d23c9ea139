//! Links that nobody uses are closed, and made again; in virtual time.

mod common;

use std::time::Duration;

use common::{collector, events, next, sent};
use coros_core::{Address, Context, Exit, Reply, SendError, spawn};
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{Authority, Builder, Node, PeerEvent};
use tokio::time::{Instant, sleep};

const LATENCY: Duration = Duration::from_millis(10);
/// The default.
const IDLE: Duration = Duration::from_secs(30);
/// Both sides look at the time once a second, and then ask each other.
const CLOSED: Duration = Duration::from_secs(33);

async fn scene(network: &SimNetwork) -> ([SimHost; 2], [Node; 2]) {
    scene_with(network, |builder| builder).await
}

async fn scene_with(
    network: &SimNetwork,
    options: impl Fn(Builder) -> Builder,
) -> ([SimHost; 2], [Node; 2]) {
    network.latency(LATENCY..=LATENCY);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    // Members look after each other, which few can do without a link.
    let [desk, farm] = hosts
        .each_ref()
        .map(|host| options(host.builder().member(false)).build());
    let nodes = [
        desk.await.expect("it starts"),
        farm.await.expect("it starts"),
    ];
    (hosts, nodes)
}

fn linked(nodes: &[Node; 2]) -> [usize; 2] {
    nodes.each_ref().map(|node| node.links().len())
}

#[tokio::test(start_paused = true)]
async fn a_link_that_nobody_uses_is_closed_and_the_next_use_makes_another() {
    let network = SimNetwork::new(1);
    let (_hosts, nodes) = scene(&network).await;
    let [desk, farm] = &nodes;
    let mut told = nodes.each_ref().map(events);
    let (address, mut received) = collector::<u32>();
    let remote = sent(farm, desk, &address);
    for n in 0..5 {
        remote.deliver(n).await.expect("it can be reached");
        assert_eq!(next(&mut received).await, n);
        sleep(IDLE - Duration::from_secs(2)).await;
        assert_eq!(linked(&nodes), [1, 1]);
        sleep(CLOSED - IDLE + Duration::from_secs(2)).await;
        assert_eq!(linked(&nodes), [0, 0], "round {n}");
        assert_eq!(desk.peers(), [farm.location()], "it is still there");
    }
    // Also from the other side, which has no address of its own there.
    let (home, mut at_home) = collector::<u32>();
    sent(desk, farm, &home).deliver(7).await.expect("likewise");
    assert_eq!(next(&mut at_home).await, 7);
    for told in &mut told {
        assert!(matches!(next(told).await, PeerEvent::Joined(_)));
        assert!(told.try_recv().is_err(), "that is nobody's business");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_stays_while_somebody_waits_for_something() {
    let network = SimNetwork::new(2);
    let (_hosts, nodes) = scene(&network).await;
    let [desk, farm] = &nodes;
    let answering = spawn(async |mut me: Context<Reply<u32>>| {
        while let Some(reply) = me.receive().await {
            me.sleep(4 * IDLE).await;
            reply.send(7);
        }
    });
    let remote = sent(farm, desk, &answering.address());
    assert_eq!(remote.ask(|reply| reply).await, Ok(7));
    let watched = remote.clone();
    let watching = tokio::spawn(async move { watched.exit().await });
    sleep(4 * IDLE).await;
    assert_eq!(linked(&nodes), [1, 1]);
    answering.terminate();
    assert_eq!(watching.await.expect("no panic"), Exit::Terminated);

    let full = coros_core::build()
        .capacity(1)
        .spawn(async |mut me: Context<u32>| {
            me.sleep(4 * IDLE).await;
            [me.receive().await, me.receive().await]
        });
    let remote = sent(farm, desk, &full.address());
    remote.deliver(1).await.expect("there is room");
    remote.deliver(2).await.expect("there is room in time");
    sleep(CLOSED).await;
    assert_eq!(linked(&nodes), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_crosses_the_closing_of_a_link_is_not_lost() {
    for grace in [5, 0].map(Duration::from_secs) {
        what_crosses_the_closing(grace).await;
    }
}

async fn what_crosses_the_closing(grace: Duration) {
    let network = SimNetwork::new(3);
    let (_hosts, nodes) = scene_with(&network, |builder| builder.grace(grace)).await;
    let [desk, farm] = &nodes;
    let mut told = nodes.each_ref().map(events);
    let (there, mut at_farm) = collector::<u32>();
    let (here, mut at_desk) = collector::<u32>();
    let [to_farm, to_desk] = [sent(farm, desk, &there), sent(desk, farm, &here)];
    let mut closed = 0;
    for n in 0..100 {
        // From a second before the link can be closed to two after.
        sleep(IDLE - Duration::from_secs(1) + Duration::from_millis(30) * n).await;
        closed += u32::from(linked(&nodes) == [0, 0]);
        match n % 3 {
            0 => to_farm.send(n).expect("there is room"),
            1 => to_desk.send(n).expect("there is room"),
            _ => {
                to_farm.send(n).expect("there is room");
                to_desk.send(n).expect("there is room");
            }
        }
        if n % 3 != 1 {
            assert_eq!(next(&mut at_farm).await, n);
        }
        if n % 3 != 0 {
            assert_eq!(next(&mut at_desk).await, n);
        }
    }
    assert!((4..96).contains(&closed), "{closed} were closed, {grace:?}");
    for told in &mut told {
        assert!(matches!(next(told).await, PeerEvent::Joined(_)));
        assert_eq!(told.try_recv().ok(), None, "nothing has broken");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_while_its_link_is_closed_is_found_out_at_the_next_use() {
    let network = SimNetwork::new(4);
    let (hosts, nodes) = scene(&network).await;
    let [desk, farm] = &nodes;
    let (address, _received) = collector::<u32>();
    let remote = sent(farm, desk, &address);
    remote.deliver(1).await.expect("it can be reached");
    sleep(CLOSED).await;
    assert_eq!(linked(&nodes), [0, 0]);
    hosts[1].kill();
    let began = Instant::now();
    let lost = remote.deliver(2).await;
    assert!(
        matches!(lost, Err(SendError::Disconnected(2, _))),
        "{lost:?}"
    );
    assert!(began.elapsed() <= 3 * LATENCY, "nobody listens there");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_while_its_link_is_closed_is_not_kept_for_ever() {
    let network = SimNetwork::new(8);
    let (hosts, nodes) = scene(&network).await;
    let [desk, farm] = &nodes;
    let before = desk.census();
    let mut told = events(desk);
    // What it was told of counts as having an address.
    let (home, mut at_home) = collector::<u32>();
    let bytes = desk.encode_for(farm.location().node, &home);
    let lent: Address<u32> = farm
        .decode(&bytes.expect("it can travel"))
        .expect("it is one");
    drop(home);
    lent.deliver(7).await.expect("it can be reached");
    assert_eq!(next(&mut at_home).await, 7);
    // As long as it is there it is kept, through many a look.
    sleep(100 * IDLE).await;
    assert_eq!(linked(&nodes), [0, 0]);
    lent.deliver(8).await.expect("it is as it was");
    assert_eq!(next(&mut at_home).await, 8);
    sleep(CLOSED).await;
    assert_eq!(linked(&nodes), [0, 0]);
    hosts[1].kill();
    // Its address is of no use there any more.
    let gone = tokio::time::timeout(100 * IDLE, at_home.recv()).await;
    assert_eq!(gone, Ok(None));
    assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
    assert!(matches!(next(&mut told).await, PeerEvent::Lost(..)));
    let after = desk.census();
    assert_eq!(
        (after.peers, after.sessions),
        (before.peers, before.sessions)
    );
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_dialled_keeps_its_link_and_so_does_who_wants_to() {
    for listens in [false, true] {
        let network = SimNetwork::new(5);
        network.latency(LATENCY..=LATENCY);
        let [near, far] = ["desk", "farm"].map(|name| network.host(name));
        let desk = near.builder();
        let desk = if listens {
            desk.idle(Duration::MAX)
        } else {
            desk.no_listen()
        };
        let desk = desk.build().await.expect("it starts");
        let farm = far.builder().build().await.expect("it starts");
        desk.connect(farm.location().endpoint.expect("it listens"))
            .await
            .expect("it can be reached");
        sleep(10 * IDLE).await;
        assert_eq!(linked(&[desk, farm]), [1, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn few_members_keep_the_links_by_which_they_look_after_each_other() {
    let network = SimNetwork::new(6);
    let (_hosts, nodes) = scene_with(&network, |builder| builder.member(true)).await;
    let [desk, farm] = &nodes;
    let mut told = events(desk);
    desk.connect(farm.location().endpoint.expect("it listens"))
        .await
        .expect("it can be reached");
    for _ in 0..100 {
        sleep(IDLE / 10).await;
        assert_eq!(linked(&nodes), [1, 1]);
    }
    assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
    assert_eq!(told.try_recv().ok(), None, "nothing has broken");
}

#[tokio::test(start_paused = true)]
async fn many_members_look_after_each_other_by_few_links() {
    const MEMBERS: usize = 20;
    let network = SimNetwork::new(7);
    network.latency(LATENCY..=LATENCY);
    let mut nodes = Vec::new();
    for number in 0..MEMBERS {
        let host = network.host(&format!("n{number}"));
        let builder = host.builder().probe(IDLE / 2);
        let node = builder.build().await.expect("it starts");
        if let Some(first) = nodes.first() {
            let first: &Node = first;
            let endpoint = first.location().endpoint.expect("it listens");
            node.connect(endpoint).await.expect("it can be reached");
        }
        nodes.push(node);
    }
    sleep(6 * IDLE).await;
    for node in &nodes {
        assert_eq!(node.peers().len(), MEMBERS - 1);
    }
    // Two for each period within which a link stays open, and who asks now and then who is there.
    let links: usize = nodes.iter().map(|node| node.links().len()).sum();
    assert!(links < 9 * MEMBERS, "{links} ends of links");
}

/// Whoever has passed an address on waits for the end of its coroutine, but not by keeping a link.
#[tokio::test(start_paused = true)]
async fn an_address_that_was_passed_on_keeps_no_link() {
    let network = SimNetwork::new(9);
    let (_hosts, nodes) = scene(&network).await;
    let [desk, farm] = &nodes;
    let lab = network.host("lab");
    let lab = lab.builder().member(false).build().await;
    let lab = lab.expect("it starts");
    let (there, mut at_lab) = collector::<Address<u32>>();
    let to_lab = sent(&lab, farm, &there);
    let passing = spawn(async move |mut me: Context<Address<u32>>| {
        while let Some(address) = me.receive().await {
            to_lab.deliver(address).await.expect("it is there");
        }
    });
    let (address, mut received) = collector::<u32>();
    let to_farm = sent(farm, desk, &passing.address());
    to_farm.deliver(address.clone()).await.expect("it is there");
    let third = next(&mut at_lab).await;
    assert_eq!(farm.census().passed, 1);
    sleep(CLOSED).await;
    for node in [desk, farm, &lab] {
        assert_eq!(node.links().len(), 0);
    }
    assert_eq!([farm.census().passed, desk.census().watches], [1, 1]);
    third.deliver(7).await.expect("it lives");
    assert_eq!(next(&mut received).await, 7);
    assert_eq!(farm.links().len(), 0);
    drop(received);
    // Its end.
    third.deliver(8).await.expect("it lives");
    sleep(Duration::from_secs(1)).await;
    let kept = farm.census();
    assert_eq!([kept.passed, kept.imports, kept.watching], [0, 1, 0]);
    assert_eq!(desk.census().watches, 0);
    sleep(CLOSED).await;
    assert_eq!(farm.links().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_with_the_certificate_of_one_of_the_two() {
    const HOUR: Duration = Duration::from_secs(3600);
    let network = SimNetwork::new(1);
    let authority = Authority::generate("default", 20 * HOUR).expect("it needs nobody");
    let build = async |name, lifetime| {
        let certificate = authority.certify(name, lifetime).expect("it is valid");
        let builder = network.host(name).builder().certificate(certificate);
        let node = builder.member(false).idle(Duration::MAX).build().await;
        node.expect("it starts")
    };
    let (desk, farm) = (build("desk", HOUR).await, build("farm", 10 * HOUR).await);
    let (mut at_desk, mut at_farm) = (events(&desk), events(&farm));
    let began = Instant::now();
    let endpoint = farm.location().endpoint.expect("it listens");
    desk.connect(endpoint).await.expect("both are valid");
    for (seen, peer) in [(&mut at_desk, &farm), (&mut at_farm, &desk)] {
        assert_eq!(next(seen).await, PeerEvent::Joined(peer.location()));
    }
    sleep(HOUR - Duration::from_secs(60)).await;
    assert_eq!([desk.links().len(), farm.links().len()], [1, 1]);

    let expired = "its certificate has expired".into();
    let lost = PeerEvent::Lost(desk.location(), expired);
    let told = tokio::time::timeout(2 * Duration::from_secs(60), at_farm.recv());
    assert_eq!(told.await, Ok(Some(lost)));
    // Certificates know whole seconds.
    let after = began.elapsed();
    assert!(after.abs_diff(HOUR) <= Duration::from_secs(3), "{after:?}");
    let why = "it ended the link: the certificate of this node has expired".into();
    assert_eq!(
        next(&mut at_desk).await,
        PeerEvent::Lost(farm.location(), why)
    );
    sleep(Duration::from_secs(10)).await;
    assert_eq!([desk.links().len(), farm.links().len()], [0, 0]);
}
