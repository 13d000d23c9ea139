//! A process of this very executable that waits to be told which worker it becomes: see
//! [`confined`](crate::worker::confined).

use std::io;

use tokio::runtime::Handle;

use super::{Launcher, begin, own_name};
use crate::guard::{Errors, Guarded, Input, Program};
use crate::isolation::Cgroup;
use crate::worker::CONFINED_ARGUMENT;

/// What a worker has of its daemon's environment. What the client says takes effect when the process is
/// isolated: a variable may well have a program load other code.
const ENVIRONMENT: [&str; 6] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "RUST_BACKTRACE"];

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(super) guarded: Guarded,
    pub(super) input: Input,
    pub(super) error: Errors,
    /// In which it is, if it could be put there. Its guard is not.
    pub(super) cgroup: Option<Cgroup>,
}

impl Blank {
    /// Starts one, in a control group of its own if there is one. Blocks: some systems take tens of
    /// milliseconds to put a process into a group.
    ///
    /// # Panics
    /// Outside of a runtime, and in a thread in which coroutines run.
    pub(crate) fn start(cgroup: Option<Cgroup>) -> io::Result<Self> {
        let kept = ENVIRONMENT.into_iter();
        let kept = kept.filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
        let program = Program {
            path: Launcher::this_program()?,
            called: Some(own_name()),
            arguments: vec![CONFINED_ARGUMENT.into()],
            environment: kept.collect(),
            folder: None,
        };
        let (guarded, input, error) = Handle::current().block_on(begin(&program))?;
        let cgroup = cgroup.filter(|cgroup| {
            let added = cgroup.add(guarded.pid);
            let added = added.inspect_err(|error| {
                tracing::warn!(%error, pid = guarded.pid, "a worker has no control group");
            });
            added.is_ok()
        });
        Ok(Blank {
            guarded,
            input,
            error,
            cgroup,
        })
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.guarded.pid
    }

    /// Whether it has not ended.
    pub(crate) fn is_there(&mut self) -> bool {
        self.guarded.has_ended().is_none()
    }

    /// Ends it, and waits until nothing is left of it.
    pub(crate) async fn end(self) {
        self.guarded.end().await;
        if let Some(cgroup) = self.cgroup
            && let Err(error) = cgroup.remove().await
        {
            tracing::warn!(%error, "cannot remove the control group of a process that was not needed");
        }
    }
}
