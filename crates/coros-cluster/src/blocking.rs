//! Work that waits for a disk, off the threads that run coroutines.

use std::panic::resume_unwind;

/// Does `f` in one of the runtime's threads for what blocks. Its panics go on here.
///
/// Not undone when it is dropped: `f` runs to its end, and what it returns is dropped then.
pub(crate) async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(f).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
