//! Removes a folder in which others could leave whatever they liked: folders inside of each other without end,
//! folders that nobody may look into, links that lead elsewhere.
//!
//! What is inside of a folder is first brought up to the one that is to go, under a new name. So nothing is ever deeper
//! than that, and nothing here grows with the depth: no stack, no open files, no paths.

use std::io;
use std::path::Path;

/// Removes a folder with all that is in it, or what somebody has put in its place, if it is there. Does not follow links.
/// Blocks.
pub(super) fn gone(path: &Path) -> io::Result<()> {
    let is_folder = std::fs::symlink_metadata(path).map(|it| it.is_dir());
    let removed = is_folder.and_then(|is_folder| match is_folder {
        true => all(path),
        false => unlinked(path),
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives a folder another name, perhaps in another folder. Blocks for a moment.
pub(super) fn moved(path: &Path, to: &Path) -> io::Result<()> {
    // Where it is, is written in it. Whose it is not may move it all the same.
    #[cfg(unix)]
    let _ = unix::unlock(path);
    std::fs::rename(path, to)
}

/// Removes a file, or a link and not what it leads to.
fn unlinked(path: &Path) -> io::Result<()> {
    let removed = std::fs::remove_file(path);
    // There, a link to a folder is one.
    #[cfg(windows)]
    let removed = removed.or_else(|_| std::fs::remove_dir(path));
    removed
}

/// Removes it without bringing anything up: there it is not known how.
#[cfg(not(unix))]
fn all(path: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(path)
}

#[cfg(unix)]
use self::unix::all;

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::io;
    use std::os::fd::AsFd;
    use std::path::Path;

    use cap_fs_ext::DirExt;
    use cap_std::{ambient_authority, fs::Dir};
    use nix::fcntl::AT_FDCWD;
    use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

    pub(super) fn all(path: &Path) -> io::Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let parent = Dir::open_ambient_dir(parent, ambient_authority())?;
        empty(&opened_up(&parent, name)?)?;
        parent.remove_dir(name)
    }

    pub(super) fn unlock(path: &Path) -> io::Result<()> {
        open_up(AT_FDCWD, path.as_os_str())
    }

    fn empty(top: &Dir) -> io::Result<()> {
        let mut number = 0;
        loop {
            let before = number;
            for entry in top.entries()? {
                let entry = entry?;
                let name = entry.file_name();
                if entry.file_type()?.is_dir() {
                    flatten(top, &opened_up(top, &name)?, &mut number)?;
                    top.remove_dir(&name)?;
                } else {
                    top.remove_file(&name)?;
                }
            }
            // What was brought up meanwhile may not have been among them.
            if number == before {
                return Ok(());
            }
        }
    }

    /// Removes what is in a folder; those inside of it go up.
    fn flatten(top: &Dir, folder: &Dir, number: &mut u64) -> io::Result<()> {
        for entry in folder.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                // Where it is, is written in it.
                open_up(folder, &name)?;
                bring_up(top, folder, &name, number)?;
            } else {
                folder.remove_file(&name)?;
            }
        }
        Ok(())
    }

    fn bring_up(top: &Dir, folder: &Dir, name: &OsStr, number: &mut u64) -> io::Result<()> {
        use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
        loop {
            *number += 1;
            match folder.rename(name, top, number.to_string()) {
                // Whoever was there has chosen that name.
                Err(error)
                    if matches!(
                        error.kind(),
                        AlreadyExists | DirectoryNotEmpty | NotADirectory
                    ) => {}
                renamed => return renamed,
            }
        }
    }

    /// Lets this user do with a folder what he likes. Does not follow links: somebody may put them there meanwhile.
    fn open_up(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
        fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
        Ok(())
    }

    pub(super) fn opened_up(parent: &Dir, name: &OsStr) -> io::Result<Dir> {
        open_up(parent, name)?;
        parent.open_dir_nofollow(name)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use super::super::deep;
    use super::*;

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

    /// Deeper than a thread has stack, or a process may open files; and than a path may be long.
    #[test]
    fn folders_go_however_deep_they_are() {
        let folder = deep(40_000).unwrap();
        gone(&folder.path().join("d")).unwrap();
        assert!(!folder.path().join("d").exists());
    }

    #[test]
    fn names_that_it_would_give_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work");
        for name in ["1/a/b", "2/1/b", "a/1/2/3/4", "3/3/3", "5"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("4"), "a file").unwrap();
        symlink("/", path.join("6")).unwrap();
        gone(&path).unwrap();
        assert!(!path.exists());
    }

    /// Somebody who runs on there may put a link where a folder was.
    #[test]
    fn nothing_is_touched_that_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        fs::create_dir_all(at("outside/inner")).unwrap();
        fs::set_permissions(at("outside"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::create_dir_all(at("work/in")).unwrap();
        symlink(at("outside"), at("work/link")).unwrap();
        symlink(at("outside"), at("work/in/link")).unwrap();
        let work = Dir::open_ambient_dir(at("work"), ambient_authority()).unwrap();
        unix::opened_up(&work, "link".as_ref()).unwrap_err();
        gone(&at("work/link")).unwrap();
        assert!(!at("work/link").is_symlink());
        symlink(at("outside"), at("work/link")).unwrap();
        gone(&at("work")).unwrap();
        let mode = fs::metadata(at("outside")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o500);
        assert!(at("outside/inner").exists() && !at("work").exists());
    }
}
