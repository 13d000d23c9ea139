//! All that is below this process, and the end of it.

#[cfg(target_os = "linux")]
use std::collections::HashMap;
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

/// Kills a process group and all that is below this process, as it is now: what is just being started may be
/// missed, so it has to be called again until nothing is left.
pub(super) fn kill(leader: u32) {
    kill_group(leader);
    #[cfg(target_os = "linux")]
    for pid in below(std::process::id()) {
        let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
}

/// Kills all processes of a group. Its number stays its own while it has members; without members this reaches
/// nobody, because numbers are not used again so soon.
pub(super) fn kill_group(leader: u32) {
    let _ = signal::killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}

/// All processes that have been started by this one, or by those, and have not been waited for.
#[cfg(target_os = "linux")]
fn below(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok())
            && let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
            && let Some(parent) = parent(&stat)
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        // Each once, even if numbers were used again meanwhile.
        for child in children.remove(&parent).unwrap_or_default() {
            found.push(child);
            parents.push(child);
        }
    }
    found
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
        let mut expected = [child.id(), line.trim().parse().unwrap()];
        let mut found = below(std::process::id());
        found.retain(|pid| expected.contains(pid));
        found.sort_unstable();
        expected.sort_unstable();
        let others = below(child.id());
        for pid in expected {
            let _ = signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        child.wait().unwrap();
        assert_eq!(found, expected);
        assert!(
            !others.contains(&child.id()) && others.len() == 1,
            "{others:?}"
        );
    }
}
