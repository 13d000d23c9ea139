//! What the home of a channel and its relays say to each other.
//!
//! `T` is the message as it is carried: borrowed to be written, owned when it has been read.

use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::{Channel, SubscribeError};
use crate::remote::{self, Carrier, Imported, Inlet, Message, RemoteId};
use crate::{Address, Reply};

/// More channels than this are not looked at below one.
pub(super) const MAX_BELOW: usize = 1024;

/// To the home.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Serialize, M: Message + Clone",
    deserialize = "T: DeserializeOwned, M: Message + Clone"
))]
pub(crate) enum Up<T, M> {
    Send(T),
    Deliver {
        message: T,
        n: u64,
        limit: Duration,
        reply: Reply<Delivered>,
    },
    /// How things stand at a relay.
    Report(Way, Report),
    /// A coroutine of any node, but the sender's own.
    Subscribe(Address<M>),
    Unsubscribe(Address<M>),
    SubscribeChannel(Channel<M>, Reply<Result<bool, SubscribeError>>),
    UnsubscribeChannel(Channel<M>),
    Close,
    /// How many subscribers are there?
    Count(Reply<u64>),
    /// Which channels have subscribed?
    Below(Reply<Below<M>>),
}

/// To a relay.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Serialize, M: Message + Clone",
    deserialize = "T: DeserializeOwned, M: Message + Clone"
))]
pub(crate) enum Down<T, M> {
    Message(T),
    Deliver {
        message: T,
        limit: Duration,
        reply: Reply<Delivered>,
    },
    /// How many subscribers there are, on all nodes.
    Total(u64),
    Closed,
    /// Which channels have subscribed at the relay?
    Below(Reply<Below<M>>),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Delivered {
    To(u64),
    Closed,
    /// As many deliveries of that node wait as may: nobody has got it.
    TooMany,
}

/// How things stand at a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of two reports the one with the larger number counts.
    pub(crate) number: u64,
    /// Whether it wants messages.
    pub(crate) subscribed: bool,
    /// How many coroutines a message would go to from there.
    pub(crate) coroutines: u64,
    /// Whether there are channels among the subscribers.
    pub(crate) channels: bool,
    /// Whether it wants to be told how many subscribers there are in all.
    pub(crate) follows: bool,
}

impl Report {
    /// Whether the home has to know at once.
    pub(crate) fn is_news_after(&self, last: &Report) -> bool {
        (self.subscribed, self.channels, self.follows)
            != (last.subscribed, last.channels, last.follows)
    }
}

/// The inlet of a relay: here it is an object, at the home a way to it.
pub(crate) enum Way {
    Mine(Arc<dyn Inlet>),
    To(RemoteId, Arc<dyn Carrier>),
    /// To no other node.
    Nowhere,
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exchange = remote::require_exchange().map_err(S::Error::custom)?;
        match self {
            Way::Mine(inlet) => exchange.export(Arc::clone(inlet)).serialize(serializer),
            Way::To(id, carrier) => {
                exchange.pass_on(id, carrier);
                id.serialize(serializer)
            }
            Way::Nowhere => Err(S::Error::custom("a way to nowhere")),
        }
    }
}

impl<'de> Deserialize<'de> for Way {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = RemoteId::deserialize(deserializer)?;
        let exchange = remote::require_exchange().map_err(D::Error::custom)?;
        Ok(match exchange.import(&id) {
            Imported::Remote(carrier) => Way::To(id, carrier),
            Imported::Local(_) | Imported::Gone => Way::Nowhere,
        })
    }
}

/// Channels that have subscribed, not more than [`MAX_BELOW`].
pub(crate) struct Below<M>(pub(crate) Vec<Channel<M>>);

impl<M: Message + Clone> Serialize for Below<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl<'de, M: Message + Clone> Deserialize<'de> for Below<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few<M>(std::marker::PhantomData<M>);
        impl<'de, M: Message + Clone> Visitor<'de> for Few<M> {
            type Value = Below<M>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "at most {MAX_BELOW} channels")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Below<M>, A::Error> {
                let mut channels = Vec::new();
                while let Some(channel) = seq.next_element()? {
                    if channels.len() == MAX_BELOW {
                        return Err(A::Error::invalid_length(MAX_BELOW + 1, &self));
                    }
                    channels.push(channel);
                }
                Ok(Below(channels))
            }
        }
        deserializer.deserialize_seq(Few(std::marker::PhantomData))
    }
}
