//! The guard itself: a process that runs one program at a time.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
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
    while let Some((program, files)) = message::receive(&socket)? {
        usual.thread_set_mask()?;
        let started = start(&program, files);
        SigSet::all().thread_block()?;
        let goes_on = match started {
            Ok(leader) => {
                // Who is gone is noticed below.
                let _ = Reply::Began(leader).write(&socket);
                see_to(leader, &socket)
            }
            Err(why) => Reply::Failed(why).write(&socket).is_ok(),
        };
        if !goes_on {
            break;
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

/// Sees a program to its end, and to that of all that it has started; whether there may be another.
fn see_to(leader: u32, socket: &UnixStream) -> bool {
    let (gone, changed) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|threads| {
        threads.spawn(|| {
            bury(leader, socket);
            *gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_one();
        });
        let goes_on = loop {
            match message::next_order(socket) {
                Some(Order::Kill) => tree::kill(leader),
                Some(Order::End) => break true,
                Some(Order::Run) | None => break false,
            }
        };
        let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
        while !*gone {
            tree::kill(leader);
            let waited = changed.wait_timeout(gone, AGAIN);
            gone = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        goes_on && Reply::Gone.write(socket).is_ok()
    })
}

/// Waits for the end of the program and of all that is below this process, and tells of the first.
fn bury(leader: u32, socket: &UnixStream) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == leader => {
                let _ = Reply::Ended(status.as_raw()).write(socket);
            }
            Ok(_) | Err(Errno::INTR) => {}
            // There is nobody left to wait for.
            Err(_) => return,
        }
    }
}
