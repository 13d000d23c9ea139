//! Coroutines that subscribe, here and on other nodes.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock, Weak};

use indexmap::Equivalent;

use super::{Channel, SubscribeError, subscribers};
use crate::primitives::lock;
use crate::{Address, Exit};

impl<M: Clone + Send + 'static> Channel<M> {
    /// Subscribes a coroutine: it gets every message sent from now on. False when it had
    /// subscribed before, or has ended.
    ///
    /// To a channel of another node a coroutine of this node subscribes by way of a relay, which
    /// all of this node's subscribers share: so a message comes here once. It gets every message
    /// that the channel's home sends after the request has arrived there, and those that are sent
    /// from here after this call. When the session with the home's node ends, the subscription ends
    /// with it, and the coroutine is released. For a coroutine of a third node the request goes to
    /// the home, which sends to it directly; then true says no more than that it is on its way.
    ///
    /// # Errors
    /// [`SubscribeError::Closed`] when the channel is closed; for a channel of another node
    /// [`SubscribeError::Disconnected`] when that cannot be reached. [`SubscribeError::Refused`] for
    /// a coroutine of another node whose end nobody would tell, because there is no link to it or
    /// [too many](Exit::Unwatched) are waited for. If its node finds so later, it is released.
    pub fn subscribe(&self, coroutine: &Address<M>) -> Result<bool, SubscribeError> {
        let afar = coroutine.remote_id().is_some();
        if let Some(home) = &self.inner.home
            && afar
        {
            if self.is_closed() {
                return Err(SubscribeError::closed(self));
            }
            let sent = home.subscribe(coroutine, true);
            return match sent {
                Ok(()) => Ok(true),
                Err(error) => Err(SubscribeError::from_carry(self, coroutine, &error)),
            };
        }
        if coroutine.is_closed() || !self.enter(coroutine)? {
            return Ok(false);
        }
        if let Some(home) = &self.inner.home
            && let Err(error) = self.reach_home_anew(home)
        {
            self.unsubscribe(coroutine);
            return Err(SubscribeError::from_carry(self, coroutine, &error));
        }
        Ok(true)
    }

    /// Enters a subscriber in the list here. False when it is there.
    fn enter(&self, coroutine: &Address<M>) -> Result<bool, SubscribeError> {
        let (ended, unwatched, told) = {
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
            let watched = &mut state.watched;
            let afar = coroutine.remote_id().is_some();
            let unwatched = afar && watched.insert(Watched(coroutine.clone()), None).is_none();
            let told = !afar && state.afar.ends.is_some();
            (ended, unwatched, told)
        };
        drop(ended);
        self.inner.changed.notify_waiters();
        if told {
            self.release_at_end(coroutine);
        }
        match unwatched.then(|| self.release_at_exit(Watched(coroutine.clone()))) {
            Some(Err(exit)) if exit.is_certain() => Ok(false),
            Some(Err(exit)) => Err(SubscribeError::refused(self, coroutine, &exit.to_string())),
            _ => Ok(true),
        }
    }

    /// Other nodes are told how many coroutines have subscribed: from now on it is noticed when one of
    /// this node ends.
    pub(super) fn notice_ends(&self) {
        let present = {
            let mut state = lock(&self.inner.state);
            if state.afar.ends.is_some() {
                return;
            }
            state.afar.ends = Some(HashMap::new());
            let here = |it: &&Address<M>| it.remote_id().is_none();
            let addresses = state.subscribers.addresses.iter();
            addresses.filter(here).cloned().collect::<Vec<_>>()
        };
        for coroutine in &present {
            self.release_at_end(coroutine);
        }
    }

    /// A coroutine of this node will be let go of when it ends.
    fn release_at_end(&self, coroutine: &Address<M>) {
        let (channel, id) = (Arc::downgrade(&self.inner), coroutine.id());
        let watch = coroutine.watch(Box::new(move |_| {
            if let Some(inner) = Weak::upgrade(&channel) {
                Channel { inner }.let_go_of(id);
            }
        }));
        let mut state = lock(&self.inner.state);
        // It may have been unsubscribed, or have ended, meanwhile.
        let subscribed = state.subscribers.addresses.contains(coroutine);
        if let Some(ends) = state.afar.ends.as_mut().filter(|_| subscribed) {
            ends.extend(watch.map(|watch| (id, watch)));
        } else {
            drop(state);
            coroutine.unwatch(watch);
        }
    }

    /// A coroutine of this node has ended.
    fn let_go_of(&self, id: u64) {
        let ended = {
            let mut state = lock(&self.inner.state);
            let list = Arc::make_mut(&mut state.subscribers);
            let address = list.addresses.swap_take(&Number(id));
            (address, state.afar.take_end(id))
        };
        drop(ended);
        self.subscriber_gone();
    }

    /// The count has changed; a home may have to know at once.
    pub(super) fn subscriber_gone(&self) {
        self.inner.changed.notify_waiters();
        // A home that cannot be reached forgets its relays.
        let _ = self.report();
    }

    /// Nothing but its monitor tells that a coroutine of another node has ended. An error when that
    /// is told at once, or cannot be: then it has been released.
    fn release_at_exit(&self, watched: Watched<M>) -> Result<(), Exit> {
        let told = Arc::new(OnceLock::new());
        let tell = Arc::clone(&told);
        let channel = Arc::downgrade(&self.inner);
        let coroutine = watched.0.clone();
        let (again, ended) = (Watched(coroutine.clone()), Watched(coroutine.clone()));
        drop(watched);
        let mut watch = coroutine.watch(Box::new(move |exit| {
            if let Some(inner) = Weak::upgrade(&channel) {
                Channel { inner }.release(&ended);
            }
            let _ = tell.set(exit);
        }));
        if let Some(kept) = lock(&self.inner.state).watched.get_mut(&again)
            && kept.is_none()
        {
            *kept = watch.take();
        }
        // It has been unsubscribed meanwhile.
        coroutine.unwatch(watch);
        told.get().map_or(Ok(()), |exit| Err(Exit::clone(exit)))
    }

    /// The end of a coroutine of another node has been told.
    fn release(&self, ended: &Watched<M>) {
        let released = {
            let mut state = lock(&self.inner.state);
            let watched = state.watched.swap_remove_entry(ended);
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
        self.subscriber_gone();
    }

    /// Takes a coroutine's subscription back and releases it. False when it had none.
    ///
    /// A send that is under way on another thread may still reach it. When the channel and the
    /// coroutine are both of other nodes, true says that the request is on its way.
    pub fn unsubscribe(&self, coroutine: &Address<M>) -> bool {
        if let Some(home) = &self.inner.home
            && coroutine.remote_id().is_some()
        {
            return home.subscribe(coroutine, false).is_ok();
        }
        let (removed, watched, end) = {
            let mut state = lock(&self.inner.state);
            if !state.subscribers.addresses.contains(coroutine) {
                return false;
            }
            let list = Arc::make_mut(&mut state.subscribers);
            let removed = list.addresses.swap_take(coroutine).map(Watched);
            let watched = removed
                .as_ref()
                .and_then(|removed| state.watched.swap_remove_entry(removed));
            let here = coroutine.remote_id().is_none();
            let end = here.then(|| state.afar.take_end(coroutine.id()));
            (removed, watched, end.flatten())
        };
        if let Some((watched, watch)) = watched {
            watched.0.unwatch(watch);
        }
        coroutine.unwatch(end);
        let was_subscribed = removed.is_some();
        drop(removed);
        self.subscriber_gone();
        was_subscribed
    }
}

/// Finds a coroutine of this node in the list by its number.
struct Number(u64);

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<M> Equivalent<Address<M>> for Number {
    fn equivalent(&self, address: &Address<M>) -> bool {
        address.id() == self.0 && address.remote_id().is_none()
    }
}

/// A coroutine of another node, the end of which a carrier has been asked to tell.
///
/// Two nodes in one process may both have a way to the coroutine, and each tells when *its* way
/// has ended: unlike addresses, these are equal only if the way is the same.
pub(super) struct Watched<M>(pub(super) Address<M>);

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
