//! What this node knows of the others' lives: their last signs, and who doubts them.
//!
//! Not every member can be dialled by every other: two behind two routers know each other through a
//! third. So that one of them gets no answer says nothing while others do. Two rules follow:
//!
//! - **A probe without a link is no evidence** against a member that gave a sign of life within the last
//!   [`FRESH`] periods: a packet, a contradiction that others passed on, or a link that was closed because
//!   nobody needed it. Who is dead gives none, and breaks its links before.
//! - **A contradiction goes back the way that the suspicion came.** Whoever hears a suspicion remembers from
//!   whom, and passes the contradiction on to it. One who has a link with the suspect asks it, at once; one
//!   who knows of a contradiction already tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use foca::{Incarnation, Member, State};

use super::packet::Id;

/// For so many periods a sign of life counts.
pub(super) const FRESH: u32 = 30;
/// So many are told when a member contradicts; the rest hears of it by gossip.
const DOUBTERS: usize = 16;

/// The signs of life of all members.
#[derive(Debug, Default)]
pub(super) struct Signs {
    of: BTreeMap<NodeId, Sign>,
}

#[derive(Debug)]
struct Sign {
    life: u32,
    incarnation: Incarnation,
    /// `None` once a link to it broke.
    at: Option<Instant>,
    doubters: BTreeSet<NodeId>,
}

/// What is to be done about a suspicion that somebody tells.
#[derive(Debug)]
pub(super) enum Doubt {
    /// The member has contradicted, as this.
    Refuted(Member<Id>),
    /// It is new from this one.
    New,
    /// This one said so before.
    Old,
}

impl Signs {
    /// A member is there.
    pub(super) fn up(&mut self, now: Instant, id: &Id) {
        let sign = Sign {
            life: id.life,
            incarnation: 0,
            at: Some(now),
            doubters: BTreeSet::new(),
        };
        self.of.insert(id.node(), sign);
    }

    pub(super) fn down(&mut self, node: NodeId) {
        self.of.remove(&node);
    }

    /// It said something itself, or closed a link that nobody needed.
    pub(super) fn seen(&mut self, now: Instant, node: NodeId) {
        if let Some(sign) = self.of.get_mut(&node) {
            sign.at = Some(now);
        }
    }

    /// A link with it broke.
    pub(super) fn missed(&mut self, node: NodeId) {
        if let Some(sign) = self.of.get_mut(&node) {
            sign.at = None;
            // They have to be told again if they ask again.
            sign.doubters.clear();
        }
    }

    /// It is alive under this life and incarnation; returns who is to hear of that.
    pub(super) fn alive(
        &mut self,
        now: Instant,
        id: &Id,
        incarnation: Incarnation,
    ) -> BTreeSet<NodeId> {
        let Some(sign) = self.of.get_mut(&id.node()) else {
            return BTreeSet::new();
        };
        if (id.life, incarnation) <= (sign.life, sign.incarnation) {
            return BTreeSet::new();
        }
        (sign.life, sign.incarnation) = (id.life, incarnation);
        sign.at = Some(now);
        std::mem::take(&mut sign.doubters)
    }

    /// Somebody suspects it.
    pub(super) fn doubt(&mut self, suspicion: &Member<Id>, from: NodeId) -> Option<Doubt> {
        debug_assert_eq!(suspicion.state(), State::Suspect);
        let id = suspicion.id();
        let sign = self.of.get_mut(&id.node())?;
        if sign.life != id.life {
            return None;
        }
        if sign.incarnation > suspicion.incarnation() {
            let alive = Member::new(id.clone(), sign.incarnation, State::Alive);
            return Some(Doubt::Refuted(alive));
        }
        let new = sign.doubters.len() < DOUBTERS && sign.doubters.insert(from);
        Some(if new { Doubt::New } else { Doubt::Old })
    }

    pub(super) fn is_fresh(&self, now: Instant, node: NodeId, period: Duration) -> bool {
        let at = self.of.get(&node).and_then(|sign| sign.at);
        at.is_some_and(|at| now.saturating_duration_since(at) < period * FRESH)
    }
}
