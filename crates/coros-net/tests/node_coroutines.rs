//! Coroutines on two and three nodes: everything an address can do, across a link.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use coros_core::{Address, AskError, Context, Exit, Reply, SendError, spawn};
use coros_net::Secret;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order() {
    let [desk, farm] = pair().await;
    let (address, mut received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    for n in 0..100_000 {
        // More than may be under way at a time.
        if let Err(SendError::Full(n)) = remote.send(n) {
            soon(remote.deliver(n)).await.unwrap();
        }
    }
    for n in 0..100_000 {
        assert_eq!(next(&mut received).await, n);
    }
    assert_eq!(desk.peers(), [farm.location()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_and_deliveries_of_one_sender_keep_their_order() {
    let [desk, farm] = pair().await;
    let coro = coros_core::build()
        .capacity(4)
        .spawn(async |mut me: Context<u32>| {
            let mut all = Vec::new();
            while all.len() < 2000 {
                all.push(me.receive().await.unwrap());
                tokio::task::yield_now().await;
            }
            all
        });
    let remote = sent(&farm, &desk, &coro.address());
    // Not awaited one by one: most wait for room behind each other.
    let deliveries: Vec<_> = (0..2000).map(|n| Box::pin(remote.deliver(n))).collect();
    let mut deliveries = deliveries;
    for delivery in &mut deliveries {
        // Queued at the first poll.
        std::future::poll_fn(|cx| {
            let polled = delivery.as_mut().poll(cx);
            assert!(polled.is_pending() || polled == std::task::Poll::Ready(Ok(())));
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert_eq!(
        soon(coro.join()).await.unwrap(),
        (0..2000).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_after_a_delivery_that_waits_comes_after_it() {
    let [desk, farm] = pair().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<u32>| {
            gone.await.unwrap();
            let mut all = Vec::new();
            while all.len() < 5 {
                all.push(me.receive().await.unwrap());
            }
            all
        });
    let remote = sent(&farm, &desk, &slow.address());
    soon(remote.deliver(1)).await.unwrap();
    let mut second = Box::pin(remote.deliver(2));
    assert!(polled(&mut second).await.is_pending());
    remote.send(3).unwrap();
    remote.send(4).unwrap();
    let fifth = tokio::spawn({
        let remote = remote.clone();
        async move { remote.deliver(5).await }
    });
    // Another coroutine's delivery shows that all of these have come before there is room.
    let (other, _received) = collector::<u32>();
    soon(sent(&farm, &desk, &other).deliver(0)).await.unwrap();
    go.send(()).unwrap();
    soon(second).await.unwrap();
    soon(fifth).await.unwrap().unwrap();
    assert_eq!(soon(slow.join()).await.unwrap(), [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliver_waits_for_room_and_holds_up_nobody_else() {
    let [desk, farm] = pair().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<u32>| {
            gone.await.unwrap();
            [me.receive().await, me.receive().await]
        });
    let (other, mut received) = collector::<u32>();
    let [slow_remote, other] = [&slow.address(), &other].map(|a| sent(&farm, &desk, a));
    soon(slow_remote.deliver(1)).await.unwrap();
    let mut second = Box::pin(slow_remote.deliver(2));
    assert!(polled(&mut second).await.is_pending());
    for n in 0..100 {
        soon(other.deliver(n)).await.unwrap();
        assert_eq!(next(&mut received).await, n);
    }
    assert!(polled(&mut second).await.is_pending());
    go.send(()).unwrap();
    soon(second).await.unwrap();
    assert_eq!(soon(slow.join()).await.unwrap(), [Some(1), Some(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_wait_for_one_that_ends_come_back() {
    let [desk, farm] = pair().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let coro = coros_core::build()
        .capacity(1)
        .spawn(async move |me: Context<u32>| {
            gone.await.unwrap();
            drop(me);
        });
    let remote = sent(&farm, &desk, &coro.address());
    soon(remote.deliver(1)).await.unwrap();
    let [mut first, mut second] = [2, 2].map(|n| Box::pin(remote.deliver(n)));
    assert!(polled(&mut first).await.is_pending());
    assert!(polled(&mut second).await.is_pending());
    // Another coroutine's delivery shows that both have come.
    let (other, _received) = collector::<u32>();
    soon(sent(&farm, &desk, &other).deliver(0)).await.unwrap();
    go.send(()).unwrap();
    for waiting in [first, second] {
        assert_eq!(soon(waiting).await, Err(SendError::Closed(2)));
    }
    assert_eq!(soon(coro.join()).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_waits_counts_as_an_address() {
    let [desk, farm] = pair().await;
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let coro = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<u32>| {
            gone.await.unwrap();
            [me.receive().await, me.receive().await]
        });
    let remote = sent(&farm, &desk, &coro.address());
    soon(remote.deliver(1)).await.unwrap();
    let mut waiting = Box::pin(remote.deliver(2));
    assert!(polled(&mut waiting).await.is_pending());
    let (other, _received) = collector::<u32>();
    soon(sent(&farm, &desk, &other).deliver(0)).await.unwrap();
    // `join` gives up the last address on this side.
    let joined = tokio::spawn(coro.join());
    go.send(()).unwrap();
    soon(waiting).await.unwrap();
    assert_eq!(soon(joined).await.unwrap(), Ok([Some(1), Some(2)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_bears_little_makes_the_rest_wait_where_it_is() {
    let secret = Secret::random();
    let desk = node("desk", &secret).await;
    let farm = builder("farm", &secret)
        .outbox(10_000)
        .build()
        .await
        .unwrap();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = coros_core::build()
        .capacity(1)
        .spawn(async move |mut me: Context<Vec<u8>>| {
            gone.await.unwrap();
            let mut count = 0;
            while me
                .receive()
                .await
                .is_some_and(|message| !message.is_empty())
            {
                count += 1;
            }
            count
        });
    let remote = sent(&farm, &desk, &slow.address());
    soon(remote.deliver(vec![1])).await.unwrap();
    let mut deliveries = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let remote = remote.clone();
        deliveries.spawn(async move { remote.deliver(vec![2; 1000]).await });
    }
    // Other coroutines of the node get theirs, as much as it bears in all.
    let (other, mut received) = collector::<u32>();
    go.send(()).unwrap();
    while let Some(delivered) = soon(deliveries.join_next()).await {
        delivered.unwrap().unwrap();
    }
    soon(sent(&farm, &desk, &other).deliver(7)).await.unwrap();
    assert_eq!(next(&mut received).await, 7);
    soon(remote.deliver(vec![])).await.unwrap();
    assert_eq!(soon(slow.join()).await.unwrap(), 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliver_to_one_that_has_ended_gives_the_message_back() {
    let [desk, farm] = pair().await;
    let coro = spawn(async |_me: Context<String>| {});
    let remote = sent(&farm, &desk, &coro.address());
    soon(coro.join()).await.unwrap();
    let error = soon(remote.deliver("hello".into())).await.unwrap_err();
    assert_eq!(error, SendError::Closed("hello".into()));
}

#[derive(Serialize, Deserialize)]
enum Question {
    Double(u32, Reply<u32>),
    Never(Reply<u32>),
    Keep(Reply<u32>),
}

fn answerer() -> Address<Question> {
    let coro = spawn(async |mut me: Context<Question>| {
        let mut kept = Vec::new();
        while let Some(question) = me.receive().await {
            match question {
                Question::Double(n, reply) => reply.send(2 * n),
                Question::Never(reply) => drop(reply),
                Question::Keep(reply) => kept.push(reply),
            }
        }
    });
    coro.address()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_or_known_not_to_be() {
    let [desk, farm] = pair().await;
    let address = answerer();
    let remote = sent(&farm, &desk, &address);
    for n in 0..100 {
        let answer = soon(remote.ask(|reply| Question::Double(n, reply))).await;
        assert_eq!(answer, Ok(2 * n));
    }
    assert_eq!(
        soon(remote.ask(Question::Never)).await,
        Err(AskError::NoReply)
    );

    let kept = tokio::spawn({
        let remote = remote.clone();
        async move { remote.ask(Question::Keep).await }
    });
    // After this answer the kept question is known to be there.
    soon(remote.ask(|reply| Question::Double(1, reply)))
        .await
        .unwrap();
    address.terminate();
    assert_eq!(soon(kept).await.unwrap(), Err(AskError::NoReply));
    assert_eq!(soon(remote.exit()).await, Exit::Terminated);
    // Nobody reads the question any more, and whoever asks gets to know.
    let late = soon(remote.ask(|reply| Question::Double(1, reply))).await;
    assert_eq!(late, Err(AskError::NoReply));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_ends_with_the_link() {
    let [desk, farm] = pair().await;
    let address = answerer();
    let remote = sent(&farm, &desk, &address);
    soon(remote.ask(|reply| Question::Double(1, reply)))
        .await
        .unwrap();
    let mut kept = Box::pin(remote.ask(Question::Keep));
    assert!(polled(&mut kept).await.is_pending());
    farm.close().await;
    let lost = soon(kept).await;
    assert!(matches!(lost, Err(AskError::Disconnected(_))), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_told_once_early_or_late() {
    let [desk, farm] = pair().await;
    let coro = coros_core::build().spawn_fallible(async |mut me: Context<()>| {
        me.receive().await;
        Err::<(), _>("out of cheese")
    });
    let remote = sent(&farm, &desk, &coro.address());
    let calls = Arc::new(AtomicUsize::new(0));
    let early = tokio::spawn({
        let remote = remote.clone();
        async move { remote.exit().await }
    });
    let counted = Arc::clone(&calls);
    remote.on_exit(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    remote.send(()).unwrap();
    let failed = Exit::Failed("out of cheese".into());
    assert_eq!(soon(early).await.unwrap(), failed);
    assert_eq!(
        soon(remote.exit()).await,
        failed,
        "it has ended, and how is remembered"
    );
    drop(coro);
    farm.close().await;
    assert_eq!(soon(remote.exit()).await, Exit::Disconnected);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coroutines_are_suspended_resumed_and_terminated_from_afar() {
    let [desk, farm] = pair().await;
    let (address, mut received) = collector::<u32>();
    let remote = sent(&farm, &desk, &address);
    soon(remote.deliver(1)).await.unwrap();
    assert_eq!(next(&mut received).await, 1);
    remote.suspend();
    soon(remote.deliver(2)).await.unwrap();
    // It does not get on with its message while others do.
    let (other, mut at_other) = collector::<u32>();
    let other = sent(&farm, &desk, &other);
    for n in 0..100 {
        soon(other.deliver(n)).await.unwrap();
        assert_eq!(next(&mut at_other).await, n);
    }
    assert!(received.try_recv().is_err());
    remote.resume();
    assert_eq!(next(&mut received).await, 2);
    remote.terminate();
    assert_eq!(soon(remote.exit()).await, Exit::Terminated);
    assert_eq!(soon(address.exit()).await, Exit::Terminated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_works_for_a_third_node() {
    let secret = Secret::random();
    let [a, b, c] = [
        node("a", &secret).await,
        node("b", &secret).await,
        node("c", &secret).await,
    ];
    let (home, mut received) = collector::<u32>();
    // A tells B, B tells C in a message.
    let (on_c, mut told) = collector::<Address<u32>>();
    let at_b = sent(&a, &b, &home);
    soon(sent(&c, &b, &on_c).deliver(at_b)).await.unwrap();
    let at_c = next(&mut told).await;
    assert_eq!(at_c.remote_id().unwrap().location, a.location());
    soon(at_c.deliver(7)).await.unwrap();
    assert_eq!(next(&mut received).await, 7);
    assert!(c.peers().contains(&a.location()), "C has dialled A itself");

    // And home again: it is the coroutine's own address.
    let (on_a, mut told) = collector::<Address<u32>>();
    soon(sent(&a, &c, &on_a).deliver(at_c)).await.unwrap();
    assert_eq!(next(&mut told).await, home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_session_lets_go_of_what_it_was_told() {
    let [desk, farm] = pair().await;
    let coro = spawn(async |mut me: Context<u32>| me.receive().await);
    let bytes = farm
        .encode_for(desk.location().node, &coro.address())
        .unwrap();
    let remote: Address<u32> = desk.decode(&bytes).unwrap();
    desk.connect(endpoint(&farm)).await.unwrap();
    let joined = tokio::spawn(coro.join());
    desk.close().await;
    // The last address was the peer's.
    assert_eq!(soon(joined).await.unwrap(), Ok(None));
    drop(remote);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_another_type_harm_nobody() {
    let [desk, farm] = pair().await;
    let (address, mut received) = collector::<String>();
    let bytes = farm.encode(&address).unwrap();
    let wrong: Address<u64> = desk.decode(&bytes).unwrap();
    let right: Address<String> = desk.decode(&bytes).unwrap();
    wrong.send(u64::MAX).unwrap();
    let error = soon(wrong.deliver(u64::MAX)).await.unwrap_err();
    assert!(matches!(error, SendError::Codec(u64::MAX, _)), "{error}");
    // A question that cannot be read is not waited for.
    let asked: Address<(u64, Reply<u32>)> = desk.decode(&bytes).unwrap();
    assert_eq!(
        soon(asked.ask(|reply| (u64::MAX, reply))).await,
        Err(AskError::NoReply)
    );
    soon(right.deliver("fine".into())).await.unwrap();
    assert_eq!(next(&mut received).await, "fine");
}

/// Some of these cannot be read, and some panic when they are.
#[derive(Serialize, PartialEq, Debug)]
struct Fickle(u32);

/// How often one has been read.
static READ: AtomicUsize = AtomicUsize::new(0);

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, Ordering::SeqCst);
        match u32::deserialize(deserializer)? {
            n if n % 7 == 3 => panic!("boom"),
            n if n % 7 == 5 => Err(D::Error::custom("not this one")),
            n => Ok(Fickle(n)),
        }
    }
}

/// They come together, since they are sent before there is a link, and are for any mailbox: one that
/// takes all at once, one that has little room, and one that is gone.
#[tokio::test]
async fn messages_that_cannot_be_read_harm_none_of_those_beside_them() {
    let [desk, farm] = pair().await;
    let (wide, mut received) = collector::<Fickle>();
    let (sender, mut narrow_received) = mpsc::unbounded_channel();
    let narrow = coros_core::build()
        .capacity(2)
        .spawn(async move |mut me: Context<Fickle>| {
            while let Some(message) = me.receive().await {
                sender.send(message).expect("somebody waits");
            }
        });
    let gone = spawn(async |_: Context<Fickle>| ());
    let addresses = [&wide, &narrow.address(), &gone.address()];
    let [wide, narrow, late] = addresses.map(|address| sent(&farm, &desk, address));
    soon(gone.join()).await.unwrap();
    let order = [&wide, &wide, &narrow, &late, &narrow, &wide];
    let targets = || order.into_iter().cycle().zip(0..500);
    for (target, n) in targets() {
        target.send(Fickle(n)).unwrap();
    }
    for (receiver, received) in [(&wide, &mut received), (&narrow, &mut narrow_received)] {
        let sent = targets().filter(|(target, _)| *target == receiver);
        for (_, n) in sent.filter(|(_, n)| ![3, 5].contains(&(n % 7))) {
            assert_eq!(next(received).await, Fickle(n));
        }
    }
    // Each once, though whoever reads those of a crowd begins again after one that panics.
    let addressed = targets().filter(|(target, _)| *target != &late).count();
    assert_eq!(READ.load(Ordering::SeqCst), addressed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_travel_and_too_long_ones_come_back() {
    let [desk, farm] = pair().await;
    let (address, mut received) = collector::<Vec<u8>>();
    let remote = sent(&farm, &desk, &address);
    let long = vec![7; 15 << 20];
    soon(remote.deliver(long.clone())).await.unwrap();
    assert!(next(&mut received).await == long);
    let SendError::Codec(back, why) = remote.send(vec![7; 17 << 20]).unwrap_err() else {
        panic!("too long");
    };
    assert_eq!(back.len(), 17 << 20);
    assert!(why.to_string().contains("at most 16777216"), "{why}");
    soon(remote.deliver(vec![1])).await.unwrap();
    assert_eq!(next(&mut received).await, [1]);
}
