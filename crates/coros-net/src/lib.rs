//! Coroutines on many machines: the network layer of coros.

mod hex;
mod identity;
mod secret;
mod tls;

// Public for tests, fuzzing and benchmarks; no part of the API.
#[doc(hidden)]
pub mod outbox;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod wire;

pub use identity::{Authority, Credentials, DEFAULT_NETWORK, IdentityError};
pub use secret::{Secret, SecretError};
pub use tls::HandshakeError;
