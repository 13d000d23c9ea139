//! More deliveries than may wait at a node at once, in virtual time: each has its turn.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::channels::{HOUR, LATENCY, SECOND, Scene, quiet, settled};
use common::next;
use coros_core::{Address, Channel, Context};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver};

const MINUTE: Duration = Duration::from_secs(60);

/// A coroutine with room for one message, which takes them when it is told to.
fn slow(go: &Arc<Semaphore>) -> (Address<u32>, UnboundedReceiver<u32>) {
    let (sender, received) = mpsc::unbounded_channel();
    let go = Arc::clone(go);
    let coro = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<u32>| {
            loop {
                go.acquire().await.expect("it is not closed").forget();
                match me.receive().await {
                    Some(message) => drop(sender.send(message)),
                    None => return,
                }
            }
        });
    (coro.address(), received)
}

/// Two nodes, a channel of the first, and a [`slow`] subscriber at the second, with what keeps them.
async fn slow_at_a_relay(
    go: &Arc<Semaphore>,
) -> (Channel<u32>, UnboundedReceiver<u32>, impl Sized + use<>) {
    let scene = Scene::<2>::set().await;
    let news = Channel::new();
    let remote = scene.see(0, 1, &news);
    let (there, received) = slow(go);
    remote.subscribe(&there).expect("it works here");
    assert_eq!(settled(&remote).await, 1);
    (news, received, (scene, remote, there))
}

/// More deliveries than wait at another node are waiting.
async fn all_arrive(from: &Channel<u32>, received: &mut UnboundedReceiver<u32>, go: &Semaphore) {
    let deliveries: Vec<_> = (0..400)
        .map(|n| {
            let from = from.clone();
            tokio::spawn(async move { from.deliver(n, 1, MINUTE).await })
        })
        .collect();
    tokio::time::sleep(SECOND).await;
    let done = deliveries.iter().filter(|it| it.is_finished()).count();
    assert!(done <= 1, "{done} are done, and there is room for one");
    go.add_permits(400);
    let mut missed: BTreeSet<_> = (0..400).collect();
    for _ in 0..400 {
        assert!(missed.remove(&next(received).await), "each comes once");
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.expect("it ends"), Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn more_deliveries_than_may_wait_at_a_relay_wait_for_their_turn() {
    let go = Arc::new(Semaphore::new(0));
    let (news, mut received, _kept) = slow_at_a_relay(&go).await;
    all_arrive(&news, &mut received, &go).await;
}

#[tokio::test(start_paused = true)]
async fn more_deliveries_than_may_wait_at_a_home_wait_for_their_turn() {
    let scene = Scene::<2>::set().await;
    let [above, news] = ["above", "news"].map(Channel::named);
    let remote = scene.see(1, 0, &news);
    let go = Arc::new(Semaphore::new(0));
    let (there, mut received) = slow(&go);
    news.subscribe(&there).expect("it works here");
    assert_eq!(above.subscribe_channel_checked(&remote).await, Ok(true));
    assert_eq!(settled(&remote).await, 1);
    all_arrive(&above, &mut received, &go).await;
}

/// Those that were given up do not wait at the relay any more, nor does what they were to deliver.
#[tokio::test(start_paused = true)]
async fn deliveries_that_were_given_up_are_in_nobodys_way() {
    let go = Arc::new(Semaphore::new(0));
    let (news, mut received, _kept) = slow_at_a_relay(&go).await;
    assert_eq!(news.deliver(0, 1, MINUTE).await, Ok(1));
    for n in 1..=300 {
        let news = news.clone();
        tokio::spawn(tokio::time::timeout(SECOND, async move {
            news.deliver(n, 1, HOUR).await
        }));
    }
    tokio::time::sleep(SECOND - LATENCY / 2).await;
    let last = tokio::spawn(async move { news.deliver(1000, 1, MINUTE).await });
    tokio::time::sleep(SECOND).await;
    go.add_permits(300);
    assert_eq!(next(&mut received).await, 0);
    assert_eq!(next(&mut received).await, 1000);
    assert_eq!(last.await.expect("it ends"), Ok(1));
    quiet(&mut received);
}
