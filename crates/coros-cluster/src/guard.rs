//! Programs of which nothing is left when they end, or when this process does, however that happens.
//!
//! Each is started by a *guard*, a process of this very executable between this one and the program. On
//! Linux the system gives a guard all that the program leaves behind, as it would give it to the first process
//! of all (`PR_SET_CHILD_SUBREAPER`): also what has left the process group, the session, and its parents. So a
//! guard knows what to end: whatever is below it, until nothing is. Elsewhere it ends the process group.
//!
//! ```text
//! this process                         guard                                program
//!   | -- what to run, three files ----> | ------------- starts it ------------> |
//!   | <------- Began or Failed -------- |                                       |
//!   | ------------- Kill -------------> | -- kills it, and all below the guard  |
//!   | <------------ Ended ------------- | <------------- its end -------------- |
//!   | ------------- End --------------> | -- kills all that is left             |
//!   | <------------ Gone -------------- |    and waits for the next             |
//! ```
//!
//! `Gone` comes by itself when nothing is left, mostly with `Ended`; `End` sees to it that it comes soon. A guard that is
//! stopped goes on as soon as this process hears of that. Should it not get to killing all the same, this process does.
//! They speak over a pair of sockets. When this process is gone, or has no use for the guard any more, its end of
//! it is closed, and the guard kills what there is and ends.

#[cfg(not(unix))]
mod elsewhere;
#[cfg(unix)]
mod handle;
#[cfg(unix)]
pub(crate) mod life;
#[cfg(unix)]
mod message;
#[cfg(unix)]
mod tree;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::isolation::Check;

#[cfg(not(unix))]
pub(crate) use self::elsewhere::{Errors, Guard, Guarded, Input, Output};
#[cfg(unix)]
pub(crate) use self::handle::{Errors, Guard, Guarded, Input, Output};

/// So long is waited until nothing is left of what was killed: a process may wait in the kernel for a disk or the like.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Whether all that a worker leaves behind can be ended.
pub(crate) fn check() -> Check {
    const NAME: &str = "guard";
    #[cfg(target_os = "linux")]
    return match nix::sys::prctl::get_child_subreaper() {
        Ok(_) => Check::yes(NAME, "all that a worker leaves behind ends with it"),
        Err(why) => Check::no(
            NAME,
            format_args!("what a worker leaves behind may go on: {why}"),
            "use Linux 3.4 or later",
        ),
    };
    #[cfg(not(target_os = "linux"))]
    Check::no(
        NAME,
        "what leaves the process group of a worker goes on without it",
        "use Linux",
    )
}

/// What to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    /// A path, or a name that is looked up in `PATH`.
    pub(crate) path: PathBuf,
    /// What it is called, if not that.
    #[cfg_attr(not(unix), allow(dead_code, reason = "there it has no other name"))]
    pub(crate) called: Option<OsString>,
    pub(crate) arguments: Vec<OsString>,
    /// All of it. Of two with the same name the later counts.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Where it begins; `None` for where its guard did.
    pub(crate) folder: Option<PathBuf>,
}

/// What a program has of this process; its standard error is always piped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piped {
    /// Else it reads nothing.
    pub(crate) input: bool,
    /// Else it writes to where this process does.
    pub(crate) output: bool,
}

/// The ends of the pipes of a program.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) input: Option<Input>,
    pub(crate) output: Option<Output>,
    pub(crate) error: Errors,
}
