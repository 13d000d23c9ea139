//! Channels that subscribe to channels, on this node and across nodes.
//!
//! On one node, whether messages would go round and round is seen at once, under a lock. Where
//! channels of other nodes are below, other nodes have to be asked; see
//! [`cycle`](super::remote::cycle).

use std::sync::{Arc, LazyLock};

use indexmap::IndexSet;

use super::broadcast::View;
use super::remote::Home;
use super::subscribers::Fed;
use super::{Channel, SubscribeError};
use crate::primitives::{Mutex, lock};
use crate::remote::BoxFuture;

/// One channel may be subscribed to another at a time: whether that closes a cycle depends on
/// every other such subscription.
static HIERARCHY: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// What a search through the hierarchy has come across and holds: to drop the last reference to
/// a channel or its transform runs destructors of the user's, which may use channels themselves.
struct Found<M> {
    channels: Vec<Channel<M>>,
    views: Vec<View<M>>,
    /// Some channel is of another node, or feeds channels there.
    elsewhere: bool,
}

impl<M> Default for Found<M> {
    fn default() -> Self {
        Found {
            channels: Vec::new(),
            views: Vec::new(),
            elsewhere: false,
        }
    }
}

/// How far a subscription of a channel has come.
enum Begun {
    Done(bool),
    /// Other nodes have to be asked whether it may carry messages.
    Unchecked,
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Subscribes another channel: it passes on, after its own transform, what this one sends
    /// from now on. False when it had subscribed before, or is closed. The subscription keeps the
    /// other channel alive.
    ///
    /// When channels of other nodes are involved, these have to be asked whether messages would go
    /// round and round. Then true says that this goes on, and messages are passed on when they
    /// have answered; if they refuse, the subscription is gone and a warning logged.
    /// [`subscribe_channel_checked`](Self::subscribe_channel_checked) waits for the result.
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
    /// other sends; [`SubscribeError::Closed`] when it is closed. For a channel of another node
    /// [`SubscribeError::Disconnected`] when that cannot be reached.
    pub fn subscribe_channel(&self, channel: &Channel<M>) -> Result<bool, SubscribeError> {
        if let (Some(home), Some(_)) = (&self.inner.home, &channel.inner.home) {
            let asked = home.subscribe_channel(channel);
            return match asked {
                Ok(_) => Ok(true),
                Err(error) => Err(SubscribeError::from_carry(self, channel, &error)),
            };
        }
        match self.begin_subscribe_channel(channel)? {
            Begun::Done(new) => Ok(new),
            Begun::Unchecked => {
                let Some(runtime) = self.runtime_with(channel) else {
                    self.drop_unchecked(channel);
                    let why = "other nodes have to be asked, for which it takes a runtime";
                    return Err(SubscribeError::refused(self, channel, why));
                };
                let check = self.clone().check(channel.clone());
                runtime.spawn(async move {
                    if let Err(error) = check.await {
                        tracing::warn!("{error}");
                    }
                });
                Ok(true)
            }
        }
    }

    /// [`subscribe_channel`](Self::subscribe_channel), but resolves when it is certain that the
    /// channel gets what this one sends. With channels of this node alone, that is at once; else
    /// other nodes are asked, each for five seconds at most.
    ///
    /// # Errors
    /// As [`subscribe_channel`](Self::subscribe_channel), and [`SubscribeError::Refused`] when a node
    /// that has to be asked does not answer. Two channels that are to subscribe to each other at
    /// the same moment on different nodes may both be refused.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Begins with the call. Dropping the future leaves it to go on.
    pub fn subscribe_channel_checked(
        &self,
        channel: &Channel<M>,
    ) -> impl Future<Output = Result<bool, SubscribeError>> + Send + use<M> {
        let begun: BoxFuture<_> = match (&self.inner.home, &channel.inner.home) {
            (Some(home), Some(_)) => {
                let (this, other) = (self.clone(), channel.clone());
                let asked = home.subscribe_channel(channel);
                Box::pin(async move {
                    match asked {
                        Ok(answer) => answer.await.unwrap_or_else(|_| {
                            let why = "the link was lost before the answer";
                            Err(SubscribeError::refused(&this, &other, why))
                        }),
                        Err(error) => Err(SubscribeError::from_carry(&this, &other, &error)),
                    }
                })
            }
            _ => match self.begin_subscribe_channel(channel) {
                Ok(Begun::Done(new)) => Box::pin(async move { Ok(new) }),
                Err(error) => Box::pin(async move { Err(error) }),
                Ok(Begun::Unchecked) => {
                    let check = self.clone().check(channel.clone());
                    match self.runtime_with(channel) {
                        Some(runtime) => {
                            let checking = runtime.spawn(check);
                            let (this, other) = (self.clone(), channel.clone());
                            Box::pin(async move {
                                checking.await.unwrap_or_else(|_| {
                                    let why = "the runtime is shutting down";
                                    Err(SubscribeError::refused(&this, &other, why))
                                })
                            })
                        }
                        None => Box::pin(check),
                    }
                }
            },
        };
        begun
    }

    fn runtime_with(&self, channel: &Channel<M>) -> Option<tokio::runtime::Handle> {
        let homes = [&self.inner.home, &channel.inner.home];
        tokio::runtime::Handle::try_current()
            .ok()
            .or_else(|| homes.into_iter().flatten().find_map(Home::runtime))
    }

    /// The part of a subscription that takes no answers of other nodes.
    fn begin_subscribe_channel(&self, channel: &Channel<M>) -> Result<Begun, SubscribeError> {
        // Declared first, so dropped last: without the lock.
        let mut found = Found {
            elsewhere: self.inner.home.is_some(),
            ..Found::default()
        };
        let one_at_a_time = lock(&HIERARCHY);
        if channel.leads_to(self, &mut found) {
            return Err(SubscribeError::cycle(self, channel));
        }
        if channel.is_closed() {
            return Ok(Begun::Done(false));
        }
        let begun = {
            let mut state = lock(&self.inner.state);
            if self.is_closed() {
                return Err(SubscribeError::closed(self));
            }
            let list = &state.subscribers;
            if list.channels.contains(channel) || list.unchecked.contains(channel) {
                return Ok(Begun::Done(false));
            }
            let list = Arc::make_mut(&mut state.subscribers);
            if found.elsewhere {
                list.unchecked.insert(Fed::new(channel.clone()));
                Begun::Unchecked
            } else {
                list.channels.insert(Fed::new(channel.clone()));
                Begun::Done(true)
            }
        };
        drop(one_at_a_time);
        self.inner.changed.notify_waiters();
        // A home that cannot be reached now is told with the next message that it is to tell how
        // many subscribers there are.
        let _ = channel.report();
        if let Some(home) = &self.inner.home
            && let Err(error) = self.reach_home_anew(home)
        {
            self.unsubscribe_channel(channel);
            return Err(SubscribeError::from_carry(self, channel, &error));
        }
        Ok(begun)
    }

    /// Asks the other nodes, and lets messages through if they do not go round and round.
    async fn check(self, channel: Channel<M>) -> Result<bool, SubscribeError> {
        let refused = match channel.leads_far_to(&self).await {
            Ok(false) => {
                let new = {
                    let mut state = lock(&self.inner.state);
                    let list = Arc::make_mut(&mut state.subscribers);
                    // It may have been taken back meanwhile.
                    let unchecked = list.unchecked.swap_take(&channel);
                    unchecked.is_some_and(|channel| list.channels.insert(channel))
                };
                self.inner.changed.notify_waiters();
                return Ok(new);
            }
            Ok(true) => SubscribeError::cycle(&self, &channel),
            Err(why) => SubscribeError::refused(&self, &channel, why),
        };
        self.drop_unchecked(&channel);
        Err(refused)
    }

    fn drop_unchecked(&self, channel: &Channel<M>) {
        let removed = {
            let mut state = lock(&self.inner.state);
            Arc::make_mut(&mut state.subscribers)
                .unchecked
                .swap_take(channel)
        };
        drop(removed);
        self.subscriber_gone();
    }

    /// Whether what this channel sends comes to `other` on this node, or it is the same.
    fn leads_to(&self, other: &Channel<M>, found: &mut Found<M>) -> bool {
        let mut seen = IndexSet::from([self.clone()]);
        found.channels.push(self.clone());
        let mut next = 0;
        while let Some(channel) = found.channels.get(next).cloned() {
            if channel == *other {
                return true;
            }
            let view = lock(&channel.inner.state).view();
            let list = &view.subscribers;
            found.elsewhere |=
                channel.inner.home.is_some() || list.relays.values().any(|it| it.has_channels());
            let unseen = list.all_channels().filter(|it| seen.insert((*it).clone()));
            found.channels.extend(unseen.cloned());
            found.views.push(view);
            next += 1;
        }
        false
    }

    /// Takes a channel's subscription back. False when it had none. When both channels are of
    /// other nodes, true says that the request is on its way.
    pub fn unsubscribe_channel(&self, channel: &Channel<M>) -> bool {
        if let (Some(home), Some(_)) = (&self.inner.home, &channel.inner.home) {
            return home.unsubscribe_channel(channel).is_ok();
        }
        let removed = {
            let mut state = lock(&self.inner.state);
            let list = &state.subscribers;
            if !list.channels.contains(channel) && !list.unchecked.contains(channel) {
                return false;
            }
            let list = Arc::make_mut(&mut state.subscribers);
            let removed = list.channels.swap_take(channel);
            (removed, list.unchecked.swap_take(channel))
        };
        drop(removed);
        self.subscriber_gone();
        true
    }
}
