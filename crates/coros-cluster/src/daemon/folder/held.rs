//! How much of the disk a folder takes in which others write, and what cannot be told of it.
//!
//! A folder that cannot be looked into is not taken for an empty one: whoever made it could have anything in it. Whatever is
//! there, looking ends as soon as it is too much, and few names are kept meanwhile.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

use crate::store::counted;

/// Folders inside of each other that are looked into. No program has use for so many; those that go on without end would
/// never have been counted.
const DEEPEST: usize = 128;
const TOO_DEEP: &str = "is deeper than this node looks";
/// Folders that may wait to be looked into, at all levels: their names are kept. No program has use for so many either.
const MOST_WAITING: usize = if cfg!(test) { 1000 } else { 1 << 17 };
const TOO_WIDE: &str = "has more folders in it than this node looks into";

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What it takes of the disk.
    pub(super) bytes: u64,
    /// Why there may be more, if so.
    pub(super) hidden: Option<String>,
}

/// One that is under way: one path, and what is still to be looked into at each of its levels. As little is kept as can be,
/// for what is there is of somebody's choosing. So none is kept open; each is opened by its path from the top, out of
/// which no link leads.
struct Look<'a> {
    top: &'a Dir,
    /// Bytes that are not too much.
    most: u64,
    path: PathBuf,
    levels: Vec<Vec<OsString>>,
    held: Held,
}

impl Held {
    /// All in a folder, and the folder; where that is more than so many bytes, only that it is more. Does not follow
    /// links; what goes meanwhile takes nothing. Blocks for as long as there are files.
    pub(super) fn by(folder: &Path, most: u64) -> Self {
        let mut held = Held::default();
        let top = Dir::open_ambient_dir(folder, ambient_authority());
        match top.and_then(|top| Ok((top.dir_metadata()?, top))) {
            Ok((metadata, top)) => {
                held.add(&metadata);
                let look = Look {
                    top: &top,
                    most,
                    path: PathBuf::new(),
                    levels: Vec::new(),
                    held,
                };
                look.all()
            }
            Err(error) => {
                held.failed(Path::new(""), &error);
                held
            }
        }
    }

    fn add(&mut self, metadata: &Metadata) {
        self.bytes = self.bytes.saturating_add(counted(taken(metadata)));
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.missed_folder(path, "may not be looked into"),
            io::ErrorKind::InvalidFilename => self.missed_folder(path, TOO_DEEP),
            // It has gone, or this process cannot open any at present.
            _ => {}
        }
    }

    fn missed_folder(&mut self, path: &Path, why: &str) {
        let shown: String = path.to_string_lossy().chars().take(100).collect();
        self.missed(format!("the folder {shown:?} {why}"));
    }

    /// There may be more, because of this.
    pub(super) fn missed(&mut self, why: String) {
        self.hidden.get_or_insert(why);
    }
}

impl Look<'_> {
    fn all(mut self) -> Held {
        self.enter();
        while !self.is_too_much()
            && let Some(level) = self.levels.last_mut()
        {
            if let Some(name) = level.pop() {
                self.path.push(name);
                self.enter();
            } else {
                self.levels.pop();
                self.path.pop();
            }
        }
        self.held
    }

    /// Then nobody asks what else there is.
    fn is_too_much(&self) -> bool {
        self.held.bytes > self.most || self.held.hidden.is_some()
    }

    /// Looks into the folder at the path.
    fn enter(&mut self) {
        if self.levels.len() > DEEPEST {
            return self.held.missed_folder(&self.path, TOO_DEEP);
        }
        let mut inside = Vec::new();
        if let Err(error) = self.add_all(&mut inside) {
            self.held.failed(&self.path, &error);
        }
        self.levels.push(inside);
    }

    /// Adds what is in it; gives the names of those inside of it.
    fn add_all(&mut self, inside: &mut Vec<OsString>) -> io::Result<()> {
        let entries = match self.path.as_os_str().is_empty() {
            true => self.top.entries()?,
            false => self.top.open_dir_nofollow(&self.path)?.entries()?,
        };
        let waiting: usize = self.levels.iter().map(Vec::len).sum();
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            self.held.add(&metadata);
            if metadata.is_dir() {
                inside.push(entry.file_name());
            }
            if waiting + inside.len() > MOST_WAITING {
                self.held.missed_folder(&self.path, TOO_WIDE);
            }
            if self.is_too_much() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn taken(metadata: &Metadata) -> u64 {
    // In these, whatever the disk's are.
    cap_std::fs::MetadataExt::blocks(metadata).saturating_mul(512)
}

#[cfg(not(unix))]
fn taken(metadata: &Metadata) -> u64 {
    metadata.len()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::super::{deep, gone};
    use super::*;
    use crate::store::LEAST;

    #[test]
    fn all_is_counted_and_no_link_is_followed() {
        let (folder, other) = (deep(3).unwrap(), deep(0).unwrap());
        for folder in [folder.path().join("d/d/d"), other.path().into()] {
            fs::write(folder.join("large"), vec![1; 1 << 20]).unwrap();
        }
        symlink(other.path(), folder.path().join("link")).unwrap();
        let held = Held::by(folder.path(), u64::MAX);
        assert!((1 << 20..2 << 20).contains(&held.bytes), "{held:?}");
        assert_eq!(held.hidden, None);
        assert_eq!(
            Held::by(Path::new("/no/such/folder"), u64::MAX).hidden,
            None
        );
    }

    /// Their names take room, on some systems in the folder that they are in.
    #[test]
    fn what_has_nothing_in_it_counts() {
        for folder in [deep(0).unwrap(), tempfile::tempdir().unwrap()] {
            let at = |what: &str, n| folder.path().join(format!("{what} {n:0>200}"));
            for n in 0..100 {
                fs::write(at("file", n), "").unwrap();
                fs::create_dir(at("folder", n)).unwrap();
                symlink("nowhere", at("link", n)).unwrap();
            }
            let itself = fs::metadata(folder.path()).unwrap().blocks() * 512;
            let held = Held::by(folder.path(), u64::MAX);
            assert!(held.bytes >= 300 * LEAST + itself.max(LEAST), "{held:?}");
        }
    }

    /// As what is in it is not counted.
    #[test]
    fn what_is_too_deep_is_told() {
        let all = deep(DEEPEST).unwrap();
        assert_eq!(Held::by(all.path(), u64::MAX).hidden, None);
        for levels in [DEEPEST + 1, 19_000] {
            let folder = deep(levels).unwrap();
            let hidden = Held::by(folder.path(), u64::MAX).hidden.unwrap();
            assert!(
                hidden.ends_with("is deeper than this node looks"),
                "{hidden}"
            );
            gone(&folder.path().join("d")).unwrap();
        }
    }

    /// As their names would have to be kept.
    #[test]
    fn what_is_too_wide_is_told() {
        let folder = deep(0).unwrap();
        let at = |name: &str| folder.path().join(name);
        for n in 0..MOST_WAITING {
            fs::create_dir_all(at(&format!("a/{n}"))).unwrap();
            fs::create_dir_all(at(&format!("b/{n}"))).unwrap();
        }
        // In each of them are not too many; but one waits meanwhile.
        let held = Held::by(&at("a"), MOST_WAITING as u64 * LEAST);
        assert_eq!(held.hidden, None);
        let hidden = Held::by(folder.path(), u64::MAX).hidden.unwrap();
        assert!(hidden.ends_with(TOO_WIDE), "{hidden}");
    }

    /// However much there is: no more of it is looked at than shows that it is too much.
    #[test]
    fn looking_ends_where_it_is_too_much() {
        let folder = deep(3).unwrap();
        for n in 0..100 {
            fs::create_dir_all(folder.path().join(format!("{n}/in"))).unwrap();
        }
        for most in [LEAST, 50 * LEAST, 150 * LEAST] {
            let held = Held::by(folder.path(), most);
            assert!((most + 1..=most + LEAST).contains(&held.bytes), "{held:?}");
        }
        let held = Held::by(folder.path(), 1 << 30);
        assert!(held.bytes >= 207 * LEAST, "{held:?}");
    }

    #[test]
    fn what_may_not_be_looked_into_is_told() {
        let folder = deep(2).unwrap();
        let seen = |closed: &str| {
            let path = folder.path().join(closed);
            let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let was = fs::metadata(&path).unwrap().permissions().mode();
            mode(0o300);
            // Root may look into everything; in this thread it is nobody.
            let seen = std::thread::scope(|threads| {
                let look = || {
                    nix::unistd::setfsuid(65_534.into());
                    Held::by(folder.path(), u64::MAX).hidden
                };
                threads.spawn(look).join().unwrap()
            });
            mode(was);
            seen
        };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            seen("d/d").unwrap(),
            "the folder \"d/d\" may not be looked into"
        );
        assert_eq!(seen("").unwrap(), "the folder \"\" may not be looked into");
    }
}
