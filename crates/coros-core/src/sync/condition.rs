//! A condition variable for the async mutex.
//!
//! Waiters stand in a queue, each with a one-shot sender in it; `notify_one` takes the first out
//! and sends. The rules that make it safe to cancel:
//!
//! - A waiter enrols while it still holds the mutex, so nobody who changes the condition under the
//!   mutex can notify in between.
//! - A waiter that is dropped takes itself out of the queue. If it was notified already, by
//!   `notify_one` or `notify`, and has not returned yet, it passes the notification on: a
//!   notification is for *one that goes on*, not for one that has gone.
//! - A notification that finds no waiter is not stored.

use std::collections::BTreeMap;
use std::sync::{Mutex as StdMutex, MutexGuard as StdGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{MutexGuard, oneshot};
use tokio::time::Instant;

use super::WaitTimeoutError;

/// Lets coroutines that hold a tokio [`Mutex`](super::Mutex) wait until another one changed what
/// it protects.
///
/// Use one condition with one mutex. A wake-up can be early (another coroutine may take the mutex
/// first, or a notification may be passed on by a cancelled waiter), so wait with
/// [`wait_while`](Self::wait_while), or call [`wait`](Self::wait) in a loop that checks.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use coros_core::sync::{Condition, Mutex};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let shared = Arc::new((Mutex::new(Vec::new()), Condition::new()));
/// let consumer = tokio::spawn({
///     let shared = Arc::clone(&shared);
///     async move {
///         let (items, changed) = &*shared;
///         let mut items = changed.wait_while(items.lock().await, |items| items.is_empty()).await;
///         items.pop()
///     }
/// });
/// let (items, changed) = &*shared;
/// items.lock().await.push("item");
/// changed.notify_one();
/// assert_eq!(consumer.await.unwrap(), Some("item"));
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Condition {
    queue: StdMutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The next waiter's ticket; 64 bits never run out.
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Wake>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// Meant for one waiter: passed on by one that does not use it.
    One,
    /// Everybody was woken.
    All,
}

impl Condition {
    /// A condition nobody waits for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Releases the mutex, waits for a notification, and takes the mutex again.
    ///
    /// Releasing and waiting are one step: a notification sent by whoever locks the mutex next is
    /// not missed. Taking the mutex again queues behind those who wait for it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the mutex and the place in the queue. A notification that had
    /// reached it already goes on to the next waiter, so none is swallowed.
    pub async fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = MutexGuard::mutex(&guard);
        let mut waiter = self.enrol();
        drop(guard);
        waiter.notified().await;
        let guard = mutex.lock().await;
        waiter.disarm();
        guard
    }

    /// Waits for notifications as long as `blocked` says so of the protected value.
    ///
    /// Returns at once, without releasing the mutex, if `blocked` is false already.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut blocked: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while blocked(&mut guard) {
            guard = self.wait(guard).await;
        }
        guard
    }

    /// Like [`wait`](Self::wait), for at most `limit`; gives the mutex back either way.
    ///
    /// `limit` bounds the wait for the notification. Taking the mutex again afterwards may last
    /// longer, as long as others hold it.
    ///
    /// # Errors
    ///
    /// The second value is [`WaitTimeoutError`] if no notification came in that time.
    ///
    /// # Panics
    ///
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, Result<(), WaitTimeoutError>) {
        let mutex = MutexGuard::mutex(&guard);
        let mut waiter = self.enrol();
        drop(guard);
        let in_time = tokio::time::timeout(limit, waiter.notified()).await.is_ok();
        // From here on the waiter is out of the queue, or holds the notification that came last.
        let notified = in_time || waiter.leave();
        let guard = mutex.lock().await;
        waiter.disarm();
        (
            guard,
            if notified {
                Ok(())
            } else {
                Err(WaitTimeoutError(limit))
            },
        )
    }

    /// Like [`wait_while`](Self::wait_while), for at most `limit` in all.
    ///
    /// # Errors
    ///
    /// The second value is [`WaitTimeoutError`] if `blocked` still said so when the time was over.
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
    /// use coros_core::sync::{Condition, Mutex};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (stock, changed) = (Mutex::new(0_u32), Condition::new());
    /// let limit = Duration::from_millis(1);
    /// let (stock, in_time) =
    ///     changed.wait_timeout_while(stock.lock().await, limit, |stock| *stock == 0).await;
    /// assert!(in_time.is_err());
    /// assert_eq!(*stock, 0);
    /// # }
    /// ```
    pub async fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut blocked: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, Result<(), WaitTimeoutError>) {
        let begin = Instant::now();
        while blocked(&mut guard) {
            let Some(left) = limit
                .checked_sub(begin.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return (guard, Err(WaitTimeoutError(limit)));
            };
            (guard, _) = self.wait_timeout(guard, left).await;
        }
        (guard, Ok(()))
    }

    /// Wakes the coroutine that has waited longest, if any.
    ///
    /// May be called with or without holding the mutex.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes the `n` coroutines that have waited longest, or all if there are fewer.
    pub fn notify(&self, n: usize) {
        let mut queue = self.lock();
        for _ in 0..n {
            let Some((_, waiter)) = queue.waiting.pop_first() else {
                return;
            };
            waiter
                .send(Wake::One)
                .expect("a waiter leaves the locked queue before it goes");
        }
    }

    /// Wakes all who wait now.
    pub fn notify_all(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for waiter in waiting.into_values() {
            // One that is being dropped needs no wake-up.
            let _ = waiter.send(Wake::All);
        }
    }

    fn enrol(&self) -> Waiter<'_> {
        let (wake, woken) = oneshot::channel();
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.waiting.insert(ticket, wake);
        Waiter {
            condition: self,
            ticket,
            woken,
            received: None,
        }
    }

    fn lock(&self) -> StdGuard<'_, Queue> {
        // Nothing panics while the queue is locked, and it is consistent after each step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One coroutine's place in the queue, until it returns or is dropped.
struct Waiter<'c> {
    condition: &'c Condition,
    ticket: u64,
    woken: oneshot::Receiver<Wake>,
    received: Option<Wake>,
}

impl Waiter<'_> {
    async fn notified(&mut self) {
        let wake = (&mut self.woken).await;
        self.received = Some(wake.expect("a sender leaves the queue by sending or by `leave`"));
    }

    /// Leaves the queue. Whether a notification had come.
    fn leave(&mut self) -> bool {
        if self.received.is_none() {
            self.condition.lock().waiting.remove(&self.ticket);
            self.received = self.woken.try_recv().ok();
        }
        self.received.is_some()
    }

    /// The wait is over and its notification used.
    fn disarm(mut self) {
        self.received = Some(Wake::All);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.leave();
        if self.received == Some(Wake::One) {
            self.condition.notify_one();
        }
    }
}
