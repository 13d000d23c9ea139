//! A table of names: who has them, and who waits for them.

use std::any::{Any, type_name};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::{LocateError, RegisterError};
use crate::primitives::{Mutex, lock};
use crate::{Address, Channel};

/// What can have a name: an `Address<M>` or a `Channel<M>`.
pub(super) trait Holder: Any + Send + Sync {
    fn id(&self) -> u64;
    fn is_gone(&self) -> bool;
    fn text(&self) -> String;

    /// The name of the type of its messages.
    fn messages() -> &'static str
    where
        Self: Sized;
}

macro_rules! holder {
    ($type:ident) => {
        impl<M: Send + 'static> Holder for $type<M> {
            fn id(&self) -> u64 {
                $type::id(self)
            }

            fn is_gone(&self) -> bool {
                self.is_closed()
            }

            fn text(&self) -> String {
                self.to_string()
            }

            fn messages() -> &'static str {
                type_name::<M>()
            }
        }
    };
}

holder!(Address);
holder!(Channel);

/// One name and whoever has it.
pub(super) struct Entry {
    /// Of this registration, never used twice in a table.
    pub(super) number: u64,
    holder: Box<dyn Holder>,
    /// The type of the holder's messages.
    messages: &'static str,
    /// The key of the watcher that removes the entry.
    pub(super) watch: Option<u64>,
}

impl Entry {
    fn holder_as<H: Holder>(&self) -> Option<&H> {
        (&*self.holder as &dyn Any).downcast_ref()
    }

    pub(super) fn is_of<H: Holder + PartialEq>(&self, holder: &H) -> bool {
        self.holder_as::<H>() == Some(holder)
    }
}

/// The names of one kind of holder.
pub(super) struct Table(LazyLock<Mutex<Names>>);

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
    pub(super) const fn new() -> Self {
        Table(LazyLock::new(Mutex::default))
    }

    /// Enters a name, and returns the number of the entry; `None` if it is there already.
    pub(super) fn register<H: Holder + PartialEq>(
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
            if entry.is_of(&holder) {
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
            messages: H::messages(),
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
    pub(super) fn keep_watch(&self, name: &str, number: u64, key: u64) -> bool {
        match lock(&self.0).entries.get_mut(name) {
            Some(entry) if entry.number == number => {
                entry.watch = Some(key);
                true
            }
            _ => false,
        }
    }

    /// Removes the entry, if it is the right one; dropping it is the caller's, without the lock.
    pub(super) fn remove(
        &self,
        name: &str,
        is_right: impl FnOnce(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut names = lock(&self.0);
        if !is_right(names.entries.get(name)?) {
            return None;
        }
        names.entries.remove(name)
    }

    /// Removes all names of one holder, likewise.
    pub(super) fn remove_all_of(&self, id: u64) -> Vec<Entry> {
        let mut names = lock(&self.0);
        let of_holder = names.entries.extract_if(|_, entry| entry.holder.id() == id);
        of_holder.map(|(_, entry)| entry).collect()
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
                receives: entry.messages,
                wanted: H::messages(),
            }),
        }
    }

    pub(super) fn try_locate<H: Holder + Clone>(&self, name: &str) -> Result<H, LocateError> {
        self.find(name)?
            .ok_or_else(|| LocateError::NotFound { name: name.into() })
    }

    pub(super) async fn locate<H: Holder + Clone>(&self, name: &str) -> Result<H, LocateError> {
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

    pub(super) async fn locate_timeout<H: Holder + Clone>(
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::Context;
    use crate::names::{COROUTINES, locate};

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

    #[tokio::test]
    async fn a_name_taken_back_leaves_no_watcher_behind() {
        let coro = crate::spawn(async |mut me: Context<u32>| me.receive().await);
        let watchers = || {
            let Ok(mailbox) = coro.place() else {
                panic!("it is local")
            };
            lock(&mailbox.control().extra().end).watchers.len()
        };
        let before = watchers();
        coro.register("names: no watcher").unwrap();
        assert_eq!(watchers(), before + 1);
        assert!(coro.unregister("names: no watcher"));
        assert_eq!(watchers(), before);
    }
}
