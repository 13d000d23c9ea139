//! What goes to standard output and standard error, and what happens when nobody reads it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{Demo, LIMIT, command, object, path_text, run};

/// The end of a pipe that nobody reads from.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn end(child: Child) -> ExitStatus {
    common::wait(child).recv_timeout(LIMIT).expect("it hangs")
}

/// A folder with text, and with something that cannot be counted.
fn folder() -> tempfile::TempDir {
    let (folder, _) = common::corpus(5, 1000);
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    folder
}

#[test]
fn a_standard_error_that_nobody_reads_changes_nothing() {
    let (folder, config) = (folder(), tempfile::tempdir().unwrap());
    let args = ["demo", &path_text(folder.path()), "--json", "--verify"];
    let run = |command: &mut Command| {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let status = common::wait(child);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        (status.recv_timeout(LIMIT).expect("it hangs"), object(&text))
    };
    let (status, seen) = run(command(&args, &config).stderr(Stdio::null()));
    assert_eq!(status.code(), Some(1));
    let (status, unseen) = run(command(&args, &config).stderr(nobody()));
    assert_eq!(status.code(), Some(1), "as ever, and not that of a panic");
    assert_eq!(unseen["words"], seen["words"]);

    let missing = ["demo", "/nowhere/at/all"];
    let child = command(&missing, &config).stderr(nobody()).spawn().unwrap();
    assert_eq!(end(child).code(), Some(2));
}

#[test]
fn a_standard_output_that_nobody_reads_ends_it_quietly() {
    let (folder, config) = (common::corpus(5, 1000).0, tempfile::tempdir().unwrap());
    let path = path_text(folder.path());
    for args in [&["demo", &path][..], &["demo", &path, "--json"]] {
        let demo = command(args, &config)
            .stdout(nobody())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = demo.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            !said.contains("pipe") && !said.contains("panicked"),
            "{said}"
        );
    }
    #[cfg(target_os = "linux")]
    {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let full = command(&["demo", &path], &config)
            .stdout(full.unwrap())
            .stderr(Stdio::piped())
            .spawn();
        let output = full.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("coros demo: cannot print the result: No space"),
            "{said}"
        );
    }
    let help = command(&["--help"], &config)
        .stdout(nobody())
        .spawn()
        .unwrap();
    assert_eq!(end(help).code(), Some(0));
}

#[test]
fn names_do_not_command_the_terminal_and_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        &b"red\x1b[31m"[..],
        b"line\nverified: forged",
        b"caf\xe8",
        b"caf\xe9",
        b"caf\\xe9",
    ] {
        symlink("nowhere", folder.path().join(OsStr::from_bytes(name))).unwrap();
    }
    let path = path_text(folder.path());
    let ended = run(&["demo", &path, "--json"]);
    assert_eq!(ended.status.code(), Some(1));
    let told = object(&ended.stdout)["unreadable"].clone();
    let mut names: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            r"caf\\xe9",
            r"caf\xe8",
            r"caf\xe9",
            r"line\nverified: forged",
            r"red\u{1b}[31m",
        ]
    );
    for name in names {
        let line = format!("coros demo: cannot count {path}/{name}: ");
        assert!(
            ended.stderr.iter().any(|said| said.starts_with(&line)),
            "{:#?}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.iter().any(|line| line.starts_with("verified")));

    let missing = run(&["demo", "/nowhere/\x1b[31m"]);
    assert!(
        missing.stderr[0].contains(r"/nowhere/\u{1b}[31m: "),
        "{:?}",
        missing.stderr
    );
}

#[test]
fn the_log_is_the_same_filter_everywhere_and_has_no_colours_in_a_pipe() {
    let (folder, _) = common::corpus(3, 100);
    let args = ["demo", &path_text(folder.path())];
    let demo = Demo::start_with(&args, |demo| {
        demo.env("COROS_LOG", "off,coros::demo=debug,coros_net=debug")
    });
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0));
    let from = |who: &str, part: &str| {
        ended
            .stderr
            .iter()
            .filter(|line| line.starts_with(who) && line.contains(part))
            .count()
    };
    assert_eq!(from("[w", "counting "), 3, "{:#?}", ended.stderr);
    assert!(from("[w1]", "coros_net") > 0, "{:#?}", ended.stderr);
    assert!(from("20", "coros_net") > 0, "{:#?}", ended.stderr);
    assert_eq!(from("", "coros_cluster"), 0, "{:#?}", ended.stderr);
    assert_eq!(
        from("", "\\u{1b}") + from("", "\x1b"),
        0,
        "{:#?}",
        ended.stderr
    );
}

#[test]
fn a_log_filter_that_makes_no_sense_is_an_error() {
    for filter in ["coros=loud", "a=b=c"] {
        let demo = Demo::start_with(&["demo", "."], |demo| demo.env("COROS_LOG", filter));
        let ended = demo.end();
        assert_eq!(ended.status.code(), Some(2), "{:#?}", ended.stderr);
        assert_eq!(ended.stderr.len(), 1, "{:#?}", ended.stderr);
        let said = format!("coros: COROS_LOG={filter} makes no sense: ");
        assert!(ended.stderr[0].starts_with(&said), "{:#?}", ended.stderr);
    }
}
