//! Channels that subscribe to channels.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use super::broadcast::View;
use super::{Channel, SubscribeError};
use crate::primitives::{Mutex, lock};

/// One channel may be subscribed to another at a time: whether that closes a cycle depends on
/// every other such subscription.
static HIERARCHY: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// What a search through the hierarchy has come across and holds: to drop the last reference to
/// a channel or its transform runs destructors of the user's, which may use channels themselves.
struct Found<M> {
    channels: Vec<Channel<M>>,
    views: Vec<View<M>>,
}

impl<M> Default for Found<M> {
    fn default() -> Self {
        Found {
            channels: Vec::new(),
            views: Vec::new(),
        }
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Subscribes another channel: it passes on, after its own transform, what this one sends
    /// from now on. False when it had subscribed before, or is closed. The subscription keeps the
    /// other channel alive.
    ///
    /// ```
    /// use coros_core::Channel;
    ///
    /// let (all, some) = (Channel::<u32>::named("all"), Channel::named("some"));
    /// all.subscribe_channel(&some).unwrap();
    /// let error = some.subscribe_channel(&all).unwrap_err();
    /// assert!(error.to_string().contains("some#") && error.to_string().contains("all#"));
    /// ```
    ///
    /// # Errors
    /// [`SubscribeError::Cycle`] when this channel gets, directly or through others, what the
    /// other sends; [`SubscribeError::Closed`] when it is closed.
    pub fn subscribe_channel(&self, channel: &Channel<M>) -> Result<bool, SubscribeError> {
        // Declared first, so dropped last: without the lock.
        let mut found = Found::default();
        let one_at_a_time = lock(&HIERARCHY);
        if channel.leads_to(self, &mut found) {
            return Err(SubscribeError::cycle(self, channel));
        }
        if channel.is_closed() {
            return Ok(false);
        }
        let new = {
            let mut state = lock(&self.inner.state);
            if self.is_closed() {
                return Err(SubscribeError::closed(self));
            }
            !state.subscribers.channels.contains(channel)
                && Arc::make_mut(&mut state.subscribers)
                    .channels
                    .insert(channel.clone())
        };
        drop(one_at_a_time);
        self.inner.changed.notify_waiters();
        Ok(new)
    }

    /// Whether what this channel sends comes to `other`, or it is the same.
    fn leads_to(&self, other: &Channel<M>, found: &mut Found<M>) -> bool {
        let mut seen = HashSet::from([self.id()]);
        found.channels.push(self.clone());
        let mut next = 0;
        while let Some(channel) = found.channels.get(next).cloned() {
            if channel == *other {
                return true;
            }
            if let Some(view) = channel.view() {
                let further = view.subscribers.channels.iter();
                let unseen = further.filter(|it| seen.insert(it.id()));
                found.channels.extend(unseen.cloned());
                found.views.push(view);
            }
            next += 1;
        }
        false
    }

    /// Takes a channel's subscription back. False when it had none.
    pub fn unsubscribe_channel(&self, channel: &Channel<M>) -> bool {
        let removed = {
            let mut state = lock(&self.inner.state);
            if !state.subscribers.channels.contains(channel) {
                return false;
            }
            Arc::make_mut(&mut state.subscribers)
                .channels
                .swap_take(channel)
        };
        removed.is_some()
    }
}
