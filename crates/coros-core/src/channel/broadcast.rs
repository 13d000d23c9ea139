//! Sending to all subscribers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::subscribers::Subscribers;
use super::{Channel, ChannelClosed, Transform};
use crate::{Address, SendError};

/// What a send needs of a channel, at one moment.
pub(super) struct View<M> {
    pub(super) transform: Option<Transform<M>>,
    pub(super) subscribers: Arc<Subscribers<M>>,
}

/// What became of a message for one subscriber.
pub(super) enum Put {
    Reached,
    Missed,
    Ended,
}

impl Put {
    pub(super) fn of<M>(result: &Result<(), SendError<M>>) -> Self {
        match result {
            Ok(()) => Put::Reached,
            Err(SendError::Closed(_)) => Put::Ended,
            Err(_) => Put::Missed,
        }
    }
}

/// Sends one subscriber its copy.
#[inline]
fn put<M: Send + 'static>(address: &Address<M>, message: M) -> Put {
    match address.place() {
        // What nearly all subscribers are: no error is made that would be thrown away.
        Ok(mailbox) if !mailbox.is_bounded() => match mailbox.push(message) {
            Ok(()) => Put::Reached,
            Err(_) => Put::Ended,
        },
        _ => Put::of(&address.send(message)),
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Sends a message to all subscribers, and returns how many coroutines it went to.
    ///
    /// Does not wait: a subscriber whose bounded mailbox is full misses the message and is not
    /// counted; [`deliver`](Self::deliver) waits. Zero when the [transform](Self::set_transform)
    /// drops the message.
    ///
    /// # Errors
    /// [`ChannelClosed`], with the message, when the channel is closed.
    pub fn send(&self, message: M) -> Result<usize, ChannelClosed<M>> {
        self.broadcast(message, put)
    }

    /// Walks over the subscribers, and those of subscribed channels; `put` gives each coroutine
    /// its copy.
    pub(super) fn broadcast(
        &self,
        message: M,
        mut put: impl FnMut(&Address<M>, M) -> Put,
    ) -> Result<usize, ChannelClosed<M>> {
        let Some(view) = self.view() else {
            return Err(ChannelClosed(message));
        };
        let mut further = Vec::new();
        let mut reached = self.fan_out(&view, message, &mut put, &mut further);
        drop(view);
        while let Some((channel, message)) = further.pop() {
            if let Some(view) = channel.view() {
                reached += channel.fan_out(&view, message, &mut put, &mut further);
            }
        }
        Ok(reached)
    }

    /// The part of [`broadcast`](Self::broadcast) for one channel; leaves the work for its
    /// channels in `further`.
    fn fan_out(
        &self,
        view: &View<M>,
        message: M,
        put: &mut impl FnMut(&Address<M>, M) -> Put,
        further: &mut Vec<(Channel<M>, M)>,
    ) -> usize {
        let Some(message) = self.apply_transform(view, message) else {
            return 0;
        };
        let list = &*view.subscribers;
        let (mut reached, mut ended) = (0, Vec::new());
        let mut count = |address: &Address<M>, message| match put(address, message) {
            Put::Reached => reached += 1,
            Put::Missed => {}
            Put::Ended => ended.push(address.clone()),
        };
        // Every subscriber but the last gets a clone, the last the message itself.
        let mut addresses = list.addresses.iter();
        if let Some(last) = list.channels.last() {
            addresses.for_each(|address| count(address, message.clone()));
            for channel in &list.channels[..list.channels.len() - 1] {
                further.push((channel.clone(), message.clone()));
            }
            further.push((last.clone(), message));
        } else if let Some(last) = addresses.next_back() {
            addresses.for_each(|address| count(address, message.clone()));
            count(last, message);
        }
        if !ended.is_empty() || list.channels.iter().any(Channel::is_closed) {
            self.let_go(&ended);
        }
        reached
    }

    fn apply_transform(&self, view: &View<M>, message: M) -> Option<M> {
        let Some(transform) = &view.transform else {
            return Some(message);
        };
        catch_unwind(AssertUnwindSafe(|| transform(message))).unwrap_or_else(|panic| {
            tracing::error!(
                "the transform of channel {self} panicked, so a message was dropped: {}",
                crate::engine::panic_text(&*panic)
            );
            None
        })
    }
}
