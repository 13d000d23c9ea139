//! What nodes keep and what they know of their peers, held against what there is.

use std::collections::{BTreeMap, BTreeSet};

use coros_core::remote::NodeId;
use coros_net::{Census, PeerEvent};

use super::{Checks, Wait, Who};
use crate::model::nature::Place;

/// Control frames and what is taken whole, beside messages.
pub(super) const SLACK: usize = 64 << 10;

/// What somebody has been told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Story {
    Present,
    Lost,
    Left,
}

impl Checks {
    /// A node is told of a peer.
    pub(crate) fn told(&self, who: Who, event: &PeerEvent) {
        use Story::{Left, Lost, Present};
        let mut state = self.lock();
        let (what, peer, story, before): (_, _, _, &[_]) = match event {
            PeerEvent::Joined(peer) => ("joined", peer, Present, &[None, Some(Left)]),
            PeerEvent::Left(peer) => ("left", peer, Left, &[Some(Present), Some(Lost)]),
            PeerEvent::Lost(peer, _) => ("lost", peer, Lost, &[Some(Present)]),
            PeerEvent::Returned(peer) => ("returned", peer, Present, &[Some(Lost)]),
            PeerEvent::Unreachable(..) => return,
            other => {
                let other = format!("{who:?}: {other:?}");
                return state.notes.wrong(other);
            }
        };
        state
            .notes
            .note(format_args!("{who:?}: {} {what}", peer.name));
        let last = state.stories.insert((who, peer.node), story);
        if !before.contains(&last) {
            state
                .notes
                .wrong(format_args!("{who:?}: {} {what} after {last:?}", peer.name));
        }
    }

    /// What a node keeps is within its bounds.
    pub(crate) fn keeps(&self, who: Who, census: Census) {
        let mut state = self.lock();
        let waits = |it: &&Wait| it.by == who;
        let waiting = state.waits.values().filter(waits);
        let (monitors, others) = waiting.partition::<Vec<_>, _>(|it| it.watched.is_some());
        let mortals = state.mortals.get(&who);
        let watches = mortals.map_or(0, |all| all.values().sum());
        let guests = state.guests.get(&who).copied().unwrap_or(0);
        let [monitors, asks] = [monitors.len(), others.len()];
        let mortals = mortals.map_or(0, BTreeMap::len);
        let (outbox, most) = (self.nature.outbox, self.nature.ballast as usize);
        let sessions = census.sessions;
        let bounds = [
            ("ends that are waited for", census.watching, monitors),
            ("ends that others wait for", census.watches, watches),
            (
                "coroutines that are known",
                census.exports,
                1 + mortals + asks + guests,
            ),
            (
                "bytes kept for peers",
                census.queued,
                sessions * (outbox + SLACK),
            ),
            (
                "bytes not taken",
                census.inflow,
                sessions * (outbox.max(1 << 20) + most + SLACK),
            ),
            ("strangers", census.pending, 256),
        ];
        for (what, count, bound) in bounds {
            if count > bound {
                state
                    .notes
                    .wrong(format_args!("{who:?} has {count} {what}, at most {bound}"));
            }
        }
    }

    /// Those whom a node will tell of ends are those who wait, and none that is dead.
    pub(crate) fn watched(&self, who: Who, census: Census) {
        let mut state = self.lock();
        let waits = |it: &&Wait| it.on == who && it.watched.is_some();
        let waiting = state.waits.values().filter(waits).count();
        if census.watches > waiting {
            state.notes.wrong(format_args!(
                "{waiting} wait for ends of {who:?}: {census:?}"
            ));
        }
    }

    /// A coroutine lives that ends when nobody knows it any more; until then it is counted.
    pub(crate) fn guest(&self, who: Who) -> Guest {
        *self.lock().guests.entry(who).or_default() += 1;
        Guest {
            who,
            checks: self.clone(),
        }
    }

    /// A node keeps nothing any more that others could have given back.
    pub(crate) fn is_at_rest(&self, who: Who, census: Census) {
        // Members go on telling each other, and dial those whom they do not reach.
        let [bytes, strangers] = if self.nature.member {
            [SLACK, 8]
        } else {
            [0; 2]
        };
        let kept = [
            census.watches,
            census.imports,
            census.watching,
            census.passed,
            census.inflow,
            census.pending.saturating_sub(strangers),
            census.queued.saturating_sub(bytes),
            // Its inbox is told of by other means than messages.
            census.exports.saturating_sub(1),
        ];
        let guests = self.lock().guests.get(&who).copied();
        if kept != [0; 8] || guests.unwrap_or(0) != 0 {
            let census = (census, guests);
            self.lock()
                .notes
                .wrong(format_args!("{who:?} keeps {census:?}"));
        }
    }

    /// A node has closed.
    pub(crate) fn has_closed(&self, who: Who, census: Census) {
        if census != Census::default() {
            self.lock()
                .notes
                .wrong(format_args!("{who:?} has closed and keeps {census:?}"));
        }
    }

    /// Those whom a node takes to be there.
    pub(crate) fn present(&self, who: Who, present: &BTreeSet<NodeId>, alive: &[(Who, NodeId)]) {
        let mut state = self.lock();
        let dead = |id: &&NodeId| !alive.iter().any(|(_, it)| it == *id);
        if present.iter().any(|id| dead(&id)) {
            state
                .notes
                .wrong(format_args!("{who:?} does not know who is dead"));
        }
        let place = |who| state.places[&who];
        let member = |who| self.nature.member && place(who) != Place::Nowhere;
        // Two that cannot dial each other may take each other for dead until that is forgotten.
        let found = |other| place(who) == Place::True || place(other) == Place::True;
        let members = alive.iter().filter(|(it, _)| member(*it) && found(*it));
        let unknown = members.filter(|(_, id)| !present.contains(id));
        let unknown: Vec<_> = unknown.map(|(other, _)| *other).collect();
        if member(who) && !unknown.is_empty() {
            state
                .notes
                .wrong(format_args!("{who:?} does not know {unknown:?}"));
        }
    }
}

/// Somebody who was told of to a peer, and is to go when the peer has forgotten him.
pub(crate) struct Guest {
    who: Who,
    checks: Checks,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.checks.lock();
        if let Some(guests) = state.guests.get_mut(&self.who) {
            *guests -= 1;
        }
    }
}
