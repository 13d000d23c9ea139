//! Coroutines on many machines: the network layer of coros.

mod hex;
mod identity;
mod secret;

pub use identity::{Authority, Credentials, DEFAULT_NETWORK, IdentityError};
pub use secret::{Secret, SecretError};
