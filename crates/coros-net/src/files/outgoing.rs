//! A file on its way out: hashed, then read, and watched for changes all the time.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
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
    pub(super) hash: Hash,
}

impl Outgoing {
    /// Hashes a file. What is returned after a cancellation is of no use.
    pub(super) fn new(mut file: File, cancelled: &CancellationToken) -> Result<Self, Unreadable> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Unreadable::NotAFile);
        }
        let stamp = Stamp::of(&metadata);
        let mut hasher = blake3::Hasher::new();
        hash(&mut file, &mut hasher, stamp.length, cancelled)?;
        let hash = *hasher.finalize().as_bytes();
        let outgoing = Outgoing { file, stamp, hash };
        outgoing.check()?;
        Ok(outgoing)
    }

    pub(super) fn size(&self) -> u64 {
        self.stamp.length
    }

    /// Whether its first bytes have that hash.
    pub(super) fn begins_with(
        &mut self,
        length: u64,
        expected: Hash,
        cancelled: &CancellationToken,
    ) -> io::Result<bool> {
        if length == self.size() {
            return Ok(expected == self.hash);
        }
        self.file.rewind()?;
        let mut hasher = blake3::Hasher::new();
        hash(&mut self.file, &mut hasher, length, cancelled)?;
        Ok(*hasher.finalize().as_bytes() == expected)
    }

    /// Reads it as frames ready to be written, until it is over or nobody takes them any more.
    pub(super) fn read(
        mut self,
        offset: u64,
        pieces: &mpsc::Sender<Vec<u8>>,
    ) -> Result<(), Unreadable> {
        self.file.seek(SeekFrom::Start(offset))?;
        let mut left = self.size() - offset;
        while left > 0 {
            let length = left.min(MAX_PIECE as u64) as usize;
            let mut frame = vec![0; HEADER + length];
            match self.file.read_exact(&mut frame[HEADER..]) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Unreadable::Changed);
                }
                Err(error) => return Err(error.into()),
            }
            wire::frame(Kind::Piece, &mut frame);
            left -= length as u64;
            if pieces.blocking_send(frame).is_err() {
                return Ok(());
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), Unreadable> {
        if Stamp::of(&self.file.metadata()?) == self.stamp {
            Ok(())
        } else {
            Err(Unreadable::Changed)
        }
    }
}
