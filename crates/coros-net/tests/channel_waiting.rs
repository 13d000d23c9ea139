//! How much of channels waits for one node at most, in virtual time.

mod common;

use common::channels::{HOUR, Scene, quiet, settled};
use common::{collector, next};
use coros_core::{Channel, ChannelError};
use tokio::task::JoinSet;

/// Cheap to write and to read.
fn eight_mebibytes() -> String {
    "a".repeat(8 << 20)
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_node_is_bounded_for_all_channels_together() {
    let scene = Scene::<2>::set().await;
    let channels = ["one", "two", "three"].map(Channel::named);
    let (coroutine, mut received) = collector::<String>();
    for channel in &channels {
        let at_b = scene.see(0, 1, channel);
        at_b.subscribe(&coroutine).unwrap();
        assert_eq!(settled(&at_b).await, 1);
    }
    let mut gone = 0;
    for channel in channels.iter().cycle().take(36) {
        gone += channel.send(eight_mebibytes()).unwrap();
    }
    // Eight of them wait, and one is on its way, if not two.
    assert!((8..=10).contains(&gone), "{gone} of 36");
    for _ in 0..gone {
        next(&mut received).await;
    }
    quiet(&mut received);
    assert_eq!(channels[0].send("a".into()).unwrap(), 1, "there is room");
}

#[tokio::test(start_paused = true)]
async fn what_one_node_has_delivered_to_nobody_yet_is_bounded() {
    let scene = Scene::<2>::set().await;
    let news = Channel::<String>::named("news");
    let at_b = scene.see(0, 1, &news);
    let mut waiting = JoinSet::new();
    for _ in 0..12 {
        let at_b = at_b.clone();
        waiting.spawn(async move { at_b.deliver(eight_mebibytes(), 1, HOUR).await });
    }
    for _ in 0..4 {
        let refused = waiting.join_next().await.expect("one of 12").unwrap();
        assert!(matches!(refused, Err(ChannelError::TooMany(_))));
    }
    let (coroutine, mut received) = collector();
    news.subscribe(&coroutine).unwrap();
    for _ in 0..8 {
        let delivered = waiting.join_next().await.expect("one of 8").unwrap();
        assert_eq!(delivered.unwrap(), 1);
        next(&mut received).await;
    }
}
