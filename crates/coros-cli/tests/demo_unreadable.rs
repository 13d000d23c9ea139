//! What cannot be read is reported, and the rest is counted.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use common::{Ended, Farm, object, path_text, run, words};
use nix::sys::stat::Mode;

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_counted() {
    reported(run);
}

#[test]
fn so_it_is_when_the_workers_are_on_another_machine() {
    let farm = Farm::new();
    let (_node, at) = farm.node("farm", &[]);
    reported(|args| farm.run(&[args, &["--nodes", &at]].concat()));
}

fn reported(run: impl Fn(&[&str]) -> Ended) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("good"), "one two one").unwrap();
    std::fs::write(root.join("endless"), vec![b'a'; 3 << 20]).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let mut expected = vec![
        ("dangling", "No such file"),
        ("endless", "longer than 1 MiB"),
        ("loop", "symbolic links"),
        ("pipe", "a named pipe"),
        ("socket", "a socket"),
    ];
    // What not even root may read: nothing is at the first address of a process.
    #[cfg(target_os = "linux")]
    {
        symlink("/proc/self/mem", root.join("memory")).unwrap();
        expected.insert(3, ("memory", "Input/output error"));
    }
    if nix::unistd::geteuid().is_root() {
        println!("skipped: that a file without permissions cannot be read, since root can");
    } else {
        let path = root.join("secret");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000))
            .unwrap();
        expected.push(("secret", "Permission denied"));
        expected.sort_unstable();
    }

    let ended = run(&["demo", &path_text(root), "--json", "--verify"]);
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert_eq!(
        words(&object),
        [("one".to_owned(), 2), ("two".to_owned(), 1)]
    );
    assert_eq!(
        (&object["files"], &object["bytes"]),
        (&1.into(), &11.into())
    );
    let unreadable = object["unreadable"].as_array().unwrap();
    assert_eq!(unreadable.len(), expected.len(), "{unreadable:#?}");
    for (it, (name, reason)) in unreadable.iter().zip(expected) {
        let (path, error) = (it["path"].as_str().unwrap(), it["error"].as_str().unwrap());
        assert!(path.ends_with(name) && error.contains(reason), "{it}");
        let said = |line: &String| line.contains(path) && line.contains(reason);
        assert!(ended.stderr.iter().any(said), "{:#?}", ended.stderr);
        assert_eq!(it.as_object().unwrap().len(), 2);
    }
    assert!(
        ended
            .stderr
            .iter()
            .any(|line| line.contains("gives the same result"))
    );
}

#[test]
fn a_path_that_is_not_there_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_text(&folder.path().join("nowhere"));
    let ended = run(&["demo", &path]);
    assert_eq!(ended.status.code(), Some(2));
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.len(), 1, "{:#?}", ended.stderr);
    assert!(ended.stderr[0].contains(&path) && ended.stderr[0].contains("No such file"));
}
