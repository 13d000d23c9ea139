//! Channels with subscribers of other nodes, and their relays there.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::two_nodes::{Pair, reader};
use coros_core::remote::{self, CarryError};
use coros_core::{Channel, Exit};

#[tokio::test(start_paused = true)]
async fn numbers_are_told_in_batches_and_messages_come_once() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let readers: Vec<_> = (0..1000).map(|_| reader()).collect();
    for reader in &readers {
        assert_eq!(remote.subscribe(reader), Ok(true));
    }
    assert_eq!(
        pair.flow().await,
        (2, 0),
        "the first, and the rest together"
    );
    assert_eq!(channel.subscribers(), 1000);
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    assert_eq!(channel.send(1), Ok(1000));
    assert_eq!(pair.flow().await, (0, 1));
    for reader in &readers[1..] {
        assert!(remote.unsubscribe(reader));
    }
    assert_eq!(pair.flow().await, (1, 0));
    assert_eq!(channel.send(2), Ok(1));
    channel.close();
    assert_eq!(pair.flow().await, (0, 2));
    for (index, reader) in readers.into_iter().enumerate() {
        let all = reader.join().await.unwrap();
        assert_eq!(all, if index == 0 { vec![1, 2] } else { vec![1] });
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_does_not_reach_one_that_has_unsubscribed() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let (leaves, stays) = (reader(), reader());
    remote.subscribe(&leaves).unwrap();
    remote.subscribe(&stays).unwrap();
    pair.flow().await;
    channel.send(1).unwrap();
    assert!(remote.unsubscribe(&leaves));
    pair.flow().await;
    assert_eq!(leaves.join().await, Ok(vec![]));
    // Nor when it was the last, and another has subscribed meanwhile.
    channel.send(2).unwrap();
    assert!(remote.unsubscribe(&stays));
    let late = reader();
    remote.subscribe(&late).unwrap();
    pair.flow().await;
    assert_eq!(stays.join().await, Ok(vec![1]));
    channel.send(3).unwrap();
    channel.close();
    pair.flow().await;
    let all = late.join().await.unwrap();
    assert!(all == [3], "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_session_releases_both_sides() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let readers = [reader(), reader()];
    for reader in &readers {
        remote.subscribe(reader).unwrap();
    }
    pair.flow().await;
    assert_eq!(channel.subscribers(), 2);
    pair.end_session();
    assert_eq!(channel.subscribers(), 0);
    for reader in readers {
        assert_eq!(reader.join().await, Ok(vec![]), "released");
    }
    // And anew.
    let again = reader();
    assert_eq!(remote.subscribe(&again), Ok(true));
    pair.flow().await;
    assert_eq!(channel.send(7), Ok(1));
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    channel.close();
    pair.flow().await;
    assert_eq!(again.join().await, Ok(vec![7]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_and_goes_is_watched_once() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    for _ in 0..200 {
        let reader = reader();
        remote.subscribe(&reader).unwrap();
        pair.flow().await;
        assert!(remote.unsubscribe(&reader));
        assert_eq!(reader.join().await, Ok(vec![]));
    }
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handles_and_relays_leave_nothing_behind() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    assert_eq!(remote, pair.remote(&channel), "one relay for all handles");
    let reader = reader();
    remote.subscribe(&reader).unwrap();
    pair.flow().await;
    drop(remote);
    channel.send(1).unwrap();
    pair.flow().await;
    assert!(
        pair.remote(&channel).unsubscribe(&reader),
        "still the same relay"
    );
    assert_eq!(reader.join().await, Ok(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_channel_means_nothing_without_a_node() {
    let mut bytes = Vec::new();
    let error = remote::encode(&Channel::<u32>::new(), &mut bytes).unwrap_err();
    assert!(error.to_string().contains("no node in scope"), "{error}");
    // An address of something else is no channel.
    let pair = Pair::new();
    let reader = reader();
    remote::with_exchange(&pair.at_home, || {
        remote::encode(&reader.address(), &mut bytes)
    })
    .unwrap();
    let read = remote::with_exchange(&pair.at_home, || remote::decode::<Channel<u32>>(&bytes));
    assert!(read.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_home_with_too_much_to_send_says_so() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let reader = reader();
    remote.subscribe(&reader).unwrap();
    pair.flow().await;
    pair.away
        .full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let waiting = (0..).take_while(|_| channel.send(1) == Ok(1)).count();
    assert_eq!(waiting, (64 << 20) / 512, "the others are missed");
    pair.away
        .full
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(channel.send(2), Ok(1));
    pair.home
        .full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(remote.send(3), Err(coros_core::ChannelError::Full(3)));
    pair.home
        .full
        .store(false, std::sync::atomic::Ordering::SeqCst);
    channel.close();
    pair.flow().await;
    assert_eq!(reader.join().await, Ok(vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_given_up_is_not_made_later() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let limit = Duration::from_secs(3600);
    let delivery = remote.deliver(1, 1, limit);
    assert!(tokio::time::timeout(limit / 100, delivery).await.is_err());
    pair.flow().await;
    // What the home has been lent has ended, and it is told.
    let watchers = std::mem::take(&mut *pair.away.watchers.lock().unwrap());
    assert_eq!(watchers.len(), 1, "it watches the reply while it waits");
    for (id, watcher) in watchers {
        let lent = Arc::clone(&pair.away.exports.lock().unwrap()[&id]);
        assert_eq!(lent.receive(&[0, 0]), Err(CarryError::Closed));
        watcher(Exit::Terminated);
    }
    tokio::task::yield_now().await;
    let late = reader();
    channel.subscribe(&late).unwrap();
    tokio::time::sleep(limit * 2).await;
    channel.send(2).unwrap();
    channel.close();
    assert_eq!(late.join().await, Ok(vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_only_follows_leaves_no_task() {
    let pair = Pair::new();
    let channel = Channel::new();
    let here = Channel::new();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for _ in 0..10 {
        let remote = pair.remote(&channel);
        here.subscribe_channel(&remote).unwrap();
        pair.flow().await;
        assert!(here.unsubscribe_channel(&remote));
        drop(remote);
        pair.flow().await;
    }
    channel.close();
    pair.flow().await;
    assert_eq!(tasks(), before);
}

/// How a channel of this node lets go of one of another.
type LetGo = fn(Channel<u32>, &Channel<u32>);

#[tokio::test(start_paused = true)]
async fn a_home_tells_nobody_when_nobody_wants_to_know_any_more() {
    let ways: [(&str, LetGo); 3] = [
        ("unsubscribed", |here, remote| {
            assert!(here.unsubscribe_channel(remote));
        }),
        ("closed", |here, _| {
            here.close();
        }),
        ("dropped", |here, _| drop(here)),
    ];
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for (how, let_go) in ways {
        let (here, other) = (Channel::new(), Channel::new());
        for here in [&here, &other] {
            assert_eq!(here.subscribe_channel(&remote), Ok(true));
        }
        pair.flow().await;
        let first = reader();
        channel.subscribe(&first).unwrap();
        assert_eq!(pair.flow().await, (0, 1), "the number is told once");
        assert_eq!((here.subscribers(), other.subscribers()), (1, 1));
        let_go(here, &remote);
        assert_eq!(pair.flow().await, (0, 0), "the other still wants to know");
        channel.unsubscribe(&first);
        assert_eq!(pair.flow().await, (0, 1), "{how}");
        assert_eq!(other.subscribers(), 0);
        assert_eq!(first.join().await, Ok(vec![]));
        let_go(other, &remote);
        pair.flow().await;
        pair.tell_home();
        pair.flow().await;
        assert_eq!(tasks(), before, "{how}: whoever told of changes has ended");
        let last = reader();
        channel.subscribe(&last).unwrap();
        assert_eq!(pair.flow().await, (0, 0), "{how}: nobody is told");
        channel.unsubscribe(&last);
        assert_eq!(last.join().await, Ok(vec![]));
    }
    // A message from here does not make anybody interested again.
    assert_eq!(remote.send(1), Ok(0));
    assert_eq!(pair.flow().await, (1, 0));
    channel.close();
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_to_know_is_told_again_after_another_message() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let here = Channel::new();
    assert_eq!(here.subscribe_channel(&remote), Ok(true));
    let reader = reader();
    channel.subscribe(&reader).unwrap();
    pair.flow().await;
    for n in 0..3 {
        assert_eq!(here.subscribers(), 1, "session {n}");
        pair.end_session();
        assert_eq!(here.subscribers(), 0);
        assert_eq!(pair.flow().await, (0, 0), "nothing is asked for by itself");
        assert_eq!(here.send(n), Ok(0));
        pair.flow().await;
    }
    channel.close();
    assert_eq!(reader.join().await, Ok(vec![0, 1, 2]));
}

#[tokio::test]
async fn a_channel_that_cannot_be_told_to_close_stays_open() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    *pair.home.broken.lock().unwrap() = true;
    assert!(!remote.close());
    assert!(!remote.is_closed());
    *pair.home.broken.lock().unwrap() = false;
    assert!(remote.close());
    assert!(remote.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_end_nobody_would_tell_goes_with_its_session() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    pair.away.unwatched.store(true, Relaxed);
    let reader = reader();
    assert_eq!(remote.subscribe(&reader), Ok(true));
    pair.flow().await;
    assert_eq!(channel.send(1), Ok(1));
    pair.flow().await;
    assert!(!remote.is_closed());
    pair.end_session();
    pair.flow().await;
    assert_eq!(channel.subscribers(), 0);
    assert_eq!(reader.join().await, Ok(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_waits_for_goes_with_its_session() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let deliver = |n| {
        let (remote, hour) = (remote.clone(), Duration::from_secs(3600));
        tokio::spawn(async move { remote.deliver(1, n, hour).await })
    };
    for unwatched in [false, true] {
        pair.away.unwatched.store(unwatched, Relaxed);
        let waiting: Vec<_> = (0..256).map(|_| deliver(1)).collect();
        pair.flow().await;
        pair.end_session();
        for it in waiting {
            it.abort();
        }
        pair.flow().await;
        let another = deliver(0);
        pair.flow().await;
        assert_eq!(another.await.unwrap(), Ok(0), "unwatched: {unwatched}");
    }
}
