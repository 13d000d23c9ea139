//! The folder of a store, open.
//!
//! ```text
//! coros-store.lock     held by the one daemon that uses the folder; the number of its process
//! incoming/            where files are received
//! adopting-N           received, not verified yet
//! 64 hex digits        an entry: a regular file named by its hash
//! ```
//!
//! Names are looked up in the open folder and no link is followed, so nothing outside is reached.
//! What is there of old and is none of the above is removed when it is opened, and so is what has been received;
//! what is only half there stays, since whoever sends it can go on with that.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use coros_net::Folder;

use super::error::{DiskError, OpenError};
use crate::hash::ContentHash;

const LOCK: &str = "coros-store.lock";
const INCOMING: &str = "incoming";

/// What an entry is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Read, and no more: mode 0400.
    File,
    /// Run as well: mode 0500.
    Program,
}

#[derive(Debug)]
pub(super) struct Disk {
    folder: Dir,
    /// Absolute.
    path: PathBuf,
    lock: File,
    adopting: AtomicU64,
}

/// An entry of an earlier time.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) hash: ContentHash,
    pub(super) size: u64,
    pub(super) last_use: SystemTime,
}

/// What has been received and is not an entry yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Adopting<'a> {
    disk: &'a Disk,
    name: String,
}

impl Disk {
    /// Opens a folder, made if it is missing, for this process alone.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        make(path).map_err(failed(path))?;
        let (folder, path) = find(path)?;
        let lock = lock(&folder, &path)?;
        Ok(Disk {
            folder,
            path,
            lock,
            adopting: AtomicU64::new(0),
        })
    }

    /// Lets others use the folder, which nothing in this process does any more. Should the lock be kept, it goes when
    /// this is dropped.
    pub(super) fn release(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "cannot unlock a store");
        }
    }

    /// Whether a folder could be opened, if nobody else uses it. Changes nothing.
    pub(super) fn check(path: &Path) -> Result<(), OpenError> {
        may_be_written_to(path)?;
        match path.try_exists().map_err(failed(path))? {
            true => find(path).map(drop),
            false => Ok(()),
        }
    }

    /// Removes what is no entry; all entries, those used longest ago first.
    pub(super) fn sweep(&self) -> io::Result<Vec<Found>> {
        let mut entries = Vec::new();
        for there in self.folder.entries()? {
            let name = there?.file_name();
            let hash = name.to_str().and_then(|name| name.parse().ok());
            let metadata = self.folder.symlink_metadata(&name)?;
            match hash {
                Some(hash) if metadata.is_file() => entries.push(Found {
                    hash,
                    size: metadata.len(),
                    last_use: metadata.modified()?.into_std(),
                }),
                _ if name == LOCK => {}
                _ if name == INCOMING && metadata.is_dir() => self.sweep_incoming()?,
                _ => {
                    remove(&self.folder, Path::new(&name))?;
                    tracing::info!(?name, "removed from the store what is no entry of it");
                }
            }
        }
        match self.folder.create_dir_with(INCOMING, &private_folder()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        entries.sort_by_key(|found| (found.last_use, found.hash));
        Ok(entries)
    }

    /// Removes what is not the first part of something that is awaited under the name of its hash.
    fn sweep_incoming(&self) -> io::Result<()> {
        let incoming = self.folder.open_dir_nofollow(INCOMING)?;
        for there in incoming.entries()? {
            let name = there?.file_name();
            let hash = name
                .to_str()
                .and_then(|name| name.parse::<ContentHash>().ok());
            if hash.is_none() || !incoming.symlink_metadata(&name)?.is_dir() {
                remove(&incoming, Path::new(&name))?;
                continue;
            }
            let inside = incoming.open_dir_nofollow(&name)?;
            for there in inside.entries()? {
                let there = there?;
                let name = there.file_name();
                let is_part = name
                    .to_str()
                    .is_some_and(|it| it.starts_with(Folder::PARTIAL));
                if !is_part || !there.file_type()?.is_file() {
                    remove(&inside, Path::new(&name))?;
                }
            }
            // If it is empty.
            let _ = incoming.remove_dir(&name);
        }
        Ok(())
    }

    pub(super) fn incoming(&self) -> PathBuf {
        self.path.join(INCOMING)
    }

    pub(super) fn path_of(&self, hash: &ContentHash) -> PathBuf {
        self.path.join(hash.to_string())
    }

    /// The file of an entry; none if there is none, or if it is no file any more.
    pub(super) fn open_entry(&self, hash: &ContentHash) -> io::Result<Option<File>> {
        self.open_file(&hash.to_string())
    }

    /// Removes an entry, whatever it has become.
    pub(super) fn remove(&self, hash: &ContentHash) -> Result<(), DiskError> {
        let removed = remove(&self.folder, Path::new(&hash.to_string()));
        removed.map_err(|why| DiskError {
            what: "remove",
            path: self.path_of(hash),
            why,
        })
    }

    /// Takes a received file away from where others may have to do with it.
    pub(super) fn take(&self, received: &str) -> io::Result<Adopting<'_>> {
        let incoming = self.folder.open_dir(INCOMING)?;
        let name = self.new_name();
        incoming.rename(received, &self.folder, &name)?;
        // The folders that it was in, when nothing else is there.
        for folder in Path::new(received).ancestors().skip(1) {
            if folder.as_os_str().is_empty() || incoming.remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(Adopting { disk: self, name })
    }

    /// Writes what came in another way than as a file, and is what it should be: [used](used_as) as a file.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<(Adopting<'_>, File)> {
        let name = self.new_name();
        let mut options = careful();
        options.write(true).create_new(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o400);
        let mut file = self.folder.open_with(&name, &options)?.into_std();
        // Gone with this if it fails.
        let adopting = Adopting { disk: self, name };
        file.write_all(bytes)?;
        Ok((adopting, file))
    }

    fn new_name(&self) -> String {
        let number = self.adopting.fetch_add(1, Ordering::Relaxed);
        format!("adopting-{number}")
    }

    /// What has been received, or some of it, and is none of these or in a folder with one; how large each is.
    pub(super) fn left(&self, awaited: &[String]) -> io::Result<Vec<(OsString, u64)>> {
        let incoming = self.folder.open_dir(INCOMING)?;
        let mut left = Vec::new();
        for entry in incoming.entries()? {
            let name = entry?.file_name();
            let mut awaited = awaited.iter().filter_map(|name| top(name));
            if !awaited.any(|top| top == name) {
                let bytes = size(&incoming, &name)?;
                left.push((name, bytes));
            }
        }
        Ok(left)
    }

    /// Removes one of those.
    pub(super) fn remove_received(&self, name: &OsStr) -> io::Result<()> {
        remove(&self.folder.open_dir(INCOMING)?, Path::new(name))
    }

    /// How many bytes there are in the folder of what is received under that name.
    pub(super) fn received(&self, name: &str) -> io::Result<u64> {
        let incoming = self.folder.open_dir(INCOMING)?;
        top(name).map_or(Ok(0), |top| size(&incoming, top))
    }

    fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        if !is_file(&self.folder, name) {
            return Ok(None);
        }
        let file = self.folder.open_with(name, careful().read(true))?;
        // It may have been exchanged since.
        let is_file = file.metadata()?.is_file();
        Ok(is_file.then(|| file.into_std()))
    }
}

impl Adopting<'_> {
    /// None if it is no file.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        self.disk.open_file(&self.name)
    }

    /// Makes an entry of it.
    pub(super) fn name(self, hash: &ContentHash) -> io::Result<()> {
        let folder = &self.disk.folder;
        folder.rename(&self.name, folder, hash.to_string())
    }
}

impl Drop for Adopting<'_> {
    fn drop(&mut self) {
        // It is gone if it has its name.
        if let Err(error) = remove(&self.disk.folder, Path::new(&self.name)) {
            tracing::warn!(file = self.name, %error, "cannot remove what was received");
        }
    }
}

/// Notes a use in the time of the file, and makes the mode fit for it: nobody else's, and not to be written to.
pub(super) fn used_as(kind: Kind, file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::fs::Permissions;
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mode = file.metadata()?.mode() & 0o7777;
        // What was a program stays one, also for whoever uses it as a file.
        let fit = match kind {
            Kind::File => mode & 0o100 | 0o400,
            Kind::Program => 0o500,
        };
        if mode != fit {
            file.set_permissions(Permissions::from_mode(fit))?;
        }
    }
    #[cfg(not(unix))]
    let _ = kind;
    file.set_modified(SystemTime::now())
}

/// A folder that is there, and its path.
fn find(path: &Path) -> Result<(Dir, PathBuf), OpenError> {
    let path = path.canonicalize().map_err(failed(path))?;
    let folder = Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed(&path))?;
    #[cfg(unix)]
    trust(&folder, &path)?;
    let is_new = || Ok(folder.entries()?.next().is_none());
    if !is_file(&folder, LOCK) && !is_new().map_err(failed(&path))? {
        return Err(OpenError::NotAStore { path });
    }
    Ok((folder, path))
}

/// Whether something can be made in a folder, which can be made itself if it is not there.
pub(super) fn may_be_written_to(path: &Path) -> Result<(), OpenError> {
    let absolute = std::path::absolute(path).map_err(failed(path))?;
    let there = absolute.ancestors().find(|folder| folder.exists());
    let may = match there {
        Some(there) if !there.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        #[cfg(unix)]
        Some(there) => {
            use rustix::fs::{Access, access};
            access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
        }
        _ => Ok(()),
    };
    may.map_err(failed(path))
}

/// For `map_err`.
fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |why| OpenError::Io {
        path: path.into(),
        why,
    }
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

fn private_folder() -> cap_std::fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = cap_std::fs::DirBuilder::new();
    #[cfg(unix)]
    cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Whoever may write to the folder decides what is run.
#[cfg(unix)]
fn trust(folder: &Dir, path: &Path) -> Result<(), OpenError> {
    use cap_std::fs::MetadataExt;
    let path = path.to_owned();
    let metadata = match folder.dir_metadata() {
        Ok(metadata) => metadata,
        Err(why) => return Err(OpenError::Io { path, why }),
    };
    let owner = metadata.uid();
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(OpenError::Foreign { path, owner });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(OpenError::Exposed { path, mode });
    }
    Ok(())
}

/// Locks the folder for as long as the file is open.
fn lock(folder: &Dir, path: &Path) -> Result<File, OpenError> {
    let failed = |why| OpenError::Io {
        path: path.into(),
        why,
    };
    let mut options = careful();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = folder.open_with(LOCK, &options);
    let mut file = opened.map_err(failed)?.into_std();
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // On some systems what is locked cannot be read.
            let _ = file.read_to_string(&mut pid);
            return Err(OpenError::InUse {
                path: path.into(),
                pid: pid.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(why)) => return Err(failed(why)),
    }
    // On a full disk the store works all the same, and may make room.
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::warn!(%error, "cannot note in the store which process uses it");
    }
    Ok(file)
}

/// Neither follows a link nor waits for the other end of a pipe.
fn careful() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.follow(FollowSymlinks::No).nonblock(true);
    options
}

fn is_file(folder: &Dir, name: &str) -> bool {
    folder.symlink_metadata(name).is_ok_and(|it| it.is_file())
}

/// The folder in which a name is, or the name.
fn top(name: &str) -> Option<&OsStr> {
    Some(Path::new(name).components().next()?.as_os_str())
}

/// The bytes of a file, or of all in a folder. What goes meanwhile has none.
fn size(folder: &Dir, name: &OsStr) -> io::Result<u64> {
    let bytes = || -> io::Result<u64> {
        let there = folder.symlink_metadata(name)?;
        if !there.is_dir() {
            return Ok(there.len());
        }
        let inside = folder.open_dir_nofollow(name)?;
        let mut bytes = 0;
        for entry in inside.entries()? {
            bytes += size(&inside, &entry?.file_name())?;
        }
        Ok(bytes)
    };
    match bytes() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        bytes => bytes,
    }
}

/// Removes whatever has that name, and nothing that a link leads to.
fn remove(folder: &Dir, name: &Path) -> io::Result<()> {
    let removed = match folder.symlink_metadata(name) {
        Ok(there) if there.is_dir() => folder.remove_dir_all(name),
        Ok(_) => folder.remove_file(name),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
