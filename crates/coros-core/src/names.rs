//! Names by which coroutines and channels find each other in this process.
//!
//! There are two tables, one for coroutines and one for channels, both for the whole process. An
//! entry holds a real address, so a registered coroutine can always be reached: its
//! [`receive`](crate::Context::receive) does not return `None` until it has been unregistered.
//! The entry goes when the coroutine ends, in whatever way, and its name is free again.
//!
//! Who looks for a name that is not there waits on that name alone, and is woken when it is
//! registered; whoever stops waiting leaves nothing behind.

use std::any::{Any, type_name};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::primitives::{Mutex, lock};
use crate::{Address, Channel, Context};

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
        let key = self.watch(Box::new(move |_| {
            drop(COROUTINES.remove(&its_name, |entry| entry.number == number));
        }));
        if let Some(key) = key
            && !COROUTINES.keep_watch(&name, number, key)
        {
            unwatch(self, key);
        }
        Ok(())
    }

    /// Takes a name of this coroutine back. False when it did not have it.
    pub fn unregister(&self, name: &str) -> bool {
        let removed = COROUTINES.remove(name, |entry| is_same(entry, self));
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
        self.note_registered();
        CHANNELS.register(&name.into(), self.clone())?;
        if self.is_closed() {
            // It may have been closed before the name was there to be forgotten.
            forget_channel(self.id());
        }
        Ok(())
    }

    /// Takes a name of this channel back. False when it did not have it.
    pub fn unregister(&self, name: &str) -> bool {
        CHANNELS
            .remove(name, |entry| is_same(entry, self))
            .is_some()
    }
}

/// A channel that has been registered is closed: its names go.
pub(crate) fn forget_channel(id: u64) {
    let forgotten: Vec<Entry> = {
        let mut names = lock(&CHANNELS.0);
        let of_channel = names.entries.extract_if(|_, entry| entry.holder.id() == id);
        of_channel.map(|(_, entry)| entry).collect()
    };
    drop(forgotten);
}

fn is_same<H: Holder + PartialEq>(entry: &Entry, holder: &H) -> bool {
    entry.holder_as::<H>() == Some(holder)
}

/// What can have a name.
trait Holder: Any + Send + Sync {
    fn id(&self) -> u64;
    fn is_gone(&self) -> bool;
    fn text(&self) -> String;
    fn messages(&self) -> &'static str;
}

impl<M: Send + 'static> Holder for Address<M> {
    fn id(&self) -> u64 {
        Address::id(self)
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn messages(&self) -> &'static str {
        type_name::<M>()
    }
}

impl<M: Send + 'static> Holder for Channel<M> {
    fn id(&self) -> u64 {
        Channel::id(self)
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }

    fn text(&self) -> String {
        self.to_string()
    }

    fn messages(&self) -> &'static str {
        type_name::<M>()
    }
}

struct Entry {
    /// Of this registration, never used twice in a table.
    number: u64,
    /// Whoever has the name.
    holder: Box<dyn Holder>,
    /// The key of the watcher that removes the entry.
    watch: Option<u64>,
}

impl Entry {
    fn holder_as<H: Holder>(&self) -> Option<&H> {
        (&*self.holder as &dyn Any).downcast_ref()
    }
}

struct Table(LazyLock<Mutex<Names>>);

#[derive(Default)]
struct Names {
    entries: HashMap<Arc<str>, Entry>,
    /// Names that somebody waits for.
    awaited: HashMap<Arc<str>, Awaited>,
    registrations: u64,
}

struct Awaited {
    appeared: Arc<Notify>,
    waiting: usize,
}

impl Table {
    const fn new() -> Self {
        Table(LazyLock::new(Mutex::default))
    }

    /// Enters a name, and returns the number of the entry; `None` if it is there already.
    fn register<H: Holder + PartialEq>(
        &self,
        name: &Arc<str>,
        holder: H,
    ) -> Result<Option<u64>, RegisterError> {
        if holder.is_gone() {
            return Err(RegisterError::Ended {
                name: Arc::clone(name),
                holder: holder.text(),
            });
        }
        let mut names = lock(&self.0);
        // One that is gone is about to lose the name anyway.
        if let Some(entry) = names.entries.get(name)
            && !entry.holder.is_gone()
        {
            if is_same(entry, &holder) {
                return Ok(None);
            }
            return Err(RegisterError::Taken {
                name: Arc::clone(name),
                holder: entry.holder.text(),
            });
        }
        names.registrations += 1;
        let entry = Entry {
            number: names.registrations,
            holder: Box::new(holder),
            watch: None,
        };
        let number = entry.number;
        let previous = names.entries.insert(Arc::clone(name), entry);
        let appeared = names.awaited.get(name).map(|it| Arc::clone(&it.appeared));
        drop(names);
        drop(previous);
        if let Some(appeared) = appeared {
            appeared.notify_waiters();
        }
        Ok(Some(number))
    }

    /// Remembers the watcher of an entry; false when the entry is no longer there.
    fn keep_watch(&self, name: &str, number: u64, key: u64) -> bool {
        match lock(&self.0).entries.get_mut(name) {
            Some(entry) if entry.number == number => {
                entry.watch = Some(key);
                true
            }
            _ => false,
        }
    }

    /// Removes the entry, if it is the right one; dropping it is the caller's, without the lock.
    fn remove(&self, name: &str, is_right: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let mut names = lock(&self.0);
        if !is_right(names.entries.get(name)?) {
            return None;
        }
        names.entries.remove(name)
    }

    fn find<H: Holder + Clone>(&self, name: &str) -> Result<Option<H>, LocateError> {
        let names = lock(&self.0);
        let Some(entry) = names.entries.get(name).filter(|it| !it.holder.is_gone()) else {
            return Ok(None);
        };
        match entry.holder_as::<H>() {
            Some(holder) => Ok(Some(holder.clone())),
            None => Err(LocateError::WrongType {
                name: name.into(),
                holder: entry.holder.text(),
                receives: entry.holder.messages(),
                wanted: wanted::<H>(),
            }),
        }
    }

    fn try_locate<H: Holder + Clone>(&self, name: &str) -> Result<H, LocateError> {
        self.find(name)?
            .ok_or_else(|| LocateError::NotFound { name: name.into() })
    }

    async fn locate<H: Holder + Clone>(&self, name: &str) -> Result<H, LocateError> {
        if let Some(found) = self.find(name)? {
            return Ok(found);
        }
        let waiter = Waiter::new(self, name);
        loop {
            // A registration from here on is noticed; one before it is found below.
            let appeared = waiter.appeared.notified();
            if let Some(found) = self.find(name)? {
                return Ok(found);
            }
            appeared.await;
        }
    }

    async fn locate_timeout<H: Holder + Clone>(
        &self,
        name: &str,
        limit: Duration,
    ) -> Result<H, LocateError> {
        match tokio::time::timeout(limit, self.locate(name)).await {
            Ok(found) => found,
            Err(_) => Err(LocateError::TimedOut {
                name: name.into(),
                limit,
            }),
        }
    }
}

/// The `M` of an `Address<M>` or `Channel<M>`, for the text of an error.
fn wanted<H>() -> &'static str {
    let name = type_name::<H>();
    name.split_once('<')
        .and_then(|(_, rest)| rest.strip_suffix('>'))
        .unwrap_or(name)
}

/// Somebody who waits for a name.
struct Waiter<'a> {
    table: &'a Table,
    name: &'a str,
    appeared: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(table: &'a Table, name: &'a str) -> Self {
        let mut names = lock(&table.0);
        let awaited = names.awaited.entry(name.into()).or_insert_with(|| Awaited {
            appeared: Arc::default(),
            waiting: 0,
        });
        awaited.waiting += 1;
        Waiter {
            table,
            name,
            appeared: Arc::clone(&awaited.appeared),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut names = lock(&self.table.0);
        if let Some(awaited) = names.awaited.get_mut(self.name) {
            awaited.waiting -= 1;
            if awaited.waiting == 0 {
                names.awaited.remove(self.name);
            }
        }
    }
}

/// Why a name could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Somebody else has the name.
    #[error("the name {name:?} is taken by {holder}")]
    Taken {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: String,
    },
    /// Whoever would have the name has ended, or been closed.
    #[error("{holder} has ended and cannot be registered as {name:?}")]
    Ended {
        /// The name.
        name: Arc<str>,
        /// Who would have it.
        holder: String,
    },
    /// The coroutine lives on another node.
    #[error("a coroutine of another node cannot be registered here as {name:?}: register it there")]
    Remote {
        /// The name.
        name: Arc<str>,
    },
}

/// Why a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// Nobody has the name.
    #[error("nobody is registered as {name:?}")]
    NotFound {
        /// The name.
        name: Arc<str>,
    },
    /// Nobody had the name within the time limit.
    #[error("nobody was registered as {name:?} within {limit:?}")]
    TimedOut {
        /// The name.
        name: Arc<str>,
        /// The time limit.
        limit: Duration,
    },
    /// Whoever has the name takes messages of another type.
    #[error("{holder}, registered as {name:?}, takes messages of type {receives}, not {wanted}")]
    WrongType {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: String,
        /// The type of its messages.
        receives: &'static str,
        /// The type asked for.
        wanted: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn awaited(name: &str) -> Option<usize> {
        lock(&COROUTINES.0).awaited.get(name).map(|it| it.waiting)
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_nothing_behind() {
        const NAME: &str = "names: leaves nothing behind";
        let mut waiting: Vec<_> = (0..1000).map(|_| Box::pin(locate::<u32>(NAME))).collect();
        for future in &mut waiting {
            assert!(future.now_or_never().is_none(), "nobody has the name");
        }
        assert_eq!(awaited(NAME), Some(1000));
        waiting.truncate(10);
        assert_eq!(awaited(NAME), Some(10));
        let coro = crate::spawn(async |mut me: Context<u32>| me.receive().await);
        coro.register(NAME).unwrap();
        for future in waiting {
            assert_eq!(future.await.unwrap(), coro.address());
        }
        assert_eq!(awaited(NAME), None);
        assert!(coro.unregister(NAME));
    }
}
