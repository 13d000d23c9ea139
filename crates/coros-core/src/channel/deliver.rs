//! Delivering to a number of subscribers, waiting for them and for room in their mailboxes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::broadcast::Put;
use super::{Channel, ChannelClosed};
use crate::{Address, SendError};

impl<M: Clone + Send + 'static> Channel<M> {
    /// Waits until the message can go to at least `n` coroutines, at most `limit`; then sends it
    /// to all subscribers there are, and returns how many coroutines have it in their mailboxes.
    ///
    /// Coroutines are counted as by [`subscribers`](Self::subscribers). When `limit` is over, the
    /// message goes to those that have subscribed by then; that it is fewer than `n` shows in the
    /// result. Within `limit` it also waits for room in bounded mailboxes, and for coroutines of
    /// other nodes to confirm. A coroutine of this node without room at the end does not get the
    /// message; one of another node that has not confirmed by then may get it all the same. Neither
    /// is counted. A full mailbox holds up no other subscriber. Zero when the
    /// [transform](Self::set_transform) drops the message.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use coros_core::{Channel, Context};
    ///
    /// let channel = Channel::new();
    /// let news = channel.clone();
    /// let reader = coros_core::spawn(async move |mut me: Context<&str>| {
    ///     news.subscribe(&me.address()).unwrap();
    ///     me.receive().await
    /// });
    /// assert_eq!(channel.deliver("rain", 1, Duration::from_secs(5)).await, Ok(1));
    /// assert_eq!(reader.join().await, Ok(Some("rain")));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ChannelClosed`], with the message, when the channel is closed, also while waiting for
    /// subscribers.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropped while it waits for subscribers, nothing has been sent. Dropped later, some
    /// subscribers have the message and some do not.
    pub async fn deliver(
        &self,
        message: M,
        n: usize,
        limit: Duration,
    ) -> Result<usize, ChannelClosed<M>> {
        let mut limit = pin!(tokio::time::sleep(limit));
        tokio::select! {
            biased;
            () = self.has_subscribers(n) => {}
            () = &mut limit => {}
        }
        let mut waiting = FuturesUnordered::new();
        let mut reached = self.broadcast(message, |address, message| {
            let message = if address.remote_id().is_some() {
                message
            } else {
                match address.send(message) {
                    Err(SendError::Full(message)) => message,
                    result => return Put::of(&result),
                }
            };
            waiting.push(put_in(address.clone(), message));
            Put::Missed
        })?;
        loop {
            tokio::select! {
                biased;
                delivered = waiting.next() => match delivered {
                    Some(delivered) => reached += usize::from(delivered),
                    None => return Ok(reached),
                },
                () = &mut limit => return Ok(reached),
            }
        }
    }

    /// Resolves when at least `n` coroutines have subscribed, or the channel is closed.
    async fn has_subscribers(&self, n: usize) {
        while n > 0 && self.subscribers() < n {
            // A subscription from here on is noticed; one before it is counted below.
            let mut changes = FuturesUnordered::new();
            let mut count = 0;
            let mut open = vec![self.clone()];
            while let Some(channel) = open.pop() {
                changes.push(Arc::clone(&channel.inner.changed).notified_owned());
                let Some(view) = channel.view() else {
                    if channel == *self {
                        return;
                    }
                    continue;
                };
                count += view.subscribers.alive();
                open.extend(view.subscribers.channels.iter().cloned());
            }
            if count >= n {
                return;
            }
            changes.next().await;
        }
    }
}

/// Whether the message got into the mailbox.
async fn put_in<M: Send + 'static>(address: Address<M>, message: M) -> bool {
    address.deliver(message).await.is_ok()
}
