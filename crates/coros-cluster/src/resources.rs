//! What a call needs, and what a host has: cores, memory, and what its owner counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::machine::{Machine, memory_for_calls};

/// So many cores, so much memory, and so many of what has a name, such as `gpu`.
///
/// ```
/// use coros_cluster::Resources;
///
/// let needs = Resources::cpus(2).memory(1 << 30).named("gpu", 1);
/// assert_eq!(needs.to_string(), "2 cores, 1.0 GiB of memory, 1 gpu");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    cpus: u32,
    /// In bytes.
    memory: u64,
    /// None of them 0.
    #[serde(deserialize_with = "counted")]
    named: BTreeMap<Arc<str>, u64>,
}

/// What another process says that there is of what has a name.
fn counted<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Arc<str>, u64>, D::Error> {
    let mut named = BTreeMap::deserialize(from)?;
    named.retain(|_, n| *n > 0);
    Ok(named)
}

impl Resources {
    /// So many cores and nothing else.
    #[must_use]
    pub fn cpus(n: u32) -> Self {
        Resources {
            cpus: n,
            ..Resources::default()
        }
    }

    /// What a machine has besides its cores.
    pub(crate) fn of(machine: &Machine) -> Self {
        let room = Resources::default()
            .memory(memory_for_calls(machine.memory))
            .named("gpu", machine.gpus.into());
        let named = machine.resources.iter();
        named.fold(room, |room, it| room.named(it.name(), it.amount()))
    }

    /// With so much memory, in bytes.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.set_memory(bytes);
        self
    }

    /// With so many of what has this name.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>, n: u64) -> Self {
        self.set_named(name.into(), n);
        self
    }

    /// The cores.
    pub(crate) fn cores(&self) -> u32 {
        self.cpus
    }

    pub(crate) fn set_cores(&mut self, n: u32) {
        self.cpus = n;
    }

    pub(crate) fn set_memory(&mut self, bytes: u64) {
        self.memory = bytes;
    }

    pub(crate) fn set_named(&mut self, name: Arc<str>, n: u64) {
        if n == 0 {
            self.named.remove(&name);
        } else {
            self.named.insert(name, n);
        }
    }

    /// One core and nothing else: what a call needs unless told otherwise.
    pub(crate) fn is_one_core(&self) -> bool {
        self.cpus == 1 && self.memory == 0 && self.named.is_empty()
    }

    /// What it has but for the cores.
    pub(crate) fn besides_cores(&self) -> Self {
        Resources {
            cpus: 0,
            ..self.clone()
        }
    }

    /// Nothing at all.
    pub(crate) fn is_none(&self) -> bool {
        *self == Resources::default()
    }

    /// How many bytes the names in it take, about.
    pub(crate) fn bytes(&self) -> usize {
        // Each has a place in a map.
        self.named.keys().map(|name| name.len() + 64).sum()
    }

    /// Whether a room has all of it, when so much of the room is taken.
    pub(crate) fn fits(&self, room: &Resources, taken: &Resources) -> bool {
        let fits = |needed: u64, there: u64, taken: u64| {
            needed == 0 || taken.checked_add(needed).is_some_and(|sum| sum <= there)
        };
        fits(self.cpus.into(), room.cpus.into(), taken.cpus.into())
            && fits(self.memory, room.memory, taken.memory)
            && self
                .named
                .iter()
                .all(|(name, n)| fits(*n, room.count(name), taken.count(name)))
    }

    fn count(&self, name: &str) -> u64 {
        self.named.get(name).copied().unwrap_or(0)
    }

    /// Adds to it. What fits into a room together with this can be taken away again.
    pub(crate) fn add(&mut self, more: &Resources) {
        self.cpus = self.cpus.saturating_add(more.cpus);
        self.memory = self.memory.saturating_add(more.memory);
        for (name, n) in &more.named {
            let sum = self.count(name).saturating_add(*n);
            self.set_named(Arc::clone(name), sum);
        }
    }

    /// Takes away what was added.
    pub(crate) fn subtract(&mut self, less: &Resources) {
        self.cpus -= less.cpus;
        self.memory -= less.memory;
        for (name, n) in &less.named {
            let left = self.count(name) - n;
            self.set_named(Arc::clone(name), left);
        }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.cpus == 1 { "" } else { "s" };
        write!(f, "{} core{s}", self.cpus)?;
        if self.memory > 0 {
            write!(f, ", ")?;
            write_bytes(f, self.memory)?;
            write!(f, " of memory")?;
        }
        for (name, n) in &self.named {
            write!(f, ", {n} {name}")?;
        }
        Ok(())
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return write!(f, "{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    write!(f, "{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_to_fit_beside_what_is_taken() {
        let room = Resources::cpus(4).memory(100).named("gpu", 2);
        let mut taken = Resources::default();
        let needs = Resources::cpus(2).memory(40).named("gpu", 1);
        for _ in 0..2 {
            assert!(needs.fits(&room, &taken));
            taken.add(&needs);
        }
        assert!(!Resources::cpus(1).fits(&room, &taken));
        assert!(!Resources::default().named("gpu", 1).fits(&room, &taken));
        assert!(!Resources::default().named("disk", 1).fits(&room, &taken));
        assert!(Resources::default().memory(20).fits(&room, &taken));
        assert!(!Resources::default().memory(21).fits(&room, &taken));
        assert!(!Resources::default().memory(u64::MAX).fits(&room, &taken));
        taken.subtract(&needs);
        taken.subtract(&needs);
        assert_eq!(taken, Resources::default());
    }

    /// Of what is not there at all a room says nothing.
    #[test]
    fn nothing_of_a_name_is_not_taken_from_another_process() {
        let absurd = Resources {
            named: [("gpu".into(), 0), ("key".into(), 1)].into(),
            ..Resources::default()
        };
        let sent = postcard::to_allocvec(&absurd).unwrap();
        let came: Resources = postcard::from_bytes(&sent).unwrap();
        assert_eq!(came, Resources::default().named("key", 1));
    }

    #[test]
    fn they_are_told_in_words() {
        assert_eq!(Resources::cpus(1).to_string(), "1 core");
        assert_eq!(
            Resources::default().memory(100).to_string(),
            "0 cores, 100 bytes of memory"
        );
        let room = Resources::cpus(2)
            .memory(3 << 40)
            .named("gpu", 1)
            .named("key", 2);
        assert_eq!(room.to_string(), "2 cores, 3.0 TiB of memory, 1 gpu, 2 key");
    }
}
