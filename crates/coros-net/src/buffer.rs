//! Reading frames from a stream: many in one read, none copied.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::wire::{self, Frame, Parsed, WireError};

/// What an idle link keeps.
const SMALL: usize = 4 << 10;
/// As far as the buffer grows while there is more to read than it takes: some records of TLS. It grows
/// beyond for a longer frame.
const LARGE: usize = 128 << 10;
/// After so many reads that needed little of it, a large buffer is given back.
const SMALL_READS: u32 = 64;

/// Bytes that were read and not yet understood.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    /// The length of the frame at the start, as far as known.
    needed: usize,
    /// The last read took all the room there was.
    full: bool,
    small_reads: u32,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        ReadBuffer {
            bytes: Vec::new(),
            needed: 0,
            full: false,
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
        self.full = read == room;
        if read < room / 8 && self.bytes.capacity() > SMALL {
            self.small_reads += 1;
        } else {
            self.small_reads = 0;
        }
        Ok(read)
    }

    /// Hands all whole frames to `f`, in order and up to `most` at a time, until it returns false.
    ///
    /// # Errors
    /// That of `f`, or of what is no frame, when those before have been handed over.
    pub(crate) fn frames(
        &mut self,
        most: usize,
        mut f: impl FnMut(&[Frame<'_>]) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let mut start = 0;
        let mut frames = Vec::with_capacity(most);
        let needed = loop {
            let parsed = wire::parse(&self.bytes[start..]);
            if let Ok(Parsed::Frame(frame, length)) = parsed {
                start += length;
                frames.push(frame);
                if frames.len() < most {
                    continue;
                }
            }
            if !frames.is_empty() && !f(&frames)? {
                break 0;
            }
            frames.clear();
            match parsed? {
                Parsed::Frame(..) => {}
                Parsed::Incomplete(needed) => break needed,
            }
        };
        drop(frames);
        self.needed = needed;
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
        } else if self.full || (self.needed > capacity && length * 2 > capacity) {
            // Doubled rather than as long as a header claims: memory for bytes that came.
            let most = self.needed.max(LARGE);
            self.bytes
                .reserve_exact((capacity * 2).min(most).max(SMALL) - length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Envelope, Kind};

    /// So many frames, the beginning of another, and what comes of it.
    fn buffer(frames: u64, rest: &[u8]) -> ReadBuffer {
        let mut buffer = ReadBuffer::new();
        for target in 0..frames {
            let envelope = Envelope {
                kind: Kind::Message,
                target,
                correlation: 0,
            };
            wire::write(&mut buffer.bytes, envelope, b"hello");
        }
        buffer.bytes.extend_from_slice(rest);
        buffer
    }

    fn handed(buffer: &mut ReadBuffer, most: usize) -> (Vec<Vec<u64>>, Result<(), WireError>) {
        let mut groups = Vec::new();
        let result = buffer.frames(most, |frames| {
            groups.push(frames.iter().map(|frame| frame.envelope.target).collect());
            Ok(true)
        });
        (groups, result)
    }

    #[tokio::test]
    async fn it_grows_while_there_is_more_to_read_and_shrinks_when_there_is_little() {
        let bytes = vec![0; 10 * LARGE];
        let (mut much, mut buffer) = (&bytes[..], ReadBuffer::new());
        let mut reads = Vec::new();
        while !much.is_empty() {
            reads.push(buffer.fill(&mut much).await.unwrap());
            // All of it has been understood.
            buffer.bytes.clear();
        }
        let doubled = [
            SMALL,
            2 * SMALL,
            4 * SMALL,
            8 * SMALL,
            16 * SMALL,
            LARGE,
            LARGE,
        ];
        assert_eq!(reads[..doubled.len()], doubled);
        assert_eq!(buffer.bytes.capacity(), LARGE);
        for _ in 0..=SMALL_READS + 1 {
            assert_eq!(buffer.fill(&mut &[7; 30][..]).await.unwrap(), 30);
            buffer.bytes.clear();
        }
        assert_eq!(buffer.bytes.capacity(), SMALL);
    }

    #[test]
    fn whole_frames_are_handed_over_in_groups_and_the_rest_stays() {
        let mut begun = buffer(5, &[3, 0, 0]);
        let (groups, result) = handed(&mut begun, 2);
        assert_eq!(groups, [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!((result, begun.len()), (Ok(()), 3));
        let mut whole = buffer(4, &[]);
        assert_eq!(handed(&mut whole, 2).0, [[0, 1], [2, 3]]);
        assert_eq!(handed(&mut whole, 2), (vec![], Ok(())));
    }

    #[test]
    fn what_comes_before_something_else_than_a_frame_is_handed_over() {
        let mut broken = buffer(3, &[0xff; wire::HEADER]);
        let (groups, result) = handed(&mut broken, 2);
        assert_eq!(groups, [vec![0, 1], vec![2]]);
        assert_eq!(result, Err(WireError::Kind(0xff)));
    }

    #[test]
    fn whoever_has_enough_leaves_the_rest() {
        let mut buffer = buffer(3, &[]);
        let length = buffer.len();
        let first = buffer.frames(1, |frames| {
            assert_eq!(frames.len(), 1);
            Ok(false)
        });
        assert_eq!((first, buffer.len()), (Ok(()), length / 3 * 2));
        assert_eq!(handed(&mut buffer, 9).0, [[1, 2]]);
    }
}
