//! Deliveries: waiting for subscribers and for room.

use std::time::Duration;

use coros_core::{Channel, ChannelError, Context, Coro, build, spawn};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn one_message() -> Coro<u32, Option<u32>> {
    spawn(async |mut me: Context<u32>| me.receive().await)
}

#[tokio::test(start_paused = true)]
async fn too_few_subscribers_get_it_when_the_time_is_over() {
    let channel = Channel::new();
    let reader = one_message();
    channel.subscribe(&reader).unwrap();
    let start = Instant::now();
    assert_eq!(channel.deliver(7, 2, 3 * SECOND).await, Ok(1));
    assert_eq!(start.elapsed(), 3 * SECOND);
    assert_eq!(reader.join().await, Ok(Some(7)));
    assert_eq!(
        channel.deliver(8, 1, SECOND).await,
        Ok(0),
        "the reader has ended"
    );
    assert_eq!(channel.deliver(9, 0, SECOND).await, Ok(0));
    assert_eq!(
        start.elapsed(),
        4 * SECOND,
        "zero subscribers are there at once"
    );
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_subscribers_anywhere_in_the_hierarchy() {
    let [top, middle, bottom] = [(); 3].map(|()| Channel::new());
    let readers: Vec<_> = (0..3).map(|_| one_message()).collect();
    middle.subscribe(&readers[0]).unwrap();
    let start = Instant::now();
    let delivery = top.deliver(7, 3, HOUR);
    let subscriptions = async {
        tokio::time::sleep(SECOND).await;
        top.subscribe_channel(&middle).unwrap();
        tokio::time::sleep(SECOND).await;
        middle.subscribe_channel(&bottom).unwrap();
        bottom.subscribe(&readers[1]).unwrap();
        tokio::time::sleep(SECOND).await;
        bottom.subscribe(&readers[2]).unwrap();
    };
    assert_eq!(tokio::join!(delivery, subscriptions).0, Ok(3));
    assert_eq!(start.elapsed(), 3 * SECOND);
    for reader in readers {
        assert_eq!(reader.join().await, Ok(Some(7)));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_does_not_count() {
    let channel = Channel::new();
    let gone: Coro<u32, ()> = spawn(async |_me: Context<u32>| panic!("gone"));
    channel.subscribe(&gone).unwrap();
    gone.exit().await;
    let reader = one_message();
    channel.subscribe(&reader).unwrap();
    assert_eq!(channel.deliver(7, 2, SECOND).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_room_within_the_time_and_holds_up_nobody() {
    let channel = Channel::new();
    let slow = build().capacity(1).spawn(async |mut me: Context<u32>| {
        me.sleep(2 * SECOND).await;
        (me.receive().await, me.receive().await)
    });
    let stuck = build().capacity(1).spawn(async |mut me: Context<u32>| {
        me.sleep(HOUR).await;
        me.receive().await
    });
    let fast = spawn(async |mut me: Context<u32>| {
        let start = Instant::now();
        (me.receive().await, me.receive().await, start.elapsed())
    });
    for address in [&*slow, &*stuck, &*fast] {
        channel.subscribe(address).unwrap();
    }
    assert_eq!(channel.send(1), Ok(3));
    let start = Instant::now();
    assert_eq!(
        channel.deliver(2, 3, 5 * SECOND).await,
        Ok(2),
        "one is stuck"
    );
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert_eq!(slow.join().await, Ok((Some(1), Some(2))));
    assert_eq!(fast.join().await, Ok((Some(1), Some(2), Duration::ZERO)));
    drop(channel);
    assert_eq!(stuck.join().await, Ok(Some(1)));
}

#[tokio::test(start_paused = true)]
async fn closing_ends_a_delivery_that_waits() {
    let channel = Channel::new();
    let close = async {
        tokio::time::sleep(SECOND).await;
        channel.close();
    };
    let start = Instant::now();
    let (delivered, ()) = tokio::join!(channel.deliver(7, 1, HOUR), close);
    assert_eq!(delivered, Err(ChannelError::Closed(7)));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_ends_while_its_mailbox_is_full_is_not_waited_for() {
    let channel = Channel::new();
    let full = build()
        .capacity(1)
        .spawn(async |me: Context<u32>| me.sleep(SECOND).await);
    channel.subscribe(&full).unwrap();
    assert_eq!(channel.send(1), Ok(1));
    let start = Instant::now();
    assert_eq!(channel.deliver(2, 1, HOUR).await, Ok(0));
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_subscription_is_missed() {
    for _ in 0..200 {
        let (top, bottom) = (Channel::new(), Channel::new());
        top.subscribe_channel(&bottom).unwrap();
        let deliveries: Vec<_> = (0..4)
            .map(|_| {
                let top = top.clone();
                tokio::spawn(async move { top.deliver(7, 8, HOUR).await })
            })
            .collect();
        let readers: Vec<_> = (0..8)
            .map(|i| {
                let channel = if i % 2 == 0 { &top } else { &bottom }.clone();
                spawn(async move |mut me: Context<u32>| {
                    channel.subscribe(&me.address()).unwrap();
                    for _ in 0..4 {
                        me.receive().await;
                    }
                })
            })
            .collect();
        for delivery in deliveries {
            let delivered = tokio::time::timeout(20 * SECOND, delivery).await;
            assert_eq!(delivered.expect("it ends").unwrap(), Ok(8));
        }
        for reader in readers {
            reader.join().await.unwrap();
        }
    }
}
