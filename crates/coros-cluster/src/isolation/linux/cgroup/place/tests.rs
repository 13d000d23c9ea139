//! On folders that look like those of the kernel.

use tempfile::TempDir;

use super::*;

const BOTH: Counted = Counted {
    memory: true,
    processes: true,
};
const LIMITS: Limits = Limits {
    memory: Some(1000),
    processes: Some(20),
    file_size: None,
    open_files: None,
};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

fn unified(home: &Path, counts: Counted, moves: bool) -> Place {
    Place {
        home: home.to_owned(),
        kind: Kind::Unified { counts, moves },
    }
}

#[test]
fn a_daemon_moves_where_it_is_alone_and_nowhere_else() {
    let controllers = ("cgroup.controllers", "cpu memory pids\n");
    let alone = folder(&[
        controllers,
        ("cgroup.type", "domain"),
        ("cgroup.procs", "12\n"),
    ]);
    let own = alone.path();
    assert_eq!(Place::unified(own, 12), Ok(unified(own, BOTH, true)));
    let why = Place::unified(own, 13).unwrap_err();
    assert!(
        why.contains("(1)") && why.contains(own.to_str().unwrap()),
        "{why}"
    );

    // The root, and one that has moved before.
    let root = folder(&[
        controllers,
        ("cgroup.procs", "1\n2\n"),
        ("coros-daemon/cgroup.procs", "12\n"),
    ]);
    let own = root.path();
    assert_eq!(Place::unified(own, 12), Ok(unified(own, BOTH, false)));
    let moved = Place::unified(&own.join(DAEMON), 12);
    assert_eq!(moved, Ok(unified(own, BOTH, false)));

    // Where nothing can be limited there is no need to move.
    let other = folder(&[
        ("cgroup.controllers", "hugetlb\n"),
        ("cgroup.type", "domain"),
        ("cgroup.procs", "1\n"),
    ]);
    let own = other.path();
    assert_eq!(
        Place::unified(own, 12),
        Ok(unified(own, Counted::default(), false))
    );
}

#[test]
fn a_place_is_made_ready() {
    let home = folder(&[("cgroup.subtree_control", "")]);
    let counts = Counted {
        memory: true,
        processes: false,
    };
    unified(home.path(), counts, true).prepare().unwrap();
    assert_eq!(
        read(&home, "coros-daemon/cgroup.procs"),
        std::process::id().to_string()
    );
    assert_eq!(read(&home, "cgroup.subtree_control"), "+memory");
}

/// Who goes when all together have too much is one of them.
#[test]
fn a_place_inside_of_a_group_is_made_ready() {
    let around = folder(&[("cgroup.subtree_control", ""), ("memory.oom.group", "1")]);
    let place = unified(Path::new("/elsewhere"), BOTH, true);
    let inside = place.inside(around.path()).unwrap();
    assert_eq!(inside, unified(around.path(), BOTH, false));
    assert_eq!(read(&around, "memory.oom.group"), "0");
    assert_eq!(read(&around, "cgroup.subtree_control"), "+pids");
}

#[test]
fn limits_are_set_and_what_they_did_is_read_in_each_version() {
    let group = folder(&[
        ("memory.events", "low 0\noom 3\noom_kill 2\n"),
        ("memory.peak", "900\n"),
        ("pids.events", "max 5\n"),
    ]);
    let place = unified(group.path(), BOTH, false);
    assert_eq!(place.limit(group.path(), &LIMITS).unwrap(), BOTH);
    let files = [
        "memory.max",
        "memory.swap.max",
        "memory.oom.group",
        "pids.max",
    ];
    assert_eq!(
        files.map(|file| read(&group, file)),
        ["1000", "0", "1", "20"]
    );
    let mut seen = Counters::default();
    place.count(group.path(), &mut seen);
    let expected = Counters {
        killed_for_memory: 2,
        most_memory: 900,
        processes_refused: 5,
    };
    assert_eq!(seen, expected);

    let memory = folder(&[
        (
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        ),
        ("memory.max_usage_in_bytes", "900\n"),
    ]);
    let processes = folder(&[("pids.events", "max 5\n")]);
    let mut seen = Counters::default();
    for (kind, group) in [(Kind::Memory, &memory), (Kind::Processes, &processes)] {
        let place = Place {
            home: group.path().to_owned(),
            kind,
        };
        assert!(place.serves(&LIMITS) && !place.serves(&Limits::default()));
        assert_eq!(place.limit(group.path(), &LIMITS).unwrap(), place.counts());
        place.count(group.path(), &mut seen);
    }
    assert_eq!(seen, expected);
    let files = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
    assert_eq!(files.map(|file| read(&memory, file)), ["1000", "1000"]);
    assert_eq!(read(&processes, "pids.max"), "20");
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    const MEMORY: Counted = Counted {
        memory: true,
        processes: false,
    };
    let home = Path::new("/group");
    let checks = |places: Vec<Place>, why_not: Option<&str>, root| {
        let why_not = why_not.map(|why| (MEMORY, why.to_owned()));
        let found = Found {
            places,
            why_not: why_not.into_iter().collect(),
        };
        let told = found.checks(root).into_iter();
        told.map(|check| (check.available, check.detail.into_owned()))
            .collect::<Vec<_>>()
    };
    let none = checks(Vec::new(), None, true);
    let says = |(available, why): &(bool, String)| !available && why.contains("; mount them");
    assert!(none.len() == 2 && none.iter().all(says), "{none:?}");

    let to_do = "; start the node as a service with Delegate=yes, or by `systemd-run --user --scope -p \
                 Delegate=yes`";
    let found = checks(vec![unified(home, MEMORY, true)], None, false);
    assert_eq!(found[0], (true, "version 2, in /group".into()));
    let why = "cannot use the control group /group: it has no controller for that";
    assert_eq!(found[1], (false, format!("{why}{to_do}")));

    // What is about the one is not said of the other.
    let nothing = unified(home, Counted::default(), false);
    let found = checks(vec![nothing], Some("it is cold"), true);
    let to_do = to_do.replace("--user ", "");
    assert_eq!(found[0], (false, format!("it is cold{to_do}")));
    assert_eq!(found[1], (false, format!("{why}{to_do}")));
}
