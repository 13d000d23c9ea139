//! A file on its way in: a hidden file beside its place, until all of it is there and is what was
//! announced.
//!
//! The hidden file is named after the file's name, size and stamp, and locked, so that a later
//! attempt finds what came, and two at once do not write to the same. It gets its name when its
//! hash is the one that was told. Whether bytes and name are on the disk by then, and not only
//! with the operating system, is waited for when that is asked: a power cut soon after may else
//! leave a file under its name without its content.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};

use cap_fs_ext::MetadataExt;
use cap_std::fs::{Dir, OpenOptions};
use tokio_util::sync::CancellationToken;

use super::name::HIDDEN;
use super::refusal::Refusal;
use super::room::{Promise, available};
use super::store::{Place, careful, explain, is_gone, not_made};
use super::verified::Verified;
use super::wire::{Hash, MAX_PIECE};

/// What is announced, and how it is to be put into its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) size: u64,
    pub(super) stamp: u64,
    pub(super) replace: bool,
    pub(super) durable: bool,
}

#[derive(Debug)]
pub(super) enum Prepared {
    /// A file of that size has the name already, and this hash.
    Has(Hash),
    /// Whatever came earlier is kept.
    Ready(Box<Incoming>),
}

#[derive(Debug)]
pub(super) struct Incoming {
    place: Place,
    announced: Announced,
    hidden: String,
    file: File,
    length: u64,
    hasher: blake3::Hasher,
    promise: Option<Promise>,
}

/// Looks at what is there. A file of the same size is hashed, unless it is known to be another;
/// `room` sets aside room for so many bytes.
pub(super) fn prepare(
    place: Place,
    announced: Announced,
    differs: bool,
    cancelled: &CancellationToken,
    room: impl FnOnce(u64) -> Result<Option<Promise>, Refusal>,
) -> Result<Prepared, Refusal> {
    let label = place.label.clone();
    let look = || {
        if let Some(mut existing) = place.existing()? {
            if !differs && length(&existing)? == announced.size {
                return Ok(Prepared::Has(hash_of(&mut existing, cancelled)?));
            }
            if !announced.replace {
                return Err(Refusal::Exists);
            }
        }
        let hidden = hidden_name(&place.name, &announced);
        let file = open_hidden(&place.folder, &hidden)?;
        let mut incoming = Incoming {
            place,
            announced,
            hidden,
            file,
            length: 0,
            hasher: blake3::Hasher::new(),
            promise: None,
        };
        let kept = incoming.read_kept(cancelled).map_err(|e| Refusal::io(&e))?;
        incoming.promise = room(announced.size - kept)?;
        Ok(Prepared::Ready(Box::new(incoming)))
    };
    look().map_err(|why| why.within(&label, announced.size))
}

impl Incoming {
    /// How much is there, and its hash.
    pub(super) fn kept(&self) -> (u64, Hash) {
        (self.length, *self.hasher.finalize().as_bytes())
    }

    /// Forgets what is there, and has its room for what comes instead.
    pub(super) fn start_over(&mut self) -> Result<(), Refusal> {
        if let Some(promise) = &mut self.promise {
            promise.keep(self.length);
        }
        self.empty().map_err(|e| self.explain(&e))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let written = self.file.write_all(bytes);
        written.map_err(|e| self.explain(&e))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        if let Some(promise) = &mut self.promise {
            promise.used(bytes.len() as u64);
        }
        Ok(())
    }

    /// Gives the file its name, if it is what the other side has sent. What is known of it then, if it is not
    /// one that somebody else has sent.
    pub(super) fn finish(
        self,
        hash: Hash,
        cancelled: &CancellationToken,
    ) -> Result<Option<Verified>, Refusal> {
        if self.kept() != (self.announced.size, hash) {
            self.discard();
            return Err(Refusal::Mismatch);
        }
        match self.put() {
            Ok(()) => Ok(Verified::new(hash, &self.file).ok()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Somebody else was faster.
                let existing = self.place.existing();
                self.discard();
                let same = match existing? {
                    Some(mut file) => {
                        length(&file)? == self.announced.size
                            && hash_of(&mut file, cancelled)? == hash
                    }
                    None => false,
                };
                if same { Ok(None) } else { Err(Refusal::Exists) }
            }
            Err(error) => {
                self.discard();
                Err(self.explain(&error))
            }
        }
    }

    /// Removes what came.
    pub(super) fn discard(&self) {
        if let Err(error) = self.place.folder.remove_file(&self.hidden) {
            tracing::warn!(file = self.hidden, %error, "cannot remove an incomplete file");
        }
    }

    fn put(&self) -> io::Result<()> {
        let Place { folder, name, .. } = &self.place;
        if self.announced.durable {
            self.file.sync_data()?;
        }
        if self.announced.replace {
            folder.rename(&self.hidden, folder, name)?;
        } else {
            rename_new(folder, &self.hidden, name)?;
        }
        if self.announced.durable && cfg!(unix) {
            // The handle itself is for looking up names, and no more.
            folder.open(".")?.sync_all()?;
        }
        Ok(())
    }

    /// Leaves the file's position behind what is kept.
    fn read_kept(&mut self, cancelled: &CancellationToken) -> io::Result<u64> {
        // Longer is impossible, unless somebody else writes to it.
        if self.file.metadata()?.len() > self.announced.size {
            self.empty()?;
        }
        self.length = hash(&mut self.file, &mut self.hasher, u64::MAX, cancelled)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        Ok(self.length)
    }

    fn empty(&mut self) -> io::Result<()> {
        self.hasher.reset();
        self.length = 0;
        self.file.set_len(0)?;
        self.file.rewind()
    }

    /// What an error means; of a full disk, how much it lacks.
    fn explain(&self, error: &io::Error) -> Refusal {
        let rest = self.announced.size.saturating_sub(self.length);
        let free = available(&self.place.folder).unwrap_or(0);
        // A quota or a limit of the process is not seen in what is free.
        let missing = if free < rest { rest - free } else { rest };
        match Refusal::writing(error) {
            Refusal::Missing if is_gone(&self.place.folder) => Refusal::FolderGone,
            why => why.within(&self.place.label, missing),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let Incoming { place, file, .. } = self;
        let empty = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        // Nothing came that would be worth keeping. The file may have its final name by now.
        if empty && is_at(&place.folder, &self.hidden, file).unwrap_or(false) {
            self.discard();
        }
    }
}

/// The same for every attempt at the same file.
fn hidden_name(name: &str, announced: &Announced) -> String {
    let mut key = blake3::Hasher::new();
    key.update(&announced.size.to_le_bytes());
    key.update(&announced.stamp.to_le_bytes());
    key.update(name.as_bytes());
    format!("{HIDDEN}{}", key.finalize().to_hex())
}

/// Opens or makes a hidden file, for this transfer alone.
fn open_hidden(folder: &Dir, hidden: &str) -> Result<File, Refusal> {
    // Whoever had it last may rename or remove it between opening and locking.
    for _ in 0..8 {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = match folder.open_with(hidden, careful(&mut options)) {
            Ok(file) => file,
            Err(error) => {
                return Err(explain(folder, hidden, &error, |e| not_made(folder, e)));
            }
        };
        let metadata = file.metadata().map_err(|e| Refusal::io(&e))?;
        if !metadata.is_file() {
            return Err(Refusal::NotAFile(hidden.into()));
        }
        let file = file.into_std();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Refusal::Busy),
            Err(TryLockError::Error(error)) => return Err(Refusal::io(&error)),
        }
        if metadata.nlink() > 1 {
            // Has another name, under which it is not ours to write to.
            folder.remove_file(hidden).map_err(|e| Refusal::io(&e))?;
        } else if is_at(folder, hidden, &file).map_err(|e| Refusal::io(&e))? {
            return Ok(file);
        }
    }
    Err(Refusal::Busy)
}

/// Whether a file is the one that has that name.
fn is_at(folder: &Dir, name: &str, file: &File) -> io::Result<bool> {
    // Only what is open has a number on every system.
    let there = match folder.open_with(name, careful(OpenOptions::new().read(true))) {
        Ok(there) => there.metadata()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let file = cap_std::fs::File::from_std(file.try_clone()?).metadata()?;
    Ok((there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// Renames; an error if the new name is taken.
fn rename_new(folder: &Dir, from: &str, to: &str) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
            // Not every file system can.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => {}
            renamed => return Ok(renamed?),
        }
    }
    if folder.symlink_metadata(to).is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    folder.rename(from, folder, to)
}

fn length(file: &File) -> Result<u64, Refusal> {
    let metadata = file.metadata().map_err(|e| Refusal::io(&e))?;
    Ok(metadata.len())
}

fn hash_of(file: &mut File, cancelled: &CancellationToken) -> Result<Hash, Refusal> {
    let mut hasher = blake3::Hasher::new();
    let hashed = hash(file, &mut hasher, u64::MAX, cancelled);
    hashed.map_err(|e| Refusal::io(&e))?;
    Ok(*hasher.finalize().as_bytes())
}

/// Hashes what comes next, at most so many bytes; how many there were.
pub(super) fn hash(
    file: &mut File,
    hasher: &mut blake3::Hasher,
    most: u64,
    cancelled: &CancellationToken,
) -> io::Result<u64> {
    let mut buffer = vec![0; MAX_PIECE];
    let mut done = 0;
    while done < most && !cancelled.is_cancelled() {
        let room = (most - done).min(MAX_PIECE as u64) as usize;
        match file.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                done += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
