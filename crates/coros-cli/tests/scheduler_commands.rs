//! `coros scheduler`, and what uses it, as processes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::time::{Duration, Instant};

use common::{Demo, Farm, count_words, counter_of, make_endless, object, path_text, signal, words};
use nix::sys::signal::Signal;

#[test]
fn nodes_count_for_who_knows_the_scheduler_alone() {
    let farm = Farm::new();
    let (_one, at_one) = farm.node("one", &[]);
    let (_two, at_two) = farm.node("two", &["--peer", &at_one]);
    let (mut scheduler, at) = farm.scheduler("office", &at_two);
    let (folder, texts) = common::corpus(40, 3000);
    let path = path_text(folder.path());
    for (client, alone) in [(1, &[][..]), (2, &["--exclusive"])] {
        let args = ["demo", &path, "--scheduler", &at, "--json", "--verify"];
        let ended = farm.run(&[&args, alone].concat());
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
        assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
        let ready = |line: &String| line == "service office runs the program";
        assert!(ended.stderr.iter().any(ready), "{:#?}", ended.stderr);
        let begins = format!("client {client} has its turn");
        scheduler.wait_for(|line| line == begins);
        let [from, left] = [format!("client {client} ("), ") has left".to_owned()];
        scheduler.wait_for(|line| line.starts_with(&from) && line.ends_with(&left));
    }
    let sent = |line: &&String| line.contains("has sent its program");
    assert_eq!(scheduler.seen.iter().filter(sent).count(), 1);
}

/// As they are told to clients, and without any.
#[cfg(target_os = "linux")]
#[test]
fn nodes_are_told_of_and_shown_at_the_console() {
    let farm = Farm::new();
    let (one, at_one) = farm.node("one", &["--cpus", "1"]);
    let (mut keyboard, terminal) = common::Keyboard::new();
    let args = ["--peer", &at_one];
    let (mut scheduler, at) = farm.serve_with("scheduler", "office", &args, |command| {
        command.stdin(terminal)
    });
    // It may be found before the scheduler says where it is.
    let found = format!("node one ({at_one}) was found: ");
    scheduler.has_said(|line| line.starts_with(&found));
    let mut order = |scheduler: &mut Demo, line: &str, answer: &str| {
        keyboard.types(line);
        scheduler.wait_for(|line| line.starts_with(answer))
    };
    order(&mut scheduler, "status", "0 clients, 1 node");
    order(&mut scheduler, "clients", "nobody is here");
    let shown = order(&mut scheduler, "nodes", &format!("node one ({at_one}): "));
    for what in [" core", ", 0 of 1 lent; ", "B free; load "] {
        assert!(shown.contains(what), "{shown}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless");
    let endless = make_endless(&path);
    let (path_of_it, log) = (path_text(&path), "coros::demo=debug");
    let args = ["demo", &path_of_it, "--scheduler", &at, "--json"];
    let mut demo = farm.start_with(&args, |command| command.env("COROS_LOG", log));
    scheduler.wait_for(|line| line == "client 1: node one is ready");
    counter_of(&mut demo, &path);
    let client = order(&mut scheduler, "clients", "client 1 (");
    let has = "): runs 1 call, 0 more wait; 1 worker on one";
    assert!(client.ends_with(has), "{client}");

    // It is looked at from time to time, and what runs goes on for longer.
    signal(one.pid(), Signal::SIGTERM);
    scheduler.wait_for(|line| line == "node one is about to end");
    let shown = order(&mut scheduler, "nodes", "node one (");
    assert!(shown.ends_with(", draining"), "{shown}");
    assert!(shown.contains(", 1 of 1 lent; "), "{shown}");
    endless.set_len(0).unwrap();
    assert_eq!(demo.end().status.code(), Some(0));
    scheduler.wait_for(|line| line == "node one has ended all that ran there");
    assert_eq!(one.end().status.code(), Some(0));
    order(&mut scheduler, "nodes", "no node is there");
    let (again, at_one) = farm.node("one", &["--peer", &at]);
    let found = format!("node one ({at_one}) was found again: ");
    scheduler.wait_for(|line| line.starts_with(&found));
    signal(again.pid(), Signal::SIGKILL);
    scheduler.wait_for(|line| line.starts_with("node one was lost: "));
    order(&mut scheduler, "nodes", "no node is there");
}

#[test]
fn a_scheduler_that_is_killed_and_comes_back_costs_nothing() {
    let farm = Farm::new();
    let (_node, at_node) = farm.node("one", &["--cpus", "1"]);
    let (scheduler, at) = farm.scheduler("office", &at_node);
    let (folder, mut texts) = common::corpus(50, 3000);
    let path = folder.path().join("endless");
    std::fs::write(&path, "some more words").unwrap();
    texts.push(b"some more words".to_vec());
    let endless = make_endless(&path);
    let folder = path_text(folder.path());
    let args = ["demo", &folder, "--scheduler", &at, "--json", "--verify"];
    let mut demo = farm.start_with(&args, |command| {
        command.env("COROS_LOG", "coros::demo=debug")
    });
    counter_of(&mut demo, &path);
    signal(scheduler.pid(), Signal::SIGKILL);
    demo.wait_for(|line| line.starts_with("service office was lost: "));
    endless.set_len(15).unwrap();
    // Whatever it is called, it is there where it was.
    let listen = ["--listen", &at, "--peer", &at_node];
    let (_again, _) = farm.serve_with("scheduler", "bureau", &listen, |command| command);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
}

/// Though the one that it was told of is gone with it.
#[test]
fn a_scheduler_that_is_started_again_finds_the_nodes_that_it_had() {
    let farm = Farm::new();
    let (one, at_one) = farm.node("one", &[]);
    let (_two, at_two) = farm.node("two", &["--peer", &at_one]);
    let (scheduler, _) = farm.scheduler("office", &at_one);
    // Nobody says that it has been written.
    let file = farm.folder("office").join("peers");
    let deadline = Instant::now() + common::LIMIT;
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    while ![&at_one, &at_two].iter().all(|at| written().contains(*at)) {
        assert!(Instant::now() < deadline, "{:?}", written());
        std::thread::sleep(Duration::from_millis(50));
    }
    for process in [one, scheduler] {
        signal(process.pid(), Signal::SIGKILL);
        process.end();
    }
    let (mut again, _) = farm.scheduler("office", &at_one);
    let found = format!("node two ({at_two}) was found: ");
    again.has_said(|line| line.starts_with(&found));
}

#[test]
fn it_drains_when_it_is_terminated_and_ends_when_it_is_again() {
    let farm = Farm::new();
    let (_node, at_node) = farm.node("one", &["--cpus", "1"]);
    let (mut scheduler, at) = farm.scheduler("office", &at_node);
    let (folder, texts) = common::corpus(1, 100);
    let path = folder.path().join("endless");
    let endless = make_endless(&path);
    let folder = path_text(folder.path());
    let args = ["demo", &folder, "--scheduler", &at, "--json"];
    let talkative = || {
        farm.start_with(&args, |command| {
            command.env("COROS_LOG", "coros::demo=debug")
        })
    };
    let mut demo = talkative();
    counter_of(&mut demo, &path);
    signal(scheduler.pid(), Signal::SIGTERM);
    scheduler.wait_for(|line| line.starts_with("draining: "));
    endless.set_len(0).unwrap();
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
    assert_eq!(scheduler.end().status.code(), Some(0));

    make_endless(&path);
    for (signals, code) in [
        (&[Signal::SIGTERM, Signal::SIGTERM][..], 143),
        (&[Signal::SIGINT], 130),
    ] {
        let (mut scheduler, at) = farm.scheduler("office", &at_node);
        let args = ["demo", &folder, "--scheduler", &at, "--json"];
        let mut demo = farm.start_with(&args, |command| {
            command.env("COROS_LOG", "coros::demo=debug")
        });
        counter_of(&mut demo, &path);
        for (n, it) in signals.iter().enumerate() {
            if n > 0 {
                scheduler.wait_for(|line| line.starts_with("draining: "));
            }
            signal(scheduler.pid(), *it);
        }
        assert_eq!(scheduler.end().status.code(), Some(code));
        let lost = demo.wait_for(|line| line.starts_with("service office was lost: "));
        let why = "it has ended all that it had run for this program";
        assert!(lost.ends_with(why), "{lost}");
    }
}

#[test]
fn a_node_that_is_given_as_a_scheduler_is_told_of() {
    let farm = Farm::new();
    let (_node, at) = farm.node("one", &[]);
    let (folder, _) = common::corpus(1, 100);
    let ended = farm.run(&["demo", &path_text(folder.path()), "--scheduler", &at]);
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    let what = format!("one@{at} is a node, and no scheduler: try --nodes {at}");
    assert_eq!(ended.stderr, [format!("coros demo: {what}")]);
}

#[test]
fn a_scheduler_that_is_given_as_a_node_is_told_of() {
    let farm = Farm::new();
    let (_node, at_node) = farm.node("one", &[]);
    let (_scheduler, at) = farm.scheduler("office", &at_node);
    let (folder, _) = common::corpus(1, 100);
    let ended = farm.run(&["demo", &path_text(folder.path()), "--nodes", &at]);
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    let what = format!("coros demo: office@{at} is a scheduler, and no node: try --scheduler {at}");
    assert!(ended.stderr.contains(&what), "{:#?}", ended.stderr);
}

#[test]
fn what_is_wrong_is_said_and_nothing_begins() {
    let farm = Farm::new();
    let file = farm.folder("scheduler.toml");
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        farm.run(&["scheduler", "--config", &path_text(&file)])
    };
    for (text, says) in [
        ("\ncpus = 2\n", "line 2: unknown field `cpus`"),
        ("listen = true\n", "line 1"),
    ] {
        let ended = run(text);
        assert_eq!(ended.status.code(), Some(2));
        assert!(
            ended.stderr.iter().any(|line| line.contains(says)),
            "{:?}",
            ended.stderr
        );
    }
}
