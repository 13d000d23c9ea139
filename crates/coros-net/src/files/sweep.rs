//! Walking through a folder of peers' files, and removing what was left incomplete long ago.
//!
//! Peers decide how deep the folder is. So the walk keeps names and not open folders, and opens
//! each from the root, part by part, without following links.

use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, OpenOptions};
use tokio_util::sync::CancellationToken;

use super::name::HIDDEN;
use super::store::careful;

/// Calls `f` for everything below a folder that is no folder. What has gone since it was listed is
/// passed over.
pub(super) fn visit(
    root: &Dir,
    mut f: impl FnMut(&Dir, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let gone = |error: &io::Error| {
        use io::ErrorKind::{NotADirectory, NotFound};
        matches!(error.kind(), NotFound | NotADirectory)
    };
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let folder = match open(root, &path) {
            Err(error) if gone(&error) => continue,
            opened => opened?,
        };
        for entry in folder.entries()? {
            let entry = entry?;
            let name = PathBuf::from(entry.file_name());
            if entry.file_type()?.is_dir() {
                left.push(path.join(name));
                continue;
            }
            match f(&folder, &name) {
                Err(error) if gone(&error) => {}
                visited => visited?,
            }
        }
    }
    Ok(())
}

pub(super) fn open(root: &Dir, path: &Path) -> io::Result<Dir> {
    let mut folder = root.try_clone()?;
    for part in path {
        folder = folder.open_dir_nofollow(part)?;
    }
    Ok(folder)
}

/// Removes the incomplete files below a folder that were not written to for so long and that no
/// transfer has open; how many.
pub(super) fn sweep(root: &Dir, age: Duration, cancelled: &CancellationToken) -> io::Result<usize> {
    let mut removed = 0;
    let now = SystemTime::now();
    visit(root, |folder, name| {
        if cancelled.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let hidden = name.to_str().is_some_and(|name| name.starts_with(HIDDEN));
        if !hidden || !folder.symlink_metadata(name)?.is_file() {
            return Ok(());
        }
        let file = folder.open_with(name, careful(OpenOptions::new().read(true).write(true)))?;
        let file = file.into_std();
        // Locked first: whoever opens it from now on waits, and looks whether it still has its name.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A time in the future is that of a clock that was wrong: it will be old some day.
        let old = now.duration_since(file.metadata()?.modified()?);
        if old.is_ok_and(|old| old >= age) {
            folder.remove_file(name)?;
            removed += 1;
        }
        Ok(())
    })?;
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use cap_std::ambient_authority;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn old(path: &Path, days: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(path).unwrap();
        file.set_modified(SystemTime::now() - days * DAY).unwrap();
    }

    #[test]
    fn only_what_is_incomplete_and_old_and_in_nobodys_hands_goes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let part = |name: &str| at(&format!("{name}{HIDDEN}x"));
        for (path, days) in [
            (part(""), 8),
            (part("a/b/"), 8),
            (part("young/"), 6),
            (part("busy/"), 8),
            (at("a/complete"), 100),
        ] {
            old(&path, days);
        }
        fs::create_dir(at(&format!("{HIDDEN}folder"))).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let busy = File::open(part("busy/")).unwrap();
        busy.lock().unwrap();

        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        assert_eq!(sweep(&root, 7 * DAY, &CancellationToken::new()).unwrap(), 2);
        assert!(!part("").exists() && !part("a/b/").exists());
        assert!(part("young/").exists() && part("busy/").exists());
        assert!(at("a/complete").exists());
        drop(busy);
        assert_eq!(sweep(&root, 7 * DAY, &CancellationToken::new()).unwrap(), 1);
    }

    /// As deep as a name can lead, which is more than a process may have files open.
    #[test]
    fn a_deep_folder_is_walked() {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let mut deepest = root.try_clone().unwrap();
        for _ in 0..512 {
            deepest.create_dir("d").unwrap();
            deepest = deepest.open_dir_nofollow("d").unwrap();
        }
        deepest.write("file", b"x").unwrap();
        let mut found = 0;
        visit(&root, |_, name| {
            found += usize::from(name == Path::new("file"));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, 1);
    }
}
