//! The simulated network, as tests hold it.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::event::SimEvent;
use super::host::SimHost;
use super::world::{HostId, Shared};
use crate::identity::DEFAULT_NETWORK;
use crate::{Authority, Secret};

/// Hosts in memory, and what is between them; see the [module](super).
///
/// Clones are the same network.
#[derive(Clone)]
pub struct SimNetwork {
    shared: Arc<Shared>,
}

impl SimNetwork {
    /// A network without hosts, on which every packet takes a millisecond.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let authority = Authority::derive(&Secret::random(), DEFAULT_NETWORK)
            .expect("a random secret and the default network make an authority");
        SimNetwork {
            shared: Arc::new(Shared::new(seed, authority)),
        }
    }

    /// The host of this name, made if there is none, or its next life if it was
    /// [killed](SimHost::kill). Its address depends only on how many were made before it.
    #[must_use]
    pub fn host(&self, name: &str) -> SimHost {
        SimHost::new(&self.shared, name)
    }

    /// How long what is sent from now on takes from host to host, drawn for each write. Nothing
    /// overtakes on a connection.
    ///
    /// Pairs that have a latency [of their own](SimNetwork::latency_between) keep it.
    pub fn latency(&self, range: RangeInclusive<Duration>) {
        self.shared.with(|world| world.everywhere.latency = range);
    }

    /// How long what is sent from now on between two hosts takes, either way.
    pub fn latency_between(&self, one: &SimHost, other: &SimHost, range: RangeInclusive<Duration>) {
        let [one, other] = [one, other].map(|host| host.id_in(&self.shared));
        self.shared.with(|world| {
            let mut conditions = world.conditions(one, other);
            conditions.latency = range;
            world
                .between
                .insert((one.min(other), one.max(other)), conditions);
        });
    }

    /// How many bytes a second each connection carries each way from now on; `None`, as at first,
    /// for any number.
    pub fn bandwidth(&self, bytes_per_second: Option<u64>) {
        self.shared.with(|world| {
            world.everywhere.bandwidth = bytes_per_second;
            for conditions in world.between.values_mut() {
                conditions.bandwidth = bytes_per_second;
            }
        });
    }

    /// Nothing gets from `some` to `others` nor back, and nobody is told: connections stay.
    ///
    /// # Panics
    /// When a host is of another network.
    pub fn partition<'a>(
        &self,
        some: impl IntoIterator<Item = &'a SimHost>,
        others: impl IntoIterator<Item = &'a SimHost>,
    ) {
        for (one, other) in self.pairs(some, others) {
            self.shared.with(|world| {
                world.block(one, other);
                world.block(other, one);
            });
        }
    }

    /// Nothing gets from `senders` to `receivers`; the other way stays as it is.
    ///
    /// # Panics
    /// When a host is of another network.
    pub fn partition_one_way<'a>(
        &self,
        senders: impl IntoIterator<Item = &'a SimHost>,
        receivers: impl IntoIterator<Item = &'a SimHost>,
    ) {
        for (from, to) in self.pairs(senders, receivers) {
            self.shared.with(|world| world.block(from, to));
        }
    }

    /// All ways are open again: what was under way arrives after the latency.
    pub fn heal(&self) {
        self.shared.with(super::world::World::unblock_all);
    }

    /// The ways between `some` and `others` are open again.
    ///
    /// # Panics
    /// When a host is of another network.
    pub fn heal_between<'a>(
        &self,
        some: impl IntoIterator<Item = &'a SimHost>,
        others: impl IntoIterator<Item = &'a SimHost>,
    ) {
        for (one, other) in self.pairs(some, others) {
            self.shared.with(|world| {
                world.unblock(one, other);
                world.unblock(other, one);
            });
        }
    }

    /// Resets all connections between two hosts, at both ends at once; new ones can be made.
    ///
    /// # Panics
    /// When a host is of another network.
    pub fn cut(&self, one: &SimHost, other: &SimHost) {
        let [one, other] = [one, other].map(|host| host.id_in(&self.shared));
        self.shared.with(|world| world.cut(one, other));
    }

    /// What has happened so far, in order: connections made and closed, faults. For people, when a
    /// test has failed, and to see that two runs were the same. What goes over connections is not in it.
    #[must_use]
    pub fn events(&self) -> Vec<SimEvent> {
        self.shared.with(|world| world.events.clone())
    }

    fn pairs<'a>(
        &self,
        some: impl IntoIterator<Item = &'a SimHost>,
        others: impl IntoIterator<Item = &'a SimHost>,
    ) -> Vec<(HostId, HostId)> {
        let id = |host: &SimHost| host.id_in(&self.shared);
        let others: Vec<_> = others.into_iter().map(id).collect();
        let pairs = some.into_iter().map(id).flat_map(|one| {
            let others = others.iter();
            others.map(move |&other| (one, other)).collect::<Vec<_>>()
        });
        pairs.collect()
    }
}

impl fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.shared.with(|world| world.hosts.len());
        write!(f, "SimNetwork({hosts} hosts)")
    }
}
