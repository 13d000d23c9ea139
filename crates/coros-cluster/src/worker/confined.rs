//! How a daemon confines a worker whose program it does not know.
//!
//! The daemon starts its own executable, which isolates itself and then becomes the program (`exec`).
//! So nothing of the program has run before, not even what runs before its `main`. What is left on
//! standard input is the program's: the handover.

use std::io;
use std::path::PathBuf;

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
        start,
    } = read_confinement().map_err(failed("no confinement on standard input"))?;
    isolation::apply(&isolation).map_err(|error| WorkerError(error.to_string()))?;
    let why = exec(&program, &start);
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

/// With the arguments that this process has, but for the first.
#[cfg(unix)]
fn exec(program: &std::path::Path, start: &Start) -> io::Error {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let own_name = arguments.next().unwrap_or_default();
    std::process::Command::new(program)
        .arg0(own_name)
        .arg(WORKER_ARGUMENT)
        .args(arguments.skip(1))
        .args(&start.arguments)
        .envs(&start.environment)
        .exec()
}

#[cfg(not(unix))]
fn exec(_program: &std::path::Path, _start: &Start) -> io::Error {
    io::ErrorKind::Unsupported.into()
}
