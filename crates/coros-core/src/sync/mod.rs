//! What coroutines wait on besides messages.
//!
//! Locks, semaphores and one-shot values are tokio's own, re-exported here so that one `use` finds
//! them; anything of tokio's works in a coroutine. Three are added that tokio lacks:
//!
//! - [`Event`]: a flag that coroutines wait for, which can be cleared again.
//! - [`Condition`]: a condition variable for the async [`Mutex`].
//! - [`ReentrantLock`]: a lock that the task which holds it may take again.
//!
//! None of them blocks a thread. tokio's `mpsc` and `broadcast` are left out on purpose: a mailbox
//! and a channel of addresses do their work, and across machines.

mod condition;
mod event;
mod reentrant;

use std::time::Duration;

pub use tokio::sync::{
    AcquireError, Barrier, BarrierWaitResult, MappedMutexGuard, Mutex, MutexGuard, Notify,
    OnceCell, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit,
    RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit, TryAcquireError,
    TryLockError, oneshot, watch,
};

pub use condition::Condition;
pub use event::Event;
pub use reentrant::{ReentrantLock, ReentrantLockGuard};

/// What was waited for did not happen in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing happened within {0:?}")]
pub struct WaitTimeoutError(
    /// The time that was allowed.
    pub Duration,
);
