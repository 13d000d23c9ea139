//! Receiving by category: order, cost, cancellation, and what becomes of what is not received.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;

use coros_core::{Categories, Context, ReceiveTimeoutError, SendError, build, coroutines, spawn};

const SECOND: Duration = Duration::from_secs(1);

async fn bounded<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(30 * SECOND, f)
        .await
        .expect("this ends within 30 seconds")
}

async fn order() {
    let coro = spawn(async |mut me: Context<u32>| {
        let mut by_tens = Categories::new(&mut me, |n| n / 10);
        let mut got = Vec::new();
        got.extend(by_tens.receive(&2).await);
        got.extend(by_tens.receive_of(&[1, 3]).await);
        got.extend(by_tens.receive_any().await);
        got.extend(by_tens.receive_of(&[3, 1]).await);
        got.extend(by_tens.try_receive(&2));
        assert_eq!(by_tens.try_receive(&7), None);
        assert_eq!(
            (by_tens.len(&0), by_tens.len(&1), by_tens.len(&9)),
            (1, 1, 0)
        );
        got.extend(by_tens.receive_any().await);
        got.extend(by_tens.receive_any().await);
        assert_eq!(by_tens.receive(&0).await, None, "nobody is left");
        assert_eq!(by_tens.receive_of(&[]).await, None);
        assert_eq!(by_tens.receive_any().await, None);
        got
    });
    for n in [1, 10, 20, 2, 30, 21, 11] {
        coro.send(n).expect("it waits for messages");
    }
    assert_eq!(
        bounded(coro.join()).await,
        Ok(vec![20, 10, 1, 30, 21, 2, 11])
    );
}

#[tokio::test]
async fn order_is_kept_within_and_across_categories() {
    order().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_on_many_threads() {
    order().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_of_a_long_backlog_is_classified_once() {
    const MANY: usize = 100_000;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let coro = spawn(async move |mut me: Context<usize>| {
        let mut rare = Categories::new(&mut me, |n| {
            count.fetch_add(1, Ordering::Relaxed);
            n % 100 == 99
        });
        for i in 0..MANY / 100 {
            assert_eq!(rare.receive(&true).await, Some(i * 100 + 99));
        }
        let mut others = 0;
        while let Some(n) = rare.receive(&false).await {
            assert_eq!(n, others / 99 * 100 + others % 99);
            others += 1;
        }
        others
    });
    for n in 0..MANY {
        coro.send(n).unwrap();
    }
    assert_eq!(bounded(coro.join()).await, Ok(MANY / 100 * 99));
    assert_eq!(calls.load(Ordering::Relaxed), MANY);
}

#[tokio::test]
async fn what_was_passed_over_goes_back_in_order() {
    let coro = spawn(async |mut me: Context<u32>| {
        let mut got = Vec::new();
        for round in 0..3 {
            let mut odd = Categories::new(&mut me, |n| n % 2);
            got.extend(odd.receive(&1).await);
            assert_eq!(odd.len(&0) > 0, round < 3);
        }
        while let Some(n) = me.receive().await {
            got.push(n);
        }
        got
    });
    for n in [0, 2, 1, 4, 3, 6, 5, 8, 7, 10] {
        coro.send(n).unwrap();
    }
    assert_eq!(
        bounded(coro.join()).await,
        Ok(vec![1, 3, 5, 0, 2, 4, 6, 8, 7, 10])
    );
}

#[tokio::test]
async fn a_hot_swap_loses_nothing_that_was_passed_over() {
    let coro = spawn(async |mut me: Context<u32>| -> Vec<u32> {
        me.swappable(|offer| drop(offer.accept(())));
        let mut numbers = Categories::new(&mut me, |n| *n);
        numbers.receive(&99).await;
        unreachable!("it is replaced while it waits")
    });
    for n in 0..300 {
        coro.send(n % 10).unwrap();
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let all = async |mut me: Context<u32>| {
        let mut all = Vec::new();
        while let Some(n) = me.receive().await {
            all.push(n);
        }
        all
    };
    bounded(coro.swap(all)).await.unwrap();
    let expected: Vec<u32> = (0..300).map(|n| n % 10).collect();
    assert_eq!(bounded(coro.join()).await, Ok(expected));
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_is_given_up_loses_nothing() {
    let (tell, timed_out) = tokio::sync::oneshot::channel();
    let coro = spawn(async |mut me: Context<u32>| {
        let mut numbers = Categories::new(&mut me, |n| *n);
        tell.send(numbers.receive_timeout(&9, SECOND).await)
            .unwrap();
        assert_eq!(numbers.receive_timeout(&2, SECOND).await, Ok(2));
        let first = numbers.receive_any().await;
        assert_eq!(numbers.receive_any().await, Some(3));
        assert_eq!(
            numbers.receive_timeout(&9, SECOND).await,
            Err(ReceiveTimeoutError::Closed)
        );
        first
    });
    for n in [1, 2, 3] {
        coro.send(n).unwrap();
    }
    let expected = Err(ReceiveTimeoutError::TimedOut(SECOND));
    assert_eq!(bounded(timed_out).await, Ok(expected));
    assert_eq!(bounded(coro.join()).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_message_takes_room_until_it_is_received() {
    let coro = build()
        .name("categories: room")
        .capacity(2)
        .spawn(async |mut me: Context<u32>| {
            let mut numbers = Categories::new(&mut me, |n| *n);
            assert_eq!(numbers.len(&1), 1);
            numbers.address().suspend();
            tokio::task::yield_now().await;
            assert_eq!(numbers.receive(&1).await, Some(1));
            numbers.address().suspend();
            tokio::task::yield_now().await;
            drop(numbers);
            (me.receive().await, me.receive().await)
        });
    coro.send(1).unwrap();
    coro.send(2).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(
        coro.send(3),
        Err(SendError::Full(3)),
        "both are only kept aside"
    );
    let info = coroutines().into_iter().find(|it| it.id == coro.id());
    assert_eq!(info.unwrap().mailbox, 2);
    coro.resume();
    tokio::task::yield_now().await;
    coro.send(3).unwrap();
    assert_eq!(coro.send(4), Err(SendError::Full(4)));
    coro.resume();
    assert_eq!(bounded(coro.join()).await, Ok((Some(2), Some(3))));
}

#[tokio::test]
async fn a_classifier_that_panics_loses_nothing_and_keeps_no_room() {
    let coro = build()
        .capacity(4)
        .spawn(async |mut me: Context<Arc<u32>>| {
            let mut patience = 1;
            let mut numbers = Categories::new(&mut me, |n: &Arc<u32>| {
                if **n == 3 && patience > 0 {
                    patience -= 1;
                    panic!("three");
                }
                **n % 2
            });
            let receive = AssertUnwindSafe(async { numbers.receive(&0).await });
            assert!(receive.catch_unwind().await.is_err());
            // The one that was passed over and the one that could not be classified are first.
            let mut got = vec![numbers.receive_any().await];
            got.push(numbers.receive(&0).await);
            drop(numbers);
            // All but one have been received: there is room for three.
            let own = me.address();
            for n in [5, 6, 7] {
                own.send(Arc::new(n)).unwrap();
            }
            assert!(matches!(own.send(Arc::new(8)), Err(SendError::Full(_))));
            drop(own);
            while let Some(n) = me.receive().await {
                got.push(Some(n));
            }
            got
        });
    let messages: Vec<_> = [1, 3, 4].map(Arc::new).into();
    for message in &messages {
        coro.send(Arc::clone(message)).unwrap();
    }
    let got = bounded(coro.join()).await.unwrap();
    let got: Vec<u32> = got.into_iter().map(|n| *n.unwrap()).collect();
    assert_eq!(got, [1, 4, 3, 5, 6, 7]);
    let left = messages.iter().map(Arc::strong_count);
    assert_eq!(left.collect::<Vec<_>>(), [1, 1, 1], "none is there twice");
}

#[tokio::test]
async fn others_may_run_during_a_long_backlog() {
    let coro = spawn(async |mut me: Context<u32>| {
        let mut numbers = Categories::new(&mut me, |n| n % 2);
        let mut work = std::pin::pin!(async {
            let mut got = 0;
            while numbers.receive(&1).await.is_some() {
                got += 1;
            }
            while numbers.receive_any().await.is_some() {
                got += 1;
            }
            got
        });
        let mut turns = 0;
        let got = std::future::poll_fn(|cx| {
            turns += 1;
            work.as_mut().poll(cx)
        });
        (got.await, turns)
    });
    for n in 0..20_000 {
        coro.send(n).unwrap();
    }
    let (got, turns) = bounded(coro.join()).await.unwrap();
    assert_eq!(got, 20_000);
    assert!(turns > 200, "only {turns} turns");
}
