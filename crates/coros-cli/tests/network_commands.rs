//! `coros peers` and `coros ping` as processes, with nodes that are `coros receive`.

mod common;

use std::process::Output;
use std::time::Instant;

use common::{Demo, LIMIT};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a secret, and one for files, which nobody sends.
struct Scene {
    config: TempDir,
    inbox: TempDir,
}

impl Scene {
    fn set() -> Self {
        let [config, inbox] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        Scene { config, inbox }
    }

    /// A node of that name, and where it listens.
    fn node(&self, name: &str, args: &[&str]) -> (Demo, String) {
        self.node_that_logs("coros=debug", name, args)
    }

    fn node_that_logs(&self, log: &str, name: &str, args: &[&str]) -> (Demo, String) {
        let inbox = common::path_text(self.inbox.path());
        let named = ["receive", &*inbox, "--name", name];
        let args = [&named, args].concat();
        let mut node = self.start_logging(log, &args);
        let line = node.wait_for(|line| line.starts_with("files for "));
        let at = line.split(' ').nth(2).expect("it says where");
        (node, at.to_owned())
    }

    fn start(&self, args: &[&str]) -> Demo {
        self.start_logging("coros=debug", args)
    }

    fn start_logging(&self, log: &str, args: &[&str]) -> Demo {
        Demo::start_with(args, |command| {
            command
                .env("XDG_CONFIG_HOME", self.config.path())
                .env_remove("COROS_SECRET_FILE")
                .env("COROS_LOG", log)
        })
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = common::command(args, &self.config);
        command.env_remove("COROS_SECRET_FILE");
        command.output().expect("coros starts")
    }
}

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

fn objects(bytes: &[u8]) -> Vec<Value> {
    let text = text(bytes);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

/// All of the network, by way of one node that does not stand for it.
fn two_peers(scene: &Scene, at: &str) -> Value {
    let began = Instant::now();
    loop {
        // Who starts together may take a moment to know each other.
        let listed = scene.run(&["peers", "--peer", at, "--wait", "1", "--json"]);
        if listed.status.success() {
            let listed: Value = serde_json::from_slice(&listed.stdout).expect("one object");
            if listed["peers"].as_array().expect("a list").len() == 2 {
                return listed;
            }
        }
        assert!(began.elapsed() < LIMIT, "{}", text(&listed.stderr));
    }
}

#[test]
fn one_node_is_enough_to_list_all_and_to_reach_each_by_name() {
    let scene = Scene::set();
    let (_desk, at) = scene.node("desk", &ANYWHERE);
    let (_farm, farm_at) = scene.node("farm", &[&ANYWHERE[..], &["--peer", &at]].concat());

    let listed = two_peers(&scene, &at);
    for (peer, (name, at)) in [("desk", &at), ("farm", &farm_at)].iter().enumerate() {
        let peer = &listed["peers"][peer];
        assert_eq!(
            (&peer["name"], &peer["state"]),
            (&(*name).into(), &"up".into())
        );
        assert_eq!(peer["endpoint"], **at, "{listed}");
        assert_eq!(peer["id"].as_str().expect("a text").len(), 32);
        assert!(
            peer["link"].is_boolean() && peer["error"].is_null(),
            "{listed}"
        );
        assert!(peer["round_trip_seconds"].as_f64().expect("a time") > 0.0);
    }

    let listed = scene.run(&["peers", "--peer", &at]);
    let table = text(&listed.stdout);
    let columns: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(columns[0][..3], ["NAME", "ENDPOINT", "ID"]);
    assert_eq!(columns[1][..2], ["desk", &*at]);
    assert_eq!((columns[1][2].len(), columns[1][3]), (8, "up"));
    assert_eq!(columns[1].last(), Some(&"ms"), "{table}");

    // The one that is asked for is not the one that is given.
    let asked = ["ping", "farm", "--peer", &at, "--interval", "0.05"];
    let pinged = scene.run(&asked);
    assert!(pinged.status.success(), "{}", text(&pinged.stderr));
    let lines = text(&pinged.stdout);
    let first = format!("1: answer from farm@{farm_at} after ");
    assert!(lines.starts_with(&first), "{lines}");
    assert_eq!(lines.lines().count(), 5);
    assert!(
        lines.contains("\nfarm: 4 asked, 4 answered, 0 % lost; min "),
        "{lines}"
    );

    let pinged = scene.run(&[&asked[..], &["--count", "2", "--json"]].concat());
    let [one, two, all] = &objects(&pinged.stdout)[..] else {
        panic!("{}", text(&pinged.stdout));
    };
    assert_eq!((&one["number"], &two["number"]), (&1.into(), &2.into()));
    assert!(one["seconds"].as_f64().expect("a time") > 0.0);
    assert_eq!(all["node"]["endpoint"], *farm_at);
    assert_eq!((&all["asked"], &all["loss"]), (&2.into(), &0.0.into()));
    assert!(all["min_seconds"].as_f64() <= all["max_seconds"].as_f64());
}

#[test]
fn who_is_not_there_is_told_of_with_what_to_do() {
    let scene = Scene::set();
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let nobody = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let (_desk, at) = scene.node("desk", &ANYWHERE);
    for (args, code, says) in [
        (vec!["ping", &*nobody], 1, "does a node run there"),
        (vec!["ping", "desk"], 1, "give HOST:PORT in its place"),
        (
            vec!["ping", "farm", "--peer", &at],
            1,
            "no node is called \"farm\"",
        ),
        (
            vec!["ping", "desk", "--peer", "nohost"],
            2,
            "for '--peer <HOST:PORT>': a port is missing: give HOST:PORT, such as",
        ),
        (
            vec!["ping", "desk:x"],
            2,
            "for '<NODE|HOST:PORT>': the port is no number",
        ),
        (vec!["ping", &at, "--interval", "0"], 2, "from 0.001"),
        (vec!["peers", "--peer", &nobody], 1, "does a node run there"),
        (vec!["peers"], 2, "--peer <HOST:PORT>|--discover"),
    ] {
        let ended = scene.run(&args);
        assert_eq!(ended.status.code(), Some(code), "{args:?}");
        let said = text(&ended.stderr);
        assert!(said.contains(says), "{args:?}: {said}");
        assert!(ended.stdout.is_empty());
    }
    // Of several that cannot be reached, all are named.
    let ended = scene.run(&["peers", "--peer", "127.0.0.1:1", "--peer", &nobody]);
    let said = text(&ended.stderr);
    for endpoint in ["127.0.0.1:1:", &format!("{nobody}:")] {
        assert!(said.contains(&format!("cannot reach {endpoint}")), "{said}");
    }
    // Another network, by another secret.
    for command in ["ping", "peers"] {
        let at = if command == "ping" {
            vec![&*at]
        } else {
            vec!["--peer", &at]
        };
        let ended = Scene::set().run(&[&[command], &at[..]].concat());
        assert_eq!(ended.status.code(), Some(1));
        let said = text(&ended.stderr);
        assert!(said.contains("secret"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_node_that_is_killed_answers_no_more_and_an_interrupt_sums_up() {
    use nix::sys::signal::Signal;

    let scene = Scene::set();
    let (desk, at) = scene.node("desk", &ANYWHERE);
    let summary = |ended: &common::Ended, code| {
        let all = objects(ended.stdout.as_bytes()).pop().expect("a summary");
        assert_eq!(all["node"]["name"], "desk", "{all}");
        let [asked, answered] = ["asked", "answered"].map(|key| all[key].as_u64());
        assert_eq!(ended.status.code(), Some(code));
        (asked.expect("a number"), answered.expect("a number"))
    };
    let asked = ["ping", &at, "--interval", "0.05", "--json", "--count"];

    let mut endless = scene.start(&[&asked[..], &["0"]].concat());
    endless.wait_for(|line| line.contains("asked"));
    common::signal(endless.pid(), Signal::SIGINT);
    let (asked_for, answered) = summary(&endless.end(), 130);
    // One that was under way does not count.
    assert!(answered > 0 && asked_for == answered, "it answers");

    let mut ping = scene.start(&[&asked[..], &["40"]].concat());
    ping.wait_for(|line| line.contains("asked"));
    common::signal(desk.pid(), Signal::SIGKILL);
    desk.end();
    let (asked_for, answered) = summary(&ping.end(), 0);
    assert_eq!(asked_for, 40);
    assert!((1..40).contains(&answered), "then nobody is there");
}

#[test]
fn nodes_that_let_themselves_be_found_need_no_address() {
    let scene = Scene::set();
    // Other tests look around as well, and so may whoever works on this machine.
    let network = format!("test-{}", std::process::id());
    let around = ["--discover", "--network", &network];
    let (_desk, at) = scene.node("desk", &[&around[..], &ANYWHERE].concat());
    let pinged = scene.run(&[&["ping", "desk", "--count", "1"], &around[..]].concat());
    assert!(pinged.status.success(), "{}", text(&pinged.stderr));
    assert!(text(&pinged.stdout).contains(&at));

    let mut sent = [&["send", "desk", "Cargo.toml"], &around[..]].concat();
    let ended = scene.run(&sent);
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    assert!(scene.inbox.path().join("Cargo.toml").exists());
    sent[1] = "nobody";
    let ended = scene.run(&sent);
    assert_eq!(ended.status.code(), Some(1));
    let said = text(&ended.stderr);
    assert!(said.contains("does it --discover?"), "{said}");

    // Somebody is found who has another secret.
    let stranger = Scene::set();
    let refused = format!("no link with {at}: the two nodes have different secrets");
    for (args, last) in [
        (&["peers"][..], "there is nobody else"),
        (&["ping", "desk"], "no node is called"),
    ] {
        let ended = stranger.run(&[args, &around[..]].concat());
        assert_eq!(ended.status.code(), Some(1));
        let said = text(&ended.stderr);
        let (why, end) = (said.find(&refused), said.find(last));
        assert!(why.is_some() && why < end, "{said}");
    }

    let began = Instant::now();
    loop {
        let listed = scene.run(&[&["peers", "--json"], &around[..]].concat());
        if listed.status.success() {
            let listed: Value = serde_json::from_slice(&listed.stdout).expect("one object");
            assert_eq!(listed["peers"][0]["name"], "desk", "{listed}");
            assert_eq!(listed["peers"][0]["endpoint"], *at, "{listed}");
            break;
        }
        assert!(began.elapsed() < LIMIT, "{}", text(&listed.stderr));
    }
}

#[test]
fn a_node_whose_peer_is_not_there_says_that_it_tries_on() {
    let scene = Scene::set();
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let nobody = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let nowhere = "nowhere.invalid:7340";
    for (peer, why) in [
        (&*nobody, format!("cannot reach {nobody}")),
        (nowhere, format!("cannot look up where {nowhere} is: ")),
    ] {
        let args = [&ANYWHERE[..], &["--peer", peer]].concat();
        let (mut desk, _) = scene.node_that_logs("", "desk", &args);
        let expected = format!("trying on: {why}");
        let tries_on = |line: &str| line.starts_with(&expected);
        // It may have said so before it said where it listens.
        if !desk.seen.iter().any(|line| tries_on(line)) {
            desk.wait_for(tries_on);
        }
    }
}

#[test]
fn who_was_refused_is_told_once_whatever_is_logged() {
    for log in ["", "warn", "coros_net=off"] {
        let scene = Scene::set();
        let (desk, at) = scene.node_that_logs(log, "desk", &[&ANYWHERE[..], &["--once"]].concat());
        let stranger = Scene::set().run(&["ping", &at]);
        assert_eq!(stranger.status.code(), Some(1));
        let friend = scene.run(&["send", &at, "Cargo.toml"]);
        assert!(friend.status.success(), "{}", text(&friend.stderr));
        let said = desk.end().stderr;
        let refused = said
            .iter()
            .filter(|line| line.contains("different secrets"));
        assert_eq!(refused.count(), 1, "with {log:?}: {said:#?}");
    }
}

#[test]
fn whoever_listens_everywhere_says_where_it_can_be_dialled() {
    let scene = Scene::set();
    let (_desk, at) = scene.node("desk", &["--listen", "0.0.0.0:0"]);
    assert!(!at.starts_with("0.0.0.0"), "{at}");
    let pinged = scene.run(&["ping", &at, "--count", "1"]);
    assert!(pinged.status.success(), "{}", text(&pinged.stderr));
}
