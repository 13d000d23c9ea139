//! What the calls want of hosts, for whoever asks nodes for slots.

use std::collections::BTreeMap;

use super::{Core, HostId, Place};
use crate::resources::Resources;

/// Of all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// How many cores would be in use if all calls ran at once that have not ended.
    pub(crate) total: usize,
    /// How many calls wait that need one core, and may run on any host.
    pub(crate) anywhere: usize,
    pub(crate) at: BTreeMap<HostId, Local>,
}

/// Of one host, in cores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Local {
    /// In use, or kept by suspended workers; at least one if any call runs there.
    pub(crate) taken: usize,
    /// How many calls wait that need one core and may not run everywhere, but here.
    pub(crate) waiting: usize,
    /// Calls that need more than one core, wait, and may run here, if there are so many: how many each
    /// needs, and all of them.
    pub(crate) large: BTreeMap<usize, usize>,
}

impl<T> Core<T> {
    /// What the calls want that have not ended. Takes time with the number of hosts, and of different
    /// needs.
    pub(crate) fn demand(&self) -> Demand {
        let mut at: BTreeMap<HostId, Local> = BTreeMap::new();
        for id in self.hosts.ids() {
            at.entry(id).or_default().taken = self.hosts.taken_cores(id);
        }
        // Those that wait at workers, or are on their way back.
        let anywhere = self.hosts.behind().total() + self.hosts.coming().total();
        let taken: usize = at.values().map(|local| local.taken).sum();
        let mut demand = Demand {
            total: anywhere + taken,
            anywhere,
            at,
        };
        for class in self.classes.waiting() {
            let host = match class.place() {
                Place::Anywhere => None,
                Place::Host(host) => Some(host),
                Place::Worker(worker) => self.hosts.get(worker).map(|it| it.host),
            };
            let (each, count) = match class.is_io() {
                // One worker does for all of them.
                true => (1, 1),
                false => (class.cores(), class.count()),
            };
            demand.total += each * count;
            let mut needs = Resources::clone(class.needs());
            needs.set_cores(0);
            let may_run = |id: HostId| {
                host.is_none_or(|host| host == id)
                    && (class.is_io() || self.hosts.holds(id, &needs))
            };
            if each == 1 && demand.at.keys().all(|id| may_run(*id)) {
                demand.anywhere += count;
                continue;
            }
            for (id, local) in &mut demand.at {
                if !may_run(*id) {
                    continue;
                }
                match each {
                    1 => local.waiting += count,
                    _ => *local.large.entry(each).or_default() += each * count,
                }
            }
        }
        demand
    }
}
