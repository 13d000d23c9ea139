//! The tasks of one link: a reader and a writer around the peer's session.
//!
//! The reader never waits for a mailbox: a delivery that has to wait for room goes on in a task
//! of its own, and only what comes later for the same coroutine waits behind it. The writer
//! writes whatever has come up since its last write at once, and is woken only when it is idle.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use coros_core::Exit;
use coros_core::remote::{self, BoxFuture, CarryError, CodecError, Inlet};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::buffer::ReadBuffer;
use crate::exports::Found;
use crate::node::FLUSH;
use crate::outbox::Batch;
use crate::peer::{Next, Peer};
use crate::rendezvous::Ticket;
use crate::session::Input;
use crate::tls::Io;
use crate::wire::{self, Frame, Kind, WireError};

/// How long the last frames may take, and the peer to close its side after them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a failed write waits for the reader to find out why.
const WHY: Duration = Duration::from_millis(100);
/// How many messages may wait behind a delivery for one coroutine; more are dropped, as they are
/// when a mailbox is full.
const BEHIND: usize = 1024;

/// A connection that has become the link with a peer.
pub(crate) struct Link<S> {
    pub(crate) peer: Arc<Peer>,
    pub(crate) ticket: Ticket,
    pub(crate) stream: TlsStream<S>,
    /// What has been read beyond the greeting.
    pub(crate) buffer: ReadBuffer,
    /// To be written first.
    pub(crate) greeting: Vec<u8>,
    pub(crate) token: CancellationToken,
}

impl<S: Io> Link<S> {
    /// Starts the link's tasks. They end with the link, and the link with them.
    pub(crate) fn spawn(self) {
        let node = Arc::clone(self.peer.node());
        node.links.spawn_on(self.run(), &node.runtime);
    }

    async fn run(self) {
        let (peer, ticket) = (self.peer, self.ticket);
        // Also when the runtime drops the task.
        let _lost = LostOnDrop(&peer, ticket);
        let (mut read, write) = tokio::io::split(self.stream);
        let writer = Writer {
            peer: Arc::clone(&peer),
            ticket,
            io: write,
            token: self.token.clone(),
        };
        let node = Arc::clone(peer.node());
        let mut writer = node
            .links
            .spawn_on(writer.run(self.greeting), &node.runtime);
        let mut reader = Reader::new(&peer, ticket, self.buffer);

        let reason = tokio::select! {
            biased;
            () = self.token.cancelled() => "it was closed".to_owned(),
            over = reader.run(&mut read) => match over {
                Over::Lost(reason) => reason,
                Over::Broken(error) => {
                    tracing::warn!(peer = %peer.location(), %error, "a peer broke the protocol");
                    peer.input(ticket, Input::Refuse(error.to_string()));
                    let _ = tokio::time::timeout(LAST_WORDS, &mut writer).await;
                    let _ = tokio::time::timeout(LAST_WORDS, drain(&mut read)).await;
                    error.to_string()
                }
            },
            written = &mut writer => match written {
                // The last frames are written: the peer closes when it has read them.
                Ok(Ok(())) => {
                    let _ = tokio::time::timeout(LAST_WORDS, drain(&mut read)).await;
                    "it was closed".to_owned()
                }
                // If the peer said goodbye, that is why.
                Ok(Err(error)) => {
                    let _ = tokio::time::timeout(WHY, reader.run(&mut read)).await;
                    error.to_string()
                }
                Err(_) => "the writer has stopped".to_owned(),
            },
            // After the reader: what has come counts before what has not.
            reason = keep_time(&peer, ticket) => reason,
        };
        peer.lost(ticket, &reason);
        self.token.cancel();
    }
}

struct LostOnDrop<'a>(&'a Arc<Peer>, Ticket);

impl Drop for LostOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lost(self.1, "this node has stopped");
    }
}

/// Tells the session when its time has come. Beside the writer rather than in it: to a peer that
/// stands still a write does not end.
async fn keep_time(peer: &Peer, ticket: Ticket) -> String {
    while let Some(deadline) = peer.deadline(ticket) {
        tokio::time::sleep_until(deadline.into()).await;
        peer.input(ticket, Input::Timeout);
    }
    // The session is over, and the link is as soon as the last frames are written.
    tokio::time::sleep(FLUSH).await;
    "it did not take the last frames".to_owned()
}

async fn drain(io: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut waste = [0; 4096];
    while io.read(&mut waste).await? > 0 {}
    Ok(())
}

struct Writer<S> {
    peer: Arc<Peer>,
    ticket: Ticket,
    io: WriteHalf<TlsStream<S>>,
    token: CancellationToken,
}

impl<S: Io> Writer<S> {
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
        let mut control = Vec::new();
        loop {
            match self.peer.next(self.ticket, &mut batch) {
                Next::Write => self.batch(&batch, &mut control).await?,
                Next::WriteLast => {
                    self.batch(&batch, &mut control).await?;
                    return self.io.shutdown().await;
                }
                Next::Stop => return Ok(()),
                Next::Wait => self.peer.woken().await,
            }
        }
    }

    async fn batch(&mut self, batch: &Batch, control: &mut Vec<u8>) -> io::Result<()> {
        self.io.write_all(batch.control()).await?;
        for index in 0..batch.pieces() {
            if index > 0 {
                self.peer.next_control(self.ticket, control);
                self.io.write_all(control).await?;
                control.clear();
            }
            self.io
                .write_all(&batch.messages()[batch.piece(index)])
                .await?;
        }
        self.io.flush().await
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
    buffer: ReadBuffer,
    queues: Arc<Queues>,
}

/// Deliveries that wait for room, by coroutine, with what has come for the same one later.
#[derive(Default)]
struct Queues {
    by_target: Mutex<HashMap<u64, VecDeque<Later>>>,
}

struct Later {
    /// Of a delivery; a message wants no answer.
    correlation: Option<u64>,
    payload: Vec<u8>,
    lent: Vec<u8>,
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<Later>>> {
        self.by_target
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame behind the one that waits for the same coroutine, if there is one.
    fn behind(&self, frame: &Frame<'_>) -> bool {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(&frame.envelope.target) else {
            return false;
        };
        let deliver = frame.envelope.kind == Kind::Deliver;
        if deliver || queue.len() < BEHIND {
            queue.push_back(Later {
                correlation: deliver.then_some(frame.envelope.correlation),
                payload: frame.payload.to_vec(),
                lent: frame.lent.to_vec(),
            });
        }
        true
    }

    /// The next for a coroutine; forgets about the coroutine when there is none.
    fn next(&self, target: u64) -> Option<Later> {
        let mut queues = self.lock();
        let next = queues.get_mut(&target).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(&target);
        }
        next
    }
}

impl<'a> Reader<'a> {
    fn new(peer: &'a Arc<Peer>, ticket: Ticket, buffer: ReadBuffer) -> Self {
        Reader {
            peer,
            ticket,
            buffer,
            queues: Arc::default(),
        }
    }

    async fn run<S: Io>(&mut self, io: &mut ReadHalf<TlsStream<S>>) -> Over {
        loop {
            if let Err(error) = self.frames() {
                return Over::Broken(error);
            }
            match self.buffer.fill(io).await {
                Ok(0) => return Over::Lost("it closed the connection".into()),
                Ok(_) if self.peer.heard(self.ticket) => {}
                Ok(_) => return Over::Lost("the link has ended".into()),
                Err(error) => return Over::Lost(error.to_string()),
            }
        }
    }

    /// Acts on all whole frames that have come.
    fn frames(&mut self) -> Result<(), WireError> {
        let mut buffer = std::mem::replace(&mut self.buffer, ReadBuffer::new());
        let exchange = self.peer.exchange();
        let result = remote::with_exchange(exchange, || {
            buffer.frames(|frame| self.frame(&frame).map(|()| true))
        });
        self.buffer = buffer;
        result
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let target = frame.envelope.target;
        match frame.envelope.kind {
            Kind::Message => self.message(frame),
            Kind::Deliver => self.deliver(frame),
            Kind::Watch => self.watch(target, frame.envelope.correlation),
            Kind::Request => {
                let request = wire::read_value(frame)?;
                if let Found::Here(inlet) = self.find(target) {
                    guarded("a request", || inlet.request(request));
                }
            }
            Kind::Unread => {
                for id in wire::ids(frame.payload) {
                    self.peer.node().exports.unread(id, self.peer.id());
                }
            }
            _ => self.peer.input(self.ticket, Input::Frame(*frame)),
        }
        Ok(())
    }

    fn find(&self, target: u64) -> Found {
        self.peer.node().exports.find(target, self.peer.id())
    }

    fn message(&self, frame: &Frame<'_>) {
        let target = frame.envelope.target;
        let Found::Here(inlet) = self.find(target) else {
            return self.unread(frame);
        };
        // Only a bounded mailbox makes queues: the lock is free and the map empty otherwise.
        if self.queues.behind(frame) {
            return;
        }
        let received = guarded("a message", || inlet.receive(frame.payload));
        match received.unwrap_or_else(|| Err(panicked())) {
            Ok(()) => {}
            Err(CarryError::Codec(error)) => {
                tracing::warn!(peer = %self.peer.location(), coroutine = target, %error,
                    "a message was dropped");
                self.unread(frame);
            }
            Err(error @ CarryError::Full) => {
                tracing::warn!(peer = %self.peer.location(), coroutine = target, %error,
                    "a message was dropped");
            }
            Err(error) => {
                tracing::debug!(peer = %self.peer.location(), coroutine = target, %error,
                    "a message was dropped");
            }
        }
    }

    fn deliver(&self, frame: &Frame<'_>) {
        let (target, correlation) = (frame.envelope.target, frame.envelope.correlation);
        let Found::Here(inlet) = self.find(target) else {
            self.unread(frame);
            return answer(
                self.peer,
                self.ticket,
                correlation,
                &Err(CarryError::Closed),
            );
        };
        if self.queues.behind(frame) {
            return;
        }
        let delivery = guarded("a delivery", || start_delivery(&inlet, frame.payload));
        match delivery.unwrap_or_else(|| Delivery::Done(Err(panicked()))) {
            Delivery::Done(result) => {
                if matches!(result, Err(CarryError::Codec(_))) {
                    self.unread(frame);
                }
                answer(self.peer, self.ticket, correlation, &result);
            }
            Delivery::Waits(future) => {
                self.queues.lock().insert(target, VecDeque::new());
                let queue = Queue {
                    peer: Arc::clone(self.peer),
                    ticket: self.ticket,
                    queues: Arc::clone(&self.queues),
                    inlet,
                    target,
                };
                let node = self.peer.node();
                node.tasks
                    .spawn_on(queue.run(correlation, future), &node.runtime);
            }
        }
    }

    fn watch(&self, target: u64, correlation: u64) {
        let (peer, ticket) = (Arc::downgrade(self.peer), self.ticket);
        let tell = move |exit: Exit| {
            if let Some(peer) = peer.upgrade() {
                peer.answer(ticket, |session| session.answer_watch(correlation, &exit));
            }
        };
        match self.find(target) {
            Found::Here(inlet) => inlet.watch(Box::new(tell)),
            // That it has ended is certain; how is no longer known.
            Found::Ended(exit) => tell(exit.unwrap_or(Exit::Disconnected)),
        }
    }

    fn unread(&self, frame: &Frame<'_>) {
        unread(self.peer, self.ticket, frame.envelope.target, frame.lent);
    }
}

fn unread(peer: &Peer, ticket: Ticket, target: u64, lent: &[u8]) {
    if !lent.is_empty() {
        peer.answer(ticket, |session| session.answer_unread(target, lent));
    }
}

fn answer(peer: &Peer, ticket: Ticket, correlation: u64, result: &Result<(), CarryError>) {
    peer.answer(ticket, |session| {
        session.answer_deliver(correlation, result);
    });
}

/// Runs user code (decoding) and survives its panics.
fn guarded<T>(what: &str, f: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(f));
    if result.is_err() {
        tracing::error!("reading {what} from a peer panicked");
    }
    result.ok()
}

fn panicked() -> CarryError {
    CarryError::Codec(CodecError {
        action: "decode".into(),
        type_name: "message".into(),
        reason: "its Deserialize panicked".into(),
    })
}

/// A delivery after its first poll.
enum Delivery {
    Done(Result<(), CarryError>),
    Waits(BoxFuture<Result<(), CarryError>>),
}

/// Delivers at once where there is room, as nearly always.
fn start_delivery(inlet: &Arc<dyn Inlet>, payload: &[u8]) -> Delivery {
    let mut future = inlet.deliver(payload);
    // The task that waits polls again with its own waker.
    match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Delivery::Done(result),
        Poll::Pending => Delivery::Waits(future),
    }
}

/// The deliveries that wait for one coroutine.
struct Queue {
    peer: Arc<Peer>,
    ticket: Ticket,
    queues: Arc<Queues>,
    inlet: Arc<dyn Inlet>,
    target: u64,
}

impl Queue {
    async fn run(self, correlation: u64, first: BoxFuture<Result<(), CarryError>>) {
        let token = self.peer.node().stop.clone();
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            () = self.deliver_all(correlation, first) => {}
        }
    }

    async fn deliver_all(&self, correlation: u64, first: BoxFuture<Result<(), CarryError>>) {
        let result = first.await;
        answer(&self.peer, self.ticket, correlation, &result);
        while let Some(later) = self.queues.next(self.target) {
            let exchange = self.peer.exchange();
            let delivery = guarded("a delivery", || {
                remote::with_exchange(exchange, || self.inlet.deliver(&later.payload))
            });
            let result = match delivery {
                Some(future) => future.await,
                None => Err(panicked()),
            };
            if matches!(result, Err(CarryError::Codec(_))) {
                unread(&self.peer, self.ticket, self.target, &later.lent);
            }
            if let Some(correlation) = later.correlation {
                answer(&self.peer, self.ticket, correlation, &result);
            }
        }
    }
}
