//! `ThreadPool`: limit, order, panics, withdrawal, shutdown.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use coros_core::{ThreadPool, ThreadPoolError};
use futures_util::future::join_all;
use futures_util::poll;
use tokio::sync::oneshot;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

fn pool(limit: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(limit).expect("not 0"))
}

/// A call that says when it has begun and returns when it is let go.
fn gate() -> (
    impl FnOnce() + Send,
    oneshot::Receiver<()>,
    mpsc::Sender<()>,
) {
    let (begun, has_begun) = oneshot::channel();
    let (let_go, gate) = mpsc::channel();
    let call = move || {
        begun.send(()).ok();
        gate.recv_timeout(BOUND).ok();
    };
    (call, has_begun, let_go)
}

#[tokio::test]
async fn runs_as_many_as_the_limit_and_no_more() {
    let pool = pool(3);
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // All three meet: fewer than three at once would never get past the barrier.
    let meeting = Arc::new(std::sync::Barrier::new(3));
    let calls = (0..30).map(|i| {
        let (now, peak, meeting) = (now.clone(), peak.clone(), meeting.clone());
        pool.run(move || {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            meeting.wait();
            now.fetch_sub(1, Ordering::SeqCst);
            i
        })
    });
    let results = timeout(BOUND, join_all(calls)).await.unwrap();
    assert_eq!(results, (0..30).map(Ok).collect::<Vec<_>>());
    assert_eq!(peak.load(Ordering::SeqCst), 3);
    assert_eq!(pool.running(), 0);
}

#[tokio::test]
async fn turns_are_given_in_order() {
    let pool = pool(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls = (0..100).map(|i| {
        let order = order.clone();
        pool.run(move || order.lock().unwrap().push(i))
    });
    timeout(BOUND, join_all(calls)).await.unwrap();
    assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_pool_goes_on() {
    let pool = pool(1);
    let name = "seven";
    let text: Result<(), _> = pool.run(move || panic!("formatted {name}")).await;
    assert_eq!(
        text,
        Err(ThreadPoolError::Panicked("formatted seven".into()))
    );
    let literal: Result<(), _> = pool.run(|| panic!("plain")).await;
    assert_eq!(literal, Err(ThreadPoolError::Panicked("plain".into())));
    let value: Result<(), _> = pool.run(|| std::panic::panic_any(7)).await;
    assert_eq!(
        value.unwrap_err().to_string(),
        "the call panicked: a value that is not text"
    );
    assert_eq!(timeout(BOUND, pool.run(|| 1)).await.unwrap(), Ok(1));
}

#[tokio::test]
async fn dropped_while_waiting_is_withdrawn() {
    let pool = pool(1);
    let (call, begun, let_go) = gate();
    let first = tokio::spawn(pool.run(call));
    timeout(BOUND, begun).await.unwrap().unwrap();

    let ran = Arc::new(AtomicBool::new(false));
    let mut second = Box::pin(pool.run({
        let ran = ran.clone();
        move || ran.store(true, Ordering::SeqCst)
    }));
    assert!(poll!(&mut second).is_pending());
    drop(second);
    let_go.send(()).unwrap();
    timeout(BOUND, first).await.unwrap().unwrap().unwrap();
    timeout(BOUND, pool.shutdown()).await.unwrap();
    assert!(!ran.load(Ordering::SeqCst));
}

#[test]
fn dropped_in_the_queue_of_tokio_is_withdrawn() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build();
    runtime.unwrap().block_on(async {
        let pool = pool(2);
        let (call, begun, let_go) = gate();
        let first = tokio::spawn(pool.run(call));
        begun.await.unwrap();
        let ran = Arc::new(AtomicBool::new(false));
        let mut second = Box::pin(pool.run({
            let ran = ran.clone();
            move || ran.store(true, Ordering::SeqCst)
        }));
        // It has a turn of ours, but the runtime's one thread is busy.
        assert!(poll!(&mut second).is_pending());
        assert_eq!(pool.running(), 2);
        drop(second);
        let_go.send(()).unwrap();
        first.await.unwrap().unwrap();
        pool.shutdown().await;
        assert!(!ran.load(Ordering::SeqCst));
    });
}

#[tokio::test]
async fn dropped_while_running_finishes_detached_and_keeps_its_turn() {
    let pool = pool(1);
    let (call, begun, let_go) = gate();
    let finished = Arc::new(AtomicBool::new(false));
    let mut first = Box::pin(pool.run({
        let finished = finished.clone();
        move || {
            call();
            finished.store(true, Ordering::SeqCst);
        }
    }));
    assert!(poll!(&mut first).is_pending());
    timeout(BOUND, begun).await.unwrap().unwrap();
    drop(first);
    assert_eq!(pool.running(), 1);
    let mut next = Box::pin(pool.run(|| ()));
    assert!(poll!(&mut next).is_pending());

    let mut shutdown = Box::pin(pool.shutdown());
    assert!(
        poll!(&mut shutdown).is_pending(),
        "waits for the detached call"
    );
    let_go.send(()).unwrap();
    assert_eq!(
        timeout(BOUND, next).await.unwrap(),
        Ok(()),
        "accepted before the shutdown"
    );
    timeout(BOUND, shutdown).await.unwrap();
    assert!(finished.load(Ordering::SeqCst));
}

#[tokio::test]
async fn shutdown_refuses_new_calls_and_may_be_repeated() {
    let pool = pool(2);
    let (call, begun, let_go) = gate();
    let running = tokio::spawn(pool.run(call));
    timeout(BOUND, begun).await.unwrap().unwrap();
    {
        let mut given_up = Box::pin(pool.shutdown());
        assert!(poll!(&mut given_up).is_pending());
    }
    assert!(pool.is_closed());
    assert_eq!(pool.run(|| ()).await, Err(ThreadPoolError::Closed));
    let both = futures_util::future::join(pool.shutdown(), pool.shutdown());
    let_go.send(()).unwrap();
    timeout(BOUND, both).await.unwrap();
    timeout(BOUND, pool.shutdown()).await.unwrap();
    assert_eq!(running.await.unwrap(), Ok(()));
    assert_eq!(pool.run(|| ()).await, Err(ThreadPoolError::Closed));
}

#[test]
fn runtime_shutdown_ends_a_call_that_has_not_begun() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let pool = pool(1);
    let (call, begun, let_go) = gate();
    let mut waiting = Box::pin(pool.run(|| ()));
    runtime.block_on(async {
        tokio::spawn(pool.run(call));
        begun.await.unwrap();
        assert!(poll!(&mut waiting).is_pending());
    });
    runtime.shutdown_background();
    let_go.send(()).unwrap();
    {
        let _inside = handle.enter();
        assert_eq!(block_on(waiting), Err(ThreadPoolError::RuntimeClosed));
    }
    assert_eq!(
        block_on(pool.run(|| ())),
        Err(ThreadPoolError::RuntimeClosed),
        "no runtime"
    );
}

/// Runs a future on this thread with no runtime around it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let end = std::time::Instant::now() + BOUND;
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(std::time::Instant::now() < end, "the call never ended");
        std::thread::park_timeout(BOUND);
    }
}

#[test]
fn a_huge_limit_is_accepted() {
    assert_eq!(pool(usize::MAX).running(), 0);
}
