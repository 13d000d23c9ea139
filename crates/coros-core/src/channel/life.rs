//! The end of a channel.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use indexmap::IndexMap;

use super::subscribe::Watched;
use super::subscribers::Subscribers;
use super::{Afar, Channel, Inner, State};
use crate::address::Watch;
use crate::primitives::lock;
use crate::remote::{NodeId, OnExit};
use crate::waiting::{self, Waits};
use crate::{Exit, names};

/// For how many things that it has asked for one node may wait at a channel.
pub(super) const MAX_TURNS: usize = 256;

/// How many coroutines of third nodes, and channels, other nodes may subscribe.
const MAX_FROM_AFAR: usize = 65_536;

impl<M> Channel<M> {
    /// Whether the channel has been closed. For a channel of another node, as far as that has been
    /// told here, which it is to a node that has subscribed or sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Relaxed)
    }

    /// Closes the channel for all its handles: later sends fail, deliveries that wait for
    /// subscribers end, all subscribers are released, and its [names](Self::register) are free.
    /// Closing twice is closing once.
    ///
    /// A send that is under way on another thread still goes to all that are on this node. A
    /// channel of another node is closed when the request arrives there; what has been sent from
    /// here before comes first. False when its node cannot be reached: then it is as open as it was.
    pub fn close(&self) -> bool {
        match &self.inner.home {
            None => self.inner.end(),
            Some(_) if self.is_closed() => {}
            Some(home) => {
                if !home.close() {
                    return false;
                }
                self.inner.closed.store(true, Relaxed);
                self.inner.changed.notify_waiters();
            }
        }
        true
    }

    /// From now on, closing the channel takes its names back.
    pub(crate) fn note_registered(&self) {
        lock(&self.inner.state).registered = true;
    }

    /// Calls `on_exit` once: when the channel is closed, or its last handle dropped.
    pub(super) fn watch_end(&self, on_exit: OnExit) {
        {
            let mut state = lock(&self.inner.state);
            if !self.is_closed() {
                state.afar.watchers.push(on_exit);
                return;
            }
        }
        on_exit(Exit::Finished);
    }
}

impl<M> Inner<M> {
    fn end(&self) {
        let (released, transform, watchers, registered) = {
            let mut state = lock(&self.state);
            self.closed.store(true, Relaxed);
            (
                state.release(),
                state.transform.take(),
                std::mem::take(&mut state.afar.watchers),
                state.registered,
            )
        };
        for relay in released.subscribers.relays.values() {
            relay.tell_closed();
        }
        released.unwatch();
        drop(transform);
        self.changed.notify_waiters();
        for watcher in watchers {
            watcher(Exit::Finished);
        }
        if registered {
            names::forget_channel(self.id);
        }
    }

    /// Lets go of all who have subscribed at a relay.
    pub(super) fn release_all(&self) {
        let released = lock(&self.state).release();
        released.unwatch();
        self.changed.notify_waiters();
    }
}

/// Who had subscribed. Dropping addresses wakes coroutines: not under the lock.
struct Released<M> {
    subscribers: Arc<Subscribers<M>>,
    watched: IndexMap<Watched<M>, Option<Watch>>,
    ends: HashMap<u64, Watch>,
}

impl<M> State<M> {
    fn release(&mut self) -> Released<M> {
        let ends = self.afar.ends.as_mut().map(std::mem::take);
        Released {
            subscribers: std::mem::take(&mut self.subscribers),
            watched: std::mem::take(&mut self.watched),
            ends: ends.unwrap_or_default(),
        }
    }
}

impl<M> Released<M> {
    /// Takes back that the end of coroutines is told.
    fn unwatch(mut self) {
        for (coroutine, watch) in self.watched {
            coroutine.0.unwatch(watch);
        }
        for coroutine in &self.subscribers.addresses {
            if coroutine.remote_id().is_none() {
                coroutine.unwatch(self.ends.remove(&coroutine.id()));
            }
        }
    }
}

impl Afar {
    /// What takes back that a coroutine's end is told, once.
    pub(super) fn take_end(&mut self, coroutine: u64) -> Option<Watch> {
        self.ends.as_mut()?.remove(&coroutine)
    }
}

impl<M> Drop for Inner<M> {
    fn drop(&mut self) {
        match &self.home {
            Some(home) => {
                home.relay_dropped();
                // Whoever waits for changes to tell of need not wait any more.
                self.changed.notify_waiters();
            }
            None => self.end(),
        }
    }
}

/// One thing that another node waits for.
pub(super) struct Turn<M> {
    channel: Channel<M>,
    node: Option<NodeId>,
    _waits: Option<Waits>,
}

impl<M> Drop for Turn<M> {
    fn drop(&mut self) {
        let mut state = lock(&self.channel.inner.state);
        let turns: &mut HashMap<_, _> = &mut state.afar.turns;
        if let Some(taken) = turns.get_mut(&self.node) {
            *taken -= 1;
            if *taken == 0 {
                turns.remove(&self.node);
            }
        }
    }
}

impl<M> Channel<M> {
    /// One more thing of so many bytes for a node to wait for, if it does not wait for too much.
    pub(super) fn take_turn(&self, node: Option<NodeId>, bytes: usize) -> Option<Turn<M>> {
        let waits = match node {
            Some(node) => {
                let mut waits = waiting::take(node, waiting::CHANNELS)?;
                waits.add(bytes);
                Some(waits)
            }
            None => None,
        };
        let mut state = lock(&self.inner.state);
        let taken = state.afar.turns.entry(node).or_default();
        if *taken == MAX_TURNS {
            return None;
        }
        *taken += 1;
        drop(state);
        Some(Turn {
            channel: self.clone(),
            node,
            _waits: waits,
        })
    }

    /// Whether other nodes may subscribe one more that is not theirs.
    pub(super) fn has_room_for_afar(&self) -> bool {
        let state = lock(&self.inner.state);
        let channels = state.subscribers.channels.len() + state.subscribers.unchecked.len();
        state.watched.len() < MAX_FROM_AFAR && channels < MAX_FROM_AFAR
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Drops the addresses given, of coroutines that have ended, and others known to have ended.
    #[cold]
    pub(super) fn let_go(&self, ended: &[crate::Address<M>]) {
        let dropped = {
            let mut state = lock(&self.inner.state);
            let list = Arc::make_mut(&mut state.subscribers);
            let mut dropped = list.take_ended();
            dropped.extend(ended.iter().filter_map(|it| list.addresses.swap_take(it)));
            let closed = list.take_closed();
            state.look_at = super::subscribers::next_look(list.addresses.len());
            (dropped, closed)
        };
        drop(dropped);
    }
}
