//! Streams, processes and descriptors, as far as tokio lacks them.
//!
//! Sockets, files, pipes and processes are tokio's own types and work inside a coroutine as they
//! are. This module adds:
//!
//! - [`framing`]: whole messages over any byte stream ([`MessageStream`]).
//! - [`tls`]: such streams encrypted, with certificates from PEM files.
//! - [`Pipeline`]: processes chained by pipes.
//! - [`LineFile`]: lines and bytes from anything that reads or writes, on unix from any file
//!   descriptor too (`Descriptor`).

#[cfg(unix)]
mod descriptor;
pub mod framing;
mod line_file;
mod pipeline;
pub mod tls;

#[cfg(unix)]
pub use descriptor::Descriptor;
pub use framing::{MessageReader, MessageStream, MessageWriter};
pub use line_file::{DEFAULT_LINE_LIMIT, LineFile, ReadLineError};
pub use pipeline::{
    DEFAULT_STDERR_KEPT, Pipeline, PipelineOutput, RunningPipeline, SpawnPipelineError, StderrTail,
    command,
};
