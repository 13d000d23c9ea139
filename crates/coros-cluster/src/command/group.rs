//! The process group of a command: all that it starts, unless that leaves it.
//!
//! The worker's own group is not enough, because that ends only with the worker. But the group of a command
//! must end with the worker too, even with one that is killed: so another process leads it, the
//! guard, which sees the end of its standard input then and ends the group.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

#[cfg(unix)]
use crate::process::own_name;
use crate::process::{Launcher, kill_group};
use crate::worker::{self, GUARD_ARGUMENT};

/// A group. Dropping it ends it.
pub(super) struct Group {
    /// Has the end of a pipe that closes with this process. There is none where this program cannot be one:
    /// then there is no group either.
    guard: Option<Child>,
}

impl Group {
    pub(super) fn start() -> io::Result<Self> {
        if !cfg!(unix) || !worker::entered() {
            return Ok(Group { guard: None });
        }
        let mut command = Command::new(Launcher::this_program()?);
        command
            .arg(GUARD_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0).arg0(own_name());
        Ok(Group {
            guard: Some(command.spawn()?),
        })
    }

    /// Has a command run in it.
    pub(super) fn takes(&self, command: &mut Command) {
        #[cfg(unix)]
        if let Some(leader) = self.leader().and_then(|it| i32::try_from(it).ok()) {
            command.process_group(leader);
        }
        #[cfg(not(unix))]
        let _ = command;
    }

    fn leader(&self) -> Option<u32> {
        self.guard.as_ref()?.id()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody has waited for it, so the number is still its own.
        if let Some(leader) = self.leader() {
            kill_group(leader);
        }
    }
}
