//! Names that other nodes look up, on the simulated network.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use common::{collector, events, next, polled};
use coros_core::{Address, Context};
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{LocateError, Node, PeerEvent, RegisterError, Secret};
use tokio::time::{Instant, timeout};

const LATENCY: Duration = Duration::from_millis(20);
/// Within this a name is known to whoever is linked, or linked to somebody who is, and so on: a latency a
/// link when nothing is lost.
const AT_ONCE: Duration = Duration::from_millis(25);
/// Within this two nodes that have just been linked know each other's names: digest, digest, update.
const INTRODUCED: Duration = Duration::from_millis(75);
/// Before what was learned is compared with others.
const PAUSE: Duration = Duration::from_millis(25);
/// Within this whatever was missed is made up for between two neighbours: a second until digests are
/// compared, and a latency each for digest, digest and update.
const NEXT_ROUND: Duration = Duration::from_millis(1100);
/// A silent peer is lost, its session after the grace period, and its names with that.
const SILENCE: Duration = Duration::from_millis(2225);
const GRACE: Duration = Duration::from_secs(5);

struct Scene {
    network: SimNetwork,
    hosts: Vec<SimHost>,
    nodes: Vec<Node>,
}

impl Scene {
    async fn of(count: usize) -> Self {
        let network = SimNetwork::new(1);
        network.latency(LATENCY..=LATENCY);
        let name = |i: usize| network.host(&format!("n{i}"));
        let hosts: Vec<_> = (0..count).map(name).collect();
        let mut nodes = Vec::new();
        for host in &hosts {
            nodes.push(host.builder().build().await.unwrap());
        }
        Scene {
            network,
            hosts,
            nodes,
        }
    }

    /// Each knows the one before it, and nobody else.
    async fn line(count: usize) -> Self {
        let scene = Scene::of(count).await;
        for pair in scene.nodes.windows(2) {
            link(&pair[1], &pair[0]).await;
        }
        scene
    }
}

async fn link(from: &Node, to: &Node) {
    let endpoint = to.location().endpoint.unwrap();
    from.connect(endpoint).await.unwrap();
}

fn idle<M: Send + 'static>() -> Address<M> {
    coros_core::spawn(async |mut me: Context<M>| while me.receive().await.is_some() {}).address()
}

/// Who is known under a name to a node.
fn holders(node: &Node, name: &str) -> Vec<String> {
    let all = node.locate_all::<Address<u32>>(name);
    let mut names: Vec<_> = all.iter().map(|(home, _)| home.name.to_string()).collect();
    names.sort();
    names
}

/// Waits until something holds, at most so long.
async fn within(limit: Duration, what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() <= limit, "not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_found_from_a_linked_node_before_and_after_the_link() {
    let scene = Scene::of(3).await;
    let [desk, farm, barn] = &scene.nodes[..] else {
        panic!("three")
    };
    let (before, mut got_before) = collector::<u32>();
    farm.register(String::from("before"), &before).unwrap();
    link(desk, farm).await;
    let (after, mut got_after) = collector::<u32>();
    let waiting = desk.locate_timeout::<Address<u32>>("after", INTRODUCED);
    let name = String::from("after");
    farm.register(&name, &after).unwrap();
    let after = waiting.await.unwrap();
    // It was told when the link came up.
    let before: Address<u32> = desk.try_locate("before").unwrap();
    before.send(1).unwrap();
    after.send(2).unwrap();
    assert_eq!(next(&mut got_before).await, 1);
    assert_eq!(next(&mut got_after).await, 2);
    // And somebody who has never been linked to the farm.
    link(barn, desk).await;
    let found = barn
        .locate_timeout::<Address<u32>>("after", AT_ONCE * 3)
        .await;
    let found = found.unwrap();
    assert_eq!(found, after);
    found.deliver(3).await.unwrap();
    assert_eq!(next(&mut got_after).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_taken_back_or_of_an_ended_coroutine_is_gone_everywhere() {
    let scene = Scene::line(3).await;
    let (first, last) = (&scene.nodes[0], &scene.nodes[2]);
    let taken_back = idle::<u32>();
    let ends = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
    first.register("taken back", &taken_back).unwrap();
    first.register("ends", &ends.address()).unwrap();
    first.register("ends too", &ends.address()).unwrap();
    within(2 * AT_ONCE, || {
        last.try_locate::<Address<u32>>("ends too").is_ok()
    })
    .await;
    assert!(first.unregister("taken back"));
    assert!(!first.unregister("taken back"));
    last.locate::<Address<u32>>("ends")
        .await
        .unwrap()
        .send(7)
        .unwrap();
    assert_eq!(ends.join().await, Ok(Some(7)));
    within(4 * AT_ONCE, || {
        ["taken back", "ends", "ends too"]
            .iter()
            .all(|name| holders(last, name).is_empty())
    })
    .await;
    assert_eq!(
        last.try_locate::<Address<u32>>("ends"),
        Err(LocateError::NotFound {
            name: "ends".into()
        })
    );
    // The name is free again.
    first.register("ends", &taken_back).unwrap();
    let found = last
        .locate_timeout::<Address<u32>>("ends", 3 * AT_ONCE)
        .await;
    assert_eq!(found.unwrap().id(), taken_back.id());
}

#[tokio::test(start_paused = true)]
async fn a_name_keeps_a_coroutine_reachable_and_lets_go_of_it() {
    let scene = Scene::line(2).await;
    let (home, abroad) = (&scene.nodes[0], &scene.nodes[1]);
    let coro = coros_core::spawn(async |mut me: Context<u32>| {
        let mut sum = 0;
        while let Some(n) = me.receive().await {
            sum += n;
        }
        sum
    });
    let address = coro.address();
    home.register("sum", &address).unwrap();
    home.register("total", &address).unwrap();
    drop(address);
    let sum = abroad.locate_timeout::<Address<u32>>("sum", AT_ONCE).await;
    sum.unwrap().deliver(40).await.unwrap();
    assert!(home.unregister("sum"));
    let total = home.locate::<Address<u32>>("total").await.unwrap();
    total.send(2).unwrap();
    drop(total);
    assert!(home.unregister("total"));
    // The peer that has used it holds it until its session ends.
    abroad.close().await;
    assert_eq!(coro.join().await, Ok(42));
}

#[tokio::test(start_paused = true)]
async fn locate_prefers_this_node_and_else_agrees_with_all_others() {
    let scene = Scene::line(4).await;
    let nodes = &scene.nodes;
    let ours = [idle::<u32>(), idle::<u32>()];
    nodes[0].register("worker", &ours[0]).unwrap();
    nodes[2].register("worker", &ours[1]).unwrap();
    within(4 * AT_ONCE, || {
        nodes
            .iter()
            .all(|node| holders(node, "worker") == ["n0", "n2"])
    })
    .await;
    for (node, ours) in [(&nodes[0], &ours[0]), (&nodes[2], &ours[1])] {
        assert_eq!(node.try_locate::<Address<u32>>("worker").unwrap(), *ours);
        let all = node.locate_all::<Address<u32>>("worker");
        assert_eq!(
            all[0].0,
            node.location(),
            "the one of this node comes first"
        );
    }
    let chosen = [1, 3].map(|i| {
        let found: Address<u32> = nodes[i].try_locate("worker").unwrap();
        found.remote_id().unwrap().location.node
    });
    let smallest = nodes[0].location().node.min(nodes[2].location().node);
    assert_eq!(chosen, [smallest, smallest]);
    let third = nodes[2].location();
    let at = nodes[3].locate_at::<Address<u32>>(&third, "worker").await;
    assert_eq!(at.unwrap().id(), ours[1].id());
}

#[tokio::test(start_paused = true)]
async fn another_type_is_told_by_name() {
    let scene = Scene::line(2).await;
    let (home, abroad) = (&scene.nodes[0], &scene.nodes[1]);
    home.register("counter", &idle::<u32>()).unwrap();
    let error = abroad
        .locate_timeout::<Address<String>>("counter", AT_ONCE)
        .await;
    let error = error.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LocateError::WrongType(_)), "{text}");
    for part in ["Address<u32>", "String>", "n0", "n1", "counter"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let asked = abroad
        .locate_at::<Address<String>>(&home.location(), "counter")
        .await;
    assert_eq!(asked.unwrap_err(), error);
    assert!(matches!(
        home.try_locate::<Address<String>>("counter"),
        Err(LocateError::WrongType(_))
    ));
    // One of the right type counts, whoever else has the name.
    let right = idle::<String>();
    abroad.register("counter", &right).unwrap();
    assert_eq!(
        abroad.try_locate::<Address<String>>("counter").unwrap(),
        right
    );
    let numbers: Address<u32> = abroad.try_locate("counter").unwrap();
    assert!(numbers.remote_id().is_some());
    let all = abroad.locate_all::<Address<u32>>("counter");
    assert!(all[0].1.is_err() && all[1].1.is_ok(), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_registered_is_refused() {
    let scene = Scene::line(2).await;
    let (home, abroad) = (&scene.nodes[0], &scene.nodes[1]);
    let (one, other) = (idle::<u32>(), idle::<u32>());
    home.register("name", &one).unwrap();
    home.register("name", &one).unwrap();
    assert!(matches!(
        home.register("name", &other),
        Err(RegisterError::Taken { .. })
    ));
    abroad.register("name", &other).unwrap();
    for bad in [String::new(), "x".repeat(256)] {
        assert!(matches!(
            home.register(bad, &one),
            Err(RegisterError::BadName { .. })
        ));
    }
    home.register("x".repeat(255), &one).unwrap();
    home.register("remote", &one).unwrap();
    let remote = abroad
        .locate_timeout::<Address<u32>>("remote", AT_ONCE)
        .await
        .unwrap();
    assert!(matches!(
        abroad.register("mine", &remote),
        Err(RegisterError::Remote { .. })
    ));
    one.terminate();
    one.exit().await;
    assert!(matches!(
        home.register("late", &one),
        Err(RegisterError::Ended { .. })
    ));
    home.close().await;
    assert_eq!(home.register("late", &other), Err(RegisterError::Closed));
    assert_eq!(
        home.try_locate::<Address<u32>>("name"),
        Err(LocateError::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_or_told_in_time() {
    let scene = Scene::line(2).await;
    let (home, abroad) = (&scene.nodes[0], &scene.nodes[1]);
    let began = Instant::now();
    let limit = Duration::from_secs(3);
    let late = abroad.locate_timeout::<Address<u32>>("late", limit).await;
    assert_eq!(
        late,
        Err(LocateError::TimedOut {
            name: "late".into(),
            limit
        })
    );
    assert_eq!(began.elapsed(), limit);
    let mut waiting = Box::pin(abroad.locate::<Address<u32>>("late"));
    let mut locally = Box::pin(home.locate::<Address<u32>>("late"));
    assert!(polled(&mut waiting).await.is_pending());
    assert!(polled(&mut locally).await.is_pending());
    home.register("late", &idle::<u32>()).unwrap();
    assert!(polled(&mut locally).await.is_ready());
    let began = Instant::now();
    waiting.await.unwrap();
    assert!(began.elapsed() <= AT_ONCE, "{:?}", began.elapsed());
    let mut never = Box::pin(abroad.locate::<Address<u32>>("never"));
    assert!(polled(&mut never).await.is_pending());
    abroad.close().await;
    assert_eq!(
        timeout(AT_ONCE, never).await.unwrap(),
        Err(LocateError::Closed)
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_is_asked_itself() {
    let scene = Scene::of(2).await;
    let (home, asker) = (&scene.nodes[0], &scene.nodes[1]);
    let coro = idle::<u32>();
    home.register("coro", &coro).unwrap();
    let there = home.location();
    let found = asker
        .locate_at::<Address<u32>>(&there, "coro")
        .await
        .unwrap();
    assert_eq!(found.id(), coro.id());
    found.deliver(1).await.unwrap();
    let none = asker.locate_at::<Address<u32>>(&there, "nobody").await;
    assert_eq!(
        none,
        Err(LocateError::NotFound {
            name: "nobody".into()
        })
    );
    assert_eq!(
        home.locate_at::<Address<u32>>(&there, "coro")
            .await
            .unwrap(),
        coro
    );
    scene.hosts[0].kill();
    let lost = asker.locate_at::<Address<u32>>(&there, "coro").await;
    assert!(
        matches!(lost, Err(LocateError::NoAnswer { .. })),
        "{lost:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_killed_node_go_and_those_of_one_that_left() {
    let scene = Scene::of(3).await;
    let [watcher, killed, leaves] = &scene.nodes[..] else {
        panic!("three")
    };
    for node in [killed, leaves] {
        link(watcher, node).await;
        node.register("name", &idle::<u32>()).unwrap();
    }
    within(AT_ONCE, || holders(watcher, "name") == ["n1", "n2"]).await;
    scene.hosts[1].kill();
    within(SILENCE + GRACE, || holders(watcher, "name") == ["n2"]).await;
    leaves.close().await;
    within(AT_ONCE, || holders(watcher, "name").is_empty()).await;
}

/// Those that were never linked to it, and have no membership to tell them, stop believing what nobody
/// near it says any more.
#[tokio::test(start_paused = true)]
async fn the_names_of_a_killed_node_go_from_those_far_away() {
    const MAX_AGE: Duration = Duration::from_secs(60);
    // Ages are told in whole seconds, rounded up.
    const ROUND: Duration = Duration::from_secs(2);
    let scene = Scene::line(5).await;
    let (killed, stays) = (&scene.nodes[0], &scene.nodes[1]);
    killed.register("name", &idle::<u32>()).unwrap();
    stays.register("name", &idle::<u32>()).unwrap();
    let far = &scene.nodes[4];
    within(5 * AT_ONCE, || holders(far, "name") == ["n0", "n1"]).await;
    // As long as it lives, whoever is linked to it vouches for it.
    tokio::time::sleep(5 * MAX_AGE).await;
    assert_eq!(holders(far, "name"), ["n0", "n1"]);
    scene.hosts[0].kill();
    within(SILENCE + GRACE + MAX_AGE + ROUND, || {
        holders(far, "name") == ["n1"]
    })
    .await;
}

/// They wait for the first name there is, and know nobody but the hub, which tells only some of them.
#[tokio::test(start_paused = true)]
async fn all_that_wait_around_a_hub_learn_of_the_first_name_within_a_round() {
    let scene = Scene::of(31).await;
    let (hub, leaves) = scene.nodes.split_first().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for leaf in leaves {
        link(leaf, hub).await;
        let leaf = leaf.clone();
        waiting.spawn(async move { leaf.locate::<Address<u32>>("name").await });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    hub.register("name", &idle::<u32>()).unwrap();
    let all = async {
        while let Some(found) = waiting.join_next().await {
            found.unwrap().unwrap();
        }
    };
    timeout(NEXT_ROUND, all).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_peer_stay_as_long_as_its_session() {
    let scene = Scene::line(2).await;
    let [farm, desk] = &scene.nodes[..] else {
        panic!("two")
    };
    farm.register("name", &idle::<u32>()).unwrap();
    within(AT_ONCE, || holders(desk, "name") == ["n0"]).await;
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lost);
    desk.on_peer_event(move |event| {
        counted.fetch_add(usize::from(matches!(event, PeerEvent::Lost(..))), SeqCst);
    });
    scene
        .network
        .partition(&scene.hosts[..1], &scene.hosts[1..]);
    within(SILENCE, || lost.load(SeqCst) == 1).await;
    tokio::time::sleep(GRACE / 2).await;
    assert_eq!(holders(desk, "name"), ["n0"]);
    scene.network.heal();
    tokio::time::sleep(GRACE).await;
    assert_eq!(holders(desk, "name"), ["n0"]);
    assert_eq!(lost.load(SeqCst), 1);
}

/// A callback that never returns has the task that calls it, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_callback_that_blocks_holds_up_neither_names_nor_the_end() {
    let secret = Secret::random();
    let start = async |name: &str| {
        let builder = Node::builder().name(name).secret(secret.clone());
        builder.build().await.unwrap()
    };
    let (desk, farm) = (start("desk").await, start("farm").await);
    let (reached, mut blocked) = tokio::sync::mpsc::unbounded_channel();
    let (free, wait) = std::sync::mpsc::channel::<()>();
    desk.on_peer_event(move |_| {
        let _ = reached.send(());
        let _ = wait.recv();
    });
    link(&desk, &farm).await;
    let limit = Duration::from_secs(20);
    timeout(limit, blocked.recv()).await.unwrap();
    farm.register("name", &idle::<u32>()).unwrap();
    desk.locate_timeout::<Address<u32>>("name", limit)
        .await
        .unwrap();
    farm.close().await;
    let gone = async {
        while !holders(&desk, "name").is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(limit, gone).await.unwrap();
    timeout(limit, desk.close()).await.unwrap();
    drop(free);
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_see_all_names_when_it_heals() {
    let scene = Scene::line(4).await;
    let nodes = &scene.nodes;
    let [left, right] = [&scene.hosts[..2], &scene.hosts[2..]];
    scene.network.partition(left, right);
    nodes[0].register("name", &idle::<u32>()).unwrap();
    nodes[3].register("name", &idle::<u32>()).unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(holders(&nodes[1], "name"), ["n0"]);
    assert_eq!(holders(&nodes[2], "name"), ["n3"]);
    scene.network.heal();
    // Whoever knows both sides links them again.
    link(&nodes[1], &nodes[2]).await;
    let all = |node: &Node| holders(node, "name") == ["n0", "n3"];
    within(3 * (INTRODUCED + PAUSE), || nodes.iter().all(all)).await;
}

#[tokio::test(start_paused = true)]
async fn thirty_nodes_in_a_line_agree() {
    const NODES: usize = 30;
    let scene = Scene::line(NODES).await;
    for (i, node) in scene.nodes.iter().enumerate() {
        node.register("everybody", &idle::<u32>()).unwrap();
        node.register(format!("node {i}"), &idle::<u32>()).unwrap();
    }
    let all = |node: &Node| holders(node, "everybody").len() == NODES;
    // From one end to the other.
    within((INTRODUCED + PAUSE) * 30, || scene.nodes.iter().all(all)).await;
    // One piece of news, from one end to the other.
    scene.nodes[0].register("news", &idle::<u32>()).unwrap();
    within(AT_ONCE * 30, || {
        holders(&scene.nodes[NODES - 1], "news") == ["n0"]
    })
    .await;
    let last = scene.nodes[NODES - 1].try_locate::<Address<u32>>("node 0");
    let last = last.unwrap();
    last.deliver(1).await.unwrap();
    // One that joins at an end has the names of all when it has heard of one.
    let host = scene.network.host("late");
    let late = host.builder().build().await.unwrap();
    link(&late, &scene.nodes[NODES - 1]).await;
    within(INTRODUCED, || all(&late)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_names_arrive() {
    const NAMES: usize = 10_000;
    let scene = Scene::line(3).await;
    let coro = idle::<u32>();
    for i in 0..NAMES {
        scene.nodes[0].register(format!("name {i}"), &coro).unwrap();
    }
    let last = &scene.nodes[2];
    let found = |i: usize| {
        last.try_locate::<Address<u32>>(&format!("name {i}"))
            .is_ok()
    };
    within(NEXT_ROUND, || found(NAMES - 1) && (0..NAMES).all(found)).await;
    // And to one that joins later, all at once.
    let late = scene.network.host("late").builder().build().await.unwrap();
    link(&late, last).await;
    let found = |i: usize| {
        late.try_locate::<Address<u32>>(&format!("name {i}"))
            .is_ok()
    };
    within(NEXT_ROUND, || found(NAMES - 1) && (0..NAMES).all(found)).await;
    coro.terminate();
    coro.exit().await;
    within(2 * NEXT_ROUND, || {
        !found(NAMES - 1) && !(0..NAMES).any(found)
    })
    .await;
}

/// More than anybody remembers, and what is left is more than one notice has room for.
#[tokio::test(start_paused = true)]
async fn names_arrive_when_thousands_of_others_were_taken_back() {
    const NAMES: usize = 6_000;
    let scene = Scene::line(2).await;
    let [home, other] = &scene.nodes[..] else {
        panic!("two")
    };
    let coro = idle::<u32>();
    let name = |i: usize| format!("name {i}");
    for i in 0..NAMES {
        home.register(name(i), &coro).unwrap();
    }
    let found = |node: &Node, i| node.try_locate::<Address<u32>>(&name(i)).is_ok();
    within(NEXT_ROUND, || found(other, NAMES - 1)).await;
    for i in (0..NAMES).step_by(2) {
        assert!(home.unregister(&name(i)));
    }
    let agrees = |node| !found(node, 0) && (0..NAMES).all(|i| found(node, i) == (i % 2 == 1));
    within(2 * NEXT_ROUND, || agrees(other)).await;
    // And at one that joins later.
    let late = scene.network.host("late").builder().build().await.unwrap();
    link(&late, other).await;
    within(NEXT_ROUND, || found(&late, NAMES - 1) && agrees(&late)).await;
}

/// Nobody would say that a member is there whose session has been ended, as it has never been gone.
#[tokio::test(start_paused = true)]
async fn names_of_a_member_stay_when_a_session_with_it_is_ended() {
    let scene = Scene::line(3).await;
    let [desk, farm, barn] = &scene.nodes[..] else {
        panic!("three")
    };
    desk.register("x", &idle::<u32>()).unwrap();
    farm.register("x", &idle::<u32>()).unwrap();
    let knows_both = |node: &Node| node.peers().len() == 2 && holders(node, "x").len() == 2;
    within(NEXT_ROUND * 2, || scene.nodes.iter().all(knows_both)).await;
    let mut told = [desk, farm].map(events);
    for events in &mut told {
        for _ in 0..2 {
            assert!(matches!(next(events).await, PeerEvent::Joined(_)));
        }
    }
    assert!(desk.close_peer(&farm.location().node));
    let began = Instant::now();
    while began.elapsed() < NEXT_ROUND * 30 {
        tokio::time::sleep(LATENCY).await;
        assert!(scene.nodes.iter().all(knows_both), "{:?}", began.elapsed());
    }
    for events in &mut told {
        assert!(events.try_recv().is_err());
    }
    // And go when it leaves.
    farm.close().await;
    within(NEXT_ROUND * 30, || {
        [desk, barn].map(|it| holders(it, "x").len()) == [1; 2]
    })
    .await;
    assert_eq!(next(&mut told[0]).await, PeerEvent::Left(farm.location()));
}
