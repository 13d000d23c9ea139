//! Where workers get the content of a file: they read it themselves, or, on other machines, ask the
//! client for it piece by piece.
//!
//! Pieces are asked for one ahead: the next is on its way while one is counted. So there are two at
//! most of each file that is being counted, however large it is. It is the client's coroutine
//! that knows the paths; a worker can ask for files of the corpus and no others.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use coros::{Address, Context, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::corpus::{self, kind};

const SMALLEST_READ: usize = 4 * 1024;
const LARGEST_READ: usize = 256 * 1024;
/// How much is sent at a time.
const PIECE: u64 = 1024 * 1024;
/// So many reads at a time keep a disk busy.
const READS: usize = 8;

/// A file to count.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Source {
    /// What it is called at the client.
    pub(super) path: FilePath,
    /// Its number in the corpus.
    pub(super) index: u64,
    /// Who reads it to workers on other machines.
    pub(super) reader: Option<Address<Ask>>,
}

/// Asks for a piece of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    index: u64,
    /// Where in the file it begins.
    at: u64,
    reply: Reply<Result<Piece, String>>,
}

/// A piece of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    bytes: BytesMut,
    /// The file ends with it.
    last: bool,
}

/// The content of a file, as it comes.
pub(super) enum Content {
    Here {
        file: File,
        buffer: Vec<u8>,
    },
    There {
        reader: Address<Ask>,
        index: u64,
        /// Where the next piece begins that has not been asked for.
        at: u64,
        /// The piece that comes next; `None` behind the last.
        next: Option<JoinHandle<Result<Piece, String>>>,
        bytes: BytesMut,
    },
}

impl Content {
    pub(super) fn open(source: Source) -> Result<Self, String> {
        let Source {
            path,
            index,
            reader,
        } = source;
        if let Some(reader) = reader {
            let next = Some(ask(&reader, index, 0));
            return Ok(Content::There {
                reader,
                index,
                at: PIECE,
                next,
                bytes: BytesMut::new(),
            });
        }
        let (file, size) = open(&path.0).map_err(|error| error.to_string())?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        // A small file needs no large buffer, whose pages would have to be cleared.
        let buffer = vec![0; size.clamp(SMALLEST_READ, LARGEST_READ)];
        Ok(Content::Here { file, buffer })
    }

    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> Result<&mut [u8], String> {
        match self {
            Content::Here { file, buffer } => loop {
                match file.read(buffer) {
                    Ok(n) => return Ok(&mut buffer[..n]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.to_string()),
                }
            },
            Content::There {
                reader,
                index,
                at,
                next,
                bytes,
            } => {
                bytes.clear();
                if let Some(coming) = next.take() {
                    let piece = coming.await.map_err(|error| error.to_string())??;
                    if !piece.last {
                        *next = Some(ask(reader, *index, *at));
                        *at += PIECE;
                    }
                    *bytes = piece.bytes;
                }
                Ok(bytes)
            }
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Content::There {
            next: Some(next), ..
        } = self
        {
            next.abort();
        }
    }
}

/// Asks at once, whenever the answer is waited for.
fn ask(reader: &Address<Ask>, index: u64, at: u64) -> JoinHandle<Result<Piece, String>> {
    let reader = reader.clone();
    tokio::spawn(async move {
        let answer = reader.ask(|reply| Ask { index, at, reply }).await;
        answer.unwrap_or_else(|error| Err(format!("the client does not read it: {error}")))
    })
}

/// Starts the coroutine that reads files to workers on other machines.
pub(super) fn spawn(files: &[corpus::File]) -> Address<Ask> {
    let paths: Arc<[PathBuf]> = files.iter().map(|file| file.path.clone()).collect();
    coros::build()
        .name("reader")
        .daemon()
        .spawn(move |me| read_to_all(me, paths))
        .address()
}

async fn read_to_all(mut me: Context<Ask>, paths: Arc<[PathBuf]>) {
    let reads = Arc::new(Semaphore::new(READS));
    while let Some(Ask { index, at, reply }) = me.receive().await
        && let Ok(turn) = Arc::clone(&reads).acquire_owned().await
    {
        let paths = Arc::clone(&paths);
        tokio::task::spawn_blocking(move || {
            let path = usize::try_from(index).ok().and_then(|it| paths.get(it));
            reply.send(match path {
                Some(path) => read_piece(path, at).map_err(|error| error.to_string()),
                None => Err(format!("there is no file {index}")),
            });
            drop(turn);
        });
    }
}

fn read_piece(path: &Path, at: u64) -> io::Result<Piece> {
    let (mut file, size) = open(path)?;
    file.seek(SeekFrom::Start(at))?;
    // With room for one byte more the end is seen without growing.
    let expected = size.saturating_sub(at).min(PIECE) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let read = file.take(PIECE).read_to_end(&mut bytes)?;
    Ok(Piece {
        bytes: BytesMut::from(bytes::Bytes::from(bytes)),
        last: (read as u64) < PIECE,
    })
}

/// Opens a regular file and gives its size too. Never waits, as opening a named pipe would.
fn open(path: &Path) -> io::Result<(File, u64)> {
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
        return Ok((file, metadata.len()));
    }
    Err(io::Error::other(format!(
        "not a regular file but {}",
        kind(&metadata)
    )))
}

/// A path as an argument of a call: as bytes on Unix, where a name need not be Unicode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

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
