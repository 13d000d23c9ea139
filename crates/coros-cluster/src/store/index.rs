//! What is in a store, and what goes when room is needed. Plain state: it knows sizes, and no files.
//!
//! What all entries [count](counted) for, with all room that was set aside, is never more than the limit, but
//! for a store that was opened with a lower limit than before, until room is made in it.

use std::collections::{BTreeMap, HashMap};

use super::error::NoRoom;
use crate::hash::ContentHash;

/// Bytes that whatever has a name counts for at least: that takes room as well, though systems do not say how much.
pub(crate) const LEAST: u64 = 4096;

/// What a file of that length counts for.
pub(crate) fn counted(length: u64) -> u64 {
    length.max(LEAST)
}

#[derive(Debug)]
pub(super) struct Index {
    limit: u64,
    entries: HashMap<ContentHash, Entry>,
    /// Those that nobody has pinned, by their last use.
    idle: BTreeMap<u64, ContentHash>,
    /// What all entries count for.
    used: u64,
    /// What those count for that somebody has pinned.
    pinned: u64,
    /// The bytes that were set aside for what comes.
    promised: u64,
    /// Numbers entries and uses.
    last: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    size: u64,
    pins: usize,
    /// Its key in `idle`.
    last_use: u64,
    verified: bool,
}

/// A pin, and what was known of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    /// Which entry of that hash: what goes and comes again is another.
    pub(super) id: u64,
    pub(super) size: u64,
    /// Whether this process has seen that its content is what its name says.
    pub(super) verified: bool,
}

/// The next step when room is made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is room, and it is set aside.
    Done,
    /// This one of so many bytes is no entry any more. Remove it, and ask again.
    Evict(ContentHash, u64),
}

impl Index {
    pub(super) fn new(limit: u64) -> Self {
        Index {
            limit,
            entries: HashMap::new(),
            idle: BTreeMap::new(),
            used: 0,
            pinned: 0,
            promised: 0,
            last: 0,
        }
    }

    pub(super) fn contains(&self, hash: &ContentHash) -> bool {
        self.entries.contains_key(hash)
    }

    /// There is a file of that name and size. Those used longest ago are to be told first.
    pub(super) fn found(&mut self, hash: ContentHash, size: u64) {
        self.insert(hash, size, false);
        self.rest(&hash);
    }

    /// What came into room for a file of that size is an entry now, pinned; nothing of its hash was there.
    pub(super) fn adopted(&mut self, hash: ContentHash, size: u64) -> u64 {
        self.release(counted(size));
        self.insert(hash, size, true)
    }

    /// Once or several times for an entry: it stays until each pin is taken back.
    pub(super) fn pin(&mut self, hash: &ContentHash) -> Option<Pinned> {
        let entry = self.entries.get_mut(hash)?;
        if entry.pins == 0 {
            self.idle.remove(&entry.last_use);
            self.pinned += counted(entry.size);
        }
        entry.pins += 1;
        Some(Pinned {
            id: entry.id,
            size: entry.size,
            verified: entry.verified,
        })
    }

    /// Takes a pin back, which is its last use.
    pub(super) fn unpin(&mut self, hash: &ContentHash, id: u64) {
        let Some(entry) = self.current(hash, id) else {
            return;
        };
        entry.pins -= 1;
        if entry.pins == 0 {
            self.rest(hash);
        }
    }

    /// Its content is what its name says. False if that entry is no more.
    pub(super) fn verified(&mut self, hash: &ContentHash, id: u64) -> bool {
        let entry = self.current(hash, id);
        entry.map(|entry| entry.verified = true).is_some()
    }

    /// What somebody has pinned is no entry any more. False if it was none already.
    pub(super) fn forget(&mut self, hash: &ContentHash, id: u64) -> bool {
        let Some(entry) = self.current(hash, id) else {
            return false;
        };
        let size = counted(entry.size);
        self.used -= size;
        self.pinned -= size;
        self.entries.remove(hash);
        true
    }

    /// Whether there is room for so much more without anything having to go.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let all = [self.used, self.promised, bytes].into_iter();
        all.map(u128::from).sum::<u128>() <= u128::from(self.limit)
    }

    /// Sets room aside, or says what has to go before. Nothing is to go for what can never fit.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<Step, NoRoom> {
        let with = |there: u64| {
            let parts = [there, self.promised, bytes];
            parts.into_iter().map(u128::from).sum::<u128>()
        };
        let limit = u128::from(self.limit);
        if bytes > 0 && with(self.pinned) > limit {
            return Err(NoRoom {
                limit: self.limit,
                pinned: self.pinned,
                promised: self.promised,
                wanted: bytes,
            });
        }
        if with(self.used) > limit
            && let Some((_, hash)) = self.idle.pop_first()
            && let Some(entry) = self.entries.remove(&hash)
        {
            self.used -= counted(entry.size);
            return Ok(Step::Evict(hash, entry.size));
        }
        self.promised += bytes;
        Ok(Step::Done)
    }

    /// So much of what was set aside is not needed any more.
    pub(super) fn release(&mut self, bytes: u64) {
        self.promised -= bytes;
    }

    fn current(&mut self, hash: &ContentHash, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(hash).filter(|entry| entry.id == id)
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// With one pin.
    fn insert(&mut self, hash: ContentHash, size: u64, verified: bool) -> u64 {
        let id = self.next();
        let entry = Entry {
            id,
            size,
            pins: 1,
            last_use: 0,
            verified,
        };
        let before = self.entries.insert(hash, entry);
        debug_assert!(before.is_none(), "an entry is kept once");
        self.used += counted(size);
        self.pinned += counted(size);
        id
    }

    /// Nobody has it pinned from now on.
    fn rest(&mut self, hash: &ContentHash) {
        let now = self.next();
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.pins = 0;
            entry.last_use = now;
            self.pinned -= counted(entry.size);
            self.idle.insert(now, *hash);
        }
    }
}

#[cfg(test)]
mod tests;
