//! The atomics and locks that the mailbox is built on: std's, or loom's when a model runs
//! (`cargo xtask loom`).

#[cfg(coros_loom)]
use loom::{hint::spin_loop, thread::yield_now};
#[cfg(not(coros_loom))]
use std::{hint::spin_loop, thread::yield_now};

#[cfg(coros_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, fence},
    },
};

#[cfg(not(coros_loom))]
pub(crate) use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, fence},
};

/// std's cell with the access methods of loom's, which let a model see every access.
#[cfg(not(coros_loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(coros_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Waits for a thread that is between two instructions, or has been preempted there. The caller
/// counts in `spins`, from zero, how often it has waited.
pub(crate) fn wait_a_moment(spins: &mut u32) {
    *spins += 1;
    if *spins < 64 {
        spin_loop();
    } else {
        yield_now();
    }
}

/// Locks a mutex, whether or not a thread panicked with it: every critical section of this crate
/// leaves its data consistent at each point where it can unwind.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> LockGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(coros_loom)]
pub(crate) type LockGuard<'a, T> = loom::sync::MutexGuard<'a, T>;
#[cfg(not(coros_loom))]
pub(crate) type LockGuard<'a, T> = std::sync::MutexGuard<'a, T>;
