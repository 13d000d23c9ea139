//! What is known of the names of one launch.
//!
//! Its node counts every change, and a name has the version at which it changed last. Whoever
//! knows a launch up to a version has all names as they were then; from there an [`Update`] takes him to a
//! later one. Names that were taken back are kept as such, so that this can be told too, but no
//! more than [`MAX_GONE`] of them: whoever is further behind than that starts again from the beginning, and
//! drops what he is not told of again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coros_core::remote::Location;

use super::notice::{Age, Change, Entry, MAX_CHUNK, Spread, Update};

/// So many names that were taken back are remembered. (Few in unit tests, which get there.)
pub(super) const MAX_GONE: usize = if cfg!(test) { 2 } else { 1024 };

/// What an update takes without its names.
const UPDATE: usize = 200;

#[derive(Debug)]
pub(super) struct Launch {
    pub(super) home: Location,
    version: u64,
    floor: u64,
    names: HashMap<Arc<str>, Record>,
    /// All names, also those that were taken back, by version.
    order: BTreeMap<u64, Arc<str>>,
    /// The versions of those that were taken back.
    gone: BTreeSet<u64>,
}

#[derive(Debug)]
struct Record {
    version: u64,
    entry: Option<Entry>,
}

/// What became of an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It has been taken in.
    News {
        /// Names that were not there, or are another's now.
        appeared: Vec<Arc<str>>,
        vanished: Vec<Arc<str>>,
        /// So many new names were one too many.
        left_out: usize,
    },
    /// Nothing in it is new.
    Known,
    /// What comes before it is missing.
    Gap,
}

impl Launch {
    pub(super) fn new(home: Location) -> Self {
        Launch {
            home,
            version: 0,
            floor: 0,
            names: HashMap::new(),
            order: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How many names somebody has.
    pub(super) fn len(&self) -> usize {
        self.order.len() - self.gone.len()
    }

    /// How many names that were taken back are remembered.
    pub(super) fn gone(&self) -> usize {
        self.gone.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.names.get(name)?.entry.as_ref()
    }

    /// All names that somebody has.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let living = |name: &&Arc<str>| self.get(name).is_some();
        self.order.values().filter(living)
    }

    /// A change at home.
    pub(super) fn change(&mut self, name: Arc<str>, entry: Option<Entry>) {
        self.version += 1;
        let version = self.version;
        self.put(Change {
            name,
            version,
            entry,
        });
        self.forget(MAX_GONE);
    }

    /// Whoever knows the launch up to a version cannot be told what is gone, but only all there is.
    pub(super) fn has_forgotten(&self, known: u64) -> bool {
        known < self.floor
    }

    /// What whoever knows the launch up to a version has to be told: up to about so many bytes,
    /// which it takes off `budget`.
    pub(super) fn since(
        &self,
        known: u64,
        age: Age,
        news: bool,
        budget: &mut usize,
    ) -> Vec<Update> {
        let mut after = if self.has_forgotten(known) { 0 } else { known };
        let mut updates = Vec::new();
        let mut changes = self.order.range(after + 1..).peekable();
        while *budget > 0 && after < self.version {
            let mut records = Vec::new();
            let mut room = MAX_CHUNK;
            while let Some(&(&version, name)) = changes.peek() {
                let change = Change {
                    name: Arc::clone(name),
                    version,
                    entry: self.get(name).cloned(),
                };
                let Some(left) = room.checked_sub(change.size()) else {
                    break;
                };
                room = left;
                records.push(change);
                changes.next();
            }
            let last = records.last().map(|change| change.version);
            let upto = match (changes.peek(), last) {
                (Some(_), Some(last)) => last,
                _ => self.version,
            };
            let spread = if news { Spread::News } else { Spread::Answer };
            updates.push(Update {
                home: self.home.clone(),
                age,
                after,
                upto,
                floor: self.floor,
                records,
                spread,
            });
            after = upto;
            *budget = budget.saturating_sub(UPDATE + MAX_CHUNK - room);
        }
        updates
    }

    /// Takes an update in, if it begins where this ends or before. New names are left out when there are
    /// `most` already: then others must not be told of this launch from here.
    pub(super) fn apply(&mut self, update: &Update, most: usize) -> Applied {
        if update.upto <= self.version {
            return Applied::Known;
        }
        if update.after > self.version {
            return Applied::Gap;
        }
        let (mut appeared, mut vanished) = (Vec::new(), Vec::new());
        // What changed in between and is not told has been forgotten at home, or changed again.
        let range = update.after + 1..=self.version.max(update.after);
        let told = |version: &u64| {
            let at = update
                .records
                .binary_search_by_key(version, |it| it.version);
            at.is_ok()
        };
        if update.after < self.version {
            let untold: Vec<u64> = self
                .order
                .range(range)
                .map(|(version, _)| *version)
                .collect();
            for version in untold.into_iter().filter(|version| !told(version)) {
                vanished.extend(self.drop_version(version));
            }
        }
        let mut left_out = 0;
        for change in &update.records {
            let newer = |record: &Record| record.version >= change.version;
            if self.names.get(&change.name).is_some_and(newer) {
                continue;
            }
            match &change.entry {
                Some(_) if self.len() >= most && self.get(&change.name).is_none() => {
                    left_out += 1;
                    continue;
                }
                Some(_) => appeared.push(Arc::clone(&change.name)),
                None => vanished.push(Arc::clone(&change.name)),
            }
            self.put(change.clone());
        }
        self.version = update.upto;
        if update.after < update.floor {
            self.floor = self.floor.max(update.floor);
        }
        self.forget(MAX_GONE);
        // What was dropped first may have been told again after all.
        vanished.retain(|name| self.get(name).is_none());
        Applied::News {
            appeared,
            vanished,
            left_out,
        }
    }

    fn put(&mut self, change: Change) {
        let Change {
            name,
            version,
            entry,
        } = change;
        if entry.is_none() {
            self.gone.insert(version);
        }
        let record = Record { version, entry };
        if let Some(before) = self.names.insert(Arc::clone(&name), record) {
            self.order.remove(&before.version);
            self.gone.remove(&before.version);
        }
        self.order.insert(version, name);
    }

    /// The name that somebody had, if there was one.
    fn drop_version(&mut self, version: u64) -> Option<Arc<str>> {
        let name = self.order.remove(&version)?;
        self.gone.remove(&version);
        self.names.remove(&name)?.entry.map(|_| name)
    }

    /// Forgets the oldest of the names that were taken back, when there are more than so many.
    pub(super) fn forget(&mut self, most: usize) {
        while self.gone.len() > most
            && let Some(&oldest) = self.gone.first()
        {
            self.drop_version(oldest);
            self.floor = self.floor.max(oldest);
        }
    }
}
