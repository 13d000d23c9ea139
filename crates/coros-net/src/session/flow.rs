//! What this node may send to each coroutine of the peer, and what waits until it may.
//!
//! A message may go to a coroutine as long as those before it, from when they are queued here until
//! the coroutine has taken them out of its mailbox there, take less than [`WINDOW`] bytes; the
//! receiving node gives them back ([`Flow::credit`]). Likewise all of a peer's together, up to what
//! it has said in its hello. So a receiver that is stuck holds up those who send to it, and nobody
//! else, and costs both nodes no more than a window and one message.
//!
//! There is an entry for a coroutine only while something is outstanding or waits for it.
//! Sans-io.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id_hash::IdHash;
use crate::wire::{self, Kind, WINDOW};

// In this order: what changes with each message comes first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Flow<D> {
    outstanding: usize,
    limit: usize,
    targets: HashMap<u64, Target<D>, IdHash>,
    /// Coroutines for which something waits that lacks room for the peer as a whole, who came first
    /// first.
    crowded: BTreeMap<u64, u64>,
    last_crowded: u64,
    last_place: u64,
    /// How many messages wait.
    waiting: usize,
}

#[derive(Debug)]
struct Target<D> {
    outstanding: usize,
    /// Boxed: seldom any.
    #[expect(
        clippy::box_collection,
        reason = "one word instead of four in each of many"
    )]
    waiting: Option<Box<VecDeque<Waiting<D>>>>,
    /// Its place among those who are crowded; 0 if it is none of them.
    crowded: u64,
}

impl<D> Target<D> {
    fn new() -> Self {
        Target {
            outstanding: 0,
            waiting: None,
            crowded: 0,
        }
    }
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Waiting<D> {
    place: u64,
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
    pub(super) lent: Vec<u64>,
    pub(super) waiter: D,
}

impl<D> Waiting<D> {
    pub(super) fn new(kind: Kind, payload: &[u8], lent: &[u64], waiter: D) -> Self {
        Waiting {
            // It gets one when it waits.
            place: 0,
            kind,
            payload: payload.to_vec(),
            lent: lent.to_vec(),
            waiter,
        }
    }

    /// Of its frame.
    pub(super) fn length(&self) -> usize {
        wire::length(self.payload.len(), self.lent.len())
    }
}

/// Names a message that waits, so that it can be withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    target: u64,
    number: u64,
}

impl Place {
    pub(super) fn target(self) -> u64 {
        self.target
    }
}

/// Why a message cannot be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hindrance {
    /// The coroutine has too much.
    Target,
    /// The peer has.
    Peer,
}

impl<D> Flow<D> {
    pub(super) fn new() -> Self {
        Flow {
            targets: HashMap::default(),
            outstanding: 0,
            // Until the peer has said what it bears.
            limit: WINDOW,
            crowded: BTreeMap::new(),
            last_crowded: 0,
            last_place: 0,
            waiting: 0,
        }
    }

    /// The peer bears as many bytes of messages that no coroutine has taken, and no less than a
    /// window.
    pub(super) fn limit(&mut self, bytes: u64) {
        self.limit = usize::try_from(bytes).unwrap_or(usize::MAX).max(WINDOW);
    }

    /// Whether a message that costs so much may be sent now: then it counts as outstanding.
    #[inline]
    pub(super) fn take(&mut self, target: u64, cost: usize) -> bool {
        if self.outstanding >= self.limit {
            return false;
        }
        let entry = self.targets.entry(target).or_insert_with(Target::new);
        if entry.outstanding >= WINDOW || entry.waiting.is_some() {
            return false;
        }
        entry.outstanding += cost;
        self.outstanding += cost;
        true
    }

    /// Lets a message wait behind those that wait for the same coroutine.
    pub(super) fn wait(&mut self, target: u64, mut message: Waiting<D>) -> Place {
        self.last_place += 1;
        let number = self.last_place;
        self.waiting += 1;
        let entry = self.targets.entry(target).or_insert_with(Target::new);
        let waiting = entry.waiting.get_or_insert_default();
        message.place = number;
        waiting.push_back(message);
        Place { target, number }
    }

    /// Takes back a message that waits; `None` if it has been sent.
    pub(super) fn withdraw(&mut self, place: Place) -> Option<Waiting<D>> {
        let entry = self.targets.get_mut(&place.target)?;
        let waiting = entry.waiting.as_mut()?;
        let at = waiting
            .binary_search_by_key(&place.number, |w| w.place)
            .ok()?;
        let withdrawn = waiting.remove(at);
        self.waiting -= 1;
        self.tidy(place.target);
        withdrawn
    }

    /// The coroutine has taken so many bytes, or they were lost.
    pub(super) fn credit(&mut self, target: u64, bytes: usize) {
        let Some(entry) = self.targets.get_mut(&target) else {
            return;
        };
        let bytes = bytes.min(entry.outstanding);
        entry.outstanding -= bytes;
        self.outstanding -= bytes;
        self.tidy(target);
    }

    /// The next message that waits for a coroutine and may be sent now, which then counts as
    /// outstanding; `has_room` says whether one of this cost can be queued.
    pub(super) fn next(
        &mut self,
        target: u64,
        cost: impl Fn(&Waiting<D>) -> usize,
        has_room: impl Fn(usize) -> bool,
    ) -> Option<Waiting<D>> {
        let entry = self.targets.get_mut(&target)?;
        let cost = cost(entry.waiting.as_ref()?.front()?);
        let hindrance = if entry.outstanding >= WINDOW {
            Some(Hindrance::Target)
        } else if self.outstanding >= self.limit || !has_room(cost) {
            Some(Hindrance::Peer)
        } else {
            None
        };
        match hindrance {
            Some(Hindrance::Target) => {
                self.uncrowded(target);
                None
            }
            Some(Hindrance::Peer) => {
                if entry.crowded == 0 {
                    self.last_crowded += 1;
                    entry.crowded = self.last_crowded;
                    self.crowded.insert(entry.crowded, target);
                }
                None
            }
            None => {
                // Others have their turn before the next.
                self.crowded.remove(&std::mem::take(&mut entry.crowded));
                entry.outstanding += cost;
                self.outstanding += cost;
                self.waiting -= 1;
                let next = entry.waiting.as_mut()?.pop_front();
                self.tidy(target);
                next
            }
        }
    }

    /// The coroutine for which something waits that lacked room for the peer as a whole, and whose
    /// turn it is. If it still lacks that, so do the others.
    pub(super) fn first_crowded(&self) -> Option<u64> {
        self.crowded.first_key_value().map(|(_, target)| *target)
    }

    fn uncrowded(&mut self, target: u64) {
        if let Some(entry) = self.targets.get_mut(&target) {
            self.crowded.remove(&std::mem::take(&mut entry.crowded));
        }
    }

    /// All that waits, who came first first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = D> + use<D> {
        let targets = std::mem::take(&mut self.targets);
        self.crowded.clear();
        self.waiting = 0;
        let mut all: Vec<_> = targets
            .into_values()
            .filter_map(|entry| entry.waiting)
            .flat_map(|waiting| waiting.into_iter())
            .collect();
        all.sort_unstable_by_key(|waiting| waiting.place);
        all.into_iter().map(|waiting| waiting.waiter)
    }

    /// Whether messages wait.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether nothing is outstanding.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.outstanding == 0
    }

    /// Forgets a coroutine for which nothing is outstanding and nothing waits.
    fn tidy(&mut self, target: u64) {
        let Some(entry) = self.targets.get_mut(&target) else {
            return;
        };
        if entry
            .waiting
            .as_ref()
            .is_some_and(|waiting| waiting.is_empty())
        {
            entry.waiting = None;
            self.crowded.remove(&std::mem::take(&mut entry.crowded));
        }
        if entry.outstanding == 0 && entry.waiting.is_none() {
            self.targets.remove(&target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(flow: &mut Flow<u32>, target: u64, waiter: u32) -> Place {
        flow.wait(target, Waiting::new(Kind::Deliver, &[], &[], waiter))
    }

    #[test]
    fn a_stuck_receiver_holds_up_only_those_who_send_to_it() {
        let mut flow = Flow::<u32>::new();
        flow.limit(64 << 20);
        let mut sent = 0;
        while flow.take(1, 1000) {
            sent += 1000;
        }
        assert!((WINDOW..WINDOW + 1000).contains(&sent));
        assert!(flow.take(2, 1000));
        flow.credit(1, 1000);
        assert!(flow.take(1, 1000) && !flow.take(1, 1000));
        flow.credit(1, sent);
        flow.credit(2, 1000);
        assert!(flow.is_empty());
        // One may be larger than the window.
        assert!(flow.take(1, 10) && flow.take(1, 3 * WINDOW) && !flow.take(1, 1));
        // Nobody is believed to have taken more than there was.
        flow.credit(1, usize::MAX);
        flow.credit(7, 7);
        assert!(flow.is_empty());
    }

    #[test]
    fn a_peer_that_bears_little_gets_little_in_all() {
        let mut flow = Flow::<u32>::new();
        flow.limit(2500);
        let half = WINDOW / 2;
        assert!(flow.take(1, half) && flow.take(2, half) && !flow.take(3, 1000));
        wait(&mut flow, 3, 3);
        assert!(flow.next(3, |_| 1000, |_| true).is_none());
        flow.credit(1, 1000);
        assert_eq!(flow.first_crowded(), Some(3));
        let next = flow.next(3, |_| 1000, |_| true);
        assert_eq!(next.map(|waiting| waiting.waiter), Some(3));
        assert_eq!(flow.first_crowded(), None);
    }

    #[test]
    fn who_is_crowded_has_one_place_and_none_when_he_gives_up() {
        let mut flow = Flow::<u32>::new();
        assert!(flow.take(1, WINDOW));
        for n in 0..100 {
            for target in [2, 3] {
                let place = wait(&mut flow, target, n);
                assert!(flow.next(target, |_| 10, |_| true).is_none());
                assert!(flow.crowded.len() <= 2);
                if target == 2 {
                    assert!(flow.withdraw(place).is_some());
                }
            }
        }
        assert_eq!(flow.crowded.values().collect::<Vec<_>>(), [&3]);
        // The turns go round.
        wait(&mut flow, 2, 200);
        assert!(flow.next(2, |_| 10, |_| true).is_none());
        flow.credit(1, WINDOW);
        let next = |flow: &mut Flow<u32>| {
            let first = flow.first_crowded()?;
            let next = flow.next(first, |_| WINDOW / 2, |_| true)?;
            assert!(flow.next(first, |_| WINDOW / 2, |_| false).is_none());
            Some(next.waiter)
        };
        assert_eq!([next(&mut flow), next(&mut flow)], [Some(0), Some(200)]);
        assert_eq!(flow.drain().count(), 99);
        assert_eq!(flow.first_crowded(), None);
    }

    #[test]
    fn what_waits_keeps_its_order_and_can_be_withdrawn() {
        let mut flow = Flow::<u32>::new();
        assert!(flow.take(1, WINDOW));
        let places: Vec<Place> = (0..4).map(|n| wait(&mut flow, 1, n)).collect();
        assert!(flow.withdraw(places[1]).is_some());
        assert!(flow.withdraw(places[1]).is_none());
        flow.credit(1, 1000);
        // Not even what is small enough overtakes.
        assert!(!flow.take(1, 10));
        let next = |flow: &mut Flow<u32>| flow.next(1, |_| 500, |_| true).map(|w| w.waiter);
        assert_eq!(
            [next(&mut flow), next(&mut flow), next(&mut flow)],
            [Some(0), Some(2), None]
        );
        assert!(flow.withdraw(places[0]).is_none(), "it has been sent");
        assert_eq!(flow.drain().collect::<Vec<_>>(), [3]);
    }
}
