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
    checks.push(no_privileges()?);
    checks.extend(landlock::apply(isolation, Threads::All)?);
    checks.push(seccomp::apply(&isolation.network, Threads::All)?);
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
    let (own, all) = (Isolation::new("/"), Network::All);
    checks.extend(tried("privileges", || Ok([no_privileges()?])));
    checks.extend(tried("landlock", || landlock::apply(&own, Threads::This)));
    checks.extend(tried("seccomp", || {
        Ok([seccomp::apply(&all, Threads::This)?])
    }));
    checks.extend(cgroup::probe());
    checks
}

/// Tries something out in a thread, with which it ends.
fn tried<const N: usize>(
    name: &'static str,
    apply: impl FnOnce() -> Result<[Check; N], ApplyError> + Send,
) -> Vec<Check> {
    let tried = std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().spawn_scoped(threads, apply);
        let applied = thread.map(std::thread::ScopedJoinHandle::join);
        match applied {
            Ok(Ok(Ok(checks))) => Ok(checks.into()),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(_)) => Err("it cannot be tried".to_owned()),
            Err(error) => Err(format!("it cannot be tried: {error}")),
        }
    });
    tried.unwrap_or_else(|why| {
        let to_do = "let the node make such calls, which the filter of a container may forbid";
        vec![Check::no(name, why, to_do)]
    })
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
                   group";
        return Check::no("user", why, "give the node a user of its own");
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
