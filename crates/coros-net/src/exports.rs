//! The local coroutines that other nodes have been told of.
//!
//! An address that goes into a message puts its coroutine's inlet into this table; frames that
//! come for the coroutine find it here. An entry stays until the coroutine ends, or nobody holds
//! it any more; while it stays, the coroutine counts as having an address. A peer holds an entry
//!
//! - for every message that has named it to the peer, until the peer has given that back; see
//!   [`imports`](crate::imports), which is the other side;
//! - when it has sent to it, though it was told of it by somebody else: until it releases it;
//! - when a value was encoded for that peer.
//!
//! All this ends with the peer's session. Names hold as peers do. Values encoded for nobody in
//! particular ([`Node::encode`](crate::Node::encode)) pin what they name until the coroutine ends,
//! the session with its node if it is of another, or the node closes.
//!
//! Those who want to be told of the end of a coroutine have an address when they say so, and hold it
//! until they release that; the wish alone holds nothing.
//!
//! An address that a peer has passed on to a third node: the peer keeps its own until the coroutine
//! ends or its session with the third, or with the coroutine's node, is over. What it passed on just before that may be gone when the third uses it.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use coros_core::Exit;
use coros_core::remote::{Carrier, Inlet, NodeId, RemoteId};

use crate::id_hash::IdHash;
use crate::wire::MAX_WATCHES;

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
    /// Peers who are to be told of the end. Kept here and not by the coroutine, which may live
    /// long after their sessions.
    watchers: HashMap<u64, Watchers, IdHash>,
    /// How many of them each peer has.
    watches: BTreeMap<NodeId, usize>,
    /// How many more it heeds: that is no reason to keep a link.
    heeds: BTreeMap<NodeId, usize>,
    /// Handles of coroutines of other nodes that are in values for nobody in particular, as long
    /// as the sessions with those nodes last.
    ways: BTreeMap<(NodeId, u64), Arc<dyn Carrier>>,
    closed: bool,
}

/// By the peer and the number that it has given the watch.
type Watchers = BTreeMap<(NodeId, u64), Watching>;

struct Watching {
    heeds: bool,
    tell: Watcher,
}

struct Entry {
    inlet: Arc<dyn Inlet>,
    pinned: bool,
    /// By peer.
    holders: Vec<Holder>,
}

struct Holder {
    peer: NodeId,
    /// By so many messages.
    named: u64,
    /// It has sent to it.
    uses: bool,
    /// Until its session ends.
    kept: bool,
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
    /// Remembers an inlet for whoever it may concern, or for a peer until its session ends or
    /// [`let_go`](Exports::let_go) is called.
    pub(crate) fn keep(self: &Arc<Self>, inlet: &Arc<dyn Inlet>, holder: Option<NodeId>) {
        let mut table = self.write();
        let Some(entry) = table.enter(inlet) else {
            return;
        };
        match holder {
            Some(peer) => entry.holder(peer).kept = true,
            None => entry.pinned = true,
        }
        let unwatched = table.watched.insert(inlet.id());
        drop(table);
        if unwatched {
            self.watch_end(inlet);
        }
    }

    /// A message that names these is queued for a peer: those of them whose end this table has to
    /// be told of, by [`watch_end`](Exports::watch_end), outside of all locks. Those that are
    /// counted the peer will release.
    #[must_use]
    pub(crate) fn name(
        &self,
        named: &[(Arc<dyn Inlet>, bool)],
        peer: NodeId,
    ) -> Vec<Arc<dyn Inlet>> {
        let mut unwatched = Vec::new();
        if named.is_empty() {
            return unwatched;
        }
        let mut table = self.write();
        for (inlet, counted) in named {
            let Some(entry) = table.enter(inlet) else {
                break;
            };
            let holder = entry.holder(peer);
            if *counted {
                holder.named += 1;
            } else {
                holder.kept = true;
            }
            if table.watched.insert(inlet.id()) {
                unwatched.push(Arc::clone(inlet));
            }
        }
        unwatched
    }

    /// Has the end of a coroutine told, perhaps at once.
    pub(crate) fn watch_end(self: &Arc<Self>, inlet: &Arc<dyn Inlet>) {
        let (exports, id) = (Arc::downgrade(self), inlet.id());
        // Nobody asks how a question ended, and there may be a hundred thousand a second.
        let forget = inlet.is_reply();
        inlet.watch(Box::new(move |exit| {
            if let Some(exports) = exports.upgrade() {
                exports.ended(id, &exit, !forget);
            }
        }));
    }

    /// A peer has no handles of these coroutines any more, after so many messages that named each:
    /// those that nobody holds now. The last address of a coroutine may be in there: it must not
    /// be dropped under a lock.
    #[must_use]
    pub(crate) fn released(
        &self,
        released: impl Iterator<Item = (u64, u64)>,
        peer: NodeId,
    ) -> Vec<Arc<dyn Inlet>> {
        let mut table = self.write();
        let unheld = released.filter_map(|(id, named)| {
            table.change(id, peer, |holder| {
                // Of what the peer says nothing follows but that it may reach less.
                holder.named = holder.named.saturating_sub(named);
                holder.uses = false;
            })
        });
        unheld.collect()
    }

    /// A message that [named](Exports::name) these will not be sent: those that nobody holds now,
    /// as those that are [released](Exports::released).
    #[must_use]
    pub(crate) fn take_back(
        &self,
        named: &[(Arc<dyn Inlet>, bool)],
        peer: NodeId,
    ) -> Vec<Arc<dyn Inlet>> {
        let mut table = self.write();
        let unheld = named.iter().filter_map(|(inlet, counted)| {
            table.change(inlet.id(), peer, |holder| {
                if *counted {
                    holder.named = holder.named.saturating_sub(1);
                } else if inlet.is_reply() {
                    holder.kept = false;
                }
            })
        });
        unheld.collect()
    }

    /// What was [kept](Exports::keep) for a holder need not be any more.
    pub(crate) fn let_go(&self, id: u64, holder: NodeId) {
        let let_go = |holder: &mut Holder| holder.kept = false;
        let unheld = self.write().change(id, holder, let_go);
        drop(unheld);
    }

    /// Keeps a handle of a coroutine of another node for whoever it may concern.
    pub(crate) fn keep_way(&self, id: &RemoteId, carrier: &Arc<dyn Carrier>) {
        let id = (id.location.node, id.coroutine);
        let mut table = self.write();
        let before = match table.closed {
            true => None,
            false => table.ways.insert(id, Arc::clone(carrier)),
        };
        drop(table);
        drop(before);
    }

    /// The session with a peer is over, and so does it hold nothing for this node: the handles of
    /// its coroutines that were [kept](Exports::keep_way), not to be dropped under a lock.
    #[must_use]
    pub(crate) fn forget_ways(&self, peer: NodeId) -> BTreeMap<(NodeId, u64), Arc<dyn Carrier>> {
        let of_peer = (peer, 0)..=(peer, u64::MAX);
        self.write().ways.extract_if(of_peer, |_, _| true).collect()
    }

    /// Whether a peer has been told of a coroutine, or has used it.
    pub(crate) fn is_held_by(&self, id: u64, peer: NodeId) -> bool {
        let table = self.read();
        let entry = table.entries.get(&id);
        entry.is_some_and(|entry| entry.is_held_by(peer))
    }

    /// A message that named this one was not read by `holder`.
    pub(crate) fn unread(&self, id: u64, holder: NodeId) {
        let held = |entry: &&Entry| entry.is_held_by(holder);
        let table = self.read();
        let entry = table.entries.get(&id).filter(held);
        let inlet = entry.map(|entry| Arc::clone(&entry.inlet));
        drop(table);
        if let Some(inlet) = inlet {
            inlet.undelivered();
        }
    }

    /// Finds a coroutine that `user` wants to reach; `None` when `user` does not hold it yet.
    pub(crate) fn find(&self, id: u64, user: NodeId) -> Option<Found> {
        let table = self.read();
        match table.entries.get(&id) {
            Some(entry) => entry.reached_by(user).map(Found::Here),
            None => Some(Found::Ended(table.exits.get(&id).cloned())),
        }
    }

    /// Finds those of several coroutines that `user` holds.
    pub(crate) fn find_all(
        &self,
        ids: impl Iterator<Item = u64>,
        user: NodeId,
        found: &mut Vec<Option<Arc<dyn Inlet>>>,
    ) {
        let table = self.read();
        found.extend(ids.map(|id| table.entries.get(&id)?.reached_by(user)));
    }

    /// [`find`](Exports::find) for a user who has a session, and holds the coroutine from then
    /// on. The session must not end meanwhile: nothing would let go of it.
    pub(crate) fn find_and_hold(&self, id: u64, user: NodeId) -> Found {
        let mut table = self.write();
        let Some(entry) = table.entries.get_mut(&id) else {
            return Found::Ended(table.exits.get(&id).cloned());
        };
        entry.holder(user).uses = true;
        Found::Here(Arc::clone(&entry.inlet))
    }

    /// Tells a peer of the end of a coroutine, unless its session is over before, or it
    /// [does not want to know](Exports::unwatch) any more. The session must not end meanwhile.
    ///
    /// # Errors
    /// It has ended, or never was, or the peer waits for too many: gives back who is to be told, and
    /// what. A peer that heeds too many keeps what it has passed on for longer than it needs to.
    pub(crate) fn watch(
        &self,
        id: u64,
        peer: NodeId,
        number: u64,
        heeds: bool,
        tell: Watcher,
    ) -> Result<(), (Watcher, Exit)> {
        let mut table = self.write();
        if !table.entries.contains_key(&id) && !table.watched.contains(&id) {
            // That it has ended is certain; how is no longer known.
            let exit = table.exits.get(&id).cloned();
            return Err((tell, exit.unwrap_or(Exit::Disconnected)));
        }
        // Whoever watches has an address, perhaps from a third node, and releases it.
        if let Some(entry) = table.entries.get_mut(&id)
            && !entry.inlet.is_reply()
        {
            entry.holder(peer).uses = true;
        }
        let watches = table.counts(heeds).entry(peer).or_default();
        if *watches == MAX_WATCHES {
            return match heeds {
                true => Ok(()),
                false => Err((tell, Exit::Unwatched)),
            };
        }
        *watches += 1;
        let watchers = table.watchers.entry(id).or_default();
        let before = watchers.insert((peer, number), Watching { heeds, tell });
        if let Some(before) = &before {
            table.one_less(peer, before.heeds);
        }
        Ok(())
    }

    /// A peer does not want to be told of the end of a coroutine any more.
    pub(crate) fn unwatch(&self, id: u64, peer: NodeId, number: u64) {
        let mut table = self.write();
        let Some(watchers) = table.watchers.get_mut(&id) else {
            return;
        };
        let removed = watchers.remove(&(peer, number));
        if watchers.is_empty() {
            table.watchers.remove(&id);
        }
        if let Some(removed) = &removed {
            table.one_less(peer, removed.heeds);
        }
        drop(table);
        drop(removed);
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
        let table = self.read();
        let mut entries = table.entries.values();
        table.watches.contains_key(&peer)
            || entries.any(|entry| entry.inlet.is_reply() && entry.is_held_by(peer))
    }

    /// The session with a peer is over: what nobody holds any more. The last address of a
    /// coroutine may be in there: it must not be dropped under a lock.
    #[must_use]
    pub(crate) fn release(&self, peer: NodeId) -> Vec<Arc<dyn Inlet>> {
        let mut released = Vec::new();
        let mut table = self.write();
        table.entries.retain(|_, entry| {
            entry.holders.retain(|holder| holder.peer != peer);
            let unheld = entry.is_unheld();
            if unheld {
                released.push(Arc::clone(&entry.inlet));
            }
            !unheld
        });
        let mut told_no_more = Vec::new();
        let counts = [true, false].map(|heeds| table.counts(heeds).remove(&peer));
        if counts != [None, None] {
            table.watchers.retain(|_, watchers| {
                let of_peer = watchers.extract_if(.., |(watcher, _), _| *watcher == peer);
                told_no_more.extend(of_peer);
                !watchers.is_empty()
            });
        }
        drop(table);
        drop(told_no_more);
        // Whoever asked first is told first that there will be no answer.
        released.sort_unstable_by_key(|inlet| inlet.id());
        released
    }

    /// The node closes: forgets everything, for good.
    pub(crate) fn close(&self) {
        let mut table = self.write();
        table.closed = true;
        let entries = std::mem::take(&mut table.entries);
        let ways = std::mem::take(&mut table.ways);
        drop(table);
        // As in `release`: in an order, since the last addresses may be in there.
        for entry in entries
            .into_iter()
            .collect::<BTreeMap<_, _>>()
            .into_values()
        {
            entry.inlet.lost();
        }
        drop(ways);
    }

    /// How many coroutines peers have been told of.
    pub(crate) fn len(&self) -> usize {
        self.read().entries.len()
    }

    /// How many ends peers wait for.
    pub(crate) fn watches(&self) -> usize {
        let table = self.read();
        let counts = table.watches.values().chain(table.heeds.values());
        counts.sum()
    }

    fn ended(&self, id: u64, exit: &Exit, remember: bool) {
        let mut table = self.write();
        let entry = table.entries.remove(&id);
        table.watched.remove(&id);
        let watchers = table.watchers.remove(&id).unwrap_or_default();
        for ((peer, _), watching) in &watchers {
            table.one_less(*peer, watching.heeds);
        }
        if remember {
            table.exits.insert(id, exit.clone());
            table.exits_in_order.push_back(id);
        }
        if table.exits_in_order.len() > REMEMBERED
            && let Some(oldest) = table.exits_in_order.pop_front()
        {
            table.exits.remove(&oldest);
        }
        drop(table);
        drop(entry);
        for watching in watchers.into_values() {
            (watching.tell)(exit.clone());
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The entry of a coroutine; `None` when the node has closed.
    fn enter(&mut self, inlet: &Arc<dyn Inlet>) -> Option<&mut Entry> {
        if self.closed {
            return None;
        }
        Some(self.entries.entry(inlet.id()).or_insert_with(|| Entry {
            inlet: Arc::clone(inlet),
            pinned: false,
            holders: Vec::new(),
        }))
    }

    /// A holder holds less, if it is one: the inlet, if nobody holds it any more.
    fn change(
        &mut self,
        id: u64,
        peer: NodeId,
        f: impl FnOnce(&mut Holder),
    ) -> Option<Arc<dyn Inlet>> {
        let entry = self.entries.get_mut(&id)?;
        let at = entry.find(peer).ok()?;
        let holder = &mut entry.holders[at];
        f(holder);
        if holder.named > 0 || holder.uses || holder.kept {
            return None;
        }
        entry.holders.remove(at);
        if !entry.is_unheld() {
            return None;
        }
        self.entries.remove(&id).map(|entry| entry.inlet)
    }

    /// How many ends each peer watches, or heeds.
    fn counts(&mut self, heeds: bool) -> &mut BTreeMap<NodeId, usize> {
        if heeds {
            &mut self.heeds
        } else {
            &mut self.watches
        }
    }

    fn one_less(&mut self, peer: NodeId, heeds: bool) {
        let counts = self.counts(heeds);
        if let Some(count) = counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&peer);
            }
        }
    }
}

impl Entry {
    fn find(&self, peer: NodeId) -> Result<usize, usize> {
        self.holders
            .binary_search_by_key(&peer, |holder| holder.peer)
    }

    fn is_held_by(&self, peer: NodeId) -> bool {
        self.find(peer).is_ok()
    }

    /// The coroutine, for a user who holds it.
    fn reached_by(&self, user: NodeId) -> Option<Arc<dyn Inlet>> {
        self.is_held_by(user).then(|| Arc::clone(&self.inlet))
    }

    fn is_unheld(&self) -> bool {
        !self.pinned && self.holders.is_empty()
    }

    fn holder(&mut self, peer: NodeId) -> &mut Holder {
        let at = self.find(peer).unwrap_or_else(|at| {
            let holder = Holder {
                peer,
                named: 0,
                uses: false,
                kept: false,
            };
            self.holders.insert(at, holder);
            at
        });
        &mut self.holders[at]
    }
}
