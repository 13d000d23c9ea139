//! Calls that block, off the threads that run coroutines.
//!
//! A [`ThreadPool`] is a limit, not a set of threads: the calls run on tokio's blocking threads,
//! which are started when needed and end when idle, and a fair semaphore lets at most `n` of this
//! pool's calls be there at once. So two pools share idle threads but not their limits, and a pool
//! that is dropped leaves nothing behind.
//!
//! A call goes through three states: *waiting* for its turn, *running*, *done*. Dropping its
//! future while it waits withdraws it. A function that runs cannot be interrupted from outside:
//! dropping the future then detaches it; it keeps its place in the pool until it returns.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::panic_text;

/// Runs at most `n` blocking calls at once, in the order in which they asked.
///
/// Cheap to clone; clones are the same pool. Threads come from the blocking pool of the tokio
/// runtime that polls the call, so a limit above that pool's own
/// ([`max_blocking_threads`](tokio::runtime::Builder::max_blocking_threads), 512 unless set) is
/// cut to it.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use coros_core::ThreadPool;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let pool = ThreadPool::new(NonZeroUsize::new(4).unwrap());
/// let sum = pool.run(|| (1..=1_000_000_u64).sum::<u64>()).await;
/// assert_eq!(sum, Ok(500_000_500_000));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// One permit for each call that may run.
    turns: Arc<Semaphore>,
    limit: u32,
    closed: AtomicBool,
}

impl ThreadPool {
    /// A pool that runs at most `limit` calls at once.
    ///
    /// Starts no thread and needs no runtime.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        // `acquire_many`, by which `shutdown` waits for all turns, counts in u32; and no machine
        // runs four billion threads.
        let largest = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let permits = limit.get().min(largest);
        Self {
            shared: Arc::new(Shared {
                turns: Arc::new(Semaphore::new(permits)),
                limit: u32::try_from(permits).unwrap_or(u32::MAX),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// How many calls may run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit as usize
    }

    /// How many calls run now, detached ones included.
    #[must_use]
    pub fn running(&self) -> usize {
        self.limit()
            .saturating_sub(self.shared.turns.available_permits())
    }

    /// Runs `call` on a thread that may block, and returns what it returns.
    ///
    /// The call asks for its turn when the future is first polled; turns are given in that order.
    /// Do not hold a turn while waiting for another one of the same pool (a call that blocks on a
    /// second call): when all turns are held that way, none is ever given.
    ///
    /// # Errors
    ///
    /// - [`ThreadPoolError::Panicked`] if the call panics: with the panic's text. The pool stays
    ///   usable.
    /// - [`ThreadPoolError::Closed`] if [`close`](Self::close) or [`shutdown`](Self::shutdown) was
    ///   called before the future was first polled. The call has not run.
    /// - [`ThreadPoolError::RuntimeClosed`] if the tokio runtime shut down before the call began,
    ///   or the future is polled outside of a runtime. The call has not run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the call began withdraws it: the call never runs. Dropping it
    /// afterwards lets the call run to its end, detached; its result is dropped, and until then it
    /// counts towards the limit. [`shutdown`](Self::shutdown) waits for detached calls too.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::{ThreadPool, ThreadPoolError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let pool = ThreadPool::default();
    /// let failed: Result<(), _> = pool.run(|| panic!("no such sensor")).await;
    /// assert_eq!(failed, Err(ThreadPoolError::Panicked("no such sensor".into())));
    /// assert_eq!(pool.run(|| 2 + 2).await, Ok(4));
    /// # }
    /// ```
    pub fn run<F, T>(
        &self,
        call: F,
    ) -> impl Future<Output = Result<T, ThreadPoolError>> + Send + use<F, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        async move {
            if shared.closed.load(Ordering::Acquire) {
                return Err(ThreadPoolError::Closed);
            }
            let Ok(turn) = Arc::clone(&shared.turns).acquire_owned().await else {
                return Err(ThreadPoolError::Closed);
            };
            let Ok(runtime) = Handle::try_current() else {
                return Err(ThreadPoolError::RuntimeClosed);
            };
            // Abort has no effect on a function that runs, but takes one that tokio has not begun
            // yet out of its queue: dropping this future then still withdraws the call.
            let running = AbortOnDropHandle::new(runtime.spawn_blocking(move || {
                let _turn = turn;
                call()
            }));
            running.await.map_err(|ended| match ended.try_into_panic() {
                Ok(panic) => ThreadPoolError::Panicked(panic_text(panic.as_ref()).into()),
                Err(_cancelled) => ThreadPoolError::RuntimeClosed,
            })
        }
    }

    /// Refuses new calls from now on, without waiting.
    ///
    /// Calls that already wait for their turn still get it.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }

    /// Refuses new calls and waits until every call that was accepted, waiting or running,
    /// detached or not, is done.
    ///
    /// May be called more than once; every caller waits. It takes as long as the calls take: bound
    /// it with [`tokio::time::timeout`] where that matters.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the pool stays closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use coros_core::{ThreadPool, ThreadPoolError};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let pool = ThreadPool::default();
    /// pool.shutdown().await;
    /// assert_eq!(pool.run(|| ()).await, Err(ThreadPoolError::Closed));
    /// # }
    /// ```
    pub async fn shutdown(&self) {
        self.close();
        // The semaphore is fair: whoever queued before gets a turn first, and all turns together
        // are free only when nothing runs. An error means that another `shutdown` is done.
        if let Ok(_all) = self.shared.turns.acquire_many(self.shared.limit).await {
            // Ends a call that passed the check of `closed` just before it was set.
            self.shared.turns.close();
        }
    }

    /// Whether the pool refuses new calls.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

/// A pool with as many turns as the process may use processors.
impl Default for ThreadPool {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// Why a call of a [`ThreadPool`] gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadPoolError {
    /// The call panicked: the text of the panic, or `a value that is not text`.
    #[error("the call panicked: {0}")]
    Panicked(Arc<str>),
    /// The pool was closed before the call was made; it has not run.
    #[error("the thread pool is closed: it takes no new calls")]
    Closed,
    /// The tokio runtime shut down before the call began, or there is none; it has not run.
    #[error("the call was not run: the tokio runtime is shut down or there is none on this thread")]
    RuntimeClosed,
}
