//! Coroutines on many machines: the network layer of coros.

mod buffer;
mod builder;
mod carrier;
mod events;
mod exports;
mod greeting;
mod hex;
mod identity;
mod link;
mod node;
mod peer;
mod pending;
mod rendezvous;
#[cfg(test)]
mod rogue_tests;
mod scope;
mod secret;
mod tls;

// Public for tests, fuzzing and benchmarks; no part of the API.
#[doc(hidden)]
pub mod outbox;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod wire;

pub use builder::Builder;
pub use coros_core::remote::{Location, NodeId};
pub use events::PeerEvent;
pub use identity::{Authority, Credentials, DEFAULT_NETWORK, IdentityError};
pub use node::{ConnectError, Node, NodeError};
pub use secret::{Secret, SecretError};
pub use tls::HandshakeError;
