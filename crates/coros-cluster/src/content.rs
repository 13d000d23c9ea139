//! What travels, as it is known: by its hash.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::hash::{ContentHash, Pieces};

/// The content of a program or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    /// In bytes.
    pub(crate) length: u64,
}

impl Content {
    /// Reads a file; blocks for as long as that takes.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        Content::of(&File::open(path)?)
    }

    /// Likewise.
    pub(crate) fn of(content: &(impl Pieces + ?Sized)) -> io::Result<Self> {
        let (hash, length) = ContentHash::of(content)?;
        Ok(Content { hash, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Launcher;

    #[test]
    fn it_is_this_executable() {
        let path = std::env::current_exe().unwrap();
        let (hash, length) = ContentHash::of(&File::open(&path).unwrap()).unwrap();
        assert_eq!(length, path.metadata().unwrap().len());
        let this = Launcher::this_program().unwrap();
        assert_eq!(Content::read(&this).unwrap(), Content { hash, length });
    }
}
