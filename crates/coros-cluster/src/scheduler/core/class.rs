//! Calls that wait, in classes of those that ask for the same.
//!
//! Where the first of a class cannot start, none of the class can. So what is looked at for a
//! decision is the first call of each class and not every call: deciding takes time with the number of
//! *different* needs that wait, and with the logarithm of the number of calls.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::hosts::Hosts;
use super::{CallId, Options, Place, Rank};
use crate::resources::Resources;

/// What calls of one class have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    needs: Resources,
    place: Place,
    io: bool,
    /// May be sent ahead. All such calls are of one class.
    ahead: bool,
}

impl Kind {
    pub(super) fn new(options: Options, retries: u32) -> Self {
        let Options {
            needs, place, io, ..
        } = options;
        let ahead = retries > 0 && !io && place == Place::Anywhere && needs.is_one_core();
        let needs = if io { Resources::default() } else { needs };
        Kind {
            needs,
            place,
            io,
            ahead,
        }
    }
}

/// Numbers a class, as long as it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassId(usize);

/// The class of all calls that may be sent ahead. It is always there.
const AHEAD: ClassId = ClassId(0);

#[derive(Debug)]
pub(super) struct Class {
    kind: Kind,
    /// Those of the kind, to be held at workers.
    needs: Arc<Resources>,
    waiting: BTreeSet<Rank>,
    /// Calls that wait or are in flight.
    members: usize,
    /// Some host has room for such calls, or may have once there are hosts.
    room: bool,
    /// No host can have room for them, though there are hosts.
    hopeless: bool,
    /// Its entry among the heads.
    head: Option<Rank>,
}

impl Class {
    fn new(kind: Kind, room: bool, hopeless: bool) -> Self {
        Class {
            needs: Arc::new(kind.needs.clone()),
            kind,
            waiting: BTreeSet::new(),
            members: 0,
            room,
            hopeless,
            head: None,
        }
    }

    pub(super) fn needs(&self) -> &Arc<Resources> {
        &self.needs
    }

    /// How many cores a CPU-bound call of it takes from others: at least one, as nothing else can run in its
    /// worker.
    pub(super) fn cores(&self) -> usize {
        self.needs.cores().max(1) as usize
    }

    /// How many calls wait.
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn place(&self) -> Place {
        self.kind.place
    }

    pub(super) fn is_io(&self) -> bool {
        self.kind.io
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.kind.ahead
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless
    }

    fn head_if_room(&self) -> Option<Rank> {
        self.waiting.first().copied().filter(|_| self.room)
    }
}

/// Calls that wait, and for which some host can have room now, or none any more.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) hopeful: Vec<Rank>,
    pub(super) hopeless: Vec<Rank>,
}

#[derive(Debug)]
pub(super) struct Classes {
    list: Vec<Option<Class>>,
    unused: Vec<ClassId>,
    by_kind: HashMap<Kind, ClassId>,
    /// The first call of each class that waits and has room, of CPU-bound calls and of io calls.
    /// Not of [`AHEAD`], which changes with nearly every call.
    heads: [BTreeSet<(Rank, ClassId)>; 2],
}

impl Classes {
    pub(super) fn new() -> Self {
        let kind = Kind {
            needs: Resources::cpus(1),
            place: Place::Anywhere,
            io: false,
            ahead: true,
        };
        let ahead = Class::new(kind, true, false);
        Classes {
            list: vec![Some(ahead)],
            unused: Vec::new(),
            by_kind: HashMap::new(),
            heads: [BTreeSet::new(), BTreeSet::new()],
        }
    }

    pub(super) fn get(&self, id: ClassId) -> &Class {
        self.list[id.0]
            .as_ref()
            .expect("a class with members is there")
    }

    fn get_mut(&mut self, id: ClassId) -> &mut Class {
        self.list[id.0]
            .as_mut()
            .expect("a class with members is there")
    }

    /// A call more of this kind.
    pub(super) fn enter(&mut self, kind: Kind, hosts: &Hosts) -> ClassId {
        let id = if kind.ahead {
            AHEAD
        } else if let Some(id) = self.by_kind.get(&kind) {
            *id
        } else {
            self.open(kind, hosts)
        };
        self.get_mut(id).members += 1;
        id
    }

    fn open(&mut self, kind: Kind, hosts: &Hosts) -> ClassId {
        let id = self.unused.pop().unwrap_or_else(|| {
            self.list.push(None);
            ClassId(self.list.len() - 1)
        });
        self.by_kind.insert(kind.clone(), id);
        let room = hosts.may_hold(kind.place, &kind.needs);
        let hopeless = !hosts.could_hold(kind.place, &kind.needs);
        self.list[id.0] = Some(Class::new(kind, room, hopeless));
        id
    }

    /// A call less, which does not wait.
    pub(super) fn leave(&mut self, id: ClassId) {
        let class = self.get_mut(id);
        class.members -= 1;
        if class.members == 0 && id != AHEAD {
            let class = self.list[id.0].take().expect("it was there a line ago");
            self.by_kind.remove(&class.kind);
            self.unused.push(id);
        }
    }

    /// A call leaves its class for that of those that run alone.
    pub(super) fn set_alone(&mut self, id: ClassId, hosts: &Hosts) -> ClassId {
        let mut kind = self.get(id).kind.clone();
        kind.ahead = false;
        let alone = self.enter(kind, hosts);
        self.leave(id);
        alone
    }

    pub(super) fn push(&mut self, id: ClassId, rank: Rank) {
        self.get_mut(id).waiting.insert(rank);
        self.set_head(id);
    }

    pub(super) fn remove(&mut self, id: ClassId, rank: Rank) {
        self.get_mut(id).waiting.remove(&rank);
        self.set_head(id);
    }

    fn set_head(&mut self, id: ClassId) {
        let class = self.list[id.0]
            .as_mut()
            .expect("a class with members is there");
        if id == AHEAD {
            return;
        }
        let head = class.head_if_room();
        if head != class.head {
            let heads = &mut self.heads[usize::from(class.kind.io)];
            if let Some(new) = head {
                heads.insert((new, id));
            }
            if let Some(old) = class.head {
                heads.remove(&(old, id));
            }
            class.head = head;
        }
    }

    /// The first call that waits, of a class whose first call comes after `after`.
    pub(super) fn next(&self, io: bool, after: Option<(Rank, ClassId)>) -> Option<(Rank, ClassId)> {
        let heads = &self.heads[usize::from(io)];
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = heads.range((bound, Bound::Unbounded)).next().copied();
        if io {
            return next;
        }
        let ahead = self.get(AHEAD).head_if_room().map(|rank| (rank, AHEAD));
        let ahead = ahead.filter(|head| Some(*head) > after);
        next.into_iter().chain(ahead).min()
    }

    /// Finds out anew for which classes there is room, or can be, and what has changed for calls that wait.
    pub(super) fn look_for_room(&mut self, hosts: &Hosts) -> Changes {
        let mut changes = Changes::default();
        for n in 0..self.list.len() {
            if let Some(class) = &mut self.list[n] {
                class.room = hosts.may_hold(class.kind.place, &class.kind.needs);
                let hopeless = !hosts.could_hold(class.kind.place, &class.kind.needs);
                match (class.hopeless, hopeless) {
                    (false, true) => changes.hopeless.extend(&class.waiting),
                    (true, false) => changes.hopeful.extend(&class.waiting),
                    _ => {}
                }
                class.hopeless = hopeless;
                self.set_head(ClassId(n));
            }
        }
        changes
    }

    /// The classes of calls that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Class> {
        let classes = self.list.iter().flatten();
        classes.filter(|class| !class.waiting.is_empty())
    }

    /// The calls that wait for a place.
    pub(super) fn waiting_for(&self, place: Place) -> Vec<CallId> {
        let classes = self.list.iter().flatten();
        let there = classes.filter(|class| class.kind.place == place);
        there
            .flat_map(|class| class.waiting.iter().map(|rank| rank.call))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn assert_empty(&self) {
        let members = self.list.iter().flatten().map(|class| class.members);
        assert_eq!(members.collect::<Vec<_>>(), [0], "a call is still counted");
        assert!(self.heads.iter().all(BTreeSet::is_empty));
    }
}
