//! tut_server and tut_client, remote_coro_server and remote_coro_client, rci_monitor_server and rci_monitor_client.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::program::{Output, Program};

/// A user's nodes: they have the secret in the same configuration folder.
pub(crate) struct User(TempDir);

impl User {
    pub(crate) fn new() -> Self {
        User(tempfile::tempdir().unwrap())
    }

    pub(crate) fn start(&self, name: &str, args: &[&str]) -> Program {
        Program::start_with(name, args, &[("XDG_CONFIG_HOME", self.0.path())])
    }

    fn serve(&self, name: &str) -> (Program, SocketAddr) {
        let server = self.start(name, &["0"]);
        let at = server.listening_on();
        (server, at)
    }

    fn client(&self, name: &str, args: &[&str], server: SocketAddr) -> Program {
        // By the name of the host, which may have addresses where nobody listens.
        let at = format!("localhost:{}", server.port());
        let mut all = vec!["--peer".to_owned(), at];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        self.start(name, &all)
    }

    fn run(&self, name: &str, args: &[&str], server: SocketAddr) -> Output {
        self.client(name, args, server).wait()
    }
}

#[test]
fn coroutines_are_started_messaged_and_joined_on_another_node() {
    let user = User::new();
    let (server, at) = user.serve("remote_coro_server");
    let lines = user.run("remote_coro_client", &["2"], at).success();
    assert_eq!(
        lines,
        [
            "coroutine 1 runs at remote_coro_server",
            "coroutine 2 runs at remote_coro_server",
            "coroutine 1: 5.5 so far",
            "coroutine 2: 11 so far",
            "coroutine 1: 5 is the mean of 11 values",
            "coroutine 2: 10 is the mean of 11 values",
        ]
    );
    let mut printed: Vec<_> = (0..4).map(|_| server.line()).collect();
    printed.sort();
    assert_eq!(
        printed,
        [
            "coroutine 1 begins",
            "coroutine 1 ends after 11 values",
            "coroutine 2 begins",
            "coroutine 2 ends after 11 values",
        ]
    );
    // More than may run for one peer; what a client has left behind goes with it.
    let error = user.run("remote_coro_client", &["101"], at).failure(1);
    assert!(
        error.contains("cannot start \"mean\" on remote_coro_server@")
            && error.contains("100 of this node run, as many as may at once for one"),
        "{error}"
    );
    let again = user.run("remote_coro_client", &["100"], at).success();
    assert_eq!(again.len(), 300);
}

#[test]
fn strangers_start_nothing() {
    let (_server, at) = User::new().serve("remote_coro_server");
    let error = User::new().run("remote_coro_client", &[], at).failure(1);
    assert!(
        error.contains("does remote_coro_server run?") && error.contains("secret"),
        "{error}"
    );
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let error = User::new()
        .run("rci_monitor_client", &[], nobody)
        .failure(1);
    assert!(error.contains("does rci_monitor_server run?"), "{error}");
}

#[test]
fn what_is_no_peer_is_told_by_the_argument_before_anything_is_done() {
    for (name, args, argument) in [
        ("chat_chan_client", &["anna", "--peer", "x"][..], "--peer"),
        ("rci_monitor_client", &["--peer", "x"], "--peer"),
        ("remote_channel_client", &["--peer", "x"], "--peer"),
        ("remote_coro_client", &["--peer", "x"], "--peer"),
        ("tut_client", &["--peer", "x"], "--peer"),
        ("discoro_agents", &["--peer", "x"], "--peer"),
        ("log_watch", &["watch", "x"], "<HOST:PORT>..."),
        ("send_file", &["--to", "x", "Cargo.toml"], "--to"),
    ] {
        let error = User::new().start(name, args).wait().failure(2);
        let says = format!("invalid value 'x' for '{argument}");
        assert!(error.contains(&says), "{name}: {error}");
        assert!(error.contains("such as farm.example:7340"), "{error}");
    }
}

const ENDS: [&str; 4] = [
    "Divide(84, 2): finished",
    "Divide(84, 2) is 42",
    "Divide(1, 0): panicked: nobody divides by zero",
    "Wait: terminated",
];

#[test]
fn monitors_tell_how_coroutines_of_another_node_ended() {
    let user = User::new();
    let (_server, at) = user.serve("rci_monitor_server");
    let lines = user.run("rci_monitor_client", &[], at).success();
    assert_eq!(lines, ENDS);
}

#[test]
fn a_server_that_is_killed_is_disconnected() {
    let user = User::new();
    let (server, at) = user.serve("rci_monitor_server");
    let client = user.client("rci_monitor_client", &["--stay"], at);
    for end in ENDS {
        assert_eq!(client.line(), end);
    }
    let line = client.line();
    assert!(line.starts_with("waiting for the end of #"), "{line}");
    // kill -9
    drop(server);
    assert_eq!(client.line(), "Wait: disconnected");
    assert_eq!(client.wait().success(), [""; 0]);
}

#[test]
fn a_client_that_knows_nobody_finds_its_server_on_the_local_network() {
    let user = User::new();
    let server = user.start("tut_server", &["0", "--discover"]);
    assert!(server.listening_on().ip().is_unspecified(), "for all");
    let client = user.start("tut_client", &["1", "4", "--discover"]);
    assert_eq!(
        client.wait().success(),
        ["client 1: the sum of 4 numbers is 10"]
    );
}

#[test]
fn a_coroutine_is_found_by_its_name_from_other_processes() {
    let user = User::new();
    let (server, at) = user.serve("tut_server");
    let first = user.client("tut_client", &["2", "3"], at);
    assert_eq!(
        first.wait().success(),
        [
            "client 1: the sum of 3 numbers is 6",
            "client 2: the sum of 3 numbers is 6",
        ]
    );
    let mut printed: Vec<_> = (0..6).map(|_| server.line()).collect();
    printed.sort();
    assert_eq!(printed[0], "client 1 sent 1");
    assert_eq!(printed[5], "client 2 sent 3");
    drop(server);
    let error = user.run("tut_client", &[], at).failure(1);
    assert!(error.contains("does tut_server run?"), "{error}");
}
