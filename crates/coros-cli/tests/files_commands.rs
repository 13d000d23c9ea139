//! `coros send` and `coros receive` as processes, also when they are killed.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::Demo;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a secret, one with files to send, and one where they go.
struct Scene {
    config: TempDir,
    home: TempDir,
    inbox: TempDir,
}

impl Scene {
    fn set() -> Self {
        let [config, home, inbox] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        Scene {
            config,
            home,
            inbox,
        }
    }

    /// A receiver, and where it listens.
    fn receive(&self, listen: &str, args: &[&str]) -> (Demo, String) {
        let inbox = common::path_text(self.inbox.path());
        let args = [&["receive", &*inbox, "--listen", listen], args].concat();
        let mut receiver = self.start(&args);
        let line = receiver.wait_for(|line| line.starts_with("files for "));
        let at = line.split(' ').nth(2).expect("it says where");
        (receiver, at.to_owned())
    }

    fn start(&self, args: &[&str]) -> Demo {
        Demo::start_with(args, |command| {
            command
                .env("XDG_CONFIG_HOME", self.config.path())
                .env_remove("COROS_SECRET_FILE")
                .current_dir(&self.home)
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = common::command(args, &self.config);
        command
            .current_dir(&self.home)
            .env_remove("COROS_SECRET_FILE");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("coros starts")
    }

    fn send(&self, args: &[&str]) -> Output {
        self.run(&[&["send"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let sent = self.send(&[args, &["--json"]].concat());
        assert!(sent.status.success(), "{}", text(&sent.stderr));
        serde_json::from_slice(&sent.stdout).expect("one JSON object")
    }

    fn here(&self, name: &str, content: &[u8]) {
        fs::write(self.home.path().join(name), content).expect("it is a folder");
    }

    /// A file that takes a while.
    #[cfg(target_os = "linux")]
    fn large(&self, name: &str) {
        let file = fs::File::create(self.home.path().join(name)).expect("it is a folder");
        file.set_len(256 << 20).expect("it may be sparse");
    }

    fn there(&self, name: &str) -> Vec<u8> {
        fs::read(self.inbox.path().join(name)).expect("it has come")
    }

    /// Waits until something of a file has come, which somebody is about to send.
    #[cfg(target_os = "linux")]
    fn half_way(&self) {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

        let inbox = self.inbox.path();
        let changes = inotify::init(CreateFlags::CLOEXEC).expect("changes can be watched");
        inotify::add_watch(&changes, inbox, WatchFlags::MODIFY).expect("it is a folder");
        let limit = common::LIMIT.try_into().expect("it is not long");
        while !parts(inbox).iter().any(|length| *length > 0) {
            let changed = poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&limit));
            assert_eq!(changed, Ok(1), "nothing comes");
            // Which it was does not matter, and that there were more of them neither.
            rustix::io::read(&changes, &mut [0; 4096]).expect("there is one");
        }
    }
}

#[cfg(target_os = "linux")]
fn parts(folder: &std::path::Path) -> Vec<u64> {
    let entries = fs::read_dir(folder).expect("it is a folder").flatten();
    let hidden = entries.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with(".coros-part-")
    });
    hidden
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints UTF-8")
}

#[test]
fn files_arrive_are_skipped_and_refused() {
    let scene = Scene::set();
    scene.here("a", b"one");
    scene.here("b", b"other");
    let (mut receiver, at) = scene.receive("127.0.0.1:0", &["--name", "desk", "--max-size", "1K"]);

    let sent = scene.send(&[&at, "a", "b", "--to", "today/in"]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert!(sent.stderr.is_empty(), "quiet when it is no terminal");
    let lines = text(&sent.stdout);
    assert!(
        lines.starts_with("sent     a as today/in/a, 3 B, "),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 2);
    assert_eq!(scene.there("today/in/b"), b"other");

    let again = scene.json(&["desk", "a", "--to", "today/in", "--peer", &at]);
    assert_eq!(again["node"]["name"], "desk");
    let file = &again["files"][0];
    assert_eq!(
        (&file["result"], &file["moved"]),
        (&"skipped".into(), &0.into())
    );

    scene.here("a", b"two");
    scene.here("large", &[0; 1025]);
    let sent = scene.send(&[&at, "large", "a", "missing", "b", "--to", "today/in"]);
    assert_eq!(sent.status.code(), Some(1));
    let said = text(&sent.stderr);
    assert!(said.contains("coros send: large: desk@"), "{said}");
    assert!(said.contains("files may have 1024 bytes"), "{said}");
    assert!(said.contains("give --replace"), "{said}");
    assert!(said.contains("cannot read missing"), "{said}");
    let lines = text(&sent.stdout);
    assert_eq!(lines.matches("failed ").count(), 3, "{lines}");
    assert_eq!(scene.there("today/in/a"), b"one");

    let replaced = scene.json(&[&at, "a", "--to", "today/in", "--replace"]);
    assert_eq!(replaced["files"][0]["result"], "sent");
    assert_eq!(scene.there("today/in/a"), b"two");
    for (name, why) in [
        ("large", "it is too large"),
        ("a", "a file with another content"),
    ] {
        let line = receiver.wait_for(|line| line.contains(" was refused: "));
        let begins = format!("today/in/{name} from ");
        assert!(line.starts_with(&begins) && line.contains(why), "{line}");
    }
}

#[test]
fn two_files_of_one_name_are_refused_before_anything_is_sent() {
    let scene = Scene::set();
    scene.here("one", b"1");
    fs::create_dir(scene.home.path().join("sub")).expect("it is a folder");
    scene.here("sub/one", b"2");
    let (_receiver, at) = scene.receive("127.0.0.1:0", &[]);
    let sent = scene.send(&[&at, "one", "sub/one"]);
    assert_eq!(sent.status.code(), Some(2));
    let said = text(&sent.stderr);
    assert!(said.contains("one and sub/one would both be"), "{said}");
    assert!(!scene.inbox.path().join("one").exists());
}

#[test]
fn what_cannot_be_meant_is_told_with_what_can() {
    let scene = Scene::set();
    for (args, says) in [
        (
            &["send", "desk", ".."][..],
            ".. is not a file: only files can be sent",
        ),
        (
            &["send", "desk", "/"],
            "/ is not a file: only files can be sent",
        ),
        (
            &["send", "desk", "a", "--to", ""],
            "a value is required for '--to <FOLDER>'",
        ),
        (
            &["receive", ".", "--listen", "foo"],
            "such as 127.0.0.1:7340",
        ),
        (
            &["receive", ".", "--listen", "localhost:7351"],
            "such as 127.0.0.1:7340",
        ),
        (&["receive", ".", "--max-size", "1X"], "such as 20G"),
        (&["receive", ".", "--max-size", "0"], "such as 20G"),
        (
            &["peers", "--discover", "--wait", "soon"],
            "from 0.001 to 1000000",
        ),
    ] {
        let ended = scene.run(args);
        assert_eq!(ended.status.code(), Some(2), "{args:?}");
        let said = text(&ended.stderr);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_cannot_travel_is_not_sent_as_another() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let scene = Scene::set();
    let name = OsStr::from_bytes(b"caf\xe9");
    fs::write(scene.home.path().join(name), b"1").expect("it is a folder");
    let (_receiver, at) = scene.receive("127.0.0.1:0", &[]);
    let mut command = scene.command(&["send", &at]);
    let sent = command.arg(name).output().expect("coros starts");
    assert_eq!(sent.status.code(), Some(2));
    let said = text(&sent.stderr);
    assert!(said.contains(r"the name of caf\xe9 is not UTF-8"), "{said}");
    let mut there = fs::read_dir(scene.inbox.path()).expect("it is a folder");
    assert!(there.next().is_none());
}

/// As when the disk is full that it prints to.
#[cfg(target_os = "linux")]
#[test]
fn a_receiver_that_cannot_print_says_goodbye() {
    use coros::net::{Node, PeerEvent, Secret, SendFile};

    let scene = Scene::set();
    scene.here("a", b"one");
    let (secret, file) = (Secret::random(), scene.config.path().join("secret"));
    secret.save(&file).expect("it is a folder");
    let inbox = common::path_text(scene.inbox.path());
    let args = ["receive", &*inbox, "--listen", "127.0.0.1:0"];
    let mut receiver = Demo::start_with(&args, |command| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        command
            .env("COROS_SECRET_FILE", file)
            .stdout(full.expect("Linux has it"))
    });
    let line = receiver.wait_for(|line| line.starts_with("files for "));
    let at = line.split(' ').nth(2).expect("it says where");
    let at = at.parse().expect("an endpoint");
    let sender = async {
        let node = Node::builder().secret(secret).no_listen().member(false);
        let node = node.build().await.expect("it starts");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        node.on_peer_event(move |event| drop(tell.send(event)));
        let desk = node.connect(at).await.expect("it listens");
        let path = scene.home.path().join("a");
        let sent = node.send_file(&desk, path, SendFile::new()).await;
        sent.expect("there is room");
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout(common::LIMIT, told.recv()).await {
            let is_last = matches!(event, PeerEvent::Left(_));
            events.push(event);
            if is_last {
                break;
            }
        }
        assert!(
            matches!(events[..], [PeerEvent::Joined(_), PeerEvent::Left(_)]),
            "{events:?}"
        );
    };
    let runtime = tokio::runtime::Runtime::new().expect("there are threads");
    runtime.block_on(sender);
    let ended = receiver.end();
    assert_eq!(ended.status.code(), Some(1));
    let said = ended.stderr.join("\n");
    assert!(said.contains("coros receive: cannot print"), "{said}");
}

#[test]
fn what_was_there_already_is_told_as_such() {
    let scene = Scene::set();
    // Nothing of it crosses the network in any case.
    scene.here("empty", b"");
    for already in [false, true] {
        let (receiver, at) = scene.receive("127.0.0.1:0", &["--once", "--json"]);
        assert!(scene.send(&[&at, "empty"]).status.success());
        let came: Value = serde_json::from_str(&receiver.end().stdout).expect("one object");
        assert_eq!(came["already"], already);
    }
    let (receiver, at) = scene.receive("127.0.0.1:0", &["--once"]);
    assert!(scene.send(&[&at, "empty"]).status.success());
    let line = receiver.end().stdout;
    assert!(line.ends_with(", was there already\n"), "{line}");
}

#[test]
fn a_receiver_says_what_came_and_ends_after_one() {
    let scene = Scene::set();
    scene.here("a", b"one");
    let (receiver, at) = scene.receive("127.0.0.1:0", &["--once", "--json", "--durable"]);
    let sent = scene.send(&[&at, "a"]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let ended = receiver.end();
    assert!(ended.status.success());
    let came: Value = serde_json::from_str(&ended.stdout).expect("one object");
    assert_eq!(
        (&came["name"], &came["size"], &came["moved"]),
        (&"a".into(), &3.into(), &3.into())
    );
}

#[test]
fn who_cannot_be_reached_is_told_of_with_what_to_do() {
    let scene = Scene::set();
    scene.here("a", b"one");
    // Nobody listens on a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let at = free.local_addr().expect("it is bound").to_string();
    drop(free);
    for (args, says) in [
        (vec![&*at, "a"], "does `coros receive` run there"),
        (vec!["desk", "a"], "give HOST:PORT in its place"),
        (
            vec!["desk", "a", "--peer", &at],
            "does `coros receive` run there",
        ),
    ] {
        let sent = scene.send(&args);
        assert_eq!(sent.status.code(), Some(1));
        let said = text(&sent.stderr);
        assert!(said.contains(says), "{said}");
    }
    let (_receiver, at) = scene.receive("127.0.0.1:0", &[]);
    let sent = scene.send(&["nobody", "a", "--peer", &at]);
    let said = text(&sent.stderr);
    assert!(said.contains("no node is called \"nobody\""), "{said}");
    // Another network, by another secret.
    let stranger = Scene::set();
    stranger.here("a", b"one");
    let sent = stranger.send(&[&at, "a"]);
    assert_eq!(sent.status.code(), Some(1));
    let said = text(&sent.stderr);
    assert!(said.contains("secret"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_receiver_of_one_file_is_said_to_have_left() {
    let scene = Scene::set();
    scene.here("a", b"one");
    scene.large("big");
    scene.here("b", b"two");
    let (receiver, at) = scene.receive("127.0.0.1:0", &["--once"]);
    let sent = scene.send(&[&at, "a", "big", "b"]);
    assert_eq!(sent.status.code(), Some(1));
    let said = text(&sent.stderr);
    assert_eq!(said.matches("it has left, as").count(), 2, "{said}");
    assert!(receiver.end().status.success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_receiver_that_is_told_to_end_is_said_to_have_left() {
    use nix::sys::signal::Signal;

    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let scene = Scene::set();
        scene.large("big");
        scene.here("b", b"two");
        let (receiver, at) = scene.receive("127.0.0.1:0", &[]);
        let sender = scene.start(&["send", &at, "big", "b"]);
        scene.half_way();
        common::signal(receiver.pid(), signal);
        let ended = sender.end();
        assert_eq!(ended.status.code(), Some(1));
        let said = ended.stderr.join("\n");
        assert_eq!(said.matches("it has left, as").count(), 2, "{said}");
        assert_eq!(receiver.end().status.code(), Some(status));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_sender_that_is_killed_or_interrupted_goes_on_where_it_was() {
    use nix::sys::signal::Signal;

    for (signal, status) in [(Signal::SIGKILL, None), (Signal::SIGINT, Some(130))] {
        let scene = Scene::set();
        scene.large("big");
        let (_receiver, at) = scene.receive("127.0.0.1:0", &[]);
        let sender = scene.start(&["send", &at, "big"]);
        scene.half_way();
        common::signal(sender.pid(), signal);
        let ended = sender.end();
        assert_eq!(ended.status.code(), status);
        let said = ended.stderr.join("\n");
        let says = said.contains("the same command goes on from there");
        assert_eq!(says, signal == Signal::SIGINT, "{said}");
        goes_on(&scene, &at);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_receiver_that_is_killed_goes_on_where_it_was() {
    let scene = Scene::set();
    scene.large("big");
    let (receiver, at) = scene.receive("127.0.0.1:0", &[]);
    let sender = scene.start(&["send", &at, "big"]);
    scene.half_way();
    common::signal(receiver.pid(), nix::sys::signal::Signal::SIGKILL);
    receiver.end();
    let ended = sender.end();
    assert_eq!(ended.status.code(), Some(1));
    let said = ended.stderr.join("\n");
    assert!(said.contains("it goes on from there"), "{said}");
    assert!(!scene.inbox.path().join("big").exists());
    let (_receiver, at) = scene.receive("127.0.0.1:0", &[]);
    goes_on(&scene, &at);
}

#[cfg(target_os = "linux")]
fn goes_on(scene: &Scene, at: &str) {
    let sent = scene.json(&[at, "big"]);
    let file = &sent["files"][0];
    assert_eq!(file["result"], "resumed", "{sent}");
    assert!(file["moved"].as_u64() < file["size"].as_u64(), "{sent}");
    assert_eq!(scene.there("big").len(), 256 << 20);
    assert!(parts(scene.inbox.path()).is_empty(), "nothing is left over");
}
