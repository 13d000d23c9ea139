//! What goes wrong when messages are sent and received.
//!
//! Each error says all it knows in its own text, so none has a `source` that would repeat it.

use std::io;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendMessageError {
    /// The message exceeds the limit of this end. Nothing was sent; the stream goes on.
    #[error("a message of {size} bytes was not sent: the limit is {limit} bytes")]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// serde could not write the value. Nothing was sent; the stream goes on.
    #[error("the message could not be encoded: {0}")]
    Encode(postcard::Error),
    /// The stream failed.
    #[error("the stream failed while sending a message: {0}")]
    Io(io::Error),
}

impl From<io::Error> for SendMessageError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

/// Why no message was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveMessageError {
    /// The peer announced a message that exceeds the limit of this end. Nothing was reserved for
    /// it, and the stream is of no use any more.
    #[error(
        "the peer sends a message of {size} bytes, the limit is {limit} bytes; or it does not \
         speak in frames of this kind"
    )]
    TooLarge {
        /// The announced size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The stream ended inside of a frame.
    #[error("the stream ended in the middle of a message: {received} of {expected} bytes came")]
    CutShort {
        /// How many bytes of the frame came, its length field included.
        received: usize,
        /// How many bytes the frame has, its length field included; the 4 of that field alone
        /// while it is not complete.
        expected: usize,
    },
    /// The message is not what was expected. It is consumed; the stream goes on.
    #[error("a message of {size} bytes is no {expected}: {why}")]
    Decode {
        /// The message's size in bytes.
        size: usize,
        /// The name of the expected type.
        expected: &'static str,
        /// What postcard says.
        why: postcard::Error,
    },
    /// The message is longer than what was expected, so it is something else. It is consumed; the
    /// stream goes on.
    #[error("a message of {size} bytes is no {expected}: {excess} bytes are left over")]
    Excess {
        /// The message's size in bytes.
        size: usize,
        /// The name of the expected type.
        expected: &'static str,
        /// How many bytes were left.
        excess: usize,
    },
    /// The stream failed.
    #[error("the stream failed while receiving a message: {0}")]
    Io(io::Error),
    /// An earlier receive failed; where the next frame begins is unknown.
    #[error("the stream failed before: nothing more can be received from it")]
    Broken,
}

impl From<io::Error> for ReceiveMessageError {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}
