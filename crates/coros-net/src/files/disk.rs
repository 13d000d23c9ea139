//! Work at a disk, in threads of its own: whatever waits for a disk waits in these.
//!
//! While one of the runtime's blocking tasks is at work, tokio's clock does not go on by itself in a
//! test that has paused it. So it must be while something waits for the disk, or heartbeats and
//! limits of a simulated network would pass in no time; and it must not be while the disk waits for
//! the network, which would stand still. What lasts as long as a transfer is a [`Worker`], and only
//! waiting for it is a blocking task.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Does what would hold up others in a thread of its own; that learns when nobody waits for it.
pub(super) async fn blocking<T: Send + 'static>(
    f: impl FnOnce(&CancellationToken) -> T + Send + 'static,
) -> T {
    let token = CancellationToken::new();
    let _cancels = token.clone().drop_guard();
    let task = tokio::task::spawn_blocking(move || f(&token));
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A thread that works for one transfer. It is not waited for when this is dropped; it ends when
/// its queues do.
pub(super) struct Worker<T>(oneshot::Receiver<thread::Result<T>>);

impl<T: Send + 'static> Worker<T> {
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn spawn(f: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (done, result) = oneshot::channel();
        let work = move || {
            // Perhaps nobody waits any more.
            let _ = done.send(catch_unwind(AssertUnwindSafe(f)));
        };
        thread::Builder::new()
            .name("coros-file".into())
            .spawn(work)?;
        Ok(Worker(result))
    }

    /// What comes of it. Its panics go on here.
    pub(super) async fn join(self) -> T {
        let result = blocking(move |_| self.0.blocking_recv()).await;
        match result.expect("it says so also when it has panicked") {
            Ok(done) => done,
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// The next of what a worker makes; the queue comes back.
pub(super) async fn next<T: Send + 'static>(
    mut queue: mpsc::Receiver<T>,
) -> (mpsc::Receiver<T>, Option<T>) {
    match queue.try_recv() {
        Ok(made) => (queue, Some(made)),
        Err(mpsc::error::TryRecvError::Disconnected) => (queue, None),
        Err(mpsc::error::TryRecvError::Empty) => {
            blocking(move |_| {
                let made = queue.blocking_recv();
                (queue, made)
            })
            .await
        }
    }
}

/// Orders something of a worker; false if that has ended.
pub(super) async fn order<T: Send + 'static>(queue: &mpsc::Sender<T>, order: T) -> bool {
    match queue.try_send(order) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(order)) => {
            let queue = queue.clone();
            blocking(move |_| queue.blocking_send(order).is_ok()).await
        }
    }
}
