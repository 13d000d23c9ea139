//! Whole messages over a byte stream.
//!
//! A stream of bytes (TCP, Unix, TLS, a pipe, an in-memory duplex) has no message boundaries; a
//! frame adds them. On the wire, one frame after the other:
//!
//! ```text
//!  byte   0        1        2        3        4            4 + length - 1
//!        +--------+--------+--------+--------+------- ... -------+
//!        | length: u32, big-endian           | payload           |
//!        +--------+--------+--------+--------+------- ... -------+
//! ```
//!
//! `length` counts the payload alone; 0 is an empty message. It is the frame of asyncoro's
//! `send_msg` and `recv_msg`. What the payload means is up to the two ends: bytes
//! ([`send_message`](MessageStream::send_message)) or any serde type, as postcard
//! ([`send`](MessageStream::send)).
//!
//! Both ends have a limit of the payload's size, [`DEFAULT_MESSAGE_LIMIT`] unless given. A sender
//! refuses a larger message before anything is written; a receiver refuses the frame when it has
//! seen the length, before it reserves memory. And it never reserves much more than what has
//! arrived: a peer that announces a large frame and sends nothing costs nothing.
//!
//! A stream that ends between two frames is a clean end (`None`). One that ends inside of a frame
//! is an error, and after any error of the stream, receiving fails for ever: there is no way to
//! tell where the next frame begins.

mod codec;
mod error;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::codec::{Framed, FramedParts, FramedRead, FramedWrite};

pub use codec::MessageCodec;
pub use error::{ReceiveMessageError, SendMessageError};

/// The largest payload, in bytes, that is sent or received unless another limit is given: 16 MiB.
pub const DEFAULT_MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// Sends and receives messages over one byte stream.
///
/// To send in one coroutine and receive in another, take it apart with
/// [`into_split`](Self::into_split), or put a [`MessageReader`] and a [`MessageWriter`] on the
/// halves that the stream's own `into_split` gives.
///
/// # Examples
///
/// ```
/// use coros_core::io::MessageStream;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (near, far) = tokio::io::duplex(1024);
/// let (mut near, mut far) = (MessageStream::new(near), MessageStream::new(far));
///
/// near.send_message(b"plain bytes").await?;
/// assert_eq!(far.receive_message().await?.as_deref(), Some(&b"plain bytes"[..]));
///
/// near.send(&("answer", 42)).await?;
/// assert_eq!(far.receive::<(String, i32)>().await?, Some(("answer".into(), 42)));
///
/// drop(near);
/// assert_eq!(far.receive_message().await?, None);
/// # Ok(()) }
/// ```
pub type MessageStream<S> = Messages<Framed<S, MessageCodec>>;

/// Receives messages from one byte stream, or from half of one.
///
/// # Examples
///
/// ```
/// use coros_core::io::{MessageReader, MessageWriter};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (read, write) = tokio::io::simplex(64);
/// let mut reader = MessageReader::new(read);
/// let mut writer = MessageWriter::new(write);
/// writer.send_message(b"hello").await?;
/// assert_eq!(reader.receive_message().await?.as_deref(), Some(&b"hello"[..]));
/// # Ok(()) }
/// ```
pub type MessageReader<R> = Messages<FramedRead<R, MessageCodec>>;

/// Sends messages to one byte stream, or to half of one.
///
/// See [`MessageReader`] for an example.
pub type MessageWriter<W> = Messages<FramedWrite<W, MessageCodec>>;

/// What [`MessageStream`], [`MessageReader`] and [`MessageWriter`] have in common: messages over a
/// stream of frames, in one direction or in both.
#[derive(Debug)]
pub struct Messages<F> {
    framed: F,
    /// Receiving has failed: where the next frame begins is unknown.
    broken: bool,
}

impl<F> Messages<F> {
    fn over(framed: F) -> Self {
        Messages {
            framed,
            broken: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> MessageStream<S> {
    /// Messages of at most [`DEFAULT_MESSAGE_LIMIT`] bytes over `stream`.
    pub fn new(stream: S) -> Self {
        Self::with_limit(stream, DEFAULT_MESSAGE_LIMIT)
    }

    /// Messages of at most `limit` bytes over `stream`, in both directions.
    ///
    /// The length field cannot say more than `u32::MAX`; a larger limit is cut to that.
    pub fn with_limit(stream: S, limit: usize) -> Self {
        Self::over(Framed::new(stream, MessageCodec::new(limit)))
    }

    /// A half that receives and one that sends, for two coroutines.
    pub fn into_split(self) -> (MessageReader<ReadHalf<S>>, MessageWriter<WriteHalf<S>>) {
        let parts = self.framed.into_parts();
        let (read, write) = tokio::io::split(parts.io);
        let mut reader = FramedRead::new(read, parts.codec.clone());
        *reader.read_buffer_mut() = parts.read_buf;
        let mut writer = FramedWrite::new(write, parts.codec);
        *writer.write_buffer_mut() = parts.write_buf;
        let mut reader = Messages::over(reader);
        reader.broken = self.broken;
        (reader, Messages::over(writer))
    }

    /// The stream and what was read from it beyond the last message.
    ///
    /// What a dropped send left unwritten is lost: [`flush`](Self::flush) first.
    pub fn into_parts(self) -> (S, Bytes) {
        let FramedParts { io, read_buf, .. } = self.framed.into_parts();
        (io, read_buf.freeze())
    }
}

impl<S> MessageStream<S> {
    /// The stream underneath, for its addresses or options. Reading or writing through it breaks
    /// the frames.
    pub fn get_ref(&self) -> &S {
        self.framed.get_ref()
    }
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Messages of at most [`DEFAULT_MESSAGE_LIMIT`] bytes from `stream`.
    pub fn new(stream: R) -> Self {
        Self::with_limit(stream, DEFAULT_MESSAGE_LIMIT)
    }

    /// Messages of at most `limit` bytes from `stream`; at most `u32::MAX`.
    pub fn with_limit(stream: R, limit: usize) -> Self {
        Self::over(FramedRead::new(stream, MessageCodec::new(limit)))
    }
}

impl<W: AsyncWrite + Unpin> MessageWriter<W> {
    /// Messages of at most [`DEFAULT_MESSAGE_LIMIT`] bytes to `stream`.
    pub fn new(stream: W) -> Self {
        Self::with_limit(stream, DEFAULT_MESSAGE_LIMIT)
    }

    /// Messages of at most `limit` bytes to `stream`; at most `u32::MAX`.
    pub fn with_limit(stream: W, limit: usize) -> Self {
        Self::over(FramedWrite::new(stream, MessageCodec::new(limit)))
    }
}

/// Receiving: of a [`MessageStream`] or [`MessageReader`].
impl<F> Messages<F>
where
    F: Stream<Item = Result<Bytes, ReceiveMessageError>> + Unpin,
{
    /// Receives the next message; `None` when the stream has ended between two messages.
    ///
    /// # Errors
    ///
    /// [`ReceiveMessageError::TooLarge`], [`CutShort`](ReceiveMessageError::CutShort) or
    /// [`Io`](ReceiveMessageError::Io) once, and [`Broken`](ReceiveMessageError::Broken) at every
    /// later call.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has arrived of a message stays buffered, nothing is lost.
    pub async fn receive_message(&mut self) -> Result<Option<Bytes>, ReceiveMessageError> {
        if self.broken {
            return Err(ReceiveMessageError::Broken);
        }
        // tokio-util's `Framed` yields `None` after an error, and would then read on: that must
        // not look like a clean end.
        let message = self.framed.next().await.transpose();
        self.broken = message.is_err();
        message
    }

    /// Receives the next message and reads it, by postcard, as a `T`.
    ///
    /// # Errors
    ///
    /// As [`receive_message`](Self::receive_message), and [`ReceiveMessageError::Decode`] if it is
    /// not a `T`, or more than a `T`: that message is consumed, and the stream goes on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`receive_message`](Self::receive_message).
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ReceiveMessageError> {
        self.receive_message()
            .await?
            .map(|message| decode(&message))
            .transpose()
    }
}

/// Sending: of a [`MessageStream`] or [`MessageWriter`].
impl<F> Messages<F>
where
    F: for<'a> Sink<&'a [u8], Error = SendMessageError> + Unpin,
{
    /// Sends one message and flushes the stream.
    ///
    /// # Errors
    ///
    /// [`SendMessageError::TooLarge`] if it exceeds the limit: nothing was sent and the stream is
    /// as before. [`SendMessageError::Io`] if the stream fails.
    ///
    /// # Cancel safety
    ///
    /// Frames stay whole: if the future is dropped, the message was either not accepted at all, or
    /// what is left of it goes out with the next send or [`flush`](Self::flush). Which of the two
    /// is not told, so do not send again after a timeout if twice would be wrong.
    pub async fn send_message(&mut self, message: &[u8]) -> Result<(), SendMessageError> {
        self.framed.send(message).await
    }

    /// Sends `value`, written by postcard, as one message.
    ///
    /// # Errors
    ///
    /// As [`send_message`](Self::send_message), and [`SendMessageError::Encode`] if serde cannot
    /// write the value: nothing was sent.
    ///
    /// # Cancel safety
    ///
    /// As [`send_message`](Self::send_message).
    pub async fn send<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SendMessageError> {
        let message = encode(value)?;
        self.send_message(&message).await
    }

    /// Writes out what a send that was dropped has left behind.
    ///
    /// # Errors
    ///
    /// [`SendMessageError::Io`] if the stream fails.
    pub async fn flush(&mut self) -> Result<(), SendMessageError> {
        self.framed.flush().await
    }

    /// Flushes and ends the sending direction: the peer receives `None` after the last message.
    /// Receiving goes on.
    ///
    /// # Errors
    ///
    /// [`SendMessageError::Io`] if the stream fails.
    pub async fn shutdown(&mut self) -> Result<(), SendMessageError> {
        self.framed.close().await
    }
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SendMessageError> {
    postcard::to_stdvec(value).map_err(SendMessageError::Encode)
}

fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, ReceiveMessageError> {
    let (value, rest) =
        postcard::take_from_bytes(message).map_err(|why| ReceiveMessageError::Decode {
            size: message.len(),
            expected: std::any::type_name::<T>(),
            why,
        })?;
    if rest.is_empty() {
        return Ok(value);
    }
    Err(ReceiveMessageError::Excess {
        size: message.len(),
        expected: std::any::type_name::<T>(),
        excess: rest.len(),
    })
}
