//! The name of a function at a node, by which it is started.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Exchange, Imported, Inlet, Location, Message, NodeId,
    RemoteId,
};
use coros_core::schema::{self, Lent as Lends};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{NotStarted, StartError};
use super::inlet;
use super::offered::Offered;
use super::protocol::{Head, Replies, Types};
use super::remote_coro::RemoteCoro;
use super::swap::functions_of;
use super::table::Functions;

/// A function that a node [offers](crate::Node::offer): called there with `Args` it is a coroutine
/// that receives `M` and returns `R`.
///
/// It may be part of messages, as an address; and it is the same whether the node is this one
/// or another.
pub struct Rci<Args, M, R> {
    /// The part for functions of its node, which finds it by name; or its own number.
    pub(super) target: RemoteId,
    /// One that goes by its own number does not need it.
    pub(super) name: Arc<str>,
    pub(super) way: Way,
    types: PhantomData<fn(Args) -> (M, R)>,
}

#[derive(Clone)]
pub(super) enum Way {
    Here(Arc<Functions>),
    There(Arc<dyn Carrier>),
    /// It was this node's, which has closed.
    Gone,
}

impl<Args, M, R> Rci<Args, M, R> {
    pub(super) fn here(home: &Location, name: &str, functions: Arc<Functions>) -> Self {
        Rci::new(functions_of(home), name, Way::Here(functions))
    }

    pub(super) fn there(home: &Location, name: &str, carrier: Arc<dyn Carrier>) -> Self {
        Rci::new(functions_of(home), name, Way::There(carrier))
    }

    pub(super) fn new(target: RemoteId, name: &str, way: Way) -> Self {
        Rci {
            target,
            name: name.into(),
            way,
            types: PhantomData,
        }
    }

    /// The name under which it is offered, or for one that was located the name by which it was.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node that offers it.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.target.location
    }

    fn error(&self, args: Args, why: NotStarted) -> StartError<Args> {
        StartError {
            args,
            name: self.name.to_string(),
            node: self.target.location.to_string(),
            why,
        }
    }
}

impl<Args: Message, M: Message, R: Message> Rci<Args, M, R> {
    /// Has the function called at its node, once, as a new coroutine, and resolves when there is
    /// one. Waits for room on the link, and as long as the session with the node lasts.
    ///
    /// # Errors
    /// [`StartError`], which gives the arguments back: no such function, of other types, as many run as
    /// may, arguments that cannot travel; when the link is lost it may have been started.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the coroutine may have been started; it is detached then.
    pub async fn start(&self, args: Args) -> Result<RemoteCoro<M, R>, StartError<Args>> {
        match &self.way {
            Way::Here(functions) => self.start_here(functions, args),
            Way::There(carrier) => self.start_there(&**carrier, args).await,
            Way::Gone => Err(self.error(args, NotStarted::Unknown)),
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "public, and made once for a start that failed"
    )]
    fn start_here(
        &self,
        functions: &Arc<Functions>,
        args: Args,
    ) -> Result<RemoteCoro<M, R>, StartError<Args>> {
        let Some(inlet) = functions.find(&self.name) else {
            return Err(self.error(args, NotStarted::Unknown));
        };
        let function = Arc::clone(inlet.function());
        let offered = function.types();
        let Ok(function) = function.as_any().downcast::<Offered<Args, M, R>>() else {
            let asked = Types::of::<Args, M, R>();
            return Err(self.error(args, NotStarted::WrongTypes { asked, offered }));
        };
        match function.start_here(functions, args) {
            Ok((address, answer)) => Ok(RemoteCoro::new(address, answer)),
            Err((args, limit)) => Err(self.error(args, NotStarted::Limit(limit))),
        }
    }

    async fn start_there(
        &self,
        carrier: &dyn Carrier,
        args: Args,
    ) -> Result<RemoteCoro<M, R>, StartError<Args>> {
        let (started, answer) = remote::question();
        let (result, outcome) = remote::question();
        let lent = Arc::<Lent>::default();
        let delivery = {
            let head = Head::Start {
                name: self.name.to_string(),
                types: Types::of::<Args, M, R>(),
            };
            let replies = Replies { started, result };
            carrier.deliver(&self.target, &mut |buffer| {
                remote::encode(&head, buffer)?;
                remote::encode(&replies, buffer)?;
                lent.while_encoding(|| remote::encode(&args, buffer))
            })
        };
        if let Err(error) = delivery.await {
            return Err(self.error(args, not_delivered(error)));
        }
        let why = match answer.await {
            Some(Ok(address)) => return Ok(RemoteCoro::new(address, outcome)),
            Some(Err(why)) => why,
            None => NotStarted::Disconnected("it was lost before the answer came".to_owned()),
        };
        lent.undelivered();
        Err(self.error(args, why))
    }
}

fn not_delivered(error: CarryError) -> NotStarted {
    match error {
        CarryError::Codec(error) => NotStarted::Codec(error),
        CarryError::Disconnected(why) => NotStarted::Disconnected(*why),
        CarryError::Closed => NotStarted::Unknown,
        _ => NotStarted::Busy,
    }
}

/// What arguments have lent to the node that was to call a function with them. If that does not
/// know the function it cannot read them, so whoever sent them tells those who wait for a reply in them.
#[derive(Default)]
struct Lent {
    inlets: Mutex<Vec<Arc<dyn Inlet>>>,
}

impl Lent {
    /// Takes note of what `encode` exports.
    fn while_encoding<T>(self: &Arc<Self>, encode: impl FnOnce() -> T) -> T {
        let Some(exchange) = remote::exchange() else {
            return encode();
        };
        let noting = Noting {
            exchange,
            lent: Arc::clone(self),
        };
        remote::with_exchange(&(Arc::new(noting) as Arc<dyn Exchange>), encode)
    }

    fn undelivered(&self) {
        let mut inlets = self.inlets.lock().unwrap_or_else(PoisonError::into_inner);
        let inlets = std::mem::take(&mut *inlets);
        for inlet in inlets {
            inlet.undelivered();
        }
    }
}

struct Noting {
    exchange: Arc<dyn Exchange>,
    lent: Arc<Lent>,
}

impl Exchange for Noting {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let mut inlets = self
            .lent
            .inlets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        inlets.push(Arc::clone(&inlet));
        drop(inlets);
        self.exchange.export(inlet)
    }

    fn import(&self, id: &RemoteId) -> Imported {
        self.exchange.import(id)
    }

    fn import_reply(&self, id: &RemoteId) -> Imported {
        self.exchange.import_reply(id)
    }

    fn pass_on(&self, id: &RemoteId, carrier: &Arc<dyn Carrier>) {
        self.exchange.pass_on(id, carrier);
    }

    fn peer(&self) -> Option<NodeId> {
        self.exchange.peer()
    }

    fn session_over(&self) -> Option<BoxFuture<()>> {
        self.exchange.session_over()
    }
}

impl<Args: Message, M: Message, R: Message> Serialize for Rci<Args, M, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let (Way::There(carrier), Some(exchange)) = (&self.way, remote::exchange()) {
            exchange.pass_on(&self.target, carrier);
        }
        (&self.target, &*self.name).serialize(serializer)
    }
}

impl<'de, Args: Message, M: Message, R: Message> Deserialize<'de> for Rci<Args, M, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if schema::tracing() {
            schema::lent::<(Lends<Args>, Lends<M>, Lends<R>), D>("Rci", deserializer)?;
            return Ok(Rci::new(nowhere(), "", Way::Gone));
        }
        let (target, name) = <(RemoteId, String)>::deserialize(deserializer)?;
        let exchange = remote::exchange().ok_or_else(|| {
            D::Error::custom("a function of a node can only be part of a message between nodes")
        })?;
        let home = match exchange.import(&target) {
            Imported::Remote(carrier) => {
                return Ok(Rci::new(target, &name, Way::There(carrier)));
            }
            Imported::Local(inlet) => inlet::come_home(inlet),
            Imported::Gone => None,
        };
        Ok(match home {
            Some((functions, own)) => {
                let name = own.unwrap_or(name);
                Rci::here(&target.location, &name, functions)
            }
            None => Rci::new(target, &name, Way::Gone),
        })
    }
}

/// For one that is made up.
fn nowhere() -> RemoteId {
    RemoteId {
        location: Location {
            node: NodeId(0),
            name: "".into(),
            endpoint: None,
        },
        coroutine: 0,
    }
}

impl<Args, M, R> Clone for Rci<Args, M, R> {
    fn clone(&self) -> Self {
        Rci {
            target: self.target.clone(),
            name: Arc::clone(&self.name),
            way: self.way.clone(),
            types: PhantomData,
        }
    }
}

/// `name@node@127.0.0.1:4000`.
impl<Args, M, R> fmt::Display for Rci<Args, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.target.location)
    }
}

impl<Args, M, R> fmt::Debug for Rci<Args, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rci({self})")
    }
}
