//! What tests with real processes share.
#![allow(dead_code, reason = "each test uses some of it")]

pub(crate) mod farm;
#[cfg(target_os = "linux")]
pub(crate) mod others;
pub(crate) mod service;
pub(crate) mod work;

use std::future::Future;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
#[cfg(target_os = "linux")]
use nix::sys::signal::Signal;

/// Nothing takes so long unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

#[cfg(target_os = "linux")]
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Waits for the end of a process that somebody else has started.
#[cfg(target_os = "linux")]
pub(crate) async fn ended(pid: u32) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return,
        opened => opened.unwrap(),
    };
    let limit = Duration::from_secs(30).try_into().unwrap();
    let ended = move || loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)) {
            Err(Errno::INTR) => {}
            ended => return ended,
        }
    };
    let ended = tokio::task::spawn_blocking(ended).await.unwrap();
    assert_eq!(ended, Ok(1), "it runs on");
}

/// Whether a process runs. One that has ended and that nobody has waited for does not.
#[cfg(target_os = "linux")]
pub(crate) fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// A script that starts a process which leaves behind its group, its session, its parents and its environment,
/// and says its number.
#[cfg(target_os = "linux")]
pub(crate) const ESCAPE: &str = "(env -i setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!); ";

/// The number of the process that is the last line of a text.
#[cfg(target_os = "linux")]
pub(crate) fn pid(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    text.lines().last().unwrap().parse().unwrap()
}

/// A test in a runtime of its own, with an end.
pub(crate) fn trial<Fut: Future<Output = ()> + Send + 'static>(
    name: &str,
    test: fn() -> Fut,
) -> Trial {
    trial_within(LIMIT, name, test)
}

/// A test that takes a minute.
pub(crate) fn long_trial<Fut: Future<Output = ()> + Send + 'static>(
    name: &str,
    test: fn() -> Fut,
) -> Trial {
    trial_within(2 * LIMIT, name, test)
}

fn trial_within<Fut: Future<Output = ()> + Send + 'static>(
    limit: Duration,
    name: &str,
    test: fn() -> Fut,
) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Runtime::new()?;
        // In a task, so that a panic is this test's failure.
        let done =
            runtime.block_on(async { tokio::time::timeout(limit, tokio::spawn(test())).await });
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(panic)) => Err(Failed::from(panic.to_string())),
            Err(_) => Err(Failed::from("it hangs")),
        }
    })
}

/// A test of something that not every system has: where it does not, it is counted as ignored, and its name says
/// why.
pub(crate) fn trial_that_needs<Fut: Future<Output = ()> + Send + 'static>(
    what: &str,
    name: &str,
    test: fn() -> Fut,
) -> Trial {
    let checks = coros::cluster::daemon::Daemon::check();
    let check = checks.iter().find(|check| check.name == what);
    match check.filter(|check| !check.available) {
        Some(check) => {
            trial(&format!("{name} ({what}: {})", check.detail), test).with_ignored_flag(true)
        }
        None => trial(name, test),
    }
}

macro_rules! trials {
    ($($(#[$cfg:meta])? $name:ident),* $(,)?) => {
        vec![$($(#[$cfg])? $crate::common::trial(stringify!($name), $name)),*]
    };
}

pub(crate) use trials;
