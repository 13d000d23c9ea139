//! How long calls wait for nodes, and what is told when that is in vain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::super::Event;
use super::super::core::{self, CallId, HostId};
use super::super::in_vain::InVain;
use super::super::wait::{Due, Wait};
use super::hosts::with;
use super::nodes::Remote;
use super::{Phase, Shell};
use crate::resources::Resources;

/// Until when somebody waits.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// For a node.
    node: Option<Wait>,
    /// For a slot of one; until that is told, once.
    slot: Option<Instant>,
    told: bool,
    /// For a node that can have room for a call: in order, and of which.
    room: BTreeSet<(Instant, CallId)>,
    room_of: HashMap<CallId, Instant>,
    /// There was no node for too long, and none has been found since.
    pub(super) in_vain: InVain,
}

impl Patience {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let room = self.room.first().map(|(until, _)| *until);
        let node = self.node.as_ref().map(Wait::deadline);
        node.into_iter().chain(self.slot).chain(room).min()
    }

    /// The next call that has waited for too long for a node with room.
    fn too_large(&mut self, now: Instant) -> Option<CallId> {
        let (_, call) = *self.room.first().filter(|(until, _)| *until <= now)?;
        self.ended(call);
        Some(call)
    }

    fn wait_for_room(&mut self, call: CallId, until: Instant) {
        self.ended(call);
        self.room.insert((until, call));
        self.room_of.insert(call, until);
    }

    /// A call waits no longer.
    pub(super) fn ended(&mut self, call: CallId) {
        if let Some(until) = self.room_of.remove(&call) {
            self.room.remove(&(until, call));
        }
    }
}

impl Shell {
    fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.hosts.values().filter_map(|host| host.remote.as_ref())
    }

    /// Keeps an eye on whether those who wait can hope.
    pub(super) fn watch_patience(&mut self) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let (now, limit) = (Instant::now(), cluster.usage.patience);
        let waiting = self.core.has_calls() || self.started.is_some();
        let waiting = waiting && matches!(self.phase, Phase::Open);
        // One where no worker has started before has to show that it is of use.
        let hopeful = |it: &Remote| it.useful || !self.failing.contains(&it.at.node);
        let node = self.remotes().any(|it| it.is_there() && hopeful(it));
        let slot = self.remotes().any(Remote::lends);
        let patience = &mut self.patience;
        let wait = || patience.node.unwrap_or_else(|| Wait::new(now, limit));
        patience.node = (waiting && !node).then(wait);
        patience.told &= waiting && node && !slot;
        let waits_for_slot = waiting && node && !slot && !patience.told;
        patience.slot = waits_for_slot.then(|| patience.slot.unwrap_or(now + limit));
    }

    /// A node is about to have the program: that is waited for as long as it takes.
    pub(super) fn makes_progress(&mut self, host: HostId) {
        let limit = self.limit();
        if self.hosts.contains_key(&host) {
            if let Some(wait) = &mut self.patience.node {
                wait.extend(Instant::now(), limit);
            }
            self.patience.in_vain.clear();
        }
    }

    /// Somebody may have waited long enough.
    pub(super) fn lose_patience(&mut self, now: Instant) {
        let is_over = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now);
        if is_over(self.patience.slot) {
            (self.patience.slot, self.patience.told) = (None, true);
            let reason = self.why_no_slot();
            self.emit(&Event::NoSlots { reason });
        }
        match self.patience.node.as_mut().and_then(|it| it.due(now)) {
            Some(Due::Told) => self.emit(&self.awaited()),
            Some(Due::Over) => self.waited_in_vain(),
            None => {}
        }
        while let Some(call) = self.patience.too_large(now) {
            self.tell_core(core::Input::NoneCame { call });
        }
    }

    /// There has been no node for too long: nobody shall wait any longer.
    fn waited_in_vain(&mut self) {
        self.patience.node = None;
        let why = self.why_no_node();
        self.emit(&Event::NoNodes {
            reason: why.clone(),
        });
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why.clone()));
        }
        self.tell_core(core::Input::GiveUp);
        self.patience.in_vain.set(self.limit(), why);
    }

    fn limit(&self) -> Duration {
        let cluster = self.cluster.as_ref();
        cluster.map_or(Duration::ZERO, |it| it.usage.patience)
    }

    /// That a node is waited for.
    fn awaited(&self) -> Event {
        let limit = self.limit();
        let reason = self.none_instead(format!("waiting for a node, up to {limit:?}"));
        Event::NodesAwaited { limit, reason }
    }

    /// That, if it has been told.
    pub(super) fn awaited_so_far(&self) -> Option<Event> {
        let wait = self.patience.node.as_ref();
        wait.is_some_and(Wait::is_told).then(|| self.awaited())
    }

    /// What there is instead of a worker.
    pub(super) fn why_no_node(&self) -> String {
        self.none_instead(format!("no node was there for {:?}", self.limit()))
    }

    /// What there is instead of a node that is of use.
    fn none_instead(&self, mut text: String) -> String {
        let coming = self.remotes().filter(|it| !it.gone);
        let coming = coming.map(|it| (it.at.to_string(), it.why_none().to_owned()));
        let unused = self
            .unused
            .iter()
            .map(|(at, it)| (at.clone(), it.why.clone()));
        let all: BTreeMap<_, _> = unused.chain(coming).collect();
        if all.is_empty() {
            text.push_str(
                "; none was found: does `coros node` run there, with the same secret, and does this \
                 program know where (by a peer, or by discovery)?",
            );
        }
        list(&mut text, all);
        text
    }

    /// What there is instead of a slot.
    fn why_no_slot(&self) -> String {
        let mut why = format!("no node has lent anything for {:?}", self.limit());
        let all = self.remotes().filter(|it| !it.gone);
        list(
            &mut why,
            all.map(|it| (it.at.to_string(), it.why_none().to_owned())),
        );
        why
    }

    /// How much a node can have room for when it lends all that is of use there.
    pub(super) fn could_hold(&self, remote: &Remote) -> Resources {
        let limit = self.cluster.as_ref().map_or(0, |it| it.usage.limit);
        // One that is not to be used at present is not too small.
        with(remote.share().min(limit).max(1), &remote.room)
    }

    /// A call needs more than any node can have room for that is there.
    pub(super) fn unplaceable(&mut self, call: CallId) {
        if let Some(item) = self.core.item(call) {
            let (job, function) = (call.0, item.function.clone());
            self.emit(&Event::JobWaits { job, function });
            let until = Instant::now() + self.limit();
            self.patience.wait_for_room(call, until);
        }
    }
}

/// Adds a line for each node: one for a node that was restarted, and whose earlier run is not known to have ended.
fn list(text: &mut String, nodes: impl IntoIterator<Item = (String, String)>) {
    let nodes: BTreeSet<_> = nodes.into_iter().collect();
    for (at, reason) in nodes {
        let _ = write!(text, "\n    {at}: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_told_twice() {
        let mut text = "none".to_owned();
        let nodes = [("b", "busy"), ("a", "busy"), ("b", "busy"), ("b", "old")];
        list(&mut text, nodes.map(|(at, why)| (at.into(), why.into())));
        assert_eq!(text, "none\n    a: busy\n    b: busy\n    b: old");
    }

    #[test]
    fn a_call_that_has_ended_is_not_kept_until_it_would_have_waited_long_enough() {
        let now = Instant::now();
        let mut patience = Patience::default();
        for (call, seconds) in [(0, 60), (1, 10), (2, 20)] {
            let until = now + Duration::from_secs(seconds);
            patience.wait_for_room(CallId(call), until);
        }
        patience.ended(CallId(1));
        // It waits anew.
        patience.wait_for_room(CallId(0), now + Duration::from_secs(5));
        assert_eq!((patience.room.len(), patience.room_of.len()), (2, 2));
        assert_eq!(patience.deadline(), Some(now + Duration::from_secs(5)));
        let later = now + Duration::from_secs(60);
        let over = std::iter::from_fn(|| patience.too_large(later).map(|call| call.0));
        assert_eq!(over.collect::<Vec<_>>(), [0, 2]);
        assert_eq!((patience.room.len(), patience.room_of.len()), (0, 0));
    }
}
