//! A secret in a file, or a private key: read with care, made in one step.
//!
//! A file says something only about those who can write it, and keeps a secret only from those
//! who cannot read it. So what is opened must be a regular file of the user's own (or of root)
//! that is closed to everybody else, in a folder in which nobody else can put another in its place.
//! Opening never waits, whatever is there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use super::SecretError;
use crate::hex;

/// Far above any passphrase or key; a larger file is neither.
pub(super) const MAX_LENGTH: u64 = 4096;

/// The text in a file that deserves trust.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let failed = |why| SecretError::Read {
        path: path.to_owned(),
        why,
    };
    // Links are followed here and not when opening: what is looked at is what is read.
    let real = fs::canonicalize(path).map_err(failed)?;
    trust::folder(folder_of(&real)).map_err(|e| e.into_secret_error(failed))?;
    let file = open(&real).map_err(|e| e.into_secret_error(failed))?;
    let mut text = Zeroizing::new(String::new());
    match file.take(MAX_LENGTH + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 > MAX_LENGTH => Err(SecretError::TooLong.in_file(path)),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(SecretError::NotText.in_file(path))
        }
        Err(error) => Err(failed(error)),
    }
}

/// For the owner's eyes only.
pub(crate) const PRIVATE: u32 = 0o600;
/// For everybody to read.
pub(crate) const PUBLIC: u32 = 0o644;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    New,
    /// Something was there, and has not changed.
    WasThere,
}

/// Makes the file with its contents in one step; one that is there already stays.
pub(crate) fn create(path: &Path, text: &str, mode: u32) -> Result<Made, SecretError> {
    make(path, text, mode, |draft| match fs::hard_link(draft, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Made::WasThere),
        other => other.map(|()| Made::New),
    })
}

/// Makes the file with its contents in one step, in the place of one that is there already.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), SecretError> {
    make(path, text, PRIVATE, |draft| fs::rename(draft, path))
}

fn make<T>(
    path: &Path,
    text: &str,
    mode: u32,
    put: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, SecretError> {
    let failed = |why| SecretError::Create {
        path: path.to_owned(),
        why,
    };
    let folder = folder_of(path);
    make_folder(folder).map_err(|why| {
        let no_folder = |it: &&Path| it.exists() && !it.is_dir();
        match folder.ancestors().find(no_folder) {
            Some(it) => SecretError::NotAFolder { path: it.into() },
            None => failed(why),
        }
    })?;
    let folder = fs::canonicalize(folder).map_err(failed)?;
    trust::folder(&folder).map_err(|e| e.into_secret_error(failed))?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|e| failed(io::Error::other(e)))?;
    let draft = folder.join(format!(".secret-{}", hex::encode(&suffix)));
    let made = write_draft(&draft, text, mode).and_then(|()| put(&draft));
    let removed = match fs::remove_file(&draft) {
        // It is the file now.
        Err(e) if e.kind() == io::ErrorKind::NotFound && made.is_ok() => Ok(()),
        other => other,
    };
    let made = made.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(made)
}

/// What was found, or that nothing could be found out.
enum Trouble {
    Refused(SecretError),
    Failed(io::Error),
}

impl Trouble {
    fn into_secret_error(self, failed: impl FnOnce(io::Error) -> SecretError) -> SecretError {
        match self {
            Trouble::Refused(error) => error,
            Trouble::Failed(why) => failed(why),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(why: io::Error) -> Self {
        Trouble::Failed(why)
    }
}

/// Opens a regular file that deserves trust. The path leads to it without a symbolic link.
fn open(path: &Path) -> Result<File, Trouble> {
    // Before opening, which alone has effects on some devices; and again after it, for then
    // nobody can put something else there.
    trust::file(path, &fs::symlink_metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        let careful = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, careful.bits());
    }
    let file = options.open(path)?;
    trust::file(path, &file.metadata()?)?;
    Ok(file)
}

#[cfg(unix)]
mod trust {
    use std::fs::{self, FileType, Metadata};
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::Path;

    use super::{SecretError, Trouble, refused};

    /// In a folder with this bit only its owner can take a file of another user away, as in /tmp.
    const STICKY: u32 = 0o1000;

    pub(super) fn file(path: &Path, file: &Metadata) -> Result<(), Trouble> {
        if let Some(what) = other_than_a_file(file.file_type()) {
            let path = path.to_owned();
            return refused(SecretError::NotAFile { path, what });
        }
        owner(path, file)?;
        let mode = file.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return refused(SecretError::Exposed { path, mode });
        }
        Ok(())
    }

    fn other_than_a_file(kind: FileType) -> Option<&'static str> {
        if kind.is_file() {
            None
        } else if kind.is_dir() {
            Some("a folder")
        } else if kind.is_fifo() {
            Some("a named pipe")
        } else if kind.is_socket() {
            Some("a socket")
        } else {
            Some("a device")
        }
    }

    pub(super) fn folder(folder: &Path) -> Result<(), Trouble> {
        let found = fs::metadata(folder)?;
        owner(folder, &found)?;
        let mode = found.mode() & 0o7777;
        if mode & 0o022 != 0 && mode & STICKY == 0 {
            let folder = folder.to_owned();
            return refused(SecretError::OpenFolder { folder, mode });
        }
        Ok(())
    }

    fn owner(path: &Path, found: &Metadata) -> Result<(), Trouble> {
        let owner = found.uid();
        if owner == 0 || owner == nix::unistd::geteuid().as_raw() {
            return Ok(());
        }
        let path = path.to_owned();
        refused(SecretError::Foreign { path, owner })
    }
}

/// Elsewhere the user's configuration folder is protected by inherited access lists.
#[cfg(not(unix))]
mod trust {
    use std::fs::Metadata;
    use std::path::Path;

    use super::{SecretError, Trouble, refused};

    pub(super) fn file(path: &Path, file: &Metadata) -> Result<(), Trouble> {
        if file.is_file() {
            return Ok(());
        }
        let what = if file.is_dir() {
            "a folder"
        } else {
            "something else"
        };
        let path = path.to_owned();
        refused(SecretError::NotAFile { path, what })
    }

    pub(super) fn folder(_: &Path) -> Result<(), Trouble> {
        Ok(())
    }
}

fn refused(error: SecretError) -> Result<(), Trouble> {
    Err(Trouble::Refused(error))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write_draft(draft: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(draft)?;
    file.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    file.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
