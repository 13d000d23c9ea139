//! Why a node will not do what it was asked to do with a file.

use std::io;

use coros_core::remote;
use serde::{Deserialize, Serialize};

use crate::tame;

/// Why one side of a transfer will not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The node was started without a folder for files.
    #[error(
        "it takes no files: it has to be started with a folder for them, as by `Builder::files` or `coros receive`"
    )]
    NoFolder,
    /// Its folder does not allow this.
    #[error(
        "its folder does not allow to {0}: see `Folder::allow_fetch` and `Folder::allow_delete`"
    )]
    NotAllowed(#[serde(deserialize_with = "remote::told")] String),
    /// The name could lead out of the folder.
    #[error("{0}")]
    Name(#[serde(deserialize_with = "remote::told")] String),
    /// A symbolic link is on the way.
    #[error("{0:?} is a symbolic link there, and those are not followed: name the file itself")]
    Symlink(#[serde(deserialize_with = "remote::told")] String),
    /// There is no such file.
    #[error("there is no such file: check the name")]
    Missing,
    /// The name is that of a folder, a device, …
    #[error("{0:?} is no regular file there: choose another name")]
    NotAFile(#[serde(deserialize_with = "remote::told")] String),
    /// A file with another content has that name.
    #[error("a file with another content has that name: choose another, or allow to replace it")]
    Exists,
    /// Larger than files may be.
    #[error("it is too large: files may have {largest} bytes")]
    TooLarge {
        /// The limit, in bytes.
        largest: u64,
    },
    /// More than there may be in the folder.
    #[error("the folder may hold {total} bytes, too little for it: delete files, or allow more")]
    FolderFull {
        /// The limit, in bytes.
        total: u64,
    },
    /// The disk is full, or a quota is used up.
    #[error(
        "there is no room for it in {folder} ({why}): it needs {missing} bytes more, free as many and try again"
    )]
    DiskFull {
        /// The folder, as that side calls it.
        #[serde(deserialize_with = "remote::told")]
        folder: String,
        /// How many bytes are missing for what is still to be written.
        missing: u64,
        /// What its operating system says.
        #[serde(deserialize_with = "remote::told")]
        why: String,
    },
    /// The same file is on its way to the same place.
    #[error("the same file is on its way there already: wait until it is there")]
    Busy,
    /// The file changed while it was read.
    #[error("the file changed while it was read: try again when nobody writes to it")]
    Changed,
    /// The content that came is not what was announced.
    #[error("what came is not what was announced, and was thrown away: try again")]
    Mismatch,
    /// The other side does not keep to the protocol.
    #[error("the other side broke the protocol: {0}")]
    Protocol(#[serde(deserialize_with = "remote::told")] String),
    /// Reading or writing failed.
    #[error("the disk failed: {0}")]
    Disk(#[serde(deserialize_with = "remote::told")] String),
    /// The other side was at work for too long.
    #[error(
        "it has waited for {seconds} s, and no longer: see what holds up this side, and try again"
    )]
    KeptWaiting {
        /// How long it has waited, in seconds.
        seconds: u64,
    },
    /// Too many others ask for something.
    #[error(
        "so many others are served there that it has had no turn in {hours} h: try again later"
    )]
    Crowded {
        /// How long it has waited, in hours.
        hours: u64,
    },
    /// The folder that the node was started with has been deleted.
    #[error("the folder for it is gone: it has to be made again, and the node to be started again")]
    FolderGone,
    /// The node may not write to the folder.
    #[error("the folder for it cannot be written to: {0}")]
    NotWritable(#[serde(deserialize_with = "remote::told")] String),
    /// A file is where the name has a folder.
    #[error("{0:?} is a file there, and no folder: choose another one")]
    NotAFolder(#[serde(deserialize_with = "remote::told")] String),
}

impl Refusal {
    /// What an error of the file system means to the other side.
    pub(super) fn io(error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Refusal::DiskFull {
                folder: String::new(),
                missing: 0,
                why: text(error),
            },
            io::ErrorKind::NotFound => Refusal::Missing,
            _ => Refusal::Disk(text(error)),
        }
    }

    /// The same of an error of writing to the folder.
    pub(super) fn writing(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Refusal::NotWritable(text(error))
            }
            _ => Refusal::io(error),
        }
    }

    /// Says where there is no room, and for how much, if that is it and nobody has said so.
    pub(super) fn within(mut self, label: &str, bytes: u64) -> Self {
        if let Refusal::DiskFull {
            folder, missing, ..
        } = &mut self
            && folder.is_empty()
        {
            *folder = text(&label);
            *missing = bytes;
        }
        self
    }

    pub(super) fn protocol(why: &impl ToString) -> Self {
        Refusal::Protocol(text(why))
    }
}

fn text(of: &impl ToString) -> String {
    tame::cut(&of.to_string()).to_owned()
}

#[cfg(test)]
mod tests {
    use coros_core::is_readable;

    use super::super::wire::{HEADER, Heard, Kind, Say, decode, encode};
    use super::*;

    /// All of a frame's texts, whichever way they are shown.
    #[test]
    fn nothing_that_a_peer_refuses_with_steers_a_terminal() {
        let wild = || "\u{1b}[2J\n\u{202e}\u{200b}".to_owned();
        for said in [
            Refusal::NotAllowed(wild()),
            Refusal::Name(wild()),
            Refusal::Symlink(wild()),
            Refusal::NotAFile(wild()),
            Refusal::DiskFull {
                folder: wild(),
                missing: 1,
                why: wild(),
            },
            Refusal::Protocol(wild()),
            Refusal::Disk(wild()),
            Refusal::NotWritable(wild()),
            Refusal::NotAFolder(wild()),
        ] {
            let bytes = encode(&Say::Refused(said.clone()));
            let heard = decode(Kind::Say, bytes[HEADER..].to_vec());
            let Ok(Heard::Say(Say::Refused(heard))) = heard else {
                panic!("{heard:?}");
            };
            let shown = heard.to_string();
            assert!(is_readable(&shown) && shown.contains("[2J"), "{shown:?}");
            assert_ne!(heard, said);
        }
    }
}
