//! What the core knows of one worker.
//!
//! The core does not see calls begin. A worker begins CPU-bound calls by rank, one at a time, so
//! the core presumes that the first is the one that runs (the *front*) and corrects itself when the
//! worker says that another was begun. When it is wrong for a moment, a call is asked back in vain.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{CallId, HostId, Rank};
use crate::resources::Resources;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) host: HostId,
    pub(super) front: Option<Front>,
    /// Those that wait behind it, by rank.
    pub(super) behind: VecDeque<Rank>,
    /// Those that it was asked to give back.
    pub(super) leaving: BTreeSet<CallId>,
    pub(super) io: BTreeSet<CallId>,
    /// What the calls here take of the room of the host; `None` while there is no CPU-bound one.
    pub(super) held: Option<Arc<Resources>>,
    /// Nothing that comes after this call is sent ahead.
    pub(super) reserved: Option<Rank>,
    /// It begins nothing for the time being.
    pub(super) suspended: bool,
    pub(super) retiring: bool,
    /// It has been told that it has retired.
    pub(super) retired: bool,
    /// It is to be killed.
    pub(super) doomed: bool,
    pub(super) entry: Entry,
}

/// The call that is presumed to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) rank: Rank,
    /// Others may wait behind it.
    pub(super) ahead: bool,
    pub(super) suspect: bool,
}

/// Under what a worker is listed at its host: the smaller, the sooner it gets a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// It has no CPU-bound call: how many io calls.
    pub(super) idle: Option<usize>,
    /// A call more may wait behind its front: how many CPU-bound calls there are.
    pub(super) ahead: Option<usize>,
    /// It takes io calls: whether beside a suspect, and how many there are.
    pub(super) io: Option<(bool, usize)>,
}

impl Worker {
    pub(super) fn new(host: HostId) -> Self {
        Worker {
            host,
            front: None,
            behind: VecDeque::new(),
            leaving: BTreeSet::new(),
            io: BTreeSet::new(),
            held: None,
            reserved: None,
            suspended: false,
            retiring: false,
            retired: false,
            doomed: false,
            entry: Entry::default(),
        }
    }

    /// Whether calls for it are not in vain.
    pub(super) fn takes_calls(&self) -> bool {
        !self.retiring && !self.doomed
    }

    /// Whether calls may be sent there now.
    pub(super) fn is_open(&self) -> bool {
        self.takes_calls() && !self.suspended
    }

    /// Whether it has a core to itself though no CPU-bound call runs there.
    pub(super) fn keeps_core(&self) -> bool {
        self.suspended && self.takes_calls() && self.load() == 0
    }

    /// How many CPU-bound calls it has.
    pub(super) fn load(&self) -> usize {
        usize::from(self.front.is_some()) + self.behind.len() + self.leaving.len()
    }

    pub(super) fn has_suspect(&self) -> bool {
        self.front.is_some_and(|front| front.suspect)
    }

    /// Under what it is to be listed, when so many may wait behind a front.
    pub(super) fn wanted_entry(&self, prefetch: usize) -> Entry {
        if !self.is_open() {
            return Entry::default();
        }
        let load = self.load();
        let ahead = self.front.is_some_and(|front| front.ahead)
            && self.reserved.is_none()
            && load <= prefetch;
        Entry {
            idle: (load == 0).then_some(self.io.len()),
            ahead: ahead.then_some(load),
            io: Some((self.has_suspect(), self.io.len())),
        }
    }

    pub(super) fn push_behind(&mut self, rank: Rank) {
        // Nearly always the last.
        let place = match self.behind.back() {
            Some(last) if *last > rank => self.behind.partition_point(|other| *other < rank),
            _ => self.behind.len(),
        };
        self.behind.insert(place, rank);
    }

    /// Whether it was there.
    pub(super) fn remove_behind(&mut self, rank: Rank) -> bool {
        match self.behind.binary_search(&rank) {
            Ok(place) => self.behind.remove(place).is_some(),
            Err(_) => false,
        }
    }
}
