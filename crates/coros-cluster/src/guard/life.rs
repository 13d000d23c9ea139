//! The guard itself: a process that runs one program at a time.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::SigSet;
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

use super::Program;
use super::message::{self, Files, Order, Reply};
use super::tree;

/// What was just being started when all was killed is seen when so long has passed.
const AGAIN: Duration = Duration::from_millis(5);

/// The guard's life, until nobody has use for it.
///
/// # Errors
/// When it cannot be one, or what it hears makes no sense.
pub(crate) fn run() -> io::Result<()> {
    tree::adopt()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // What is sent to all processes of this program is not meant for this one, but for what it starts.
    let usual = SigSet::thread_get_mask()?;
    SigSet::all().thread_block()?;
    let running = Arc::new(Running::default());
    let (burying, answers) = (Arc::clone(&running), socket.try_clone()?);
    std::thread::Builder::new().spawn(move || burying.bury(&answers))?;
    let obeyed = obey(&socket, &running, usual);
    running.end();
    obeyed
}

/// Does as it is told.
fn obey(socket: &UnixStream, running: &Running, usual: SigSet) -> io::Result<()> {
    while let Some(order) = message::receive(socket)? {
        match order {
            Order::Run(program, files) => {
                usual.thread_set_mask()?;
                let started = start(&program, files);
                SigSet::all().thread_block()?;
                match started {
                    Ok(leader) => {
                        message::reply(socket, &[Reply::Began(leader)])?;
                        running.begin(leader);
                    }
                    Err(why) => message::reply(socket, &[Reply::Failed(why)])?,
                }
            }
            Order::Kill => running.kill(),
            Order::End => running.end(),
        }
    }
    Ok(())
}

/// The number of the process.
fn start(program: &Program, [input, output, error]: Files) -> io::Result<u32> {
    let mut command = Command::new(&program.path);
    if let Some(called) = &program.called {
        command.arg0(called);
    }
    if let Some(folder) = &program.folder {
        command.current_dir(folder);
    }
    // Only what differs from its own: a process is started faster when its `PATH` is not changed.
    let mut wanted: BTreeMap<_, _> = program.environment.iter().map(|(a, b)| (a, b)).collect();
    for (name, value) in std::env::vars_os() {
        match wanted.get(&name) {
            Some(it) if **it == value => drop(wanted.remove(&name)),
            Some(_) => {}
            None => drop(command.env_remove(name)),
        }
    }
    command
        .args(&program.arguments)
        .envs(wanted)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(error))
        .process_group(0);
    let child = command.spawn()?;
    Ok(child.id())
}

/// The program that runs.
#[derive(Default)]
struct Running {
    /// The number of its process, until nothing is left of it and of all that it has started.
    leader: Mutex<Option<u32>>,
    changed: Condvar,
}

impl Running {
    fn leader(&self) -> MutexGuard<'_, Option<u32>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, leader: u32) {
        *self.leader() = Some(leader);
        self.changed.notify_one();
    }

    fn kill(&self) {
        if let Some(leader) = *self.leader() {
            tree::kill(leader);
        }
    }

    /// Kills until nothing is left.
    fn end(&self) {
        let mut leader = self.leader();
        while let Some(it) = *leader {
            tree::kill(it);
            let waited = self.changed.wait_timeout(leader, AGAIN);
            leader = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of each program and of all that is below this process, and tells of it.
    fn bury(&self, socket: &UnixStream) {
        loop {
            let leader = {
                let waits = self.changed.wait_while(self.leader(), |it| it.is_none());
                let leader = waits.unwrap_or_else(PoisonError::into_inner);
                leader.expect("it was waited for")
            };
            let ended = bury(leader, socket);
            *self.leader() = None;
            self.changed.notify_one();
            // The other side notices by itself that this one is gone, and this one that the other is.
            let _ = match ended {
                Some(ended) => message::reply(socket, &[ended, Reply::Gone]),
                None => message::reply(socket, &[Reply::Gone]),
            };
        }
    }
}

/// Waits until nothing is left; how the program ended, if that has not been told because then nothing was.
fn bury(leader: u32, socket: &UnixStream) -> Option<Reply> {
    let mut untold = None;
    loop {
        let options = match untold {
            Some(_) => WaitOptions::NOHANG,
            None => WaitOptions::empty(),
        };
        match wait(options) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == leader => {
                untold = Some(Reply::Ended(status.as_raw()));
            }
            Ok(None) => {
                let _ = message::reply(socket, untold.take().as_slice());
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            // There is nobody left to wait for.
            Err(_) => return untold,
        }
    }
}
