//! All that is below this process, and the end of it.

#[cfg(target_os = "linux")]
use std::collections::{BTreeSet, HashMap};
#[cfg(target_os = "linux")]
use std::fs;
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
    #[cfg(target_os = "linux")]
    for pid in below(std::process::id()) {
        let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
}

/// Kills all processes of a group. Its number is its own for as long as it has members, or its leader has not been
/// waited for; then it may become another's.
pub(super) fn kill_group(leader: u32) {
    let _ = signal::killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}

/// All processes that have been started by this one, or by those, and have not been waited for.
#[cfg(target_os = "linux")]
fn below(ancestor: u32) -> BTreeSet<u32> {
    // Which costs as much as there are below, and not as there are at all, where the system has it.
    let mut all = match fs::exists("/proc/thread-self/children") {
        Ok(true) => None,
        _ => Some(all()),
    };
    let mut found = BTreeSet::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let children = match &mut all {
            None => children(parent),
            Some(all) => all.remove(&parent).unwrap_or_default(),
        };
        // Each once, even if numbers were used again meanwhile.
        parents.extend(children.into_iter().filter(|child| found.insert(*child)));
    }
    found
}

/// The processes that one has started, or was given.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let lists = threads.flat_map(|thread| fs::read_to_string(thread.path().join("children")));
    let numbers = |list: String| -> Vec<u32> {
        let numbers = list.split_ascii_whitespace();
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    lists.flat_map(numbers).collect()
}

/// The children of each process.
#[cfg(target_os = "linux")]
fn all() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok())
            && let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
            && let Some(parent) = parent(&stat)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// The second word after the name, which may have anything in it.
#[cfg(target_os = "linux")]
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_name() {
        assert_eq!(parent("7 (sh) S 5 7 7 0 -1"), Some(5));
        assert_eq!(parent("7 (a) S 1 (b) R 5 7 7"), Some(5));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn children_and_theirs_are_below_and_others_are_not() {
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(std::process::Stdio::piped());
        let mut child = sh.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let expected = [child.id(), line.trim().parse().unwrap()];
        let found = below(std::process::id());
        let by_parents = all();
        let others = below(child.id());
        for pid in expected {
            let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        child.wait().unwrap();
        for pid in expected {
            assert!(found.contains(&pid), "{expected:?}: {found:?}");
        }
        assert_eq!(Vec::from_iter(others), expected[1..]);
        assert_eq!(by_parents[&child.id()], expected[1..]);
        assert!(by_parents[&std::process::id()].contains(&child.id()));
    }
}
