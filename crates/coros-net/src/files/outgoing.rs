//! A file on its way out: hashed while it is read, and watched for changes all the time.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::incoming::hash;
use super::refusal::Refusal;
use super::wire::{self, HEADER, Hash, Kind, MAX_PIECE};

/// Why a file cannot be read to its end.
#[derive(Debug)]
pub(super) enum Unreadable {
    NotAFile,
    Changed,
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Unreadable::Io(error)
    }
}

impl Unreadable {
    /// What the other side is told.
    pub(super) fn refusal(&self, name: &str) -> Refusal {
        match self {
            Unreadable::NotAFile => Refusal::NotAFile(name.into()),
            Unreadable::Changed => Refusal::Changed,
            Unreadable::Io(error) => Refusal::io(error),
        }
    }
}

/// What changes when a file is written to.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Stamp {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Outgoing {
    file: File,
    stamp: Stamp,
    /// Of what lies before the file's position.
    hasher: blake3::Hasher,
}

impl Outgoing {
    pub(super) fn new(file: File) -> Result<Self, Unreadable> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Unreadable::NotAFile);
        }
        Ok(Outgoing {
            file,
            stamp: Stamp::of(&metadata),
            hasher: blake3::Hasher::new(),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.stamp.length
    }

    /// A number that is another one when the file has been written to.
    pub(super) fn stamp(&self) -> u64 {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let modified = self.stamp.modified.and_then(since);
        modified.map_or(0, |since| since.as_nanos() as u64)
    }

    /// Whether all of it has that hash.
    pub(super) fn is(
        &mut self,
        expected: Hash,
        cancelled: &CancellationToken,
    ) -> Result<bool, Unreadable> {
        let same = self.begins_with(self.size(), expected, cancelled)?;
        self.check()?;
        Ok(same)
    }

    /// Whether its first bytes have that hash. If so, [`read`](Outgoing::read) goes on behind
    /// them, otherwise it begins at the start.
    pub(super) fn begins_with(
        &mut self,
        length: u64,
        expected: Hash,
        cancelled: &CancellationToken,
    ) -> io::Result<bool> {
        self.rewind()?;
        let hashed = hash(&mut self.file, &mut self.hasher, length, cancelled)?;
        let same = hashed == length && *self.hasher.finalize().as_bytes() == expected;
        if !same {
            self.rewind()?;
        }
        Ok(same)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.hasher.reset();
        self.file.rewind()
    }

    /// Reads the rest as frames ready to be written, until it is over or nobody takes them any
    /// more; the hash of the whole file. Frames that come back are used again.
    pub(super) fn read(
        mut self,
        frames: &mpsc::Sender<Vec<u8>>,
        spare: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<Hash, Unreadable> {
        let mut left = self.size() - self.file.stream_position()?;
        while left > 0 {
            let length = left.min(MAX_PIECE as u64) as usize;
            let mut frame = spare.try_recv().unwrap_or_default();
            frame.resize(HEADER + length, 0);
            match self.file.read_exact(&mut frame[HEADER..]) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Unreadable::Changed);
                }
                Err(error) => return Err(error.into()),
            }
            self.hasher.update(&frame[HEADER..]);
            wire::frame(Kind::Piece, &mut frame);
            left -= length as u64;
            if frames.blocking_send(frame).is_err() {
                break;
            }
        }
        self.check()?;
        Ok(*self.hasher.finalize().as_bytes())
    }

    fn check(&self) -> Result<(), Unreadable> {
        if Stamp::of(&self.file.metadata()?) == self.stamp {
            Ok(())
        } else {
            Err(Unreadable::Changed)
        }
    }
}
