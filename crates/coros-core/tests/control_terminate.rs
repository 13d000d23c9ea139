//! Terminating, suspending and resuming.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{counted_waker, on_both, until};
use coros_core::{Context, Exit, build, spawn};

#[test]
fn a_coroutine_is_dropped_where_it_waits() {
    on_both(|| async {
        let held = Arc::new(());
        for waits_in in 0..3 {
            let hold = Arc::clone(&held);
            let coro = spawn(async move |mut me: Context<u32>| {
                let _hold = hold;
                match waits_in {
                    0 => drop(me.receive().await),
                    1 => me.sleep(Duration::from_secs(1_000)).await,
                    _ => std::future::pending().await,
                }
            });
            let address = coro.address();
            until(|| coros_core::live() > 0).await;
            tokio::task::yield_now().await;
            coro.terminate();
            coro.terminate();
            assert_eq!(coro.join().await, Err(Exit::Terminated));
            address.terminate();
            assert_eq!(address.exit().await, Exit::Terminated);
            assert_eq!(Arc::strong_count(&held), 1);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_for_it_has_its_grace_period_and_no_more() {
    let cleaner = |needs: Duration| {
        build()
            .grace(Duration::from_secs(3))
            .spawn(async move |me: Context<()>| {
                let stop = me.terminating();
                assert!(!stop.is_requested());
                stop.clone().await;
                assert!(stop.is_requested());
                me.sleep(needs).await;
                "clean"
            })
    };
    let quick = cleaner(Duration::from_secs(2));
    let slow = cleaner(Duration::from_secs(4));
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    quick.terminate();
    slow.terminate();
    slow.terminate();
    assert_eq!(quick.join().await, Ok("clean"));
    assert_eq!(start.elapsed().as_secs(), 2);
    assert_eq!(slow.join().await, Err(Exit::Terminated));
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[test]
fn to_ask_for_a_grace_period_needs_a_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let coro = {
        let _in = runtime.enter();
        spawn(async |me: Context<()>| me.terminating().await)
    };
    let address = coro.address();
    let join = runtime.block_on(async {
        tokio::task::yield_now().await;
        // Too late to find out: nobody would end its grace period.
        address.terminate();
        coro.join().await
    });
    match join {
        Err(Exit::Panicked(why)) => assert!(why.contains("enable_time"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_took_over_has_to_ask_for_its_grace_period() {
    async fn asks(mut me: Context<()>) -> &'static str {
        let offers = me.swap_offers();
        tokio::select! {
            biased;
            () = me.terminating() => "clean",
            _ = me.receive() => "unreachable",
            offer = offers.next() => offer.accept("given back").await,
        }
    }
    async fn does_not_ask(mut me: Context<()>) -> &'static str {
        me.receive().await;
        "unreachable"
    }

    let coro = spawn(asks);
    coro.swap(asks).await.unwrap();
    let start = tokio::time::Instant::now();
    let again = spawn(asks);
    again.swap(does_not_ask).await.unwrap();
    for (coro, expected) in [(coro, Ok("clean")), (again, Err(Exit::Terminated))] {
        tokio::task::yield_now().await;
        coro.terminate();
        assert_eq!(coro.join().await, expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_coroutine_cleans_up_all_the_same() {
    let coro = spawn(async |mut me: Context<()>| {
        let stop = me.terminating();
        me.suspend().await;
        stop.await;
        "clean"
    });
    tokio::task::yield_now().await;
    coro.terminate();
    assert_eq!(coro.join().await, Ok("clean"));
}

#[test]
fn terminate_works_from_a_thread_outside_the_runtime() {
    on_both(|| async {
        let coro = build()
            .grace(Duration::from_millis(1))
            .spawn(async |me: Context<()>| {
                let stop = me.terminating();
                stop.await;
                std::future::pending::<()>().await;
            });
        let address = coro.address();
        tokio::task::yield_now().await;
        std::thread::spawn(move || address.terminate())
            .join()
            .unwrap();
        assert_eq!(coro.join().await, Err(Exit::Terminated));
    });
}

#[test]
fn a_suspended_coroutine_receives_nothing_until_it_is_resumed() {
    on_both(|| async {
        let received = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&received);
        let coro = spawn(async move |mut me: Context<u32>| {
            let mut got = Vec::new();
            while let Some(n) = me.receive().await {
                counting.fetch_add(1, Ordering::SeqCst);
                got.push(n);
            }
            got
        });
        coro.send(0).unwrap();
        until(|| received.load(Ordering::SeqCst) == 1).await;
        coro.suspend();
        coro.suspend();
        for n in 1..50 {
            coro.send(n).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(received.load(Ordering::SeqCst), 1);
        coro.resume();
        until(|| received.load(Ordering::SeqCst) == 50).await;
        // A resume of one that runs does nothing.
        coro.resume();
        assert_eq!(coro.join().await.unwrap(), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn a_coroutine_suspends_itself_until_others_resume_it() {
    on_both(|| async {
        let steps = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&steps);
        let coro = spawn(async move |mut me: Context<()>| {
            for _ in 0..3 {
                counting.fetch_add(1, Ordering::SeqCst);
                me.suspend().await;
            }
        });
        let address = coro.address();
        let join = tokio::spawn(coro.join());
        for step in 1..=3 {
            until(|| steps.load(Ordering::SeqCst) == step).await;
            // It may not have suspended itself yet: resume until it goes on.
            until(|| {
                address.resume();
                steps.load(Ordering::SeqCst) > step || address.is_closed()
            })
            .await;
        }
        assert_eq!(join.await.unwrap(), Ok(()));
    });
}

#[test]
fn a_suspended_coroutine_can_be_terminated() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<()>| me.receive().await);
        coro.suspend();
        tokio::task::yield_now().await;
        coro.terminate();
        assert_eq!(coro.join().await, Err(Exit::Terminated));
    });
}

#[test]
fn whoever_waits_for_the_request_is_told_whatever_polls_it() {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    on_both(|| async {
        let (give, take) = tokio::sync::oneshot::channel();
        let coro = spawn(async move |me: Context<()>| {
            give.send(me.terminating()).unwrap();
            // Polled with the wakers of a combinator; the ones given up leave nothing behind.
            let mut several = FuturesUnordered::new();
            several.push(me.terminating());
            several.push(me.terminating());
            drop(me.terminating());
            several.next().await.unwrap();
            several.next().await.unwrap();
            "clean"
        });
        let elsewhere = tokio::spawn(take.await.unwrap());
        until(|| coros_core::live() > 0).await;
        tokio::task::yield_now().await;
        coro.terminate();
        assert_eq!(coro.join().await, Ok("clean"));
        elsewhere.await.unwrap();
    });
}

#[test]
fn whoever_stops_waiting_for_the_request_leaves_no_waker_behind() {
    on_both(|| async {
        let (give, take) = tokio::sync::oneshot::channel();
        let coro = spawn(async move |mut me: Context<()>| {
            let _ = give.send(me.terminating());
            me.receive().await
        });
        let mut stop = take.await.unwrap();
        let (count, waker) = counted_waker();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(Pin::new(&mut stop).poll(&mut cx).is_pending());
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 2, "it waits");
        drop(stop);
        assert_eq!(Arc::strong_count(&count), 1);
        drop(coro);
    });
}
