//! All that is below this process, and the end of it.

use std::io;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Lets whatever is left behind by what is below this process be below it all the same, where the system can
/// do that.
pub(super) fn adopt() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Kills all that is below this process, and the group of `leader`, of which this process is the parent and has not
/// seen the end. It is as it is now: what is just being started may be missed, so this has to be called again until
/// nothing is left.
pub(super) fn kill(leader: Option<u32>) {
    if let Some(leader) = leader {
        kill_group(leader);
    }
    kill_below(std::process::id());
}

/// Likewise all that is below another process, where that is known.
pub(super) fn kill_below(ancestor: u32) {
    #[cfg(target_os = "linux")]
    for pid in crate::descendants::below(ancestor) {
        let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = ancestor;
}

/// Kills all processes of a group. Its number is its own for as long as it has members, or its leader has not been
/// waited for; then it may become another's.
pub(super) fn kill_group(leader: u32) {
    let _ = signal::killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}
