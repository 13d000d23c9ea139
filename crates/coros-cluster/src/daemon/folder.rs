//! The folders in which workers run.
//!
//! ```text
//! work/            all of the daemon's; what an earlier one left there is removed
//!   3/             those of a client
//!     files/       what its program needs
//!     shared/      what its workers share
//!     7/           that of a worker: its working directory, with links to the files
//! ```
//!
//! [`Fill`] is what they hold.

#[cfg(unix)]
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use cap_std::{ambient_authority, fs::Dir};
use coros_net::FileName;
use tokio_util::sync::CancellationToken;

use super::leases::ClientId;
use crate::blocking::blocking;
use crate::computation::{self, Dependency};
use crate::scheduler::core::WorkerId;

/// The name of the folder with the files.
const FILES: &str = "files";
/// That of the folder that is for all workers.
pub(crate) const SHARED: &str = "shared";

/// The folders of all clients.
#[derive(Clone, Debug)]
pub(super) struct WorkRoot(PathBuf);

/// Those of one client.
#[derive(Clone, Debug)]
pub(super) struct WorkFolders {
    path: PathBuf,
    /// What there is to be seen of the files in the folder of each worker.
    shown: Vec<String>,
}

/// That of a worker.
#[derive(Debug)]
pub(super) struct WorkFolder(PathBuf);

/// What a client's workers have written, in bytes of the disk.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(super) shared: u64,
    pub(super) workers: Vec<(WorkerId, u64)>,
}

impl Fill {
    pub(super) fn total(&self) -> u64 {
        let workers = self.workers.iter().map(|(_, bytes)| *bytes);
        workers.fold(self.shared, u64::saturating_add)
    }

    /// Whose folder holds most of it, if one does.
    pub(super) fn largest(&self) -> Option<WorkerId> {
        let largest = self.workers.iter().max_by_key(|(_, bytes)| *bytes);
        let (worker, _) = largest.filter(|(_, bytes)| *bytes > self.shared)?;
        Some(*worker)
    }
}

impl WorkRoot {
    /// Makes it anew.
    pub(super) async fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.to_owned();
        blocking(move || {
            gone(&path)?;
            make(&path)?;
            Ok(WorkRoot(path))
        })
        .await
    }

    pub(super) fn of(&self, client: ClientId) -> WorkFolders {
        WorkFolders {
            path: self.0.join(client.0.to_string()),
            shown: Vec::new(),
        }
    }
}

impl WorkFolders {
    /// Makes them, with copies of these files, unless it is told to stop before.
    ///
    /// # Errors
    /// What cannot be done with which file.
    pub(super) fn lay_out(
        &mut self,
        files: Vec<(Dependency, PathBuf)>,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), String>> + Send + use<> {
        let dependencies: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
        let shown = computation::tops(&dependencies);
        self.shown = shown.into_iter().map(str::to_owned).collect();
        let path = self.path.clone();
        blocking(move || {
            let cannot = |name: &str, why: io::Error| format!("cannot make {name:?}: {why}");
            let root = path.join(FILES);
            for folder in [&path, &root, &path.join(SHARED)] {
                make(folder).map_err(|why| cannot(&folder.display().to_string(), why))?;
            }
            for (file, source) in files {
                if stop.is_cancelled() {
                    return Err("nobody waits for it any more".into());
                }
                // Whoever has sent it may be no client of this version.
                FileName::new(&file.name).map_err(|why| why.to_string())?;
                put(&root, &file, &source).map_err(|why| cannot(&file.name, why))?;
            }
            Ok(())
        })
    }

    /// A new folder for a worker, with nothing in it but links to the files.
    pub(super) async fn make(&self, worker: WorkerId) -> io::Result<WorkFolder> {
        let path = self.path.join(worker.0.to_string());
        let (files, shown) = (self.path.join(FILES), self.shown.clone());
        blocking(move || {
            make(&path)?;
            let mut shown = shown.iter();
            let linked = shown.try_for_each(|name| link(&files.join(name), &path.join(name)));
            if linked.is_err() {
                let _ = gone(&path);
            }
            linked.map(|()| WorkFolder(path))
        })
        .await
    }

    /// What all workers share.
    pub(super) fn shared(&self) -> PathBuf {
        self.path.join(SHARED)
    }

    /// Where the files are.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join(FILES)
    }

    /// What workers have written there so far, which takes as long as there are files.
    pub(super) fn fill(&self) -> impl Future<Output = Fill> + Send + use<> {
        let path = self.path.clone();
        blocking(move || {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            let workers = entries.filter_map(|entry| {
                let worker = entry.file_name().to_str()?.parse().ok()?;
                Some((WorkerId(worker), size(entry.path())))
            });
            Fill {
                workers: workers.collect(),
                shared: size(path.join(SHARED)),
            }
        })
    }

    /// Removes all that is left.
    pub(super) async fn remove(&self) {
        remove(&self.path).await;
    }
}

impl WorkFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) async fn remove(self) {
        remove(&self.0).await;
    }
}

/// A copy, because whoever runs here could write into the original: it is read-only, but the user is the
/// same.
fn put(root: &Path, file: &Dependency, source: &Path) -> io::Result<()> {
    let path = root.join(&file.name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // It does not follow links, because none is there: all names are those of files and folders.
    std::fs::copy(source, &path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if file.executable { 0o500 } else { 0o400 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(windows)]
fn link(to: &Path, path: &Path) -> io::Result<()> {
    match to.is_dir() {
        true => std::os::windows::fs::symlink_dir(to, path),
        false => std::os::windows::fs::symlink_file(to, path),
    }
}

/// How much of the disk all in a folder takes. Does not follow links; what goes meanwhile takes nothing.
fn size(folder: PathBuf) -> u64 {
    let (mut all, mut folders) = (0_u64, vec![folder]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            all = all.saturating_add(taken(&metadata));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    all
}

#[cfg(unix)]
fn taken(metadata: &std::fs::Metadata) -> u64 {
    // In these, whatever the disk's are.
    std::os::unix::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn taken(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

/// For this user alone.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes a folder with all that is in it, if it is there. Does not follow links.
fn gone(path: &Path) -> io::Result<()> {
    let remove = || match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    remove().or_else(|error| {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        // Whoever ran there may have taken the right away to look into a folder, or to change it.
        #[cfg(unix)]
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let parent = Dir::open_ambient_dir(parent, ambient_authority())?;
            open_up(&parent, name)?;
        }
        remove()
    })
}

/// Lets this user do with a folder, and all those in it, what he likes. Does not follow links: somebody may put
/// them there meanwhile.
#[cfg(unix)]
fn open_up(parent: &Dir, name: &OsStr) -> io::Result<()> {
    use cap_fs_ext::DirExt;
    use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

    fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
    let folder = parent.open_dir_nofollow(name)?;
    for entry in folder.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&folder, &entry.file_name())?;
        }
    }
    Ok(())
}

async fn remove(path: &Path) {
    let path = path.to_owned();
    let removed = blocking(move || gone(&path).map_err(|error| (path, error))).await;
    if let Err((path, error)) = removed {
        tracing::warn!(%error, "cannot remove the folder {}", path.display());
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::content::Content;

    #[test]
    fn what_was_locked_up_goes_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work");
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/c"), "left").unwrap();
        for locked in ["a/b", "a", ""] {
            let none = fs::Permissions::from_mode(0o000);
            fs::set_permissions(path.join(locked), none).unwrap();
        }
        gone(&path).unwrap();
        assert!(!path.exists());
        // What is not there is gone.
        gone(&path).unwrap();
    }

    /// Somebody who runs on there may put a link where a folder was.
    #[test]
    fn nothing_is_opened_up_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        fs::create_dir_all(at("outside/inner")).unwrap();
        fs::set_permissions(at("outside"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::create_dir(at("work")).unwrap();
        std::os::unix::fs::symlink(at("outside"), at("work/link")).unwrap();
        let work = Dir::open_ambient_dir(at("work"), ambient_authority()).unwrap();
        open_up(&work, "link".as_ref()).unwrap_err();
        fs::set_permissions(at("work"), fs::Permissions::from_mode(0o000)).unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        open_up(&root, "work".as_ref()).unwrap();
        let mode = |name| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("outside"), mode("work")), (0o500, 0o700));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        let mut folders = work.of(ClientId(1));
        let stop = CancellationToken::new();
        folders.lay_out(Vec::new(), stop).await.unwrap();
        // No link can have that name.
        folders.shown = vec!["fine".into(), "no/such/folder".into()];
        folders.make(WorkerId(7)).await.unwrap_err();
        assert!(!folder.path().join("work/1/7").exists());
    }

    #[tokio::test]
    async fn no_file_is_put_outside() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::write(&source, "text").unwrap();
        let work = WorkRoot::open(&folder.path().join("work")).await.unwrap();
        for (n, name) in ["../up", "/etc/up", "a/../../up", ""]
            .into_iter()
            .enumerate()
        {
            let file = Dependency {
                name: name.into(),
                content: Content::read(&source).unwrap(),
                executable: false,
            };
            let mut folders = work.of(ClientId(n as u64));
            let error = folders
                .lay_out(vec![(file, source.clone())], CancellationToken::new())
                .await;
            assert!(
                error.unwrap_err().contains("cannot name a file"),
                "{name:?}"
            );
        }
        assert!(!folder.path().join("work/up").exists());
        assert!(!folder.path().join("up").exists());
    }
}
