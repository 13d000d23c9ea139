//! What a program that logs nothing says of nodes that it cannot talk to.

#![cfg(all(feature = "macros", feature = "net"))]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Where the program is to find another one; nowhere, when it is empty.
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
        if !peer.is_empty() {
            node = node.peer(peer);
        }
        let node = node.build().await.expect("it starts");
        let at = node.location().endpoint.expect("it listens");
        println!("\n{}{at}", super::LISTENS);
        let event = tokio::time::timeout(Duration::from_secs(60), events.recv());
        match event.await.expect("it must not hang") {
            Some(PeerEvent::Refused(..) | PeerEvent::Unreachable(..)) => {}
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
    Command::new(std::env::current_exe().expect("a test has a path"))
        .args(["program", "--exact", "--nocapture"])
        .env(PEER, peer)
        .env("COROS_LOG", log)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// What two say that have different secrets, of which the second is given the first.
fn said(log: &str) -> ([String; 2], String) {
    let mut first = start("", log);
    let lines = BufReader::new(first.stdout.take().expect("piped")).lines();
    // Kept, so that it prints to somebody until its end.
    let mut lines = lines.map_while(Result::ok);
    let at = lines.by_ref().find_map(|line| {
        let at = line.strip_prefix(LISTENS)?;
        Some(at.to_owned())
    });
    let at = at.expect("it says where it listens");
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
    let mut seeks = start("nowhere.invalid:7340", "");
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
