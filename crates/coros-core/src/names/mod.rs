//! Names by which coroutines and channels find each other in this process.
//!
//! There are two tables, one for coroutines and one for channels, both for the whole process. An
//! entry holds a real address, so a registered coroutine can always be reached: its
//! [`receive`](crate::Context::receive) does not return `None` until it has been unregistered.
//! The entry goes when the coroutine ends, in whatever way, and its name is free again.
//!
//! Who looks for a name that is not there waits on that name alone, and is woken when it is
//! registered; whoever stops waiting leaves nothing behind.

mod error;
mod table;

use std::sync::Arc;
use std::time::Duration;

pub use error::{LocateError, RegisterError};

use crate::address::Watch;
use crate::{Address, Channel, Context};
use table::Table;

static COROUTINES: Table = Table::new();
static CHANNELS: Table = Table::new();

/// The coroutine registered under `name`; waits until there is one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::{Context, locate, spawn};
///
/// let asker = spawn(async |_me: Context<()>| {
///     let adder = locate::<(u32, u32)>("adder").await.unwrap();
///     adder.send((40, 2)).unwrap();
/// });
/// let adder = spawn(async |mut me: Context<(u32, u32)>| {
///     me.register("adder").unwrap();
///     me.receive().await.map(|(a, b)| a + b)
/// });
/// assert_eq!(adder.join().await, Ok(Some(42)));
/// assert!(coros_core::try_locate::<(u32, u32)>("adder").is_err(), "it has ended");
/// # asker.join().await.unwrap();
/// # }
/// ```
///
/// # Errors
/// [`LocateError::WrongType`] when that coroutine does not receive `M`.
///
/// # Cancel safety
/// Dropping the future is harmless.
pub async fn locate<M: Send + 'static>(name: &str) -> Result<Address<M>, LocateError> {
    COROUTINES.locate(name).await
}

/// [`locate`] with a time limit.
///
/// # Errors
/// As [`locate`], and [`LocateError::TimedOut`].
///
/// # Panics
/// When polled outside of a tokio runtime with time enabled.
///
/// # Cancel safety
/// Dropping the future is harmless.
pub async fn locate_timeout<M: Send + 'static>(
    name: &str,
    limit: Duration,
) -> Result<Address<M>, LocateError> {
    COROUTINES.locate_timeout(name, limit).await
}

/// The coroutine registered under `name` now.
///
/// # Errors
/// [`LocateError::NotFound`], or [`LocateError::WrongType`] when it does not receive `M`.
pub fn try_locate<M: Send + 'static>(name: &str) -> Result<Address<M>, LocateError> {
    COROUTINES.try_locate(name)
}

/// The channel registered under `name`; waits until there is one, at most `limit`.
///
/// # Errors
/// [`LocateError::WrongType`] when its messages are not `M`, [`LocateError::TimedOut`].
///
/// # Panics
/// When polled outside of a tokio runtime with time enabled.
///
/// # Cancel safety
/// Dropping the future is harmless.
pub async fn locate_channel<M: Send + 'static>(
    name: &str,
    limit: Duration,
) -> Result<Channel<M>, LocateError> {
    CHANNELS.locate_timeout(name, limit).await
}

impl<M: Send + 'static> Address<M> {
    /// Registers the coroutine under a name, by which [`locate`] finds it.
    ///
    /// The name stays until [`unregister`](Self::unregister) or the coroutine's end. A coroutine
    /// may have several names. A name counts as an address: it keeps the mailbox open.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing when this coroutine has the name already.
    pub fn register(&self, name: impl Into<Arc<str>>) -> Result<(), RegisterError> {
        let name = name.into();
        if self.remote_id().is_some() {
            return Err(RegisterError::Remote { name });
        }
        let Some(number) = COROUTINES.register(&name, self.clone())? else {
            return Ok(());
        };
        let its_name = Arc::clone(&name);
        let watch = self.watch(Box::new(move |_| {
            drop(COROUTINES.remove(&its_name, |entry| entry.number == number));
        }));
        if let Some(Watch::Here(key)) = watch
            && !COROUTINES.keep_watch(&name, number, key)
        {
            unwatch(self, key);
        }
        Ok(())
    }

    /// Takes a name of this coroutine back. False when it did not have it.
    pub fn unregister(&self, name: &str) -> bool {
        let removed = COROUTINES.remove(name, |entry| entry.is_of(self));
        if let Some(key) = removed.as_ref().and_then(|entry| entry.watch) {
            unwatch(self, key);
        }
        removed.is_some()
    }
}

fn unwatch<M>(address: &Address<M>, key: u64) {
    if let Ok(mailbox) = address.place() {
        mailbox.control().unwatch(key);
    }
}

impl<M: Send + 'static> Context<M> {
    /// Registers this coroutine under a name: as [`Address::register`].
    ///
    /// # Errors
    /// As [`Address::register`].
    pub fn register(&self, name: impl Into<Arc<str>>) -> Result<(), RegisterError> {
        self.address().register(name)
    }

    /// Takes a name of this coroutine back: as [`Address::unregister`].
    pub fn unregister(&self, name: &str) -> bool {
        self.address().unregister(name)
    }
}

impl<M: Send + 'static> Channel<M> {
    /// Registers the channel under a name, by which [`locate_channel`] finds it. Names of
    /// channels are apart from those of coroutines.
    ///
    /// The name stays, and keeps the channel alive, until [`unregister`](Self::unregister) or
    /// [`close`](Self::close).
    ///
    /// # Errors
    /// [`RegisterError`]; nothing when this channel has the name already.
    pub fn register(&self, name: impl Into<Arc<str>>) -> Result<(), RegisterError> {
        let name = name.into();
        if self.remote_id().is_some() {
            return Err(RegisterError::Remote { name });
        }
        self.note_registered();
        CHANNELS.register(&name, self.clone())?;
        if self.is_closed() {
            // It may have been closed before the name was there to be forgotten.
            forget_channel(self.id());
        }
        Ok(())
    }

    /// Takes a name of this channel back. False when it did not have it.
    pub fn unregister(&self, name: &str) -> bool {
        CHANNELS.remove(name, |entry| entry.is_of(self)).is_some()
    }
}

/// A channel that has been registered is closed: its names go.
pub(crate) fn forget_channel(id: u64) {
    drop(CHANNELS.remove_all_of(id));
}
