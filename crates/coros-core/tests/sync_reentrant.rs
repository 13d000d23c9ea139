//! `ReentrantLock`: re-entrance, exclusion, order, release on panic and on drop.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coros_core::sync::{ReentrantLock, ReentrantLockGuard};
use futures_util::poll;
use tokio::sync::oneshot;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

fn is_send<T: Send>(_: &T) {}

#[tokio::test]
async fn the_holder_locks_again_and_others_wait_for_the_last_guard() {
    let lock = Arc::new(ReentrantLock::new(AtomicU32::new(0)));
    let holder = lock.clone();
    let (locked, is_locked) = oneshot::channel();
    let (drop_one, next) = oneshot::channel::<()>();
    let (one_dropped, one_is_dropped) = oneshot::channel();
    let (drop_two, last) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let outer = holder.lock().await;
        let inner = holder.lock().await;
        inner.store(1, Ordering::Relaxed);
        is_send(&inner);
        locked.send(()).unwrap();
        next.await.unwrap();
        drop(outer); // in either order
        one_dropped.send(()).unwrap();
        last.await.unwrap();
        drop(inner);
    });
    is_locked.await.unwrap();
    assert!(lock.try_lock().is_none());
    let mut wait = Box::pin(lock.lock());
    assert!(poll!(&mut wait).is_pending());
    drop_one.send(()).unwrap();
    one_is_dropped.await.unwrap();
    assert!(poll!(&mut wait).is_pending(), "one guard is left");
    drop_two.send(()).unwrap();
    assert_eq!(
        timeout(BOUND, wait).await.unwrap().load(Ordering::Relaxed),
        1
    );
    task.await.unwrap();
}

#[tokio::test]
async fn waiters_are_served_in_order() {
    let lock = Arc::new(ReentrantLock::new(Mutex::new(Vec::new())));
    let guard = lock.lock().await;
    let mut tasks = Vec::new();
    for i in 0..50 {
        let waiter = lock.clone();
        tasks.push(tokio::spawn(async move {
            let outer = waiter.lock().await;
            tokio::task::yield_now().await;
            waiter.lock().await.lock().unwrap().push(i);
            drop(outer);
        }));
        tokio::task::yield_now().await;
    }
    drop(guard);
    for task in tasks {
        timeout(BOUND, task).await.unwrap().unwrap();
    }
    assert_eq!(
        *lock.lock().await.lock().unwrap(),
        (0..50).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_exclude_each_other() {
    let lock = Arc::new(ReentrantLock::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    let value = lock.lock().await;
                    let before = value.load(Ordering::Relaxed);
                    let again = lock.lock().await;
                    tokio::task::yield_now().await;
                    // Not atomic: loses counts if two tasks are here at once.
                    again.store(before + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        timeout(BOUND, task).await.unwrap().unwrap();
    }
    assert_eq!(lock.lock().await.load(Ordering::Relaxed), 4000);
}

#[tokio::test]
async fn a_panic_releases_and_does_not_poison() {
    let lock = Arc::new(ReentrantLock::new(AtomicU32::new(5)));
    let holder = lock.clone();
    let panicked = tokio::spawn(async move {
        let _outer = holder.lock().await;
        let _inner = holder.lock().await;
        panic!("with two guards");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(
        timeout(BOUND, lock.lock())
            .await
            .unwrap()
            .load(Ordering::Relaxed),
        5
    );
}

#[tokio::test]
async fn dropping_the_holder_releases() {
    let lock = Arc::new(ReentrantLock::new(()));
    let holder = lock.clone();
    let (locked, is_locked) = oneshot::channel();
    let task = tokio::spawn(async move {
        let _outer = holder.lock().await;
        let _inner = holder.lock().await;
        locked.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    is_locked.await.unwrap();
    task.abort();
    drop(timeout(BOUND, lock.lock()).await.unwrap());
}

#[tokio::test]
async fn a_dropped_waiter_leaves_the_queue() {
    let lock = Arc::new(ReentrantLock::new(()));
    let held = lock.clone();
    let (locked, is_locked) = oneshot::channel();
    let (let_go, released) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let _guard = held.lock().await;
        locked.send(()).unwrap();
        released.await.unwrap();
    });
    is_locked.await.unwrap();
    let mut given_up = Box::pin(lock.lock());
    let mut stays = Box::pin(lock.lock());
    assert!(poll!(&mut given_up).is_pending());
    assert!(poll!(&mut stays).is_pending());
    drop(given_up);
    let_go.send(()).unwrap();
    drop(timeout(BOUND, stays).await.unwrap());
    task.await.unwrap();
}

#[tokio::test]
async fn branches_of_one_task_share_the_lock() {
    let lock = Arc::new(ReentrantLock::new(()));
    let both = tokio::spawn(async move {
        let barrier = tokio::sync::Barrier::new(2);
        let branch = || async {
            let _guard = lock.lock().await;
            barrier.wait().await;
        };
        tokio::join!(branch(), branch());
    });
    timeout(BOUND, both).await.unwrap().unwrap();
}

#[test]
fn without_a_runtime_it_locks_but_is_not_reentrant() {
    let lock = ReentrantLock::new(());
    let guard = lock.try_lock().unwrap();
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
}

#[test]
fn exclusive_access_and_into_inner() {
    let mut lock = ReentrantLock::new(Cell::new(1));
    lock.get_mut().set(2);
    assert_eq!(
        format!("{lock:?}"),
        "ReentrantLock { value: Cell { value: 2 } }"
    );
    let guard: ReentrantLockGuard<'_, _> = lock.try_lock().unwrap();
    assert_eq!(guard.get(), 2);
    drop(guard);
    assert_eq!(lock.into_inner().get(), 2);
}
