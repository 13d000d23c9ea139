//! A scheduler that cannot start says why, in a bounded time.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

use std::time::{Duration, Instant};

use coros_cluster::{Scheduler, StartError};

#[tokio::test]
async fn a_program_without_an_entry_is_refused_before_anything_starts() {
    // This test's `main` is the harness's, which does not enter.
    let error = Scheduler::local().start().await.unwrap_err();
    assert!(matches!(error, StartError::NoEntry));
    assert!(error.to_string().contains("#[coros::main]"), "{error}");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let scheduler = Scheduler::local().program("/no/such/program").start();
    let error = scheduler.await.unwrap_err().to_string();
    assert!(
        error.contains("/no/such/program") && error.contains("No such file"),
        "{error}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_ends_at_once_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "echo 'out of cheese' >&2; exit 3");
    let error = Scheduler::local()
        .stderr(|_, _| {})
        .program(program)
        .start()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ended with exit status 3"), "{text}");
    assert!(text.contains("out of cheese"), "{text}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_never_reports_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "exec sleep 1000");
    let begun = Instant::now();
    let limit = Duration::from_millis(100);
    let scheduler = Scheduler::local()
        .workers(1)
        .start_limit(limit)
        .program(program)
        .start();
    let error = tokio::time::timeout(Duration::from_secs(30), scheduler)
        .await
        .unwrap();
    let text = error.unwrap_err().to_string();
    assert!(text.contains("did not report within 100ms"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[cfg(unix)]
fn script(folder: &std::path::Path, body: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}
