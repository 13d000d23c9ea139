//! Coroutines on many machines: the network layer of coros.
//!
//! A [`Node`] puts this process on a network. From then on the addresses of its coroutines can be
//! part of messages to other nodes, and work there as they do here: send, feed, deliver, ask, monitor,
//! terminate, suspend, swap. Functions that a node offers can be started from others by name
//! ([`Node::offer`], [`Rci`]). Links between nodes are mutual TLS 1.3, always; whoever has the network's [`Secret`]
//! belongs to it, and with nothing configured that is the user's own.
//!
//! # What holds
//!
//! - Messages of one sender to one receiver arrive in the order sent, each at most once. Notices
//!   that a coroutine has ended, requests, and answers to deliveries overtake messages.
//! - A link that breaks is made again, by either side, and what was under way goes on where it
//!   was: nothing is lost, nothing comes twice. That ends when it takes longer than
//!   [`Builder::grace`], or when it is clear that the peer's process is no more, since its system
//!   refuses a dial. Then every delivery, question and monitor that goes over it ends with
//!   `Disconnected`. Nothing waits for ever for a dead machine: a closed connection is seen at once,
//!   a silent peer within [`Builder::silence`] and a tenth, and the grace comes on top. So it does
//!   for a peer that [listens nowhere](Builder::no_listen) whenever its connection closes: nobody can
//!   ask whether its process lives.
//! - The next use of an address begins another session.
//! - A link that nobody uses is closed ([`Builder::idle`]), which is no event and ends nothing: the
//!   next use of an address makes another. So many peers without a link are kept, and not more.
//! - A question that is passed on is answered by way of each node that it passed through. When it is
//!   lost behind the first of these, whoever asks gets `NoReply`, because its own session goes on.
//! - An address that has gone to another node counts as one until the last handle of it there is
//!   dropped, or the session with that node ends: then a coroutine's `receive` returns `None` as it
//!   does without a network. Whoever waits for an end has no address. One that is passed on to a third
//!   node is kept by whoever passes it on until the coroutine ends, or his session with one of the two.
//! - What is under way to one coroutine from one node, until it has taken it out of its mailbox, is
//!   bounded (1 MiB, or one message), also for unbounded mailboxes: then `send` gives the message
//!   back, and `feed`, `deliver` and `ask` wait, in turn. So a slow receiver holds up its own senders
//!   and nobody else. Subscribers of a channel are excepted: what their node has taken is spread over
//!   their mailboxes at once, so one that may be slow needs a mailbox with a bound.
//!   Messages that one node keeps for another, and of another, are bounded in all
//!   ([`Builder::outbox`]), and so is what else a peer can make a node keep: answers and messages of
//!   channels that wait, in one account, and each for itself watches and names. An idle
//!   link costs some 26 KB, nearly all of which is for TLS (as `bench/remote` measures it).
//! - A function is started at most once; how many run for a peer is bounded, and, unless it was
//!   offered otherwise, they end with its session.
//! - A name given by one node ([`Node::register`]) is known to all others, and gone from them when whoever
//!   has it ends or its node is lost. Neighbours learn of a change as fast as of a message, others hop by
//!   hop; what was missed is made up for within a second and three latencies a hop. What is located is
//!   of the type asked for, by the shape of that type, or an error says what it is instead.
//! - A message of a channel goes to each node once, for all that have subscribed there. A
//!   subscription from afar ends with the session: those who have subscribed are released, and the
//!   channel does not count them any more.
//! - A file is whole in its place, compared by hash, or not there; it delays no message, and no name
//!   leads out of the folder that a node has opened for files ([`Builder::files`]).
//!
//! # How it is made
//!
//! `wire` (the frames), `session` (what is owed to whom), `outbox` (what is to be written, and
//! written again) and `rendezvous` are plain state machines; `link`, `greeting`, `redial` and `node`
//! are the tasks around them, `peer` is where the two meet.
//! All time is tokio's, so a test can pause it; bytes go over a [`Transport`].

mod buffer;
mod builder;
mod carrier;
mod census;
#[doc(hidden)]
pub mod clock;
mod deliveries;
mod discovery;
mod dormancy;
mod event_queue;
mod events;
mod exports;
mod files;
mod functions;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod greeting;
mod hex;
mod id_hash;
mod identity;
mod imports;
mod inflow;
mod link;
mod membership;
mod names;
mod naming;
mod node;
mod parts;
mod peer;
mod pending;
mod ping;
mod read_ahead;
mod redial;
#[cfg(test)]
mod release_tests;
mod rendezvous;
#[cfg(test)]
mod rogue_tests;
mod roster;
mod scope;
mod secret;
mod tame;
mod tcp;
mod tls;
mod transport;
mod unheard;

// Public for tests and benchmarks; no part of the API.
#[doc(hidden)]
pub mod outbox;
#[doc(hidden)]
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
#[doc(hidden)]
pub mod wire;

pub use builder::Builder;
#[doc(hidden)]
pub use census::Census;
pub use coros_core::remote::{BoxFuture, Location, NodeId};
pub use discovery::{HostPort, NotHostPort, PeersFileError, Resolve, SystemResolver};
pub use events::PeerEvent;
pub use files::{
    DeleteFileError, FetchFile, FetchFileError, FileName, Folder, NameError, NotReceived, Progress,
    Received, Refusal, SendFile, SendFileError, Transferred, Verified,
};
pub use functions::{
    LimitReached, NotStarted, Offer, OfferError, Rci, RemoteCoro, RemoteJoin, StartError, Types,
};
pub use identity::{
    Authority, Credentials, DEFAULT_NETWORK, IdentityError, NodeCertificate, Validity,
};
pub use names::{LocateError, Named, RegisterError, WrongType};
pub use node::{ConnectError, Node, NodeError};
pub use ping::PingError;
pub use secret::{Secret, SecretError};
pub use tcp::TcpTransport;
pub use tls::HandshakeError;
pub use transport::{BoxListener, BoxStream, ByteStream, Listener, Transport};
#[doc(hidden)]
pub use unheard::{Printing, print_unheard, say_unheard};
