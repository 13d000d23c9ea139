//! The program that travels: the executable of this process.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::blocking::blocking;
use crate::hash::ContentHash;
use crate::process::Launcher;

/// What an executable is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) hash: ContentHash,
    /// In bytes.
    pub(crate) length: u64,
}

impl Program {
    /// The executable that this process runs, also when a rebuild has replaced or deleted it since.
    /// It is read once.
    ///
    /// Cancel safe: whoever asks next starts over.
    ///
    /// # Errors
    /// When it cannot be read. The next call tries again.
    pub(crate) async fn this() -> io::Result<Self> {
        static THIS: OnceCell<Program> = OnceCell::const_new();
        let read = || async {
            blocking(|| {
                let (hash, length) = ContentHash::of(File::open(Launcher::this_program()?)?)?;
                Ok(Program { hash, length })
            })
            .await
        };
        THIS.get_or_try_init(read).await.copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_this_executable() {
        let path = std::env::current_exe().unwrap();
        let (hash, length) = ContentHash::of(File::open(&path).unwrap()).unwrap();
        assert_eq!(length, path.metadata().unwrap().len());
        assert_eq!(Program::this().await.unwrap(), Program { hash, length });
    }
}
