//! `Condition`: order, counts, timeouts, and that no notification is swallowed.

use std::sync::Arc;
use std::time::Duration;

use coros_core::sync::{Condition, Mutex, WaitTimeoutError};
use futures_util::poll;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn notify_one_wakes_the_longest_waiter() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = Box::pin(async { condition.wait(mutex.lock().await).await });
    let mut second = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending(), "waiting gave the mutex up");
    condition.notify_one();
    assert!(poll!(&mut second).is_pending());
    let std::task::Poll::Ready(guard) = poll!(&mut first) else {
        panic!("not woken")
    };
    assert!(mutex.try_lock().is_err(), "woken with the mutex held");
    condition.notify_one();
    assert!(poll!(&mut second).is_pending(), "the mutex is held");
    drop(guard);
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test]
async fn notify_wakes_n_and_notify_all_the_rest() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut waiters: Vec<_> = (0..10)
        .map(|_| Box::pin(async { drop(condition.wait(mutex.lock().await).await) }))
        .collect();
    for waiter in &mut waiters {
        assert!(poll!(waiter).is_pending());
    }
    condition.notify(4);
    let mut woken = Vec::new();
    for waiter in &mut waiters {
        woken.push(poll!(waiter).is_ready());
    }
    assert_eq!(woken, [[true; 4].as_slice(), &[false; 6]].concat());
    condition.notify_all();
    for waiter in &mut waiters[4..] {
        assert!(poll!(waiter).is_ready());
    }
}

#[tokio::test]
async fn a_notification_without_waiter_is_not_stored() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    condition.notify(100);
    condition.notify_all();
    let mut waiter = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut waiter).is_pending());
}

#[tokio::test]
async fn cancelled_after_notification_passes_it_on() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = Box::pin(async { condition.wait(mutex.lock().await).await });
    let mut second = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    condition.notify_one();
    drop(first); // notified, never polled since
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test]
async fn cancelled_while_taking_the_mutex_again_passes_it_on() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = Box::pin(async { condition.wait(mutex.lock().await).await });
    let mut second = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    let guard = mutex.lock().await;
    condition.notify_one();
    assert!(
        poll!(&mut first).is_pending(),
        "notified, but the mutex is held"
    );
    drop(first);
    drop(guard);
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test]
async fn cancelled_before_notification_leaves_the_queue() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = Box::pin(async { condition.wait(mutex.lock().await).await });
    let mut second = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    drop(first);
    condition.notify_one();
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test]
async fn cancelled_after_notify_all_wakes_nobody_else() {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let mut first = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut first).is_pending());
    condition.notify_all();
    let mut later = Box::pin(async { condition.wait(mutex.lock().await).await });
    assert!(poll!(&mut later).is_pending());
    drop(first);
    assert!(poll!(&mut later).is_pending());
}

#[tokio::test(start_paused = true)]
async fn wait_timeout_gives_the_mutex_back() {
    let (mutex, condition) = (Mutex::new(7), Condition::new());
    let limit = Duration::from_secs(3);
    let (guard, in_time) = condition.wait_timeout(mutex.lock().await, limit).await;
    assert_eq!((*guard, in_time), (7, Err(WaitTimeoutError(limit))));
    // Timed out waiters have left the queue: the one notification reaches the one who waits.
    drop(guard);
    let mut waiter = Box::pin(async { condition.wait_timeout(mutex.lock().await, limit).await });
    assert!(poll!(&mut waiter).is_pending());
    condition.notify_one();
    assert_eq!(waiter.await.1, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn wait_timeout_while_bounds_the_whole_wait() {
    let shared = Arc::new((Mutex::new(0), Condition::new()));
    let teaser = tokio::spawn({
        let shared = shared.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                shared.1.notify_all();
            }
        }
    });
    let limit = Duration::from_millis(5500);
    let begin = tokio::time::Instant::now();
    let (guard, in_time) = shared
        .1
        .wait_timeout_while(shared.0.lock().await, limit, |value| *value == 0)
        .await;
    assert_eq!(in_time, Err(WaitTimeoutError(limit)));
    assert!(begin.elapsed() >= limit && begin.elapsed() < limit + Duration::from_millis(10));
    drop(guard);
    *shared.0.lock().await = 1;
    let (_guard, in_time) = shared
        .1
        .wait_timeout_while(shared.0.lock().await, limit, |value| *value == 0)
        .await;
    assert_eq!(in_time, Ok(()));
    teaser.abort();
}

/// Consumers that are cancelled all the time still consume everything: as many notifications as
/// items are sent, so one swallowed would leave an item behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notification_is_swallowed_by_cancelled_waiters() {
    const ITEMS: usize = 5_000;
    let shared = Arc::new((Mutex::new(0_usize), Condition::new()));
    let takers: Vec<_> = (0..4)
        .map(|taker| {
            let shared = shared.clone();
            tokio::spawn(async move {
                let mut cancel = taker % 2 == 0;
                loop {
                    let take = async {
                        let stock = shared.0.lock().await;
                        let mut stock = shared.1.wait_while(stock, |stock| *stock == 0).await;
                        *stock -= 1;
                    };
                    if cancel {
                        tokio::select! {
                            biased;
                            () = take => {}
                            () = tokio::task::yield_now() => {}
                        }
                    } else {
                        take.await;
                    }
                    cancel = taker % 2 == 0 && !cancel;
                }
            })
        })
        .collect();
    for _ in 0..ITEMS {
        *shared.0.lock().await += 1;
        shared.1.notify_one();
    }
    timeout(BOUND, async {
        while *shared.0.lock().await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("an item was left behind");
    takers.iter().for_each(tokio::task::JoinHandle::abort);
}
