//! The capacity of a bounded mailbox: a permit a message.
//!
//! A message holds a permit from the moment a sender puts it in until the coroutine receives it.
//! The permits are tokio's semaphore's, so waiting senders are served in the order they came.
//! What the runtime itself must not lose, the message of a monitor, goes in without a permit and
//! is paid for afterwards: the next receive gives back one permit fewer.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{Semaphore, TryAcquireError};

/// Room in a bounded mailbox.
#[derive(Debug)]
pub(crate) struct Bounds {
    room: Semaphore,
    capacity: usize,
    /// Messages that went in without a permit and have not been paid for.
    unpaid: AtomicUsize,
}

/// Why there is no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    Full,
    Closed,
}

impl Bounds {
    /// # Panics
    /// When the capacity is zero or more than tokio's semaphore counts (`usize::MAX >> 3`).
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(
            capacity > 0,
            "a mailbox needs room for at least one message"
        );
        Bounds {
            room: Semaphore::new(capacity),
            capacity,
            unpaid: AtomicUsize::new(0),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes room for one message.
    pub(crate) fn try_enter(&self) -> Result<(), NoRoom> {
        match self.room.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(TryAcquireError::NoPermits) => Err(NoRoom::Full),
            Err(TryAcquireError::Closed) => Err(NoRoom::Closed),
        }
    }

    /// Waits for room for one message. Cancel-safe: a dropped future holds no room.
    pub(crate) async fn enter(&self) -> Result<(), NoRoom> {
        match self.room.acquire().await {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(_) => Err(NoRoom::Closed),
        }
    }

    /// Notes a message that goes in whether or not there is room.
    pub(crate) fn enter_anyway(&self) {
        if self.try_enter().is_err() {
            self.unpaid.fetch_add(1, Relaxed);
        }
    }

    /// The coroutine has received `n` messages.
    pub(crate) fn leave(&self, n: usize) {
        let mut paid = 0;
        if self.unpaid.load(Relaxed) > 0 {
            let _ = self.unpaid.fetch_update(Relaxed, Relaxed, |unpaid| {
                paid = unpaid.min(n);
                Some(unpaid - paid)
            });
        }
        self.room.add_permits(n - paid);
    }

    /// Ends every wait for room.
    pub(crate) fn close(&self) {
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let bounds = Bounds::new(2);
        assert_eq!(bounds.try_enter(), Ok(()));
        assert_eq!(bounds.try_enter(), Ok(()));
        assert_eq!(bounds.try_enter(), Err(NoRoom::Full));
        bounds.leave(1);
        assert_eq!(bounds.try_enter(), Ok(()));
        bounds.close();
        assert_eq!(bounds.try_enter(), Err(NoRoom::Closed));
    }

    #[test]
    fn a_message_without_a_permit_is_paid_for_later() {
        let bounds = Bounds::new(1);
        assert_eq!(bounds.try_enter(), Ok(()));
        bounds.enter_anyway();
        bounds.leave(1);
        assert_eq!(
            bounds.try_enter(),
            Err(NoRoom::Full),
            "the room belonged to the other one"
        );
        bounds.leave(1);
        assert_eq!(bounds.try_enter(), Ok(()));
    }
}
