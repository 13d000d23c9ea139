//! Sending to all subscribers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::remote::{Home, RelayEntry};
use super::subscribers::Subscribers;
use super::{Channel, ChannelError, Transform};
use crate::primitives::lock;
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

/// How subscribers get their copies. Those of other nodes get one for the node, by reference: it
/// is written from there.
pub(super) trait Courier<M> {
    /// For a subscriber of `channel`.
    fn coroutine(&mut self, channel: &Channel<M>, coroutine: &Address<M>, message: M) -> Put;

    /// How many coroutines have been reached so far.
    fn relay(&mut self, relay: &Arc<RelayEntry<M>>, message: &M) -> usize;

    /// As [`relay`](Self::relay), for a channel of another node.
    fn home(&mut self, channel: &Channel<M>, home: &Home<M>, message: &M) -> usize;
}

/// Puts the message where there is room.
pub(super) struct Sending;

impl<M: Clone + Send + 'static> Courier<M> for Sending {
    #[inline]
    fn coroutine(&mut self, _: &Channel<M>, coroutine: &Address<M>, message: M) -> Put {
        match coroutine.place() {
            // What nearly all subscribers are: no error is made that would be thrown away.
            Ok(mailbox) if !mailbox.is_bounded() => match mailbox.push(message) {
                Ok(()) => Put::Reached,
                Err(_) => Put::Ended,
            },
            _ => Put::of(&coroutine.send(message)),
        }
    }

    fn relay(&mut self, relay: &Arc<RelayEntry<M>>, message: &M) -> usize {
        if relay.send(message) {
            relay.coroutines()
        } else {
            0
        }
    }

    fn home(&mut self, channel: &Channel<M>, home: &Home<M>, message: &M) -> usize {
        match channel.pass_home(home, message) {
            Ok(()) => home.total(),
            Err(error) => {
                tracing::warn!("a message does not go to channel {channel}: {error}");
                0
            }
        }
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Sends a message to all subscribers, and returns how many coroutines it went to.
    ///
    /// Does not wait: a subscriber whose bounded mailbox is full misses the message and is not
    /// counted; [`deliver`](Self::deliver) waits. So do all subscribers of a node for which too
    /// much waits: 64 MiB, of all channels and answers, beyond 1 MiB that is on its way; then a
    /// warning is logged. Whoever sends faster than
    /// messages travel should deliver one now and then. Zero when the [transform](Self::set_transform) drops the message.
    ///
    /// Coroutines of other nodes are counted when the message is on its way to them, as
    /// [`subscribers`](Self::subscribers) counts them. When the channel is one of another node, the
    /// message is on its way there, and the number is what `subscribers` says.
    ///
    /// # Errors
    /// [`ChannelError::Closed`], with the message, when the channel is closed. For a channel of
    /// another node the further reasons.
    pub fn send(&self, message: M) -> Result<usize, ChannelError<M>> {
        match &self.inner.home {
            None => self.broadcast(message, &mut Sending),
            Some(_) if self.is_closed() => Err(ChannelError::Closed(message)),
            Some(home) => self.send_home(home, message),
        }
    }

    /// Walks over the subscribers, and those of subscribed channels.
    pub(super) fn broadcast(
        &self,
        message: M,
        courier: &mut impl Courier<M>,
    ) -> Result<usize, ChannelError<M>> {
        match self.view() {
            Some(view) => Ok(self.walk(view, message, courier)),
            None => Err(ChannelError::Closed(message)),
        }
    }

    /// Gives a message that has come from the home of the channel to its subscribers here.
    pub(super) fn spread(&self, message: M, courier: &mut impl Courier<M>) -> usize {
        let view = lock(&self.inner.state).view();
        self.walk(view, message, courier)
    }

    fn walk(&self, view: View<M>, message: M, courier: &mut impl Courier<M>) -> usize {
        let mut further = Vec::new();
        let mut reached = self.fan_out(&view, message, courier, &mut further);
        drop(view);
        while let Some((channel, message)) = further.pop() {
            let more = match &channel.inner.home {
                Some(home) => courier.home(&channel, home, &message),
                None => match channel.view() {
                    Some(view) => channel.fan_out(&view, message, courier, &mut further),
                    None => 0,
                },
            };
            reached = usize::saturating_add(reached, more);
        }
        reached
    }

    /// The part of [`walk`](Self::walk) for one channel; leaves the work for its channels in
    /// `further`.
    fn fan_out(
        &self,
        view: &View<M>,
        message: M,
        courier: &mut impl Courier<M>,
        further: &mut Vec<(Channel<M>, M)>,
    ) -> usize {
        let Some(message) = self.apply_transform(view, message) else {
            return 0;
        };
        let list = &*view.subscribers;
        // What relays say may be anything; those in the list here are fewer than can overflow.
        let mut afar = 0_usize;
        for relay in list.relays.values().filter(|it| it.wants_messages()) {
            afar = afar.saturating_add(courier.relay(relay, &message));
        }
        let (mut reached, mut ended) = (0, Vec::new());
        let mut count =
            |address: &Address<M>, message| match courier.coroutine(self, address, message) {
                Put::Reached => reached += 1,
                Put::Missed => {}
                Put::Ended => ended.push(address.clone()),
            };
        // Every subscriber but the last gets a clone, the last the message itself.
        let mut addresses = list.addresses.iter();
        if let Some(last) = list.channels.last() {
            addresses.for_each(|address| count(address, message.clone()));
            for channel in &list.channels[..list.channels.len() - 1] {
                further.push((Channel::clone(channel), message.clone()));
            }
            further.push((Channel::clone(last), message));
        } else if let Some(last) = addresses.next_back() {
            addresses.for_each(|address| count(address, message.clone()));
            count(last, message);
        }
        if !ended.is_empty() || list.channels.iter().any(|it| it.is_closed()) {
            self.let_go(&ended);
        }
        afar.saturating_add(reached)
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
