//! The seam between local and remote coroutines.
//!
//! Code of users never names this module. It is what a networking layer (`coros-net`) implements
//! so that an [`Address`] works the same wherever its coroutine lives:
//!
//! - An [`Inlet`] is the outside of a local coroutine (or of a pending reply): it takes messages
//!   as bytes. Serialising a local address hands its inlet to the [`Exchange`] in scope, which
//!   remembers it and answers with the [`RemoteId`] that goes over the wire.
//! - A [`Carrier`] takes bytes to a coroutine of another node. Deserialising an address asks the
//!   exchange in scope for the carrier that reaches the address's node, or, when the address has
//!   come home, for the inlet itself.
//!
//! The exchange in scope is a thread-local that [`with_exchange`] sets around encoding and
//! decoding: both are synchronous, so it is never held across an await point. Serialising an
//! address with no exchange in scope is an error that says so: an address means nothing outside a
//! message between nodes.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

use crate::swap::{SwapError, SwapFunction};
use crate::{Address, Channel, Exit, readable};

pub use crate::readable::{MAX_TOLD, readable_lines_within, readable_within, told};
pub use crate::reply::{Answer, answer, give_up, given_up, question};

/// A message that can go to another node: any type that serde can write and read.
///
/// Implemented for every such type; local coroutines take messages of any `Send` type.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Message for T {}

/// Identifies one run of one node: 128 bits, new at each start. A node makes it of the key of its
/// launch, so that nobody else can claim it.
///
/// A restarted process is another node, so an address from before the restart reaches nobody
/// rather than a stranger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// The longest name of a node, in bytes: of a longer one no more is shown, and no message with one is taken.
const MAX_NODE_NAME: usize = 128;

/// The name of a node, as somebody else says it: it may be kept.
fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let name = Arc::<str>::deserialize(deserializer)?;
    match name.len() {
        0..=MAX_NODE_NAME => Ok(name),
        n => Err(D::Error::custom(format_args!(
            "the name of a node has {n} bytes, and may have {MAX_NODE_NAME}"
        ))),
    }
}

/// A node as others refer to it: who it is and where it listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Location {
    /// This run of the node; alone decides equality.
    pub node: NodeId,
    /// Its name, for people: at most 128 bytes where it comes in a message.
    #[serde(deserialize_with = "node_name")]
    pub name: Arc<str>,
    /// Where it can be dialled; `None` for a node that accepts no connections.
    pub endpoint: Option<SocketAddr>,
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Eq for Location {}

impl std::hash::Hash for Location {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.node.hash(state);
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of nodes that only others have spoken of nobody has looked at the name.
        let end = self.name.floor_char_boundary(MAX_NODE_NAME);
        f.write_str(&readable(&self.name[..end]))?;
        match self.endpoint {
            Some(endpoint) => write!(f, "@{endpoint}"),
            None => Ok(()),
        }
    }
}

/// Names a coroutine (or a pending reply) anywhere: what an address is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteId {
    /// The node where it lives.
    pub location: Location,
    /// Its number there, never used twice within a run of the node.
    pub coroutine: u64,
}

/// Coroutines are numbered from here on. The numbers below are for the parts of a node that all its
/// peers may reach without having been told of an address.
pub const RESERVED: u64 = 1024;

/// A number for something of this process that peers reach as they reach a coroutine; never used
/// twice in a process.
#[must_use]
pub fn new_number() -> u64 {
    crate::control::next_id()
}

/// The outside of a local coroutine, for the networking layer's own use; `None` for a coroutine of
/// another node. It counts as an address.
#[must_use]
pub fn inlet<M: Message>(address: &Address<M>) -> Option<Arc<dyn Inlet>> {
    crate::wire::inlet(address)
}

/// The address of a coroutine of another node, by its number.
#[must_use]
pub fn address<M: Message>(id: RemoteId, carrier: Arc<dyn Carrier>) -> Address<M> {
    crate::wire::remote(id, carrier)
}

/// The outside of a local channel, for the networking layer's own use; `None` for a channel of
/// another node. It counts as a handle.
#[must_use]
pub fn channel_inlet<M: Message + Clone>(channel: &Channel<M>) -> Option<Arc<dyn Inlet>> {
    crate::channel::channel_inlet(channel)
}

/// The handle of a channel of another node, by its number.
#[must_use]
pub fn channel<M: Message + Clone>(id: RemoteId, carrier: Arc<dyn Carrier>) -> Channel<M> {
    crate::channel::channel(id, carrier)
}

/// What can be asked of a coroutine besides taking a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// [`Address::terminate`](crate::Address::terminate).
    Terminate,
    /// [`Address::suspend`](crate::Address::suspend).
    Suspend,
    /// [`Address::resume`](crate::Address::resume).
    Resume,
}

/// Why a message did not get into a mailbox on another node, or into an [`Inlet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CarryError {
    /// The coroutine has ended, or never was.
    #[error("the coroutine has ended")]
    Closed,
    /// Its bounded mailbox has no room, or as much waits for its node as may.
    #[error(
        "no room now, in the coroutine's mailbox or in what waits for its node: `feed` and `deliver` \
         wait for room, `send` does not"
    )]
    Full,
    /// There is no link to its node, and none could be made, or the link was lost.
    #[error("no link to the coroutine's node: {0}")]
    // Boxed, as the next: in two words the result of every send is handed over in registers.
    Disconnected(Box<String>),
    /// The message could not be encoded or decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A value that could not be encoded or decoded.
///
/// One word, since the result of everything that encodes or decodes has room for it.
#[derive(Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("cannot {} a {}: {}", .0.action, .0.type_name, .0.reason)]
pub struct CodecError(Box<Failure>);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failure {
    action: String,
    type_name: String,
    reason: String,
}

impl CodecError {
    /// An error in an `action` (`encode`, `decode` or `send`) on a value of a Rust type, and what
    /// the codec said.
    #[must_use]
    pub fn new(action: &str, type_name: &str, reason: impl Into<String>) -> Self {
        CodecError(Box::new(Failure {
            action: action.into(),
            type_name: type_name.into(),
            reason: reason.into(),
        }))
    }

    /// The same of the user's type, and not ours around it.
    #[must_use]
    pub(crate) fn of_type<T>(mut self) -> Self {
        self.0.type_name = std::any::type_name::<T>().into();
        self
    }

    /// The same in other words: `f` is called with each part of it.
    #[must_use]
    pub fn map(&self, f: impl Fn(&str) -> String) -> Self {
        CodecError(Box::new(Failure {
            action: f(&self.0.action),
            type_name: f(&self.0.type_name),
            reason: f(&self.0.reason),
        }))
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodecError({self})")
    }
}

/// A boxed future that can be sent between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Appends one encoded message to the buffer that the carrier hands it.
///
/// A carrier calls it within [`with_exchange`]. On an error the buffer may hold part of the
/// message: the carrier truncates it.
pub type Encode<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<(), CodecError>;

/// Called once with the reason for which a coroutine ended.
pub type OnExit = Box<dyn FnOnce(Exit) + Send>;

/// Takes a watcher back; false when it has been called, or is being called. Dropped without a call
/// it changes nothing.
pub type Unwatch = Box<dyn FnOnce() -> bool + Send + Sync>;

/// Takes messages to coroutines of other nodes.
///
/// One object serves a whole node, or one coroutine: handles keep the carrier that the
/// [`Exchange`] has given them, so one that is made for a coroutine knows by its own end that
/// nobody here has a handle any more.
pub trait Carrier: Send + Sync + 'static {
    /// Queues a message for `to` and returns at once; messages that one sender queues for one
    /// receiver arrive in that order.
    ///
    /// # Errors
    /// [`CarryError::Codec`] when `encode` fails, [`CarryError::Disconnected`] when it is known
    /// that the node cannot be reached, [`CarryError::Full`] when as much waits for that node as
    /// may wait. `Ok` does not say that the message arrives.
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError>;

    /// Queues the answer to a question that came from another node. It is awaited, so it needs no
    /// room in a mailbox.
    ///
    /// # Errors
    /// As [`send`](Carrier::send).
    fn answer(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.send(to, encode)
    }

    /// Queues a message as soon as there is room, and resolves then. Dropped while it waits, the
    /// message is not sent. A carrier that has no other way waits until the message has arrived.
    ///
    /// # Errors
    /// As [`send`](Carrier::send) except `Full`; `Disconnected` also when that happens while it waits.
    fn feed(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        self.deliver(to, encode)
    }

    /// Queues a message and resolves when it is in the receiver's mailbox. Waits while too much
    /// waits for the receiver or its node. Dropped while it waits, the message is not sent.
    ///
    /// # Errors
    /// As [`send`](Carrier::send) except `Full`, and what the receiving node answers; `Disconnected` when the
    /// link is lost before the answer.
    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>>;

    /// Calls `on_exit` once: when the coroutine ends, at once if it has ended, with
    /// [`Exit::Disconnected`] when the link is lost, with [`Exit::Unwatched`] when as many ends are
    /// waited for as may be. What takes that back is no handle of the
    /// coroutine; `None` when there is nothing to take back.
    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch>;

    /// Passes on a request; lost without a word when the node cannot be reached.
    fn request(&self, to: &RemoteId, request: Request);

    /// Offers the coroutine a function that its node has under this name, and resolves when it
    /// has taken over, or with what keeps it from that; within `limit` and the time that it takes
    /// to find that the link is lost.
    ///
    /// # Errors
    /// As [`Address::swap_to`]. [`SwapError::Remote`] by a carrier that cannot pass on such offers.
    fn swap(
        &self,
        to: &RemoteId,
        function: &str,
        limit: Duration,
    ) -> BoxFuture<Result<(), SwapError>> {
        let _ = (to, function, limit);
        Box::pin(async { Err(SwapError::Remote) })
    }
}

/// The outside of a local coroutine or pending reply: takes messages that come as bytes.
///
/// Called within [`with_exchange`], because decoding may meet addresses.
pub trait Inlet: Send + Sync + 'static {
    /// The coroutine's number in this process, never used twice.
    fn id(&self) -> u64;

    /// Decodes a message and puts it into the mailbox; never waits.
    ///
    /// # Errors
    /// `Closed`, `Full` or `Codec`.
    fn receive(&self, payload: &[u8]) -> Result<(), CarryError>;

    /// Decodes a message and resolves when it is in the mailbox: waits for room in a full one.
    ///
    /// # Errors
    /// `Closed` or `Codec`.
    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>>;

    /// Whether the mailbox may have no room, so that [`receive`](Inlet::receive) fails and
    /// [`deliver`](Inlet::deliver) waits.
    fn is_bounded(&self) -> bool {
        false
    }

    /// Calls `f` once: when all messages that are queued in the mailbox now have been taken out of
    /// it, at once if there are none. One that the coroutine has been woken for does not count.
    ///
    /// `f` runs where the coroutine does, and must not block.
    fn when_taken(&self, f: Box<dyn FnOnce() + Send>) {
        f();
    }

    /// Calls `on_exit` once, at once if the coroutine has ended.
    fn watch(&self, on_exit: OnExit);

    /// Carries out a request.
    fn request(&self, request: Request);

    /// Offers the coroutine a function of this process.
    ///
    /// # Errors
    /// As [`Address::swap_to`]; a pending reply has no function, and counts as one that has ended.
    fn swap(
        &self,
        function: Arc<SwapFunction>,
        limit: Duration,
    ) -> BoxFuture<Result<(), SwapError>> {
        let _ = (function, limit);
        Box::pin(async { Err(SwapError::Ended(Exit::Finished)) })
    }

    /// A message in which this inlet was named did not get into a mailbox, and nobody has read
    /// it. A pending reply ends without an answer; a coroutine does not mind.
    fn undelivered(&self) {}

    /// Whether this takes one answer and no messages. So it ends by itself, and a peer that has been
    /// told of it need not say that it has let go of it.
    fn is_reply(&self) -> bool {
        false
    }

    /// The session with the last node that had been told of this is over. For a pending reply there
    /// will be no answer; a coroutine does not mind.
    fn lost(&self) {}

    /// For an address that has come home: the local object behind this inlet.
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// What turns addresses into wire form and back: a node.
pub trait Exchange: Send + Sync {
    /// Remembers the inlet under its number, so that peers reach it, and names it for the wire.
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId;

    /// Finds the way to a coroutine.
    fn import(&self, id: &RemoteId) -> Imported;

    /// Finds the way to a pending [reply](Inlet::is_reply).
    fn import_reply(&self, id: &RemoteId) -> Imported {
        self.import(id)
    }

    /// A handle of a coroutine of another node is written, which has this carrier: that must not
    /// be the last one here before whoever reads it has one.
    fn pass_on(&self, id: &RemoteId, carrier: &Arc<dyn Carrier>) {
        let _ = (id, carrier);
    }

    /// The node whose messages are read in this exchange, if it is for one alone: a channel
    /// believes a node only what it says of itself.
    fn peer(&self) -> Option<NodeId> {
        None
    }

    /// Resolves when the session is over in which the message has come that is read in this
    /// exchange; `None` if it has come in none.
    fn session_over(&self) -> Option<BoxFuture<()>> {
        None
    }
}

/// The way to a coroutine whose address came over the wire.
pub enum Imported {
    /// It lives on another node.
    Remote(Arc<dyn Carrier>),
    /// It lives here.
    Local(Arc<dyn Inlet>),
    /// It lived here and has ended.
    Gone,
}

// Borrowed: all threads would count at the same place, message by message.
scoped_tls::scoped_thread_local!(static EXCHANGE: Arc<dyn Exchange>);

/// Runs `f` with `exchange` in scope: addresses that `f` encodes or decodes go through it.
///
/// Scopes nest; the innermost counts. A panic in `f` ends the scope.
pub fn with_exchange<T>(exchange: &Arc<dyn Exchange>, f: impl FnOnce() -> T) -> T {
    EXCHANGE.set(exchange, f)
}

/// The exchange in scope.
#[must_use]
pub fn exchange() -> Option<Arc<dyn Exchange>> {
    EXCHANGE.is_set().then(|| EXCHANGE.with(Arc::clone))
}

/// Appends `value` in the wire's encoding (postcard) to `buffer`.
///
/// # Errors
/// When the type's `Serialize` fails, as an address does without an exchange in scope; what was
/// in the buffer before stays, and part of the value may follow it.
pub fn encode<T: Serialize>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    REFUSAL.set(None);
    postcard::serialize_with_flavor(value, Append(buffer)).map_err(|reason| {
        // Postcard drops the text of an error that a `Serialize` makes; ours is kept beside it.
        match REFUSAL.take() {
            Some(refusal) => codec_error::<T>("encode", &refusal),
            None => postcard_error::<T>("encode", &reason),
        }
    })
}

/// A postcard flavor that appends to a buffer it does not own.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

thread_local! {
    static REFUSAL: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The exchange in scope, or why an address cannot be written or read without one.
pub(crate) fn require_exchange() -> Result<Arc<dyn Exchange>, &'static str> {
    exchange().ok_or_else(|| {
        let refusal = "an address can only be part of a message between nodes: \
                       there is no node in scope to make it reachable";
        REFUSAL.set(Some(refusal));
        refusal
    })
}

/// Reads a value in the wire's encoding, all of `bytes`.
///
/// # Errors
/// When the bytes are not exactly one `T`.
#[inline]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut from = postcard::Deserializer::from_bytes(bytes);
    // Not moved about more than it takes: messages are what there is most of.
    match (T::deserialize(&mut from), from.finalize()) {
        (Ok(value), Ok([])) => Ok(value),
        (value, rest) => Err(undecoded(value, rest)),
    }
}

/// Why the value was not decoded, or not all of the bytes.
#[cold]
fn undecoded<T>(value: postcard::Result<T>, rest: postcard::Result<&[u8]>) -> CodecError {
    match (value, rest) {
        (Err(reason), _) | (_, Err(reason)) => postcard_error::<T>("decode", &reason),
        (Ok(_), Ok(rest)) => {
            let reason = format!("{} bytes are left over", rest.len());
            codec_error::<T>("decode", &reason)
        }
    }
}

/// Reads a value at the start of `bytes`; what follows it.
///
/// # Errors
/// When the bytes do not begin with a `T`.
pub fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    postcard::take_from_bytes(bytes).map_err(|reason| postcard_error::<T>("decode", &reason))
}

fn codec_error<T>(action: &str, reason: &dyn fmt::Display) -> CodecError {
    CodecError::new(action, std::any::type_name::<T>(), reason.to_string())
}

/// What postcard says; for what a type does that postcard is not made for, with the usual cause.
fn postcard_error<T>(action: &str, reason: &postcard::Error) -> CodecError {
    use postcard::Error;
    let hint = match reason {
        Error::WontImplement
        | Error::NotYetImplemented
        | Error::SerializeSeqLengthUnknown
        | Error::DeserializeBadOption
        | Error::DeserializeBadBool => {
            "; the encoding (postcard) has no names of fields and types, which \
             #[serde(untagged)], #[serde(tag)], #[serde(flatten)], \
             #[serde(skip_serializing_if)] and serde_json::Value need"
        }
        _ => "",
    };
    codec_error::<T>(action, &format_args!("{reason}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u32),
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<u32>,
        second: u32,
    }

    /// Whoever sends it may have many kept.
    #[test]
    fn a_node_with_a_name_that_no_node_can_have_is_not_read() {
        let read = |length| {
            let location = Location {
                node: NodeId(7),
                name: "n".repeat(length).into(),
                endpoint: None,
            };
            let mut bytes = Vec::new();
            encode(&location, &mut bytes).unwrap();
            decode::<Location>(&bytes).map(|it| it.name.len())
        };
        assert_eq!(read(MAX_NODE_NAME).unwrap(), MAX_NODE_NAME);
        assert!(read(MAX_NODE_NAME + 1).is_err());
    }

    #[test]
    fn a_type_that_needs_names_on_the_wire_is_told_so() {
        let mut bytes = Vec::new();
        encode(&Untagged::Number(7), &mut bytes).unwrap();
        let error = decode::<Untagged>(&bytes).unwrap_err().to_string();
        assert!(error.contains("#[serde(untagged)]"), "{error}");

        bytes.clear();
        let skips = Skips {
            first: None,
            second: 7,
        };
        encode(&skips, &mut bytes).unwrap();
        let error = decode::<Skips>(&bytes).unwrap_err().to_string();
        assert!(error.contains("#[serde(skip_serializing_if)]"), "{error}");

        let error = decode::<u64>(&[]).unwrap_err().to_string();
        assert!(!error.contains("serde"), "{error}");
    }
}
