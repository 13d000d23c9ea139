//! What a program that logs nothing says of nodes that it cannot talk to.

#![cfg(all(feature = "macros", feature = "net"))]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Where the program is to find another one, or a file that says so; nowhere, when it is empty.
const PEER: &str = "COROS_TEST_PEER";
const LISTENS: &str = "it listens on ";

mod program {
    use std::time::Duration;

    use coros::net::{Node, PeerEvent, Secret};

    /// Ends when there was somebody with whom there is no link.
    #[coros::main]
    pub(super) async fn main() {
        let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
        let mut node = Node::builder()
            .secret(Secret::random())
            .on_peer_event(move |event| {
                let _ = told.send(event);
            });
        let peer = std::env::var(super::PEER).expect("it is set");
        if std::path::Path::new(&peer).is_file() {
            node = node.peers_file(peer);
        } else if !peer.is_empty() {
            node = node.peer(peer);
        }
        let node = node.build().await.expect("it starts");
        let at = node.location().endpoint.expect("it listens");
        println!("\n{}{at}", super::LISTENS);
        let event = tokio::time::timeout(Duration::from_secs(60), events.recv());
        match event.await.expect("it must not hang") {
            Some(PeerEvent::Refused(..) | PeerEvent::Unreachable(..) | PeerEvent::NotFound(..)) => {
            }
            event => panic!("{event:?}"),
        }
    }
}

/// No test, but what the other starts.
#[test]
fn program() {
    if std::env::var_os(PEER).is_some() {
        program::main();
    }
}

fn start(peer: &str, log: &str) -> Child {
    start_with(peer, log, Stdio::piped())
}

fn start_with(peer: &str, log: &str, errors: Stdio) -> Child {
    Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["program", "--exact", "--nocapture"])
        .env(PEER, peer)
        .env("COROS_LOG", log)
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .expect("it starts")
}

/// What it prints, to be kept, so that it prints to somebody until its end; and where it listens.
fn listens(program: &mut Child) -> (impl Iterator<Item = String> + use<>, String) {
    let lines = BufReader::new(program.stdout.take().expect("piped")).lines();
    let mut lines = lines.map_while(Result::ok);
    let at = lines.by_ref().find_map(|line| {
        let at = line.strip_prefix(LISTENS)?;
        Some(at.to_owned())
    });
    (lines, at.expect("it says where it listens"))
}

/// What two say that have different secrets, of which the second is given the first.
fn said(log: &str) -> ([String; 2], String) {
    let mut first = start("", log);
    let (_lines, at) = listens(&mut first);
    let second = start(&at, log);
    let said = [first, second].map(|it| {
        let ended = it.wait_with_output().expect("it can be waited for");
        let said = String::from_utf8(ended.stderr).expect("it prints UTF-8");
        assert!(ended.status.success(), "{said}");
        said
    });
    (said, at)
}

#[test]
fn both_say_why_unless_they_are_to_be_quiet() {
    let ([refuses, dials], at) = said("");
    let why = "the two nodes have different secrets";
    assert!(refuses.starts_with("coros: 127.0.0.1:"), "{refuses}");
    assert!(
        refuses.contains(&format!(" was refused: {why}")),
        "{refuses}"
    );
    assert!(dials.starts_with("coros: trying on: "), "{dials}");
    assert!(dials.contains(&at) && dials.contains(why), "{dials}");
    let (said, _) = said("off");
    assert_eq!(said, ["", ""]);
}

#[test]
fn a_host_that_is_not_found_is_named() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/no_link_peers");
    std::fs::write(file, "nowhere.invalid:7340\n").expect("there is room");
    for peer in ["nowhere.invalid:7340", file] {
        let mut seeks = start(peer, "");
        let lines = BufReader::new(seeks.stderr.take().expect("piped")).lines();
        // It ends by itself, if it says nothing.
        let said = lines
            .map_while(Result::ok)
            .find(|it| it.contains("nowhere.invalid"));
        seeks.kill().expect("it runs");
        seeks.wait().expect("it can be waited for");
        let said = said.expect("it says whom it cannot find");
        let start = "coros: trying on: cannot look up where nowhere.invalid:7340 is: ";
        assert!(said.starts_with(start), "{said}");
    }
}

/// As when standard error is a pipe to somebody who has stopped.
#[cfg(unix)]
#[test]
fn a_program_goes_on_although_nobody_reads_what_it_says() {
    use std::io::{ErrorKind, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    let (mut errors, _reads_nothing) = UnixStream::pair().expect("there are sockets");
    errors.set_nonblocking(true).expect("it can be set");
    let full = loop {
        if let Err(error) = errors.write(b".") {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    errors.set_nonblocking(false).expect("it can be set");
    let mut program = start_with("", "", OwnedFd::from(errors).into());
    let (lines, at) = listens(&mut program);
    let stranger = start(&at, "off").wait_with_output();
    assert!(stranger.expect("it can be waited for").status.success());
    // It ends when it has heard of the stranger.
    let (ended, end) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        lines.for_each(drop);
        let _ = ended.send(());
    });
    let in_time = end.recv_timeout(Duration::from_secs(5));
    let _ = program.kill();
    let status = program.wait().expect("it can be waited for");
    reading.join().expect("it only reads");
    assert!(in_time.is_ok() && status.success(), "{in_time:?}, {status}");
}
