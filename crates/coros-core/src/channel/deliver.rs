//! Delivering to a number of subscribers, waiting for them and for room in their mailboxes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::broadcast::{Courier, Put};
use super::count::Changes;
use super::remote::{Home, RelayEntry};
use super::{Channel, ChannelError};
use crate::remote::{BoxFuture, CarryError};
use crate::{Address, SendError};

/// Answers of other nodes take their time as well. A delivery that may need some keeps an eighth of
/// its time for them, at most so much.
const FOR_ANSWERS: Duration = Duration::from_secs(1);

fn for_answers(limit: Duration) -> Duration {
    (limit / 8).min(FOR_ANSWERS)
}

/// The end of a time limit; one that is longer than time is a year.
pub(super) fn deadline(limit: Duration) -> Instant {
    let year = Duration::from_secs(365 * 24 * 3600);
    let now = Instant::now();
    now + limit.min(year)
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Waits until the message can go to at least `n` coroutines, at most `limit`; then sends it
    /// to all subscribers there are, and returns how many coroutines have it in their mailboxes.
    ///
    /// Coroutines are counted as by [`subscribers`](Self::subscribers). When `limit` is over, the
    /// message goes to those that have subscribed by then; that it is fewer than `n` shows in the
    /// result. Within `limit` it also waits for room in bounded mailboxes, and for coroutines of
    /// other nodes to confirm, for which it keeps an eighth of `limit`, at most a second: so much
    /// earlier it stops waiting for more subscribers when there are other nodes among them. For a
    /// channel of another node it keeps another eighth, at most a second, for the home's answer. A
    /// coroutine of this node without room at the end does not get the message; one of another node
    /// that has not confirmed by then may get it all the same. Neither is counted. A full mailbox,
    /// or a node that does not answer, holds up no other subscriber; but of those that wait for room
    /// 256 do so at each other node that messages go to, and more wait here for their turn. Zero when the
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
    /// [`ChannelError::Closed`], with the message, when the channel is closed, also while waiting for
    /// subscribers. For a channel of another node the further reasons, among them
    /// [`ChannelError::TimedOut`] when the home has not answered within `limit`: then nobody knows who
    /// has the message, and it may still come, also behind messages that are sent after it.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropped while it waits for subscribers, nothing has been sent; to a channel of another node,
    /// unless its home had enough of them before it heard of that. It hears as well when the session
    /// ends. Dropped later, some subscribers have the message and some do not.
    pub async fn deliver(
        &self,
        message: M,
        n: usize,
        limit: Duration,
    ) -> Result<usize, ChannelError<M>> {
        match &self.inner.home {
            None => self.deliver_here(message, n, limit).await,
            Some(_) if self.is_closed() => Err(ChannelError::Closed(message)),
            Some(home) => {
                if let Err(error) = self.reach_home(home) {
                    return Err(ChannelError::from_carry(message, error));
                }
                let delivery = home.deliver(&message, n, limit - for_answers(limit));
                match tokio::time::timeout(limit, delivery).await {
                    Ok(Ok(reached)) => Ok(reached),
                    // A delivery waits for room: this is what the home says.
                    Ok(Err(CarryError::Full)) => Err(ChannelError::TooMany(message)),
                    Ok(Err(error)) => Err(ChannelError::from_carry(message, error)),
                    Err(_) => Err(ChannelError::TimedOut(message, limit)),
                }
            }
        }
    }

    async fn deliver_here(
        &self,
        message: M,
        n: usize,
        limit: Duration,
    ) -> Result<usize, ChannelError<M>> {
        let end = deadline(limit);
        let mut enough = pin!(self.has_subscribers(n));
        tokio::select! {
            biased;
            () = &mut enough => {}
            () = tokio::time::sleep_until(end - for_answers(limit)) => {
                if !self.reaches_elsewhere() {
                    let _ = tokio::time::timeout_at(end, enough).await;
                }
            }
        }
        let mut delivering = Delivering::until(end);
        let reached = self.broadcast(message, &mut delivering)?;
        Ok(reached.saturating_add(delivering.finish().await))
    }

    /// Resolves when at least `n` coroutines have subscribed, or the channel is closed.
    async fn has_subscribers(&self, n: usize) {
        while n > 0 && self.subscribers() < n && !self.is_closed() {
            // A subscription from here on is noticed; one before it is counted.
            let mut changes = Changes::new();
            if self.count(false, Some(&mut changes)) >= n || self.is_closed() {
                return;
            }
            changes.next().await;
        }
    }
}

/// Puts the message where there is room, and waits where there is none and for other nodes.
pub(super) struct Delivering {
    end: Instant,
    waiting: FuturesUnordered<BoxFuture<usize>>,
}

impl Delivering {
    pub(super) fn until(end: Instant) -> Self {
        Delivering {
            end,
            waiting: FuturesUnordered::new(),
        }
    }

    /// How many more coroutines get it in time.
    pub(super) async fn finish(mut self) -> usize {
        let mut end = pin!(tokio::time::sleep_until(self.end));
        let mut reached: usize = 0;
        loop {
            tokio::select! {
                biased;
                delivered = self.waiting.next() => match delivered {
                    Some(delivered) => reached = reached.saturating_add(delivered),
                    None => return reached,
                },
                () = &mut end => return reached,
            }
        }
    }
}

/// What another node gets of the time until then: the rest is for its answer.
pub(super) fn time_afar(end: Instant) -> Duration {
    let left = end.saturating_duration_since(Instant::now());
    left - for_answers(left)
}

impl<M: Clone + Send + 'static> Courier<M> for Delivering {
    fn coroutine(&mut self, channel: &Channel<M>, coroutine: &Address<M>, message: M) -> Put {
        let message = if coroutine.remote_id().is_some() {
            message
        } else {
            match coroutine.send(message) {
                Err(SendError::Full(message)) => message,
                result => return Put::of(&result),
            }
        };
        let (channel, coroutine) = (Arc::downgrade(&channel.inner), coroutine.clone());
        self.waiting.push(Box::pin(async move {
            let delivered = coroutine.deliver(message).await;
            if let Err(SendError::Closed(_)) = delivered
                && let Some(inner) = channel.upgrade()
            {
                Channel { inner }.unsubscribe(&coroutine);
            }
            usize::from(delivered.is_ok())
        }));
        Put::Missed
    }

    fn relay(&mut self, relay: &Arc<RelayEntry<M>>, message: &M) -> usize {
        self.waiting.push(relay.deliver(message, self.end));
        0
    }

    fn home(&mut self, channel: &Channel<M>, home: &Home<M>, message: &M) -> usize {
        if channel.reach_home(home).is_ok() {
            self.waiting
                .push(Home::deliver_in_turn(channel, message, self.end));
        }
        0
    }
}
