//! What the tests of files share.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

use std::fs;
use std::path::{Path, PathBuf};

use coros_net::{
    Builder, Folder, Location, Node, Progress, Refusal, Secret, SendFile, SendFileError,
};
use tempfile::TempDir;

use super::{Cable, builder, soon};

pub(crate) const MIB: usize = 1 << 20;

/// Two nodes; the farm has a folder.
pub(crate) struct Scene {
    pub(crate) desk: Node,
    pub(crate) farm: Node,
    pub(crate) to: Location,
    pub(crate) inbox: TempDir,
    pub(crate) home: TempDir,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        Scene::with(|folder| folder.allow_fetch().allow_delete()).await
    }

    pub(crate) async fn with(limits: impl FnOnce(Folder) -> Folder) -> Self {
        let secret = Secret::random();
        let nodes = ["desk", "farm"].map(|name| builder(name, &secret));
        Scene::of(nodes, limits).await
    }

    pub(crate) async fn of(
        [desk, farm]: [Builder; 2],
        limits: impl FnOnce(Folder) -> Folder,
    ) -> Self {
        let [inbox, home] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let folder = limits(Folder::new(inbox.path()));
        let farm = farm.files(folder).build().await.unwrap();
        Scene {
            desk: desk.build().await.unwrap(),
            to: farm.location(),
            farm,
            inbox,
            home,
        }
    }

    pub(crate) fn here(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn there(&self, name: &str) -> PathBuf {
        self.inbox.path().join(name)
    }

    /// Sends `content` under a name; bytes moved.
    pub(crate) async fn send(&self, name: &str, content: &[u8]) -> Result<u64, SendFileError> {
        self.send_with(content, SendFile::new().name(name)).await
    }

    pub(crate) async fn send_with(
        &self,
        content: &[u8],
        options: SendFile,
    ) -> Result<u64, SendFileError> {
        let path = self.here("source", content);
        let sent = soon(self.desk.send_file(&self.to, path, options)).await?;
        assert_eq!(sent.size, content.len() as u64);
        Ok(sent.moved)
    }

    pub(crate) async fn refused(&self, name: &str, content: &[u8]) -> Refusal {
        refusal(self.send(name, content).await.unwrap_err())
    }
}

#[track_caller]
pub(crate) fn refusal(error: SendFileError) -> Refusal {
    match error {
        SendFileError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// Bytes that do not repeat.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// All names below a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The incomplete file in a folder, and its length.
pub(crate) fn partial(folder: &Path) -> Option<u64> {
    let name = partial_name(folder)?;
    Some(fs::metadata(folder.join(name)).unwrap().len())
}

pub(crate) fn partial_name(folder: &Path) -> Option<String> {
    let names = names(folder);
    names
        .into_iter()
        .find(|name| name.starts_with(".coros-part-"))
}

/// A connection through a cable that can be held and cut.
pub(crate) async fn cabled(scene: &Scene) -> (Cable, Location) {
    let (cable, to) = Cable::lay().await;
    to.send_replace(scene.farm.location().endpoint);
    let location = Location {
        endpoint: Some(cable.endpoint),
        ..scene.to.clone()
    };
    (cable, location)
}

/// Calls `f` once, when half of it is done.
pub(crate) fn at_half(f: impl FnOnce() + Send + 'static) -> impl FnMut(Progress) + Send + 'static {
    let mut f = Some(f);
    move |at| {
        if at.done * 2 > at.total
            && let Some(f) = f.take()
        {
            f();
        }
    }
}
