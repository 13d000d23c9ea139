//! How many coroutines a message would go to.

use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use tokio::sync::futures::OwnedNotified;

use super::Channel;
use crate::primitives::lock;
use crate::reply::AskError;

/// Resolves when a count may have changed.
pub(super) type Changes = FuturesUnordered<OwnedNotified>;

impl<M: Clone + Send + 'static> Channel<M> {
    /// How many coroutines a message sent now would go to: those subscribed to this channel, and
    /// those subscribed to channels subscribed to it, once for each way there.
    ///
    /// Other nodes tell when their numbers change, in batches: of those it is the number told
    /// last. For a channel of another node that is the answer to the last
    /// [`ask_subscribers`](Self::ask_subscribers), unless a channel of this node has it as a
    /// subscriber: then its home tells of each change.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.count(false, None)
    }

    /// Asks the channel's home how many coroutines a message would go to. When it has answered,
    /// all has been done that was asked for before through handles on this node: subscriptions,
    /// sends.
    ///
    /// # Errors
    /// [`AskError::Closed`] when the channel is closed, [`AskError::Disconnected`] when its node
    /// cannot be reached, or the session with it ends before the answer.
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn ask_subscribers(&self) -> Result<usize, AskError> {
        match &self.inner.home {
            _ if self.is_closed() => Err(AskError::Closed),
            Some(home) => home.count().await,
            None => Ok(self.subscribers()),
        }
    }

    /// Counts the subscribers; if `here`, for another node: where this channel is a relay, those of
    /// this node. A subscription after the return resolves `changes`, and if `here` an end as well.
    pub(super) fn count(&self, here: bool, mut changes: Option<&mut Changes>) -> usize {
        let mut count: usize = 0;
        let mut open = vec![self.clone()];
        let mut first = true;
        let told_afar = here;
        while let Some(channel) = open.pop() {
            // Before it is looked at.
            if let Some(changes) = &mut changes {
                changes.push(Arc::clone(&channel.inner.changed).notified_owned());
            }
            let here = std::mem::take(&mut first) && here;
            if let Some(home) = &channel.inner.home
                && !here
            {
                count = count.saturating_add(home.total());
                continue;
            }
            if told_afar {
                channel.notice_ends();
            }
            let list = Arc::clone(&lock(&channel.inner.state).subscribers);
            let alive = list.alive();
            if alive < list.addresses.len() {
                channel.let_go(&[]);
            }
            count = count.saturating_add(alive);
            for relay in list.relays.values() {
                count = count.saturating_add(relay.coroutines());
            }
            open.extend(list.channels.iter().map(|it| Channel::clone(it)));
        }
        count
    }

    /// Whether some of those that a message goes to are on other nodes.
    pub(super) fn reaches_elsewhere(&self) -> bool {
        let mut open = vec![self.clone()];
        while let Some(channel) = open.pop() {
            let list = Arc::clone(&lock(&channel.inner.state).subscribers);
            let mut addresses = list.addresses.iter();
            if channel.inner.home.is_some()
                || !list.relays.is_empty()
                || addresses.any(|it| it.remote_id().is_some())
            {
                return true;
            }
            open.extend(list.channels.iter().map(|it| Channel::clone(it)));
        }
        false
    }
}
