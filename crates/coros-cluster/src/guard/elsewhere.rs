//! Systems without guards: what a program has started is not known.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{Piped, Pipes, Program};

pub(crate) type Input = ChildStdin;
pub(crate) type Output = ChildStdout;
pub(crate) type Errors = ChildStderr;

/// There is none.
#[derive(Debug)]
pub(crate) struct Guard;

/// A program that runs. When this is dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    pub(crate) pid: u32,
}

impl Guard {
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Guard)
    }

    pub(crate) fn if_there(self) -> Option<Self> {
        Some(self)
    }

    #[allow(clippy::unused_async, reason = "as it is where there are guards")]
    pub(crate) async fn run(self, program: &Program, piped: Piped) -> io::Result<(Guarded, Pipes)> {
        let mut command = Command::new(&program.path);
        if let Some(folder) = &program.folder {
            command.current_dir(folder);
        }
        let environment = program
            .environment
            .iter()
            .map(|(name, value)| (name, value));
        command
            .args(&program.arguments)
            .env_clear()
            .envs(environment)
            .stdin(if piped.input {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if piped.output {
            command.stdout(Stdio::piped());
        }
        let mut child = command.spawn()?;
        let pipes = Pipes {
            input: child.stdin.take(),
            output: child.stdout.take(),
            error: child.stderr.take().expect("it was piped"),
        };
        let pid = child.id().unwrap_or_default();
        Ok((Guarded { child, pid }, pipes))
    }
}

impl Guarded {
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    pub(crate) fn has_ended(&mut self) -> Option<io::Result<ExitStatus>> {
        self.child.try_wait().transpose()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.start_kill();
    }

    #[allow(clippy::unused_async, reason = "as it is where there are guards")]
    pub(crate) async fn end(mut self) -> Option<Guard> {
        self.kill();
        Some(Guard)
    }
}
