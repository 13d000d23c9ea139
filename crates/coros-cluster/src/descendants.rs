//! The processes below a process, as the system shows them at this moment: one that is just being started may be
//! missed.

use std::collections::{BTreeSet, HashMap};
use std::fs;

/// All processes that have been started by this one, or by those, and have not been waited for.
///
/// Costs as much as there are, where the system lists the children of a process; elsewhere, as there are on the machine.
pub(crate) fn below(ancestor: u32) -> BTreeSet<u32> {
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

/// The process that one is a child of.
pub(crate) fn parent(process: u32) -> Option<u32> {
    parent_in(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// The processes that one has started, or was given.
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
fn all() -> HashMap<u32, Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(process) = entry.file_name().to_str().and_then(|it| it.parse().ok())
            && let Some(parent) = parent(process)
        {
            children.entry(parent).or_default().push(process);
        }
    }
    children
}

/// The second word after the name, which may have anything in it.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use nix::sys::signal::{self, Signal};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_name() {
        assert_eq!(parent_in("7 (sh) S 5 7 7 0 -1"), Some(5));
        assert_eq!(parent_in("7 (a) S 1 (b) R 5 7 7"), Some(5));
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn children_and_theirs_are_below_and_others_are_not() {
        let mut sh = Command::new("sh");
        sh.args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped());
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
