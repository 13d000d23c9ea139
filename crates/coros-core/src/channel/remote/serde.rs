//! How a channel becomes bytes and back.

use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::inlet::ChannelInlet;
use super::relays;
use crate::channel::Channel;
use crate::remote::{self, Carrier, Imported, Inlet, Message, RemoteId};
use crate::schema;

impl<M: Message + Clone> Serialize for Channel<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.inner.home {
            None => {
                let exchange = remote::require_exchange().map_err(S::Error::custom)?;
                exchange.export(inlet(self)).serialize(serializer)
            }
            Some(home) => home.pass_on(serializer),
        }
    }
}

impl<'de, M: Message + Clone> Deserialize<'de> for Channel<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if schema::tracing() {
            schema::lent::<M, D>("Channel", deserializer)?;
            return Ok(Channel::ended());
        }
        let id = RemoteId::deserialize(deserializer)?;
        let exchange = remote::require_exchange().map_err(D::Error::custom)?;
        match exchange.import(&id) {
            Imported::Remote(carrier) => Ok(relays::find(id, carrier)),
            Imported::Local(inlet) => match inlet.as_any().downcast::<ChannelInlet<M>>() {
                Ok(inlet) => Ok(inlet.0.clone()),
                Err(_) => Err(D::Error::custom(format_args!(
                    "{} is no channel of {}",
                    id.coroutine,
                    std::any::type_name::<M>()
                ))),
            },
            Imported::Gone => Ok(Channel::ended()),
        }
    }
}

/// The outside of a channel of this node.
fn inlet<M: Message + Clone>(channel: &Channel<M>) -> Arc<dyn Inlet> {
    Arc::new(ChannelInlet(channel.clone()))
}

/// See [`remote::channel_inlet`](crate::remote::channel_inlet).
pub(crate) fn channel_inlet<M: Message + Clone>(channel: &Channel<M>) -> Option<Arc<dyn Inlet>> {
    channel.inner.home.is_none().then(|| inlet(channel))
}

/// See [`remote::channel`](crate::remote::channel).
pub(crate) fn channel<M: Message + Clone>(id: RemoteId, carrier: Arc<dyn Carrier>) -> Channel<M> {
    relays::find(id, carrier)
}

impl<M> Channel<M> {
    /// One that has been closed.
    fn ended() -> Self {
        let channel = Channel::new();
        channel.close();
        channel
    }
}
