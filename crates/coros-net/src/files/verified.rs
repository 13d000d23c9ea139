//! What is known of the content of a file because it was hashed on its way in.

use std::fs::File;
use std::io;
use std::time::SystemTime;

use cap_fs_ext::MetadataExt;

use super::wire::Hash;

/// The hash of a file that has [come](crate::Received), so that nobody need read it once more to know it.
#[derive(Clone, Debug)]
pub struct Verified {
    hash: Hash,
    file: Identity,
}

impl Verified {
    /// Of a file to which nobody writes.
    pub(super) fn new(hash: Hash, file: &File) -> io::Result<Self> {
        let file = Identity::of(file)?;
        Ok(Verified { hash, file })
    }

    /// The BLAKE3 hash of an open file, if it is the very one that came, whatever its name is by now, and
    /// nobody has written to it since; none if that is another or may have another content.
    ///
    /// That somebody has written is seen by the time that the file system notes, so not where it keeps none, or
    /// where somebody sets it back. It is for folders to which only those write who are trusted.
    ///
    /// # Errors
    /// When the system does not tell what the file is.
    pub fn hash_of(&self, file: &File) -> io::Result<Option<[u8; 32]>> {
        let same = Identity::of(file)? == self.file;
        Ok(same.then_some(self.hash))
    }
}

/// Tells a file from others, and from itself when it has been written to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    length: u64,
    modified: SystemTime,
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        // Std does not tell a file's number on every system.
        let metadata = cap_std::fs::File::from_std(file.try_clone()?).metadata()?;
        Ok(Identity {
            device: metadata.dev(),
            number: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified()?.into_std(),
        })
    }
}
