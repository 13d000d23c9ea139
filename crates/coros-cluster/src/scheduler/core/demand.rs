//! What the calls want of hosts, for whoever asks nodes for slots.

use std::collections::BTreeMap;

use super::{Core, HostId, Place};
use crate::resources::Resources;

/// Of all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// How many cores the calls need that wait and may run anywhere.
    pub(crate) anywhere: usize,
    pub(crate) at: BTreeMap<HostId, Local>,
}

/// Of one host, in cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    /// In use; at least one if any call runs there.
    pub(crate) taken: usize,
    /// Those that calls wait for which may run nowhere else.
    pub(crate) waiting: usize,
    /// As many as the largest call needs that waits and may run there, if it needs more than one.
    pub(crate) largest: usize,
}

impl Demand {
    /// How many cores would be in use if all calls ran at once that have not ended.
    pub(crate) fn total(&self) -> usize {
        let at = self.at.values();
        self.anywhere + at.map(|it| it.taken + it.waiting).sum::<usize>()
    }
}

impl<T> Core<T> {
    /// What the calls want that have not ended. Takes time with the number of hosts, and of different
    /// needs.
    pub(crate) fn demand(&self) -> Demand {
        let at = self.hosts.ids().map(|id| {
            let local = Local {
                taken: self.hosts.taken_cores(id),
                ..Local::default()
            };
            (id, local)
        });
        let mut demand = Demand {
            // Those that wait at workers, or are on their way back.
            anywhere: self.hosts.behind().total() + self.hosts.coming().total(),
            at: at.collect(),
        };
        for class in self.classes.waiting() {
            let host = match class.place() {
                Place::Anywhere => None,
                Place::Host(host) => Some(host),
                Place::Worker(worker) => self.hosts.get(worker).map(|it| it.host),
            };
            let cores = match class.is_io() {
                // One worker does for all of them.
                true => 1,
                false => class.cores() * class.count(),
            };
            match host {
                None => demand.anywhere += cores,
                Some(host) => demand.at.entry(host).or_default().waiting += cores,
            }
            if class.is_io() || class.cores() == 1 {
                continue;
            }
            let mut needs = Resources::clone(class.needs());
            needs.set_cores(0);
            for (id, local) in &mut demand.at {
                if host.is_none_or(|host| host == *id) && self.hosts.holds(*id, &needs) {
                    local.largest = local.largest.max(class.cores());
                }
            }
        }
        demand
    }
}
