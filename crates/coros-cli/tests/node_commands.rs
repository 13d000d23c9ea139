//! `coros node`, and what uses it, as processes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::{
    Demo, Farm, count_words, counter_of, make_endless, object, path_text, pid_in, signal, words,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The demo on these nodes, with workers that tell which file they begin to count.
fn telling(farm: &Farm, nodes: &str, folder: &str, args: &[&str]) -> Demo {
    let demo = ["demo", folder, "--nodes", nodes, "--json"];
    farm.start_with(&[&demo, args].concat(), |command| {
        command.env("COROS_LOG", "coros::demo=debug")
    })
}

fn says(lines: &[String], what: &str) -> bool {
    lines.iter().any(|line| line.contains(what))
}

#[test]
fn two_machines_count_what_neither_has() {
    let farm = Farm::new();
    let (mut one, at_one) = farm.node("one", &[]);
    let (_two, at_two) = farm.node("two", &[]);
    let (folder, mut texts) = common::corpus(60, 3000);
    // They come in pieces of one mebibyte.
    for (name, size) in [("large", 3_000_000), ("even", 2 << 20)] {
        let text: Vec<u8> = b"some words, ".iter().copied().cycle().take(size).collect();
        std::fs::write(folder.path().join(name), &text).unwrap();
        texts.push(text);
    }

    let path = path_text(folder.path());
    let nodes = format!("{at_one},{at_two}");
    let ended = farm.run(&["demo", &path, "--nodes", &nodes, "--json", "--verify"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert_eq!(words(&object), count_words(&texts));
    assert_eq!(object["bytes"], texts.iter().map(Vec::len).sum::<usize>());
    let jobs = object["jobs_by_worker"].as_object().unwrap();
    for node in ["one", "two"] {
        let is_there = |name: &String| name.ends_with(&format!("@{node}"));
        assert!(jobs.keys().any(is_there), "{jobs:?}");
        assert!(says(&ended.stderr, &format!("node {node} is ready")));
    }
    assert!(says(&ended.stderr, "gives the same result"));
    one.wait_for(|line| line.starts_with("client 1 (") && line.ends_with(") has come"));
    one.wait_for(|line| line.starts_with("client 1 has sent its program, "));
    one.wait_for(|line| line.starts_with("client 1 (") && line.ends_with(") has left"));

    // It is there now; and one that is not is no reason not to use the other.
    let nobody = nobody();
    let args = ["demo", &path, "--nodes", &nobody, "--nodes", &at_one];
    let ended = farm.run(&[&args[..], &["--json", "--workers", "1"]].concat());
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object = common::object(&ended.stdout);
    assert_eq!(words(&object), count_words(&texts));
    assert_eq!(object["jobs_by_worker"].as_object().unwrap().len(), 1);
    assert!(says(&ended.stderr, &format!("cannot reach {nobody}")));
    // Nobody has asked for the other.
    assert!(!says(&ended.stderr, "node two"), "{:#?}", ended.stderr);
    one.wait_for(|line| line.ends_with(") has left"));
    assert!(!says(&one.seen, "client 2 has sent"), "{:#?}", one.seen);
}

/// Where nobody listens: a port that was free a moment ago.
fn nobody() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string()
}

#[test]
fn a_node_that_is_killed_costs_nothing() {
    let farm = Farm::new();
    let nodes = ["one", "two"].map(|name| (name, farm.node(name, &["--cpus", "1"])));
    let (folder, mut texts) = common::corpus(50, 3000);
    // Whoever gets this file never comes to those behind it, so they cannot be done when it dies.
    let path = folder.path().join("endless");
    std::fs::write(&path, "some more words").unwrap();
    texts.push(b"some more words".to_vec());
    let endless = make_endless(&path);
    let at = nodes.each_ref().map(|(_, (_, at))| at.as_str()).join(",");
    let folder = path_text(folder.path());
    let mut demo = telling(&farm, &at, &folder, &["--verify"]);
    let worker = counter_of(&mut demo, &path);
    let (_, victim) = worker.split_once('@').unwrap();
    let (_, (node, _)) = nodes.iter().find(|(name, _)| *name == victim).unwrap();
    signal(node.pid(), Signal::SIGKILL);
    demo.wait_for(|line| line.starts_with(&format!("node {victim} was lost: ")));
    endless.set_len(15).unwrap();

    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
    assert!(says(&ended.stderr, "gives the same result"));
}

#[test]
fn who_cannot_be_used_is_told_of_with_what_to_do() {
    let farm = Farm::new();
    let (mut node, at) = farm.node("farm", &[]);
    let (folder, _) = common::corpus(1, 100);
    let folder = path_text(folder.path());
    let demo = |farm: &Farm, at: &str| farm.run(&["demo", &folder, "--nodes", at]);
    let nobody = nobody();
    let other = Farm::new();
    for (ended, what) in [
        (
            demo(&farm, &nobody),
            "does `coros node` run there, with the same secret",
        ),
        (demo(&other, &at), "the two nodes have different secrets"),
    ] {
        assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
        assert_eq!(ended.stdout, "");
        let [line] = &ended.stderr[..] else {
            panic!("{:#?}", ended.stderr)
        };
        assert!(
            line.starts_with("coros demo: ") && line.contains(what),
            "{line}"
        );
    }
    node.wait_for(|line| line.contains("was refused: the two nodes have different secrets"));
    let (_lab, at) = farm.node("lab", &["--network", "lab"]);
    let ended = farm.run(&["demo", &folder, "--nodes", &at, "--network", "lab"]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let ended = demo(&farm, &at);
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    // A program that is larger than the node takes is told of by both.
    let (_small, at) = farm.node("small", &["--max-file-size", "1M"]);
    let mut demo = farm.start(&["demo", &folder, "--nodes", &at]);
    demo.wait_for(|line| {
        line.contains("and this node takes no more than 1 MiB ") && line.contains("--max-file-size")
    });
    // How long it goes on to wait is told at once, and not when it is over.
    demo.wait_for(|line| line == "waiting for a node, up to 60s");
}

#[test]
fn sigterm_lets_a_call_end_and_then_the_node() {
    let farm = Farm::new();
    let (mut node, at) = farm.node("farm", &[]);
    let (folder, texts) = common::corpus(1, 3000);
    let path = folder.path().join("d0/f0.txt");
    let endless = make_endless(&path);
    let mut demo = telling(&farm, &at, &path_text(&path), &[]);
    counter_of(&mut demo, &path);
    signal(node.pid(), Signal::SIGTERM);
    node.wait_for(|line| line.starts_with("draining: "));
    let mut late = farm.start(&["demo", "--nodes", &at]);
    late.wait_for(|line| line.contains("it takes no new clients, because it is about to end"));
    drop(late);
    endless.set_len(texts[0].len() as u64).unwrap();

    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
    let ended = node.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert!(says(&ended.stderr, "drained: "), "{:#?}", ended.stderr);
}

#[test]
fn a_second_sigterm_and_ctrl_c_end_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless");
    make_endless(&path);
    let farm = Farm::new();
    for (name, signals, code) in [
        ("one", &[Signal::SIGTERM, Signal::SIGTERM][..], 143),
        ("two", &[Signal::SIGINT], 130),
    ] {
        let (mut node, at) = farm.node(name, &[]);
        let mut demo = telling(&farm, &at, &path_text(&path), &["--workers", "1"]);
        let worker =
            pid_in(&demo.wait_for(|line| line.ends_with("is ready") && line.contains("pid")));
        counter_of(&mut demo, &path);
        for (n, it) in signals.iter().enumerate() {
            if n > 0 {
                node.wait_for(|line| line.starts_with("draining: "));
            }
            signal(node.pid(), *it);
        }
        let ended = node.end();
        assert_eq!(ended.status.code(), Some(code), "{:#?}", ended.stderr);
        assert!(!common::is_running(worker));
        for how in ["is about to end", "has ended all that ran there"] {
            let told = format!("node {name} {how}");
            demo.wait_for(|line| {
                line == told || line.starts_with(&format!("node {name} was lost"))
            });
            assert_eq!(demo.seen.last(), Some(&told));
        }
        // Nothing of what it ran is left, but the programs are.
        let left = std::fs::read_dir(farm.folder(name).join("work")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn a_node_for_two_clients_ends_when_they_have_left() {
    let farm = Farm::new();
    let (node, at) = farm.node("farm", &["--serve", "2"]);
    let (folder, texts) = common::corpus(1, 3000);
    let first = farm.run(&["demo", &path_text(folder.path()), "--nodes", &at]);
    assert_eq!(first.status.code(), Some(0), "{:#?}", first.stderr);
    let path = folder.path().join("d0/f0.txt");
    let endless = make_endless(&path);
    let mut second = telling(&farm, &at, &path_text(&path), &[]);
    counter_of(&mut second, &path);
    let mut third = farm.start(&["demo", "--nodes", &at]);
    third.wait_for(|line| line.contains("it takes no more clients"));
    drop(third);
    endless.set_len(texts[0].len() as u64).unwrap();
    assert_eq!(second.end().status.code(), Some(0));
    let ended = node.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
}

#[test]
fn what_a_machine_has_is_shown() {
    let farm = Farm::new();
    let check = [
        "node",
        "--check",
        "--cpus",
        "-1",
        "--name",
        "farm",
        "--label",
        "gpu=a100",
        "--resource",
        "license=2",
    ];
    let ended = farm.run(&[&check[..], &["--json"]].concat());
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object: Value = serde_json::from_str(&ended.stdout).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(object["name"], "farm");
    assert_eq!(
        (&object["os"], &object["arch"]),
        (&std::env::consts::OS.into(), &std::env::consts::ARCH.into())
    );
    assert_eq!(
        (&object["cores"], &object["lent"]),
        (&cores.into(), &cores.saturating_sub(1).max(1).into())
    );
    assert_eq!(object["labels"], serde_json::json!(["gpu=a100"]));
    assert_eq!(object["resources"], serde_json::json!(["license=2"]));
    let memory = object["memory"].as_u64().unwrap();
    assert_eq!(object["memory_lent"], memory / 8 * 7, "{object}");
    assert!(memory > 0, "{object}");
    assert!(object["disk_free"].as_u64().unwrap() > 0, "{object}");
    // Each means of isolation, and where one is missing, why, and what to do.
    let means = object["isolation"].as_array().unwrap();
    assert!(
        means.iter().any(|check| check["name"] == "guard"),
        "{means:?}"
    );
    for check in means {
        let detail = check["detail"].as_str().unwrap();
        let helps = detail
            .split_once("; ")
            .is_some_and(|(_, to_do)| to_do.len() > 5);
        assert!(check["available"] == true || helps, "{check}");
    }
    let dir = farm.folder("coros/node");
    assert_eq!(object["dir"], *path_text(&dir));
    assert!(!dir.exists(), "looking changes nothing");

    let ended = farm.run(&check);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "name      farm");
    assert!(lines.contains(&"labels    gpu=a100"), "{lines:#?}");
    assert!(lines.contains(&"resources license=2"), "{lines:#?}");
    assert!(lines.contains(&"hours     all day"), "{lines:#?}");

    let ended = farm.run(&["node", "--check", "--cpus", "1", "--memory", "64M"]);
    let said = |what: &str| ended.stdout.contains(what);
    assert!(said(", of which 1 is lent\n"), "{}", ended.stdout);
    assert!(said(", of which 64.00 MiB are lent, "), "{}", ended.stdout);

    let hours = ["--from", "20:00", "--until", "06:00"];
    let many = [&["node", "--cpus", "999"], &hours[..]].concat();
    let ended = farm.run(&[&many[..], &["--check"]].concat());
    let cut = format!("{cores}, of which {cores} are lent: there are no more\n");
    for what in [&cut[..], "hours     from 20:00 until 06:00\n"] {
        assert!(ended.stdout.contains(what), "{}", ended.stdout);
    }
    let (node, _) = farm.node("many", &many[1..]);
    let cut = format!("lends {cores} of {cores} cores (there are no more); ");
    assert!(says(&node.seen, &cut), "{:#?}", node.seen);
}

/// Whoever runs a node may give it a folder where all his things are.
#[test]
fn a_folder_with_something_else_in_it_is_left_as_it_is() {
    let farm = Farm::new();
    let dir = farm.folder("scratch");
    let file = dir.join("work/thesis");
    std::fs::create_dir_all(dir.join("work")).unwrap();
    std::fs::write(&file, "all of it").unwrap();
    let dir = path_text(&dir);
    let start = ["node", "--listen", "127.0.0.1:0", "--dir", &dir];
    for check in [&["--check"][..], &[]] {
        let ended = farm.run(&[&start[..], check].concat());
        assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
        let said = ended.stderr.join("\n");
        let why = "holds something else, which would be in danger there";
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "all of it");
}

/// So that whatever keeps it running does not try again.
#[test]
fn a_name_that_cannot_be_is_a_wrong_command_line() {
    let farm = Farm::new();
    for command in ["node", "scheduler"] {
        for wrong in ["--name=", "--network=A B"] {
            let ended = farm.run(&[command, "--listen", "127.0.0.1:0", wrong]);
            assert_eq!(ended.status.code(), Some(2), "{:#?}", ended.stderr);
        }
    }
}

/// By a start, and by whoever asks whether it could be.
#[test]
fn what_a_node_does_not_start_with_is_refused() {
    let farm = Farm::new();
    let file = farm.folder("file");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "").unwrap();
    let file = path_text(&file);
    for (args, status, what) in [
        (
            ["--readable", "/nonexistent"],
            2,
            "/nonexistent: No such file",
        ),
        (["--memory", "65535K"], 2, "need 64 MiB at least"),
        (["--processes", "4"], 2, "one needs 5 at least"),
        (["--cache", "1023K"], 2, "1 MiB is the least"),
        (["--max-file-size", "1K"], 2, "1 MiB is the least"),
        (
            ["--max-file-size", "20G"],
            2,
            "20480 MiB (--max-file-size) where there is room for 10240 MiB (--cache)",
        ),
        (["--cpus", "0"], 2, "without a core"),
        (["--cpus", "half"], 2, "such as 4"),
        (["--from", "20:00"], 2, "--until"),
        (["--name", "a/../b"], 2, "cannot name a node"),
        (["--certificate", "/nonexistent"], 1, "/nonexistent"),
        (
            ["--listen", "192.0.2.1:0"],
            1,
            "cannot listen on 192.0.2.1:0",
        ),
        (["--dir", &file], 1, &file),
    ] {
        for check in [&["--check"][..], &[]] {
            let listens: &[&str] = match args[0] {
                "--listen" => &[],
                _ => &["--listen", "127.0.0.1:0"],
            };
            let ended = farm.run(&[&["node"], check, listens, &args[..]].concat());
            assert_eq!(ended.status.code(), Some(status), "{:#?}", ended.stderr);
            assert!(says(&ended.stderr, what), "{:#?}", ended.stderr);
            assert_eq!(ended.stdout, "", "{args:?}");
        }
    }
    // As in a file, and at a scheduler.
    let config = farm.folder("small.toml");
    std::fs::write(&config, "cache = \"1K\"\n").unwrap();
    for command in ["node", "scheduler"] {
        let ended = farm.run(&[command, "--config", &path_text(&config)]);
        assert_eq!(ended.status.code(), Some(2), "{:#?}", ended.stderr);
        let what = "(--cache) cannot be 1024 bytes: ";
        assert!(says(&ended.stderr, what), "{:#?}", ended.stderr);
    }
    // One that runs is in nobody's way who looks.
    let (_node, at) = farm.node("farm", &[]);
    let dir = path_text(&farm.folder("farm"));
    let ended = farm.run(&["node", "--check", "--listen", &at, "--dir", &dir]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
}

#[test]
fn a_file_says_what_the_command_line_leaves_open() {
    let farm = Farm::new();
    let file = farm.config().join("coros/node.toml");
    let shown = |args: &[&str]| {
        let ended = farm.run(&[&["node", "--check", "--json"], args].concat());
        assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
        serde_json::from_str::<Value>(&ended.stdout).unwrap()
    };
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(
        &file,
        "name = \"farm\"\nlabel = [\"quiet\", \"room=b12\"]\nresource = [\"gpu=2\"]\n",
    )
    .unwrap();
    let object = shown(&[]);
    assert_eq!(object["name"], "farm");
    assert_eq!(object["labels"], serde_json::json!(["quiet", "room=b12"]));
    assert_eq!(object["resources"], serde_json::json!(["gpu=2"]));
    let object = shown(&["--label", "loud"]);
    assert_eq!(object["name"], "farm");
    assert_eq!(object["labels"], serde_json::json!(["loud"]));
    let other = farm.config().join("other.toml");
    std::fs::write(&other, "name = \"other\"\n").unwrap();
    let object = shown(&["--config", &path_text(&other)]);
    assert_eq!(
        (&object["name"], &object["labels"]),
        (&"other".into(), &serde_json::json!([]))
    );

    std::fs::write(&file, "cpus = 1\n\nlabels = [\"quiet\"]\n").unwrap();
    let usage = |args: &[&str], what: &[&str]| {
        let ended = farm.run(&[&["node"], args].concat());
        assert_eq!(ended.status.code(), Some(2), "{:#?}", ended.stderr);
        let said = ended.stderr.join("\n");
        assert!(what.iter().all(|what| said.contains(what)), "{said}");
    };
    usage(&[], &["node.toml: ", "line 3", "unknown field `labels`"]);
    std::fs::write(&file, "resource = [\"gpu\"]\n").unwrap();
    let no_number = "expected `name=number`, as in `license=2`";
    usage(&[], &["node.toml: ", "line 1", no_number]);
    usage(&["--resource", "gpu=many"], &["--resource", no_number]);
    let nowhere = farm.config().join("nowhere.toml");
    usage(&["--config", &path_text(&nowhere)], &["there is no file"]);
    std::fs::write(&file, "from = \"20:00\"\n").unwrap();
    usage(&[], &["both --from and --until"]);
}

#[test]
fn a_folder_is_one_nodes_own() {
    let farm = Farm::new();
    let (node, _) = farm.node("farm", &[]);
    let folder = path_text(&farm.folder("farm"));
    let ended = farm.run(&["node", "--dir", &folder, "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.status.code(), Some(1));
    let by = format!("is in use by process {}", node.pid());
    assert!(says(&ended.stderr, &by), "{:#?}", ended.stderr);
}

#[test]
fn outside_of_its_hours_a_node_lends_nothing() {
    let farm = Farm::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hour = now.as_secs() / 3600;
    let at = |hours: u64| format!("{:02}:00", (hour + hours) % 24);
    let (folder, _) = common::corpus(1, 100);
    let folder = path_text(folder.path());

    let (mut open, endpoint) = farm.node("open", &["--from", &at(23), "--until", &at(3)]);
    let ended = farm.run(&["demo", &folder, "--nodes", &endpoint]);
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    open.wait_for(|line| line.ends_with("has left"));
    assert!(!says(&open.seen, "suspended"), "{:#?}", open.seen);

    let hours = ["--from", &at(3), "--until", &at(6)];
    for (name, more) in [("shut", &[][..]), ("dead", &["--kill-at", &at(7)])] {
        let (mut shut, endpoint) = farm.node(name, &[&hours, more].concat());
        shut.wait_for(|line| line.starts_with("suspended: "));
        let hours = format!("service hours: from {} until {}", at(3), at(6));
        assert!(says(&shut.seen, &hours), "{:#?}", shut.seen);
        let mut demo = farm.start(&["demo", &folder, "--nodes", &endpoint]);
        demo.wait_for(|line| line == format!("node {name} is suspended"));
        shut.wait_for(|line| line.ends_with("has come"));
        drop(demo);
        let left = shut.wait_for(|line| line.ends_with("has left"));
        assert!(left.starts_with("client 1 "), "{left}");
    }
}

/// A time zone in which it is noon in so many seconds.
fn noon_in(seconds: u64) -> String {
    const DAY: u64 = 24 * 3600;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // As much as is to be added to the local time.
    let behind = (now.as_secs() + seconds + DAY / 2) % DAY;
    let (hours, rest) = (behind / 3600, behind % 3600);
    format!("TEST{hours}:{:02}:{:02}", rest / 60, rest % 60)
}

#[test]
fn what_still_runs_at_the_hour_is_killed() {
    let farm = Farm::new();
    let corpus = tempfile::tempdir().unwrap();
    let path = corpus.path().join("endless");
    make_endless(&path);
    let folder = path_text(&farm.folder("night"));
    let hours = ["--from", "10:00", "--until", "12:00", "--kill-at", "12:00"];
    let node = ["node", "--dir", &folder, "--listen", "127.0.0.1:0"];
    let node = [&node[..], &["--name", "night", "--cpus", "1"], &hours].concat();
    // A machine that has much to do needs longer until a call runs.
    for seconds in [5, 10, 20, 40] {
        let mut night = farm.start_with(&node, |command| command.env("TZ", noon_in(seconds)));
        let line = night.wait_for(|line| line.starts_with("try, "));
        let at = line.rsplit(' ').next().unwrap();
        let mut demo = telling(&farm, at, &path_text(&path), &[]);
        let counts = format!("counting {}", path.display());
        let too_late = |line: &str| line == "node night is suspended";
        let first = demo.wait_for(|line| line.ends_with(&counts) || too_late(line));
        if too_late(&first) {
            continue;
        }
        let ready = demo
            .seen
            .iter()
            .find(|line| line.ends_with("is ready") && line.contains("pid"));
        let worker = pid_in(ready.unwrap());
        assert!(common::is_running(worker));
        night.wait_for(|line| line.starts_with("suspended: "));
        let lost = format!("(pid {worker}) was lost (");
        demo.wait_for(|line| line.contains(&lost));
        assert!(!common::is_running(worker));
        // The node is there, and has nothing to do.
        signal(night.pid(), Signal::SIGTERM);
        assert_eq!(night.end().status.code(), Some(0));
        return;
    }
    panic!("no call begins in 40 seconds");
}

#[test]
fn a_daemon_is_quiet() {
    let farm = Farm::new();
    let at = nobody();
    let folder = path_text(&farm.folder("farm"));
    let node = ["node", "--daemon", "--dir", &folder, "--listen", &at];
    let node = farm.start(&node);
    let (corpus, _) = common::corpus(1, 100);
    let corpus = path_text(corpus.path());
    // It says nothing when it listens.
    loop {
        let ended = farm.run(&["demo", &corpus, "--nodes", &at]);
        match ended.status.code() {
            Some(0) => break,
            _ => assert!(says(&ended.stderr, "cannot reach"), "{:#?}", ended.stderr),
        }
    }
    signal(node.pid(), Signal::SIGTERM);
    let ended = node.end();
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.stderr.is_empty(), "{:#?}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_console_takes_orders() {
    let farm = Farm::new();
    let (mut keyboard, terminal) = common::Keyboard::new();
    let folder = path_text(&farm.folder("farm"));
    let node = ["node", "--dir", &folder, "--listen", "127.0.0.1:0"];
    let mut node = farm.start_with(&[&node[..], &["--cpus", "1"]].concat(), |command| {
        command.stdin(terminal)
    });
    let line = node.wait_for(|line| line.starts_with("try, "));
    let at = line.rsplit(' ').next().unwrap().to_owned();
    let mut order = |node: &mut Demo, line: &str, answer: &str| {
        keyboard.types(line);
        node.wait_for(|line| line.starts_with(answer))
    };
    order(&mut node, "status", "0 of 1 cores are lent, to 0 clients");
    order(&mut node, "clients", "nobody is here");
    order(&mut node, "stauts", "\"stauts\" is nothing");
    let cores = std::thread::available_parallelism().unwrap();
    let all = format!("{cores} of {cores} cores are lent from now on: there are no more");
    order(&mut node, "cpus 2147483647", &all);
    order(&mut node, "cpus 1", "1 of ");
    order(&mut node, "resume", "it is not suspended");
    order(&mut node, "suspend", "suspended: ");
    order(&mut node, "suspend", "it stays suspended by hand");
    order(
        &mut node,
        "status",
        "0 of 1 cores are lent, to 0 clients, suspended by hand",
    );

    let corpus = tempfile::tempdir().unwrap();
    let path = corpus.path().join("endless");
    make_endless(&path);
    let mut demo = telling(&farm, &at, &path_text(&path), &[]);
    demo.wait_for(|line| line.ends_with(" is ready"));
    order(
        &mut node,
        "status",
        "0 of 1 cores are lent, to 1 client, suspended",
    );
    order(&mut node, "resume", "resumed: ");
    counter_of(&mut demo, &path);
    order(&mut node, "status", "1 of 1 cores are lent, to 1 client");
    let client = order(&mut node, "clients", "client 1 (coros-");
    assert!(client.ends_with("): 1 core"), "{client}");
    let answer = format!("1 of {cores} cores are lent from now on");
    let said = order(&mut node, "cpus 1", &answer);
    assert_eq!(said, answer);
    order(&mut node, "drain", "draining: ");
    order(&mut node, "drain", "it is draining already");
    order(
        &mut node,
        "status",
        "1 of 1 cores are lent, to 1 client, draining",
    );
    keyboard.types("close");
    let ended = node.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_console_tells_until_when_the_hours_forbid_what_is_typed() {
    let farm = Farm::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hour = now.as_secs() / 3600;
    let at = |hours: u64| format!("{:02}:00", (hour + hours) % 24);
    let (mut keyboard, terminal) = common::Keyboard::new();
    let args = ["--cpus", "1", "--from", &at(3), "--until", &at(6)];
    let (mut node, _) = farm.serve_with("node", "farm", &args, |command| command.stdin(terminal));
    let mut order = |line: &str, answer: &str| {
        keyboard.types(line);
        node.wait_for(|line| line == answer);
    };
    let until = format!("until {}, by its service hours", at(3));
    let status = format!("0 of 1 cores are lent, to 0 clients, suspended {until}");
    order("status", &status);
    let hours = format!("service hours: from {} until {}", at(3), at(6));
    order("status", &hours);
    order(
        "suspend\nstatus",
        &status.replace("until", "by hand, and until"),
    );
    order("resume", &format!("it stays suspended {until}"));
    order("status", &status);
}

/// As with `coros node &`: it has a terminal, and may not read what is typed there.
#[cfg(target_os = "linux")]
#[test]
fn a_shell_may_have_it_in_the_background() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let farm = Farm::new();
    let node = format!(
        "{} node --name one --dir {} --listen 127.0.0.1:0",
        env!("CARGO_BIN_EXE_coros"),
        path_text(&farm.folder("one"))
    );
    // A shell with job control, on a terminal of its own.
    let shell = format!("set -m; {node} & echo pid $!; wait");
    let mut script = Command::new("script")
        .args([
            "--quiet",
            "--command",
            &format!("sh -c '{shell}'"),
            "/dev/null",
        ])
        .env("XDG_CONFIG_HOME", farm.config())
        .env_remove("COROS_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is there, which Debian calls essential");
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut line = |start: &str| loop {
        let line = lines.next().expect("it goes on").unwrap();
        if line.starts_with(start) {
            break line.trim_end().to_owned();
        }
    };
    let pid = line("pid ")["pid ".len()..].parse().unwrap();
    let at = line("try, ").rsplit(' ').next().unwrap().to_owned();
    let (folder, texts) = common::corpus(5, 100);
    let ended = farm.run(&["demo", &path_text(folder.path()), "--nodes", &at, "--json"]);
    signal(pid, Signal::SIGKILL);
    script.wait().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
}
