//! A lock that its holder may take again.
//!
//! The holder is a *task*: `owner` below is the only place that knows what that means. A fair
//! semaphore with one permit is the lock; beside it stand the owner and how many guards it has. A
//! task that finds itself the owner takes one guard more; everybody else queues for the permit.
//! The permit goes back when the last guard drops.

use std::fmt;
use std::ops::Deref;
use std::sync::{Mutex as StdMutex, MutexGuard as StdGuard, PoisonError};
use std::thread::ThreadId;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// An async lock that the task which holds it may lock again, any number of times.
///
/// For functions that each take the lock and also call each other. The lock is released when the
/// last guard drops: at the end of scope, when the holder panics, and when the holder's future is
/// dropped at an await point. There is no poisoning: as after a panic under tokio's
/// [`Mutex`](super::Mutex), the next holder sees the value as it was left. Waiters get the lock in
/// the order in which they asked.
///
/// # Shared access only
///
/// A guard gives `&T`, not `&mut T`: the holder may have several guards at once, and two `&mut` to
/// one value must not exist. To change the value, put a cell into it that is meant for the way it
/// is used: atomics, or `std::sync::Mutex` (never contended here, so it costs little). For the
/// same reason `T` must be [`Sync`] for the lock to be shared between threads: a guard can be sent
/// to another thread while its task takes a second one.
///
/// # Who the holder is
///
/// - In a tokio task: the task. Branches of `join!` and `select!` belong to one task, so they pass
///   the lock *together*; to exclude each other they must be tasks of their own. Branches that
///   wait while another task holds the lock queue one by one, so a branch must not hold the lock
///   while it waits for a sibling that is still queued.
/// - In [`Runtime::block_on`](tokio::runtime::Runtime::block_on), outside of any task (the body of
///   `#[tokio::main]` or `#[tokio::test]`): the thread, on which that future stays.
/// - Outside of any tokio runtime there is nothing that tells one future from another: the lock
///   works, but is not re-entrant, and locking it twice waits until the first guard is dropped.
///
/// A guard that is sent elsewhere keeps the lock for the task that took it.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use coros_core::sync::ReentrantLock;
///
/// async fn add(account: &ReentrantLock<AtomicU32>, amount: u32) {
///     account.lock().await.fetch_add(amount, Ordering::Relaxed);
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let account = ReentrantLock::new(AtomicU32::new(0));
/// let all = account.lock().await;
/// add(&account, 1).await; // locks again: no deadlock
/// add(&account, 2).await; // and nobody comes in between
/// assert_eq!(all.load(Ordering::Relaxed), 3);
/// # }
/// ```
pub struct ReentrantLock<T: ?Sized> {
    permit: Semaphore,
    held: StdMutex<Held>,
    value: T,
}

/// Who holds the lock; means nothing while `guards` is 0.
#[derive(Debug)]
struct Held {
    owner: Option<Owner>,
    guards: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Task(tokio::task::Id),
    Thread(ThreadId),
}

/// Who is running now, as far as re-entrance goes; `None` if that cannot be told.
fn owner() -> Option<Owner> {
    if let Some(task) = tokio::task::try_id() {
        return Some(Owner::Task(task));
    }
    // Inside a runtime but in no task: the future of a `block_on`, which stays on its thread.
    // Without a runtime, futures may move between threads, so that a thread identifies nothing.
    Handle::try_current()
        .ok()
        .map(|_| Owner::Thread(std::thread::current().id()))
}

impl<T> ReentrantLock<T> {
    /// A free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            permit: Semaphore::const_new(1),
            held: StdMutex::new(Held {
                owner: None,
                guards: 0,
            }),
            value,
        }
    }

    /// The value, out of the lock.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> ReentrantLock<T> {
    /// Takes the lock: at once if this task holds it already, else after those who asked before.
    ///
    /// # Panics
    ///
    /// If one task holds `usize::MAX` guards.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue and nothing else.
    pub async fn lock(&self) -> ReentrantLockGuard<'_, T> {
        if let Some(guard) = self.lock_again() {
            return guard;
        }
        let permit = self
            .permit
            .acquire()
            .await
            .expect("the semaphore is never closed");
        permit.forget();
        self.lock_first()
    }

    /// Takes the lock if this task holds it already or nobody holds it.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use coros_core::sync::ReentrantLock;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let lock = Arc::new(ReentrantLock::new(()));
    /// let _first = lock.try_lock().unwrap();
    /// assert!(lock.try_lock().is_some(), "the same task");
    /// let other = Arc::clone(&lock);
    /// assert!(tokio::spawn(async move { other.try_lock().is_none() }).await.unwrap());
    /// # }
    /// ```
    pub fn try_lock(&self) -> Option<ReentrantLockGuard<'_, T>> {
        if let Some(guard) = self.lock_again() {
            return Some(guard);
        }
        self.permit.try_acquire().ok()?.forget();
        Some(self.lock_first())
    }

    /// The value, without locking: nobody else can have a guard.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }

    /// One guard more, if the caller has one.
    fn lock_again(&self) -> Option<ReentrantLockGuard<'_, T>> {
        let me = owner()?;
        let mut held = self.held();
        if held.guards == 0 || held.owner != Some(me) {
            return None;
        }
        held.guards = held
            .guards
            .checked_add(1)
            .expect("fewer than usize::MAX guards");
        Some(ReentrantLockGuard { lock: self })
    }

    /// The first guard, for a caller that has the permit.
    fn lock_first(&self) -> ReentrantLockGuard<'_, T> {
        *self.held() = Held {
            owner: owner(),
            guards: 1,
        };
        ReentrantLockGuard { lock: self }
    }

    fn held(&self) -> StdGuard<'_, Held> {
        // The only panic while it is locked is the overflow check, which changes nothing.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for ReentrantLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ReentrantLock");
        match self.try_lock() {
            Some(guard) => out.field("value", &&*guard),
            None => out.field("value", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Access to what a [`ReentrantLock`] protects, until it is dropped.
///
/// The lock is free again when the last guard of its holder is dropped, in whichever order.
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReentrantLockGuard<'a, T: ?Sized> {
    lock: &'a ReentrantLock<T>,
}

impl<T: ?Sized> Deref for ReentrantLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T: ?Sized> Drop for ReentrantLockGuard<'_, T> {
    fn drop(&mut self) {
        let mut held = self.lock.held();
        held.guards -= 1;
        if held.guards == 0 {
            held.owner = None;
            drop(held);
            self.lock.permit.add_permits(1);
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
