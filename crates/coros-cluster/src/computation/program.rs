//! A program as it travels to nodes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::content::Content;
use crate::machine::{Target, TargetError, elf};
use crate::process::Launcher;

/// A program, with what it was built for.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) target: Target,
    pub(crate) content: Content,
    /// Where it is read from.
    pub(crate) path: PathBuf,
    /// That is its copy without what is only for debuggers; it has no name, and is gone with this.
    _stripped: Option<File>,
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

    fn new(path: &Path, target: Result<Target, TargetError>) -> Result<Program, ProgramError> {
        let target = target.map_err(|why| ProgramError(why.to_string()))?;
        // Where there is no room for a copy, the program does as it is.
        if let Some(file) = stripped(path).ok().flatten()
            && let Some(path) = path_of(&file)
            && let Ok(content) = Content::read(&path)
        {
            let _stripped = Some(file);
            return Ok(Program {
                target,
                content,
                path,
                _stripped,
            });
        }
        let content = Content::read(path).map_err(|why| ProgramError::unread(path, &why))?;
        let path = path.to_owned();
        Ok(Program {
            target,
            content,
            path,
            _stripped: None,
        })
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

/// A copy without what is only for debuggers; `None` when that would not be smaller by an eighth at least, or
/// it is no program of a kind that is known.
///
/// What the system loads is named by the program's segments; of the rest, which the linker puts behind
/// them, nothing is used while it runs. Backtraces of a copy have addresses without names.
fn stripped(path: &Path) -> io::Result<Option<File>> {
    let Ok(loaded) = elf::loaded(path) else {
        return Ok(None);
    };
    let mut whole = File::open(path)?;
    let length = whole.metadata()?.len();
    if loaded.length > length / 8 * 7 {
        return Ok(None);
    }
    let mut copy = tempfile::tempfile()?;
    if io::copy(&mut (&mut whole).take(loaded.length), &mut copy)? != loaded.length {
        return Ok(None);
    }
    for (at, bytes) in loaded.without_sections() {
        copy.seek(SeekFrom::Start(at))?;
        copy.write_all(bytes)?;
    }
    copy.rewind()?;
    Ok(Some(copy))
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
        std::fs::copy(&this.path, &copy).unwrap();
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
        assert!(stripped(&copy).unwrap().is_none());
        // It is read once.
        assert!(Arc::ptr_eq(&this, &Program::this().unwrap()));
    }

    #[test]
    fn what_is_no_program_travels_as_it_is_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(stripped(&script).unwrap().is_none());
        let error = Program::at(&script).unwrap_err().to_string();
        assert!(error.contains("script"), "{error}");
    }
}
