//! One direction of a connection: what has been written and not been read.
//!
//! Sans-io: it is told the time, and whether the way is blocked. As with TCP nothing is lost
//! while the connection lives: what could not get through arrives when the way is open again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::conditions::Conditions;
use super::random::Random;

/// What a writer may be ahead of the reader: the buffers of two sockets.
const CAPACITY: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Pipe {
    chunks: VecDeque<Chunk>,
    queued: usize,
    end: Option<(End, Instant)>,
    /// When the last byte arrives: nothing overtakes.
    last: Instant,
    /// When the line has sent what was written so far.
    free: Instant,
    random: Random,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    read: usize,
    arrives: Instant,
}

/// What comes after all bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// The writer has shut down this direction, and still reads.
    ShutDown,
    /// The writer is gone.
    Gone,
    /// The writer is gone without having read all that came: what it wrote last is lost, too.
    Reset,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes,
    End(End),
    /// Something by then, unless anything happens.
    Later(Instant),
    Nothing,
}

impl Pipe {
    pub(super) fn new(now: Instant, random: Random) -> Self {
        Pipe {
            chunks: VecDeque::new(),
            queued: 0,
            end: None,
            last: now,
            free: now,
            random,
        }
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn write(&mut self, now: Instant, bytes: &[u8], conditions: &Conditions) -> usize {
        let length = bytes.len().min(CAPACITY - self.queued);
        if length > 0 {
            let sending = conditions.sending(length);
            let arrives = self.arrival(now, sending, conditions);
            self.queued += length;
            self.chunks.push_back(Chunk {
                bytes: bytes[..length].to_vec(),
                read: 0,
                arrives,
            });
        }
        length
    }

    /// The writer writes no more.
    pub(super) fn finish(&mut self, now: Instant, end: End, conditions: &Conditions) {
        if self.end.is_none_or(|(present, _)| present < end) {
            let arrives = self.arrival(now, Duration::ZERO, conditions);
            self.end = Some((end, arrives));
        }
    }

    /// Reads into the front of `into`; `blocked` is since when nothing gets through.
    pub(super) fn read(
        &mut self,
        now: Instant,
        blocked: Option<Instant>,
        mut into: impl FnMut(&[u8]) -> usize,
    ) -> Found {
        if let Some(End::Reset) = self.arrived_end(now, blocked) {
            return Found::End(End::Reset);
        }
        let mut found = Found::Nothing;
        while let Some(chunk) = self.chunks.front_mut() {
            if !has_arrived(chunk.arrives, now, blocked) {
                break;
            }
            let taken = into(&chunk.bytes[chunk.read..]);
            chunk.read += taken;
            self.queued -= taken;
            found = Found::Bytes;
            if chunk.read < chunk.bytes.len() {
                break;
            }
            self.chunks.pop_front();
        }
        if found == Found::Bytes {
            return found;
        }
        match (self.chunks.front(), self.end) {
            (Some(chunk), _) if blocked.is_none() => Found::Later(chunk.arrives),
            (None, Some((end, arrives))) if has_arrived(arrives, now, blocked) => Found::End(end),
            (None, Some((_, arrives))) if blocked.is_none() => Found::Later(arrives),
            _ => Found::Nothing,
        }
    }

    /// Whether the reader has been told of the end, however much it has still to read.
    pub(super) fn arrived_end(&self, now: Instant, blocked: Option<Instant>) -> Option<End> {
        let (end, arrives) = self.end?;
        has_arrived(arrives, now, blocked).then_some(end)
    }

    /// When the end arrives, if it is under way.
    pub(super) fn end_arrives(&self) -> Option<Instant> {
        self.end.map(|(_, arrives)| arrives)
    }

    /// Whether something has come that nobody has read.
    pub(super) fn has_unread(&self, now: Instant, blocked: Option<Instant>) -> bool {
        let front = self.chunks.front();
        front.is_some_and(|chunk| has_arrived(chunk.arrives, now, blocked))
    }

    /// The way, blocked for some time, is open: what has not arrived is sent again.
    pub(super) fn unblock(&mut self, now: Instant, since: Instant, conditions: &Conditions) {
        let arrives = now + self.random.within(&conditions.latency);
        let ends = self.end.iter_mut().map(|(_, at)| at);
        for at in self
            .chunks
            .iter_mut()
            .map(|chunk| &mut chunk.arrives)
            .chain(ends)
        {
            if *at > since {
                *at = arrives.max(*at);
                self.last = self.last.max(*at);
            }
        }
    }

    fn arrival(&mut self, now: Instant, sending: Duration, conditions: &Conditions) -> Instant {
        self.free = self.free.max(now) + sending;
        let arrives = self.free + self.random.within(&conditions.latency);
        self.last = self.last.max(arrives);
        self.last
    }
}

/// What was under way when the way was blocked has not arrived.
fn has_arrived(arrives: Instant, now: Instant, blocked: Option<Instant>) -> bool {
    arrives <= blocked.unwrap_or(now).min(now)
}
