//! Standard input as the sign that the client lives.
//!
//! A worker that is stopped (`SIGSTOP`, a debugger) cannot see that sign end. Its [guard](crate::guard) does, and
//! kills it. Should the guard have been killed too, the kernel wakes the worker on Linux: it asks for `SIGCONT`
//! when its parent dies. That is not `SIGKILL`, which would leave behind what a job has started.
//! `SIGCONT` means nothing to a process that runs, however often it comes: it finds out by its
//! standard input whether anything has happened.

use std::fs::File;
use std::io::{self, Read};

/// The worker's standard input, out of reach of the functions that run in the worker.
pub(super) struct Lifeline {
    pipe: File,
}

impl Lifeline {
    /// Moves standard input away and puts `/dev/null` in its place.
    #[cfg(unix)]
    pub(super) fn take() -> io::Result<Self> {
        use std::os::fd::AsFd;
        // A client that is gone already is seen at the first read.
        #[cfg(target_os = "linux")]
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGCONT)?;
        let pipe = io::stdin().as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Lifeline { pipe: pipe.into() })
    }

    /// A second handle on standard input: functions that run here must leave it alone.
    #[cfg(windows)]
    pub(super) fn take() -> io::Result<Self> {
        use std::os::windows::io::AsHandle;
        Ok(Lifeline {
            pipe: io::stdin().as_handle().try_clone_to_owned()?.into(),
        })
    }

    /// Ends this process and its group when the pipe ends: a thread of its own, which nothing
    /// that happens in the worker can hold up.
    pub(super) fn watch(mut self) -> io::Result<()> {
        std::thread::Builder::new()
            .name("lifeline".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                let mut byte = [0];
                loop {
                    match self.pipe.read(&mut byte) {
                        Ok(1..) => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok(0) | Err(_) => end_group(),
                    }
                }
            })?;
        Ok(())
    }
}

impl Read for Lifeline {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.read(buffer)
    }
}

/// Ends this process and all that it has started.
pub(super) fn end_group() -> ! {
    #[cfg(unix)]
    {
        use nix::sys::signal::{Signal, killpg};
        use nix::unistd::{getpgrp, getpid};
        // Only a group of its own: one started by hand shares its shell's.
        if getpgrp() == getpid() {
            let _ = killpg(getpgrp(), Signal::SIGKILL);
        }
    }
    std::process::exit(1)
}
