//! What waits to be written to one peer.
//!
//! Senders append encoded frames to a lane's buffer; the writer takes both buffers whole, so that
//! many frames go out in one write: that costs an eighth of the CPU of one write per frame.
//! Control frames are written first. Messages are handed over in pieces of about 64 KiB that end
//! with a frame, so that the writer can let control frames pass in between.
//!
//! The messages of one peer, waiting and being written, are bounded; see [`Outbox::message`].
//! Control frames are small, and those that answer a peer are refused to one that asks on and on
//! and does not read; see [`Outbox::is_unread`].

use std::mem;
use std::ops::Range;

use crate::wire::{self, Envelope, Lane};

/// Where the writer may interrupt messages for control frames.
const PIECE: usize = 64 << 10;
/// Control frames may wait up to this, however few messages may.
const MIN_CONTROL: usize = 1 << 20;
/// Buffers that grew beyond this in a burst are given back.
const KEEP: usize = 256 << 10;

/// Frames that wait, lane by lane.
#[derive(Debug)]
pub struct Outbox {
    control: Vec<u8>,
    messages: Vec<u8>,
    /// Ends of the pieces of `messages`, except the last.
    cuts: Vec<usize>,
    /// Bytes of messages that the writer has taken and not yet come back from.
    being_written: usize,
    capacity: usize,
}

/// The messages that wait for a peer are as many as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// What the writer took. Reused, so that the buffers go back and forth.
#[derive(Debug, Default)]
pub struct Batch {
    control: Vec<u8>,
    messages: Vec<u8>,
    cuts: Vec<usize>,
}

impl Outbox {
    /// An empty one that holds at most `capacity` bytes of messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Outbox {
            control: Vec::new(),
            messages: Vec::new(),
            cuts: Vec::new(),
            being_written: 0,
            capacity,
        }
    }

    /// Whether a message of `length` bytes fits now. Any fits when nothing else waits.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        let waiting = self.messages.len() + self.being_written;
        waiting == 0 || waiting + wire::HEADER + length <= self.capacity
    }

    /// Appends a message.
    ///
    /// # Errors
    /// When it does not [fit](Outbox::has_room).
    pub fn message(
        &mut self,
        envelope: Envelope,
        payload: &[u8],
        lent: &[u64],
    ) -> Result<(), NoRoom> {
        debug_assert_eq!(envelope.kind.lane(), Lane::Messages);
        if !self.has_room(payload.len()) {
            return Err(NoRoom);
        }
        let last_cut = self.cuts.last().copied().unwrap_or(0);
        if self.messages.len() - last_cut >= PIECE {
            self.cuts.push(self.messages.len());
        }
        wire::write_lending(&mut self.messages, envelope, payload, lent);
        Ok(())
    }

    /// Appends a control frame to be filled in by `write`, one of [`wire`]'s functions.
    pub fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.control);
    }

    /// Whether as many bytes of control frames wait as of messages may, and no fewer than a
    /// mebibyte: nobody has that many questions who reads the answers.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.control.len() >= self.capacity.max(MIN_CONTROL)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.messages.is_empty()
    }

    /// Moves all that waits into `batch`, whose former contents count as written.
    pub(crate) fn take(&mut self, batch: &mut Batch) {
        batch.clear();
        mem::swap(&mut self.control, &mut batch.control);
        mem::swap(&mut self.messages, &mut batch.messages);
        mem::swap(&mut self.cuts, &mut batch.cuts);
        self.being_written = batch.messages.len();
    }

    /// Moves the control frames that wait into `control`, which must be empty.
    pub(crate) fn take_control(&mut self, control: &mut Vec<u8>) {
        debug_assert!(control.is_empty());
        mem::swap(&mut self.control, control);
    }
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.messages.is_empty()
    }

    /// The control frames.
    #[must_use]
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// The message frames.
    #[must_use]
    pub fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// How many pieces the messages are in.
    #[must_use]
    pub fn pieces(&self) -> usize {
        if self.messages.is_empty() {
            0
        } else {
            self.cuts.len() + 1
        }
    }

    /// Where in [`messages`](Batch::messages) a piece is.
    #[must_use]
    pub fn piece(&self, index: usize) -> Range<usize> {
        let start = if index == 0 { 0 } else { self.cuts[index - 1] };
        let end = self.cuts.get(index).copied().unwrap_or(self.messages.len());
        start..end
    }

    /// Appends to the end of the messages.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.messages);
    }

    fn clear(&mut self) {
        for buffer in [&mut self.control, &mut self.messages] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
        self.cuts.clear();
    }
}
