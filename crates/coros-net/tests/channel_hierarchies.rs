//! Channels that subscribe to channels of other nodes, in virtual time.

mod common;

use common::channels::{HOUR, LATENCY, SECOND, Scene, quiet, settled};
use common::{collector, next};
use coros_core::{Address, Channel, Context, SubscribeError};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn hierarchies_span_nodes_in_both_directions() {
    let scene = Scene::<3>::set().await;
    let [top, middle, bottom] = ["top", "middle", "bottom"].map(Channel::named);
    middle.set_transform(|n: u32| Some(n * 10));
    // top at a feeds middle at b, which feeds bottom at c.
    let top_at_b = scene.see(0, 1, &top);
    assert_eq!(top_at_b.subscribe_channel_checked(&middle).await, Ok(true));
    assert_eq!(top_at_b.subscribe_channel_checked(&middle).await, Ok(false));
    let bottom_at_b = scene.see(2, 1, &bottom);
    assert_eq!(
        middle.subscribe_channel_checked(&bottom_at_b).await,
        Ok(true)
    );
    let ((b, mut received_b), (c, mut received_c)) = (collector(), collector());
    middle.subscribe(&b).unwrap();
    bottom.subscribe(&c).unwrap();
    let start = Instant::now();
    assert_eq!(top.deliver(1, 2, HOUR).await, Ok(2));
    assert!(
        start.elapsed() < SECOND,
        "the numbers are told: {:?}",
        start.elapsed()
    );
    assert_eq!(next(&mut received_b).await, 10);
    assert_eq!(next(&mut received_c).await, 10);
    assert_eq!((top.subscribers(), middle.subscribers()), (2, 2));
    for n in 2..50 {
        assert_eq!(top.send(n), Ok(2));
    }
    for n in 2..50 {
        assert_eq!(next(&mut received_b).await, 10 * n);
        assert_eq!(next(&mut received_c).await, 10 * n);
    }

    assert!(middle.unsubscribe_channel(&bottom_at_b));
    assert!(top_at_b.unsubscribe_channel(&middle));
    assert!(!top_at_b.unsubscribe_channel(&middle));
    assert_eq!(settled(&top_at_b).await, 0);
    assert_eq!(top.send(1), Ok(0));
    assert_eq!(middle.send(1), Ok(1));
    assert_eq!(next(&mut received_b).await, 10);
    tokio::time::sleep(SECOND).await;
    quiet(&mut received_c);
}

/// A number that has to wait for room is told when there is.
#[tokio::test(start_paused = true)]
async fn who_subscribes_while_the_way_home_is_full_is_counted() {
    let scene = Scene::<2>::set().await;
    let news = Channel::<String>::new();
    let remote = scene.see(0, 1, &news);
    let [(first, _f), (second, _s)] = [collector(), collector()];
    remote.subscribe(&first).unwrap();
    assert_eq!(settled(&remote).await, 1);
    let [a, b] = &scene.hosts;
    scene.network.partition([a], [b]);
    while remote.send("x".repeat(100 << 10)).is_ok() {}
    remote.subscribe(&second).unwrap();
    tokio::time::sleep(SECOND).await;
    scene.network.heal();
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(news.subscribers(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_ends_below_is_not_counted_above() {
    let scene = Scene::<3>::set().await;
    let [top, middle, bottom] = ["top", "middle", "bottom"].map(Channel::named);
    // bottom at b feeds middle at a, and top at a feeds bottom: its home is told either way.
    let bottom_at_a = scene.see(1, 0, &bottom);
    let top_at_b = scene.see(0, 1, &top);
    assert_eq!(top_at_b.subscribe_channel_checked(&bottom).await, Ok(true));
    assert_eq!(
        middle.subscribe_channel_checked(&bottom_at_a).await,
        Ok(true)
    );
    let ends = || {
        let coro = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
        coro.address()
    };
    // One was there before anybody above was told how many there are, one is of a third node.
    let early = ends();
    bottom.subscribe(&early).unwrap();
    let (stays, _received) = collector();
    bottom.subscribe(&stays).unwrap();
    let elsewhere = ends();
    let bytes = scene.nodes[2].encode(&elsewhere).expect("addresses travel");
    let at_b: Address<u32> = scene.nodes[1].decode(&bytes).expect("and arrive");
    bottom.subscribe(&at_b).unwrap();
    tokio::time::sleep(SECOND).await;
    let late = ends();
    bottom.subscribe(&late).unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!([&top, &middle].map(Channel::subscribers), [4, 4]);
    for (gone, left) in [early, late, elsewhere].into_iter().zip([3, 2, 1]) {
        gone.terminate();
        gone.exit().await;
        tokio::time::sleep(SECOND).await;
        assert_eq!([&top, &middle].map(Channel::subscribers), [left; 2]);
    }
    // So nobody is counted whom a delivery does not reach, and it waits for more.
    let start = Instant::now();
    assert_eq!(top.deliver(1, 2, 4 * SECOND).await, Ok(1));
    assert!(start.elapsed() > 3 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn cycles_across_nodes_are_refused() {
    let scene = Scene::<3>::set().await;
    let [a, b, c] = ["a", "b", "c"].map(Channel::<u32>::named);
    let homes = [&a, &b, &c];
    let at = |node: usize, channel: usize| scene.see(channel, node, homes[channel]);
    // Each node subscribes its own channel to another's.
    assert_eq!(at(1, 0).subscribe_channel_checked(&b).await, Ok(true));
    assert_eq!(at(2, 1).subscribe_channel_checked(&c).await, Ok(true));
    // c at home does not know of a; a's home does not know of c; a third knows of neither.
    let cycle = |result: &Result<bool, SubscribeError>| {
        assert!(
            matches!(result, Err(SubscribeError::Cycle { .. })),
            "{result:?}"
        );
    };
    cycle(&at(0, 2).subscribe_channel_checked(&a).await);
    cycle(&c.subscribe_channel_checked(&at(2, 0)).await);
    cycle(&at(1, 2).subscribe_channel_checked(&at(1, 0)).await);
    cycle(&at(0, 0).subscribe_channel_checked(&a).await);
    // Without waiting for the answer there is none either.
    assert_eq!(at(0, 2).subscribe_channel(&a), Ok(true));
    let (reader, mut received) = collector();
    c.subscribe(&reader).unwrap();
    assert_eq!(a.deliver(7, 1, HOUR).await, Ok(1));
    assert_eq!(next(&mut received).await, 7);
    tokio::time::sleep(SECOND).await;
    assert_eq!(c.send(8), Ok(1));
    assert_eq!(next(&mut received).await, 8);
    quiet(&mut received);

    assert!(at(1, 0).unsubscribe_channel(&b));
    settled(&at(1, 0)).await;
    assert_eq!(at(0, 2).subscribe_channel_checked(&a).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn two_that_close_a_cycle_at_once_do_not_both_succeed() {
    for delay in 0..12 {
        let scene = Scene::<2>::set().await;
        let [a, b] = ["a", "b"].map(Channel::<u32>::named);
        let (a_at_b, b_at_a) = (scene.see(0, 1, &a), scene.see(1, 0, &b));
        a_at_b.ask_subscribers().await.unwrap();
        let one = a_at_b.subscribe_channel_checked(&b);
        let other = async {
            tokio::time::sleep(delay * LATENCY / 2).await;
            b_at_a.subscribe_channel_checked(&a).await
        };
        let (one, other) = tokio::join!(one, other);
        let both = one.is_ok() && other.is_ok();
        assert!(!both, "after {delay} halves of the latency");
        assert!(delay < 11 || one.is_ok(), "one alone has no reason to fail");
    }
}
