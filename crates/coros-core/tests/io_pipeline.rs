//! `Pipeline`: real programs, in every way they can go wrong.
#![cfg(unix)]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use coros_core::io::{LineFile, Pipeline, RunningPipeline, command};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);
const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;

fn sh(script: &str) -> Command {
    command("sh", ["-c", script])
}

fn start(pipeline: Pipeline) -> RunningPipeline {
    pipeline.spawn().expect("all stages start")
}

fn codes(statuses: &[ExitStatus]) -> Vec<Option<i32>> {
    statuses.iter().map(ExitStatus::code).collect()
}

fn signals(statuses: &[ExitStatus]) -> Vec<Option<i32>> {
    statuses.iter().map(ExitStatusExt::signal).collect()
}

/// One end to give to a process, and a file that ends when that process has gone.
fn lifeline() -> (Stdio, LineFile<coros_core::io::Descriptor>) {
    let (theirs, ours) = UnixStream::pair().expect("socket pair");
    let ours = LineFile::from_fd(ours.into()).expect("a socket");
    (OwnedFd::from(theirs).into(), ours)
}

async fn gone(mut lifeline: LineFile<coros_core::io::Descriptor>) {
    let end = timeout(BOUND, lifeline.read(1))
        .await
        .expect("the process is still there");
    // A process killed with our bytes unread resets the connection, which tells the same.
    assert!(!end.is_ok_and(|bytes| !bytes.is_empty()));
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn one_stage_is_a_pipeline() {
    let output = start(Pipeline::new(Command::new("sha1sum"))).communicate("abc");
    let output = timeout(BOUND, is_send(output)).await.unwrap().unwrap();
    assert_eq!(
        output.stdout,
        b"a9993e364706816aba3e25717850c26c9cd0d89d  -\n"
    );
    assert!(output.success());
}

#[tokio::test]
async fn lines_go_in_and_come_out_while_it_runs() {
    let mut pipeline = start(
        Pipeline::new(std::process::Command::new("cat"))
            .pipe(command("grep", ["--line-buffered", "-v", "no"]))
            .pipe(Command::new("cat")),
    );
    assert_eq!(pipeline.stages(), 3);
    assert!(pipeline.ids().iter().all(Option::is_some));
    for i in 0..50 {
        let lines = format!("no {i}\nyes {i}\n");
        pipeline
            .stdin()
            .unwrap()
            .write_all(lines.as_bytes())
            .await
            .unwrap();
        let line = timeout(BOUND, pipeline.read_line()).await.unwrap().unwrap();
        assert_eq!(line, Some(format!("yes {i}")));
    }
    pipeline
        .stdin()
        .unwrap()
        .write_all(b"the\nrest\n")
        .await
        .unwrap();
    pipeline.close_stdin();
    assert!(pipeline.stdin().is_none());
    assert_eq!(
        timeout(BOUND, pipeline.read_to_end())
            .await
            .unwrap()
            .unwrap(),
        b"the\nrest\n"
    );
    assert_eq!(pipeline.read_line().await.unwrap(), None);
    let statuses = timeout(BOUND, pipeline.wait()).await.unwrap().unwrap();
    assert_eq!(codes(&statuses), [Some(0); 3]);
    assert_eq!(pipeline.ids(), [None; 3]);
}

#[tokio::test]
async fn ten_megabytes_both_ways_without_deadlock() {
    let input: Vec<u8> = (0..10_000_000_u32).map(|i| (i % 251) as u8).collect();
    // The second writes ten megabytes before it reads any.
    let pipeline = Pipeline::new(Command::new("cat"))
        .pipe(sh("head -c 10000000 /dev/zero; cat"))
        .pipe(Command::new("cat"));
    let output = timeout(BOUND, start(pipeline).communicate(&input))
        .await
        .unwrap()
        .unwrap();
    assert!(output.success());
    assert_eq!(output.stdout.len(), 20_000_000);
    assert!(output.stdout[10_000_000..] == input);
}

#[tokio::test]
async fn two_coroutines_may_feed_and_read() {
    let mut pipeline = start(Pipeline::new(Command::new("cat")).pipe(Command::new("cat")));
    let mut stdin = pipeline.take_stdin().unwrap();
    let mut stdout = pipeline.take_stdout().unwrap();
    let feeding = tokio::spawn(async move {
        for i in 0..100_000 {
            stdin.write_all(format!("{i}\n").as_bytes()).await.unwrap();
        }
    });
    let reading = async {
        for i in 0..100_000 {
            assert_eq!(stdout.read_line().await.unwrap(), Some(i.to_string()));
        }
        assert_eq!(stdout.read_line().await.unwrap(), None);
    };
    timeout(BOUND, reading).await.unwrap();
    feeding.await.unwrap();
    assert_eq!(codes(&pipeline.wait().await.unwrap()), [Some(0); 2]);
}

#[tokio::test]
async fn a_last_stage_that_exits_early() {
    let input = "line\n".repeat(2_000_000);
    let pipeline = Pipeline::new(Command::new("cat")).pipe(command("head", ["-n", "1"]));
    let output = timeout(BOUND, start(pipeline).communicate(&input))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.stdout, b"line\n");
    assert_eq!(signals(&output.statuses), [Some(SIGPIPE), None]);
    assert_eq!(codes(&output.statuses), [None, Some(0)]);
    assert!(!output.success());
}

#[tokio::test]
async fn a_first_stage_that_exits_early_breaks_our_pipe() {
    let input = "line\n".repeat(2_000_000);
    let head = || Pipeline::new(command("head", ["-n", "1"])).pipe(Command::new("cat"));
    let output = timeout(BOUND, start(head()).communicate(&input))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.stdout, b"line\n");
    assert!(output.success());

    let mut pipeline = start(head());
    let write = pipeline.stdin().unwrap().write_all(input.as_bytes());
    let error = timeout(BOUND, write).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(pipeline.read_line().await.unwrap().as_deref(), Some("line"));
}

#[tokio::test]
async fn stages_that_fill_stderr_are_not_held_up() {
    let noisy = |letter| {
        sh(&format!(
            "head -c 5000000 /dev/zero | tr '\\0' {letter} >&2; echo the end >&2; cat"
        ))
    };
    let pipeline = || Pipeline::new(noisy('a')).pipe(noisy('b')).pipe(noisy('c'));
    let output = timeout(BOUND, start(pipeline()).communicate("through"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.stdout, b"through");
    assert_eq!(output.stderr.len(), 3);
    for (tail, letter) in output.stderr.iter().zip(["a", "b", "c"]) {
        assert_eq!(tail.bytes.len(), 64 * 1024);
        assert_eq!(tail.skipped, 5_000_008 - 64 * 1024);
        assert!(tail.text().ends_with(&format!("{letter}{letter}the end\n")));
    }

    // Without `communicate`, and with another bound.
    let mut running = start(pipeline().keep_stderr(8));
    assert_eq!(
        codes(&timeout(BOUND, running.wait()).await.unwrap().unwrap()),
        [Some(0); 3]
    );
    assert_eq!(running.stderr(2).bytes, b"the end\n");
    assert_eq!(running.stderr(2).skipped, 5_000_000);
}

#[tokio::test]
async fn statuses_are_of_each_stage() {
    let pipeline = Pipeline::new(sh("cat; exit 3"))
        .pipe(sh("cat; kill -9 $$"))
        .pipe(sh("cat; echo bad >&2; exit 1"));
    let output = timeout(BOUND, start(pipeline).communicate("x"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(codes(&output.statuses), [Some(3), None, Some(1)]);
    assert_eq!(signals(&output.statuses), [None, Some(SIGKILL), None]);
    assert_eq!(output.stderr[2].text(), "bad\n");
    assert_eq!(output.stderr[0].bytes, b"");
}

#[tokio::test]
async fn wait_discards_output_that_nobody_reads() {
    let mut pipeline = start(Pipeline::new(sh("head -c 10000000 /dev/zero; cat")));
    {
        // Given up half way, and called again.
        let mut wait = Box::pin(pipeline.wait());
        assert!(futures_util::poll!(&mut wait).is_pending());
    }
    assert_eq!(
        codes(&timeout(BOUND, pipeline.wait()).await.unwrap().unwrap()),
        [Some(0)]
    );
    assert_eq!(
        codes(&timeout(BOUND, pipeline.wait()).await.unwrap().unwrap()),
        [Some(0)]
    );
    assert_eq!(pipeline.read_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_stage_that_cannot_be_started_is_named_and_the_others_are_killed() {
    let missing = || Command::new("coros-no-such-program");
    let error = Pipeline::new(missing())
        .pipe(Command::new("cat"))
        .spawn()
        .unwrap_err();
    assert_eq!(
        (error.program.as_str(), error.position, error.of),
        ("coros-no-such-program", 1, 2)
    );
    assert_eq!(error.why.kind(), std::io::ErrorKind::NotFound);

    let (stdin, alive) = lifeline();
    let error = Pipeline::new(command("sleep", ["1000"]))
        .stdin(stdin)
        .pipe(missing())
        .pipe(Command::new("cat"))
        .spawn()
        .unwrap_err();
    assert_eq!((error.position, error.of), (2, 3));
    let text = error.to_string();
    assert!(
        text.starts_with("cannot start `coros-no-such-program` (stage 2 of 3): No such"),
        "{text}"
    );
    gone(alive).await;

    let folder = Command::new("/");
    let error = Pipeline::new(Command::new("cat"))
        .pipe(folder)
        .spawn()
        .unwrap_err();
    assert_eq!(error.why.kind(), std::io::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_folder_that_cannot_be_entered_is_named() {
    let mut cat = Command::new("cat");
    cat.current_dir("/coros-no-such-folder");
    let error = Pipeline::new(cat).spawn().unwrap_err();
    assert_eq!(error.why.kind(), std::io::ErrorKind::NotFound);
    let text = error.to_string();
    assert!(
        text.starts_with(
            "cannot start `cat` (stage 1 of 1): its folder /coros-no-such-folder cannot be entered"
        ),
        "{text}"
    );

    let mut missing = Command::new("coros-no-such-program");
    missing.current_dir("/");
    let text = Pipeline::new(missing).spawn().unwrap_err().to_string();
    assert!(!text.contains("folder"), "{text}");
}

fn sleepers() -> (Pipeline, [LineFile<coros_core::io::Descriptor>; 2]) {
    let ((stdin, first), (stdout, last)) = (lifeline(), lifeline());
    let sleep = || command("sleep", ["1000"]);
    (
        Pipeline::new(sleep())
            .stdin(stdin)
            .pipe(sleep())
            .stdout(stdout),
        [first, last],
    )
}

#[tokio::test]
async fn kill_ends_all_stages() {
    let (pipeline, lifelines) = sleepers();
    let mut pipeline = start(pipeline);
    let statuses = timeout(BOUND, is_send(pipeline.kill()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(signals(&statuses), [Some(SIGKILL); 2]);
    for lifeline in lifelines {
        gone(lifeline).await;
    }
    let again = timeout(BOUND, pipeline.kill()).await.unwrap().unwrap();
    assert_eq!(signals(&again), [Some(SIGKILL); 2]);
    assert_eq!(
        timeout(BOUND, pipeline.wait()).await.unwrap().unwrap(),
        again
    );
}

#[tokio::test]
async fn dropping_kills_all_stages() {
    let (pipeline, lifelines) = sleepers();
    drop(start(pipeline));
    for lifeline in lifelines {
        gone(lifeline).await;
    }
}

#[tokio::test]
async fn a_timeout_of_communicate_kills_all_stages() {
    let (pipeline, lifelines) = sleepers();
    let communicate = start(pipeline).communicate("");
    assert!(
        timeout(Duration::from_millis(20), communicate)
            .await
            .is_err()
    );
    for lifeline in lifelines {
        gone(lifeline).await;
    }
}

#[tokio::test]
async fn files_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    std::fs::write(&input, "b\na\n").unwrap();
    let mut pipeline = start(
        Pipeline::new(Command::new("cat"))
            .stdin(std::fs::File::open(&input).unwrap())
            .pipe(Command::new("sort"))
            .stdout(std::fs::File::create(&output).unwrap()),
    );
    assert!(pipeline.stdin().is_none() && pipeline.stdout().is_none());
    assert_eq!(pipeline.read_to_end().await.unwrap(), b"");
    assert_eq!(
        codes(&timeout(BOUND, pipeline.wait()).await.unwrap().unwrap()),
        [Some(0); 2]
    );
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "a\nb\n");
}
