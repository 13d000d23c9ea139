//! remote_channel_server and remote_channel_client, chat_chan_server and chat_chan_client,
//! log_watch.

use crate::nodes::User;
use crate::program::Program;

fn serve(user: &User, name: &str, args: &[&str]) -> (Program, String) {
    let server = user.start(name, args);
    let at = server.listening_on().to_string();
    (server, at)
}

#[test]
fn a_channel_reaches_the_coroutines_of_two_clients() {
    let user = User::new();
    let args = ["0", "--subscribers", "5", "--numbers", "100"];
    let (server, at) = serve(&user, "remote_channel_server", &args);
    let clients = ["2", "3"].map(|coroutines| {
        let client = user.start("remote_channel_client", &[coroutines, "--peer", &at]);
        let line = client.line();
        assert_eq!(
            line,
            format!("{coroutines} coroutines have subscribed to {at}")
        );
        client
    });
    assert_eq!(server.line(), "1 has reached 5 coroutines");
    let squares: Vec<u64> = (1..=100).chain([301]).collect();
    let squares = squares.iter().filter(|n| **n % 3 != 0).map(|n| n * n);
    let (count, sum) = squares.fold((0, 0), |(count, sum), n| (count + 1, sum + n));
    for (client, coroutines) in clients.into_iter().zip([2, 3]) {
        let line = format!("{count} numbers, their sum is {sum}");
        assert_eq!(client.wait().success(), vec![line; coroutines]);
    }
    assert_eq!(
        server.wait().success(),
        ["the last has reached 5 coroutines"]
    );
}

#[test]
fn a_server_that_is_killed_ends_its_clients() {
    let user = User::new();
    let (server, at) = serve(&user, "remote_channel_server", &["0", "--subscribers", "9"]);
    let client = user.start("remote_channel_client", &["1", "--peer", &at]);
    client.line();
    drop(server);
    assert_eq!(client.line(), "0 numbers, their sum is 0");
    let error = client.wait().failure(1);
    assert!(error.contains("the server is gone"), "{error}");

    let nothing = user.start("remote_channel_client", &["0"]);
    let error = nothing.wait().failure(2);
    assert!(error.contains("invalid value '0'"), "{error}");
    let nobody = user.start("remote_channel_client", &["--peer", "127.0.0.1:1"]);
    let error = nobody.wait().failure(1);
    assert!(error.contains("does remote_channel_server run?"), "{error}");
}

#[test]
fn what_one_says_all_others_hear_but_no_shouting() {
    let user = User::new();
    let (server, at) = serve(&user, "chat_chan_server", &["0"]);
    let mut guests = Vec::new();
    for (others, name) in ["anna", "bert", "anna"].into_iter().enumerate() {
        let guest = user.start("chat_chan_client", &[name, "--peer", &at]);
        let are = if others == 1 {
            "other is"
        } else {
            "others are"
        };
        assert_eq!(guest.line(), format!("{others} {are} in the room"));
        guests.push(guest);
    }
    for n in 0..50 {
        guests[0].say(&format!("line {n}"));
    }
    for n in 0..50 {
        for other in &guests[1..] {
            assert_eq!(other.line(), format!("anna: line {n}"));
        }
    }
    guests[1].say("DOES ANYBODY HEAR ME?");
    assert_eq!(guests[1].line(), "nobody has heard that");
    assert_eq!(server.line(), "bert shouts: dropped");
    // Nothing, and no shouting.
    guests[1].say(" ");
    for text in ["I", "\u{4f60}\u{597d}"] {
        guests[1].say(text);
        for other in [&guests[0], &guests[2]] {
            assert_eq!(other.line(), format!("bert: {text}"));
        }
    }
    guests[1].say_bytes(b"Caf\xe9?\n");
    for other in [&guests[0], &guests[2]] {
        assert_eq!(other.line(), "bert: Caf\u{fffd}?");
    }
    guests[1].say("Now? \x1b[2J");
    for other in [&guests[0], &guests[2]] {
        assert_eq!(other.line(), r"bert: Now? \u{1b}[2J");
    }
    // Whoever leaves has said everything, and is waited for by nobody.
    guests[1].say("bye");
    assert_eq!(guests.remove(1).wait().success(), [""; 0]);
    for other in &guests {
        assert_eq!(other.line(), "bert: bye");
    }
    guests[0].say("he is gone");
    assert_eq!(guests[1].line(), "anna: he is gone");
    drop(server);
    for guest in guests {
        // Perhaps while it waits for the answer to what it has said last.
        let error = guest.wait_open().failure(1);
        let gone = error.contains("the server is gone") || error.contains("no link");
        assert!(gone, "{error}");
    }
}

#[test]
fn one_watches_the_logs_of_many() {
    let user = User::new();
    let mut servers = Vec::new();
    let mut at = Vec::new();
    for name in ["web", "mail", "disk"] {
        let args = ["serve", "0", "--name", name, "--contains", "error"];
        let (server, address) = serve(&user, "log_watch", &args);
        assert!(server.line().contains("of standard input"));
        servers.push(server);
        at.push(address);
    }
    let mut args = vec!["watch"];
    args.extend(at.iter().map(String::as_str));
    let client = user.start("log_watch", &args);
    for name in ["web", "mail", "disk"] {
        assert_eq!(client.line(), format!("watching {name}"));
    }
    for (server, name) in servers.iter_mut().zip(["web", "mail", "disk"]) {
        server.say_bytes(b"error: caf\xe9\r\n");
        assert_eq!(client.line(), format!("{name}: error: caf\u{fffd}"));
        for n in 0..20 {
            server.say(&format!("all is well {n}"));
            server.say(&format!("error {n}"));
        }
        for n in 0..20 {
            assert_eq!(client.line(), format!("{name}: error {n}"));
        }
    }
    // The last one is killed, another ends, and the first goes on.
    drop(servers.pop());
    assert_eq!(client.line(), "disk is lost");
    servers.pop().unwrap().wait().success();
    assert_eq!(client.line(), "mail has ended");
    servers[0].say("error at last");
    assert_eq!(client.line(), "web: error at last");
    servers.remove(0).wait().success();
    assert_eq!(client.line(), "web has ended");
    let error = client.wait().failure(1);
    assert!(error.contains("out of reach: disk;"), "{error}");
}

#[test]
fn no_server_is_said_to_have_ended_that_goes_on() {
    let user = User::new();
    let (server, at) = serve(&user, "log_watch", &["serve", "0"]);
    let client = user.start("log_watch", &["watch", &at, "127.0.0.1:1"]);
    let ended = client.wait();
    assert_eq!(ended.lines, [""; 0], "nobody has ended");
    let error = ended.failure(1);
    assert!(error.contains("does log_watch serve run?"), "{error}");
    let client = user.start("log_watch", &["watch", &at]);
    assert_eq!(client.line(), "watching log_watch");
    server.wait().success();
    assert_eq!(client.wait().success(), ["log_watch has ended"]);
}
