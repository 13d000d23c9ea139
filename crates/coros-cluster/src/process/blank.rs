//! A process of this very executable that waits to be told which worker it becomes: see
//! [`confined`](crate::worker::confined).

use std::io;
use std::process::Stdio;

use tokio::process::{ChildStderr, ChildStdin, Command};

#[cfg(unix)]
use super::own_name;
use super::{Group, Launcher, kill_group};
use crate::isolation::Cgroup;
use crate::worker::CONFINED_ARGUMENT;

/// What a worker has of its daemon's environment. What the client says takes effect when the process is
/// isolated: a variable may well have a program load other code.
const ENVIRONMENT: [&str; 6] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "RUST_BACKTRACE"];

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(super) group: Group,
    pub(super) stdin: ChildStdin,
    pub(super) stderr: ChildStderr,
    /// In which it is, if it could be put there.
    pub(super) cgroup: Option<Cgroup>,
}

impl Blank {
    /// Starts one, in a control group of its own if there is one. Blocks: some systems take tens of
    /// milliseconds to put a process into a group.
    pub(crate) fn start(cgroup: Option<Cgroup>) -> io::Result<Self> {
        let mut command = Command::new(Launcher::this_program()?);
        let kept = ENVIRONMENT.into_iter();
        let kept = kept.filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .arg(CONFINED_ARGUMENT)
            .env_clear()
            .envs(kept)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0).arg0(own_name());
        let (group, stdin, stderr) = Group::spawn(command)?;
        let cgroup = cgroup.filter(|cgroup| {
            let added = cgroup.add(group.pid);
            let added = added.inspect_err(|error| {
                tracing::warn!(%error, pid = group.pid, "a worker has no control group");
            });
            added.is_ok()
        });
        Ok(Blank {
            group,
            stdin,
            stderr,
            cgroup,
        })
    }

    /// Whether it has not ended.
    pub(crate) fn is_there(&mut self) -> bool {
        matches!(self.group.child.try_wait(), Ok(None))
    }

    /// Ends it, and waits until nothing is left of it.
    pub(crate) async fn end(mut self) {
        kill_group(self.group.pid);
        let _ = self.group.child.wait().await;
        self.group.ended = true;
        if let Some(cgroup) = self.cgroup
            && let Err(error) = cgroup.remove().await
        {
            tracing::warn!(%error, "cannot remove the control group of a process that was not needed");
        }
    }
}
