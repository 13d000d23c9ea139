//! A folder in which peers put files, and looking up names in it.
//!
//! The folder is a handle, opened when the node starts. Names are walked from it part by part,
//! each opened relative to the one before and without following links, so that no link planted
//! between a check and a use leads anywhere else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::{DirExt, FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use tokio_util::sync::CancellationToken;

use super::folder::{Limits, NotReceived, Received, Told};
use super::name::FileName;
use super::refusal::Refusal;
use super::room::{Promise, Room};
use super::sweep::{self, visit};

/// The folder of a node, open.
#[derive(Debug)]
pub(crate) struct Store {
    root: Dir,
    /// What people call it.
    label: Arc<str>,
    pub(super) limits: Limits,
    pub(super) told: Told<Received>,
    pub(super) refused: Told<NotReceived>,
    room: Arc<Room>,
}

impl Store {
    pub(super) fn open(
        path: &Path,
        limits: Limits,
        told: Told<Received>,
        refused: Told<NotReceived>,
    ) -> io::Result<Self> {
        let root = Dir::open_ambient_dir(path, ambient_authority())?;
        // One that can only be read may be there for others to fetch from.
        #[cfg(unix)]
        if !limits.fetch {
            use rustix::fs::{Access, AtFlags, accessat};
            let needed = Access::WRITE_OK | Access::EXEC_OK;
            accessat(&root, ".", needed, AtFlags::EACCESS)?;
        }
        Ok(Store {
            root,
            label: std::path::absolute(path)?.to_string_lossy().into(),
            limits,
            told,
            refused,
            room: Arc::default(),
        })
    }

    /// Where a file of that name and size goes. Folders on the way are made, if the disk has room,
    /// and are gone with the place if nothing has come into them.
    pub(super) fn place(&self, name: &FileName, size: u64) -> Result<Place, Refusal> {
        match self.walk(name, false) {
            Err(Refusal::Missing) if !self.is_gone() => {
                // Nothing came earlier into a folder that is not there: all of it needs room.
                drop(self.promise(size)?);
                self.walk(name, true)
            }
            walked => walked,
        }
    }

    /// Whether the folder has been deleted since.
    pub(super) fn is_gone(&self) -> bool {
        is_gone(&self.root)
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
            .map_err(|e| Refusal::writing(&e))
    }

    fn walk(&self, name: &FileName, make: bool) -> Result<Place, Refusal> {
        let failed = |error: io::Error| Refusal::io(&error);
        let mut folder = self.root.try_clone().map_err(failed)?;
        let mut made = Made {
            root: self.root.try_clone().map_err(failed)?,
            path: PathBuf::new(),
            depth: 0,
        };
        for part in name.folders() {
            let mut next = folder.open_dir_nofollow(part);
            made.path.push(part);
            if make && matches!(&next, Err(e) if e.kind() == io::ErrorKind::NotFound) {
                match folder.create_dir(part) {
                    Ok(()) => made.depth += 1,
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => {
                        made.path.pop();
                        return Err(not_made(&folder, &e));
                    }
                }
                next = folder.open_dir_nofollow(part);
            }
            folder = match next {
                Ok(next) => next,
                Err(error) => return Err(explain(&folder, part, &error, Refusal::io)),
            };
        }
        Ok(Place {
            folder,
            label: Arc::clone(&self.label),
            name: name.last().to_owned(),
            _made: (made.depth > 0).then_some(made),
        })
    }

    /// Sets bytes aside, if the disk and the limit in all have room for so many.
    pub(super) fn promise(&self, bytes: u64) -> Result<Promise, Refusal> {
        let used = || {
            let mut used = 0;
            visit(&self.root, |folder, name| {
                used += folder.symlink_metadata(name)?.len();
                Ok(())
            })?;
            Ok(used)
        };
        let folder = (&self.root, &*self.label);
        self.room.promise(bytes, folder, self.limits.total, used)
    }

    /// Removes incomplete files that nobody has gone on with for as long as the limit says.
    pub(super) fn sweep(&self, cancelled: &CancellationToken) -> io::Result<usize> {
        sweep::sweep(&self.root, self.limits.keep_partial, cancelled)
    }
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: Dir,
    /// What people call the folder that peers have been given.
    pub(super) label: Arc<str>,
    pub(super) name: String,
    /// What was made for it.
    pub(super) _made: Option<Made>,
}

/// The folders that were made on the way to a place: they go with it if they are empty. So peers
/// that only announce files leave nothing, which no limit would count.
#[derive(Debug)]
pub(super) struct Made {
    root: Dir,
    /// From the root.
    path: PathBuf,
    /// So many at the end of the path.
    depth: usize,
}

impl Drop for Made {
    fn drop(&mut self) {
        for _ in 0..self.depth {
            let Some(parent) = self.path.parent() else {
                return;
            };
            let part = self.path.file_name().unwrap_or_default();
            let removed = sweep::open(&self.root, parent).and_then(|it| it.remove_dir(part));
            // Mostly because there is something in it.
            if removed.is_err() {
                return;
            }
            self.path.pop();
        }
    }
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
            Err(error) => return Err(explain(&self.folder, &self.name, &error, Refusal::io)),
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

/// Whether a folder has been deleted since it was opened.
pub(super) fn is_gone(folder: &Dir) -> bool {
    cfg!(unix) && folder.dir_metadata().is_ok_and(|it| it.nlink() == 0)
}

/// Why something could not be made in a folder.
pub(super) fn not_made(folder: &Dir, error: &io::Error) -> Refusal {
    match error.kind() {
        // The folder is there, and takes none, as /proc.
        io::ErrorKind::NotFound if cfg!(unix) && !is_gone(folder) => {
            Refusal::NotWritable(format!("nothing can be made in it: {error}"))
        }
        _ => Refusal::writing(error),
    }
}

/// Why a part of a name could not be opened; `otherwise` explains what is not due to what it is.
pub(super) fn explain(
    folder: &Dir,
    part: &str,
    error: &io::Error,
    otherwise: impl FnOnce(&io::Error) -> Refusal,
) -> Refusal {
    match folder.symlink_metadata(part) {
        Ok(there) if there.is_symlink() => Refusal::Symlink(part.into()),
        Ok(there) if !there.is_dir() && error.kind() == io::ErrorKind::NotADirectory => {
            Refusal::NotAFolder(part.into())
        }
        _ => otherwise(error),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::folder::Folder;
    use super::super::incoming::{Announced, prepare};
    use super::*;

    #[test]
    fn that_nothing_can_be_made_in_a_folder_is_told_as_such() {
        let store = Folder::new("/proc").allow_fetch().open().unwrap();
        let announced = Announced {
            size: 1,
            stamp: 0,
            replace: false,
            durable: false,
        };
        for name in ["x", "a/x"] {
            let place = store.place(&FileName::new(name).unwrap(), 1);
            let cancelled = CancellationToken::new();
            let prepared =
                place.and_then(|it| prepare(it, announced, false, &cancelled, |_| Ok(None)));
            let why = prepared.unwrap_err();
            assert!(matches!(why, Refusal::NotWritable(_)), "{name}: {why}");
        }
    }
}
