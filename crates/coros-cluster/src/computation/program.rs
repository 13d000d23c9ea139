//! A program as it travels to nodes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::Build;
use crate::content::Content;
use crate::hash::Pieces;
use crate::machine::{Target, TargetError, elf};
use crate::process::Launcher;

/// A program, with what it was built for.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) target: Target,
    /// What travels of it.
    pub(crate) content: Content,
    path: PathBuf,
    /// What is left of it then, if not all of it travels.
    stripped: Option<Stripped>,
    /// That, once somebody wants to have it: a file without a name, which is gone with this.
    copy: OnceLock<File>,
}

/// Why a program cannot travel, in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ProgramError(String);

impl ProgramError {
    fn unread(path: &Path, why: &io::Error) -> Self {
        ProgramError(format!("cannot read {}: {why}", path.display()))
    }
}

impl Program {
    /// This very one, which is read once. Blocks meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn this() -> Result<Arc<Program>, ProgramError> {
        static THIS: OnceLock<Result<Arc<Program>, ProgramError>> = OnceLock::new();
        let read = || {
            let path = Launcher::this_program();
            let path = path.map_err(|why| ProgramError::unread(Path::new("this program"), &why))?;
            let target = Target::of_this_program();
            Program::new(&path, target).map(Arc::new)
        };
        THIS.get_or_init(read).clone()
    }

    /// Another one. Blocks while it is read.
    ///
    /// # Errors
    /// When it cannot be read, or is no program.
    pub(crate) fn at(path: &Path) -> Result<Program, ProgramError> {
        Program::new(path, Target::of(path))
    }

    /// One that was received, and where it is. All of it travels.
    pub(super) fn received(build: Build, path: PathBuf) -> Program {
        Program {
            target: build.target,
            content: build.content,
            path,
            stripped: None,
            copy: OnceLock::new(),
        }
    }

    fn new(path: &Path, target: Result<Target, TargetError>) -> Result<Program, ProgramError> {
        let target = target.map_err(|why| ProgramError(why.to_string()))?;
        let unread = |why| ProgramError::unread(path, &why);
        let stripped = Stripped::of(path);
        let content = match &stripped {
            Some(stripped) => Content::of(stripped),
            None => Content::read(path),
        };
        Ok(Program {
            target,
            content: content.map_err(unread)?,
            path: path.to_owned(),
            stripped,
            copy: OnceLock::new(),
        })
    }

    /// A path to what travels, as long as this is there. Blocks while a copy is made, the first time.
    ///
    /// # Errors
    /// When there is no room for one.
    pub(crate) fn source(&self) -> io::Result<PathBuf> {
        let Some(stripped) = &self.stripped else {
            return Ok(self.path.clone());
        };
        if self.copy.get().is_none() {
            let mut copy = tempfile::tempfile()?;
            stripped.read(0..stripped.length, |part| copy.write_all(part))?;
            // Another thread may have made one too.
            let _ = self.copy.set(copy);
        }
        let copy = self.copy.get().and_then(path_of);
        copy.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// A path that leads to an open file, though it has no name.
fn path_of(file: &File) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        Some(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}

/// A program without what is only for debuggers.
///
/// What the system loads is named by the program's segments; of the rest, which the linker puts behind
/// them, nothing is used while it runs. Backtraces of such a program have addresses without names.
#[derive(Debug)]
struct Stripped {
    whole: File,
    /// The first bytes, which no longer say where the rest is.
    head: Vec<u8>,
    /// How many bytes there are.
    length: u64,
}

impl Stripped {
    /// `None` when that would not be smaller by an eighth at least, it is no program of a kind that is known,
    /// or there can be no file without a name.
    fn of(path: &Path) -> Option<Stripped> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let loaded = elf::loaded(path).ok()?;
        let mut whole = File::open(path).ok()?;
        if loaded.length > whole.metadata().ok()?.len() / 8 * 7 {
            return None;
        }
        let mut head = vec![0; elf::HEADER];
        whole.read_exact(&mut head).ok()?;
        loaded.hide_sections(&mut head);
        let length = loaded.length;
        Some(Stripped {
            whole,
            head,
            length,
        })
    }
}

impl Pieces for Stripped {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.whole.read_at(buffer, offset)?;
        let head = usize::try_from(offset)
            .ok()
            .and_then(|at| self.head.get(at..));
        for (byte, said) in buffer.iter_mut().zip(head.unwrap_or_default()) {
            *byte = *said;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This test program has debug information, or at least symbols.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_stripped_runs() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let this = Program::this().unwrap();
        let whole = std::fs::metadata("/proc/self/exe").unwrap().len();
        assert!(
            this.content.length < whole / 2,
            "{} of {whole}",
            this.content.length
        );
        let copy = folder.path().join("copy");
        let source = this.source().unwrap();
        std::fs::copy(&source, &copy).unwrap();
        assert_eq!(Content::read(&copy).unwrap(), this.content);
        assert_eq!(this.source().unwrap(), source, "it is copied once");
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o700)).unwrap();
        let ran = std::process::Command::new(&copy)
            .args(["--list", "what_is_stripped_runs"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains("what_is_stripped_runs"),
            "{ran:?}"
        );
        // A copy of a copy has nothing to lose.
        assert!(Stripped::of(&copy).is_none());
        // It is read once.
        assert!(Arc::ptr_eq(&this, &Program::this().unwrap()));
    }

    #[test]
    fn what_is_no_program_travels_as_it_is_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(Stripped::of(&script).is_none());
        let error = Program::at(&script).unwrap_err().to_string();
        assert!(error.contains("script"), "{error}");
    }
}
