//! The guard itself: a process that runs one program at a time.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use rustix::time::Timespec;
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU,
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};

use super::Program;
use super::message::{self, Files, Order, Reply};
use super::tree;

/// What would end or stop it. What is sent to all processes of this program is not meant for this one, but for what
/// it starts, which does not inherit that these are heard.
const HEARD: [i32; 15] = [
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
];

/// What was just being started when all was killed is seen when so long has passed.
const SOON: Duration = Duration::from_micros(100);
/// What does not end, because it waits in the kernel, is killed this seldom.
const SELDOM: Duration = Duration::from_secs(1);

/// The guard's life, until nobody has use for it.
///
/// # Errors
/// When what it hears makes no sense.
pub(crate) fn run() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let ends = match ends_of_children() {
        Ok(ends) => ends,
        Err(why) => {
            // For whoever wants a program and gets none.
            if let Some(Order::Run(..)) = message::receive(&socket)? {
                message::reply(&socket, &[Reply::Failed(why)])?;
            }
            return Ok(());
        }
    };
    let mut life = Life {
        socket,
        ends,
        running: None,
    };
    let obeyed = life.obey();
    life.end();
    obeyed
}

/// Makes this process a guard. What is readable whenever a child has ended.
fn ends_of_children() -> io::Result<UnixStream> {
    // No terminal, and so no keys and no control of it, for whatever runs below.
    nix::unistd::setsid()?;
    tree::adopt()?;
    let unused = Arc::default();
    for signal in HEARD {
        signal_hook::flag::register(signal, Arc::clone(&unused))?;
    }
    let (ends, signalled) = UnixStream::pair()?;
    ends.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, signalled)?;
    Ok(ends)
}

struct Life {
    socket: UnixStream,
    ends: UnixStream,
    running: Option<Running>,
}

/// A program of which something is left.
struct Running {
    /// The number of its process, until that has ended, when it may become another's.
    leader: Option<u32>,
    /// If all is to end, when to kill once more.
    again: Option<Duration>,
}

impl Running {
    /// If all is to end, kills it; how long to wait then.
    fn kill_again(&mut self) -> Option<Duration> {
        let pause = self.again?;
        tree::kill(self.leader);
        self.again = Some((pause * 2).min(SELDOM));
        Some(pause)
    }

    fn ends(&mut self) {
        self.again = Some(SOON);
    }
}

impl Life {
    /// Does as it is told, until nobody is there any more who could say.
    fn obey(&mut self) -> io::Result<()> {
        loop {
            if !self.attend(true)? {
                continue;
            }
            match (message::receive(&self.socket)?, &mut self.running) {
                (None, _) => return Ok(()),
                (Some(Order::Run(program, files)), None) => self.begin(&program, files)?,
                (Some(Order::Run(..)), Some(_)) => return Err(io::ErrorKind::InvalidData.into()),
                (Some(Order::Kill), Some(running)) => tree::kill(running.leader),
                (Some(Order::End), Some(running)) => running.ends(),
                // Meanwhile it has ended by itself.
                (Some(Order::Kill | Order::End), None) => {}
            }
        }
    }

    fn begin(&mut self, program: &Program, files: Files) -> io::Result<()> {
        let reply = match start(program, files) {
            Ok(leader) => {
                self.running = Some(Running {
                    leader: Some(leader),
                    again: None,
                });
                Reply::Began(leader)
            }
            Err(why) => Reply::Failed(why),
        };
        message::reply(&self.socket, &[reply])
    }

    /// Kills until nothing is left.
    fn end(&mut self) {
        while let Some(running) = &mut self.running {
            if running.again.is_none() {
                running.ends();
            }
            if self.attend(false).is_err() {
                return;
            }
        }
    }

    /// Waits until something has ended, which it sees to, or, with `orders`, has come; whether it has.
    fn attend(&mut self, orders: bool) -> io::Result<bool> {
        let pause = self.running.as_mut().and_then(Running::kill_again);
        let pause = pause.map(|pause| Timespec::try_from(pause).expect("it is short"));
        let mut both = [
            PollFd::new(&self.ends, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::IN),
        ];
        let waited = match orders {
            true => &mut both[..],
            false => &mut both[..1],
        };
        match poll(waited, pause.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let [ended, ordered] = both.map(|it| !it.revents().is_empty());
        if ended {
            // Before anything is looked at, so that what ends later is heard.
            while matches!(self.ends.read(&mut [0; 64]), Ok(1..)) {}
            self.bury();
        }
        Ok(ordered)
    }

    /// Sees to what has ended, and tells of the end of the program, and when nothing is left.
    fn bury(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let mut news = Vec::new();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_nonzero().get().cast_unsigned();
                    if running.leader == Some(pid) {
                        running.leader = None;
                        news.push(Reply::Ended(status.as_raw()));
                        if cfg!(not(target_os = "linux")) {
                            // Nobody else knows of the others.
                            tree::kill_group(pid);
                        }
                    }
                    // There may be more that can be ended now.
                    if running.again.is_some() {
                        running.ends();
                    }
                }
                Ok(None) => break,
                Err(Errno::INTR) => {}
                // There is nobody left to wait for.
                Err(_) => {
                    news.push(Reply::Gone);
                    self.running = None;
                    break;
                }
            }
        }
        // The other side notices by itself that this one is gone, and this one that the other is.
        let _ = message::reply(&self.socket, &news);
    }
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
