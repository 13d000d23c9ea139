//! Coroutines on many machines: the network layer of coros.

mod hex;
mod identity;
mod secret;
#[doc(hidden)] // Public for tests, fuzzing and benchmarks; no part of the API.
pub mod wire;

pub use identity::{Authority, Credentials, DEFAULT_NETWORK, IdentityError};
pub use secret::{Secret, SecretError};
