//! The frame as a codec: bytes in, messages out. Does no input or output.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{ReceiveMessageError, SendMessageError};

const HEADER: usize = size_of::<u32>();

/// How much a receiver reserves ahead of what has arrived.
const RESERVE_AHEAD: usize = 64 * 1024;

/// The frames of [this module](super) as a [`tokio_util::codec`].
///
/// For use with tokio-util's `Framed` and its relatives where streams and sinks are wanted;
/// [`MessageStream`](super::MessageStream) is built on it. Why not tokio-util's own
/// `LengthDelimitedCodec`: its error does not tell the sizes, and it reserves the announced size
/// at once.
///
/// # Examples
///
/// ```
/// use bytes::BytesMut;
/// use coros_core::io::framing::MessageCodec;
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = MessageCodec::new(1024);
/// let mut wire = BytesMut::new();
/// codec.encode(&b"abc"[..], &mut wire)?;
/// assert_eq!(wire[..], *b"\0\0\0\x03abc");
/// assert_eq!(codec.decode(&mut wire).unwrap().as_deref(), Some(&b"abc"[..]));
/// # Ok::<(), coros_core::io::framing::SendMessageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MessageCodec {
    limit: usize,
}

impl MessageCodec {
    /// A codec that takes and gives messages of at most `limit` bytes; at most `u32::MAX`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// The size of the frame that `src` begins with, if its length field is there.
    fn frame_size(&self, src: &[u8]) -> Result<Option<usize>, ReceiveMessageError> {
        let Some(header) = src.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let size = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if size > self.limit {
            return Err(ReceiveMessageError::TooLarge {
                size,
                limit: self.limit,
            });
        }
        Ok(Some(HEADER.saturating_add(size)))
    }
}

impl Decoder for MessageCodec {
    type Item = Bytes;
    type Error = ReceiveMessageError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, ReceiveMessageError> {
        let Some(frame) = self.frame_size(src)? else {
            return Ok(None);
        };
        if src.len() < frame {
            src.reserve((frame - src.len()).min(RESERVE_AHEAD));
            return Ok(None);
        }
        let mut frame = src.split_to(frame);
        frame.advance(HEADER);
        Ok(Some(frame.freeze()))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, ReceiveMessageError> {
        if let Some(message) = self.decode(src)? {
            return Ok(Some(message));
        }
        if src.is_empty() {
            return Ok(None);
        }
        let expected = self.frame_size(src)?.unwrap_or(HEADER);
        Err(ReceiveMessageError::CutShort {
            received: src.len(),
            expected,
        })
    }
}

impl Encoder<&[u8]> for MessageCodec {
    type Error = SendMessageError;

    fn encode(&mut self, message: &[u8], dst: &mut BytesMut) -> Result<(), SendMessageError> {
        let size = message.len();
        match u32::try_from(size) {
            Ok(length) if size <= self.limit => {
                dst.reserve(HEADER + size);
                dst.put_u32(length);
                dst.put_slice(message);
                Ok(())
            }
            _ => Err(SendMessageError::TooLarge {
                size,
                limit: self.limit,
            }),
        }
    }
}
