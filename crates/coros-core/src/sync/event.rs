//! A flag that coroutines wait for.
//!
//! The one rule: [`Event::set`] releases every waiter whose [`wait`](Event::wait) was *called*
//! before it, whether that future was polled yet or not, and even if [`clear`](Event::clear)
//! follows at once, and no other: one `set` releases nobody twice. The flag is therefore a count of
//! its changes, which a `set` changes in one step, and a waiter waits for another count than that of
//! its call; what wakes it only makes it look. It looks after it has enrolled, so a `set` in
//! between is seen one way or the other: no wake-up is lost.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::WaitTimeoutError;

/// A flag that any number of coroutines can wait for.
///
/// Starts cleared. Share it by reference or in an [`Arc`](std::sync::Arc).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use coros_core::sync::Event;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let ready = Arc::new(Event::new());
/// let waiter = tokio::spawn({
///     let ready = Arc::clone(&ready);
///     async move { ready.wait().await }
/// });
/// ready.set();
/// waiter.await.unwrap();
/// assert!(ready.is_set());
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Event {
    /// How often the flag has changed, wrapping; odd while it is set.
    changes: AtomicUsize,
    waiters: Notify,
}

impl Event {
    /// A cleared event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and releases all who wait; those who wait later pass until [`clear`].
    ///
    /// [`clear`]: Self::clear
    pub fn set(&self) {
        // The flag first: who enrols after `notify_waiters` must find it set.
        self.changes.fetch_or(1, Ordering::AcqRel);
        self.waiters.notify_waiters();
    }

    /// Clears the flag: who calls [`wait`](Self::wait) from now on waits for the next
    /// [`set`](Self::set). Those whom an earlier `set` released stay released.
    pub fn clear(&self) {
        let cleared = |n| is_odd(n).then(|| n.wrapping_add(1));
        // An error says that it is not set.
        let _ = self
            .changes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, cleared);
    }

    /// Whether the flag is set now.
    #[must_use]
    pub fn is_set(&self) -> bool {
        is_odd(self.changes())
    }

    /// Waits until the flag is set; ready at once if it is.
    ///
    /// Counts from the call, not from the first poll: a [`set`](Self::set) after `wait()` returned
    /// its future completes the future, even when the flag is cleared again before it is polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect on the event or on other waiters.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + '_ {
        let at_call = self.changes();
        async move {
            if is_odd(at_call) {
                return;
            }
            loop {
                // Enrol first, look second (see the module's head).
                let woken = self.waiters.notified();
                if self.changes() != at_call {
                    return;
                }
                woken.await;
            }
        }
    }

    fn changes(&self) -> usize {
        self.changes.load(Ordering::Acquire)
    }

    /// Like [`wait`](Self::wait), for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`WaitTimeoutError`] if the flag was not set in that time.
    ///
    /// # Panics
    ///
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use coros_core::sync::{Event, WaitTimeoutError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let never = Event::new();
    /// let limit = Duration::from_millis(1);
    /// assert_eq!(never.wait_timeout(limit).await, Err(WaitTimeoutError(limit)));
    /// # }
    /// ```
    pub fn wait_timeout(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<(), WaitTimeoutError>> + Send + '_ {
        let wait = self.wait();
        async move {
            tokio::time::timeout(limit, wait)
                .await
                .map_err(|_elapsed| WaitTimeoutError(limit))
        }
    }
}

fn is_odd(n: usize) -> bool {
    n & 1 == 1
}
