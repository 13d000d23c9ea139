//! `LineFile`: lines, limits, and cancellation, on any stream.

use std::time::Duration;

use coros_core::io::{LineFile, ReadLineError};
use futures_util::{StreamExt, poll};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

async fn all_lines(bytes: &[u8]) -> Vec<String> {
    let mut file = LineFile::new(bytes);
    file.lines()
        .map(|line| line.expect("good lines"))
        .collect()
        .await
}

#[tokio::test]
async fn line_ends() {
    assert_eq!(all_lines(b"").await, [""; 0]);
    assert_eq!(all_lines(b"\n").await, [""]);
    assert_eq!(all_lines(b"\r\n\n").await, ["", ""]);
    assert_eq!(all_lines(b"a\nb").await, ["a", "b"]);
    assert_eq!(all_lines(b"a\r\nb\n").await, ["a", "b"]);
    assert_eq!(all_lines(b"a\rb\nc\r").await, ["a\rb", "c\r"]);
}

#[tokio::test]
async fn a_long_line_is_an_error_and_can_be_read_in_pieces() {
    for (input, fits) in [
        (&b"12345\nx\n"[..], true),
        (b"12345\r\nx\n", true),
        (b"12345", true),
        (b"123456\nx\n", false),
        (b"123456\r\nx\n", false),
        (b"12345\rx\n", false),
        (b"123456", false),
        (b"1234567890", false),
    ] {
        let mut file = LineFile::with_limit(input, 5);
        let line = file.read_line().await;
        assert_eq!(line.is_ok(), fits, "{line:?}");
        if !fits {
            for line in [line, file.read_line().await] {
                let why = line.unwrap_err();
                assert!(matches!(why, ReadLineError::TooLong { limit: 5 }));
                assert_eq!(
                    why.to_string(),
                    "the line is longer than the limit of 5 bytes"
                );
            }
            assert_eq!(file.read(3).await.unwrap(), input[..3]);
            assert_eq!(file.read_all().await.unwrap(), input[3..]);
        }
    }
}

#[tokio::test]
async fn after_a_long_line_the_next_is_read() {
    let mut file = LineFile::with_limit(&b"123456\nnext\n"[..], 5);
    file.read_line().await.unwrap_err();
    assert_eq!(file.read(3).await.unwrap(), &b"123"[..]);
    assert_eq!(file.read_line().await.unwrap().as_deref(), Some("456"));
    assert_eq!(file.read_line().await.unwrap().as_deref(), Some("next"));
    assert_eq!(file.read_line().await.unwrap(), None);
    assert_eq!(file.read_line().await.unwrap(), None);
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let mut file = LineFile::new(&b"\xff\xfe\n\xff\nok\n"[..]);
    let error = file.read_line().await.unwrap_err();
    assert_eq!(error.to_string(), r"the line is not UTF-8: `\xff\xfe`");
    let ReadLineError::NotUtf8 { line } = error else {
        panic!("{error}")
    };
    assert_eq!(line, &b"\xff\xfe"[..]);
    assert_eq!(file.read_line_bytes().await.unwrap().unwrap(), &b"\xff"[..]);
    assert_eq!(file.read_line().await.unwrap().as_deref(), Some("ok"));
}

#[tokio::test]
async fn lines_and_pieces_mix() {
    let mut file = LineFile::new(&b"one\ntwothree\nrest\nof it"[..]);
    assert_eq!(file.read_line().await.unwrap().as_deref(), Some("one"));
    assert_eq!(file.read(3).await.unwrap(), &b"two"[..]);
    assert_eq!(file.read(0).await.unwrap(), &b""[..]);
    assert_eq!(file.read_line().await.unwrap().as_deref(), Some("three"));
    assert_eq!(file.read_all().await.unwrap(), &b"rest\nof it"[..]);
    assert_eq!(file.read(10).await.unwrap(), &b""[..]);
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    let (mut near, far) = tokio::io::duplex(64);
    let mut far = LineFile::new(far);
    for piece in [&b"par"[..], b"tial", b" line"] {
        near.write_all(piece).await.unwrap();
        assert!(poll!(Box::pin(far.read_line())).is_pending());
        assert!(poll!(Box::pin(far.lines().next())).is_pending());
        assert!(poll!(Box::pin(far.read_all())).is_pending());
    }
    near.write_all(b"\n").await.unwrap();
    assert_eq!(
        far.read_line().await.unwrap().as_deref(),
        Some("partial line")
    );
}

#[tokio::test]
async fn the_lines_end_after_an_error() {
    let mut file = LineFile::with_limit(&b"ok\ntoo long\n"[..], 3);
    let lines: Vec<_> = timeout(BOUND, file.lines().collect()).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].is_err());
}

#[tokio::test]
async fn a_socket_by_lines_in_both_directions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut file = LineFile::new(listener.accept().await.unwrap().0);
        while let Some(line) = file.read_line().await.unwrap() {
            file.write_line(line.to_uppercase()).await.unwrap();
        }
    });
    let mut file = LineFile::new(tokio::net::TcpStream::connect(address).await.unwrap());
    for _ in 0..100 {
        file.write_line("shout").await.unwrap();
        assert_eq!(file.read_line().await.unwrap().as_deref(), Some("SHOUT"));
    }
    file.shutdown().await.unwrap();
    assert_eq!(
        timeout(BOUND, file.read_line()).await.unwrap().unwrap(),
        None
    );
    server.await.unwrap();
}

proptest! {
    /// The same lines as the standard library finds, however the bytes arrive.
    #[test]
    fn the_lines_are_those_of_std(text in "[ab\r\n\u{e9}]{0,200}", piece in 1_usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(piece);
            let mut far = LineFile::new(far);
            let write = async {
                near.write_all(text.as_bytes()).await.unwrap();
                drop(near);
            };
            let read = far.lines().map(Result::unwrap).collect::<Vec<_>>();
            let ((), lines) = tokio::join!(write, read);
            prop_assert_eq!(lines, text.lines().collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
