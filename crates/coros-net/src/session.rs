//! A session with one peer: what is owed to whom, and whether the peer is alive.
//!
//! Sans-io: no sockets, clocks or tasks. The shell tells it what happens ([`Session::handle`])
//! and what it is to send ([`message`](Session::message), [`deliver`](Session::deliver),
//! [`watch`](Session::watch), …), takes bytes to write ([`Session::take`]) and acts on what
//! [`Session::poll`] returns.
//!
//! # Life
//!
//! ```text
//!             link            Lost | silence         link
//!   Waiting ────────> Linked ────────────────> Away ──────> Linked
//!      │                 │                       │
//!      │ Lost            │ goodbye | Refuse      │ Gone | grace is over
//!      └─────────────────┴───── Gone | Close ────┴───────────────────────> Ended
//! ```
//!
//! (A first link that breaks while it is made is tried again as one that was there.)
//!
//! A session starts when somebody first wants to reach the peer, and outlives links: one that
//! breaks is made again within [`Timing::grace`], and both sides go on where they were
//! ([`Outbox::resume`]), so that nothing is lost and nothing comes twice. Frames queue up while
//! there is no link. However it ends, every `deliver` and `watch` that has no answer by then gets
//! one, [`Disconnected`](Exit::Disconnected), exactly once.
//!
//! A link that nobody uses is closed when both sides say so; the session is dormant then, owes
//! nothing, and the next use makes another link. What crosses the closing is not acknowledged, so
//! it comes over the next link.
//!
//! # Signs of life
//!
//! Any bytes from the peer count. A side that has had nothing to write for a heartbeat's time
//! writes a ping. A peer that was silent for longer than [`Timing::silence`] is suspected, and
//! lost when it stays silent for a tenth of that longer: if it was this process that stood still,
//! its reader gets that time to find what has come meanwhile.

mod flow;
mod idle;
mod pings;
mod receipts;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use coros_core::Exit;
use coros_core::remote::{CarryError, CodecError, Request};

pub use self::flow::Place;
use self::flow::{Flow, Waiting};
use self::idle::Idle;
use self::pings::Pings;
use self::receipts::Receipts;
use crate::outbox::{BadCount, Batch, Counts, NoRoom, Outbox};
use crate::tame;
use crate::wire::{self, Envelope, Frame, Goodbye, Kind, WireError};

/// The peer is told within this time that what it sent has come.
const PATIENCE: Duration = Duration::from_millis(100);
/// The longest text in an answer, in bytes; at most three fit into a control frame.
const MAX_TEXT: usize = 16 << 10;
/// How many coroutines may wait to be released, for want of room: nobody has told of that many
/// who reads.
const MAX_RELEASED: usize = 1 << 20;
/// Room for so many is kept.
const KEEP_RELEASED: usize = 1 << 10;

/// As many bytes of messages may wait for the writer of a link: as much as may be on its way to one
/// coroutine, so that nobody gets less for that.
const PACE: usize = wire::WINDOW;

/// When a silent peer counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a side writes nothing before it writes a ping.
    pub heartbeat: Duration,
    /// How long a peer may be silent.
    pub silence: Duration,
    /// How long a session goes on without a link when one has broken.
    pub grace: Duration,
    /// After how long a link that nobody uses may be closed.
    pub idle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(2),
            grace: Duration::from_secs(5),
            idle: Duration::from_secs(30),
        }
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes came.
    Heard,
    /// So many frames that count were acted on, which took so many bytes.
    Read(Counts, usize),
    /// Among what came was something that somebody wants.
    Used,
    /// On this node's side nothing speaks against closing the link, after [`Output::Idle`].
    Rest(Asked),
    /// Somebody wants to reach the peer, and there is no link because that was idle.
    Wake,
    /// A frame came that is for the session: delivered, exited, ping, pong, ack, goodbye.
    Frame(Frame<'a>),
    /// The time that [`Session::deadline`] gave has come, or any other time.
    Timeout,
    /// This node shuts down: write what waits, then goodbye.
    Close,
    /// The peer broke the rules: tell it, and end.
    Refuse(String),
    /// The link is gone, or could not be made.
    Lost(String),
    /// A first link broke while it was made: another attempt may do.
    Stumbled(String),
    /// There is no link and will be none.
    Gone(String),
}

/// Who began to think of closing the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// This node.
    Us,
    /// The peer.
    Peer,
}

/// What a session asks its shell to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<D, W> {
    /// A deliver has its answer.
    Delivered(D, Result<(), CarryError>),
    /// A watched coroutine has ended.
    Exited(W, Exit),
    /// The ping of this number has its answer, after so long.
    Ponged(u64, Duration),
    /// The link is of no use any more, and why: another one is to be made.
    Broken(String),
    /// The link is not used: unless something speaks against closing it, [`Input::Rest`] is to
    /// follow.
    Idle(Asked),
    /// The link is to be closed, and made again when somebody wants to reach the peer.
    Rested,
    /// There is no link, and one is to be made.
    Woken,
    /// The session is over; the last output.
    Ended(End),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer said goodbye.
    Left,
    /// This node did.
    Closed,
    /// Without a goodbye, and why.
    Lost(String),
}

/// What [`Session::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing to write.
    Nothing,
    /// Write the batch.
    Batch,
    /// Write the batch and close the link.
    Last,
}

#[derive(Debug)]
enum Phase {
    /// For the first link.
    Waiting,
    Linked,
    /// The link has broken, for this reason.
    Away(String, Instant),
    /// The link was not used and has been closed.
    Dormant,
    /// Over for everyone but the writer, which has this to write at the very end.
    Closing(Goodbye),
    /// The writer has it.
    Flushing,
    Ended,
}

/// One session; `D` and `W` are what the shell needs to answer a deliver and a watch.
#[derive(Debug)]
pub struct Session<D, W> {
    peer: String,
    timing: Timing,
    phase: Phase,
    outbox: Outbox,
    receipts: Receipts,
    idle: Idle,
    flow: Flow<D>,
    delivers: HashMap<u64, D>,
    watches: HashMap<u64, W>,
    pings: Pings,
    /// Coroutines of the peer to be released.
    released: VecDeque<(u64, u64)>,
    last_correlation: u64,
    began: Instant,
    heard: Instant,
    sent: Instant,
    /// When the time was looked at last: gossip, which is no use, puts off all else that is due.
    looked: Instant,
    suspected: Option<Instant>,
    outputs: VecDeque<Output<D, W>>,
}

impl<D, W> Session<D, W> {
    /// A session without a link yet. `peer` names the peer in reasons; `capacity` is that of its
    /// [`Outbox`].
    #[must_use]
    pub fn new(now: Instant, peer: String, timing: Timing, capacity: usize) -> Self {
        Session {
            peer,
            timing,
            phase: Phase::Waiting,
            outbox: Outbox::new(capacity),
            receipts: Receipts::new(PATIENCE.min(timing.heartbeat / 8)),
            idle: Idle::new(now, timing.idle),
            flow: Flow::new(),
            delivers: HashMap::new(),
            watches: HashMap::new(),
            pings: Pings::default(),
            released: VecDeque::new(),
            last_correlation: 0,
            began: now,
            heard: now,
            sent: now,
            looked: now,
            suspected: None,
            outputs: VecDeque::new(),
        }
    }

    /// Numbers its questions after those of another session, so that no number of a
    /// [watch](Session::watch) means two.
    #[must_use]
    pub fn numbered_after(mut self, last: u64) -> Self {
        self.last_correlation = last;
        self
    }

    /// The last number of a question.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.last_correlation
    }

    /// There is a link. The peer has had so many frames, and keeps at most `capacity` bytes.
    ///
    /// # Errors
    /// When the peer cannot have had them: this session cannot go on.
    pub fn link(&mut self, now: Instant, received: Counts, capacity: u64) -> Result<(), BadCount> {
        self.outbox.resume(received)?;
        self.receipts.linked(capacity);
        self.flow.limit(capacity);
        self.phase = Phase::Linked;
        self.idle.linked();
        self.pings.linked();
        self.heard(now);
        self.sent = now;
        self.looked = now;
        Ok(())
    }

    /// Whether the peer has said that it has all there was.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.outbox.is_acknowledged()
    }

    /// How many frames have come: what to tell the peer when a link is made.
    #[must_use]
    pub fn received(&self) -> Counts {
        self.receipts.counts()
    }

    /// Queues a message that lends these ids; see [`wire`].
    ///
    /// # Errors
    /// When too much waits for the peer, or is on its way to the coroutine.
    pub fn message(&mut self, target: u64, payload: &[u8], lent: &[u64]) -> Result<(), NoRoom> {
        let length = wire::length(payload.len(), lent.len());
        if !self.takes(length) || !self.flow.take(target, length) {
            return Err(NoRoom);
        }
        self.queue(Kind::Message, target, 0, payload, lent)
    }

    /// Queues the answer to a question of the peer.
    ///
    /// # Errors
    /// When too much waits for the peer.
    pub fn answer_question(
        &mut self,
        target: u64,
        payload: &[u8],
        lent: &[u64],
    ) -> Result<(), NoRoom> {
        self.queue(Kind::Answer, target, 0, payload, lent)
    }

    /// Queues a message whose arrival in the mailbox `waiter` waits for. If it has to wait for
    /// others, in the order in which they came, where: it can be withdrawn.
    pub fn deliver(
        &mut self,
        target: u64,
        payload: &[u8],
        lent: &[u64],
        waiter: D,
    ) -> Option<Place> {
        if !self.is_open() {
            let lost = self.disconnected("the link has ended");
            self.outputs.push_back(Output::Delivered(waiter, Err(lost)));
            return None;
        }
        let length = wire::length(payload.len(), lent.len());
        if self.takes(length) && self.flow.take(target, length) {
            self.queue_deliver(target, payload, lent, waiter);
            return None;
        }
        let place = self.flow.wait(target, payload, lent, waiter);
        self.pump(target);
        Some(place)
    }

    /// Gives up a delivery that waits: false if it has been sent.
    pub fn withdraw(&mut self, place: Place) -> bool {
        let withdrawn = self.flow.withdraw(place).is_some();
        if withdrawn {
            // Perhaps it was in the way of a smaller one.
            self.pump(place.target());
        }
        withdrawn
    }

    /// Sends what waits for a coroutine, as far as it may.
    fn pump(&mut self, target: u64) {
        let length = |w: &Waiting<D>| wire::length(w.payload.len(), w.lent.len());
        loop {
            let (outbox, paced) = (&self.outbox, self.is_paced());
            let next = self
                .flow
                .next(target, length, |length| !paced && outbox.has_room(length));
            let Some(next) = next else { return };
            self.queue_deliver(target, &next.payload, &next.lent, next.waiter);
        }
    }

    /// Sends what waits for room in all.
    fn pump_crowded(&mut self) {
        while let Some(target) = self.flow.first_crowded() {
            self.pump(target);
            if self.flow.first_crowded() == Some(target) {
                return;
            }
        }
    }

    /// Whether senders have to wait for the writer.
    ///
    /// Sending takes no turn of the scheduler's, so senders that are given room for as long as
    /// there is memory keep the tasks of the link from running, and the peer hears nothing. They
    /// also fill memory faster than any cache. Without a link there is nobody to wait for.
    fn is_paced(&self) -> bool {
        matches!(self.phase, Phase::Linked) && self.outbox.waiting() >= PACE
    }

    /// Whether a message whose frame has this length can be queued now.
    fn takes(&self, length: usize) -> bool {
        !self.is_paced() && self.outbox.has_room(length)
    }

    fn queue_deliver(&mut self, target: u64, payload: &[u8], lent: &[u64], waiter: D) {
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        self.delivers.insert(correlation, waiter);
        let queued = self.queue(Kind::Deliver, target, correlation, payload, lent);
        debug_assert_eq!(queued, Ok(()), "there is room");
    }

    fn queue(
        &mut self,
        kind: Kind,
        target: u64,
        correlation: u64,
        payload: &[u8],
        lent: &[u64],
    ) -> Result<(), NoRoom> {
        let envelope = Envelope {
            kind,
            target,
            correlation,
        };
        self.idle.used();
        self.outbox.message(envelope, payload, lent)
    }

    /// Tells the peer that a coroutine has taken so many bytes of what it was sent.
    pub fn credit(&mut self, target: u64, bytes: usize) {
        // As to what it asks: it may have sent to as many coroutines as it likes.
        if self.outbox.is_unread() {
            self.refuse("it does not read what it is told".into());
            return;
        }
        self.control(Envelope {
            kind: Kind::Credit,
            target,
            correlation: bytes as u64,
        });
    }

    /// Asks to be told when a coroutine ends; the number of the watch.
    pub fn watch(&mut self, target: u64, watcher: W) -> u64 {
        if !self.is_open() {
            self.outputs
                .push_back(Output::Exited(watcher, Exit::Disconnected));
            return 0;
        }
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        self.watches.insert(correlation, watcher);
        self.idle.used();
        self.control(Envelope {
            kind: Kind::Watch,
            target,
            correlation,
        });
        correlation
    }

    /// Takes a watch of a coroutine back: the watcher, if it has not been told.
    pub fn unwatch(&mut self, target: u64, number: u64) -> Option<W> {
        let watcher = self.watches.remove(&number)?;
        self.idle.used();
        self.control(Envelope {
            kind: Kind::Unwatch,
            target,
            correlation: number,
        });
        Some(watcher)
    }

    /// Asks for a sign of life over the link, or the next one; the number that
    /// [`Output::Ponged`] repeats. When the session ends that is the answer.
    pub fn ping(&mut self) -> u64 {
        self.last_correlation += 1;
        if self.is_open() {
            self.pings.ask(self.last_correlation);
            self.idle.used();
        }
        self.last_correlation
    }

    /// Nobody waits for the answer to a ping any more.
    pub fn forget_ping(&mut self, number: u64) {
        self.pings.forget(number);
    }

    /// How many ends are waited for.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watches.len()
    }

    /// Says that there are no handles of a coroutine of the peer any more, after so many messages
    /// that named it; behind all messages that are queued, which may be for it or name it.
    pub fn release(&mut self, coroutine: u64, named: u64) {
        if !self.is_open() {
            return;
        }
        if self.released.len() == MAX_RELEASED {
            return self.refuse("it does not read what is released".into());
        }
        self.idle.used();
        self.released.push_back((coroutine, named));
    }

    fn can_release(&self) -> bool {
        let length = size_of::<(u64, u64)>() * self.released.len();
        !self.released.is_empty() && self.outbox.has_room(length.min(wire::MAX_CONTROL))
    }

    fn write_released(&mut self) {
        while self.can_release() {
            let most = wire::MAX_CONTROL / size_of::<(u64, u64)>();
            let released = self.released.drain(..self.released.len().min(most));
            self.outbox
                .behind_messages(|buffer| wire::write_released(buffer, released));
        }
        if self.released.is_empty() {
            self.released.shrink_to(KEEP_RELEASED);
        }
    }

    /// Passes on a request.
    pub fn request(&mut self, target: u64, request: Request) {
        self.idle.used();
        let envelope = Envelope {
            kind: Kind::Request,
            target,
            correlation: 0,
        };
        self.outbox
            .control(|buffer| wire::write_value(buffer, envelope, &request));
    }

    /// The link is used, though nobody sees it.
    pub fn used(&mut self) {
        self.idle.used();
    }

    /// Sends to a part of the peer. Lost when the link breaks, and when the peer reads nothing: parts
    /// answer notices with notices, and what waits for a peer is bounded.
    pub fn notice(&mut self, part: u64, payload: &[u8]) {
        if self.outbox.is_unread() {
            return;
        }
        let envelope = Envelope {
            kind: Kind::Notice,
            target: part,
            correlation: 0,
        };
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, payload));
    }

    /// Answers a deliver of the peer. A long reason is shortened.
    pub fn answer_deliver(&mut self, correlation: u64, result: &Result<(), CarryError>) {
        let result = result.as_ref().copied().map_err(shortened_error);
        self.answer(Kind::Delivered, 0, correlation, |buffer, envelope| {
            wire::write_value(buffer, envelope, &result);
        });
    }

    /// Answers a watch of the peer. A long reason is shortened.
    pub fn answer_watch(&mut self, correlation: u64, exit: &Exit) {
        let exit = shortened_exit(exit);
        self.answer(Kind::Exited, 0, correlation, |buffer, envelope| {
            wire::write_value(buffer, envelope, &exit);
        });
    }

    /// Says that a message of the peer could not be read, with what was new in it.
    pub fn answer_unread(&mut self, target: u64, lent: &[u8]) {
        // As much as fits; the rest only matters to a message with thousands of questions.
        let new = wire::marked(lent, wire::NEW).take(wire::MAX_CONTROL / size_of::<u64>());
        let lent: Vec<u8> = new.flat_map(u64::to_le_bytes).collect();
        if lent.is_empty() {
            return;
        }
        self.answer(Kind::Unread, target, 0, |buffer, envelope| {
            wire::write(buffer, envelope, &lent);
        });
    }

    /// Queues an answer, unless the peer reads none: what it makes this node keep is bounded.
    fn answer(
        &mut self,
        kind: Kind,
        target: u64,
        correlation: u64,
        write: impl FnOnce(&mut Vec<u8>, Envelope),
    ) {
        if !self.is_open() {
            return;
        }
        if self.outbox.is_unread() {
            self.refuse("it does not read the answers to what it asks".into());
            return;
        }
        let envelope = Envelope {
            kind,
            target,
            correlation,
        };
        self.idle.used();
        self.outbox.control(|buffer| write(buffer, envelope));
    }

    /// Takes note of an event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if !self.is_open() {
            if matches!(input, Input::Lost(_) | Input::Gone(_)) {
                self.phase = Phase::Ended;
                self.outbox = Outbox::new(0);
            }
            return;
        }
        match input {
            Input::Heard => self.heard(now),
            Input::Used => {
                self.idle.used();
                self.idle.stays();
            }
            Input::Rest(asked) => self.rest(now, asked),
            Input::Wake => self.wake(now),
            Input::Read(counts, bytes) => self.receipts.came(now, counts, bytes),
            Input::Frame(frame) => {
                if let Err(e) = self.frame(now, &frame) {
                    self.refuse(e.to_string());
                }
            }
            Input::Timeout => self.timeout(now),
            Input::Close => self.close(Goodbye::Leaving, End::Closed, "this node has closed"),
            Input::Refuse(reason) => self.refuse(reason),
            Input::Lost(reason) => self.lost(now, reason),
            Input::Stumbled(reason) => match self.phase {
                Phase::Waiting => self.away(now, reason),
                _ => self.lost(now, reason),
            },
            Input::Gone(reason) => self.end(Phase::Ended, End::Lost(reason.clone()), &reason),
        }
    }

    /// The next thing to do, if there is one.
    pub fn poll(&mut self) -> Option<Output<D, W>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Session::handle) with [`Input::Timeout`] unless something else
    /// happens first.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Linked => {}
            Phase::Away(_, until) => return Some(until),
            _ => return None,
        }
        let silent = match self.suspected {
            None => self.heard + self.timing.silence,
            Some(since) => since + self.timing.silence / 10,
        };
        let heartbeat = self.sent.min(self.looked) + self.timing.heartbeat;
        let next = silent.min(heartbeat);
        Some(self.receipts.deadline().map_or(next, |due| due.min(next)))
    }

    /// Takes what is to be written; the former contents of `batch` count as written.
    pub fn take(&mut self, now: Instant, batch: &mut Batch) -> Taken {
        self.write_released();
        if self.has_output() {
            self.acknowledge();
        }
        for correlation in self.pings.take(now) {
            let ping = Envelope {
                correlation,
                ..plain(Kind::Ping)
            };
            self.outbox.passing(|buffer| wire::write(buffer, ping, &[]));
        }
        self.outbox.take(batch);
        self.pump_crowded();
        if !batch.is_empty() {
            self.sent = now;
        }
        if let Phase::Closing(_) = self.phase
            && self.outbox.is_empty()
            && let Phase::Closing(goodbye) = std::mem::replace(&mut self.phase, Phase::Flushing)
        {
            batch.append(|buffer| wire::write_value(buffer, plain(Kind::Goodbye), &goodbye));
            return Taken::Last;
        }
        if batch.is_empty() {
            Taken::Nothing
        } else {
            Taken::Batch
        }
    }

    /// Takes control frames that came up while a batch is being written.
    pub fn take_control(&mut self, batch: &mut Batch) {
        if self.receipts.must_tell() {
            self.acknowledge();
        }
        self.outbox.take_control(batch);
    }

    /// Tells the peer what has come, if there is anything new.
    fn acknowledge(&mut self) {
        let Some([control, messages]) = self.receipts.tell() else {
            return;
        };
        let envelope = Envelope {
            kind: Kind::Ack,
            target: control,
            correlation: messages,
        };
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, &[]));
    }

    /// Whether there is something to [take](Session::take).
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
            || self.can_release()
            || self.receipts.must_tell()
            || self.pings.has_waiting()
            || matches!(self.phase, Phase::Closing(_))
    }

    /// Whether a message of this length can be queued now.
    #[must_use]
    pub fn has_room(&self, length: usize) -> bool {
        self.takes(wire::HEADER + length)
    }

    /// Whether nothing is left to do, not even to write the last frames. A session that closes
    /// is over when the shell reports the link [lost](Input::Lost).
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.phase,
            Phase::Waiting | Phase::Linked | Phase::Away(..) | Phase::Dormant
        )
    }

    /// Whether there is no link because that was idle.
    #[must_use]
    pub fn is_dormant(&self) -> bool {
        matches!(self.phase, Phase::Dormant)
    }

    /// Whether it has had a link and has none, but may get one again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self.phase, Phase::Away(..))
    }

    /// The error for those who want to reach the peer and cannot.
    fn disconnected(&self, reason: &str) -> CarryError {
        CarryError::Disconnected(format!("{}: {reason}", self.peer))
    }

    fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.suspected = None;
    }

    fn control(&mut self, envelope: Envelope) {
        self.outbox
            .control(|buffer| wire::write(buffer, envelope, &[]));
    }

    fn frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), WireError> {
        let correlation = frame.envelope.correlation;
        match frame.envelope.kind {
            Kind::Delivered => {
                let result: Result<(), CarryError> = wire::read_value(frame)?;
                let result = result.map_err(tame::carry);
                let waiter = self.delivers.remove(&correlation);
                self.outputs
                    .extend(waiter.map(|waiter| Output::Delivered(waiter, result)));
            }
            Kind::Exited => {
                let exit = wire::read_value(frame)?;
                let watcher = self.watches.remove(&correlation);
                self.outputs
                    .extend(watcher.map(|watcher| Output::Exited(watcher, exit)));
            }
            // A heartbeat wants no answer: the other side has its own.
            Kind::Ping if correlation == 0 => {}
            Kind::Ping => self.answer_ping(correlation),
            Kind::Rest => match frame.envelope.target {
                0 if self.may_rest() => self.outputs.push_back(Output::Idle(Asked::Peer)),
                1 if self.may_rest() => self.rested(),
                _ => {}
            },
            Kind::Pong => {
                let took = self.pings.answered(now, correlation);
                self.outputs
                    .extend(took.map(|took| Output::Ponged(correlation, took)));
            }
            Kind::Ack => {
                // Of something that followed the agreement, if there is one.
                self.idle.stays();
                let counts = [frame.envelope.target, correlation];
                match self.outbox.acknowledge(counts) {
                    Ok(()) => self.pump_crowded(),
                    Err(error) => self.refuse(error.to_string()),
                }
            }
            Kind::Credit => {
                let bytes = usize::try_from(correlation).unwrap_or(usize::MAX);
                self.flow.credit(frame.envelope.target, bytes);
                self.pump(frame.envelope.target);
                self.pump_crowded();
            }
            Kind::Goodbye => match wire::read_value(frame)? {
                Goodbye::Refused(reason) => {
                    let reason = format!("it ended the link: {}", tame::text(&reason));
                    self.end(Phase::Ended, End::Lost(reason.clone()), &reason);
                }
                _ => self.end(Phase::Ended, End::Left, "it has left the network"),
            },
            kind => return Err(WireError::Unexpected(kind)),
        }
        Ok(())
    }

    fn timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Linked => {}
            Phase::Away(why, until) if now >= *until => {
                let reason = format!("{why}; no link again within {:.1?}", self.timing.grace);
                self.handle(now, Input::Gone(reason));
                return;
            }
            _ => return,
        }
        if now >= self.heard + self.timing.silence {
            let since = *self.suspected.get_or_insert(now);
            if now >= since + self.timing.silence / 10 {
                let reason = format!("no sign of life for {:.1?}", now - self.heard);
                self.handle(now, Input::Lost(reason));
                return;
            }
        }
        self.looked = now;
        self.receipts.timeout(now);
        if self.idle.timeout(now) && self.owes_nothing() {
            self.outputs.push_back(Output::Idle(Asked::Us));
        }
        if now >= self.sent + self.timing.heartbeat {
            // What waits is a sign of life as well, as soon as it can be written.
            if self.outbox.is_empty() {
                let ping = |buffer: &mut Vec<u8>| wire::write(buffer, plain(Kind::Ping), &[]);
                self.outbox.shrink();
                self.outbox.passing(ping);
            }
            self.sent = now;
        }
    }

    /// The link is gone: the session goes on without one for a while, if it has had one.
    fn lost(&mut self, now: Instant, reason: String) {
        match self.phase {
            // As agreed. If anything has come up since, it needs another link.
            Phase::Linked if self.idle.has_agreed() => {
                self.rested();
                if !self.owes_nothing() {
                    self.wake(now);
                }
            }
            Phase::Linked => self.away(now, reason),
            // Another attempt has failed.
            Phase::Away(..) | Phase::Dormant => {}
            _ => self.handle(now, Input::Gone(reason)),
        }
    }

    /// Whether nobody on this side waits for the peer, and it has all that it was sent.
    fn owes_nothing(&self) -> bool {
        self.delivers.is_empty()
            && self.watches.is_empty()
            && self.pings.is_empty()
            && !self.flow.has_waiting()
            && self.released.is_empty()
            && self.outbox.is_acknowledged()
    }

    /// Whether the link could be closed as well as not.
    fn may_rest(&self) -> bool {
        matches!(self.phase, Phase::Linked) && self.idle.is_idle() && self.owes_nothing()
    }

    /// Asks the peer whether the link may be closed, or says that it may.
    fn rest(&mut self, now: Instant, asked: Asked) {
        if !self.may_rest() {
            return;
        }
        let agrees = asked == Asked::Peer;
        if agrees {
            self.idle.agree();
        }
        let envelope = Envelope {
            target: u64::from(agrees),
            ..plain(Kind::Rest)
        };
        self.sent = now;
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, &[]));
    }

    fn rested(&mut self) {
        self.outbox.unlinked();
        self.phase = Phase::Dormant;
        self.outputs.push_back(Output::Rested);
    }

    /// The session without a link has as long to get one as if one had gone silent.
    fn wake(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Dormant) {
            let until = now + self.timing.silence * 11 / 10 + self.timing.grace;
            self.phase = Phase::Away("the link was idle".to_owned(), until);
            self.outputs.push_back(Output::Woken);
        }
    }

    fn away(&mut self, now: Instant, reason: String) {
        if self.timing.grace.is_zero() {
            return self.handle(now, Input::Gone(reason));
        }
        // A first link that could not be made has taken some of the time already.
        let most = self.timing.silence * 11 / 10 + self.timing.grace;
        let until = match self.phase {
            Phase::Waiting => (self.began + most).min(now + self.timing.grace),
            _ => now + self.timing.grace,
        };
        self.outbox.unlinked();
        self.phase = Phase::Away(reason.clone(), until);
        self.outputs.push_back(Output::Broken(reason));
    }

    fn answer_ping(&mut self, correlation: u64) {
        if self.outbox.is_unread() {
            return self.refuse("it does not read the answers to what it asks".into());
        }
        let envelope = Envelope {
            correlation,
            ..plain(Kind::Pong)
        };
        self.outbox
            .passing(|buffer| wire::write(buffer, envelope, &[]));
    }

    fn refuse(&mut self, reason: String) {
        let text = format!("it broke the protocol: {reason}");
        self.close(Goodbye::Refused(reason), End::Lost(text.clone()), &text);
    }

    fn close(&mut self, goodbye: Goodbye, end: End, reason: &str) {
        let phase = match self.phase {
            Phase::Linked => Phase::Closing(goodbye),
            _ => Phase::Ended,
        };
        self.end(phase, end, reason);
    }

    fn end(&mut self, phase: Phase, end: End, reason: &str) {
        if matches!(phase, Phase::Ended) {
            self.outbox = Outbox::new(0);
        }
        self.released = VecDeque::new();
        self.pings.clear();
        self.phase = phase;
        let lost = self.disconnected(reason);
        let delivers = in_order(&mut self.delivers).map(|waiter| {
            let lost = lost.clone();
            Output::Delivered(waiter, Err(lost))
        });
        self.outputs.extend(delivers);
        let waiting = self
            .flow
            .drain()
            .map(|waiter| Output::Delivered(waiter, Err(lost.clone())));
        self.outputs.extend(waiting);
        let watches = in_order(&mut self.watches);
        self.outputs
            .extend(watches.map(|watcher| Output::Exited(watcher, Exit::Disconnected)));
        self.outputs.push_back(Output::Ended(end));
    }
}

/// Takes out all that wait, in the order in which they came.
fn in_order<T>(waiting: &mut HashMap<u64, T>) -> impl Iterator<Item = T> {
    let mut all: Vec<_> = waiting.drain().collect();
    all.sort_unstable_by_key(|(correlation, _)| *correlation);
    all.into_iter().map(|(_, waiter)| waiter)
}

/// What users wrote may be longer than a control frame.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn shortened_exit(exit: &Exit) -> Exit {
    match exit {
        Exit::Failed(why) if why.len() > MAX_TEXT => Exit::Failed(shortened(why).into()),
        Exit::Panicked(why) if why.len() > MAX_TEXT => Exit::Panicked(shortened(why).into()),
        exit => exit.clone(),
    }
}

fn shortened_error(error: &CarryError) -> CarryError {
    match error {
        CarryError::Disconnected(why) => CarryError::Disconnected(shortened(why).to_owned()),
        CarryError::Codec(error) => CarryError::Codec(CodecError {
            action: shortened(&error.action).to_owned(),
            type_name: shortened(&error.type_name).to_owned(),
            reason: shortened(&error.reason).to_owned(),
        }),
        error => error.clone(),
    }
}

fn plain(kind: Kind) -> Envelope {
    Envelope {
        kind,
        target: 0,
        correlation: 0,
    }
}
