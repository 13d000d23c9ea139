//! Sending through channels: who gets what, in which order, and what happens to subscribers that
//! end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coros_core::{Address, Channel, ChannelError, Context, Coro, Exit, SubscribeError, spawn};

async fn bounded<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), f)
        .await
        .expect("this ends within 20 seconds")
}

/// Receives until nobody is left, and returns everything.
fn collector<M: Send + 'static>() -> Coro<M, Vec<M>> {
    spawn(async |mut me: Context<M>| {
        let mut all = Vec::new();
        while let Some(message) = me.receive().await {
            all.push(message);
        }
        all
    })
}

async fn all_get_all() {
    let channel = Channel::named("news");
    let readers: Vec<_> = (0..3).map(|_| collector::<u32>()).collect();
    for reader in &readers {
        assert_eq!(channel.subscribe(reader), Ok(true));
        assert_eq!(channel.subscribe(reader), Ok(false), "twice is once");
    }
    assert_eq!(channel.subscribers(), 3);
    for n in 0..100 {
        assert_eq!(channel.send(n), Ok(3));
    }
    assert!(channel.unsubscribe(&readers[0]));
    assert!(!channel.unsubscribe(&readers[0]));
    assert_eq!(channel.send(100), Ok(2));
    drop(channel);
    for (i, reader) in readers.into_iter().enumerate() {
        let expected: Vec<u32> = (0..if i == 0 { 100 } else { 101 }).collect();
        assert_eq!(bounded(reader.join()).await, Ok(expected));
    }
}

#[tokio::test]
async fn everyone_gets_every_message_in_order() {
    all_get_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_gets_every_message_in_order_on_many_threads() {
    all_get_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_subscribers_and_four_senders_keep_each_senders_order() {
    const SENDERS: u32 = 4;
    const EACH: u32 = 50;
    let outer = Channel::new();
    let inner = Channel::new();
    outer.subscribe_channel(&inner).unwrap();
    let readers: Vec<_> = (0..1000).map(|_| collector::<(u32, u32)>()).collect();
    for (i, reader) in readers.iter().enumerate() {
        let channel = if i % 2 == 0 { &outer } else { &inner };
        channel.subscribe(reader).unwrap();
    }
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let channel = outer.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    assert_eq!(channel.send((sender, n)), Ok(1000));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for sender in senders {
        bounded(sender).await.unwrap();
    }
    drop((outer, inner));
    for reader in readers {
        let all = bounded(reader.join()).await.unwrap();
        for sender in 0..SENDERS {
            let of_sender = all.iter().filter(|m| m.0 == sender).map(|m| m.1);
            assert!(of_sender.eq(0..EACH));
        }
    }
}

#[tokio::test]
async fn a_message_is_cloned_for_all_but_one() {
    struct Counted(Arc<AtomicUsize>);
    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Counted(Arc::clone(&self.0))
        }
    }
    let clones = Arc::new(AtomicUsize::new(0));
    let (channel, sub) = (Channel::new(), Channel::new());
    let readers: Vec<_> = (0..4).map(|_| collector::<Counted>()).collect();
    for reader in &readers {
        channel.subscribe(reader).unwrap();
    }
    assert_eq!(channel.send(Counted(Arc::clone(&clones))).unwrap(), 4);
    assert_eq!(clones.swap(0, Ordering::Relaxed), 3);
    channel.subscribe_channel(&sub).unwrap();
    sub.subscribe(&readers[0]).unwrap();
    assert_eq!(channel.send(Counted(Arc::clone(&clones))).unwrap(), 5);
    assert_eq!(clones.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_diamond_delivers_once_for_each_way() {
    let top = Channel::new();
    let (left, right, bottom) = (Channel::new(), Channel::new(), Channel::new());
    let reader = collector::<u32>();
    bottom.subscribe(&reader).unwrap();
    for side in [&left, &right] {
        assert_eq!(top.subscribe_channel(side), Ok(true));
        assert_eq!(top.subscribe_channel(side), Ok(false));
        side.subscribe_channel(&bottom).unwrap();
    }
    assert_eq!(top.subscribers(), 2);
    assert_eq!(top.send(7), Ok(2));
    assert!(top.unsubscribe_channel(&left));
    assert!(!top.unsubscribe_channel(&left));
    assert_eq!(top.send(8), Ok(1));
    drop((top, left, right, bottom));
    assert_eq!(bounded(reader.join()).await, Ok(vec![7, 7, 8]));
}

#[test]
fn cycles_are_refused_and_named() {
    let [a, b, c] = ["a", "b", "c"].map(Channel::<u32>::named);
    let cycle = |channel: &Channel<u32>, subscriber: &Channel<u32>| {
        Err(SubscribeError::Cycle {
            channel: channel.to_string(),
            subscriber: subscriber.to_string(),
        })
    };
    assert_eq!(a.subscribe_channel(&a), cycle(&a, &a));
    assert_eq!(a.subscribe_channel(&b), Ok(true));
    assert_eq!(b.subscribe_channel(&c), Ok(true));
    assert_eq!(c.subscribe_channel(&a), cycle(&c, &a));
    let text = c.subscribe_channel(&a).unwrap_err().to_string();
    assert!(
        text.contains(&a.to_string()) && text.contains(&c.to_string()),
        "{text}"
    );
    a.unsubscribe_channel(&b);
    assert_eq!(c.subscribe_channel(&a), Ok(true));
}

#[test]
fn channels_that_subscribe_to_each_other_at_once_make_no_cycle() {
    const ROUNDS: usize = 1500;
    // Leaves to look through, so that the threads do it at the same time.
    let leaves: Vec<_> = (0..20).map(|_| Channel::<u32>::new()).collect();
    let make = || {
        let channel = Channel::new();
        for leaf in &leaves {
            channel.subscribe_channel(leaf).unwrap();
        }
        channel
    };
    let pairs: Vec<_> = (0..ROUNDS).map(|_| (make(), make())).collect();
    let arrived = AtomicUsize::new(0);
    // Both threads come to each pair at the same time, as nearly as can be.
    let subscribe = |swap: bool| {
        let mut done = Vec::with_capacity(ROUNDS);
        for (round, (a, b)) in pairs.iter().enumerate() {
            arrived.fetch_add(1, Ordering::SeqCst);
            let mut spins = 0;
            while arrived.load(Ordering::SeqCst) < 2 * (round + 1) {
                spins += 1;
                if spins % 200_000 == 0 {
                    std::thread::yield_now();
                }
            }
            let (channel, subscriber) = if swap { (b, a) } else { (a, b) };
            done.push(channel.subscribe_channel(subscriber).is_ok());
        }
        done
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| subscribe(true));
        (subscribe(false), other.join().unwrap())
    });
    for (one, other) in one.into_iter().zip(other) {
        assert!(one != other, "exactly one of the two may subscribe");
    }
}

#[tokio::test]
async fn a_transform_changes_drops_and_may_panic() {
    let channel = Channel::named("t");
    let reader = collector::<u32>();
    channel.subscribe(&reader).unwrap();
    channel.set_transform(|n| match n {
        0 => panic!("zero"),
        n if n % 2 == 0 => Some(n * 10),
        _ => None,
    });
    assert_eq!(channel.send(1), Ok(0));
    assert_eq!(channel.send(2), Ok(1));
    assert_eq!(channel.send(0), Ok(0), "dropped by the panic");
    assert_eq!(channel.send(4), Ok(1), "and the channel works on");
    channel.clear_transform();
    assert_eq!(channel.send(1), Ok(1));
    channel.close();
    assert_eq!(bounded(reader.join()).await, Ok(vec![20, 40, 1]));
}

#[tokio::test]
async fn a_transform_may_use_its_own_channel() {
    let channel = Channel::new();
    let reader = collector::<u32>();
    let (this, address) = (channel.clone(), reader.address());
    channel.set_transform(move |n| {
        this.subscribe(&address).unwrap();
        if n > 0 {
            this.send(n - 1).unwrap();
        }
        Some(n)
    });
    channel.send(2).unwrap();
    assert_eq!(channel.subscribers(), 1);
    channel.close();
    // The innermost message went out first; the outer sends saw the list from before.
    assert_eq!(bounded(reader.join()).await, Ok(vec![0, 1]));
}

async fn ended(coro: &Address<u32>) -> Exit {
    bounded(coro.exit()).await
}

#[tokio::test]
async fn subscribers_that_ended_are_not_counted_and_not_kept() {
    let channel = Channel::new();
    let finished = spawn(async |_me: Context<u32>| {});
    let panicked = spawn(async |_me: Context<u32>| panic!("subscriber"));
    let terminated = spawn(async |mut me: Context<u32>| me.receive().await);
    let alive = collector::<u32>();
    let weak: Vec<_> = [&*finished, &*terminated]
        .map(|it| it.downgrade().unwrap())
        .into();
    for address in [&*finished, &*terminated, &*alive] {
        channel.subscribe(address).unwrap();
    }
    let panicked: Coro<u32, ()> = panicked;
    channel.subscribe(&panicked).unwrap();
    terminated.terminate();
    assert_eq!(ended(&finished).await, Exit::Finished);
    assert_eq!(ended(&terminated).await, Exit::Terminated);
    assert!(matches!(ended(&panicked).await, Exit::Panicked(_)));

    assert_eq!(channel.send(1), Ok(1));
    assert_eq!(channel.subscribers(), 1);
    for address in [&*finished, &*terminated, &*panicked] {
        assert!(!channel.unsubscribe(address), "the send let go of it");
    }
    assert!(weak.iter().all(|it| it.upgrade().is_none()));
    assert_eq!(channel.subscribe(&finished), Ok(false), "it has ended");
    channel.close();
    assert_eq!(bounded(alive.join()).await, Ok(vec![1]));
}

#[tokio::test]
async fn a_full_subscriber_misses_what_is_sent() {
    let channel = Channel::new();
    let slow = coros_core::build()
        .capacity(1)
        .spawn(async |mut me: Context<u32>| {
            me.suspend().await;
            let mut all = Vec::new();
            while let Some(n) = me.receive().await {
                all.push(n);
            }
            all
        });
    channel.subscribe(&slow).unwrap();
    let fast = collector::<u32>();
    channel.subscribe(&fast).unwrap();
    assert_eq!(channel.send(1), Ok(2));
    assert_eq!(channel.send(2), Ok(1));
    assert_eq!(channel.subscribers(), 2, "it is full, not gone");
    tokio::task::yield_now().await;
    slow.resume();
    channel.close();
    assert_eq!(bounded(slow.join()).await, Ok(vec![1]));
    assert_eq!(bounded(fast.join()).await, Ok(vec![1, 2]));
}

#[tokio::test]
async fn a_closed_channel_refuses_and_gives_the_message_back() {
    let (channel, parent) = (Channel::named("gone"), Channel::new());
    parent.subscribe_channel(&channel).unwrap();
    let reader = collector::<String>();
    channel.subscribe(&reader).unwrap();
    channel.close();
    channel.close();
    assert!(channel.is_closed());
    assert_eq!(
        channel.send("x".into()),
        Err(ChannelError::Closed("x".into()))
    );
    let error = channel.subscribe(&reader).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("channel {channel} has been closed")
    );
    assert_eq!(parent.send("y".into()), Ok(0));
    assert!(
        !parent.unsubscribe_channel(&channel),
        "the parent let go of it"
    );
    assert_eq!(parent.subscribe_channel(&channel), Ok(false));
    assert_eq!(bounded(reader.join()).await, Ok(vec![]));
}

#[tokio::test]
async fn dropping_the_last_handle_releases_subscribers_through_the_hierarchy() {
    let outer = Channel::new();
    let inner = Channel::new();
    let reader = collector::<u32>();
    inner.subscribe(&reader).unwrap();
    outer.subscribe_channel(&inner).unwrap();
    drop(inner);
    assert_eq!(
        outer.send(5),
        Ok(1),
        "the subscription keeps the inner channel"
    );
    drop(outer);
    assert_eq!(bounded(reader.join()).await, Ok(vec![5]));
}

/// A destructor of the user's that uses channels, where it would wait for ever for a lock that
/// its own thread holds.
#[test]
fn a_transform_that_uses_channels_when_it_is_dropped_is_dropped_without_a_lock() {
    /// Keeps the thread that replaces transforms out of it, which would only wait its turn.
    struct UsesChannels(std::thread::ThreadId);
    impl Drop for UsesChannels {
        fn drop(&mut self) {
            if std::thread::current().id() == self.0 {
                let (outer, inner) = (Channel::<u32>::new(), Channel::new());
                outer.subscribe_channel(&inner).unwrap();
            }
        }
    }

    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let me = std::thread::current().id();
        let (outer, inner) = (Channel::<u32>::new(), Channel::new());
        // The search for a cycle walks over them, and takes its time.
        for _ in 0..1_000 {
            inner.subscribe_channel(&Channel::new()).unwrap();
        }
        let (stop, replaced) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) == 0 {
                    let guard = UsesChannels(me);
                    inner.set_transform(move |n| {
                        let _ = &guard;
                        Some(n)
                    });
                    replaced.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut searches = 0;
            while searches < 300 || replaced.load(Ordering::Relaxed) < 10_000 {
                searches += 1;
                outer.subscribe_channel(&inner).unwrap();
                outer.unsubscribe_channel(&inner);
            }
            stop.store(1, Ordering::Relaxed);
        });
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(Duration::from_secs(20))
        .expect("no thread waits for itself");
}
