//! What nodes make of a network that fails, in virtual time.

mod common;

use std::time::Duration;

use common::{collector, events, next, polled, sent};
use coros_core::{Address, Context, Exit, Reply, SendError};
use coros_net::sim::{SimHost, SimNetwork};
use coros_net::{ConnectError, Node, PeerEvent};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The default; a peer is lost after a tenth more.
const SILENCE: Duration = Duration::from_secs(2);
const LATENCY: Duration = Duration::from_millis(20);
/// The default: how long a session waits for another link.
const GRACE: Duration = Duration::from_secs(5);
/// Within this everything that waits for a silent peer ends. Timers are a millisecond late at most,
/// and three of them run one after the other.
const BOUND: Duration = Duration::from_millis(2200 + 5000 + 20 + 3);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection that closes is known after one latency, and after a dial that is refused that
/// nobody is there.
const GONE: Duration = Duration::from_millis(3 * 20 + 4);

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Double(u32, Reply<u32>),
    Never(Reply<u32>),
}

struct Scene {
    network: SimNetwork,
    hosts: [SimHost; 2],
    /// The second has the coroutines.
    nodes: [Node; 2],
}

impl Scene {
    async fn set() -> Self {
        let network = SimNetwork::new(1);
        network.latency(LATENCY..=LATENCY);
        let hosts = ["desk", "farm"].map(|name| network.host(name));
        let mut nodes = Vec::new();
        for host in &hosts {
            nodes.push(
                host.builder()
                    .member(false)
                    .build()
                    .await
                    .expect("it starts"),
            );
        }
        Scene {
            network,
            hosts,
            nodes: nodes.try_into().expect("two"),
        }
    }

    fn partition(&self) {
        self.network.partition([&self.hosts[0]], [&self.hosts[1]]);
    }

    /// An address at the farm, as the desk sees it.
    fn at_desk<M: coros_core::remote::Message>(&self, address: &Address<M>) -> Address<M> {
        sent(&self.nodes[1], &self.nodes[0], address)
    }
}

fn answering() -> Address<Question> {
    let coro = coros_core::spawn(async |mut me: Context<Question>| {
        let mut kept = Vec::new();
        while let Some(question) = me.receive().await {
            match question {
                Question::Double(n, reply) => reply.send(2 * n),
                Question::Never(reply) => kept.push(reply),
            }
        }
    });
    coro.address()
}

fn stuck() -> Address<u32> {
    let coro = coros_core::build()
        .capacity(1)
        .spawn(async |me: Context<u32>| {
            let () = std::future::pending().await;
            drop(me);
        });
    coro.address()
}

/// Everything that can wait for a peer, each with how it ended and when.
async fn wait_for_everything(
    full: Address<u32>,
    questions: Address<Question>,
) -> tokio::task::JoinSet<(&'static str, String, Instant)> {
    full.deliver(1).await.expect("there is room for one");
    let mut waits = tokio::task::JoinSet::new();
    let (watched, asked, told) = (full.clone(), questions.clone(), full.clone());
    waits.spawn(async move {
        let ended = full.deliver(2).await.expect_err("there is no room");
        assert!(matches!(ended, SendError::Disconnected(2, _)), "{ended}");
        ("deliver", ended.to_string(), Instant::now())
    });
    waits.spawn(async move {
        let exit = watched.exit().await;
        ("exit", exit.to_string(), Instant::now())
    });
    waits.spawn(async move {
        let ended = asked.ask(Question::Never).await.expect_err("no answer");
        ("ask", ended.to_string(), Instant::now())
    });
    let (tell, exits) = tokio::sync::oneshot::channel();
    coros_core::spawn(async move |mut me: Context<Exit>| {
        me.monitor(&told, |exit| exit);
        tell.send(me.receive().await).expect("somebody waits");
    });
    waits.spawn(async move {
        let exit = exits.await.expect("it lives").expect("one message");
        ("monitor", exit.to_string(), Instant::now())
    });
    // That all of them have got through is certain when one asked later has.
    questions
        .ask(|reply| Question::Double(1, reply))
        .await
        .expect("the link is there");
    waits
}

async fn all_end_by(
    mut waits: tokio::task::JoinSet<(&'static str, String, Instant)>,
    began: Instant,
    bound: Duration,
) {
    let mut ended = Vec::new();
    while let Some(wait) = waits.join_next().await {
        let (what, how, at) = wait.expect("no panic");
        assert!(at - began <= bound, "{what} after {:?}: {how}", at - began);
        ended.push(what);
    }
    ended.sort_unstable();
    assert_eq!(ended, ["ask", "deliver", "exit", "monitor"]);
}

#[tokio::test(start_paused = true)]
async fn minutes_pass_in_milliseconds() {
    let real = std::time::Instant::now();
    let scene = Scene::set().await;
    let remote = scene.at_desk(&answering());
    let began = Instant::now();
    let answer = remote.ask(|reply| Question::Double(21, reply)).await;
    assert_eq!(answer, Ok(42));
    // TCP, TLS and greeting take a round trip each, the question another; timers round up.
    let took = began.elapsed();
    assert!(took >= 8 * LATENCY && took <= 10 * LATENCY, "{took:?}");
    for n in 0..100 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let began = Instant::now();
        let answer = remote.ask(|reply| Question::Double(n, reply)).await;
        assert_eq!(answer, Ok(2 * n));
        assert!(began.elapsed() <= 3 * LATENCY, "the link is still there");
    }
    assert!(began.elapsed() > Duration::from_secs(600));
    // Generous: what is meant is that it did not take ten minutes.
    assert!(real.elapsed() < Duration::from_secs(20));
    // One connection, and a look at whether anybody listens where the desk says.
    let events = scene.network.events();
    let second = Duration::from_secs(1);
    assert!(events.iter().all(|event| event.at < second), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silence_shorter_than_the_limit_loses_nothing() {
    let scene = Scene::set().await;
    let (address, mut received) = collector::<u32>();
    let remote = scene.at_desk(&address);
    let questions = scene.at_desk(&answering());
    let mut at_desk = events(&scene.nodes[0]);
    remote.deliver(0).await.expect("the link is there");
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Joined(_)));
    for round in 0..5 {
        scene.partition();
        for n in 1..=10 {
            remote.send(round * 10 + n).expect("there is room");
        }
        let mut asked = Box::pin(questions.ask(|reply| Question::Double(round, reply)));
        assert!(polled(&mut asked).await.is_pending());
        // The last sign of life may be half the limit old.
        tokio::time::sleep(SILENCE / 2).await;
        assert!(polled(&mut asked).await.is_pending());
        scene.network.heal();
        assert_eq!(asked.await, Ok(2 * round));
        tokio::time::sleep(SILENCE).await;
    }
    for n in 0..=50 {
        assert_eq!(next(&mut received).await, n);
    }
    assert!(at_desk.try_recv().is_err(), "the link was never lost");
}

/// With everything that can wait for the farm waiting, and both sides linked.
async fn waiting_scene() -> (
    Scene,
    tokio::task::JoinSet<(&'static str, String, Instant)>,
    [tokio::sync::mpsc::UnboundedReceiver<PeerEvent>; 2],
) {
    let scene = Scene::set().await;
    let mut events = scene.nodes.each_ref().map(events);
    let waits = wait_for_everything(scene.at_desk(&stuck()), scene.at_desk(&answering())).await;
    for events in &mut events {
        assert!(matches!(next(events).await, PeerEvent::Joined(_)));
    }
    (scene, waits, events)
}

async fn lost(events: &mut tokio::sync::mpsc::UnboundedReceiver<PeerEvent>) -> String {
    match next(events).await {
        PeerEvent::Lost(_, why) => why.to_string(),
        event => panic!("{event:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_silence_ends_every_wait_within_the_bound() {
    let (scene, waits, mut events) = waiting_scene().await;
    scene.partition();
    let began = Instant::now();
    all_end_by(waits, began, BOUND).await;
    for events in &mut events {
        let why = lost(events).await;
        assert!(why.contains("no sign of life"), "{why}");
    }
    assert!(began.elapsed() <= BOUND);
}

#[tokio::test(start_paused = true)]
async fn a_loss_one_way_is_noticed_on_both_sides() {
    for deaf in [0, 1] {
        let (scene, waits, mut events) = waiting_scene().await;
        let [speaks, hears] = [&scene.hosts[1 - deaf], &scene.hosts[deaf]];
        scene.network.partition_one_way([speaks], [hears]);
        let began = Instant::now();
        // Whoever hears nothing closes, and that gets through.
        all_end_by(waits, began, BOUND + LATENCY).await;
        let why = lost(&mut events[deaf]).await;
        assert!(why.contains("no sign of life"), "{why}");
        let why = lost(&mut events[1 - deaf]).await;
        assert!(!why.contains("no sign of life"), "{why}");
        assert!(began.elapsed() <= BOUND + LATENCY);
    }
}

/// What goes wrong, and is well again after some time.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Partition,
    OneWay(usize),
    Freeze(usize),
    Cut,
}

impl Scene {
    fn begin(&self, trouble: Trouble) {
        let hosts = &self.hosts;
        match trouble {
            Trouble::Partition => self.partition(),
            Trouble::OneWay(from) => {
                self.network
                    .partition_one_way([&hosts[from]], [&hosts[1 - from]]);
            }
            Trouble::Freeze(host) => hosts[host].freeze(),
            Trouble::Cut => self.network.cut(&hosts[0], &hosts[1]),
        }
    }

    fn end(&self) {
        self.network.heal();
        self.hosts.iter().for_each(SimHost::thaw);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_shorter_than_the_grace_loses_nothing_and_doubles_nothing() {
    use Trouble::{Cut, Freeze, OneWay, Partition};
    for trouble in [Partition, OneWay(0), OneWay(1), Freeze(0), Freeze(1), Cut] {
        let (scene, mut waits, mut events) = waiting_scene().await;
        let (address, mut received) = collector::<u32>();
        let (home, mut at_home) = collector::<u32>();
        let remote = scene.at_desk(&address);
        let back = sent(&scene.nodes[0], &scene.nodes[1], &home);
        remote.deliver(0).await.expect("the link is there");
        for n in 1..=50 {
            remote.send(n).expect("there is room");
        }
        scene.begin(trouble);
        for n in 51..=100 {
            remote.send(n).expect("there is room");
            back.send(n).expect("there is room");
        }
        let questions = scene.at_desk(&answering());
        let asked = tokio::spawn(async move { questions.ask(|r| Question::Double(1, r)).await });
        let mut last = Box::pin(remote.deliver(101));
        assert!(polled(&mut last).await.is_pending());
        tokio::time::sleep(Duration::from_secs(4)).await;
        scene.end();
        last.await.expect("it is only late");
        assert_eq!(asked.await.expect("no panic"), Ok(2), "{trouble:?}");
        for n in 0..=101 {
            assert_eq!(next(&mut received).await, n, "{trouble:?}");
        }
        for n in 51..=100 {
            assert_eq!(next(&mut at_home).await, n, "{trouble:?}");
        }
        for events in &mut events {
            lost(events).await;
            assert!(matches!(next(events).await, PeerEvent::Returned(_)));
        }
        // What waited waits on, until there is a reason.
        let still = tokio::time::timeout(2 * GRACE, waits.join_next()).await;
        assert!(still.is_err(), "{trouble:?}: {still:?}");
        assert!(received.try_recv().is_err() && at_home.try_recv().is_err());
        scene.hosts[1].kill();
        all_end_by(waits, Instant::now(), GONE).await;
    }
}

/// Suspicion of a member lasts three probes: those who wait for longer are not told before.
#[tokio::test(start_paused = true)]
async fn whoever_the_members_take_for_dead_has_its_grace() {
    let grace = Duration::from_secs(20);
    let network = SimNetwork::new(2);
    network.latency(LATENCY..=LATENCY);
    let hosts = ["desk", "farm", "mill"].map(|name| network.host(name));
    let mut nodes = Vec::new();
    for host in &hosts {
        let node = host.builder().grace(grace).build().await;
        nodes.push(node.expect("it starts"));
    }
    let [desk, farm, mill] = &nodes[..] else {
        unreachable!("three hosts");
    };
    let endpoint = farm.location().endpoint.expect("it listens");
    for node in [desk, mill] {
        node.connect(endpoint).await.expect("it can be reached");
    }
    let mut told = events(mill);
    let (address, mut received) = collector::<u32>();
    farm.register("letters", &address).expect("a good name");
    let remote: Address<u32> = desk.locate("letters").await.expect("it is there");
    remote.deliver(0).await.expect("the link is there");
    network.partition([&hosts[1]], [&hosts[0], &hosts[2]]);
    let mut last = Box::pin(remote.deliver(1));
    assert!(polled(&mut last).await.is_pending());
    // Until the others agree that it is down.
    tokio::time::sleep(grace / 2).await;
    assert_eq!(mill.peers(), [desk.location()]);
    assert!(polled(&mut last).await.is_pending());
    let found = desk.try_locate::<Address<u32>>("letters");
    found.expect("names go with sessions");
    network.heal();
    last.await.expect("it is only late");
    assert_eq!(
        [next(&mut received).await, next(&mut received).await],
        [0, 1]
    );
    while !matches!(next(&mut told).await, PeerEvent::Returned(peer) if peer == farm.location()) {}
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_link_for_ends_with_the_dial() {
    let scene = Scene::set().await;
    let remote = scene.at_desk(&collector::<u32>().0);
    scene.partition();
    let began = Instant::now();
    let error = remote.deliver(1).await.expect_err("nobody can be reached");
    assert!(matches!(error, SendError::Disconnected(1, _)), "{error}");
    assert_eq!(began.elapsed(), HANDSHAKE);
    // The next does not wait for another dial at once.
    remote.deliver(2).await.expect_err("nobody can be reached");
    assert_eq!(began.elapsed(), HANDSHAKE);
    scene.network.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    remote.deliver(3).await.expect("it is there again");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stands_still_for_less_than_the_limit_loses_nothing() {
    let scene = Scene::set().await;
    let remote = scene.at_desk(&answering());
    let mut at_desk = events(&scene.nodes[0]);
    assert_eq!(remote.ask(|r| Question::Double(1, r)).await, Ok(2));
    assert!(matches!(next(&mut at_desk).await, PeerEvent::Joined(_)));
    scene.hosts[1].freeze();
    let began = Instant::now();
    let asked = tokio::spawn(async move { remote.ask(|r| Question::Double(2, r)).await });
    tokio::time::sleep(SILENCE / 2).await;
    scene.hosts[1].thaw();
    assert_eq!(asked.await.expect("no panic"), Ok(4));
    // It had read nothing before.
    assert!(began.elapsed() >= SILENCE / 2 + LATENCY);
    assert!(at_desk.try_recv().is_err(), "the link was never lost");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stands_still_for_longer_is_lost_and_linked_again() {
    let (scene, waits, mut events) = waiting_scene().await;
    scene.hosts[1].freeze();
    let began = Instant::now();
    all_end_by(waits, began, BOUND).await;
    lost(&mut events[0]).await;
    // It is dialled in vain: its system accepts, and nobody answers.
    let endpoint = scene.nodes[1].location().endpoint.expect("it listens");
    let error = scene.nodes[0].connect(endpoint).await.expect_err("stands");
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    scene.hosts[1].thaw();
    let remote = scene.at_desk(&answering());
    assert_eq!(remote.ask(|r| Question::Double(2, r)).await, Ok(4));
    lost(&mut events[1]).await;
    for events in &mut events {
        assert!(matches!(next(events).await, PeerEvent::Returned(_)));
        assert!(events.try_recv().is_err(), "nothing else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_host_is_noticed_at_once_and_another_life_is_another_node() {
    let (scene, waits, mut events) = waiting_scene().await;
    let [desk, farm] = &scene.nodes;
    let endpoint = farm.location().endpoint.expect("it listens");
    let stale = scene.at_desk(&collector::<u32>().0);
    scene.hosts[1].kill();
    all_end_by(waits, Instant::now(), GONE).await;
    lost(&mut events[0]).await;
    let error = desk.connect(endpoint).await.expect_err("it is dead");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    let error = farm.connect(desk.location().endpoint.expect("it listens"));
    error.await.expect_err("the dead reach nobody");

    let again = scene.network.host("farm");
    assert_eq!(again.ip(), scene.hosts[1].ip());
    let again = again.builder().member(false).listen(endpoint).build().await;
    let again = again.expect("the port is free");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let SendError::Disconnected(1, why) = stale.deliver(1).await.expect_err("stale") else {
        panic!("it reaches nobody");
    };
    assert!(why.contains("another node, \"farm\", listens"), "{why}");
    let peer = desk.connect(endpoint).await.expect("it lives");
    assert_eq!(peer.node, again.location().node);
}

#[tokio::test(start_paused = true)]
async fn a_thin_line_takes_its_time_and_a_busy_one_is_not_silent() {
    let scene = Scene::set().await;
    let (address, mut received) = collector::<Vec<u8>>();
    let remote = scene.at_desk(&address);
    remote.deliver(vec![]).await.expect("the link is there");
    scene.network.bandwidth(Some(100_000));
    let began = Instant::now();
    // Six times the limit of silence, one message after the other; for two, because it is more
    // than may be under way to one.
    let (other, mut at_other) = collector::<Vec<u8>>();
    let other = scene.at_desk(&other);
    let mut under_way = Vec::new();
    for _ in 0..6 {
        for to in [&other, &remote] {
            // Queued at once; only the last is waited for.
            let to = to.clone();
            let mut sending = Box::pin(async move { to.deliver(vec![0; 100_000]).await });
            assert!(polled(&mut sending).await.is_pending());
            under_way.push(tokio::spawn(sending));
        }
    }
    remote
        .deliver(vec![])
        .await
        .expect("the link is still there");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(12), "{took:?}");
    assert!(took < Duration::from_secs(13), "{took:?}");
    for _ in 0..8 {
        next(&mut received).await;
    }
    for _ in 0..6 {
        next(&mut at_other).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_is_told_even_over_a_long_line() {
    let scene = Scene::set().await;
    scene
        .network
        .latency(Duration::from_millis(300)..=Duration::from_millis(300));
    let (address, mut received) = collector::<u32>();
    let remote = scene.at_desk(&address);
    let mut at_farm = events(&scene.nodes[1]);
    remote.deliver(0).await.expect("the link is there");
    for n in 1..1000 {
        remote.send(n).expect("there is room");
    }
    let [desk, _farm] = &scene.nodes;
    desk.close().await;
    for n in 0..1000 {
        assert_eq!(next(&mut received).await, n);
    }
    assert!(matches!(next(&mut at_farm).await, PeerEvent::Joined(_)));
    assert_eq!(next(&mut at_farm).await, PeerEvent::Left(desk.location()));
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_new_peers_takes_the_old_ones_back() {
    let scene = Scene::set().await;
    let (address, mut received) = collector::<u32>();
    let remote = scene.at_desk(&address);
    remote.deliver(1).await.expect("it can be reached");
    for refusing in &scene.nodes {
        let mut told = events(refusing);
        assert!(matches!(next(&mut told).await, PeerEvent::Joined(_)));
        refusing.refuse_new(true);
        scene.network.cut(&scene.hosts[0], &scene.hosts[1]);
        remote.send(2).expect("it waits for the next link");
        assert!(matches!(next(&mut told).await, PeerEvent::Lost(..)));
        let event = next(&mut told).await;
        assert!(matches!(event, PeerEvent::Returned(_)), "{event:?}");
        remote.deliver(3).await.expect("the session goes on");
        refusing.refuse_new(false);
    }
    for n in [1, 2, 3, 2, 3] {
        assert_eq!(next(&mut received).await, n);
    }
}
