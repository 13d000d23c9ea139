//! Which files are counted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::terminal::Name;

/// The signature that makes a file named `CACHEDIR.TAG` one: <https://bford.info/cachedir/>.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Where to look and what to leave out.
#[derive(Debug)]
pub(super) struct Selection {
    root: PathBuf,
    /// Leave out hidden entries and caches.
    sources: bool,
}

/// A file to count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// In bytes, when it was found.
    pub(super) size: u64,
}

/// What could not be counted, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) error: String,
}

/// What there is below a path.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    /// The largest first, so that none of them is left for the end, when only one worker would
    /// be busy.
    pub(super) files: Vec<File>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl Selection {
    /// `path` as given, or else the sources in the checkout.
    pub(super) fn new(path: Option<PathBuf>, sources: bool) -> Result<Self, String> {
        let Some(root) = path else {
            let root = checkout().ok_or(
                "there is no coros checkout in or above the current folder, and the one that this \
                 program was built from is gone: say which folder to count, as `coros demo PATH`",
            )?;
            return Ok(Selection {
                root,
                sources: true,
            });
        };
        // A link that leads nowhere can be reported, but not counted: as good as not there.
        match fs::metadata(&root) {
            Ok(_) => Ok(Selection { root, sources }),
            Err(error) => Err(format!("{}: {error}", Name(&root))),
        }
    }

    /// Where it begins.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// The nearest folder, from the current one upwards, that holds the sources of coros, or else the
/// one where this program was built.
fn checkout() -> Option<PathBuf> {
    let is_checkout = |folder: &Path| folder.join("crates/coros-core/Cargo.toml").is_file();
    let here = std::env::current_dir().unwrap_or_default();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    here.ancestors()
        .chain(built)
        .find(|folder| is_checkout(folder))
        .map(Path::to_owned)
}

impl Corpus {
    /// Walks through all folders below the selection's root, or takes the root if it is a file.
    pub(super) fn find(selection: &Selection) -> Self {
        let mut corpus = Corpus::default();
        let mut folders = Vec::new();
        match fs::metadata(&selection.root) {
            Ok(metadata) if metadata.is_dir() => folders.push(selection.root.clone()),
            found => corpus.take(selection.root.clone(), found),
        }
        while let Some(folder) = folders.pop() {
            if let Err(error) = corpus.list(&folder, selection.sources, &mut folders) {
                corpus.refuse(folder, &error);
            }
        }
        corpus
            .files
            .sort_unstable_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
        corpus
    }

    fn list(&mut self, folder: &Path, sources: bool, folders: &mut Vec<PathBuf>) -> io::Result<()> {
        if sources && is_cache(folder) {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if sources && entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => {
                    let found = fs::metadata(&path);
                    // A link to a folder: what is there is counted where it lives, if at all.
                    if !found.as_ref().is_ok_and(fs::Metadata::is_dir) {
                        self.take(path, found);
                    }
                }
                Err(error) => self.refuse(path, &error),
            }
        }
        Ok(())
    }

    fn take(&mut self, path: PathBuf, found: io::Result<fs::Metadata>) {
        match found {
            Ok(metadata) if metadata.is_file() => {
                self.files.push(File {
                    path,
                    size: metadata.len(),
                });
            }
            Ok(metadata) => {
                let error = format!("not a regular file but {}", kind(&metadata));
                self.unreadable.push(Unreadable { path, error });
            }
            Err(error) => self.refuse(path, &error),
        }
    }

    fn refuse(&mut self, path: PathBuf, error: &io::Error) {
        self.unreadable.push(Unreadable {
            path,
            error: error.to_string(),
        });
    }
}

/// Whether it is tagged as a cache, or cargo builds there: cargo tags only what it has made, not a folder that was
/// there before, as a volume of a container.
fn is_cache(folder: &Path) -> bool {
    if folder.join(".rustc_info.json").is_file() {
        return true;
    }
    let mut start = Vec::new();
    let tag = fs::File::open(folder.join("CACHEDIR.TAG"));
    let read = tag.and_then(|tag| {
        io::Read::read_to_end(&mut io::Read::take(tag, CACHE_TAG.len() as u64), &mut start)
    });
    read.is_ok() && start == CACHE_TAG
}

/// What something is that is no regular file.
pub(super) fn kind(metadata: &fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if metadata.is_dir() {
        "a folder"
    } else {
        "something else"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(corpus: &Corpus, root: &Path) -> Vec<String> {
        let mut names: Vec<_> = corpus
            .files
            .iter()
            .map(|file| file.path.strip_prefix(root).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn all_is_counted_or_only_sources() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "a.txt",
            ".hidden",
            "sub/b.txt",
            ".git/config",
            "target/c.txt",
            "volume/.rustc_info.json",
            "volume/d.txt",
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        fs::write(
            root.join("target/CACHEDIR.TAG"),
            [CACHE_TAG, b"\n# more"].concat(),
        )
        .unwrap();

        let corpus = Corpus::find(&Selection {
            root: root.to_owned(),
            sources: false,
        });
        let all = [
            ".git/config",
            ".hidden",
            "a.txt",
            "sub/b.txt",
            "target/CACHEDIR.TAG",
            "target/c.txt",
            "volume/.rustc_info.json",
            "volume/d.txt",
        ];
        assert_eq!(names(&corpus, root), all);
        let corpus = Corpus::find(&Selection {
            root: root.to_owned(),
            sources: true,
        });
        assert_eq!(names(&corpus, root), ["a.txt", "sub/b.txt"]);
        assert_eq!(corpus.unreadable, []);
    }

    #[test]
    fn one_file_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "text").unwrap();
        let selection = Selection::new(Some(path.clone()), false).unwrap();
        assert_eq!(Corpus::find(&selection).files, [File { path, size: 4 }]);
        let missing = Selection::new(Some(folder.path().join("b")), false).unwrap_err();
        assert!(missing.contains("No such file"), "{missing}");
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_files_but_not_to_folders() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("a.txt"), "text").unwrap();
        symlink("a.txt", root.join("link")).unwrap();
        symlink(".", root.join("round")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let corpus = Corpus::find(&Selection {
            root: root.to_owned(),
            sources: false,
        });
        assert_eq!(names(&corpus, root), ["a.txt", "link"]);
        assert_eq!(corpus.unreadable.len(), 2, "{:?}", corpus.unreadable);
    }
}
