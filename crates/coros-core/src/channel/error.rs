//! Why a channel refuses a message or a subscriber.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Channel;
use crate::remote::{self, CarryError, CodecError};

/// A message that a channel did not take, with the reason; the message comes back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelError<M> {
    /// The channel has been closed.
    Closed(M),
    /// As much waits for the channel's node as may.
    Full(M),
    /// As many deliveries of this node wait at the channel's home for subscribers as may: 256, or
    /// 64 MiB at all channels there.
    TooMany(M),
    /// The channel's home has not answered a delivery in time: nobody knows who has the message.
    TimedOut(M, Duration),
    /// There is no link to the channel's node, or it was lost before the answer came.
    Disconnected(M, Box<str>),
    /// The message cannot be encoded for another node, or is longer than the 16 MiB that a
    /// message between nodes may have.
    Codec(M, CodecError),
}

impl<M> ChannelError<M> {
    /// The message.
    pub fn into_message(self) -> M {
        match self {
            ChannelError::Closed(message)
            | ChannelError::Full(message)
            | ChannelError::TooMany(message)
            | ChannelError::TimedOut(message, _)
            | ChannelError::Disconnected(message, _)
            | ChannelError::Codec(message, _) => message,
        }
    }

    pub(super) fn from_carry(message: M, error: CarryError) -> Self {
        match error {
            CarryError::Closed => ChannelError::Closed(message),
            CarryError::Full => ChannelError::Full(message),
            CarryError::Disconnected(why) => ChannelError::Disconnected(message, (*why).into()),
            CarryError::Codec(why) => ChannelError::Codec(message, why),
        }
    }
}

impl<M> fmt::Display for ChannelError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Closed(_) => f.write_str("the channel has been closed"),
            ChannelError::Full(_) => f.write_str(
                "as much waits for the channel's node as may: `deliver` waits for room, `send` \
                 does not",
            ),
            ChannelError::TooMany(_) => f.write_str(
                "256 deliveries of this node wait for subscribers of the channel: wait until one of \
                 them is done",
            ),
            ChannelError::TimedOut(_, limit) => {
                write!(f, "no answer from the channel's node within {limit:?}")
            }
            ChannelError::Disconnected(_, why) => {
                write!(f, "no link to the channel's node: {why}")
            }
            ChannelError::Codec(_, why) => write!(f, "the message cannot travel: {why}"),
        }
    }
}

impl<M> fmt::Debug for ChannelError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelError({self})")
    }
}

impl<M> std::error::Error for ChannelError<M> {}

/// Why a channel does not take a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The channel has been closed.
    #[error("channel {channel} has been closed")]
    Closed {
        /// The channel.
        #[serde(deserialize_with = "remote::told")]
        channel: String,
    },
    /// Messages would go round and round.
    #[error(
        "channel {subscriber} cannot subscribe to channel {channel}, which gets what {subscriber} sends"
    )]
    Cycle {
        /// The channel to which the other would subscribe.
        #[serde(deserialize_with = "remote::told")]
        channel: String,
        /// The channel that would subscribe.
        #[serde(deserialize_with = "remote::told")]
        subscriber: String,
    },
    /// The channel's home, or the way to it, does not allow it, or nobody would tell of its end, or
    /// it could not be made sure that messages would not go round and round.
    #[error("channel {channel} does not take {subscriber} as a subscriber: {reason}")]
    Refused {
        /// The channel.
        #[serde(deserialize_with = "remote::told")]
        channel: String,
        /// Who would subscribe.
        #[serde(deserialize_with = "remote::told")]
        subscriber: String,
        /// Why not.
        #[serde(deserialize_with = "remote::told")]
        reason: String,
    },
    /// There is no link to the channel's node.
    #[error("no link to the node of channel {channel}: {reason}")]
    Disconnected {
        /// The channel.
        #[serde(deserialize_with = "remote::told")]
        channel: String,
        /// Why not.
        #[serde(deserialize_with = "remote::told")]
        reason: String,
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

    pub(super) fn refused<M>(
        channel: &Channel<M>,
        subscriber: &impl fmt::Display,
        reason: &str,
    ) -> Self {
        SubscribeError::Refused {
            channel: channel.to_string(),
            subscriber: subscriber.to_string(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn from_carry<M>(
        channel: &Channel<M>,
        subscriber: &impl fmt::Display,
        error: &CarryError,
    ) -> Self {
        match error {
            CarryError::Closed => SubscribeError::closed(channel),
            CarryError::Disconnected(reason) => SubscribeError::Disconnected {
                channel: channel.to_string(),
                reason: (**reason).clone(),
            },
            CarryError::Full => {
                let why = "too much waits for its node: try again later";
                SubscribeError::refused(channel, subscriber, why)
            }
            CarryError::Codec(_) => {
                SubscribeError::refused(channel, subscriber, &error.to_string())
            }
        }
    }
}
