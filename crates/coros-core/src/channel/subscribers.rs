//! The list of subscribers of one channel.

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
    pub(super) channels: IndexSet<Channel<M>>,
    /// Channels that get no messages yet: it is not certain that there would be no cycle.
    pub(super) unchecked: IndexSet<Channel<M>>,
    /// Those of other nodes, together.
    pub(super) relays: IndexMap<NodeId, Arc<RelayEntry<M>>>,
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
    pub(super) fn take_closed(&mut self) -> Vec<Channel<M>> {
        take_where(&mut self.channels, Channel::is_closed)
    }
}

fn take_where<T: std::hash::Hash + Eq>(
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
