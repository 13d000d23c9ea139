//! The tasks of one link: a reader and a writer around the peer's session.
//!
//! The reader never waits for a mailbox: a delivery that has to wait for room goes on in a task
//! of its own, and only what comes later for the same coroutine waits behind it. The writer
//! writes whatever has come up since its last write at once, and is woken only when it is idle.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coros_core::Exit;
use coros_core::remote::{self, CarryError, Inlet};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::buffer::ReadBuffer;
use crate::clock;
use crate::deliveries::{
    Delivery, Place, Queue, answer, guarded, panicked, start_delivery, unread,
};
use crate::exports::Found;
use crate::inflow::{Came, TooMuch};
use crate::node::FLUSH;
use crate::outbox::Batch;
use crate::peer::{Course, Next, Peer, Reads};
use crate::read_ahead::Carried;
use crate::rendezvous::Ticket;
use crate::session::Input;
use crate::transport::why_broken;
use crate::wire::{self, Frame, Kind, WireError};

/// How long the last frames may take, and the peer to close its side after them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a failed write waits for the reader to find out why.
const WHY: Duration = Duration::from_millis(100);
/// After so many writes of a single message in a row there is no crowd of senders.
const CROWD: u32 = 16;
/// Up to so much is written at once, though it is in pieces: as much as a record of TLS takes.
const JOIN: usize = 16 << 10;
/// Of which an idle link keeps as much.
const KEEP: usize = 1 << 10;

/// A connection that has become the link with a peer.
pub(crate) struct Link {
    pub(crate) peer: Arc<Peer>,
    pub(crate) ticket: Ticket,
    pub(crate) stream: TlsStream<Carried>,
    /// What has been read beyond the greeting.
    pub(crate) buffer: ReadBuffer,
    /// Until when the peer is who it has shown to be.
    pub(crate) until: SystemTime,
    /// To be written first.
    pub(crate) greeting: Vec<u8>,
    pub(crate) token: CancellationToken,
    pub(crate) course: Course,
}

impl Link {
    /// Starts the link's tasks. They end with the link, and the link with them.
    pub(crate) fn spawn(self) {
        let node = Arc::clone(self.peer.node());
        node.links.spawn_on(self.run(), &node.runtime);
    }

    async fn run(self) {
        let (peer, ticket, course) = (self.peer, self.ticket, self.course);
        // Also when the runtime drops the task.
        let _lost = LostOnDrop(&peer, ticket);
        let (mut read, write) = tokio::io::split(self.stream);
        let writer = Writer {
            peer: Arc::clone(&peer),
            ticket,
            io: write,
            token: self.token.clone(),
            joined: Vec::new(),
        };
        let node = Arc::clone(peer.node());
        let mut writer = node
            .links
            .spawn_on(writer.run(self.greeting), &node.runtime);
        let (epoch, time) = (course.epoch, course.clone());
        let mut reader = Reader {
            peer: &peer,
            ticket,
            course,
            buffer: self.buffer,
            came: Came::default(),
            unheld: Vec::new(),
        };

        let reason = tokio::select! {
            biased;
            () = self.token.cancelled() => "it was closed".to_owned(),
            over = reader.run(&mut read) => match over {
                Over::Lost(reason) => reason,
                Over::Broken(error) => {
                    tracing::warn!(peer = %peer.location(), %error, "a peer broke the protocol");
                    peer.input(epoch, Input::Refuse(error.to_string()));
                    last_words(&mut writer, &mut read).await;
                    error.to_string()
                }
            },
            () = clock::passed(self.until) => {
                tracing::warn!(peer = %peer.location(), "the certificate of a peer has expired");
                peer.input(epoch, Input::Expired);
                last_words(&mut writer, &mut read).await;
                "its certificate has expired".to_owned()
            }
            written = &mut writer => match written {
                // The last frames are written: the peer closes when it has read them.
                Ok(Ok(())) => {
                    let _ = tokio::time::timeout(LAST_WORDS, drain(&mut read)).await;
                    "it was closed".to_owned()
                }
                // If the peer said goodbye, that is why.
                Ok(Err(error)) => {
                    let _ = tokio::time::timeout(WHY, reader.run(&mut read)).await;
                    why_broken(&error)
                }
                Err(_) => "the writer has stopped".to_owned(),
            },
            // After the reader: what has come counts before what has not.
            // However busy that is.
            reason = tokio::task::unconstrained(keep_time(&peer, ticket, &time)) => reason,
        };
        peer.lost(ticket, &reason);
        self.token.cancel();
    }
}

struct LostOnDrop<'a>(&'a Arc<Peer>, Ticket);

impl Drop for LostOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stopped(self.1);
    }
}

/// Tells the session when its time has come. Beside the writer rather than in it: to a peer that
/// stands still a write does not end.
///
/// Now and then it asks about coroutines that have got something and get no more.
async fn keep_time(peer: &Arc<Peer>, ticket: Ticket, course: &Course) -> String {
    let pause = peer.node().config.timing.heartbeat;
    let mut look = Instant::now() + pause;
    while let Some(deadline) = peer.deadline(ticket) {
        tokio::select! {
            biased;
            () = peer.sooner() => {}
            () = tokio::time::sleep_until(deadline.into()) => peer.timeout(ticket),
        }
        if Instant::now() >= look {
            look = Instant::now() + pause;
            for ask in course.inflow.idle() {
                peer.ask(course, ask);
            }
        }
    }
    // The session is over, and the link is as soon as the last frames are written.
    tokio::time::sleep(FLUSH).await;
    "it did not take the last frames".to_owned()
}

/// Until they are written, and the peer has read them and closes.
async fn last_words(writer: &mut (impl Future + Unpin), read: &mut (impl AsyncReadExt + Unpin)) {
    let _ = tokio::time::timeout(LAST_WORDS, writer).await;
    let _ = tokio::time::timeout(LAST_WORDS, drain(read)).await;
}

async fn drain(io: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut waste = [0; 4096];
    while io.read(&mut waste).await? > 0 {}
    Ok(())
}

struct Writer {
    peer: Arc<Peer>,
    ticket: Ticket,
    io: WriteHalf<TlsStream<Carried>>,
    token: CancellationToken,
    joined: Vec<u8>,
}

impl Writer {
    /// Until the last frame is written, or the link ends otherwise.
    async fn run(mut self, greeting: Vec<u8>) -> io::Result<()> {
        let token = self.token.clone();
        tokio::select! {
            biased;
            () = token.cancelled() => Ok(()),
            written = self.write(greeting) => written,
        }
    }

    async fn write(&mut self, greeting: Vec<u8>) -> io::Result<()> {
        self.io.write_all(&greeting).await?;
        self.io.flush().await?;
        drop(greeting);
        let mut batch = Batch::default();
        let mut between = Batch::default();
        let mut crowd: u32 = 0;
        loop {
            match self.peer.next(self.ticket, &mut batch) {
                Next::Write => {
                    crowd = match batch.has_several() {
                        true => CROWD,
                        false => crowd.saturating_sub(1),
                    };
                    self.batch(&mut batch, &mut between).await?;
                }
                Next::WriteLast => {
                    self.batch(&mut batch, &mut between).await?;
                    return self.io.shutdown().await;
                }
                Next::Stop => return Ok(()),
                Next::Wait => {
                    // An idle link keeps little.
                    self.joined.shrink_to(KEEP);
                    self.peer.woken().await;
                    // If several sent of late, several will: they go first, and what they send is
                    // one write. A single one is not made to wait for that.
                    if crowd > 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
    }

    async fn batch(&mut self, batch: &mut Batch, between: &mut Batch) -> io::Result<()> {
        self.join(batch.control()).await?;
        let mut messages = batch.first_messages();
        while let Some(piece) = messages {
            self.piece(piece).await?;
            messages = batch.next_messages();
            if messages.is_some() {
                if !self.peer.next_control(self.ticket, between) {
                    return Ok(());
                }
                self.join(between.control()).await?;
            }
        }
        self.join(batch.last()).await?;
        self.write_joined().await?;
        self.io.flush().await
    }

    /// Writes small pieces together with what follows: each write of its own costs a record and a
    /// system call.
    async fn join(&mut self, pieces: impl Iterator<Item = &[u8]>) -> io::Result<()> {
        for piece in pieces {
            self.piece(piece).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.joined.len() + piece.len() <= JOIN {
            self.joined.extend_from_slice(piece);
            return Ok(());
        }
        self.write_joined().await?;
        if piece.len() <= JOIN {
            self.joined.extend_from_slice(piece);
            return Ok(());
        }
        self.io.write_all(piece).await
    }

    async fn write_joined(&mut self) -> io::Result<()> {
        if !self.joined.is_empty() {
            self.io.write_all(&self.joined).await?;
            self.joined.clear();
        }
        Ok(())
    }
}

/// How reading ended.
enum Over {
    Lost(String),
    Broken(WireError),
}

struct Reader<'a> {
    peer: &'a Arc<Peer>,
    ticket: Ticket,
    course: Course,
    buffer: ReadBuffer,
    came: Came,
    /// Released coroutines, of which what has come is not in `inflow` yet.
    unheld: Vec<Arc<dyn Inlet>>,
}

impl Reader<'_> {
    async fn run(&mut self, io: &mut ReadHalf<TlsStream<Carried>>) -> Over {
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
            match self.buffer.fill(io).await {
                Ok(0) => return Over::Lost("it closed the connection".into()),
                Ok(_) => {}
                Err(error) => return Over::Lost(why_broken(&error)),
            }
        }
    }

    /// Acts on all whole frames that have come.
    fn frames(&mut self) -> Result<(), WireError> {
        let mut buffer = std::mem::replace(&mut self.buffer, ReadBuffer::new());
        let before = buffer.len();
        let (mut counts, mut used) = ([0; 2], false);
        let exchange = Arc::clone(&self.course.exchange);
        let result = remote::with_exchange(&exchange, || {
            buffer.frames(|frame| {
                self.frame(&frame)?;
                let kind = frame.envelope.kind;
                counts[kind.lane() as usize] += u64::from(kind.is_numbered());
                used |= !kind.is_idle_talk();
                Ok(true)
            })
        });
        let bytes = before - buffer.len();
        self.buffer = buffer;
        let asks = self.course.inflow.came(&mut self.came);
        self.peer.has_read(self.course.epoch, counts, bytes, used);
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

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        match frame.envelope.kind {
            Kind::Message => self.message(frame)?,
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
        let _named = self.peer.named(self.course.epoch, frame.lent);
        let received = guarded("a message", || inlet.receive(frame.payload));
        if let Err(error) = received.unwrap_or_else(|| Err(panicked())) {
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
