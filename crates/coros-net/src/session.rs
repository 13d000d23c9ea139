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
mod life;
mod pace;
mod pings;
mod queueing;
mod receipts;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use coros_core::Exit;
use coros_core::remote::CarryError;

use self::flow::Flow;
pub use self::flow::Place;
use self::idle::Idle;
use self::pace::Pace;
use self::pings::Pings;
use self::receipts::Receipts;
use crate::outbox::{BadCount, Batch, Counts, Outbox};
use crate::tame;
use crate::wire::{self, Envelope, Frame, Goodbye, Kind, WireError};

/// The peer is told within this time that what it sent has come.
const PATIENCE: Duration = Duration::from_millis(100);

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
    Leave,
    /// This node ends the session, and stays: the same otherwise.
    Close,
    /// The peer broke the rules: tell it, and end.
    Refuse(String),
    /// The peer's certificate has expired: tell it, and end.
    Expired,
    /// The link is gone, or could not be made.
    Lost(String),
    /// A first link broke while it was made: another attempt may do.
    Stumbled(String),
    /// There is no link and will be none.
    Gone(String),
    /// The peer, which is there, knows the session no more.
    Forgotten,
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
    /// A deliver has its answer, or a message that [waited](Session::wait) is queued.
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
    /// The peer said goodbye: it shuts down.
    Left,
    /// This node did, or the peer, which stays.
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
// In this order: what changes with each message comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Session<D, W> {
    flow: Flow<D>,
    outbox: Outbox,
    phase: Phase,
    pace: Pace,
    idle: Idle,
    peer: String,
    timing: Timing,
    receipts: Receipts,
    delivers: HashMap<u64, D>,
    watches: HashMap<u64, W>,
    /// Those that keep no link.
    heeds: HashMap<u64, W>,
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
    /// The last link was given up for that.
    silent: bool,
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
            pace: Pace::default(),
            outbox: Outbox::new(capacity),
            receipts: Receipts::new(PATIENCE.min(timing.heartbeat / 8), capacity),
            idle: Idle::new(now, timing.idle),
            flow: Flow::new(),
            delivers: HashMap::new(),
            watches: HashMap::new(),
            heeds: HashMap::new(),
            pings: Pings::default(),
            released: VecDeque::new(),
            last_correlation: 0,
            began: now,
            heard: now,
            sent: now,
            looked: now,
            suspected: None,
            silent: false,
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
        self.silent = false;
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
            Input::Leave => self.close(Goodbye::Leaving, End::Closed, "this node has closed"),
            Input::Close => {
                let text = "this node has ended the session";
                self.close(Goodbye::Closed, End::Closed, text);
            }
            Input::Refuse(reason) => self.refuse(reason),
            Input::Expired => {
                let goodbye = Goodbye::Refused("the certificate of this node has expired".into());
                let text = "its certificate has expired";
                self.close(goodbye, End::Lost(text.into()), text);
            }
            Input::Lost(reason) => self.lost(now, reason),
            Input::Stumbled(reason) => match self.phase {
                Phase::Waiting => self.away(now, reason),
                _ => self.lost(now, reason),
            },
            Input::Gone(reason) => self.end(Phase::Ended, End::Lost(reason.clone()), &reason),
            Input::Forgotten => self.closed_by_peer(),
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

    /// Tells the peer what has come and what has been taken, if there is anything new.
    fn acknowledge(&mut self) {
        for (target, bytes) in self.receipts.tell_credits() {
            self.control(Envelope {
                kind: Kind::Credit,
                target,
                correlation: bytes as u64,
            });
        }
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

    /// Whether the last link was given up because nothing came over it.
    #[must_use]
    pub fn was_silent(&self) -> bool {
        self.silent
    }

    /// The error for those who want to reach the peer and cannot.
    fn disconnected(&self, reason: &str) -> CarryError {
        CarryError::Disconnected(Box::new(format!("{}: {reason}", self.peer)))
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
                let exit = tame::exit(wire::read_value(frame)?);
                let watcher = self.take_watcher(correlation);
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
                Goodbye::Closed => self.closed_by_peer(),
                _ => self.end(Phase::Ended, End::Left, "it has left the network"),
            },
            kind => return Err(WireError::Unexpected(kind)),
        }
        Ok(())
    }
}

fn plain(kind: Kind) -> Envelope {
    Envelope {
        kind,
        target: 0,
        correlation: 0,
    }
}
