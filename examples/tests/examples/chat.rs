//! chat_sock_server and chat_sock_client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::program::{LIMIT, Program, run};

fn join(at: SocketAddr) -> Program {
    Program::start("chat_sock_client", [at.port().to_string()])
}

/// A connection that the test itself speaks on.
fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn send_frame(stream: &mut TcpStream, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(payload).unwrap();
}

fn receive_frame(stream: &mut TcpStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut payload).unwrap();
    String::from_utf8(payload).unwrap()
}

#[test]
fn what_one_says_the_two_others_hear() {
    let (server, at) = Program::serve("chat_sock_server", &["0"]);
    let mut anna = join(at);
    assert_eq!(anna.line(), "you are guest 1");
    let mut bert = join(at);
    assert_eq!(bert.line(), "you are guest 2");
    assert_eq!(anna.line(), "guest 2 joined");
    let mut cleo = join(at);
    assert_eq!(cleo.line(), "you are guest 3");
    assert_eq!(anna.line(), "guest 3 joined");
    assert_eq!(bert.line(), "guest 3 joined");

    for n in 0..200 {
        anna.say(&format!("line {n}"));
    }
    for n in 0..200 {
        assert_eq!(bert.line(), format!("guest 1 says: line {n}"));
        assert_eq!(cleo.line(), format!("guest 1 says: line {n}"));
    }
    bert.say("héllo");
    assert_eq!(cleo.line(), "guest 2 says: héllo");
    // Nobody hears what he says himself.
    assert_eq!(anna.line(), "guest 2 says: héllo");

    // Nor can anybody command another one's terminal.
    bert.say("\x1b[2J\u{9b}31m");
    for other in [&anna, &cleo] {
        assert_eq!(other.line(), r"guest 2 says: \u{1b}[2J\u{9b}31m");
    }

    // The last words of one who leaves are heard.
    bert.say("bye");
    assert_eq!(bert.wait().success(), [""; 0]);
    for other in [&anna, &cleo] {
        assert_eq!(other.line(), "guest 2 says: bye");
        assert_eq!(other.line(), "guest 2 left");
    }
    cleo.say("he is gone");
    assert_eq!(anna.line(), "guest 3 says: he is gone");
    anna.say("yes");
    assert_eq!(cleo.line(), "guest 1 says: yes");

    let printed: Vec<_> = (0..4).map(|_| server.line()).collect();
    assert_eq!(
        printed[..3],
        ["guest 1 joined", "guest 2 joined", "guest 3 joined"]
    );
    assert_eq!(printed[3], "guest 2 left: finished");
}

#[test]
fn garbage_throws_out_only_whoever_sent_it() {
    let (server, at) = Program::serve("chat_sock_server", &["0"]);
    let mut anna = join(at);
    assert_eq!(anna.line(), "you are guest 1");
    let mut bert = join(at);
    assert_eq!(bert.line(), "you are guest 2");
    assert_eq!(anna.line(), "guest 2 joined");
    for _ in 0..2 {
        server.line();
    }

    // A frame that is too large, no frame at all, and one that is cut short.
    let garbage: [(&[u8], &str); 3] = [
        (
            &[0xff; 64],
            "failed: the peer sends a message of 4294967295 bytes, the limit is 65536 bytes",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "failed: the peer sends a message of 1195725856 bytes",
        ),
        (
            &[0, 0, 0, 9, b'c'],
            "failed: the stream ended in the middle of a message: 5 of 13",
        ),
    ];
    for (id, (bytes, why)) in (3..).zip(garbage) {
        let mut stream = connect(at);
        assert_eq!(receive_frame(&mut stream), format!("you are guest {id}"));
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(anna.line(), format!("guest {id} joined"));
        assert_eq!(anna.line(), format!("guest {id} left"));
        assert_eq!(server.line(), format!("guest {id} joined"));
        let line = server.line();
        assert!(
            line.starts_with(&format!("guest {id} left: {why}")),
            "{line}"
        );
        assert_eq!(bert.line(), format!("guest {id} joined"));
        assert_eq!(bert.line(), format!("guest {id} left"));
    }

    anna.say("still here?");
    assert_eq!(bert.line(), "guest 1 says: still here?");
    bert.say("yes");
    assert_eq!(anna.line(), "guest 2 says: yes");
}

#[test]
fn who_does_not_read_is_thrown_out() {
    let (server, at) = Program::serve("chat_sock_server", &["0"]);
    let mut talker = connect(at);
    assert_eq!(receive_frame(&mut talker), "you are guest 1");
    let _sleeper = connect(at);
    assert_eq!(receive_frame(&mut talker), "guest 2 joined");

    // What the sockets between them buffer, and then the backlog.
    let mut talk = talker.try_clone().unwrap();
    let talking = std::thread::spawn(move || {
        let line = vec![b'x'; 60_000];
        for _ in 0..2_000 {
            send_frame(&mut talk, &line);
        }
    });
    assert_eq!(receive_frame(&mut talker), "guest 2 left");
    talking.join().unwrap();
    for line in [
        "guest 1 joined",
        "guest 2 joined",
        "guest 2 left: terminated",
    ] {
        assert_eq!(server.line(), line);
    }
}

#[test]
fn a_server_that_goes_away_ends_its_clients() {
    let (server, at) = Program::serve("chat_sock_server", &["0"]);
    let client = join(at);
    assert_eq!(client.line(), "you are guest 1");
    drop(server);
    // Its standard input is still open.
    let stderr = client.wait_open().failure(1);
    assert!(
        stderr.contains("the server hung up") || stderr.contains("reset"),
        "{stderr}"
    );

    let error = run("chat_sock_client", ["1"]).failure(1);
    assert!(
        error.contains("cannot connect to 127.0.0.1:1; does chat_sock_server run?"),
        "{error}"
    );
}
