//! Addresses of coroutines on other nodes, and how an address becomes bytes and back.

use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Address;
use crate::engine::Host;
use crate::mailbox::Mailbox;
use crate::remote::{
    self, Carrier, CarryError, CodecError, Imported, Inlet, Message, OnExit, RemoteId, Request,
    Unwatch,
};
use crate::schema;
use crate::send::{SendError, send_local};
use crate::swap::{SwapError, SwapFunction};

/// The way to a coroutine of another node.
pub(crate) struct Remote<M> {
    id: RemoteId,
    carrier: Arc<dyn Carrier>,
    /// How to write an `M`; kept here because only whoever made the address knew that `M` can be
    /// written.
    encode: fn(&M, &mut Vec<u8>) -> Result<(), CodecError>,
}

impl<M> Remote<M> {
    pub(crate) fn new(id: RemoteId, carrier: Arc<dyn Carrier>) -> Self
    where
        M: Message,
    {
        Remote {
            id,
            carrier,
            encode: remote::encode::<M>,
        }
    }

    pub(crate) fn id(&self) -> &RemoteId {
        &self.id
    }

    /// Whether both reach the same coroutine by the same carrier.
    pub(crate) fn has_same_way(&self, other: &Remote<M>) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.carrier, &other.carrier)
    }

    pub(crate) fn send(&self, message: M) -> Result<(), SendError<M>> {
        let sent = self
            .carrier
            .send(&self.id, &mut |buffer| (self.encode)(&message, buffer));
        sent.map_err(|error| SendError::from_carry(message, error))
    }

    /// [`send`](Remote::send) for when there was no room.
    pub(crate) async fn feed(&self, message: M) -> Result<(), SendError<M>> {
        let turn = self
            .carrier
            .feed(&self.id, &mut |buffer| (self.encode)(&message, buffer));
        turn.await
            .map_err(|error| SendError::from_carry(message, error))
    }

    pub(crate) async fn deliver(&self, message: M) -> Result<(), SendError<M>> {
        let delivery = self
            .carrier
            .deliver(&self.id, &mut |buffer| (self.encode)(&message, buffer));
        delivery
            .await
            .map_err(|error| SendError::from_carry(message, error))
    }

    /// [`deliver`](Remote::deliver) with a time limit.
    pub(crate) async fn deliver_timeout(
        &self,
        message: M,
        limit: Duration,
    ) -> Result<(), SendError<M>> {
        let delivery = self
            .carrier
            .deliver(&self.id, &mut |buffer| (self.encode)(&message, buffer));
        match tokio::time::timeout(limit, delivery).await {
            Ok(delivered) => delivered.map_err(|error| SendError::from_carry(message, error)),
            Err(_) => Err(SendError::TimedOut(message, limit)),
        }
    }

    /// Writes the name of the coroutine into a message.
    fn pass_on<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(exchange) = remote::exchange() {
            exchange.pass_on(&self.id, &self.carrier);
        }
        self.id.serialize(serializer)
    }

    pub(crate) fn watch(&self, on_exit: OnExit) -> Option<Unwatch> {
        self.carrier.watch(&self.id, on_exit)
    }

    pub(crate) fn request(&self, request: Request) {
        self.carrier.request(&self.id, request);
    }

    pub(crate) async fn swap(&self, function: &str, limit: Duration) -> Result<(), SwapError> {
        self.carrier.swap(&self.id, function, limit).await
    }
}

impl<M: Message> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.place() {
            Ok(_) => {
                let exchange = remote::require_exchange().map_err(S::Error::custom)?;
                exchange
                    .export(Arc::new(Exported(self.clone())))
                    .serialize(serializer)
            }
            Err(remote) => remote.pass_on(serializer),
        }
    }
}

impl<'de, M: Message> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if schema::tracing() {
            schema::lent::<M, D>("Address", deserializer)?;
            return Ok(Address::ended());
        }
        let id = RemoteId::deserialize(deserializer)?;
        let exchange = remote::require_exchange().map_err(D::Error::custom)?;
        match exchange.import(&id) {
            Imported::Remote(carrier) => Ok(Address::remote(Remote::new(id, carrier))),
            Imported::Local(inlet) => match inlet.as_any().downcast::<Exported<M>>() {
                Ok(exported) => Ok(exported.0.clone()),
                Err(_) => Err(D::Error::custom(format_args!(
                    "coroutine {} does not receive {}",
                    id.coroutine,
                    std::any::type_name::<M>()
                ))),
            },
            Imported::Gone => Ok(Address::ended()),
        }
    }
}

pub(crate) fn inlet<M: Message>(address: &Address<M>) -> Option<Arc<dyn Inlet>> {
    let exported = || Arc::new(Exported(address.clone())) as Arc<dyn Inlet>;
    address.place().is_ok().then(exported)
}

pub(crate) fn remote<M: Message>(id: RemoteId, carrier: Arc<dyn Carrier>) -> Address<M> {
    Address::remote(Remote::new(id, carrier))
}

/// The outside of a local coroutine whose messages can travel. It holds an address, since a peer
/// that has one may send.
struct Exported<M>(Address<M>);

impl<M: Message> Exported<M> {
    fn mailbox(&self) -> &Arc<Mailbox<M>> {
        match self.0.place() {
            Ok(mailbox) => mailbox,
            Err(_) => unreachable!("only local coroutines are exported"),
        }
    }
}

impl<M: Message> Inlet for Exported<M> {
    fn id(&self) -> u64 {
        self.0.id()
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        let message = remote::decode(payload)?;
        let sent = send_local(self.mailbox(), message);
        sent.map_err(|error| carry_error(&error))
    }

    fn deliver(&self, payload: &[u8]) -> remote::BoxFuture<Result<(), CarryError>> {
        let message = remote::decode::<M>(payload);
        let mailbox = Arc::clone(self.mailbox());
        Box::pin(async move {
            let delivered = crate::send::deliver_local(&mailbox, message?).await;
            delivered.map_err(|error| carry_error(&error))
        })
    }

    fn is_bounded(&self) -> bool {
        self.mailbox().is_bounded()
    }

    fn when_taken(&self, f: Box<dyn FnOnce() + Send>) {
        self.mailbox().when_taken(f);
    }

    fn watch(&self, on_exit: OnExit) {
        let _ = self.0.watch(on_exit);
    }

    fn request(&self, request: Request) {
        match request {
            Request::Terminate => self.0.terminate(),
            Request::Suspend => self.0.suspend(),
            Request::Resume => self.0.resume(),
        }
    }

    fn swap(
        &self,
        function: Arc<SwapFunction>,
        limit: Duration,
    ) -> remote::BoxFuture<Result<(), SwapError>> {
        let host = Arc::clone(self.mailbox()) as Arc<dyn Host>;
        Box::pin(async move { function.offer_to::<M>(&host, limit).await })
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn std::any::Any + Send + Sync> {
        self
    }
}

fn carry_error<M>(error: &SendError<M>) -> CarryError {
    match error {
        SendError::Full(_) | SendError::TimedOut(..) => CarryError::Full,
        SendError::Closed(_) => CarryError::Closed,
        SendError::Disconnected(_, why) => CarryError::Disconnected(Box::new(why.to_string())),
        SendError::Codec(_, why) => CarryError::Codec(why.clone()),
    }
}
