//! tut_sock_server and tut_sock_client, socket_afile, udp.

use std::io::Write;
use std::net::TcpStream;

use crate::program::{Program, run};

#[test]
fn tut_sock_answers_each_message() {
    let (server, at) = Program::serve("tut_sock_server", &["0"]);
    let port = at.port().to_string();
    let lines = run("tut_sock_client", [&*port, "--host", "localhost"]).success();
    assert_eq!(
        lines,
        [
            "message 1, 5 bytes: HELLO",
            "message 2, 12 bytes: HOW ARE YOU?",
            "message 3, 8 bytes: GOOD BYE",
        ]
    );
    let printed: Vec<_> = (0..4).map(|_| server.line()).collect();
    let peer = printed[0].split(' ').next().unwrap();
    assert_eq!(
        printed,
        [
            format!("{peer} sent 5 bytes"),
            format!("{peer} sent 12 bytes"),
            format!("{peer} sent 8 bytes"),
            format!("{peer} is done after 3 messages"),
        ]
    );
}

#[test]
fn tut_sock_client_prints_no_control_characters() {
    let (_server, at) = Program::serve("tut_sock_server", &["0"]);
    let port = at.port().to_string();
    let lines = run("tut_sock_client", [&*port, "a\x1b[2J\nb"]).success();
    assert_eq!(lines, [r"message 1, 7 bytes: A\u{1b}[2J\nB"]);
}

#[test]
fn tut_sock_serves_many_and_survives_garbage() {
    let (server, at) = Program::serve("tut_sock_server", &["0"]);
    let port = at.port().to_string();

    // As a frame, this announces more than a gigabyte.
    let mut garbage = TcpStream::connect(at).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let line = server.line();
    assert!(
        line.contains(" failed: the peer sends a message of 1195725856 bytes"),
        "{line}"
    );

    let long = "x".repeat(100_000);
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let args = [&*port, &format!("from {n}"), "", &long];
            Program::start("tut_sock_client", args)
        })
        .collect();
    for (n, client) in clients.into_iter().enumerate() {
        let lines = client.wait().success();
        assert_eq!(lines[0], format!("message 1, 6 bytes: FROM {n}"));
        assert_eq!(lines[1], "message 2, 0 bytes: ");
        assert_eq!(
            lines[2],
            format!("message 3, 100000 bytes: {}", long.to_uppercase())
        );
        assert_eq!(lines.len(), 3);
    }
}

#[test]
fn tut_sock_encrypts() {
    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (crt, key) = (
        folder.path().join("server.crt"),
        folder.path().join("server.key"),
    );
    std::fs::write(&crt, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let (crt, key) = (crt.to_str().unwrap(), key.to_str().unwrap());

    let args = ["0", "--cert", crt, "--key", key];
    let (server, at) = Program::serve("tut_sock_server", &args);
    let port = at.port().to_string();
    let lines = run(
        "tut_sock_client",
        [&*port, "a secret", "--host", "localhost", "--ca", crt],
    )
    .success();
    assert_eq!(lines, ["message 1, 8 bytes: A SECRET"]);
    assert!(server.line().ends_with(" sent 8 bytes"));
    assert!(server.line().ends_with(" is done after 1 messages"));

    // Without encryption the two do not understand each other, and both say so.
    let error = run("tut_sock_client", [&*port, "a secret"]).failure(1);
    assert!(error.starts_with("Error: "), "{error}");
    let line = server.line();
    assert!(line.contains(" failed: "), "{line}");
}

#[test]
fn what_cannot_be_reached_is_named() {
    let error = run("tut_sock_client", ["1"]).failure(1);
    assert!(
        error.contains("cannot connect to 127.0.0.1:1; does tut_sock_server run?"),
        "{error}"
    );
    let error = run("tut_sock_server", ["0", "--host", "192.0.2.1"]).failure(1);
    assert!(error.contains("cannot listen on 192.0.2.1:0"), "{error}");
    let args = ["0", "--cert", "/nowhere/a.crt", "--key", "/nowhere/a.key"];
    let error = run("tut_sock_server", args).failure(1);
    assert!(error.contains("/nowhere/a.crt"), "{error}");
}

#[test]
fn socket_afile_gets_every_line_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    // Far more than the buffers of a socket hold.
    let mut text: String = (0..50_000)
        .map(|n| format!("line {n} of the file\n"))
        .collect();
    text.push_str("\nand one without an end");
    std::fs::write(&path, text).unwrap();
    let lines = run("socket_afile", [&path]).success();
    assert_eq!(
        lines,
        [
            "the client sent 50002 lines",
            "the server received 50002 lines",
            "50002 lines came back as they should",
        ]
    );

    let error = run("socket_afile", [folder.path().join("none")]).failure(1);
    assert!(
        error.contains("cannot open") && error.contains("none"),
        "{error}"
    );
    let error = run("socket_afile", [folder.path()]).failure(1);
    let named = format!("cannot read {}", folder.path().display());
    assert!(error.contains(&named), "{error}");
}

#[test]
fn udp_gets_every_answer() {
    let mut lines = run("udp", ["20"]).success();
    assert!(lines.remove(0).starts_with("listening on 127.0.0.1:"));
    let (answers, received): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.starts_with("answer: "));
    let expected: Vec<_> = (0..20).map(|n| format!("answer: CLIENT {n}")).collect();
    assert_eq!(answers, expected);
    for n in 0..20 {
        let start = format!("received \"client {n}\" from 127.0.0.1:");
        assert!(
            received.iter().any(|line| line.starts_with(&start)),
            "{n}: {received:?}"
        );
    }
}

#[test]
fn udp_in_two_programs() {
    let (server, at) = Program::serve("udp", &["--serve", "127.0.0.1:0"]);
    let lines = run("udp", ["2", "--to", &at.to_string()]).success();
    assert_eq!(lines, ["answer: CLIENT 0", "answer: CLIENT 1"]);
    assert!(server.line().starts_with("received \"client "));

    let error = run("udp", ["1", "--to", "127.0.0.1:1"]).failure(1);
    assert!(
        error.contains("refused") || error.contains("no answer"),
        "{error}"
    );
    assert!(error.contains("cannot ask 127.0.0.1:1"), "{error}");
}
