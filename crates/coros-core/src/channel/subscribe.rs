//! Coroutines that subscribe, here and on other nodes.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use super::{Channel, SubscribeError, subscribers};
use crate::Address;
use crate::primitives::lock;

impl<M: Clone + Send + 'static> Channel<M> {
    /// Subscribes a coroutine: it gets every message sent from now on. False when it had
    /// subscribed before, or has ended.
    ///
    /// # Errors
    /// [`SubscribeError::Closed`] when the channel is closed.
    pub fn subscribe(&self, coroutine: &Address<M>) -> Result<bool, SubscribeError> {
        if coroutine.is_closed() {
            return Ok(false);
        }
        let (ended, unwatched) = {
            let mut state = lock(&self.inner.state);
            if self.is_closed() {
                return Err(SubscribeError::closed(self));
            }
            if state.subscribers.addresses.contains(coroutine) {
                return Ok(false);
            }
            let state = &mut *state;
            let list = Arc::make_mut(&mut state.subscribers);
            list.addresses.insert(coroutine.clone());
            let ended = if list.addresses.len() < state.look_at {
                Vec::new()
            } else {
                let ended = list.take_ended();
                state.look_at = subscribers::next_look(list.addresses.len());
                ended
            };
            let unwatched =
                coroutine.remote_id().is_some() && state.watched.insert(Watched(coroutine.clone()));
            (ended, unwatched)
        };
        drop(ended);
        self.inner.changed.notify_waiters();
        if unwatched {
            self.release_at_exit(Watched(coroutine.clone()));
        }
        Ok(true)
    }

    /// Nothing but its monitor tells that a coroutine of another node has ended.
    fn release_at_exit(&self, watched: Watched<M>) {
        let channel = Arc::downgrade(&self.inner);
        watched.0.clone().on_exit(move |_| {
            if let Some(inner) = Weak::upgrade(&channel) {
                Channel { inner }.release(&watched);
            }
        });
    }

    /// The end of a coroutine of another node has been told.
    fn release(&self, ended: &Watched<M>) {
        let released = {
            let mut state = lock(&self.inner.state);
            let watched = state.watched.swap_take(ended);
            let subscribed = state.subscribers.addresses.get(&ended.0);
            let address = subscribed
                .is_some_and(|it| it.has_same_way(&ended.0))
                .then(|| {
                    let list = Arc::make_mut(&mut state.subscribers);
                    list.addresses.swap_take(&ended.0)
                });
            (watched, address)
        };
        drop(released);
    }

    /// Takes a coroutine's subscription back and releases it. False when it had none.
    ///
    /// A send that is under way on another thread may still reach it.
    pub fn unsubscribe(&self, coroutine: &Address<M>) -> bool {
        let removed = {
            let mut state = lock(&self.inner.state);
            if !state.subscribers.addresses.contains(coroutine) {
                return false;
            }
            Arc::make_mut(&mut state.subscribers)
                .addresses
                .swap_take(coroutine)
        };
        removed.is_some()
    }
}

/// A coroutine of another node, the end of which a carrier has been asked to tell.
///
/// A carrier cannot be asked to forget that again. So the channel remembers, and one that
/// subscribes again and again is watched once. Two nodes in one process may both have a way to
/// the coroutine, and each tells when *its* way has ended: unlike addresses, these are equal only
/// if the way is the same.
pub(super) struct Watched<M>(Address<M>);

impl<M> PartialEq for Watched<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0.has_same_way(&other.0)
    }
}

impl<M> Eq for Watched<M> {}

impl<M> Hash for Watched<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
