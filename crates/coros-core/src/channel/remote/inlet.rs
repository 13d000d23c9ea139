//! Where messages of other nodes come in: at the home of a channel, and at its relays.

use std::any::Any;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::wire::{Below, Delivered, Down, MAX_BELOW, Up, Way};
use crate::channel::broadcast::Sending;
use crate::channel::deliver::{Delivering, deadline};
use crate::channel::life::Turn;
use crate::channel::{Channel, Inner, SubscribeError};
use crate::control::next_id;
use crate::primitives::{AtomicBool, Mutex, lock};
use crate::remote::{
    self, BoxFuture, CarryError, CodecError, Inlet, Message, NodeId, OnExit, Request, exchange,
};
use crate::{Exit, Reply};

/// The node that the message comes from which is being read.
fn sender() -> Option<NodeId> {
    exchange()?.peer()
}

/// The outside of a channel, at its home. As an address does, it keeps what it leads to.
pub(super) struct ChannelInlet<M>(pub(super) Channel<M>);

impl<M: Message + Clone> Inlet for ChannelInlet<M> {
    fn id(&self) -> u64 {
        self.0.id()
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        let up = remote::decode(payload).map_err(CodecError::of_type::<M>)?;
        self.take(up, payload.len())
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn watch(&self, on_exit: OnExit) {
        self.0.watch_end(on_exit);
    }

    fn request(&self, _: Request) {}

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<M: Message + Clone> ChannelInlet<M> {
    fn take(&self, up: Up<M, M>, bytes: usize) -> Result<(), CarryError> {
        let channel = &self.0;
        match up {
            Up::Send(message) => drop(channel.send(message).map_err(|_| CarryError::Closed)?),
            Up::Deliver {
                message,
                n,
                limit,
                reply,
            } => {
                let turn = channel.take_turn(sender(), bytes);
                self.start_delivery(turn, message, n, limit, reply);
            }
            Up::Report(way, report) => match way {
                // A node speaks for itself alone.
                Way::To(id, carrier) if sender() == Some(id.location.node) => {
                    channel.relay_reports(id, carrier, report);
                }
                _ => self.refuse("a relay that is not its own"),
            },
            Up::Subscribe(coroutine) => {
                if coroutine.remote_id().is_some() && !channel.has_room_for_afar() {
                    self.refuse("another coroutine: too many of other nodes have subscribed");
                } else if let Err(error) = channel.subscribe(&coroutine) {
                    tracing::debug!("{error}");
                }
            }
            Up::Unsubscribe(coroutine) => {
                channel.unsubscribe(&coroutine);
            }
            Up::SubscribeChannel(other, reply) => {
                self.subscribe_channel(channel.take_turn(sender(), bytes), &other, reply);
            }
            Up::UnsubscribeChannel(other) => {
                channel.unsubscribe_channel(&other);
            }
            Up::Close => {
                channel.close();
            }
            Up::Count(reply) => reply.send(channel.subscribers() as u64),
            Up::Below(reply) => {
                if let Some(turn) = channel.take_turn(sender(), bytes) {
                    let channel = channel.clone();
                    tokio::spawn(async move {
                        if let Some(mut below) = channel.below().await {
                            below.truncate(MAX_BELOW);
                            reply.send(Below(below));
                        }
                        drop(turn);
                    });
                }
            }
        }
        Ok(())
    }

    fn refuse(&self, what: &str) {
        let peer = sender().map_or_else(|| "somebody".to_owned(), |peer| peer.to_string());
        tracing::warn!("channel {} refuses from {peer} {what}", self.0);
    }

    /// Delivers at once where nothing has to be waited for, so that what comes next comes after it.
    fn start_delivery(
        &self,
        turn: Option<Turn<M>>,
        message: M,
        n: u64,
        limit: Duration,
        reply: Reply<Delivered>,
    ) {
        let Some(turn) = turn else {
            return reply.send(Delivered::TooMany);
        };
        let channel = self.0.clone();
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        answer_later(turn, reply, async move {
            match channel.deliver(message, n, limit).await {
                Ok(reached) => Delivered::To(reached as u64),
                Err(_) => Delivered::Closed,
            }
        });
    }

    fn subscribe_channel(
        &self,
        turn: Option<Turn<M>>,
        other: &Channel<M>,
        reply: Reply<Result<bool, SubscribeError>>,
    ) {
        let channel = &self.0;
        let Some(turn) = turn.filter(|_| channel.has_room_for_afar()) else {
            let error = SubscribeError::refused(channel, other, "too much is asked of it");
            return reply.send(Err(error));
        };
        let subscribing = channel.subscribe_channel_checked(other);
        now_or_later(async move {
            reply.send(subscribing.await);
            drop(turn);
        });
    }
}

/// Answers a delivery when it is done, unless nobody wants it any more.
fn answer_later<M: Send + 'static>(
    turn: Turn<M>,
    reply: Reply<Delivered>,
    delivery: impl Future<Output = Delivered> + Send + 'static,
) {
    let given_up = reply.given_up();
    now_or_later(async move {
        let delivered = tokio::select! {
            biased;
            delivered = delivery => Some(delivered),
            () = given_up => None,
        };
        // Before the other node hears of it: then it may send the next.
        drop(turn);
        if let Some(delivered) = delivered {
            reply.send(delivered);
        }
    });
}

/// Polls a future once here, and on in a task if it has to wait.
fn now_or_later(future: impl Future<Output = ()> + Send + 'static) {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    if future.as_mut().poll(&mut context) == Poll::Pending {
        tokio::spawn(future);
    }
}

/// Where the messages of a channel's home come in, at a relay.
///
/// The home's node has been lent it and nobody else owns it: when it is dropped without having
/// ended, the session with that node is over, or this node closes.
pub(super) struct RelayInlet<M> {
    pub(super) id: u64,
    relay: Weak<Inner<M>>,
    state: Mutex<State<M>>,
    ended: AtomicBool,
}

struct State<M> {
    /// The relay, as long as somebody has subscribed: perhaps nobody here has a handle any more.
    kept: Option<Arc<Inner<M>>>,
    watchers: Vec<OnExit>,
}

impl<M> RelayInlet<M> {
    pub(super) fn new(relay: &Arc<Inner<M>>) -> Arc<Self> {
        Arc::new(RelayInlet {
            id: next_id(),
            relay: Arc::downgrade(relay),
            state: Mutex::new(State {
                kept: None,
                watchers: Vec::new(),
            }),
            ended: AtomicBool::new(false),
        })
    }

    pub(super) fn keep(&self, relay: Option<Arc<Inner<M>>>) {
        let before = {
            let mut state = lock(&self.state);
            if self.ended.load(Relaxed) {
                return;
            }
            std::mem::replace(&mut state.kept, relay)
        };
        drop(before);
    }

    /// Nobody has subscribed any more.
    pub(super) fn end(&self) {
        let (kept, watchers) = {
            let mut state = lock(&self.state);
            self.ended.store(true, Relaxed);
            (state.kept.take(), std::mem::take(&mut state.watchers))
        };
        drop(kept);
        for watcher in watchers {
            watcher(Exit::Finished);
        }
    }
}

impl<M> Drop for RelayInlet<M> {
    fn drop(&mut self) {
        if !self.ended.load(Relaxed)
            && let Some(relay) = self.relay.upgrade()
        {
            relay.inlet_lost(self.id);
        }
    }
}

impl<M: Message + Clone> Inlet for RelayInlet<M> {
    fn id(&self) -> u64 {
        self.id
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        let ended = self.ended.load(Relaxed);
        let Some(inner) = self.relay.upgrade().filter(|_| !ended) else {
            return Err(CarryError::Closed);
        };
        let home = inner.home.as_ref().map(|home| home.id().location.node);
        if sender() != home {
            tracing::warn!(
                "a node that is not its home speaks for channel {}",
                inner.id
            );
            return Err(CarryError::Closed);
        }
        let down = remote::decode(payload).map_err(CodecError::of_type::<M>)?;
        from_home(&Channel { inner }, down, payload.len());
        Ok(())
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn watch(&self, on_exit: OnExit) {
        {
            let mut state = lock(&self.state);
            if !self.ended.load(Relaxed) {
                state.watchers.push(on_exit);
                return;
            }
        }
        on_exit(Exit::Finished);
    }

    fn request(&self, _: Request) {}

    /// The home has not read the report in which it was told of this inlet: it has been closed.
    fn undelivered(&self) {
        if let Some(inner) = self.relay.upgrade() {
            close_relay(&inner);
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A message of so many bytes from the home, for the subscribers at a relay.
pub(super) fn from_home<M: Clone + Send + 'static>(
    relay: &Channel<M>,
    down: Down<M, M>,
    bytes: usize,
) {
    match down {
        Down::Message(message) => {
            relay.spread(message, &mut Sending);
        }
        Down::Deliver {
            message,
            limit,
            reply,
        } => {
            // Spread among some, it could not be sent again for the others.
            let Some(turn) = relay.take_turn(sender(), bytes) else {
                return reply.send(Delivered::TooMany);
            };
            let mut delivering = Delivering::until(deadline(limit));
            let reached = relay.spread(message, &mut delivering);
            answer_later(turn, reply, async move {
                let later = delivering.finish().await;
                Delivered::To(reached.saturating_add(later) as u64)
            });
        }
        Down::Total(total) => {
            if let Some(home) = &relay.inner.home {
                home.set_total(total);
                relay.inner.changed.notify_waiters();
            }
        }
        Down::Closed => close_relay(&relay.inner),
        Down::Below(reply) => {
            let mut below = relay.channels_here();
            below.truncate(MAX_BELOW);
            reply.send(Below(below));
        }
    }
}

/// The channel has been closed at its home.
fn close_relay<M>(relay: &Arc<Inner<M>>) {
    relay.closed.store(true, Relaxed);
    if let Some(home) = &relay.home
        && let Some(inlet) = home.forget_inlet(None).and_then(|inlet| inlet.upgrade())
    {
        inlet.end();
    }
    relay.release_all();
}
