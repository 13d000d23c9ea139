//! The reader of a link: acts on what comes, in the order in which it comes.
//!
//! It never waits for a mailbox: a delivery that has to wait for room goes on in a task of its own,
//! and only what comes later for the same coroutine waits behind it.

use std::sync::Arc;

use coros_core::Exit;
use coros_core::remote::{self, CarryError, Inlet};
use tokio::io::ReadHalf;
use tokio_rustls::TlsStream;

use super::drain;
use crate::buffer::ReadBuffer;
use crate::deliveries::{
    Delivery, Place, Queue, answer, guarded, panicked, start_delivery, unread,
};
use crate::exports::Found;
use crate::inflow::{Came, TooMuch};
use crate::node::FLUSH;
use crate::outbox::Counts;
use crate::peer::{Course, Peer, Reads};
use crate::read_ahead::Carried;
use crate::rendezvous::Ticket;
use crate::session::Input;
use crate::transport::why_broken;
use crate::wire::{self, Frame, Kind, WireError};

/// As many frames are looked at at a time.
const GROUP: usize = 32;

/// When as much has come at a time, the coroutines that got it go first, before more is read. They
/// are on this worker, and what they got is in its cache; if the reader went on, it would fill
/// memory faster than others take it, and wake other workers for all of it.
const MUCH: usize = 16 << 10;

/// How reading ended.
pub(super) enum Over {
    Lost(String),
    Broken(WireError),
}

pub(super) struct Reader<'a> {
    peer: &'a Arc<Peer>,
    ticket: Ticket,
    course: Course,
    buffer: ReadBuffer,
    came: Came,
    /// The receivers of some messages. Empty in between: a handle here is one that counts.
    found: Vec<Option<Arc<dyn Inlet>>>,
    /// Released coroutines, of which what has come is not in `inflow` yet.
    unheld: Vec<Arc<dyn Inlet>>,
}

/// What has been acted on.
#[derive(Default)]
struct Acted {
    counts: Counts,
    /// Somebody wants it.
    used: bool,
}

impl Acted {
    fn count(&mut self, kind: Kind, frames: usize) {
        if kind.is_numbered() {
            self.counts[kind.lane() as usize] += frames as u64;
        }
        self.used |= !kind.is_idle_talk();
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        peer: &'a Arc<Peer>,
        ticket: Ticket,
        course: Course,
        buffer: ReadBuffer,
    ) -> Self {
        Reader {
            peer,
            ticket,
            course,
            buffer,
            came: Came::default(),
            found: Vec::new(),
            unheld: Vec::new(),
        }
    }

    pub(super) async fn run(&mut self, io: &mut ReadHalf<TlsStream<Carried>>) -> Over {
        let mut much = false;
        loop {
            match self.peer.reads(self.ticket) {
                Reads::Yes => {}
                // Until the peer has read our last words and closes.
                Reads::Drains => {
                    let _ = tokio::time::timeout(FLUSH, drain(io)).await;
                    return Over::Lost("it was closed".into());
                }
                Reads::No => return Over::Lost("the link has ended".into()),
            }
            if let Err(error) = self.frames() {
                return Over::Broken(error);
            }
            if much {
                tokio::task::yield_now().await;
            }
            match self.buffer.fill(io).await {
                Ok(0) => return Over::Lost("it closed the connection".into()),
                Ok(read) => much = read >= MUCH,
                Err(error) => return Over::Lost(why_broken(&error)),
            }
        }
    }

    /// Acts on all whole frames that have come.
    fn frames(&mut self) -> Result<(), WireError> {
        let mut buffer = std::mem::replace(&mut self.buffer, ReadBuffer::new());
        let before = buffer.len();
        let mut acted = Acted::default();
        let exchange = Arc::clone(&self.course.exchange);
        let result = remote::with_exchange(&exchange, || {
            buffer.frames(GROUP, |frames| {
                self.group(frames, &mut acted)?;
                Ok(true)
            })
        });
        let bytes = before - buffer.len();
        self.buffer = buffer;
        let asks = self.course.inflow.came(&mut self.came);
        self.peer
            .has_read(self.course.epoch, acted.counts, bytes, acted.used);
        result?;
        for ask in asks.map_err(|TooMuch(target)| WireError::Window(target))? {
            self.peer.ask(&self.course, ask);
        }
        for inlet in self.unheld.drain(..) {
            // Nobody finds the mailbox later.
            if let Some(ask) = self.course.inflow.ask(inlet.id()) {
                self.peer.ask_there(&self.course, ask, &*inlet);
            }
        }
        Ok(())
    }

    fn group(&mut self, mut frames: &[Frame<'_>], acted: &mut Acted) -> Result<(), WireError> {
        while let Some(frame) = frames.first() {
            let is_message = |frame: &&Frame<'_>| frame.envelope.kind == Kind::Message;
            let messages = frames.iter().take_while(is_message).count();
            if messages > 0 {
                self.messages(&frames[..messages])?;
            } else {
                self.frame(frame)?;
            }
            let (done, rest) = frames.split_at(messages.max(1));
            acted.count(frame.envelope.kind, done.len());
            frames = rest;
        }
        Ok(())
    }

    /// Acts on messages, whose receivers are looked up together: nearly all that comes over a busy
    /// link is messages, each for another coroutine than the one before.
    fn messages(&mut self, messages: &[Frame<'_>]) -> Result<(), WireError> {
        let mut found = std::mem::take(&mut self.found);
        let targets = messages.iter().map(|message| message.envelope.target);
        let exports = &self.peer.node().exports;
        exports.find_all(targets, self.peer.id(), &mut found);
        let (mut done, mut result) = (0, Ok(()));
        while result.is_ok() && done < messages.len() {
            done += self.straight(&messages[done..], &found[done..]);
            if let Some(message) = messages.get(done) {
                result = self.message(message);
                done += 1;
            }
        }
        found.clear();
        self.found = found;
        result
    }

    /// Puts messages into mailboxes until one needs more than that, or panics: how many.
    fn straight(&mut self, messages: &[Frame<'_>], found: &[Option<Arc<dyn Inlet>>]) -> usize {
        let mut done = 0;
        let all = guarded("a message", || {
            for (message, inlet) in messages.iter().zip(found) {
                // To one that is not bounded no message waits, and so none has to wait behind it.
                let Some(inlet) = inlet.as_ref().filter(|inlet| !inlet.is_bounded()) else {
                    return;
                };
                done += 1;
                self.put(inlet, message);
            }
        });
        let messages = &messages[..done];
        for message in messages {
            self.came.add(message.envelope.target, message.length());
        }
        if let (None, Some(message)) = (all, messages.last()) {
            self.dropped(message, &panicked());
        }
        done
    }

    /// Acts on a frame that is no message.
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        match frame.envelope.kind {
            Kind::Deliver => self.deliver(frame)?,
            Kind::Answer => self.answered(frame)?,
            Kind::Released => {
                let released = wire::read_released(frame)?;
                self.unheld
                    .extend(self.peer.released(self.course.epoch, released));
            }
            Kind::Watch => self.watch(target, frame.envelope.correlation, false),
            Kind::Heed => self.watch(target, frame.envelope.correlation, true),
            Kind::Unwatch => {
                let exports = &self.peer.node().exports;
                exports.unwatch(target, self.peer.id(), frame.envelope.correlation);
            }
            Kind::Request => {
                let request = wire::read_value(frame)?;
                // Whoever only wants to stop it does not hold it.
                if let Some(inlet) = self.peer.inlet(target) {
                    guarded("a request", || inlet.request(request));
                }
            }
            Kind::Notice => {
                let parts = &self.peer.node().parts;
                parts.notice(self.peer, target, frame.payload);
            }
            Kind::Unread => {
                for id in wire::ids(frame.payload) {
                    self.peer.node().exports.unread(id, self.peer.id());
                }
            }
            _ => self.peer.input(self.course.epoch, Input::Frame(*frame)),
        }
        Ok(())
    }

    fn find(&self, target: u64) -> Found {
        self.peer.find(self.course.epoch, target)
    }

    fn message(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        let Found::Here(inlet) = self.find(target) else {
            self.came.add(target, frame.length());
            self.unopened(frame);
            return Ok(());
        };
        if self.is_behind(frame)? {
            return Ok(());
        }
        if inlet.is_bounded() {
            return self.deliver_to(inlet, frame);
        }
        self.came.add(target, frame.length());
        self.receive(&inlet, frame);
        Ok(())
    }

    fn receive(&self, inlet: &Arc<dyn Inlet>, frame: &Frame<'_>) {
        if guarded("a message", || self.put(inlet, frame)).is_none() {
            self.dropped(frame, &panicked());
        }
    }

    /// What panics in here is of the message's type.
    fn put(&self, inlet: &Arc<dyn Inlet>, frame: &Frame<'_>) {
        let _named = self.peer.named(self.course.epoch, frame.lent);
        if let Err(error) = inlet.receive(frame.payload) {
            self.dropped(frame, &error);
        }
    }

    /// A message did not get into a mailbox.
    fn dropped(&self, frame: &Frame<'_>, error: &CarryError) {
        let (peer, coroutine) = (self.peer.location(), frame.envelope.target);
        if let CarryError::Codec(_) = error {
            tracing::warn!(%peer, coroutine, %error, "a message was dropped");
            self.unread(frame);
        } else {
            tracing::debug!(%peer, coroutine, %error, "a message was dropped");
        }
    }

    /// The answer to a question of this node.
    fn answered(&self, frame: &Frame<'_>) -> Result<(), WireError> {
        match self.find(frame.envelope.target) {
            Found::Here(inlet) if inlet.is_reply() => self.receive(&inlet, frame),
            Found::Here(_) => return Err(WireError::Unexpected(Kind::Answer)),
            Found::Ended(_) => self.unopened(frame),
        }
        Ok(())
    }

    fn deliver(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let (target, correlation) = (frame.envelope.target, frame.envelope.correlation);
        let Found::Here(inlet) = self.find(target) else {
            self.came.add(target, frame.length());
            self.unopened(frame);
            let closed = Err(CarryError::Closed);
            answer(self.peer, self.course.epoch, correlation, &closed);
            return Ok(());
        };
        if self.is_behind(frame)? {
            return Ok(());
        }
        self.deliver_to(inlet, frame)
    }

    /// Delivers at once, or in a task of its own if that has to wait.
    fn deliver_to(&mut self, inlet: Arc<dyn Inlet>, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        let _named = self.peer.named(self.course.epoch, frame.lent);
        let delivery = guarded("a delivery", || start_delivery(&inlet, frame.payload));
        let place = Place::of(frame);
        match delivery.unwrap_or_else(|| Delivery::Done(Err(panicked()))) {
            Delivery::Done(result) => {
                self.came.add(target, frame.length());
                match place.correlation {
                    Some(correlation) => {
                        if matches!(result, Err(CarryError::Codec(_))) {
                            self.unread(frame);
                        }
                        answer(self.peer, self.course.epoch, correlation, &result);
                    }
                    None => {
                        if let Err(error) = result {
                            self.dropped(frame, &error);
                        }
                    }
                }
            }
            Delivery::Waits(future) => {
                self.waits(frame)?;
                self.course.queues.open(target);
                let queue = Queue {
                    peer: Arc::clone(self.peer),
                    course: self.course.clone(),
                    inlet,
                    target,
                };
                let node = self.peer.node();
                let delivering = queue.run(place, future);
                node.tasks.spawn_on(delivering, &node.runtime);
            }
        }
        Ok(())
    }

    /// Whether a frame has to wait behind others for the same coroutine, as it does then.
    fn is_behind(&self, frame: &Frame<'_>) -> Result<bool, WireError> {
        self.course.queues.behind(frame, || {
            self.waits(frame)?;
            Ok(self.yours(frame))
        })
    }

    /// A frame has to wait for room in a mailbox.
    fn waits(&self, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        let waits = self.course.inflow.waits(target, frame.length());
        waits.map_err(|TooMuch(target)| WireError::Window(target))
    }

    fn watch(&self, target: u64, correlation: u64, heeds: bool) {
        let (peer, epoch) = (Arc::downgrade(self.peer), self.course.epoch);
        let tell = move |exit: Exit| {
            if let Some(peer) = peer.upgrade() {
                peer.answer(epoch, |session| session.answer_watch(correlation, &exit));
            }
        };
        let tell = Box::new(tell);
        self.peer
            .watched(self.course.epoch, target, correlation, heeds, tell);
    }

    /// The coroutines of this node that a message of the peer names.
    fn yours(&self, frame: &Frame<'_>) -> Vec<Arc<dyn Inlet>> {
        let ids = wire::marked(frame.lent, wire::YOURS);
        ids.filter_map(|id| self.peer.node().exports.come_home(id))
            .collect()
    }

    /// Nobody will read a message: what it names is given back at once.
    fn unopened(&self, frame: &Frame<'_>) {
        drop(self.peer.named(self.course.epoch, frame.lent));
        self.unread(frame);
    }

    fn unread(&self, frame: &Frame<'_>) {
        unread(
            self.peer,
            self.course.epoch,
            frame.envelope.target,
            frame.lent,
        );
    }
}
