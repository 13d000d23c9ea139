//! The program that travels.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::hash::ContentHash;

/// What an executable is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) hash: ContentHash,
    /// In bytes.
    pub(crate) length: u64,
}

impl Program {
    /// Reads an executable.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn of(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        let (hash, length) = blocking(move || ContentHash::of(File::open(path)?)).await?;
        Ok(Program { hash, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Launcher;

    #[tokio::test]
    async fn it_is_this_executable() {
        let path = std::env::current_exe().unwrap();
        let (hash, length) = ContentHash::of(File::open(&path).unwrap()).unwrap();
        assert_eq!(length, path.metadata().unwrap().len());
        let this = Launcher::this_program().unwrap();
        assert_eq!(Program::of(&this).await.unwrap(), Program { hash, length });
    }
}
