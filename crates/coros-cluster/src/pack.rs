//! Small contents that travel many in one message: as a file each would take several round trips, and threads at
//! both ends.
//!
//! A pack has the bytes of those that were asked for, one behind the other. Who has asked knows how long each is,
//! and what its hash is.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use crate::computation::Cargo;
use crate::content::Content;
use crate::hash::ContentHash;
use crate::store;

/// So many bytes a pack has at most. On a slow link other messages wait for as long as it takes.
pub(crate) const MOST_BYTES: u64 = store::SMALL;
/// And so many contents: on a slow disk each takes milliseconds to be read.
pub(crate) const MOST: usize = 256;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("it asks for {0}, which is no part of the program")]
    Foreign(ContentHash),
    #[error("it asks for {0} files in one message, and may for {MOST}")]
    TooMany(usize),
    #[error("{} cannot be read: {why}", .path.display())]
    Read { path: PathBuf, why: io::Error },
    #[error("{} has changed since it was looked at: start again", .0.display())]
    Changed(PathBuf),
}

/// Reads what somebody asks for. May block.
///
/// # Errors
/// When it cannot be had, or is not what it was.
pub(crate) fn read(cargo: &Cargo, asked: &[ContentHash]) -> Result<Vec<u8>, PackError> {
    if asked.len() > MOST {
        return Err(PackError::TooMany(asked.len()));
    }
    let mut pack = Vec::new();
    for hash in asked {
        let path = cargo.file(*hash).ok_or(PackError::Foreign(*hash))?;
        let begin = pack.len();
        // Nobody asks for more of what is still as it was.
        let most = MOST_BYTES + 1 - begin as u64;
        let mut read = || {
            // To open a pipe could take for ever.
            if !path.metadata()?.is_file() {
                return Ok(false);
            }
            File::open(path)?.take(most).read_to_end(&mut pack)?;
            Ok(Content::of(&pack[begin..])?.hash == *hash)
        };
        match read() {
            Ok(true) if pack.len() as u64 <= MOST_BYTES => {}
            Ok(_) => return Err(PackError::Changed(path.into())),
            Err(why) => {
                return Err(PackError::Read {
                    path: path.into(),
                    why,
                });
            }
        }
    }
    Ok(pack)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::computation::{Given, Program, Start};

    const FILES: [(&str, &[u8]); 3] = [("a", b"one"), ("b", b""), ("c", &[7; 1000])];

    /// A cargo with these files in a folder.
    async fn cargo() -> (tempfile::TempDir, Cargo) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in FILES {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().to_owned();
        let name = Some("files".to_owned());
        let program: (Arc<Program>, _) = (Program::this().unwrap(), Vec::new());
        let cargo = Cargo::load(program, vec![Given { path, name }], Start::default());
        let cargo = cargo.await.unwrap();
        (folder, cargo)
    }

    fn hash(content: &[u8]) -> ContentHash {
        Content::of(content).unwrap().hash
    }

    #[tokio::test]
    async fn files_come_in_the_order_in_which_they_were_asked_for() {
        let (_folder, cargo) = cargo().await;
        let asked = [FILES[2].1, FILES[1].1, FILES[0].1];
        let pack = read(&cargo, &asked.map(hash)).unwrap();
        assert_eq!(pack, asked.concat());
    }

    #[tokio::test]
    async fn a_file_that_has_changed_is_named() {
        let (folder, cargo) = cargo().await;
        let path = folder.path().join("a");
        let error = || {
            let error = read(&cargo, &FILES.map(|(_, text)| hash(text)));
            error.unwrap_err().to_string()
        };
        let large = vec![b'o'; MOST_BYTES as usize + 1];
        for text in [&b"two"[..], b"", b"ones", &large] {
            fs::write(&path, text).unwrap();
            let error = error();
            assert!(
                error.starts_with(&format!("{} has changed", path.display())),
                "{error}"
            );
        }
        fs::remove_file(&path).unwrap();
        let missing = error();
        assert!(
            missing.starts_with(&format!("{} cannot be read", path.display())),
            "{missing}"
        );
        #[cfg(unix)]
        {
            // Which nobody writes to.
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            let pipe = error();
            assert!(pipe.contains("has changed"), "{pipe}");
        }
    }

    /// Whoever asks is to be trusted with the program, and with nothing else.
    #[tokio::test]
    async fn nobody_gets_what_is_no_part_of_the_program_or_more_than_may_be() {
        let (_folder, cargo) = cargo().await;
        let foreign = read(&cargo, &[hash(b"other")]).unwrap_err().to_string();
        assert!(foreign.contains("no part of the program"), "{foreign}");
        let many = read(&cargo, &[hash(b""); MOST + 1])
            .unwrap_err()
            .to_string();
        assert!(many.contains("asks for 257 files"), "{many}");
        let again = [hash(FILES[2].1); MOST];
        assert_eq!(read(&cargo, &again).unwrap().len(), 1000 * MOST);
        assert!(1000 * MOST as u64 <= MOST_BYTES);
    }
}
