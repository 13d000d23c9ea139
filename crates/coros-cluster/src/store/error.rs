//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use crate::hash::ContentHash;

/// Why a folder cannot be used as a store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It belongs to somebody else.
    #[error(
        "the folder {} belongs to user {owner}, who could exchange the programs in it for others: \
         give a folder of your own",
        .path.display()
    )]
    Foreign { path: PathBuf, owner: u32 },
    /// Others may write to it.
    #[error(
        "others may write to the folder {path} (mode {mode:03o}), and so exchange the programs in \
         it: do `chmod go-w {path}`, or give another folder",
        path = .path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    /// There is something else in it.
    #[error(
        "the folder {path} holds something else, which would be in danger there: give one that is \
         empty or not there yet, such as {path}/coros",
        path = .path.display()
    )]
    NotAStore { path: PathBuf },
    /// Another process uses it.
    #[error(
        "the folder {} is in use by {}: end that, or give another folder",
        .path.display(), process(*.pid)
    )]
    InUse { path: PathBuf, pid: Option<u32> },
    /// It cannot be made, read, or written to.
    #[error(
        "cannot use the folder {} as a store: {why}; see to it that it can be written to, or give \
         another",
        .path.display()
    )]
    Io { path: PathBuf, why: io::Error },
}

fn process(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    }
}

/// Why something does not fit, whatever is removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no room for {wanted} bytes in a store of at most {limit}: {pinned} are those of \
     programs and files in use, {promised} are kept for what is on its way, and taken by copies of files with \
     which workers run; allow more, or wait until those are done with"
)]
pub(crate) struct NoRoom {
    /// All in bytes.
    pub(crate) limit: u64,
    pub(crate) pinned: u64,
    pub(crate) promised: u64,
    pub(crate) wanted: u64,
}

/// The disk, or whoever else has to do with the folder, stands in the way.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {why}", .path.display())]
pub(crate) struct DiskError {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) why: io::Error,
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    /// There is none: not yet, or not any more.
    #[error("there is no {0} in the store: send it first")]
    Missing(ContentHash),
    /// Its content was another than its name says.
    #[error("what was {0} in the store was damaged and has been removed: send it again")]
    Damaged(ContentHash),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why what came together is not kept, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// It has the length of something else.
    #[error("{came} bytes came and not {wanted}: send it again")]
    Length { wanted: u64, came: u64 },
    /// Some of it is not what was announced.
    #[error("what came as {0} is not that: send it again")]
    Mismatch(ContentHash),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Why what was received is not taken into the store. It is removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdoptError {
    /// There is no such file, or something else has its name.
    #[error("no file {0:?} was received: send it again")]
    Missing(String),
    /// It is larger than the room that was made for it.
    #[error("{name:?} has {size} bytes, and room was made for {room}: announce its size before")]
    TooLarge { name: String, size: u64, room: u64 },
    /// It is not what was announced.
    #[error("{name:?} has the hash {found} and not {wanted}: send it again")]
    Mismatch {
        name: String,
        wanted: ContentHash,
        found: ContentHash,
    },
    #[error(transparent)]
    Disk(#[from] DiskError),
}
