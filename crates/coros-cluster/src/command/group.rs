//! The process group of a command: all that it starts, unless that leaves it.
//!
//! The worker's own group is not enough, because that ends only with the worker. But the group of a command
//! must end with the worker too, even with one that is killed: its [`guard`](super::guard) sees to that.

use std::io;

use tokio::process::{Child, Command};

use super::guard;
use crate::process::kill_group;
use crate::worker;

/// A command that runs, and its group. Dropping it ends the group.
pub(super) struct Group {
    pub(super) child: Child,
    /// The number of both; there is no group where this program cannot be a guard.
    leader: Option<u32>,
}

impl Group {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        if !cfg!(unix) || !worker::entered() {
            let child = command.spawn()?;
            return Ok(Group {
                child,
                leader: None,
            });
        }
        // First, so that there is somebody who sees to what is started.
        guard::mark(&mut command)?;
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn()?;
        let leader = child.id();
        if let Some(leader) = leader {
            guard::watch(leader);
        }
        Ok(Group { child, leader })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The number stays the group's while it has members; without members this reaches nobody,
        // because numbers are not used again so soon.
        if let Some(leader) = self.leader {
            kill_group(leader);
            guard::forget(leader);
        }
    }
}
