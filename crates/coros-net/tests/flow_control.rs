//! Receivers that are slow, and those who must not notice; in virtual time.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use common::{collector, next, polled, sent, soon};
use coros_core::{Address, Context, Exit, Reply, SendError, spawn};
use coros_net::Node;
use coros_net::sim::{SimHost, SimNetwork};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

const LATENCY: Duration = Duration::from_millis(10);
/// What may be under way to one coroutine.
const WINDOW: usize = 1 << 20;

async fn scene(network: &SimNetwork) -> ([SimHost; 2], [Node; 2]) {
    network.latency(LATENCY..=LATENCY);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let [desk, farm] = hosts.each_ref().map(|host| host.builder().build());
    let nodes = [
        desk.await.expect("it starts"),
        farm.await.expect("it starts"),
    ];
    (hosts, nodes)
}

/// Bytes of messages that have been decoded and not dropped.
static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// From whom it is, and its number; its memory is counted once it has travelled.
struct Heavy {
    from: u32,
    number: u32,
    padding: Vec<u8>,
    counted: bool,
}

impl Drop for Heavy {
    fn drop(&mut self) {
        if self.counted {
            ALIVE.fetch_sub(self.padding.len(), SeqCst);
        }
    }
}

impl Serialize for Heavy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.from, self.number, &self.padding).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Heavy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (from, number, padding) = <(u32, u32, Vec<u8>)>::deserialize(deserializer)?;
        let alive = ALIVE.fetch_add(padding.len(), SeqCst) + padding.len();
        MOST.fetch_max(alive, SeqCst);
        Ok(Heavy {
            from,
            number,
            padding,
            counted: true,
        })
    }
}

fn heavy(from: u32, number: u32) -> Heavy {
    Heavy {
        from,
        number,
        padding: vec![0; 1000],
        counted: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_senders_to_one_stuck_receiver_hold_up_nobody_else() {
    const SENDERS: u32 = 1000;
    const EACH: u32 = 12;
    let network = SimNetwork::new(1);
    let (_hosts, [desk, farm]) = scene(&network).await;
    // All that the senders have would take more than half a second.
    network.bandwidth(Some(20_000_000));
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let stuck = spawn(async move |mut me: Context<Heavy>| {
        gate.notified().await;
        let mut last = vec![0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let heavy = me.receive().await.expect("there are more");
            assert_eq!(heavy.number, last[heavy.from as usize] + 1);
            last[heavy.from as usize] = heavy.number;
        }
    });
    let quick = spawn(async |mut me: Context<Reply<()>>| {
        while let Some(reply) = me.receive().await {
            reply.send(());
        }
    });
    let remote = sent(&farm, &desk, &stuck.address());
    let asked = sent(&farm, &desk, &quick.address());
    asked.ask(|reply| reply).await.expect("the link is there");

    let full = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for from in 0..SENDERS {
        let (to, full) = (remote.clone(), Arc::clone(&full));
        senders.spawn(async move {
            for number in 1..=EACH {
                match to.send(heavy(from, number)) {
                    Ok(()) => {}
                    Err(SendError::Full(message)) => {
                        full.fetch_add(1, SeqCst);
                        to.deliver(message).await.expect("it only waits");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    for _ in 0..100 {
        let began = Instant::now();
        asked.ask(|reply| reply).await.expect("it is not stuck");
        // One window is in front of it at most.
        assert!(
            began.elapsed() <= Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
    }
    assert!(full.load(SeqCst) > 0);
    assert!(ALIVE.load(SeqCst) > WINDOW / 2, "it is stuck");
    assert!(MOST.load(SeqCst) <= WINDOW, "{MOST:?} bytes in a mailbox");
    go.notify_one();
    while let Some(done) = senders.join_next().await {
        done.expect("no panic");
    }
    stuck.join().await.expect("all came, in order");
    // What was taken and not received, and what came meanwhile.
    assert!(MOST.load(SeqCst) <= 2 * WINDOW, "{MOST:?} bytes");
    assert_eq!(ALIVE.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_small_mailbox_gets_all_that_is_sent_in_order() {
    const COUNT: u32 = 10_000;
    let network = SimNetwork::new(2);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let small = coros_core::build()
        .capacity(3)
        .spawn(async |mut me: Context<(u32, Vec<u8>)>| {
            for n in 0..COUNT {
                assert_eq!(me.receive().await.expect("there is more").0, n);
                if n % 1000 == 0 {
                    me.sleep(Duration::from_millis(50)).await;
                }
            }
        });
    let remote = sent(&farm, &desk, &small.address());
    let mut full = 0;
    for n in 0..COUNT {
        let mut message = (n, vec![0; 200]);
        while let Err(error) = remote.send(message) {
            let SendError::Full(back) = error else {
                panic!("{error}");
            };
            message = back;
            full += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(full > 0, "there was more than may be under way");
    small.join().await.expect("all came");
}

fn stuck(go: &Arc<Notify>) -> coros_core::Coro<Vec<u8>, Vec<usize>> {
    let gate = Arc::clone(go);
    spawn(async move |mut me: Context<Vec<u8>>| {
        gate.notified().await;
        let mut lengths = Vec::new();
        while let Some(message @ [_, ..]) = me.receive().await.as_deref() {
            lengths.push(message.len());
        }
        lengths
    })
}

/// Three messages of 1, 2 and 3 bytes wait for a stuck coroutine, and the second is given up.
async fn three_wait<F: Future>(
    remote: &Address<Vec<u8>>,
    begin: impl Fn(usize) -> F,
) -> Vec<Pin<Box<F>>> {
    let mut waiting: Vec<_> = (1..=3).map(|n| Box::pin(begin(n))).collect();
    for message in &mut waiting {
        assert!(polled(message).await.is_pending());
    }
    let sent = remote.send(vec![0; 9]);
    assert!(matches!(sent, Err(SendError::Full(_))), "it would overtake");
    drop(waiting.remove(1));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(polled(&mut waiting[0]).await.is_pending());
    waiting
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_given_up_while_it_waits_is_not_sent() {
    let network = SimNetwork::new(3);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let go = Arc::new(Notify::new());
    let stuck = stuck(&go);
    let remote = sent(&farm, &desk, &stuck.address());
    // Larger than the window, which is no reason not to go alone.
    remote.deliver(vec![0; 2 * WINDOW]).await.expect("it fits");
    let waiting = three_wait(&remote, |n| remote.deliver(vec![0; n])).await;
    go.notify_one();
    for delivery in waiting {
        delivery.await.expect("there is room");
    }
    remote.deliver(vec![]).await.expect("there is room");
    assert_eq!(stuck.join().await.expect("no panic"), [2 * WINDOW, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn whoever_feeds_waits_for_room_and_for_no_answer() {
    let network = SimNetwork::new(7);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let go = Arc::new(Notify::new());
    let stuck = stuck(&go);
    let remote = sent(&farm, &desk, &stuck.address());
    remote.deliver(vec![0; 7]).await.expect("the link is there");
    let began = Instant::now();
    for _ in 0..2 {
        let half = remote.feed(vec![0; WINDOW / 2]).await;
        half.expect("there is room");
    }
    assert_eq!(began.elapsed(), Duration::ZERO);

    let waiting = three_wait(&remote, |n| remote.feed(vec![0; n])).await;
    let mut last = Box::pin(remote.feed(vec![0; 4]));
    assert!(polled(&mut last).await.is_pending());
    let began = Instant::now();
    go.notify_one();
    for fed in waiting {
        fed.await.expect("there is room");
    }
    let took = began.elapsed();
    assert!(took < 2 * LATENCY, "{took:?}: it has not arrived then");
    // Its turn has come, though nobody has looked.
    drop(last);
    remote.feed(vec![]).await.expect("there is room");
    let lengths = stuck.join().await.expect("no panic");
    assert_eq!(lengths, [7, WINDOW / 2, WINDOW / 2, 1, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn feeding_keeps_a_slow_link_busy_and_little_in_memory() {
    const COUNT: usize = 5000;
    let network = SimNetwork::new(8);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let (address, mut received) = collector::<(usize, Vec<u8>)>();
    let remote = sent(&farm, &desk, &address);
    let first = remote.deliver((0, vec![])).await;
    first.expect("the link is there");
    // Ten times less than would fit into the link's memory while nobody waits.
    network.bandwidth(Some(10_000_000));
    let began = Instant::now();
    let mut most = 0;
    for n in 1..=COUNT {
        let fed = remote.feed((n, vec![0; 1000])).await;
        fed.expect("it only waits");
        most = most.max(desk.census().queued);
    }
    for n in 0..=COUNT {
        assert_eq!(next(&mut received).await.0, n);
    }
    let took = began.elapsed();
    // Half a second for the bytes; an answer to each that has to wait would take more.
    let long = Duration::from_millis(500)..Duration::from_millis(600);
    assert!(long.contains(&took), "{took:?}");
    // Beside what may be under way, a buffer of which the peer has but a part.
    assert!(most < WINDOW + WINDOW / 8, "{most} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_asked_without_a_pause_gets_its_own_messages_through() {
    const ASKERS: usize = 64;
    let network = SimNetwork::new(9);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let library = spawn(async |mut me: Context<Reply<Vec<u8>>>| {
        while let Some(reply) = me.receive().await {
            reply.send(vec![0; 100_000]);
        }
    });
    let asked = sent(&farm, &desk, &library.address());
    let (address, mut received) = collector::<u32>();
    let remote = sent(&desk, &farm, &address);
    remote.deliver(0).await.expect("the link is there");
    network.bandwidth(Some(10_000_000));
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let asked = asked.clone();
        askers.spawn(async move {
            loop {
                asked.ask(|reply| reply).await.expect("it answers");
            }
        });
    }
    // A second of answers, and two thirds of one wait at any time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(farm.census().queued > 4 * WINDOW, "the line is busy");
    let began = Instant::now();
    for n in 1..=20 {
        let fed = soon(remote.feed(n)).await;
        fed.expect("it only waits");
    }
    for n in 0..=20 {
        assert_eq!(next(&mut received).await, n);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_across_a_break_and_the_end_of_a_receiver_ends() {
    let network = SimNetwork::new(4);
    let (hosts, [desk, farm]) = scene(&network).await;
    let go = Arc::new(Notify::new());
    let coro = stuck(&go);
    let remote = sent(&farm, &desk, &coro.address());
    remote.deliver(vec![0; WINDOW]).await.expect("it fits");
    let mut waiting = Box::pin(remote.deliver(vec![0; 5]));
    assert!(polled(&mut waiting).await.is_pending());
    let mut fed = Box::pin(remote.feed(vec![0; 6]));
    assert!(polled(&mut fed).await.is_pending());
    network.cut(&hosts[0], &hosts[1]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(polled(&mut waiting).await.is_pending());
    // Its mailbox goes with it, so what was under way to it is under way no more.
    coro.terminate();
    assert_eq!(waiting.await, Err(SendError::Closed(vec![0; 5])));
    assert_eq!(fed.await, Ok(()), "it is on its way");
    assert_eq!(
        remote.deliver(vec![0; WINDOW]).await.map_err(|_| ()),
        Err(())
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_bears_little_in_all_gets_everything() {
    let network = SimNetwork::new(5);
    network.latency(LATENCY..=LATENCY);
    let [near, far] = ["desk", "farm"].map(|name| network.host(name));
    let desk = near.builder().build().await.expect("it starts");
    let farm = far
        .builder()
        .outbox(10_000)
        .build()
        .await
        .expect("it starts");
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let mut addresses = Vec::new();
    for _ in 0..10 {
        let sender = sender.clone();
        let coro = spawn(async move |mut me: Context<Vec<u8>>| {
            while let Some(message) = me.receive().await {
                me.sleep(Duration::from_millis(3)).await;
                sender.send(message.len()).expect("it is read");
            }
        });
        addresses.push(sent(&farm, &desk, &coro.address()));
    }
    let mut deliveries = JoinSet::new();
    for n in 0..500 {
        let to: Address<Vec<u8>> = addresses[n % 10].clone();
        deliveries.spawn(async move { to.deliver(vec![0; 700]).await });
    }
    while let Some(delivered) = deliveries.join_next().await {
        delivered.expect("no panic").expect("it only waits");
    }
    for _ in 0..500 {
        assert_eq!(next(&mut received).await, 700);
    }
}

#[tokio::test(start_paused = true)]
async fn a_monitor_does_not_wait_for_messages() {
    let network = SimNetwork::new(6);
    let (_hosts, [desk, farm]) = scene(&network).await;
    let mortal = spawn(async |mut me: Context<()>| me.receive().await);
    let remote = sent(&farm, &desk, &mortal.address());
    let watching = tokio::spawn(async move { remote.exit().await });
    let (address, mut received) = collector::<Vec<u8>>();
    let first = sent(&desk, &farm, &address);
    first.deliver(vec![]).await.expect("the link is there");
    next(&mut received).await;
    network.bandwidth(Some(10_000_000));
    let mailboxes: Vec<_> = (0..64).map(|_| collector::<Vec<u8>>()).collect();
    let others: Vec<_> = mailboxes
        .iter()
        .map(|(address, _)| sent(&desk, &farm, address))
        .collect();
    // Queued, or waiting for that, before anybody polls.
    let _waiting: Vec<_> = others
        .iter()
        .flat_map(|to| [(); 3].map(|()| to.deliver(vec![0; 300_000])))
        .collect();
    // Nearly six seconds' worth of messages.
    mortal.send(()).expect("it lives");
    let began = Instant::now();
    assert_eq!(watching.await.expect("no panic"), Exit::Finished);
    assert!(
        began.elapsed() < Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
}
