//! Streams, processes and descriptors, as far as tokio lacks them.
//!
//! Sockets, files, pipes and processes are tokio's own types and work inside a coroutine as they
//! are. This module adds:
//!
//! - [`framing`]: whole messages over any byte stream ([`MessageStream`]).
//! - [`tls`]: such streams encrypted, with certificates from PEM files.

pub mod framing;
pub mod tls;

pub use framing::{MessageReader, MessageStream, MessageWriter};
