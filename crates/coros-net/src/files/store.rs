//! A folder in which peers put files, and looking up names in it.
//!
//! The folder is a handle, opened when the node starts. Names are walked from it part by part,
//! each opened relative to the one before and without following links, so that no link planted
//! between a check and a use leads anywhere else.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use super::folder::Limits;
use super::name::FileName;
use super::refusal::Refusal;

/// The folder of a node, open.
#[derive(Debug)]
pub(crate) struct Store {
    root: Dir,
    pub(super) limits: Limits,
    /// Bytes that transfers under way have still to write.
    promised: Mutex<u64>,
}

impl Store {
    pub(super) fn open(path: &Path, limits: Limits) -> io::Result<Self> {
        Ok(Store {
            root: Dir::open_ambient_dir(path, ambient_authority())?,
            limits,
            promised: Mutex::default(),
        })
    }

    /// Where a file of that name goes. Folders on the way are made.
    pub(super) fn place(&self, name: &FileName) -> Result<Place, Refusal> {
        self.walk(name, true)
    }

    /// The file of that name.
    pub(super) fn find(&self, name: &FileName) -> Result<File, Refusal> {
        self.walk(name, false)?.existing()?.ok_or(Refusal::Missing)
    }

    /// Removes the file of that name; folders stay.
    pub(super) fn delete(&self, name: &FileName) -> Result<(), Refusal> {
        let place = self.walk(name, false)?;
        // Does not open it: a device or a link is refused for what it is.
        if !place.is_file()? {
            return Err(Refusal::Missing);
        }
        // Removes the name, whatever it has become meanwhile, and follows no link.
        place
            .folder
            .remove_file(&place.name)
            .map_err(|e| Refusal::io(&e))
    }

    fn walk(&self, name: &FileName, make: bool) -> Result<Place, Refusal> {
        let failed = |error: io::Error| Refusal::io(&error);
        let mut folder = self.root.try_clone().map_err(failed)?;
        for part in name.folders() {
            let mut next = folder.open_dir_nofollow(part);
            if make && matches!(&next, Err(e) if e.kind() == io::ErrorKind::NotFound) {
                match folder.create_dir(part) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(failed(e)),
                    _ => next = folder.open_dir_nofollow(part),
                }
            }
            folder = match next {
                Ok(next) => next,
                Err(error) => return Err(explain(&folder, part, &error)),
            };
        }
        Ok(Place {
            folder,
            name: name.last().to_owned(),
        })
    }

    /// Sets bytes aside, if there is a limit in all and room for so many within it.
    pub(super) fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promise, Refusal> {
        if let Some(total) = self.limits.total {
            // Held while the folder is measured, so that two do not get the same room.
            let mut promised = self.promised();
            let used = measure(&self.root).map_err(|e| Refusal::io(&e))?;
            if used.saturating_add(*promised).saturating_add(bytes) > total {
                return Err(Refusal::FolderFull { total });
            }
            *promised += bytes;
        }
        Ok(Promise {
            store: self.limits.total.map(|_| Arc::clone(self)),
            left: bytes,
        })
    }

    fn promised(&self) -> MutexGuard<'_, u64> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of all files below a folder; links are not followed.
fn measure(folder: &Dir) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in folder.entries()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        // What has gone since it was listed counts nothing.
        let more = if kind.is_dir() {
            folder
                .open_dir_nofollow(entry.file_name())
                .and_then(|below| measure(&below))
        } else {
            folder.symlink_metadata(entry.file_name()).map(|m| m.len())
        };
        match more {
            Ok(more) => bytes += more,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Room that is set aside; what is not used is given back when dropped.
#[derive(Debug)]
pub(super) struct Promise {
    store: Option<Arc<Store>>,
    left: u64,
}

impl Promise {
    /// So much of it is on the disk now.
    pub(super) fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        if let Some(store) = &self.store {
            *store.promised() -= bytes;
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.used(self.left);
    }
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: Dir,
    pub(super) name: String,
}

impl Place {
    /// The file that is there.
    pub(super) fn existing(&self) -> Result<Option<File>, Refusal> {
        if !self.is_file()? {
            return Ok(None);
        }
        let opened = self
            .folder
            .open_with(&self.name, careful(OpenOptions::new().read(true)));
        let file = match opened {
            Ok(file) => file.into_std(),
            Err(error) => return Err(explain(&self.folder, &self.name, &error)),
        };
        // It may have been exchanged since.
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(file)),
            Ok(_) => Err(Refusal::NotAFile(self.name.clone())),
            Err(error) => Err(Refusal::io(&error)),
        }
    }

    /// Whether there is a file. That something else is there is an error.
    pub(super) fn is_file(&self) -> Result<bool, Refusal> {
        match self.folder.symlink_metadata(&self.name) {
            Ok(there) if there.is_file() => Ok(true),
            Ok(there) if there.is_symlink() => Err(Refusal::Symlink(self.name.clone())),
            Ok(_) => Err(Refusal::NotAFile(self.name.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Refusal::io(&error)),
        }
    }
}

/// Neither follows a link nor waits for the other end of a pipe.
pub(super) fn careful(options: &mut OpenOptions) -> &mut OpenOptions {
    options.follow(FollowSymlinks::No).nonblock(true)
}

/// Why a part of a name could not be opened.
pub(super) fn explain(folder: &Dir, part: &str, error: &io::Error) -> Refusal {
    match folder.symlink_metadata(part) {
        Ok(there) if there.is_symlink() => Refusal::Symlink(part.into()),
        Ok(there) if !there.is_dir() && error.kind() == io::ErrorKind::NotADirectory => {
            Refusal::NotAFile(part.into())
        }
        _ => Refusal::io(error),
    }
}
