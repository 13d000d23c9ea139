//! What runs in the workers: counting one file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coros::Address;
use serde::{Deserialize, Serialize};

use super::corpus::kind;
use super::reduce::{Chunk, Partial};
use super::tally::{LONGEST_WORD, Splitter, Tally};
use crate::terminal::Name;

const SMALLEST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 256 * 1024;
/// Counts go out when there are so many words, or so much of their text, or after so many bytes
/// of the file: that bounds the memory of a worker, and shows how far it is.
const CHUNK_WORDS: usize = 50_000;
const CHUNK_TEXT: usize = 512 * 1024;
const CHUNK_BYTES: u64 = 16 * 1024 * 1024;
/// Of the last chunk of a file, so many words are worth waiting for.
const LARGE_WORDS: usize = 5_000;

/// Counts the words of a file and sends the counts to `reducer`, as file number `index`. Gives
/// the bytes that were read.
///
/// It reads and computes without awaiting: a worker has a thread for that.
#[coros::remote]
pub(super) async fn count_words(
    path: FilePath,
    index: u64,
    reducer: Address<Partial>,
) -> Result<u64, String> {
    tracing::debug!("counting {}", Name(&path.0));
    let (mut file, size) = open(&path.0).map_err(|error| error.to_string())?;
    let run = std::hash::RandomState::new().hash_one(index);
    let (mut splitter, mut tally) = (Splitter::default(), Tally::default());
    let (mut bytes, mut sent) = (0, 0);
    // A small file needs no large buffer, whose pages would have to be cleared.
    let mut buffer = vec![0; size.clamp(SMALLEST_READ, LARGEST_READ)];
    loop {
        let n = match file.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        bytes += n as u64;
        if n == 0 {
            splitter.finish(&mut tally);
            break;
        }
        splitter.feed(&mut buffer[..n], &mut tally).map_err(|_| {
            format!(
                "a word is longer than {} MiB: that is no text",
                LONGEST_WORD >> 20
            )
        })?;
        let full = tally.len() >= CHUNK_WORDS || tally.text_len() >= CHUNK_TEXT;
        if full || bytes - sent >= CHUNK_BYTES {
            let chunk = Chunk::new(index, run, false, bytes - sent, &std::mem::take(&mut tally));
            pace(&reducer, chunk).await?;
            sent = bytes;
        }
    }
    let last = Chunk::new(index, run, true, bytes - sent, &tally);
    if tally.len() >= LARGE_WORDS {
        pace(&reducer, last).await?;
    } else {
        // What is only sent is there before the result, without waiting for an answer.
        reducer
            .send(Partial::Counts(last))
            .map_err(|error| error.to_string())?;
    }
    Ok(bytes)
}

/// Sends a chunk and waits until it has been added up. So the reducer sets the pace, and what
/// waits there is bounded: one large chunk for each job that runs, and small ones.
async fn pace(reducer: &Address<Partial>, chunk: Chunk) -> Result<(), String> {
    reducer
        .ask(|added| Partial::Paced(chunk, added))
        .await
        .map_err(|error| error.to_string())
}

/// Opens a regular file and gives its size too. Never waits, as opening a named pipe would.
fn open(path: &Path) -> io::Result<(File, usize)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok((file, usize::try_from(metadata.len()).unwrap_or(usize::MAX)));
    }
    Err(io::Error::other(format!(
        "not a regular file but {}",
        kind(&metadata)
    )))
}

/// A path as an argument of a call: as bytes on Unix, where a name need not be Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(PathBuf);

impl From<PathBuf> for FilePath {
    fn from(path: PathBuf) -> Self {
        FilePath(path)
    }
}

impl Serialize for FilePath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            self.0.as_os_str().as_bytes().serialize(serializer)
        }
        #[cfg(not(unix))]
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[cfg(unix)]
        let path = {
            use std::os::unix::ffi::OsStringExt;
            OsString::from_vec(Vec::deserialize(deserializer)?)
        };
        #[cfg(not(unix))]
        let path = OsString::deserialize(deserializer)?;
        Ok(FilePath(path.into()))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_path_travels_whatever_its_bytes() {
        let path = FilePath(PathBuf::from(OsString::from_vec(b"a\xff/\x80".to_vec())));
        let text = serde_json::to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<FilePath>(&text).unwrap(), path);
    }

    #[test]
    fn a_named_pipe_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            open(&path)
                .unwrap_err()
                .to_string()
                .contains("a named pipe")
        );
    }
}
