//! Isolation as Linux has it.
//!
//! | mechanism | holds |
//! |---|---|
//! | [`rlimits`] | the size of a file, open files; memory and processes if no control group does |
//! | [`privileges`](no_privileges) | that root has no more rights than others, and nobody gets more |
//! | [`landlock`] | which files, that no signal reaches others, which ports |
//! | [`seccomp`] | system calls that no program has use for here |
//! | [`cgroup`] | memory and processes of a worker and all that it has started |

mod cgroup;
mod landlock;
mod rlimits;
mod seccomp;

use std::fmt;

pub(crate) use self::cgroup::{Cgroup, Cgroups};
use super::{Applied, ApplyError, Check, Counted, Counters, Isolation, Limits, MakeError, Network};

/// Which threads a mechanism holds, of those that can be told.
#[derive(Clone, Copy, Debug)]
enum Threads {
    All,
    /// This one, and those that it starts.
    This,
}

/// Isolates this process, for good: what it has now it keeps (open files above all), what it asks
/// for from now on is held to the rules.
///
/// To be called while there is one thread: another that runs already is not held by all of it.
///
/// # Errors
/// When its folder is not there, and when the system has a mechanism and refuses it. Then some of it
/// may be in force, and the process is of no use. A mechanism that the system does not have is no
/// error, but told.
pub(crate) fn apply(isolation: &Isolation) -> Result<Applied, ApplyError> {
    let mut checks = rlimits::apply(isolation)?;
    // The filter of system calls comes last: the others make calls that it may well forbid.
    checks.extend(hold(isolation, Threads::All)?);
    // Without any port the filter alone is enough.
    if !matches!(&isolation.network, Network::Only(ports) if !ports.is_empty()) {
        checks.retain(|check| check.name != landlock::PORTS);
    }
    Ok(Applied(checks))
}

/// What there is on this system of all that isolates, and what can be done about the rest.
///
/// This process stays as it is. Blocks for some milliseconds.
pub(crate) fn probe() -> Vec<Check> {
    let mut checks = vec![user(rustix::process::geteuid().is_root()), rlimits::probe()];
    // What is tried out here is that of a thread, and ends with it.
    let failed = |why: &dyn fmt::Display| vec![Check::no(TRIED, why.to_string())];
    let thread = std::thread::Builder::new();
    let tried = thread.spawn(|| hold(&Isolation::new("/"), Threads::This));
    checks.extend(match tried.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(checks))) => checks,
        Ok(Ok(Err(error))) => failed(&error),
        Ok(Err(_)) => failed(&"it cannot be tried"),
        Err(error) => failed(&format_args!("it cannot be tried: {error}")),
    });
    checks.extend(cgroup::probe());
    checks
}

const TRIED: &str = "privileges, landlock, seccomp";

/// What can hold one thread, so that it can be tried out.
fn hold(isolation: &Isolation, threads: Threads) -> Result<Vec<Check>, ApplyError> {
    let mut checks = vec![no_privileges()?];
    checks.extend(landlock::apply(isolation, threads)?);
    checks.push(seccomp::apply(&isolation.network, threads)?);
    Ok(checks)
}

/// None of its own, and none by what it starts, such as `sudo`.
fn no_privileges() -> Result<Check, ApplyError> {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(failed("no privileges"))?;
    nix::sys::prctl::set_no_new_privs().map_err(failed("no new privileges"))?;
    let what = "no capabilities, and no_new_privs";
    Ok(Check::yes("privileges", what))
}

fn user(root: bool) -> Check {
    if root {
        let why = "root: workers have the same files, and no limit of processes without a control \
                   group; give the node a user of its own";
        return Check::no("user", why);
    }
    Check::yes("user", "not root")
}

/// For `map_err`.
fn failed<E: fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> ApplyError {
    move |why| ApplyError {
        doing,
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests;
