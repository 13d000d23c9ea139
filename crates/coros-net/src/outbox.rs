//! What waits to be written to one peer, and what was written and the peer has not acknowledged.
//!
//! Senders append encoded frames to a lane; the writer takes all that waits, so that many frames
//! go out in one write: that costs an eighth of the CPU of one write per frame. Control frames are
//! written first. Messages are handed over in pieces of about 64 KiB that end with a frame, so
//! that the writer can let control frames pass in between.
//!
//! What has been written stays until the peer has said that it has it
//! ([`Outbox::acknowledge`]): when the link breaks, the next one begins with what the peer
//! does not have ([`Outbox::resume`]).
//!
//! The messages of one peer, waiting or not acknowledged, are bounded; see [`Outbox::message`].
//! Control frames are small, and those that answer a peer are refused to one that asks on and on
//! and does not read; see [`Outbox::is_unread`].

mod lane;

use std::collections::VecDeque;

pub use self::lane::BadCount;
use self::lane::{Lane, Piece};
use crate::wire::{self, Envelope};

/// The writer gets about so many bytes of messages at a time.
const BATCH: usize = 256 << 10;
/// Control frames may wait up to this, however few messages may.
const MIN_CONTROL: usize = 1 << 20;

/// As many frames, in the control lane and in that of messages.
pub type Counts = [u64; 2];

const CONTROL: usize = wire::Lane::Control as usize;
const MESSAGES: usize = wire::Lane::Messages as usize;

/// Frames that wait or are not acknowledged, lane by lane.
// In this order: the messages come last, near what else changes with each of them in a session.
#[derive(Debug)]
#[repr(C)]
pub struct Outbox {
    capacity: usize,
    /// Frames of a link, which mean nothing on the next one.
    passing: Vec<u8>,
    lanes: [Lane; 2],
}

/// The messages that wait for a peer are as many as may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// What the writer took.
#[derive(Debug, Default)]
pub struct Batch {
    first: Vec<u8>,
    lanes: [VecDeque<Piece>; 2],
    last: Vec<u8>,
    /// New messages in it.
    messages: u64,
}

impl Outbox {
    /// An empty one that holds at most `capacity` bytes of messages.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Outbox {
            lanes: Default::default(),
            passing: Vec::new(),
            capacity,
        }
    }

    /// Whether a frame of so many bytes fits now, with a message. Any fits when there is no other.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        let bytes = self.lanes[MESSAGES].bytes();
        bytes == 0 || bytes + length <= self.capacity
    }

    /// How many bytes of messages were ever appended.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.lanes[MESSAGES].length()
    }

    /// As many of them the writer has taken, or the peer has had. Fewer than before when there is
    /// a new link, over which some are written again.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let lane = &self.lanes[MESSAGES];
        lane.length() - lane.waiting() as u64
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
        debug_assert_eq!(envelope.kind.lane(), wire::Lane::Messages);
        if !self.has_room(wire::length(payload.len(), lent.len())) {
            return Err(NoRoom);
        }
        self.lanes[MESSAGES].append(|buffer| wire::write_lending(buffer, envelope, payload, lent));
        Ok(())
    }

    /// Appends one frame behind the messages, of which it is none: whether there is room is the
    /// caller's business.
    pub(crate) fn behind_messages(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.lanes[MESSAGES].append(write);
    }

    /// Appends one control frame to be filled in by `write`, one of [`wire`]'s functions.
    pub fn control(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.lanes[CONTROL].append(write);
    }

    /// Appends a control frame that is of no use if this link breaks: it has no number.
    pub fn passing(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.passing);
    }

    /// Whether as many bytes of control frames wait as of messages may, and no fewer than a
    /// mebibyte: nobody has that many questions who reads the answers.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.is_unread_beside(0)
    }

    /// [`is_unread`](Outbox::is_unread), when so many bytes wait elsewhere.
    pub(crate) fn is_unread_beside(&self, others: usize) -> bool {
        let waiting = self.lanes[CONTROL].bytes() + self.passing.len() + others;
        waiting >= self.capacity.max(MIN_CONTROL)
    }

    /// Bytes of frames that are kept, whether they wait or are not acknowledged.
    #[must_use]
    pub fn kept(&self) -> usize {
        let lanes = self.lanes.iter().map(Lane::bytes);
        self.passing.len() + lanes.sum::<usize>()
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.passing.is_empty() && self.lanes.iter().all(Lane::is_taken)
    }

    /// Whether the peer has all that was ever appended.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.lanes.iter().all(|lane| lane.bytes() == 0)
    }

    /// Lets the writer have what waits, of messages not too much at a time. What it had before
    /// counts as written.
    pub(crate) fn take(&mut self, batch: &mut Batch) {
        self.take_control(batch);
        batch.last.clear();
        batch.lanes[MESSAGES].clear();
        let before = self.lanes[MESSAGES].sent();
        self.lanes[MESSAGES].take(&mut batch.lanes[MESSAGES], BATCH);
        batch.messages = self.lanes[MESSAGES].sent() - before;
    }

    /// Lets the writer, which is at the messages of a batch, have the control frames that wait.
    pub(crate) fn take_control(&mut self, batch: &mut Batch) {
        batch.first.clear();
        std::mem::swap(&mut self.passing, &mut batch.first);
        batch.lanes[CONTROL].clear();
        self.lanes[CONTROL].take(&mut batch.lanes[CONTROL], usize::MAX);
    }

    /// The peer has as many frames.
    ///
    /// # Errors
    /// When it cannot have them.
    pub fn acknowledge(&mut self, counts: Counts) -> Result<(), BadCount> {
        for (lane, count) in self.lanes.iter_mut().zip(counts) {
            lane.acknowledge(count)?;
        }
        Ok(())
    }

    /// The link is gone, and what was for it alone.
    pub fn unlinked(&mut self) {
        self.passing.clear();
    }

    /// There is a new link, and the peer has as many frames: the rest is written again.
    ///
    /// # Errors
    /// When it cannot have them, or has had more before.
    pub fn resume(&mut self, counts: Counts) -> Result<(), BadCount> {
        for (lane, count) in self.lanes.iter_mut().zip(counts) {
            lane.resume(count)?;
        }
        Ok(())
    }

    /// There is little to do: gives back memory that is kept for more.
    pub(crate) fn shrink(&mut self) {
        self.lanes.iter_mut().for_each(Lane::shrink);
        self.passing = Vec::new();
    }
}

impl Batch {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing = self.first.is_empty() && self.last.is_empty();
        nothing && self.lanes.iter().all(VecDeque::is_empty)
    }

    /// Whether there is more than one message in it that was not written before.
    pub(crate) fn has_several(&self) -> bool {
        self.messages > 1
    }

    /// Whether there are messages in it.
    #[must_use]
    pub fn has_messages(&self) -> bool {
        !self.lanes[MESSAGES].is_empty()
    }

    /// The control frames, in order.
    pub fn control(&self) -> impl Iterator<Item = &[u8]> {
        let frames = self.lanes[CONTROL].iter().map(Piece::bytes);
        not_empty(&self.first).chain(frames)
    }

    /// The message frames, in order, each piece ending with a frame.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.lanes[MESSAGES].iter().map(Piece::bytes)
    }

    /// What follows the messages.
    pub fn last(&self) -> impl Iterator<Item = &[u8]> {
        not_empty(&self.last)
    }

    /// The first piece of the messages.
    pub(crate) fn first_messages(&self) -> Option<&[u8]> {
        self.lanes[MESSAGES].front().map(Piece::bytes)
    }

    /// The next piece of the messages; the one before counts as written.
    pub(crate) fn next_messages(&mut self) -> Option<&[u8]> {
        self.lanes[MESSAGES].pop_front();
        self.lanes[MESSAGES].front().map(Piece::bytes)
    }

    /// There is nothing in it any more.
    pub(crate) fn clear(&mut self) {
        self.first.clear();
        self.last.clear();
        self.lanes.iter_mut().for_each(VecDeque::clear);
    }

    /// Appends what is to follow the messages.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.last);
    }
}

fn not_empty(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::once(bytes).filter(|bytes| !bytes.is_empty())
}
