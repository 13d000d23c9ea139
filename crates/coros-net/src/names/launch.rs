//! What is known of the names of one launch.
//!
//! Its node counts every change, and a name has the version at which it changed last. Whoever
//! knows a launch up to a version has all names as they were then; from there an [`Update`] takes him to a
//! later one. Names that were taken back are kept as such, so that this can be told too, but no
//! more than [`MAX_GONE`] of them: whoever is further behind than that starts again from the beginning, and
//! drops what he is not told of again.
//!
//! # From the beginning, in many updates
//!
//! All of a launch may take many updates, which come from several nodes, and meanwhile more names are
//! taken back and forgotten. So whoever starts again remembers up to which version the first who told him
//! knew the launch: his *goal* ([`Reach`]). Up to where he has got he has what there was at the goal, and nothing
//! else; so anybody can go on from there who knows the launch that far and has forgotten nothing after the
//! goal. He has all when he is at the goal, and only then tells others.
//! Only who has forgotten something after it makes him start again, with a later goal. So with all he takes in
//! either his goal rises or his version, and he arrives when the launch does not forget faster than he is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use coros_core::remote::Location;

use super::notice::{Age, Change, Entry, MAX_CHUNK, Reach, Spread, Update};

/// So many names that were taken back are remembered. (Few in unit tests, which get there.)
pub(super) const MAX_GONE: usize = if cfg!(test) { 2 } else { 1024 };

/// What a name takes besides its text and its type's, in bytes, about: its places by name and by version, here
/// and in the index.
pub(super) const OVERHEAD: usize = 512;

/// What an update takes without its names.
const UPDATE: usize = 200;

#[derive(Debug)]
pub(super) struct Launch {
    pub(super) home: Location,
    reach: Reach,
    /// Of the names that were taken back up to here some have been forgotten; never after the goal.
    floor: u64,
    names: HashMap<Arc<str>, Record>,
    /// All names, also those that were taken back, by version.
    order: BTreeMap<u64, Arc<str>>,
    /// The versions of those that were taken back.
    gone: BTreeSet<u64>,
    /// What the others take.
    bytes: usize,
    /// Up to which version the launch itself says that it has come.
    said: u64,
    /// What the names take that came after that: of those only others have told.
    hearsay: usize,
}

#[derive(Debug)]
struct Record {
    version: u64,
    entry: Option<Entry>,
}

/// How much a launch may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) names: usize,
    pub(super) bytes: usize,
    /// Bytes of those names of which only others have told.
    pub(super) hearsay: usize,
}

/// What became of an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It has been taken in.
    News {
        /// Names that were not there, or are another's now.
        appeared: Vec<Arc<str>>,
        vanished: Vec<Arc<str>>,
        /// The versions of names for which there was no room.
        left_out: Vec<u64>,
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
            reach: Reach::default(),
            floor: 0,
            names: HashMap::new(),
            order: BTreeMap::new(),
            gone: BTreeSet::new(),
            bytes: 0,
            said: 0,
            hearsay: 0,
        }
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// How many names somebody has.
    pub(super) fn len(&self) -> usize {
        self.order.len() - self.gone.len()
    }

    /// What those take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those among them take of which only others have told.
    pub(super) fn hearsay(&self) -> usize {
        self.hearsay
    }

    /// The launch itself says that it has come so far.
    pub(super) fn says(&mut self, version: u64) {
        if version > self.said {
            let told = self.order.range(self.said + 1..=version);
            let costs = told.map(|(_, name)| self.get(name).map_or(0, |entry| cost(name, entry)));
            self.hearsay -= costs.sum::<usize>();
            self.said = version;
        }
    }

    /// Each name is counted once.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let gone = |it: &&Record| it.entry.is_none();
        assert_eq!(self.names.len(), self.order.len());
        assert_eq!(self.names.values().filter(gone).count(), self.gone.len());
        for (version, name) in &self.order {
            assert_eq!(self.names[name].version, *version);
        }
        let names = self.names.iter();
        let costs = names.filter_map(|(name, it)| {
            let cost = cost(name, it.entry.as_ref()?);
            Some((cost, if it.version > self.said { cost } else { 0 }))
        });
        let sum = costs.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        assert_eq!(sum, (self.bytes, self.hearsay));
        assert!(self.floor.max(self.reach.version) <= self.reach.goal);
    }

    /// What came after a version is to be told once more. What there is stays until that comes: it is not wrong,
    /// but not all.
    pub(super) fn start_again(&mut self, version: u64) {
        self.reach.version = version.min(self.reach.version);
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
        let version = self.reach.version + 1;
        self.reach = Reach::whole(version);
        self.says(version);
        self.put(Change {
            name,
            version,
            entry,
        });
        self.forget(MAX_GONE);
    }

    /// Whoever knows so much of the launch cannot be told what is gone, but only all there is.
    pub(super) fn has_forgotten(&self, known: Reach) -> bool {
        known.goal < self.floor
    }

    /// What whoever knows so much of the launch has to be told: up to about so many bytes, which it takes off
    /// `budget`. Only of what is known whole.
    pub(super) fn since(
        &self,
        known: Reach,
        age: Age,
        news: bool,
        budget: &mut usize,
    ) -> Vec<Update> {
        let latest = self.reach.version;
        let mut after = if self.has_forgotten(known) {
            0
        } else {
            known.version
        };
        let mut updates = Vec::new();
        let mut changes = self.order.range(after + 1..).peekable();
        while *budget > 0 && after < latest {
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
                _ => latest,
            };
            let spread = if news { Spread::News } else { Spread::Answer };
            updates.push(Update {
                home: self.home.clone(),
                age,
                after,
                upto,
                latest,
                floor: self.floor,
                records,
                spread,
            });
            after = upto;
            *budget = budget.saturating_sub(UPDATE + MAX_CHUNK - room);
        }
        updates
    }

    /// Takes an update in, if it begins where this ends or before, or at the beginning when it has to. Names
    /// for which there is no room are left out: then others must not be told of this launch from here.
    pub(super) fn apply(&mut self, update: &Update, room: Room) -> Applied {
        let again = update.floor > self.reach.goal;
        if !again && (update.upto <= self.reach.version || update.latest < self.reach.goal) {
            return Applied::Known;
        }
        if update.after > if again { 0 } else { self.reach.version } {
            return Applied::Gap;
        }
        let mut vanished = self.drop_untold(update);
        let mut appeared = Vec::new();
        let mut left_out = Vec::new();
        for change in &update.records {
            let known = |it: &Record| it.version == change.version && it.entry == change.entry;
            if self.names.get(&change.name).is_some_and(known) {
                continue;
            }
            // In any case what it was before is out of date.
            vanished.extend(self.drop_name(&change.name));
            if let Some(entry) = &change.entry {
                let cost = cost(&change.name, entry);
                let is_hearsay = change.version > self.said;
                if self.len() >= room.names
                    || self.bytes + cost > room.bytes
                    || is_hearsay && self.hearsay + cost > room.hearsay
                {
                    left_out.push(change.version);
                    continue;
                }
                appeared.push(Arc::clone(&change.name));
            }
            self.put(change.clone());
        }
        let goal = if again {
            update.latest
        } else {
            self.reach.goal
        };
        self.reach = Reach {
            version: update.upto,
            goal: goal.max(update.upto),
        };
        if update.after < update.floor {
            self.floor = self.floor.max(update.floor);
        }
        self.forget(MAX_GONE);
        // What was dropped first may have been told again after all; and nobody keeps peers from telling more
        // than one thing of a name.
        vanished.retain(|name| self.get(name).is_none());
        appeared.retain(|name| self.get(name).is_some());
        Applied::News {
            appeared,
            vanished,
            left_out,
        }
    }

    /// Where an update tells all that there is, what it does not tell of has been forgotten at home, or has
    /// changed again. The names that somebody had.
    fn drop_untold(&mut self, update: &Update) -> Vec<Arc<str>> {
        let told = |version: u64, name: &Arc<str>| {
            let at = update
                .records
                .binary_search_by_key(&version, |it| it.version);
            at.is_ok_and(|at| update.records[at].name == *name)
        };
        let range = self.order.range(update.after + 1..=update.upto);
        let untold = range.filter(|(version, name)| !told(**version, name));
        let untold: Vec<u64> = untold.map(|(version, _)| *version).collect();
        let dropped = untold
            .into_iter()
            .filter_map(|version| self.drop_version(version));
        dropped.collect()
    }

    fn put(&mut self, change: Change) {
        let Change {
            name,
            version,
            entry,
        } = change;
        self.drop_name(&name);
        match &entry {
            Some(entry) => {
                let cost = cost(&name, entry);
                self.bytes += cost;
                if version > self.said {
                    self.hearsay += cost;
                }
            }
            None => {
                self.gone.insert(version);
            }
        }
        self.order.insert(version, Arc::clone(&name));
        self.names.insert(name, Record { version, entry });
    }

    fn drop_name(&mut self, name: &str) -> Option<Arc<str>> {
        let version = self.names.get(name)?.version;
        self.drop_version(version)
    }

    /// The name that somebody had, if there was one.
    fn drop_version(&mut self, version: u64) -> Option<Arc<str>> {
        let name = self.order.remove(&version)?;
        self.gone.remove(&version);
        let entry = self.names.remove(&name)?.entry?;
        let cost = cost(&name, &entry);
        self.bytes -= cost;
        if version > self.said {
            self.hearsay -= cost;
        }
        Some(name)
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

/// What a name takes, in bytes.
fn cost(name: &str, entry: &Entry) -> usize {
    OVERHEAD + name.len() + entry.type_name.len()
}
