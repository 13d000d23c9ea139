//! A folder of programs and files by their hash, which outlives the daemon that uses it.
//!
//! Entries are used by [pinning](Store::pin) them, and stay while they are pinned. The others go,
//! those used longest ago first, when [room](Store::make_room) is needed, so that all together never
//! take more than a limit. What is received goes into a folder [beside](Store::incoming) them, and
//! becomes an entry when it has been [verified](Store::adopt), mostly by the hash that was made of it on
//! its way. Room is [set aside](Room) for it before it comes. What came and is not waited for any more
//! counts too: if it is complete, it goes, and if not, it stays for another attempt as long as there is
//! room.
//!
//! What is used is what its name says: the content of each entry is read before its first use by
//! a process, and its size is looked at before the later ones, so that what a power cut has damaged is
//! found out and removed. Of [small](SMALL) ones, which are often many, the content is read each time: so it
//! does not matter when they come to the disk. Only one process at a time uses the folder. It is safe from other users, not
//! from other processes of its own.
//!
//! [`index`] decides, [`disk`] has the files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use coros_net::{Folder, Verified};

pub(crate) use self::disk::Kind;
use self::disk::{Adopting, Disk};
#[cfg(test)]
pub(crate) use self::error::NoRoom;
pub(crate) use self::error::{AdoptError, DiskError, KeepError, OpenError, PinError, RoomError};
#[cfg(test)]
pub(crate) use self::index::LEAST;
pub(crate) use self::index::counted;
use self::index::{Index, Pinned, Step};
use crate::blocking::blocking;
use crate::hash::ContentHash;
use crate::lock::lock;

mod disk;
mod error;
mod index;
#[cfg(test)]
mod tests;

/// An open store. Clones are the same one; it is closed when the last of them and all pins and rooms
/// are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Shared>);

/// An entry in use: it stays, and is what its hash says. Dropping this is its last use; to the next
/// process, pinning it was.
#[derive(Debug)]
pub(crate) struct Pin {
    store: Arc<Shared>,
    hash: ContentHash,
    id: u64,
    size: u64,
}

/// Room set aside for what is on its way, until it is adopted or this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    aside: Aside,
    /// The name under which it comes.
    received: String,
    adopted: bool,
}

/// So many bytes that the store does not use, until this is dropped.
#[derive(Debug)]
pub(crate) struct Aside {
    store: Arc<Shared>,
    bytes: u64,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    /// Held while an entry comes or goes, in the index and on the disk: never by a thread that runs
    /// coroutines.
    changes: Mutex<()>,
    /// Held for moments.
    index: Mutex<Index>,
    /// What may come; held for moments.
    awaited: Mutex<Vec<Awaited>>,
}

/// What is on its way.
#[derive(Debug)]
struct Awaited {
    /// The name under which it comes.
    name: String,
    /// What is known of it, once it is there.
    came: Option<Verified>,
}

/// To read an entry of so many bytes takes hardly longer than to look at it.
pub(crate) const SMALL: u64 = 256 << 10;

/// How much programs and files of clients may take on disk, unless told otherwise: 10 GiB.
pub(crate) const USUAL_LIMIT: u64 = 10 << 30;

/// Opens the store of whoever has a folder of its own, which is made if it is missing: that folder, absolute, and
/// the store in it.
///
/// # Errors
/// When the folder cannot be used: why, and what to do.
pub(crate) async fn open_in(folder: &Path, limit: u64) -> Result<(PathBuf, Store), String> {
    let made = make(folder).and_then(|()| std::path::absolute(folder));
    let cannot = |why| format!("cannot make the folder {}: {why}", folder.display());
    let folder = made.map_err(cannot)?;
    let own = folder.clone();
    let own = blocking(move || is_its_own(&own)).await;
    own.map_err(|why| why.to_string())?;
    let store = Store::open(&folder.join("store"), limit).await;
    Ok((folder, store.map_err(|why| why.to_string())?))
}

/// Whether [`open_in`] could open one there, as far as that can be told while nothing is made: another process may use it.
///
/// # Errors
/// When the folder cannot be used: why, and what to do.
pub(crate) async fn check_in(folder: &Path) -> Result<(), String> {
    let folder = folder.to_owned();
    let checked = blocking(move || {
        disk::may_be_written_to(&folder)?;
        is_its_own(&folder)?;
        Disk::check(&folder.join("store"))
    });
    checked.await.map_err(|why| why.to_string())
}

/// Whether a folder is one where nothing of anybody else is: whoever has it removes what he does not know in it.
fn is_its_own(folder: &Path) -> Result<(), OpenError> {
    let path = folder.to_owned();
    // What is there since then is his.
    if folder.join("store").symlink_metadata().is_ok() {
        return Ok(());
    }
    match std::fs::read_dir(folder).map(|mut there| there.next().is_some()) {
        Ok(true) => Err(OpenError::NotAStore { path }),
        Ok(false) => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(OpenError::Io { path, why }),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

impl Store {
    /// Opens the store in a folder, which is made if it is missing: entries that [count](counted) for at most `limit`
    /// bytes together. If there are more, the first to go go now.
    ///
    /// # Errors
    /// When the folder is another user's, others may write to it, it holds something else, another
    /// process uses it, or it cannot be written to.
    pub(crate) async fn open(folder: &Path, limit: u64) -> Result<Self, OpenError> {
        let folder = folder.to_owned();
        blocking(move || {
            let disk = Disk::open(&folder)?;
            let failed = |why| OpenError::Io { path: folder, why };
            let found = match disk.sweep() {
                Ok(found) => found,
                Err(why) => return Err(failed(why)),
            };
            let mut index = Index::new(limit);
            for entry in found {
                index.found(entry.hash, entry.size);
            }
            let shared = Arc::new(Shared {
                disk,
                changes: Mutex::default(),
                index: Mutex::new(index),
                awaited: Mutex::default(),
            });
            match shared.evict(0) {
                Err(RoomError::Disk(error)) => Err(failed(error.why)),
                _ => Ok(Store(shared)),
            }
        })
        .await
    }

    /// For a node that receives programs and files for the store, each of so many bytes at most.
    pub(crate) fn folder(&self, largest: u64, limit: u64) -> Folder {
        let store = self.clone();
        let folder = Folder::new(self.incoming()).largest(largest).total(limit);
        folder.on_received(move |file| store.has_come(file.name, file.verified))
    }

    /// The folder into which files are to be received. When a store is opened, there is what was incomplete when it
    /// was closed.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.0.disk.incoming()
    }

    #[cfg(test)]
    /// Whether there is an entry, as far as is known. It may go before it is pinned.
    pub(crate) fn contains(&self, hash: &ContentHash) -> bool {
        self.0.index().contains(hash)
    }

    /// Has an entry stay, for use as a program or as a file. The first time in the life of a process
    /// this reads all of it.
    ///
    /// Cancel safe: nothing is pinned then.
    ///
    /// # Errors
    /// When there is none, or it turns out that it is damaged; that is removed.
    pub(crate) async fn pin(&self, hash: ContentHash, kind: Kind) -> Result<Pin, PinError> {
        let shared = Arc::clone(&self.0);
        blocking(move || shared.pin(hash, kind)).await
    }

    /// Sets room aside for a file of so many bytes that is to come under that name, and removes for it what was left incomplete, and
    /// what nobody uses, least recently used first.
    ///
    /// Cancel safe: nothing is set aside then, though entries may have gone.
    ///
    /// # Errors
    /// When there cannot be so much, whatever goes; then no entry does. When something cannot be
    /// removed.
    pub(crate) async fn make_room(&self, received: &str, bytes: u64) -> Result<Room, RoomError> {
        let (shared, received) = (Arc::clone(&self.0), received.to_owned());
        blocking(move || shared.make_room(received, counted(bytes))).await
    }

    /// Sets room aside for what comes another way, or is kept elsewhere on the disk, and removes for it what was left
    /// incomplete, and what nobody uses.
    ///
    /// Cancel safe: nothing is set aside then, though entries may have gone.
    ///
    /// # Errors
    /// As of [`make_room`](Self::make_room).
    pub(crate) async fn set_aside(&self, bytes: u64) -> Result<Aside, RoomError> {
        let shared = Arc::clone(&self.0);
        blocking(move || {
            let _changes = shared.changes();
            shared.set_aside(None, bytes)
        })
        .await
    }

    /// Lets the next daemon have the folder, at the end: what still has this store in its hands, as a task that is about
    /// to be dropped, has no use for it.
    pub(crate) fn release(&self) {
        self.0.disk.release();
    }

    /// How many bytes there are of what comes under a name in a folder of its own: all in the folder.
    ///
    /// Cancel safe.
    pub(crate) async fn received(&self, name: &str) -> u64 {
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        blocking(move || shared.disk.received(&name).unwrap_or(0)).await
    }

    /// Something has come under that name. It goes if there is no room for it.
    pub(crate) fn has_come(&self, name: String, verified: Option<Verified>) {
        let mut awaited = self.0.awaited();
        match awaited.iter_mut().find(|it| it.name == name) {
            Some(it) => it.came = verified,
            None => self.0.discard(name),
        }
    }

    /// Makes an entry of the file that was received in [`incoming`](Store::incoming) under the name that the
    /// room is for, if it is what it should be, and pins it. If there is one, that is pinned, and the
    /// received file is removed, as it is when there is an error.
    ///
    /// When this is dropped the entry is there a little later, and not pinned.
    ///
    /// # Errors
    /// When there is no such file, it is larger than the room for it, or its hash is another.
    pub(crate) async fn adopt(
        &self,
        hash: ContentHash,
        kind: Kind,
        room: Room,
    ) -> Result<Pin, AdoptError> {
        let shared = Arc::clone(&self.0);
        blocking(move || shared.adopt(hash, kind, room)).await
    }

    /// Makes entries of files that came together, one behind the other, and pins them: of such hashes and lengths, for
    /// which as much room has been set aside as they [count](counted) for.
    ///
    /// When this is dropped they are there a little later, and not pinned.
    ///
    /// # Errors
    /// When they are not these files. Those before the one that is another are entries then.
    pub(crate) async fn keep(
        &self,
        contents: Vec<(ContentHash, u64)>,
        came: Bytes,
        room: Aside,
    ) -> Result<Vec<Pin>, KeepError> {
        let shared = Arc::clone(&self.0);
        blocking(move || shared.keep(&contents, came, room)).await
    }
}

impl Pin {
    pub(crate) fn hash(&self) -> ContentHash {
        self.hash
    }

    /// What the file, or a copy of it, counts for.
    pub(crate) fn counted(&self) -> u64 {
        counted(self.size)
    }

    /// The file, absolute: to be read or run, not to be written to.
    pub(crate) fn path(&self) -> PathBuf {
        self.store.disk.path_of(&self.hash)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.index().unpin(&self.hash, self.id);
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.store.index().release(self.bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let store = &self.aside.store;
        let mut awaited = store.awaited();
        if let Some(at) = awaited.iter().position(|it| it.name == self.received) {
            awaited.swap_remove(at);
        }
        drop(awaited);
        if !self.adopted {
            store.discard(std::mem::take(&mut self.received));
        }
    }
}

impl Shared {
    fn pin(self: &Arc<Self>, hash: ContentHash, kind: Kind) -> Result<Pin, PinError> {
        loop {
            let pinned = self.index().pin(&hash).ok_or(PinError::Missing(hash))?;
            let pin = self.pin_of(hash, pinned.id, pinned.size);
            let failed = |why| DiskError {
                what: "use",
                path: pin.path(),
                why,
            };
            if self.is_sound(&hash, pinned, kind).map_err(failed)? {
                if self.index().verified(&hash, pinned.id) {
                    return Ok(pin);
                }
            } else {
                let _changes = self.changes();
                if self.index().forget(&hash, pinned.id) {
                    self.remove(hash, pinned.size)?;
                    tracing::warn!(%hash, "removed a damaged entry from the store");
                    return Err(PinError::Damaged(hash));
                }
            }
            // Somebody else has found it damaged meanwhile. There may be another by now.
        }
    }

    fn make_room(self: &Arc<Self>, received: String, bytes: u64) -> Result<Room, RoomError> {
        let _changes = self.changes();
        let aside = self.set_aside(Some(&received), bytes)?;
        self.awaited().push(Awaited {
            name: received.clone(),
            came: None,
        });
        Ok(Room {
            aside,
            received,
            adopted: false,
        })
    }

    /// Removes for it what was left incomplete, but for what is to come under that name, and what nobody uses.
    fn set_aside(self: &Arc<Self>, coming: Option<&str>, bytes: u64) -> Result<Aside, RoomError> {
        let failed = |why| DiskError {
            what: "make room in",
            path: self.disk.incoming(),
            why,
        };
        let awaited = self.awaited();
        let names = awaited.iter().map(|it| it.name.clone());
        let names: Vec<_> = names.chain(coming.map(str::to_owned)).collect();
        drop(awaited);
        let left = self.disk.left(&names).map_err(failed)?;
        let bytes_left: u64 = left.iter().map(|(_, bytes)| bytes).sum();
        if !self.index().has_room(bytes.saturating_add(bytes_left)) {
            for (name, _) in left {
                self.disk.remove_received(&name).map_err(failed)?;
            }
        }
        self.evict(bytes)?;
        Ok(Aside {
            store: Arc::clone(self),
            bytes,
        })
    }

    /// Sets room aside, and removes for it what nobody uses.
    fn evict(&self, bytes: u64) -> Result<(), RoomError> {
        loop {
            let step = self.index().make_room(bytes)?;
            match step {
                Step::Done => return Ok(()),
                Step::Evict(hash, size) => {
                    self.remove(hash, size)?;
                    tracing::debug!(%hash, "removed from the store to make room");
                }
            }
        }
    }

    /// Removes what has come under that name, unless somebody waits for it: in a thread for what blocks.
    fn discard(self: &Arc<Self>, name: String) {
        let shared = Arc::clone(self);
        let discard = move || {
            // Who begins to wait for it asks for it when this is done.
            let _changes = shared.changes();
            let is_awaited = shared.awaited().iter().any(|it| it.name == name);
            if !is_awaited {
                let _ = shared.disk.take(&name);
            }
        };
        // At the end of everything it goes with the next start.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(discard);
        }
    }

    fn adopt(
        self: &Arc<Self>,
        hash: ContentHash,
        kind: Kind,
        mut room: Room,
    ) -> Result<Pin, AdoptError> {
        room.adopted = true;
        let received = &*room.received.clone();
        let failed = |why| DiskError {
            what: "take into the store what was received as",
            path: self.disk.incoming().join(received),
            why,
        };
        let missing = || AdoptError::Missing(received.into());
        let adopting = match self.disk.take(received) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            taken => taken.map_err(failed)?,
        };
        let opened = adopting.open().map_err(failed)?;
        let file = opened.ok_or_else(missing)?;
        let size = file.metadata().map_err(failed)?.len();
        if size > room.aside.bytes {
            return Err(AdoptError::TooLarge {
                name: received.into(),
                size,
                room: room.aside.bytes,
            });
        }
        let mut awaited = self.awaited();
        let it = awaited.iter_mut().find(|it| it.name == received);
        let came = it.and_then(|it| it.came.take());
        drop(awaited);
        let known = came.map(|came| came.hash_of(&file)).transpose();
        let (found, length) = match known.map_err(failed)?.flatten() {
            Some(hash) => (hash.into(), size),
            None => ContentHash::of(&file).map_err(failed)?,
        };
        if (found, length) != (hash, size) {
            return Err(AdoptError::Mismatch {
                name: received.into(),
                wanted: hash,
                found,
            });
        }
        disk::used_as(kind, &file).map_err(failed)?;
        Ok(self.enter((hash, size), kind, adopting, file, &mut room.aside)?)
    }

    fn keep(
        self: &Arc<Self>,
        contents: &[(ContentHash, u64)],
        mut came: Bytes,
        mut room: Aside,
    ) -> Result<Vec<Pin>, KeepError> {
        let wanted = contents.iter().map(|(_, length)| length).sum();
        if came.len() as u64 != wanted {
            let came = came.len() as u64;
            return Err(KeepError::Length { wanted, came });
        }
        let keep = |&(hash, length): &(ContentHash, u64)| {
            let bytes = came.split_to(length as usize);
            let failed = |why| DiskError {
                what: "write to",
                path: self.disk.path_of(&hash),
                why,
            };
            if ContentHash::of(&*bytes).map_err(failed)? != (hash, length) {
                return Err(KeepError::Mismatch(hash));
            }
            let (adopting, file) = self.disk.write(&bytes).map_err(failed)?;
            let known = (hash, length);
            Ok(self.enter(known, Kind::File, adopting, file, &mut room)?)
        };
        contents.iter().map(keep).collect()
    }

    /// Makes an entry of what is what it should be, for which there is room, and pins it; or the one that is there.
    fn enter(
        self: &Arc<Self>,
        (hash, length): (ContentHash, u64),
        kind: Kind,
        adopting: Adopting<'_>,
        file: File,
        room: &mut Aside,
    ) -> Result<Pin, DiskError> {
        loop {
            match self.pin(hash, kind) {
                Ok(pin) => return Ok(pin),
                Err(PinError::Disk(error)) => return Err(error),
                Err(PinError::Missing(_) | PinError::Damaged(_)) => {}
            }
            let _changes = self.changes();
            // Somebody else may have been faster.
            if !self.index().contains(&hash) {
                let path = self.disk.path_of(&hash);
                let what = "give its name to";
                let named = adopting.name(&hash);
                named.map_err(|why| DiskError { what, path, why })?;
                room.bytes -= counted(length);
                let id = self.index().adopted(hash, length);
                if length > SMALL {
                    self.settle(hash, id, length, file);
                }
                return Ok(self.pin_of(hash, id, length));
            }
        }
    }

    /// Has what was adopted come to the disk, which nobody waits for: when the machine goes down before, that
    /// is seen when it is [used](Self::is_sound) next. Else a disk that fails when it comes to writing would
    /// say so to nobody.
    fn settle(self: &Arc<Self>, hash: ContentHash, id: u64, size: u64, file: File) {
        // The store may be closed meanwhile.
        let shared = Arc::downgrade(self);
        let settle = move || {
            if let Err(error) = file.sync_all()
                && let Some(shared) = shared.upgrade()
            {
                tracing::warn!(%hash, %error, "what came into the store does not come to the disk");
                let _changes = shared.changes();
                if shared.index().forget(&hash, id) {
                    let _ = shared.remove(hash, size);
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(settle);
        }
    }

    /// Removes the file of what is no entry any more; it is one again if that fails.
    fn remove(&self, hash: ContentHash, size: u64) -> Result<(), DiskError> {
        let removed = self.disk.remove(&hash);
        removed.inspect_err(|_| self.index().found(hash, size))
    }

    /// Whether the content is what the hash says; a use, if it is.
    fn is_sound(&self, hash: &ContentHash, known: Pinned, kind: Kind) -> io::Result<bool> {
        let Some(file) = self.disk.open_entry(hash)? else {
            return Ok(false);
        };
        let seen = known.verified && known.size > SMALL;
        let sound = file.metadata()?.len() == known.size
            && (seen || ContentHash::of(&file)? == (*hash, known.size));
        if sound {
            disk::used_as(kind, &file)?;
        }
        Ok(sound)
    }

    fn pin_of(self: &Arc<Self>, hash: ContentHash, id: u64, size: u64) -> Pin {
        Pin {
            store: Arc::clone(self),
            hash,
            id,
            size,
        }
    }

    fn changes(&self) -> MutexGuard<'_, ()> {
        lock(&self.changes)
    }

    fn awaited(&self) -> MutexGuard<'_, Vec<Awaited>> {
        lock(&self.awaited)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }
}
