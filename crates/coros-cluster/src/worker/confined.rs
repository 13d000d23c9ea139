//! How a daemon confines a worker whose program it does not know.
//!
//! The daemon starts its own executable, which isolates itself and then becomes the program (`exec`).
//! So nothing of the program has run before, not even what runs before its `main`. What is left on
//! standard input is the program's: the handover.
//!
//! Of what the daemon has open the program gets nothing, whoever started that with it: what it writes to standard
//! output goes where its standard error goes, which is to its client.

use std::io;
#[cfg(unix)]
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CONFINED_ARGUMENT, WORKER_ARGUMENT, WorkerError, not_for_people};
use crate::computation::Start;
use crate::isolation::{self, Isolation};
use crate::protocol::read_frame;

/// The first thing on the standard input of such a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Confinement {
    pub(crate) isolation: Isolation,
    pub(crate) program: PathBuf,
    /// What the worker is called.
    pub(crate) name: String,
    /// What the client says: for the program, and not for what isolates it.
    pub(crate) start: Start,
}

/// Does not return unless something is wrong.
pub(super) fn become_worker() -> Result<(), WorkerError> {
    not_for_people(CONFINED_ARGUMENT)?;
    let failed = |doing| move |error: io::Error| WorkerError::new(doing, &error);
    let Confinement {
        isolation,
        program,
        name,
        start,
    } = read_confinement().map_err(failed("no confinement on standard input"))?;
    keep_nothing().map_err(failed("cannot close what its daemon has open"))?;
    std::env::set_current_dir(&isolation.folder).map_err(failed("cannot go to its folder"))?;
    isolation::apply(&isolation).map_err(|error| WorkerError(error.to_string()))?;
    let why = exec(&program, &name, &isolation.folder, &start);
    let doing = format!("cannot run {}", program.display());
    Err(WorkerError::new(&doing, &why))
}

/// Without a buffer, which would take what is not its own.
#[cfg(unix)]
fn read_confinement() -> io::Result<Confinement> {
    use std::os::fd::AsFd;
    let mut pipe = std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    read_frame(&mut pipe)
}

#[cfg(not(unix))]
fn read_confinement() -> io::Result<Confinement> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a process has open.
#[cfg(unix)]
const OPEN: &str = match cfg!(target_os = "linux") {
    true => "/proc/self/fd",
    false => "/dev/fd",
};

/// Closes all but the pipes from and to the daemon.
#[cfg(unix)]
fn keep_nothing() -> io::Result<()> {
    nix::unistd::dup2_stdout(io::stderr())?;
    let open = std::fs::read_dir(OPEN)?
        .map(|entry| Ok(entry?.file_name().to_str().and_then(|it| it.parse().ok())));
    let open: Vec<Option<RawFd>> = open.collect::<io::Result<_>>()?;
    for fd in open.into_iter().flatten().filter(|fd| *fd > 2) {
        // Nobody here uses it, and the one by which it was looked is closed.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_nothing() -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn exec(program: &Path, name: &str, folder: &Path, start: &Start) -> io::Error {
    use std::os::unix::process::CommandExt;
    std::process::Command::new(program)
        .arg0(std::env::args_os().next().unwrap_or_default())
        .arg(WORKER_ARGUMENT)
        .arg(name)
        .args(&start.arguments)
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .envs(&start.environment)
        .exec()
}

#[cfg(not(unix))]
fn exec(_program: &Path, _name: &str, _folder: &Path, _start: &Start) -> io::Error {
    io::ErrorKind::Unsupported.into()
}
