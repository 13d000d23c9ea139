//! A call as the core keeps it.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::class::ClassId;
use super::{CallId, HostId, WorkerId};
use crate::resources::Resources;

/// What a call asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Options {
    /// What it takes of a host while it runs. Nothing, for an io call.
    pub(crate) needs: Resources,
    /// The shell knows what a name means.
    #[serde(skip)]
    pub(crate) place: Place,
    /// The higher runs first.
    pub(crate) priority: i32,
    /// How often it runs again after its worker was lost; `None` for as often as others.
    pub(crate) retries: Option<u32>,
    /// It mostly waits, and runs beside others.
    pub(crate) io: bool,
}

/// Where a call has to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    #[default]
    Anywhere,
    Host(HostId),
    Worker(WorkerId),
}

/// The place of a call among all others: the smaller comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    priority: Reverse<i32>,
    pub(crate) call: CallId,
}

impl Rank {
    pub(crate) fn new(priority: i32, call: CallId) -> Self {
        Rank {
            priority: Reverse(priority),
            call,
        }
    }

    pub(crate) fn priority(self) -> i32 {
        self.priority.0
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            needs: Resources::cpus(1),
            place: Place::Anywhere,
            priority: 0,
            retries: None,
            io: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Call<T> {
    /// `None` once it has ended for its owner: only its place at the worker is still taken.
    pub(super) item: Option<T>,
    pub(super) class: ClassId,
    pub(super) priority: i32,
    pub(super) retries: u32,
    pub(super) attempt: u32,
    pub(super) losses: u32,
    /// Was in flight on a worker that was lost.
    pub(super) suspect: bool,
    pub(super) bulky: bool,
    pub(super) told_unplaceable: bool,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued,
    /// At a worker, which may have been asked to give it back.
    InFlight {
        at: WorkerId,
        revoked: bool,
    },
}

impl<T> Call<T> {
    pub(super) fn rank(&self, id: CallId) -> Rank {
        Rank::new(self.priority, id)
    }
}
