//! A guard, and a program that it runs, from the side of the process that wants that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::message::{self, Replies, Reply};
use super::tree::kill_group;
use super::{Piped, Pipes, Program};
use crate::process::{Launcher, own_name};
use crate::worker::GUARD_ARGUMENT;

/// So long is waited until nothing is left: a process may wait in the kernel for a disk or the like.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// This process's end of a standard input.
pub(crate) type Input = pipe::Sender;
/// That of a standard output.
pub(crate) type Output = pipe::Receiver;
/// That of a standard error.
pub(crate) type Errors = pipe::Receiver;

/// A guard that has nothing to do. When it is dropped, it ends.
#[derive(Debug)]
pub(crate) struct Guard {
    socket: UnixStream,
    replies: Replies,
}

/// A program that runs. When this is dropped, it is killed with all that it has started.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Guard,
    /// The number of its process, and of the process group that it leads.
    pub(crate) pid: u32,
    ended: Option<ExitStatus>,
    /// Nothing is left of it.
    gone: bool,
}

impl Guard {
    /// Starts one. Blocks for as long as it takes to start a process.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, its) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(Launcher::this_program()?);
        command
            .arg0(own_name())
            .arg(GUARD_ARGUMENT)
            .stdin(Stdio::from(OwnedFd::from(its)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It ends when its socket does, and the runtime sees to what is left of it then.
        drop(command.spawn()?);
        Ok(Guard {
            socket: UnixStream::from_std(ours)?,
            replies: Replies::default(),
        })
    }

    /// Itself, unless it has ended.
    pub(crate) fn if_there(mut self) -> Option<Self> {
        let there = self.replies.now(&self.socket).is_ok();
        there.then_some(self)
    }

    /// Has it run a program.
    ///
    /// # Errors
    /// When the program cannot be started, or the guard has been killed.
    ///
    /// Not cancel safe: the program is killed.
    pub(crate) async fn run(
        mut self,
        program: &Program,
        piped: Piped,
    ) -> io::Result<(Guarded, Pipes)> {
        let (input, reads) = match piped.input {
            true => {
                let (ours, its) = pipe::pipe()?;
                (Some(ours), its.into_blocking_fd()?)
            }
            false => (None, File::open("/dev/null")?.into()),
        };
        let (output, writes) = match piped.output {
            true => {
                let (its, ours) = pipe::pipe()?;
                (Some(ours), its.into_blocking_fd()?)
            }
            false => (None, io::stdout().as_fd().try_clone_to_owned()?),
        };
        let (its, error) = pipe::pipe()?;
        let errors = its.into_blocking_fd()?;
        message::send(&self.socket, program, [&reads, &writes, &errors]).await?;
        // Else this process would hold them open, and never see their end.
        drop((reads, writes, errors));
        let pid = match self.replies.next(&self.socket).await? {
            Reply::Began(pid) => pid,
            Reply::Failed(why) => return Err(why),
            Reply::Ended(_) | Reply::Gone => return Err(io::ErrorKind::InvalidData.into()),
        };
        let guarded = Guarded {
            guard: self,
            pid,
            ended: None,
            gone: false,
        };
        let pipes = Pipes {
            input,
            output,
            error,
        };
        Ok((guarded, pipes))
    }

    fn order(&self, order: u8) {
        // One byte at a time always has room. To a guard that is gone there is nothing to say.
        let _ = rustix::io::write(&self.socket, &[order]);
    }
}

impl Guarded {
    /// How it ended, when it has.
    ///
    /// # Errors
    /// When that cannot be seen, because its guard was killed. Then it is killed too, as far as its group goes.
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended {
                return Ok(status);
            }
            let Guard { socket, replies } = &mut self.guard;
            let reply = replies.next(socket).await;
            self.hear(reply)?;
        }
    }

    /// What [`wait`](Self::wait) would give, if that is known already.
    pub(crate) fn has_ended(&mut self) -> Option<io::Result<ExitStatus>> {
        loop {
            if let Some(status) = self.ended {
                return Some(Ok(status));
            }
            if let Err(why) = self.hear_now()? {
                return Some(Err(why));
            }
        }
    }

    /// Hears one thing, if there is any.
    fn hear_now(&mut self) -> Option<io::Result<()>> {
        let Guard { socket, replies } = &mut self.guard;
        let reply = replies.now(socket).transpose()?;
        Some(self.hear(reply))
    }

    fn hear(&mut self, reply: io::Result<Reply>) -> io::Result<()> {
        match reply {
            Ok(Reply::Ended(status)) => self.ended = Some(ExitStatus::from_raw(status)),
            Ok(Reply::Gone) => self.gone = true,
            Ok(Reply::Began(_) | Reply::Failed(_)) => {}
            Err(why) => {
                if self.ended.is_none() {
                    kill_group(self.pid);
                }
                return Err(why);
            }
        }
        Ok(())
    }

    /// Kills it and what it has started. Its end is seen as ever.
    pub(crate) fn kill(&mut self) {
        self.guard.order(message::KILL);
    }

    /// Kills whatever there is of it, and waits until nothing is; then its guard is free. `None` if that was
    /// killed, or if something waits in the kernel for so long that nobody waits for it here: it goes when it
    /// can.
    ///
    /// Cancel safe, as far as the killing goes.
    pub(crate) async fn end(mut self) -> Option<Guard> {
        // Mostly there is nothing, and that is known.
        while !self.gone && self.hear_now().is_some_and(|heard| heard.is_ok()) {}
        if !self.gone {
            self.guard.order(message::END);
        }
        let gone = async {
            while !self.gone {
                let Guard { socket, replies } = &mut self.guard;
                let reply = replies.next(socket).await;
                self.hear(reply)?;
            }
            Ok::<_, io::Error>(())
        };
        match tokio::time::timeout(GONE_WITHIN, gone).await {
            Ok(gone) => gone.is_ok().then_some(self.guard),
            Err(_) => {
                tracing::warn!(pid = self.pid, "a process cannot be killed at present");
                None
            }
        }
    }
}
