//! Channels on several nodes of a simulated network, in virtual time.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::channels::{HOUR, LATENCY, SECOND, Scene, quiet, settled};
use common::{collector, next};
use coros_core::{Address, AskError, Channel, ChannelError, Context, SubscribeError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

static WRITTEN: AtomicUsize = AtomicUsize::new(0);
static READ: AtomicUsize = AtomicUsize::new(0);

/// Counts how often it is written into a message and read out of one.
#[derive(Clone, Debug, PartialEq)]
struct Counted(u32);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WRITTEN.fetch_add(1, Ordering::SeqCst);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, Ordering::SeqCst);
        u32::deserialize(deserializer).map(Counted)
    }
}

fn carried() -> (usize, usize) {
    let counts = [&WRITTEN, &READ].map(|count| count.swap(0, Ordering::SeqCst));
    (counts[0], counts[1])
}

#[tokio::test(start_paused = true)]
async fn each_node_gets_one_copy_for_all_its_subscribers() {
    let scene = Scene::<3>::set().await;
    let news = Channel::named("news");
    let (here, mut received_here) = collector();
    news.subscribe(&here).unwrap();
    let at_b = scene.see(0, 1, &news);
    let mut received: Vec<_> = (0..100)
        .map(|_| {
            let (coroutine, received) = collector();
            assert_eq!(at_b.subscribe(&coroutine), Ok(true));
            assert_eq!(at_b.subscribe(&coroutine), Ok(false), "twice is once");
            received
        })
        .collect();
    // All handles of a node are one.
    assert_eq!(scene.see(0, 1, &news), at_b);
    let at_c = scene.see(0, 2, &news);
    let (coroutine, received_c) = collector();
    at_c.subscribe(&coroutine).unwrap();
    received.push(received_c);
    assert_eq!(settled(&at_b).await, 102);
    assert_eq!(news.subscribers(), 102);

    for n in 0..50 {
        assert_eq!(news.send(Counted(n)).unwrap(), 102);
    }
    for n in 0..50 {
        assert_eq!(next(&mut received_here).await, Counted(n));
        for received in &mut received {
            assert_eq!(next(received).await, Counted(n));
        }
    }
    assert_eq!(carried(), (100, 100), "two nodes, fifty messages");

    // From a third node it takes one more, to get home.
    at_c.send(Counted(50)).unwrap();
    for received in received.iter_mut().chain([&mut received_here]) {
        assert_eq!(next(received).await, Counted(50));
    }
    assert_eq!(carried(), (3, 3));
    assert_eq!(news.deliver(Counted(51), 102, HOUR).await.unwrap(), 102);
    assert_eq!(carried(), (2, 2), "a delivery counts coroutines, not nodes");
}

#[tokio::test(start_paused = true)]
async fn everything_can_be_done_from_afar() {
    let scene = Scene::<2>::set().await;
    let news = Channel::named("news");
    news.set_transform(|n: u32| n.is_multiple_of(2).then_some(n / 2));
    let (here, mut received_here) = collector();
    news.subscribe(&here).unwrap();

    let remote = scene.see(0, 1, &news);
    assert_eq!(remote.id(), news.id());
    assert!(remote.to_string().contains("@a@"), "{remote}");
    assert!(!remote.set_transform(Some), "it runs at home");
    assert!(remote.register("news").is_err());
    let (there, mut received) = collector();
    assert_eq!(remote.subscribe(&there), Ok(true));
    // What is sent from here now comes to whoever has subscribed here.
    remote.send(7).unwrap();
    remote.send(10).unwrap();
    for received in [&mut received, &mut received_here] {
        assert_eq!(next(received).await, 5, "7 was dropped");
    }
    assert_eq!(remote.deliver(20, 2, SECOND).await, Ok(2));
    assert_eq!(remote.deliver(21, 2, SECOND).await, Ok(0), "dropped");
    assert_eq!(next(&mut received).await, 10);
    assert_eq!(next(&mut received_here).await, 10);
    assert_eq!(remote.ask_subscribers().await, Ok(2));
    assert_eq!(remote.subscribers(), 2);

    assert!(remote.unsubscribe(&there));
    assert!(!remote.unsubscribe(&there));
    assert_eq!(settled(&remote).await, 1);
    news.send(2).unwrap();
    assert_eq!(next(&mut received_here).await, 1);
    remote.subscribe(&there).unwrap();
    remote.send(4).unwrap();
    assert_eq!(next(&mut received).await, 2, "no 1");

    // The address of a home's coroutine comes home.
    let bytes = scene.nodes[0].encode(&here).unwrap();
    let here: Address<u32> = scene.nodes[1].decode(&bytes).unwrap();
    assert!(remote.unsubscribe(&here));
    assert_eq!(remote.ask_subscribers().await, Ok(1));

    remote.close();
    assert!(remote.is_closed());
    assert_eq!(remote.send(1), Err(ChannelError::Closed(1)));
    drop(there);
    assert_eq!(received.recv().await, None, "the coroutine is released");
    assert!(news.is_closed());
    assert_eq!(remote.ask_subscribers().await, Err(AskError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_closed_says_so_behind_its_last_message() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let [at_b, at_c] = [1, 2].map(|node| scene.see(0, node, &news));
    let (there, mut received) = collector();
    at_b.subscribe(&there).unwrap();
    drop(there);
    settled(&at_b).await;
    at_c.send(0).unwrap();
    settled(&at_c).await;
    for n in 1..1000 {
        news.send(n).unwrap();
    }
    news.close();
    for n in 0..1000 {
        assert_eq!(received.recv().await, Some(n));
    }
    assert_eq!(received.recv().await, None);
    assert!(at_b.is_closed() && at_c.is_closed());
    assert_eq!(at_c.send(7), Err(ChannelError::Closed(7)));
    let late = scene.see(0, 2, &Channel::<u32>::new());
    let (coroutine, _received) = collector();
    assert!(matches!(
        at_c.subscribe(&coroutine),
        Err(SubscribeError::Closed { .. })
    ));
    assert_eq!(late.subscribe(&coroutine), Ok(true));
}

/// The request to subscribe and the end of the channel cross.
#[tokio::test(start_paused = true)]
async fn whoever_subscribes_too_late_is_released() {
    let scene = Scene::<2>::set().await;
    let news = Channel::<u32>::new();
    let remote = scene.see(0, 1, &news);
    remote.ask_subscribers().await.unwrap();
    let (there, mut received) = collector();
    news.close();
    assert_eq!(remote.subscribe(&there), Ok(true), "not known yet");
    drop(there);
    assert_eq!(received.recv().await, None);
    assert!(remote.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_waits_for_subscribers_of_all_nodes_and_keeps_its_time() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let [at_b, at_c] = [1, 2].map(|node| scene.see(0, node, &news));
    let start = Instant::now();
    let delivery = news.deliver(1, 3, HOUR);
    let (here, _h) = collector();
    let (b, _b) = collector();
    let (c, _c) = collector();
    let subscriptions = async {
        tokio::time::sleep(SECOND).await;
        news.subscribe(&here).unwrap();
        at_b.subscribe(&b).unwrap();
        tokio::time::sleep(SECOND).await;
        at_c.subscribe(&c).unwrap();
    };
    let (reached, ()) = tokio::join!(delivery, subscriptions);
    assert_eq!(reached, Ok(3));
    let took = start.elapsed();
    // Dial, subscription, the count, the message and the answer.
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");

    // From afar, with too few: those that are there get it, and are counted in time.
    for channel in [&news, &at_b, &at_c] {
        let start = Instant::now();
        assert_eq!(channel.deliver(2, 4, 2 * SECOND).await, Ok(3));
        let took = start.elapsed();
        assert!(took > SECOND && took <= 2 * SECOND, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_subscriber_of_a_node_takes_the_relay_with_it() {
    let scene = Scene::<2>::set().await;
    let news = Channel::new();
    let remote = scene.see(0, 1, &news);
    let ends = coros_core::spawn(async |mut me: Context<Counted>| {
        me.receive().await;
        me.receive().await
    });
    let (stays, mut received) = collector();
    remote.subscribe(&ends).unwrap();
    remote.subscribe(&stays).unwrap();
    assert_eq!(settled(&remote).await, 2);
    news.send(Counted(1)).unwrap();
    news.send(Counted(2)).unwrap();
    assert_eq!(ends.join().await, Ok(Some(Counted(2))));
    assert_eq!(settled(&remote).await, 1, "its end is told");
    assert!(remote.unsubscribe(&stays));
    assert_eq!(settled(&remote).await, 0);
    carried();
    assert_eq!(news.send(Counted(3)).unwrap(), 0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(carried(), (0, 0), "nobody wants it");
    assert_eq!(next(&mut received).await, Counted(1));
    assert_eq!(next(&mut received).await, Counted(2));
    quiet(&mut received);

    // And again, with the end of the last one.
    let last = coros_core::spawn(async |mut me: Context<Counted>| me.receive().await);
    remote.subscribe(&last).unwrap();
    assert_eq!(settled(&remote).await, 1);
    last.terminate();
    last.exit().await;
    assert_eq!(settled(&remote).await, 0);
    assert_eq!(news.send(Counted(4)).unwrap(), 0);
    assert_eq!(carried(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_outlives_the_handle_it_was_made_with() {
    let scene = Scene::<2>::set().await;
    let news = Channel::new();
    let (there, mut received) = collector();
    scene.see(0, 1, &news).subscribe(&there).unwrap();
    drop(there);
    assert_eq!(news.deliver(7, 1, HOUR).await, Ok(1));
    assert_eq!(next(&mut received).await, 7);
    news.close();
    assert_eq!(received.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_is_not_counted_and_not_waited_for() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let [at_b, at_c] = [1, 2].map(|node| scene.see(0, node, &news));
    let ((b, mut received_b), (c, mut received_c)) = (collector(), collector());
    at_b.subscribe(&b).unwrap();
    at_c.subscribe(&c).unwrap();
    assert_eq!(news.deliver(0_u32, 2, HOUR).await, Ok(2));
    for n in 1..100 {
        if n == 50 {
            scene.hosts[2].kill();
        }
        news.send(n).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    // A dead one is still counted when this begins.
    let reached = news.deliver(100, 2, HOUR).await;
    assert!(matches!(reached, Ok(1)) || news.subscribers() == 1);
    assert!(start.elapsed() < HOUR);
    for n in 0..100 {
        assert_eq!(next(&mut received_b).await, n);
    }
    let mut expected = 0;
    while let Ok(n) = received_c.try_recv() {
        assert_eq!(n, expected, "in order, without a gap");
        expected += 1;
    }
    // What was on the line is gone.
    assert!((20..50).contains(&expected), "{expected}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_holds_up_no_other_and_is_dropped_in_time() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let [at_b, at_c] = [1, 2].map(|node| scene.see(0, node, &news));
    let ((b, mut received_b), (c, _received_c)) = (collector(), collector());
    at_b.subscribe(&b).unwrap();
    at_c.subscribe(&c).unwrap();
    assert_eq!(news.deliver(0, 2, HOUR).await, Ok(2));
    scene.hosts[2].freeze();
    let start = Instant::now();
    let delivery = {
        let news = news.clone();
        tokio::spawn(async move { news.deliver(1, 2, HOUR).await })
    };
    assert_eq!(next(&mut received_b).await, 0);
    assert_eq!(next(&mut received_b).await, 1);
    assert!(start.elapsed() <= 2 * LATENCY, "at once");
    assert_eq!(delivery.await.unwrap(), Ok(1));
    // The silence, a tenth, and what a session may have of grace.
    assert!(start.elapsed() < 8 * SECOND, "{:?}", start.elapsed());
    assert_eq!(news.subscribers(), 1);
}

#[tokio::test(start_paused = true)]
async fn subscribers_of_a_home_that_dies_are_released() {
    let scene = Scene::<2>::set().await;
    let news = Channel::new();
    let remote = scene.see(0, 1, &news);
    let (there, mut received) = collector();
    remote.subscribe(&there).unwrap();
    drop(there);
    assert_eq!(news.deliver(1, 1, HOUR).await, Ok(1));
    assert_eq!(next(&mut received).await, 1);
    scene.hosts[0].kill();
    assert_eq!(received.recv().await, None);
    let error = remote.deliver(2, 1, HOUR).await.unwrap_err();
    assert!(matches!(error, ChannelError::Disconnected(2, _)), "{error}");
    let error = remote.send(2).unwrap_err();
    assert!(matches!(error, ChannelError::Disconnected(2, _)), "{error}");
    let (there, _received) = collector();
    assert!(matches!(
        remote.subscribe(&there),
        Err(SubscribeError::Disconnected { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_loses_nothing() {
    let scene = Scene::<2>::set().await;
    let news = Channel::new();
    let remote = scene.see(0, 1, &news);
    let (there, mut received) = collector();
    remote.subscribe(&there).unwrap();
    assert_eq!(news.deliver(0, 1, HOUR).await, Ok(1));
    scene
        .network
        .partition([&scene.hosts[0]], [&scene.hosts[1]]);
    for n in 1..100 {
        assert_eq!(news.send(n), Ok(1));
    }
    tokio::time::sleep(SECOND).await;
    scene.network.heal();
    for n in 0..100 {
        assert_eq!(next(&mut received).await, n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_coroutine_of_a_third_node_is_sent_to_directly() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let at_b = scene.see(0, 1, &news);
    let (c, mut received) = collector::<u32>();
    let bytes = scene.nodes[2].encode(&c).unwrap();
    let c_at_b: Address<u32> = scene.nodes[1].decode(&bytes).unwrap();
    assert_eq!(at_b.subscribe(&c_at_b), Ok(true));
    assert_eq!(at_b.ask_subscribers().await, Ok(1));
    assert_eq!(news.send(1), Ok(1));
    assert_eq!(next(&mut received).await, 1);
    assert!(at_b.unsubscribe(&c_at_b));
    assert_eq!(at_b.ask_subscribers().await, Ok(0));
    at_b.subscribe(&c_at_b).unwrap();
    assert_eq!(at_b.deliver(2, 1, SECOND).await, Ok(1));
    scene.hosts[2].kill();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(at_b.ask_subscribers().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_a_third_node_has_brought_stays_without_it() {
    let scene = Scene::<3>::set().await;
    let news = Channel::new();
    let at_b = scene.see(0, 1, &news);
    let (c, mut received) = collector::<u32>();
    let b = scene.nodes[1].location().node;
    let bytes = scene.nodes[2].encode_for(b, &c).expect("it travels");
    let c_at_b: Address<u32> = scene.nodes[1].decode(&bytes).expect("and arrives");
    drop(c);
    c_at_b.deliver(1).await.expect("it is there");
    assert_eq!(at_b.subscribe(&c_at_b), Ok(true));
    assert_eq!(at_b.ask_subscribers().await, Ok(1));
    tokio::time::sleep(SECOND).await;
    // Before the home has sent it anything.
    scene.hosts[1].kill();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(news.deliver(2, 1, SECOND).await, Ok(1));
    assert_eq!(
        [next(&mut received).await, next(&mut received).await],
        [1, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_found_by_name_until_it_is_closed() {
    let scene = Scene::<2>::set().await;
    let [home, away] = &scene.nodes;
    let news = Channel::<u32>::named("news");
    home.register("news", &news).unwrap();
    away.connect(home.location().endpoint.unwrap())
        .await
        .unwrap();
    let found: Channel<u32> = away.locate_timeout("news", 10 * SECOND).await.unwrap();
    assert_eq!(found, scene.see(0, 1, &news), "the same as from a message");
    let (there, mut received) = collector();
    found.subscribe(&there).unwrap();
    assert_eq!(news.deliver(1, 1, HOUR).await, Ok(1));
    assert_eq!(next(&mut received).await, 1);

    // Neither of another type, nor as something else, nor somebody else's.
    let error = away.try_locate::<Channel<String>>("news").unwrap_err();
    assert!(error.to_string().contains("u32"), "{error}");
    assert!(away.try_locate::<Address<u32>>("news").is_err());
    assert!(away.register("mine", &found).is_err());

    news.close();
    tokio::time::sleep(5 * SECOND).await;
    assert!(away.try_locate::<Channel<u32>>("news").is_err());
    assert!(home.register("news", &news).is_err(), "it has been closed");
}

#[tokio::test(start_paused = true)]
async fn more_than_a_window_may_be_under_way_to_a_node() {
    let scene = Scene::<2>::set().await;
    let news = Channel::named("news");
    let at_b = scene.see(0, 1, &news);
    let (coroutine, mut received) = collector::<(u32, Vec<u8>)>();
    at_b.subscribe(&coroutine).unwrap();
    assert_eq!(settled(&at_b).await, 1);
    for n in 0..100 {
        assert_eq!(news.send((n, vec![0; 64 << 10])).unwrap(), 1);
    }
    for n in 0..100 {
        assert_eq!(next(&mut received).await.0, n);
    }
}
