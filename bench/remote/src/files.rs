//! The file that is sent, and the folder on both sides of it.
//!
//! In memory (`/dev/shm`) where the system has that: the disk is not what is measured.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Folders for one sample, removed at its end.
pub(crate) struct Folders(TempDir);

impl Folders {
    pub(crate) fn new() -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("coros-bench-");
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            builder.tempdir_in(memory)
        } else {
            builder.tempdir()
        };
        let folders = Folders(folder.context("cannot make a folder for files")?);
        std::fs::create_dir(folders.home())?;
        std::fs::create_dir(folders.inbox())?;
        Ok(folders)
    }

    /// Where the sender's files are.
    pub(crate) fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// Where the receiver puts them.
    pub(crate) fn inbox(&self) -> PathBuf {
        self.0.path().join("inbox")
    }
}

/// A file to be sent, and where it has to come out.
pub(crate) struct Source {
    path: PathBuf,
    arrives: PathBuf,
}

impl Source {
    /// Writes `size` bytes that no two blocks have in common.
    pub(crate) fn new(folders: &Folders, name: &str, size: u64) -> Result<Self> {
        let source = Source {
            path: folders.home().join(name),
            arrives: folders.inbox().join(name),
        };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&source.path)?);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size;
        for _ in 0..size / 8 {
            // Xorshift: fast, and nothing that is sent twice.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes())?;
        }
        file.flush()?;
        Ok(source)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what has arrived is what was sent.
    pub(crate) fn compare_and_remove(self) -> Result<()> {
        let open = |path: &Path| -> Result<_> {
            let file = File::open(path).with_context(|| format!("no file {}", path.display()))?;
            let size = file.metadata()?.len();
            Ok((BufReader::with_capacity(1 << 20, file), size))
        };
        let ((mut sent, size), (mut arrived, came)) = (open(&self.path)?, open(&self.arrives)?);
        ensure!(size == came, "{came} bytes arrived instead of {size}");
        let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut left = size;
        while left > 0 {
            let part = left.min(1 << 16) as usize;
            sent.read_exact(&mut a[..part])?;
            arrived.read_exact(&mut b[..part])?;
            ensure!(a[..part] == b[..part], "other bytes arrived than were sent");
            left -= part as u64;
        }
        std::fs::remove_file(&self.path)?;
        std::fs::remove_file(&self.arrives)?;
        Ok(())
    }
}
