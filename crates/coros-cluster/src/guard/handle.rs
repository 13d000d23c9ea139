//! A guard, and a program that it runs, from the side of the process that wants that.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::message::{self, Replies, Reply};
use super::tree;
use super::{GONE_WITHIN, Piped, Pipes, Program};
use crate::process::{Launcher, own_name};
use crate::worker::GUARD_ARGUMENT;

/// This process's end of a standard input.
pub(crate) type Input = pipe::Sender;
/// That of a standard output.
pub(crate) type Output = pipe::Receiver;
/// That of a standard error.
pub(crate) type Errors = pipe::Receiver;

/// A guard that has nothing to do. When it is dropped, it ends.
///
/// What it guards may stop it, as it may kill it. It goes on as soon as this process hears of that.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Nobody waits for it before this is dropped, so that its number is its own.
    child: Child,
    /// Tells that a child of this process has ended, or was stopped.
    changes: tokio::signal::unix::Signal,
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
    /// Once it has been killed: when that shall be so.
    due: Option<Instant>,
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
        let changes = signal(SignalKind::child())?;
        Ok(Guard {
            // It ends when its socket does, and the runtime sees to what is left of it then.
            child: command.spawn()?,
            changes,
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
        let pid = match self.next().await? {
            Reply::Began(pid) => pid,
            Reply::Failed(why) => return Err(why),
            Reply::Ended(_) | Reply::Gone => return Err(io::ErrorKind::InvalidData.into()),
        };
        let guarded = Guarded {
            guard: self,
            pid,
            ended: None,
            gone: false,
            due: None,
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
        self.go_on();
    }

    /// What it says next.
    ///
    /// Cancel safe.
    async fn next(&mut self) -> io::Result<Reply> {
        loop {
            tokio::select! {
                biased;
                reply = self.replies.next(&self.socket) => return reply,
                _ = self.changes.recv() => self.go_on(),
            }
        }
    }

    /// If it is stopped, it goes on.
    fn go_on(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// Its number, if it is stopped at present.
    fn stopped(&self) -> Option<Pid> {
        let pid = self.pid()?;
        let only_look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let stopped = waitid(WaitId::Pid(pid), only_look);
        stopped.ok().flatten().map(|_| pid)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id()?.cast_signed())
    }
}

impl Drop for Guard {
    /// Who is stopped does not see that nobody has use for it.
    fn drop(&mut self) {
        self.go_on();
    }
}

impl Guarded {
    /// How it ended, when it has.
    ///
    /// # Errors
    /// When that cannot be seen, because its guard was killed, which it is then too, as far as its group goes; or because
    /// it does not end though it was killed.
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended {
                return Ok(status);
            }
            self.next().await?;
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
        let Guard {
            socket, replies, ..
        } = &mut self.guard;
        let reply = replies.now(socket).transpose()?;
        Some(self.hear(reply))
    }

    /// Hears the next thing.
    async fn next(&mut self) -> io::Result<()> {
        let next = self.guard.next();
        let reply = match self.due {
            None => next.await,
            Some(due) => match tokio::time::timeout_at(due, next).await {
                Ok(reply) => reply,
                Err(_) => Err(self.overdue()),
            },
        };
        self.hear(reply)
    }

    /// It is not gone though it was to be. Its guard may be stopped time and again: then what is there is killed from
    /// here, and the guard too.
    fn overdue(&self) -> io::Error {
        if let Some(guard) = self.guard.stopped() {
            tree::kill_below(guard.as_raw_pid().cast_unsigned());
            let _ = kill_process(guard, Signal::KILL);
        }
        let why = "it cannot be killed at present";
        io::Error::new(io::ErrorKind::TimedOut, why)
    }

    fn order(&mut self, order: u8) {
        self.due.get_or_insert_with(|| Instant::now() + GONE_WITHIN);
        self.guard.order(order);
    }

    fn hear(&mut self, reply: io::Result<Reply>) -> io::Result<()> {
        match reply {
            Ok(Reply::Ended(status)) => self.ended = Some(ExitStatus::from_raw(status)),
            Ok(Reply::Gone) => self.gone = true,
            Ok(Reply::Began(_) | Reply::Failed(_)) => {}
            Err(why) => {
                if self.ended.is_none() {
                    tree::kill_group(self.pid);
                }
                return Err(why);
            }
        }
        Ok(())
    }

    /// Kills it and what it has started. Its end is seen as ever.
    pub(crate) fn kill(&mut self) {
        self.order(message::KILL);
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
            self.order(message::END);
        }
        while !self.gone {
            if let Err(why) = self.next().await {
                tracing::warn!(pid = self.pid, "what is left of a process goes on: {why}");
                return None;
            }
        }
        Some(self.guard)
    }
}
