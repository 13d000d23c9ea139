//! One lane of what goes to a peer: frames that wait, and frames that were written and are kept
//! until the peer has said that it has them.
//!
//! ```text
//!   numbers of frames:   acknowledged   sent          appended
//!                             |           |               |
//!            forgotten        |   kept    |    waiting    |
//! ```
//!
//! A frame's number is its place in the lane since the session began, from 1 on; it is never
//! written, since both sides can count. Frames are appended to a buffer of some 60 KiB; the
//! writer gets whole buffers and writes them from where they are; and they are used again when
//! the peer has what is in them. So keeping costs no copy, except of what is too small for a
//! buffer of its own.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use crate::wire;

/// A buffer that has as much is full. With the frame that fills it, if that is not large, it is no
/// more than the 64 KiB that TLS takes at a time: what is beyond costs a record and a write more.
const PIECE: usize = 60 << 10;
/// What is written in such small pieces is copied into one buffer.
const SMALL: usize = 4 << 10;
/// As much of it.
const GATHER: usize = 16 << 10;
/// As many emptied buffers wait to be used again, each no larger than two pieces.
const SPARE: usize = 16;

/// Numbers that a peer cannot have come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it says that it has {claimed} frames, and has had {least} and been sent {sent}")]
pub struct BadCount {
    claimed: u64,
    least: u64,
    sent: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Lane {
    /// Being filled.
    open: Chunk,
    appended: u64,
    bytes: usize,
    /// As many of them the writer has not been given on the present link.
    waiting: usize,
    /// As many bytes were ever appended.
    length: u64,
    /// Full or taken, oldest first; none of them acknowledged as a whole.
    chunks: VecDeque<Arc<Chunk>>,
    /// As many of them the writer has been given on the present link.
    given: usize,
    /// As many bytes of the first the peer had when the link was made.
    skip: usize,
    sent: u64,
    acknowledged: u64,
    spare: Vec<Vec<u8>>,
}

/// Frames back to back.
#[derive(Debug, Default)]
struct Chunk {
    /// The number of the last, as soon as they are in `chunks`.
    last: u64,
    bytes: Vec<u8>,
}

/// What the writer is to write of one buffer. It keeps the buffer from being used again.
#[derive(Debug)]
pub(super) struct Piece {
    chunk: Arc<Chunk>,
    from: usize,
    to: usize,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunk.bytes[self.from..self.to]
    }
}

impl Lane {
    /// Bytes that the peer has not acknowledged.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that the writer has not been given.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes that were ever appended.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The number of the last frame that the writer has been given.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the writer has all there is.
    pub(super) fn is_taken(&self) -> bool {
        self.open.bytes.is_empty() && self.given == self.chunks.len()
    }

    /// Appends one frame, which `write` writes.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.open.bytes.len() >= PIECE {
            self.close();
        }
        if self.open.bytes.capacity() == 0 {
            self.open.bytes = self.spare.pop().unwrap_or_default();
        }
        let before = self.open.bytes.len();
        write(&mut self.open.bytes);
        let length = self.open.bytes.len() - before;
        self.bytes += length;
        self.waiting += length;
        self.length += length as u64;
        self.appended += 1;
    }

    /// Gives the writer what it has not been given on this link, whole buffers until that is
    /// `most` bytes: more at a time would only go out of cache before it is written.
    pub(super) fn take(&mut self, pieces: &mut VecDeque<Piece>, most: usize) {
        let mut bytes = 0;
        while bytes < most {
            if self.is_taken() {
                return;
            }
            let mut from = 0;
            if self.given == self.chunks.len() {
                match self.gather() {
                    // The writer has had the beginning of the last buffer.
                    Some(gathered) => (from, self.given) = (gathered, self.given - 1),
                    None => self.close(),
                }
            }
            let chunk = &self.chunks[self.given];
            if self.given == 0 {
                from = from.max(mem::take(&mut self.skip));
            }
            let to = chunk.bytes.len();
            pieces.push_back(Piece {
                chunk: Arc::clone(chunk),
                from,
                to,
            });
            bytes += to - from;
            self.waiting -= to - from;
            self.sent = self.sent.max(chunk.last);
            self.given += 1;
        }
    }

    /// Copies the little that waits behind what has been written, if that can be: where it begins.
    fn gather(&mut self) -> Option<usize> {
        if self.open.bytes.len() > SMALL || self.given != self.chunks.len() {
            return None;
        }
        // Not while the writer is still at it.
        let last = Arc::get_mut(self.chunks.back_mut()?)?;
        if last.bytes.len() + self.open.bytes.len() > GATHER {
            return None;
        }
        let from = last.bytes.len();
        last.bytes.extend_from_slice(&self.open.bytes);
        last.last = self.appended;
        self.open.bytes.clear();
        Some(from)
    }

    fn close(&mut self) {
        let mut bytes = mem::take(&mut self.open.bytes);
        if bytes.len() <= SMALL && bytes.capacity() > 2 * SMALL {
            let small = bytes.as_slice().to_vec();
            bytes.clear();
            self.open.bytes = mem::replace(&mut bytes, small);
        }
        self.chunks.push_back(Arc::new(Chunk {
            last: self.appended,
            bytes,
        }));
    }

    /// The peer has as many frames.
    pub(super) fn acknowledge(&mut self, count: u64) -> Result<(), BadCount> {
        // An older word may come after a newer one.
        self.check(count, 0)?;
        self.acknowledged = self.acknowledged.max(count);
        while let Some(first) = self.chunks.front()
            && first.last <= self.acknowledged
        {
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            self.bytes -= chunk.bytes.len();
            let skip = mem::take(&mut self.skip);
            match self.given.checked_sub(1) {
                Some(given) => self.given = given,
                // It had come over the link before, as the peer says only now.
                None => self.waiting -= chunk.bytes.len() - skip,
            }
            if let Some(chunk) = Arc::into_inner(chunk) {
                self.keep(chunk.bytes);
            }
        }
        Ok(())
    }

    /// There is a new link, and the peer has as many frames: everything else is to be written.
    pub(super) fn resume(&mut self, count: u64) -> Result<(), BadCount> {
        self.check(count, self.acknowledged)?;
        self.acknowledge(count)?;
        self.given = 0;
        self.skip = self.chunks.front().map_or(0, |chunk| chunk.offset(count));
        self.waiting = self.bytes - self.skip;
        Ok(())
    }

    fn check(&self, claimed: u64, least: u64) -> Result<(), BadCount> {
        if (least..=self.sent).contains(&claimed) {
            return Ok(());
        }
        Err(BadCount {
            claimed,
            least,
            sent: self.sent,
        })
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE && bytes.capacity() <= 2 * PIECE {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// There is little to do: gives back memory.
    pub(super) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.open.bytes.shrink_to(0);
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }
}

impl Chunk {
    /// Where the frame after number `count` begins.
    fn offset(&self, count: u64) -> usize {
        let mut starts = wire::starts(&self.bytes);
        let frames = starts.clone().count() as u64;
        let before = (count + frames).saturating_sub(self.last);
        starts
            .nth(usize::try_from(before).unwrap_or(usize::MAX))
            .unwrap_or(self.bytes.len())
    }
}
