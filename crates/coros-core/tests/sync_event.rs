//! `Event`: releases, no lost wake-up, cancellation.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

use std::sync::Arc;
use std::time::Duration;

use coros_core::sync::{Event, WaitTimeoutError};
use futures_util::poll;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn set_releases_all_and_stays_set() {
    let event = Arc::new(Event::new());
    let waiters: Vec<_> = (0..1000)
        .map(|_| {
            let event = event.clone();
            tokio::spawn(async move { event.wait().await })
        })
        .collect();
    tokio::task::yield_now().await;
    event.set();
    for waiter in waiters {
        timeout(BOUND, waiter).await.unwrap().unwrap();
    }
    assert!(event.is_set());
    assert!(poll!(Box::pin(event.wait())).is_ready());
}

#[tokio::test]
async fn clear_makes_later_waiters_wait() {
    let event = Event::new();
    event.set();
    event.clear();
    assert!(!event.is_set());
    let mut wait = Box::pin(event.wait());
    assert!(poll!(&mut wait).is_pending());
    event.set();
    assert!(poll!(&mut wait).is_ready());
}

#[tokio::test]
async fn a_pulse_releases_who_called_wait_before_it() {
    let event = Event::new();
    let mut polled = Box::pin(event.wait());
    assert!(poll!(&mut polled).is_pending());
    let mut unpolled = Box::pin(event.wait());
    event.set();
    event.clear();
    let mut late = Box::pin(event.wait());
    assert!(poll!(&mut polled).is_ready());
    assert!(poll!(&mut unpolled).is_ready());
    assert!(poll!(&mut late).is_pending());
}

#[tokio::test]
async fn a_dropped_waiter_takes_nothing_with_it() {
    let event = Event::new();
    let mut first = Box::pin(event.wait());
    let mut second = Box::pin(event.wait());
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    event.set();
    drop(first);
    assert!(poll!(&mut second).is_ready());
}

#[tokio::test(start_paused = true)]
async fn wait_timeout_ends_either_way() {
    let event = Arc::new(Event::new());
    let limit = Duration::from_secs(5);
    assert_eq!(
        event.wait_timeout(limit).await,
        Err(WaitTimeoutError(limit))
    );
    let setter = event.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(4)).await;
        setter.set();
    });
    assert_eq!(event.wait_timeout(limit).await, Ok(()));
}

/// Two threads take turns through two events: one lost wake-up stops them, and so does a `set` that
/// lets one of them pass twice, since the other then gets one turn too few.
#[tokio::test]
async fn no_wake_up_is_lost_or_doubled_between_threads() {
    let (ping, pong) = (Arc::new(Event::new()), Arc::new(Event::new()));
    // A runtime each, since the tasks of one would take turns on one of its threads.
    let player = |mine: Arc<Event>, other: Arc<Event>| async move {
        for _ in 0..20_000 {
            mine.wait().await;
            mine.clear();
            other.set();
        }
    };
    let players = [
        on_a_thread(player(ping.clone(), pong.clone())),
        on_a_thread(player(pong, ping.clone())),
    ];
    ping.set();
    for player in players {
        timeout(BOUND, player).await.unwrap().unwrap();
    }
}

/// Runs a future on a thread of its own; what comes when it is through.
fn on_a_thread(future: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(future);
        tell.send(()).unwrap();
    });
    told
}
