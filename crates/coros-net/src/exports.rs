//! The local coroutines that other nodes have been told of.
//!
//! An address that goes into a message puts its coroutine's inlet into this table; frames that
//! come for the coroutine find it here. An entry stays until the coroutine ends, or until the
//! sessions with all peers that hold it are over. A peer holds an entry when it was told of it or
//! has used it; values encoded for nobody in particular ([`Node::encode`](crate::Node::encode))
//! pin their entries until the coroutine ends or the node closes.
//!
//! While it stays, the coroutine counts as having an address. What is missing is the release of
//! single addresses by a peer that goes on, and an address that a peer passes to a third node just
//! before its own session ends may be gone when the third uses it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use coros_core::Exit;
use coros_core::remote::{Inlet, NodeId};

use crate::id_hash::IdHash;

/// How many ended coroutines' exits are remembered for those who watch too late.
const REMEMBERED: usize = 4096;

#[derive(Default)]
pub(crate) struct Exports {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry, IdHash>,
    exits: HashMap<u64, Exit, IdHash>,
    exits_in_order: VecDeque<u64>,
    /// Those whose end this table will be told of, in it or no more: each is watched once.
    watched: HashSet<u64, IdHash>,
    closed: bool,
}

struct Entry {
    inlet: Arc<dyn Inlet>,
    pinned: bool,
    /// Sorted.
    holders: Vec<NodeId>,
    /// Peers who are to be told of the end. Kept here and not by the coroutine, which may live
    /// long after their sessions.
    watchers: Vec<(NodeId, Watcher)>,
}

/// Tells a peer how a coroutine ended.
pub(crate) type Watcher = Box<dyn FnOnce(Exit) + Send + Sync>;

/// What became of a coroutine.
pub(crate) enum Found {
    Here(Arc<dyn Inlet>),
    /// It has ended, or never was; how, if that is still known.
    Ended(Option<Exit>),
}

impl Exports {
    /// Remembers an inlet for a peer, or for whoever it may concern; whether the peer did not hold
    /// it before.
    pub(crate) fn add(self: &Arc<Self>, inlet: &Arc<dyn Inlet>, holder: Option<NodeId>) -> bool {
        let id = inlet.id();
        let held = |entry: &Entry| entry.is_held_by(holder);
        if self.read().entries.get(&id).is_some_and(held) {
            return false;
        }
        let mut table = self.write();
        if table.closed {
            return false;
        }
        let entry = table.entries.entry(id).or_insert_with(|| Entry {
            inlet: Arc::clone(inlet),
            pinned: false,
            holders: Vec::new(),
            watchers: Vec::new(),
        });
        entry.hold(holder);
        let unwatched = table.watched.insert(id);
        drop(table);
        if unwatched {
            // Not under the lock: it may be called at once.
            let exports = Arc::downgrade(self);
            inlet.watch(Box::new(move |exit| {
                if let Some(exports) = exports.upgrade() {
                    exports.ended(id, &exit);
                }
            }));
        }
        true
    }

    /// A message that would have told `holder` of these was never sent.
    pub(crate) fn take_back(&self, ids: &[u64], holder: NodeId) {
        let mut dropped = Vec::new();
        let mut table = self.write();
        for id in ids {
            let Some(entry) = table.entries.get_mut(id) else {
                continue;
            };
            if entry.let_go(holder) {
                dropped.extend(table.entries.remove(id));
            }
        }
        drop(table);
        drop(dropped);
    }

    /// A message that named this one was not read by `holder`.
    pub(crate) fn unread(&self, id: u64, holder: NodeId) {
        let held = |entry: &&Entry| entry.is_held_by(Some(holder));
        let inlet = self
            .read()
            .entries
            .get(&id)
            .filter(held)
            .map(|entry| Arc::clone(&entry.inlet));
        if let Some(inlet) = inlet {
            inlet.undelivered();
        }
    }

    /// Finds a coroutine that `user` wants to reach; `None` when `user` does not hold it yet.
    pub(crate) fn find(&self, id: u64, user: NodeId) -> Option<Found> {
        let table = self.read();
        match table.entries.get(&id) {
            Some(entry) if entry.is_held_by(Some(user)) => {
                Some(Found::Here(Arc::clone(&entry.inlet)))
            }
            Some(_) => None,
            None => Some(Found::Ended(table.exits.get(&id).cloned())),
        }
    }

    /// [`find`](Exports::find) for a user who has a session, and holds the coroutine from then
    /// on. The session must not end meanwhile: nothing would let go of it.
    pub(crate) fn find_and_hold(&self, id: u64, user: NodeId) -> Found {
        let mut table = self.write();
        let Some(entry) = table.entries.get_mut(&id) else {
            return Found::Ended(table.exits.get(&id).cloned());
        };
        entry.hold(Some(user));
        Found::Here(Arc::clone(&entry.inlet))
    }

    /// Tells `holder` of the end of a coroutine that it holds, unless its session is over before;
    /// at once, and how if that is known, if there is no such coroutine.
    pub(crate) fn watch(&self, id: u64, holder: NodeId, tell: Watcher) {
        let mut table = self.write();
        if let Some(entry) = table.entries.get_mut(&id)
            && entry.is_held_by(Some(holder))
        {
            entry.watchers.push((holder, tell));
            return;
        }
        let exit = table.exits.get(&id).cloned();
        drop(table);
        // That it has ended is certain; how is no longer known.
        tell(exit.unwrap_or(Exit::Disconnected));
    }

    /// Finds a coroutine whose address has come home.
    pub(crate) fn come_home(&self, id: u64) -> Option<Arc<dyn Inlet>> {
        self.read()
            .entries
            .get(&id)
            .map(|entry| Arc::clone(&entry.inlet))
    }

    /// Whether a peer waits for something here, or somebody here for it: it watches a coroutine, or
    /// has a question to answer.
    pub(crate) fn owes(&self, peer: NodeId) -> bool {
        self.read().entries.values().any(|entry| {
            let holds = entry.is_held_by(Some(peer));
            holds && (entry.inlet.is_reply() || entry.watchers.iter().any(|(by, _)| *by == peer))
        })
    }

    /// The session with a peer is over: what nobody holds any more. The last address of a
    /// coroutine may be in there: it must not be dropped under a lock.
    #[must_use]
    pub(crate) fn release(&self, peer: NodeId) -> Vec<Arc<dyn Inlet>> {
        let mut released = Vec::new();
        self.write().entries.retain(|_, entry| {
            let unheld = entry.let_go(peer);
            if unheld {
                released.push(Arc::clone(&entry.inlet));
            }
            !unheld
        });
        // Whoever asked first is told first that there will be no answer.
        released.sort_unstable_by_key(|inlet| inlet.id());
        released
    }

    /// The node closes: forgets everything, for good.
    pub(crate) fn close(&self) {
        let mut table = self.write();
        table.closed = true;
        let entries = std::mem::take(&mut table.entries);
        drop(table);
        drop(entries);
    }

    /// How many coroutines peers have been told of.
    pub(crate) fn len(&self) -> usize {
        self.read().entries.len()
    }

    fn ended(&self, id: u64, exit: &Exit) {
        let mut table = self.write();
        let entry = table.entries.remove(&id);
        table.watched.remove(&id);
        table.exits.insert(id, exit.clone());
        table.exits_in_order.push_back(id);
        if table.exits_in_order.len() > REMEMBERED
            && let Some(oldest) = table.exits_in_order.pop_front()
        {
            table.exits.remove(&oldest);
        }
        drop(table);
        for (_, tell) in entry.into_iter().flat_map(|entry| entry.watchers) {
            tell(exit.clone());
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_held_by(&self, holder: Option<NodeId>) -> bool {
        match holder {
            Some(peer) => self.holders.binary_search(&peer).is_ok(),
            None => self.pinned,
        }
    }

    /// A holder has gone, if it was one: whether nobody is left.
    fn let_go(&mut self, holder: NodeId) -> bool {
        let Ok(at) = self.holders.binary_search(&holder) else {
            return false;
        };
        self.holders.remove(at);
        self.watchers.retain(|(watcher, _)| *watcher != holder);
        !self.pinned && self.holders.is_empty()
    }

    fn hold(&mut self, holder: Option<NodeId>) {
        match holder {
            Some(peer) => {
                if let Err(at) = self.holders.binary_search(&peer) {
                    self.holders.insert(at, peer);
                }
            }
            None => self.pinned = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;
    use std::sync::Mutex;

    use coros_core::remote::{BoxFuture, CarryError, OnExit, Request};

    use super::*;

    /// A coroutine of which only its watchers matter.
    struct Watched(u64, Mutex<Vec<OnExit>>);

    impl Inlet for Watched {
        fn id(&self) -> u64 {
            self.0
        }

        fn receive(&self, _: &[u8]) -> Result<(), CarryError> {
            Ok(())
        }

        fn deliver(&self, _: &[u8]) -> BoxFuture<Result<(), CarryError>> {
            Box::pin(async { Ok(()) })
        }

        fn watch(&self, on_exit: OnExit) {
            self.1.lock().unwrap().push(on_exit);
        }

        fn request(&self, _: Request) {}

        fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
            self
        }
    }

    #[test]
    fn however_often_it_is_told_of_a_coroutine_is_watched_once() {
        let exports = Arc::<Exports>::default();
        let coroutine = Arc::new(Watched(7, Mutex::default()));
        let inlet = Arc::clone(&coroutine) as Arc<dyn Inlet>;
        for peer in 1..100 {
            assert!(exports.add(&inlet, Some(NodeId(peer))));
            assert_eq!(exports.release(NodeId(peer)).len(), 1);
        }
        let watchers = std::mem::take(&mut *coroutine.1.lock().unwrap());
        assert_eq!(watchers.len(), 1);
        exports.add(&inlet, Some(NodeId(1)));
        for watcher in watchers {
            watcher(Exit::Finished);
        }
        let Some(Found::Ended(Some(exit))) = exports.find(7, NodeId(1)) else {
            panic!("its end is remembered");
        };
        assert_eq!(exit, Exit::Finished);
    }

    #[test]
    fn a_peer_that_has_left_is_not_told_and_leaves_nothing_behind() {
        let exports = Arc::<Exports>::default();
        let coroutine = Arc::new(Watched(7, Mutex::default()));
        let inlet = Arc::clone(&coroutine) as Arc<dyn Inlet>;
        let (told, exits) = std::sync::mpsc::channel();
        for peer in 1..=3 {
            exports.add(&inlet, Some(NodeId(peer)));
            let told = told.clone();
            let tell: Watcher = Box::new(move |exit| told.send((peer, exit)).unwrap());
            exports.watch(7, NodeId(peer), tell);
        }
        drop(told);
        assert!(exports.release(NodeId(2)).is_empty());
        for watcher in std::mem::take(&mut *coroutine.1.lock().unwrap()) {
            watcher(Exit::Terminated);
        }
        let told: Vec<_> = exits.iter().collect();
        assert_eq!(told, [(1, Exit::Terminated), (3, Exit::Terminated)]);
    }
}
