//! A relay of another node, as the home of the channel sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::line::{Asking, Line};
use super::wire::{Below, Down, Report};
use crate::Exit;
use crate::channel::deliver::time_afar;
use crate::channel::{Channel, Inner};
use crate::mailbox::oneshot;
use crate::primitives::{AtomicUsize, Mutex, lock};
use crate::remote::{self, BoxFuture, Carrier, CarryError, CodecError, Message, NodeId, RemoteId};
use crate::reply::Reply;
use crate::waiting;

type EncodeDown<M> = fn(&Down<&M, M>, &mut Vec<u8>) -> Result<(), CodecError>;

/// One node's subscribers, who get one copy together.
pub(crate) struct RelayEntry<M> {
    line: Line,
    encode: EncodeDown<M>,
    report: Mutex<Report>,
    /// How many subscribers in all it has been told of.
    told: AtomicUsize,
    /// How many messages in a row did not go there.
    missed: AtomicUsize,
    /// Resolves when the session is over in which it was told of, if that can be known.
    session_over: Mutex<Option<BoxFuture<()>>>,
}

impl<M> RelayEntry<M> {
    pub(super) fn new(id: RemoteId, carrier: Arc<dyn Carrier>, report: Report) -> Self
    where
        M: Message + Clone,
    {
        RelayEntry {
            line: Line::new(id, carrier),
            encode: |down, buffer| remote::encode(down, buffer).map_err(CodecError::of_type::<M>),
            report: Mutex::new(report),
            told: AtomicUsize::new(usize::MAX),
            missed: AtomicUsize::new(0),
            session_over: Mutex::new(remote::exchange().and_then(|it| it.session_over())),
        }
    }

    fn inlet(&self) -> u64 {
        self.line.id.coroutine
    }

    fn report(&self) -> Report {
        *lock(&self.report)
    }

    pub(crate) fn wants_messages(&self) -> bool {
        self.report().subscribed
    }

    /// How many coroutines a message goes to from there, as told last.
    pub(crate) fn coroutines(&self) -> usize {
        let report = self.report();
        if report.subscribed {
            usize::try_from(report.coroutines).unwrap_or(usize::MAX)
        } else {
            0
        }
    }

    /// Whether channels are fed from there.
    pub(crate) fn has_channels(&self) -> bool {
        self.report().channels
    }

    pub(super) fn follows(&self) -> bool {
        self.report().follows
    }

    fn send_down(&self, down: &Down<&M, M>) -> Result<(), CarryError> {
        self.line.send(&mut |buffer| (self.encode)(down, buffer))
    }

    /// Sends the node its copy; whether it is on its way.
    pub(crate) fn send(&self, message: &M) -> bool {
        let encode = &mut |buffer: &mut Vec<u8>| (self.encode)(&Down::Message(message), buffer);
        // A relay takes messages out at once and spreads them: they wait for the network alone.
        let sent = self.line.send_or_wait(waiting::CHANNELS, encode, ());
        let node = &self.line.id.location;
        match sent {
            Ok(()) => {
                if self.missed.load(Relaxed) > 0 {
                    let missed = self.missed.swap(0, Relaxed);
                    tracing::warn!("{missed} messages of a channel did not go to {node}");
                }
                true
            }
            Err(error) => {
                // Once, until something goes there again.
                if self.missed.fetch_add(1, Relaxed) == 0 {
                    tracing::warn!("messages of a channel do not go to {node}: {error}");
                }
                false
            }
        }
    }

    /// Tells how many subscribers there are in all, if that is news. False when it has to be
    /// tried again.
    pub(super) fn tell_total(&self, total: usize) -> bool {
        if self.told.swap(total, Relaxed) == total {
            return true;
        }
        if let Err(CarryError::Full) = self.send_down(&Down::Total(total as u64)) {
            self.told.store(usize::MAX, Relaxed);
            return false;
        }
        true
    }

    /// The channel has been closed; told behind all messages, so that none is lost.
    pub(crate) fn tell_closed(&self) {
        let encode = &mut |buffer: &mut Vec<u8>| (self.encode)(&Down::Closed, buffer);
        // Where nobody can be told, the session is over, or that node reads nothing.
        if let Err(error) = self.line.send_or_wait(waiting::MOST, encode, ()) {
            let node = &self.line.id.location;
            tracing::debug!("{node} was not told that a channel is closed: {error}");
        }
    }
}

impl<M: Send + 'static> RelayEntry<M> {
    /// Queues a delivery before it returns, unless as many wait there as may: then when one of them
    /// is done. The future gives how many coroutines got it.
    pub(crate) fn deliver(self: &Arc<Self>, message: &M, end: Instant) -> BoxFuture<usize>
    where
        M: Clone,
    {
        let (this, message) = (Arc::clone(self), message.clone());
        self.line
            .deliver_in_turn(move || this.ask_to_deliver(&message, time_afar(end)).answered())
    }

    fn ask_to_deliver(&self, message: &M, limit: Duration) -> Asking {
        let (reply, answer) = Reply::new();
        let down = Down::Deliver {
            message,
            limit,
            reply,
        };
        let queued = self
            .line
            .deliver(&mut |buffer| (self.encode)(&down, buffer));
        let Down::Deliver { reply, .. } = down else {
            unreachable!("made above");
        };
        Asking {
            queued,
            reply,
            answer,
        }
    }

    /// Asks which channels are fed from there.
    pub(super) fn below(&self) -> Option<oneshot::Receiver<Below<M>>> {
        let (reply, answer) = Reply::new();
        self.send_down(&Down::Below(reply)).ok()?;
        Some(answer)
    }
}

impl<M: Message + Clone> Channel<M> {
    /// How things stand at a relay of another node.
    pub(super) fn relay_reports(&self, id: RemoteId, carrier: Arc<dyn Carrier>, report: Report) {
        let node = id.location.node;
        let mut replaced = None;
        let entry = {
            let mut state = lock(&self.inner.state);
            let known = state.subscribers.relays.get(&node);
            if self.is_closed() {
                drop(state);
                RelayEntry::<M>::new(id, carrier, report).tell_closed();
                return;
            }
            match known.filter(|known| known.inlet() == id.coroutine) {
                Some(known) => {
                    let mut last = lock(&known.report);
                    if report.number > last.number {
                        *last = report;
                    }
                    None
                }
                None => {
                    let entry = Arc::new(RelayEntry::new(id, carrier, report));
                    let list = Arc::make_mut(&mut state.subscribers);
                    replaced = list.relays.insert(node, Arc::clone(&entry));
                    state.afar.watched.insert(node).then_some(entry)
                }
            }
        };
        drop(replaced);
        if let Some(entry) = entry {
            watch(&self.inner, &entry);
        }
        if report.follows {
            self.tell_followers();
        }
        self.inner.changed.notify_waiters();
    }
}

/// Has the end of a relay told. One node is watched by one watcher at a time, whatever relays it
/// says that it has.
fn watch<M: Send + 'static>(channel: &Arc<Inner<M>>, entry: &Arc<RelayEntry<M>>) {
    let node = entry.line.id.location.node;
    let (channel, inlet) = (Arc::downgrade(channel), entry.inlet());
    let session_over = lock(&entry.session_over).take();
    let runtime = entry.line.runtime();
    entry.line.watch(Box::new(move |exit| {
        let ended = move |exit| {
            if let Some(inner) = channel.upgrade() {
                relay_ended(&inner, node, inlet, &exit);
            }
        };
        match (exit, session_over, runtime) {
            // Nobody will tell: it stays as long as it can.
            (Exit::Unwatched, Some(over), Some(runtime)) => drop(runtime.spawn(async move {
                over.await;
                ended(Exit::Disconnected);
            })),
            (exit, ..) => ended(exit),
        }
    }));
}

fn relay_ended<M: Send + 'static>(inner: &Arc<Inner<M>>, node: NodeId, inlet: u64, exit: &Exit) {
    let mut removed = None;
    let next = {
        let mut state = lock(&inner.state);
        match state.subscribers.relays.get(&node).cloned() {
            // Another has taken its place meanwhile.
            Some(entry) if entry.inlet() != inlet && exit.is_certain() => Some(entry),
            known => {
                state.afar.watched.remove(&node);
                if known.is_some() {
                    let list = Arc::make_mut(&mut state.subscribers);
                    removed = list.relays.swap_remove(&node);
                }
                None
            }
        }
    };
    drop(removed);
    match next {
        Some(entry) => watch(inner, &entry),
        None => inner.changed.notify_waiters(),
    }
}
