//! Why a file could not be sent, fetched or deleted.

use std::io;
use std::path::PathBuf;

use super::line::Lost;
use super::name::NameError;
use super::refusal::Refusal;
use crate::ConnectError;

/// Why a file is not at the receiver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendFileError {
    /// It cannot have that name there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// It is a folder, a device, …
    #[error("{} is not a file: only files can be sent", path.display())]
    NotAFile {
        /// What was to be sent.
        path: PathBuf,
    },
    /// Somebody wrote to it meanwhile.
    #[error(
        "{} changed while it was sent to {peer}: send it again when nobody writes to it",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Who did not get it.
        peer: String,
    },
    /// There is no connection.
    #[error("cannot send {name:?} to {peer}: {why}")]
    Unreachable {
        /// The file's name at the receiver.
        name: String,
        /// Who was dialled.
        peer: String,
        /// Why there is none.
        why: ConnectError,
    },
    /// The receiver does not take it.
    #[error("{peer} does not take {name:?}: {why}")]
    Refused {
        /// The file's name at the receiver.
        name: String,
        /// Who refused it.
        peer: String,
        /// Why.
        why: Refusal,
    },
    /// The connection was lost.
    #[error(
        "the connection to {peer} was lost while {name:?} was sent: {reason}; send it again, and it goes on from there"
    )]
    Lost {
        /// The file's name at the receiver.
        name: String,
        /// The receiver.
        peer: String,
        /// How it was lost.
        reason: String,
    },
    /// This node has closed, or is about to.
    #[error("this node has closed")]
    Closed,
}

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchFileError {
    /// No file can have that name there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It cannot be put into its place here.
    #[error("cannot put {name:?} of {peer} at {}: {why}", path.display())]
    Write {
        /// The file's name at the peer.
        name: String,
        /// Who has it.
        peer: String,
        /// Its place here.
        path: PathBuf,
        /// What is wrong.
        why: Refusal,
    },
    /// There is no connection.
    #[error("cannot fetch {name:?} from {peer}: {why}")]
    Unreachable {
        /// The file's name at the peer.
        name: String,
        /// Who was dialled.
        peer: String,
        /// Why there is none.
        why: ConnectError,
    },
    /// The peer does not give it.
    #[error("{peer} does not give {name:?}: {why}")]
    Refused {
        /// The file's name at the peer.
        name: String,
        /// Who refused it.
        peer: String,
        /// Why.
        why: Refusal,
    },
    /// The connection was lost.
    #[error(
        "the connection to {peer} was lost while {name:?} was fetched: {reason}; fetch it again, and it goes on from there"
    )]
    Lost {
        /// The file's name at the peer.
        name: String,
        /// The peer.
        peer: String,
        /// How it was lost.
        reason: String,
    },
    /// This node has closed, or is about to.
    #[error("this node has closed")]
    Closed,
}

/// Why a file may still be at a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteFileError {
    /// No file can have that name there.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no connection.
    #[error("cannot delete {name:?} at {peer}: {why}")]
    Unreachable {
        /// The file's name at the peer.
        name: String,
        /// Who was dialled.
        peer: String,
        /// Why there is none.
        why: ConnectError,
    },
    /// The peer does not delete it.
    #[error("{peer} does not delete {name:?}: {why}")]
    Refused {
        /// The file's name at the peer.
        name: String,
        /// Who refused it.
        peer: String,
        /// Why.
        why: Refusal,
    },
    /// The connection was lost.
    #[error(
        "the connection to {peer} was lost, and {name:?} may be deleted or not: {reason}; delete it again to know"
    )]
    Lost {
        /// The file's name at the peer.
        name: String,
        /// The peer.
        peer: String,
        /// How it was lost.
        reason: String,
    },
    /// This node has closed, or is about to.
    #[error("this node has closed")]
    Closed,
}

/// What all operations may fail with.
#[derive(Debug)]
pub(super) enum Trouble {
    Unreachable(ConnectError),
    Refused(Refusal),
    Lost(Lost),
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        Trouble::Lost(lost)
    }
}

macro_rules! from_trouble {
    ($($error:ident)*) => {$(
        impl $error {
            pub(super) fn of(trouble: Trouble, name: &str, peer: &str) -> Self {
                let (name, peer) = (name.to_owned(), peer.to_owned());
                match trouble {
                    Trouble::Unreachable(ConnectError::Closed) => $error::Closed,
                    Trouble::Unreachable(why) => $error::Unreachable { name, peer, why },
                    Trouble::Refused(why) => $error::Refused { name, peer, why },
                    Trouble::Lost(Lost(reason)) => $error::Lost { name, peer, reason },
                }
            }
        }
    )*};
}

from_trouble!(SendFileError FetchFileError DeleteFileError);
