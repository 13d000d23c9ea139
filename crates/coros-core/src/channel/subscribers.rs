//! The list of subscribers of one channel.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};

use super::Channel;
use super::remote::RelayEntry;
use crate::Address;
use crate::remote::NodeId;

/// Fewer addresses than this are not looked through at a subscription.
pub(super) const LOOK_AT_LEAST: usize = 64;

/// Who gets the messages: dense, for the walk of a send, and found by address, for subscriptions.
pub(super) struct Subscribers<M> {
    pub(super) addresses: IndexSet<Address<M>>,
    pub(super) channels: IndexSet<Fed<M>>,
    /// Channels that get no messages yet: it is not certain that there would be no cycle.
    pub(super) unchecked: IndexSet<Fed<M>>,
    /// Those of other nodes, together.
    pub(super) relays: IndexMap<NodeId, Arc<RelayEntry<M>>>,
}

/// A channel that has subscribed. If it is of another node, its home tells how many subscribers it
/// has for as long as it is in some list.
pub(super) struct Fed<M>(Channel<M>);

impl<M> Fed<M> {
    pub(super) fn new(channel: Channel<M>) -> Self {
        if let Some(home) = &channel.inner.home {
            home.followed();
        }
        Fed(channel)
    }
}

impl<M> Clone for Fed<M> {
    fn clone(&self) -> Self {
        Fed::new(self.0.clone())
    }
}

impl<M> Drop for Fed<M> {
    fn drop(&mut self) {
        if let Some(home) = &self.0.inner.home
            && home.unfollowed()
        {
            // Whoever tells the home of changes tells it.
            self.0.inner.changed.notify_waiters();
        }
    }
}

impl<M> Deref for Fed<M> {
    type Target = Channel<M>;

    fn deref(&self) -> &Channel<M> {
        &self.0
    }
}

impl<M> Borrow<Channel<M>> for Fed<M> {
    fn borrow(&self) -> &Channel<M> {
        &self.0
    }
}

impl<M> PartialEq for Fed<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<M> Eq for Fed<M> {}

impl<M> Hash for Fed<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// How many addresses there should be for the next look, with `alive` left after this one.
pub(super) fn next_look(alive: usize) -> usize {
    (2 * alive).max(LOOK_AT_LEAST)
}

impl<M> Subscribers<M> {
    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && !self.has_channels()
    }

    pub(super) fn has_channels(&self) -> bool {
        !self.channels.is_empty() || !self.unchecked.is_empty()
    }

    /// How many coroutines have not ended.
    pub(super) fn alive(&self) -> usize {
        self.addresses.iter().filter(|it| !it.is_closed()).count()
    }

    /// Removes the addresses of coroutines that have ended; the caller drops them, without a lock.
    pub(super) fn take_ended(&mut self) -> Vec<Address<M>> {
        take_where(&mut self.addresses, Address::is_closed)
    }

    /// Removes the channels that have been closed, likewise.
    pub(super) fn take_closed(&mut self) -> Vec<Fed<M>> {
        take_where(&mut self.channels, |it| it.is_closed())
    }

    /// The channels that have subscribed, whether or not they get messages yet.
    pub(super) fn all_channels(&self) -> impl Iterator<Item = &Channel<M>> {
        self.channels.iter().chain(&self.unchecked).map(|it| &it.0)
    }
}

fn take_where<T: Hash + Eq>(
    set: &mut IndexSet<T>,
    mut condition: impl FnMut(&T) -> bool,
) -> Vec<T> {
    let mut taken = Vec::new();
    let mut index = 0;
    while let Some(item) = set.get_index(index) {
        if condition(item) {
            taken.extend(set.swap_remove_index(index));
        } else {
            index += 1;
        }
    }
    taken
}

impl<M> Default for Subscribers<M> {
    fn default() -> Self {
        Subscribers {
            addresses: IndexSet::new(),
            channels: IndexSet::new(),
            unchecked: IndexSet::new(),
            relays: IndexMap::new(),
        }
    }
}

impl<M> Clone for Subscribers<M> {
    fn clone(&self) -> Self {
        Subscribers {
            addresses: self.addresses.clone(),
            channels: self.channels.clone(),
            unchecked: self.unchecked.clone(),
            relays: self.relays.clone(),
        }
    }
}
