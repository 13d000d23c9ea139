//! The folders in which workers run.
//!
//! ```text
//! work/            all of the daemon's; what an earlier one left there is removed
//!   3/             those of a client
//!     7/           that of a worker: its working directory
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::leases::ClientId;
use crate::blocking::blocking;
use crate::scheduler::core::WorkerId;

/// The folders of all clients.
#[derive(Clone, Debug)]
pub(super) struct WorkRoot(PathBuf);

/// Those of one client.
#[derive(Debug)]
pub(super) struct WorkFolders(PathBuf);

/// That of a worker.
#[derive(Debug)]
pub(super) struct WorkFolder(PathBuf);

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
        WorkFolders(self.0.join(client.0.to_string()))
    }
}

impl WorkFolders {
    /// A new folder that is empty.
    pub(super) async fn make(&self, worker: WorkerId) -> io::Result<WorkFolder> {
        let (folders, path) = (self.0.clone(), self.0.join(worker.0.to_string()));
        blocking(move || {
            match make(&folders) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            make(&path)?;
            Ok(WorkFolder(path))
        })
        .await
    }

    /// Removes all that is left.
    pub(super) async fn remove(&self) {
        remove(&self.0).await;
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

/// For this user alone.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Does not follow links.
fn gone(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn remove(path: &Path) {
    let path = path.to_owned();
    let removed = blocking(move || gone(&path).map_err(|error| (path, error))).await;
    if let Err((path, error)) = removed {
        tracing::warn!(%error, "cannot remove the folder {}", path.display());
    }
}
