//! Reading frames from a stream: many in one read, none copied.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::{self, Frame, Parsed, WireError};

/// What an idle link keeps.
const SMALL: usize = 4 << 10;
/// As far as the buffer grows for reads to be large; it grows beyond for a longer frame.
const LARGE: usize = 256 << 10;
/// After so many reads that needed little of it, a large buffer is given back.
const SMALL_READS: u32 = 64;

/// Bytes that were read and not yet understood.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    /// The length of the frame at the start, as far as known.
    needed: usize,
    small_reads: u32,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        ReadBuffer {
            bytes: Vec::new(),
            needed: 0,
            small_reads: 0,
        }
    }

    /// Bytes that are not understood.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Reads what there is; 0 at the end of the stream.
    ///
    /// Cancel safe: bytes that were read are in the buffer.
    pub(crate) async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.make_room();
        let room = self.bytes.capacity() - self.bytes.len();
        let read = io.read_buf(&mut self.bytes).await?;
        if read < room / 8 && self.bytes.capacity() > SMALL {
            self.small_reads += 1;
        } else {
            self.small_reads = 0;
        }
        Ok(read)
    }

    /// Hands all whole frames to `f`, in order, until it returns false.
    pub(crate) fn frames(
        &mut self,
        mut f: impl FnMut(Frame<'_>) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let mut start = 0;
        let mut goes_on = true;
        while goes_on {
            match wire::parse(&self.bytes[start..])? {
                Parsed::Frame(frame, length) => {
                    goes_on = f(frame)?;
                    start += length;
                }
                Parsed::Incomplete(needed) => {
                    self.needed = needed;
                    break;
                }
            }
        }
        self.bytes.drain(..start);
        Ok(())
    }

    fn make_room(&mut self) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity == 0 {
            self.bytes.reserve_exact(SMALL);
        } else if self.small_reads > SMALL_READS && length < SMALL / 2 {
            self.bytes.shrink_to(SMALL);
            self.small_reads = 0;
        } else if length == capacity || (self.needed > capacity && length * 2 > capacity) {
            // Doubled rather than as long as a header claims: memory for bytes that came.
            let most = self.needed.max(LARGE);
            self.bytes
                .reserve_exact((length * 2).min(most).max(SMALL) - length);
        }
    }
}
