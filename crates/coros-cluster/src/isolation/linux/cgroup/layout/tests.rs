use super::*;

const UNIFIED: &str = "\
22 29 0:20 / /proc rw,nosuid - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

fn path(text: &str) -> Option<PathBuf> {
    Some(text.into())
}

#[test]
fn both_versions_are_read() {
    let service = Layout::read("0::/system.slice/coros.service\n", UNIFIED);
    let unified = path("/sys/fs/cgroup/system.slice/coros.service");
    assert_eq!(
        service,
        Layout {
            unified,
            ..Layout::default()
        }
    );

    let groups = "8:pids:/\n4:memory:/a/b:c\n1:cpu,cpuacct:/x\n0::/\n";
    assert_eq!(
        Layout::read(groups, HYBRID),
        Layout {
            unified: path("/sys/fs/cgroup/unified"),
            memory: path("/sys/fs/cgroup/memory/a/b:c"),
            processes: path("/sys/fs/cgroup/pids"),
        }
    );
}

#[test]
fn a_group_that_is_not_mounted_is_nowhere() {
    let none = Layout::default();
    assert_eq!(Layout::read("0::/a\n", ""), none);
    assert_eq!(Layout::read("4:memory:/a\n", UNIFIED), none);
    // A container that sees its own part alone, and what is outside of a namespace.
    let mounts = "35 24 0:30 /docker/12 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    let inside = Layout::read("0::/docker/12/x\n", mounts);
    assert_eq!(inside.unified, path("/sys/fs/cgroup/x"));
    assert_eq!(Layout::read("0::/docker/123\n", mounts), none);
    assert_eq!(Layout::read("0::/../other\n", UNIFIED), none);
    // Of two in one place the later hides the other.
    let mounts = format!("{mounts}36 24 0:31 / /later rw - cgroup2 cgroup2 rw\n");
    assert_eq!(Layout::read("0::/x\n", &mounts).unified, path("/later/x"));
    for broken in ["", "0", "0:", "::", "x y - z", "1 2 3 4 - cgroup2"] {
        assert_eq!(Layout::read(broken, broken), none);
    }
}

#[test]
fn numbers_and_names_are_read() {
    let events = "low 0\nmax 7\noom 2\noom_kill 1\n";
    assert_eq!(number(events, "oom_kill"), Some(1));
    assert_eq!(number(events, "kill"), None);
    assert_eq!(number("max x", "max"), None);
    assert_eq!(daemon_of("coros-12-3"), Some(12));
    for other in ["coros-12", "coros--3", "coros-12-x", "daemon", "coros-"] {
        assert_eq!(daemon_of(other), None, "{other}");
    }
}
