//! The coroutines of one peer that this node has handles of: what it owes the peer when it has
//! none any more.
//!
//! The peer counts the messages in which it names a coroutine, until it is told to take a number
//! off; here the same messages are counted as they are read. All handles of a coroutine share one
//! object; when that is gone the count goes back, and whatever the peer has named since is not in
//! it. So a message that names a coroutine again and the release of it may cross: the count of the
//! peer is zero only when there is neither a handle here nor a message under way.
//!
//! Sans-io; `T` is the object that handles share.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

#[derive(Debug)]
pub(crate) struct Imports<T> {
    slots: BTreeMap<u64, Slot<T>>,
    /// As many there were at once in this session.
    most: usize,
}

#[derive(Debug)]
struct Slot<T> {
    shared: Weak<T>,
    /// As often the coroutine was named in messages of this session.
    named: u64,
}

impl<T> Default for Imports<T> {
    fn default() -> Self {
        Imports::new()
    }
}

impl<T> Imports<T> {
    pub(crate) fn new() -> Self {
        Imports {
            slots: BTreeMap::new(),
            most: 0,
        }
    }

    /// What the handles of a coroutine share: it is made if there is none.
    pub(crate) fn get(&mut self, coroutine: u64, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let slot = self.slots.entry(coroutine).or_insert(Slot {
            shared: Weak::new(),
            named: 0,
        });
        let shared = slot.shared.upgrade().unwrap_or_else(|| {
            let shared = make();
            slot.shared = Arc::downgrade(&shared);
            shared
        });
        self.most = self.most.max(self.slots.len());
        shared
    }

    /// [`get`](Imports::get) for a message that names the coroutine. What it gives has to live
    /// until the message has been read, or is given up.
    pub(crate) fn named(&mut self, coroutine: u64, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let shared = self.get(coroutine, make);
        if let Some(slot) = self.slots.get_mut(&coroutine) {
            slot.named += 1;
        }
        shared
    }

    /// An object that was shared is being dropped: how often the peer has named the coroutine, if
    /// no other object has taken its place.
    pub(crate) fn dropped(&mut self, coroutine: u64) -> Option<u64> {
        let slot = self.slots.get(&coroutine)?;
        if slot.shared.strong_count() > 0 {
            return None;
        }
        let slot = self.slots.remove(&coroutine)?;
        Some(slot.named)
    }

    /// The session is over, and with it all that the peer has counted.
    pub(crate) fn session_over(&mut self) {
        for slot in self.slots.values_mut() {
            slot.named = 0;
        }
        self.most = self.slots.len();
    }

    /// Of how many coroutines there were handles at once in this session.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// How many coroutines there are handles of.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
