//! What the tests of this crate share.
// `allow-unwrap-in-tests` knows functions with `#[test]`, not what they call.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod two_nodes;

use std::future::Future;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// No single wait in a test takes longer; a test that would hang fails here.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test on a current-thread and on a multi-thread runtime.
#[track_caller]
pub(crate) fn on_both<F, Fut>(test: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let current = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    current.block_on(async { tokio::time::timeout(LIMIT, test()).await.expect("it hangs") });
    let multi = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Not in `block_on` itself, so that the test runs on a worker thread.
    let test = multi.spawn(test());
    multi.block_on(async {
        match tokio::time::timeout(LIMIT, test).await.expect("it hangs") {
            Ok(()) => {}
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    });
}

/// A condition that another thread brings about, polled by yielding.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    tokio::time::timeout(LIMIT, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the condition does not come about");
}

/// A waker that wakes nobody, and whether anybody still has it: then the count is above one.
pub(crate) fn counted_waker() -> (Arc<impl Wake>, Waker) {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let nobody = Arc::new(Nobody);
    let waker = Waker::from(Arc::clone(&nobody));
    (nobody, waker)
}
