//! The nodes that are not used, and what was told of them: each thing once.

use std::sync::Arc;

use coros_net::Location;

use super::super::Event;
use super::super::liaison::Gone;
use super::{Phase, Shell};
use crate::placement::NodeView;

/// A node that is not used.
pub(super) struct Unused {
    at: Location,
    pub(super) why: String,
    /// What was told of it.
    told: Event,
}

impl Shell {
    /// Why this very node is of no use, if that was told last of it.
    pub(super) fn known_unfit(&self, at: &Location) -> Option<&str> {
        let known = self.unused.get(&at.to_string());
        let known = known.filter(|it| it.at == *at && matches!(it.told, Event::NodeUnfit { .. }));
        known.map(|it| &*it.why)
    }

    pub(super) fn not_used(&mut self, at: &Location, why: String) {
        let known = self.unused.get(&at.to_string());
        if known.is_some_and(|it| it.why == why) {
            return;
        }
        let told = Event::NodeNotUsed {
            name: Arc::clone(&at.name),
            endpoint: at.endpoint,
            reason: why.clone(),
        };
        self.emit(&told);
        let at = at.clone();
        self.unused.insert(at.to_string(), Unused { at, why, told });
    }

    /// The nodes of which it was told that they are not used or of no use, and not that they were lost.
    pub(super) fn not_used_so_far(&self) -> impl Iterator<Item = Event> {
        let told = self.unused.values().map(|it| &it.told);
        let there = |it: &&Event| matches!(it, Event::NodeNotUsed { .. } | Event::NodeUnfit { .. });
        told.filter(there).cloned()
    }

    /// A node is of no use any more. One that is unfit is tried again and again.
    pub(super) fn is_gone(&mut self, at: &Location, gone: &Gone, node: Arc<NodeView>) {
        let (why, told) = (gone.to_string(), gone.event(node));
        let unfit = matches!(gone, Gone::Unfit(_));
        let known = unfit && self.known_unfit(at) == Some(&*why);
        if !unfit {
            self.absent.lost(at.clone());
        }
        if matches!(self.phase, Phase::Open) && !known {
            self.emit(&told);
        }
        let at = at.clone();
        self.unused.insert(at.to_string(), Unused { at, why, told });
    }
}
