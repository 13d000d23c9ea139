//! `Descriptor`: every kind of file descriptor as a line file.
#![cfg(unix)]

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use coros_core::io::{Descriptor, LineFile};
use futures_util::poll;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(20);

fn is_nonblocking(fd: impl AsFd) -> bool {
    let flags = fcntl(fd.as_fd(), FcntlArg::F_GETFL).expect("F_GETFL");
    OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK)
}

#[tokio::test]
async fn a_pipe_larger_than_its_buffer() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = LineFile::from_fd(reader.into()).unwrap();
    let mut writer = LineFile::from_fd(writer.into()).unwrap();
    assert!(reader.get_ref().is_ready_driven() && writer.get_ref().is_ready_driven());
    assert!(
        poll!(Box::pin(reader.read_line())).is_pending(),
        "does not block"
    );
    let writing = tokio::spawn(async move {
        for i in 0..100_000 {
            writer.write_line(i.to_string()).await.unwrap();
        }
    });
    let reading = async {
        for i in 0..100_000 {
            assert_eq!(reader.read_line().await.unwrap(), Some(i.to_string()));
        }
        assert_eq!(reader.read_line().await.unwrap(), None);
    };
    timeout(BOUND, reading).await.unwrap();
    writing.await.unwrap();
}

#[tokio::test]
async fn a_pipe_without_reader_is_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut writer = LineFile::from_fd(writer.into()).unwrap();
    let error = timeout(BOUND, writer.write_line("lost"))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_socket_in_both_directions_at_once() {
    let (near, far) = UnixStream::pair().unwrap();
    let near = Descriptor::new(near.into()).unwrap();
    let mut far = LineFile::from_fd(far.into()).unwrap();
    let (read, write) = tokio::io::split(near);
    let (mut read, mut write) = (LineFile::new(read), LineFile::new(write));
    let answer = tokio::spawn(async move { read.read_line().await.unwrap() });
    tokio::task::yield_now().await;
    write.write_line("question").await.unwrap();
    assert_eq!(far.read_line().await.unwrap().as_deref(), Some("question"));
    far.write_line("answer").await.unwrap();
    assert_eq!(
        timeout(BOUND, answer).await.unwrap().unwrap().as_deref(),
        Some("answer")
    );
    write.shutdown().await.unwrap();
    assert_eq!(
        timeout(BOUND, far.read_line()).await.unwrap().unwrap(),
        None
    );
}

#[tokio::test]
async fn a_terminal() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut keyboard = LineFile::from_fd(pty.master).unwrap();
    let mut program = LineFile::from_fd(pty.slave).unwrap();
    assert!(poll!(Box::pin(program.read_line())).is_pending());
    keyboard.write_line("typed").await.unwrap();
    let line = timeout(BOUND, program.read_line()).await.unwrap().unwrap();
    assert_eq!(line.as_deref(), Some("typed"));
    program.write_line("shown").await.unwrap();
    let echo = timeout(BOUND, keyboard.read_line()).await.unwrap().unwrap();
    assert_eq!(echo.as_deref(), Some("typed"), "the terminal echoes");
    let shown = timeout(BOUND, keyboard.read_line()).await.unwrap().unwrap();
    assert_eq!(shown.as_deref(), Some("shown"));
}

#[tokio::test]
async fn a_regular_file_goes_to_the_blocking_pool() {
    let mut file = tempfile::tempfile().unwrap();
    let text: String = (0..10_000).map(|i| format!("line {i}\n")).collect();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut lines = LineFile::from_fd(file.into()).unwrap();
    assert!(!lines.get_ref().is_ready_driven());
    for i in 0..10_000 {
        assert_eq!(lines.read_line().await.unwrap(), Some(format!("line {i}")));
    }
    assert_eq!(lines.read_line().await.unwrap(), None);

    let mut file = tempfile::tempfile().unwrap();
    let mut writer = LineFile::from_fd(file.try_clone().unwrap().into()).unwrap();
    writer
        .write_line("written when the call returns")
        .await
        .unwrap();
    file.rewind().unwrap();
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "written when the call returns\n");
}

#[tokio::test]
async fn a_device_that_epoll_refuses_goes_to_the_blocking_pool() {
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let other = zero.try_clone().unwrap();
    let mut zero = LineFile::from_fd(zero.into()).unwrap();
    assert!(!zero.get_ref().is_ready_driven());
    assert!(!is_nonblocking(&other), "the flag was taken back");
    assert_eq!(
        timeout(BOUND, zero.read(5)).await.unwrap().unwrap(),
        &[0; 5][..]
    );
}

#[tokio::test]
async fn one_asked_to_block_is_left_alone_and_still_blocks_nobody() {
    let (near, far) = UnixStream::pair().unwrap();
    let other = near.try_clone().unwrap();
    let near = Descriptor::blocking(OwnedFd::from(near)).unwrap();
    assert!(!is_nonblocking(&other) && !near.is_ready_driven());
    // While a read waits on its thread, writing goes on: the two have handles of their own.
    let (read, write) = tokio::io::split(near);
    let (mut read, mut write) = (LineFile::new(read), LineFile::new(write));
    let answer = tokio::spawn(async move { read.read_line().await.unwrap() });
    tokio::task::yield_now().await;
    let mut far = LineFile::from_fd(far.into()).unwrap();
    timeout(BOUND, write.write_line("question"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(far.read_line().await.unwrap().as_deref(), Some("question"));
    far.write_line("answer").await.unwrap();
    assert_eq!(
        timeout(BOUND, answer).await.unwrap().unwrap().as_deref(),
        Some("answer")
    );
}

/// Runs this test again as a child whose standard input is a pipe shared with us.
#[test]
fn standard_input_is_not_made_nonblocking() {
    const CHILD: &str = "COROS_TEST_STDIN_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let mut lines = LineFile::from_fd(stdin).unwrap();
            assert!(!lines.get_ref().is_ready_driven());
            assert!(!is_nonblocking(std::io::stdin()));
            assert_eq!(
                lines.read_line().await.unwrap().as_deref(),
                Some("from the parent")
            );
            assert_eq!(lines.read_line().await.unwrap(), None);
        });
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "standard_input_is_not_made_nonblocking",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"from the parent\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
}
