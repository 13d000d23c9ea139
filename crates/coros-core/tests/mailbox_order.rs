//! Messages arrive, in order, once; and receiving selects, times out and can be cancelled.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{on_both, until};
use coros_core::{Context, ReceiveTimeoutError, SendError, build, spawn};

#[test]
fn each_sender_is_received_in_order() {
    on_both(|| async {
        const SENDERS: usize = 8;
        const EACH: usize = 5_000;
        let sink = spawn(async |mut me: Context<(usize, usize)>| {
            let mut next = [0; SENDERS];
            while let Some((sender, n)) = me.receive().await {
                assert_eq!(n, next[sender], "sender {sender}");
                next[sender] += 1;
            }
            next
        });
        for sender in 0..SENDERS {
            let to = sink.address();
            let _ = spawn(async move |_me: Context<()>| {
                for n in 0..EACH {
                    to.send((sender, n)).unwrap();
                    if n % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        assert_eq!(sink.join().await.unwrap(), [EACH; SENDERS]);
    });
}

#[test]
fn receive_is_none_once_every_address_is_gone() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let mut got = Vec::new();
            while let Some(n) = me.receive().await {
                got.push(n);
            }
            // And again, rather than for ever.
            assert_eq!(me.receive().await, None);
            assert_eq!(me.try_receive(), None);
            got
        });
        let address = coro.address();
        let weak = address.downgrade().unwrap();
        assert_eq!(weak.upgrade(), Some(address.clone()));
        coro.send(1).unwrap();
        let result = tokio::spawn(coro.join());
        address.send(2).unwrap();
        drop(address);
        assert_eq!(result.await.unwrap().unwrap(), [1, 2]);
        assert_eq!(weak.upgrade(), None);
    });
}

#[test]
fn an_address_of_its_own_keeps_the_mailbox_open() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let own = me.address();
            let early = me.receive_timeout(Duration::from_millis(1)).await;
            assert_eq!(
                early,
                Err(ReceiveTimeoutError::TimedOut(Duration::from_millis(1)))
            );
            drop(own);
            me.receive_timeout(Duration::from_secs(10)).await
        });
        assert_eq!(coro.join().await.unwrap(), Err(ReceiveTimeoutError::Closed));
    });
}

#[test]
fn a_cancelled_receive_loses_nothing() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let mut got = Vec::new();
            loop {
                // The other branch is always ready, so that a receive that waits is dropped.
                tokio::select! {
                    biased;
                    message = me.receive() => match message {
                        Some(n) => got.push(n),
                        None => return got,
                    },
                    () = tokio::task::yield_now() => {}
                }
            }
        });
        for n in 0..1_000 {
            coro.send(n).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(coro.join().await.unwrap(), (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn selective_receive_keeps_the_order_of_what_it_skips() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let mut got = Vec::new();
            got.extend(me.receive_where(|n| n % 10 == 9).await);
            got.extend(me.receive_where(|n| *n == 3).await);
            got.extend(me.try_receive());
            while let Some(n) = me.receive().await {
                got.push(n);
            }
            got
        });
        for n in 0..12 {
            coro.send(n).unwrap();
        }
        assert_eq!(
            coro.join().await.unwrap(),
            [9, 3, 0, 1, 2, 4, 5, 6, 7, 8, 10, 11]
        );
    });
}

#[test]
fn selective_receive_looks_at_each_message_once_however_often_it_wakes() {
    on_both(|| async {
        const BACKLOG: usize = 20_000;
        const LATER: usize = 2_000;
        let looks = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&looks);
        let coro = spawn(async move |mut me: Context<usize>| {
            let found = me
                .receive_where(|n| {
                    counting.fetch_add(1, Ordering::Relaxed);
                    *n == usize::MAX
                })
                .await;
            (found, me.receive().await)
        });
        for n in 0..BACKLOG {
            coro.send(n).unwrap();
        }
        for n in 0..LATER {
            // Each wakes the coroutine on its own.
            coro.send(n).unwrap();
            until(|| looks.load(Ordering::Relaxed) == BACKLOG + n + 1).await;
        }
        coro.send(usize::MAX).unwrap();
        assert_eq!(coro.join().await.unwrap(), (Some(usize::MAX), Some(0)));
        assert_eq!(looks.load(Ordering::Relaxed), BACKLOG + LATER + 1);
    });
}

#[test]
fn selective_receive_ends_when_nobody_is_left() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            (
                me.receive_where(|n| *n > 100).await,
                me.receive().await,
                me.receive().await,
            )
        });
        coro.send(1).unwrap();
        assert_eq!(coro.join().await.unwrap(), (None, Some(1), None));
    });
}

#[test]
fn receive_many_takes_what_is_there_up_to_its_limit() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            // Let all of them arrive.
            let first = me.receive_where(|n| *n == 9).await;
            let mut got = vec![100];
            let counts = [
                me.receive_many(&mut got, 0).await,
                me.receive_many(&mut got, 4).await,
                me.receive_many(&mut got, 100).await,
                me.receive_many(&mut got, 100).await,
            ];
            (first, got, counts)
        });
        for n in 0..10 {
            coro.send(n).unwrap();
        }
        let (first, got, counts) = coro.join().await.unwrap();
        assert_eq!(first, Some(9));
        assert_eq!(got, [100, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(counts, [0, 4, 5, 0]);
    });
}

#[test]
fn receive_many_after_a_pause_misses_no_message() {
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let (mut got, mut rounds) = (Vec::new(), 0);
            while me.receive_many(&mut got, 16).await > 0 {
                rounds += 1;
            }
            (got, rounds)
        });
        for n in 0..500 {
            coro.send(n).unwrap();
            if n % 3 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let (got, rounds) = coro.join().await.unwrap();
        assert_eq!(got, (0..500).collect::<Vec<_>>());
        assert!(rounds >= 500 / 16);
    });
}

#[test]
fn a_message_sent_after_the_end_comes_back() {
    on_both(|| async {
        let coro = spawn(async |me: Context<String>| drop(me));
        let address = coro.address();
        coro.join().await.unwrap();
        let error = address.send("late".into()).unwrap_err();
        assert_eq!(error, SendError::Closed("late".into()));
        assert_eq!(error.into_message(), "late");
        assert!(address.is_closed());
        assert_eq!(
            address.deliver("later".into()).await,
            Err(SendError::Closed("later".into()))
        );
    });
}

#[test]
fn what_is_not_received_is_dropped_with_the_coroutine() {
    on_both(|| async {
        let held = Arc::new(());
        let coro = spawn(async |mut me: Context<Arc<()>>| {
            // The first is received, the second waits in the queue.
            me.receive_where(|_| false).await;
        });
        for _ in 0..5 {
            coro.send(Arc::clone(&held)).unwrap();
        }
        let address = coro.address();
        tokio::task::yield_now().await;
        coro.terminate();
        address.exit().await;
        assert_eq!(Arc::strong_count(&held), 1);
    });
}

#[test]
fn a_full_mailbox_refuses_and_delivery_waits_for_room() {
    on_both(|| async {
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let coro = build()
            .capacity(2)
            .spawn(async move |mut me: Context<u32>| {
                wait.await.unwrap();
                let mut got = Vec::new();
                while let Some(n) = me.receive().await {
                    got.push(n);
                }
                got
            });
        coro.send(0).unwrap();
        coro.send(1).unwrap();
        assert_eq!(coro.send(2), Err(SendError::Full(2)));
        let mut waiting = Box::pin(coro.deliver(2));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let mut fed = Box::pin(coro.feed(3));
        assert!(futures_util::poll!(&mut fed).is_pending());
        // A delivery that is given up leaves its turn to the next.
        let mut given_up = Box::pin(coro.deliver(77));
        assert!(futures_util::poll!(&mut given_up).is_pending());
        drop(given_up);
        go.send(()).unwrap();
        waiting.await.unwrap();
        fed.await.unwrap();
        coro.deliver(4).await.unwrap();
        coro.feed(5).await.unwrap();
        assert_eq!(coro.join().await.unwrap(), [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_bounded_mailbox_never_holds_more_than_its_capacity() {
    on_both(|| async {
        const CAPACITY: usize = 16;
        let inside = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&inside);
        let coro = build()
            .capacity(CAPACITY)
            .spawn(async move |mut me: Context<usize>| {
                let mut sum = 0;
                while let Some(n) = me.receive().await {
                    counting.fetch_sub(1, Ordering::SeqCst);
                    sum += n;
                    if n % 5 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                sum
            });
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (to, inside) = (coro.address(), Arc::clone(&inside));
                tokio::spawn(async move {
                    for n in 0..1_000 {
                        to.deliver(n).await.unwrap();
                        let now = inside.fetch_add(1, Ordering::SeqCst) as isize;
                        // The receiver may count down before the sender counts up, never the
                        // other way round by more than the senders between the two.
                        assert!(now <= (CAPACITY + 4) as isize, "{now} messages inside");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        assert_eq!(coro.join().await.unwrap(), 4 * (0..1_000).sum::<usize>());
    });
}

#[test]
fn delivery_with_a_time_limit_gives_the_message_back_and_leaves_no_trace() {
    on_both(|| async {
        let limit = Duration::from_millis(20);
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let coro = build()
            .capacity(1)
            .spawn(async move |mut me: Context<u32>| {
                gone.await.unwrap();
                (me.receive().await, me.receive().await)
            });
        assert_eq!(coro.deliver_timeout(limit, 1).await, Ok(()));
        let late = coro.deliver_timeout(limit, 2).await;
        assert_eq!(late, Err(SendError::TimedOut(2, limit)));
        let mut waiting = Box::pin(coro.deliver_timeout(Duration::MAX, 3));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        go.send(()).unwrap();
        waiting.await.unwrap();
        let address = coro.address();
        assert_eq!(coro.join().await, Ok((Some(1), Some(3))));
        let closed = address.deliver_timeout(limit, 4).await;
        assert_eq!(closed, Err(SendError::Closed(4)));
    });
}

#[test]
fn delivery_to_a_coroutine_that_is_terminated_gives_the_message_back() {
    on_both(|| async {
        let coro = build().capacity(1).spawn(async |me: Context<u32>| {
            std::future::pending::<()>().await;
            drop(me);
        });
        coro.send(1).unwrap();
        let mut waiting = Box::pin(coro.deliver(2));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let mut fed = Box::pin(coro.feed(3));
        assert!(futures_util::poll!(&mut fed).is_pending());
        coro.terminate();
        assert_eq!(waiting.await, Err(SendError::Closed(2)));
        assert_eq!(fed.await, Err(SendError::Closed(3)));
    });
}

#[test]
fn a_long_backlog_lets_others_run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let turns = Arc::new(AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            // Not `yield_now`, which waits for more than its turn in the queue.
            std::future::poll_fn(move |cx| {
                turns.fetch_add(1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
        });
        let coro = spawn(async |mut me: Context<u32>| while me.receive().await.is_some() {});
        for n in 0..100_000 {
            coro.send(n).unwrap();
        }
        coro.join().await.unwrap();
        other.abort();
        // Its 100,000 messages are more than 700 stretches of 128.
        assert!(turns.load(Ordering::Relaxed) > 700, "{turns:?}");
    });
}

#[test]
fn receiving_works_through_combinators_with_wakers_of_their_own() {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    on_both(|| async {
        let coro = spawn(async |mut me: Context<u32>| {
            let mut got = Vec::new();
            loop {
                // FuturesUnordered polls with a waker of its own, new in each round.
                let mut both = FuturesUnordered::new();
                both.push(me.receive());
                match both.next().await.flatten() {
                    Some(n) => got.push(n),
                    None => return got,
                }
            }
        });
        for n in 0..300 {
            coro.send(n).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(coro.join().await.unwrap(), (0..300).collect::<Vec<_>>());
    });
}

#[test]
fn a_selective_receive_lets_others_run_while_it_skips() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let turns = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&turns);
        let other = tokio::spawn(std::future::poll_fn(move |cx| {
            counting.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        }));
        let coro = spawn(async |mut me: Context<u32>| me.receive_where(|n| *n == 99_999).await);
        for n in 0..100_000 {
            coro.send(n).unwrap();
        }
        assert_eq!(coro.join().await, Ok(Some(99_999)));
        other.abort();
        assert!(turns.load(Ordering::Relaxed) > 700, "{turns:?}");
    });
}
