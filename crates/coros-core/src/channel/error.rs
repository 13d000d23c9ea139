//! Why a channel refuses a message or a subscriber.

use std::fmt;

use super::Channel;

/// The channel has been closed; the message comes back.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the channel has been closed")]
pub struct ChannelClosed<M>(pub M);

impl<M> ChannelClosed<M> {
    /// The message.
    pub fn into_message(self) -> M {
        self.0
    }
}

impl<M> fmt::Debug for ChannelClosed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelClosed")
    }
}

/// Why a channel does not take a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The channel has been closed.
    #[error("channel {channel} has been closed")]
    Closed {
        /// The channel.
        channel: String,
    },
    /// Messages would go round and round.
    #[error(
        "channel {subscriber} cannot subscribe to channel {channel}, which gets what {subscriber} sends"
    )]
    Cycle {
        /// The channel to which the other would subscribe.
        channel: String,
        /// The channel that would subscribe.
        subscriber: String,
    },
}

impl SubscribeError {
    pub(super) fn closed<M>(channel: &Channel<M>) -> Self {
        SubscribeError::Closed {
            channel: channel.to_string(),
        }
    }

    pub(super) fn cycle<M>(channel: &Channel<M>, subscriber: &Channel<M>) -> Self {
        SubscribeError::Cycle {
            channel: channel.to_string(),
            subscriber: subscriber.to_string(),
        }
    }
}
