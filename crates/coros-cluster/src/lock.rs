//! A lock that a panic has no say in: what it guards is never left half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also when somebody has panicked with it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn one_that_panics_with_it_keeps_nobody_out() {
        let mutex = Mutex::new(7);
        let panicked = catch_unwind(|| {
            let _held = lock(&mutex);
            panic!("ouch");
        });
        assert!(panicked.is_err());
        assert!(mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 7);
    }
}
