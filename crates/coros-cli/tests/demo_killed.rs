//! Whoever is killed: no count is lost, and no process is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::path::Path;

use common::{
    Demo, count_words, counter_of, make_endless, object, path_text, pid_in, signal, words,
};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A folder with work without end.
fn long_work() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4 {
        make_endless(&folder.path().join(format!("endless{n}")));
    }
    folder
}

/// Starts a demo whose workers tell which file they begin to count.
fn start_telling(args: &[&str]) -> Demo {
    Demo::start_with(args, |command| {
        command.env("COROS_LOG", "coros::demo=debug")
    })
}

/// Waits until a worker counts the file, and gives the worker's process.
fn reader_of(demo: &mut Demo, path: &Path) -> u32 {
    let worker = counter_of(demo, path);
    let ready = format!("worker {worker} (pid ");
    pid_in(demo.seen.iter().find(|line| line.contains(&ready)).unwrap())
}

#[test]
fn the_jobs_of_a_killed_worker_run_again_elsewhere() {
    let (folder, mut texts) = common::corpus(150, 3_000);
    // Whoever gets this file never comes to those behind it, so they cannot be done when it dies.
    let path = folder.path().join("endless");
    std::fs::write(&path, "some more words").unwrap();
    texts.push(b"some more words".to_vec());
    let endless = make_endless(&path);
    let mut demo = start_telling(&["demo", &path_text(folder.path()), "--json", "--verify"]);
    demo.workers(2);
    let victim = reader_of(&mut demo, &path);
    signal(victim, Signal::SIGKILL);
    let lost = demo.wait_for(|line| line.contains("was lost"));
    endless.set_len(15).unwrap();

    assert_eq!(pid_in(&lost), victim);
    let how = "(killed by signal 9 (SIGKILL)): 1 job runs again elsewhere, ";
    assert!(lost.contains(how), "{lost}");
    assert!(lost.contains(" that waited there go"), "{lost}");
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert_eq!(words(&object), count_words(&texts));
    let jobs = object["jobs_by_worker"].as_object().unwrap();
    assert_eq!(
        jobs.values().map(|n| n.as_u64().unwrap()).sum::<u64>(),
        151,
        "{jobs:?}"
    );
    assert!(
        ended
            .stderr
            .iter()
            .any(|line| line.contains("gives the same result"))
    );
}

#[test]
fn counts_of_half_a_file_from_a_killed_worker_do_not_count() {
    let (folder, texts) = common::corpus(1, 300_000);
    let path = folder.path().join("d0/f0.txt");
    let endless = make_endless(&path);
    let folder = path_text(folder.path());
    let mut demo = Demo::start(&["demo", &folder, "--json", "--workers", "1"]);
    let victim = demo.workers(1)[0];
    // This line shows that counts of a part of the file have come.
    demo.wait_for(|line| line.starts_with("0 of 1 file, "));
    signal(victim, Signal::SIGKILL);
    demo.wait_for(|line| line.contains("was lost"));
    endless.set_len(texts[0].len() as u64).unwrap();
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
}

#[test]
fn a_job_that_loses_every_worker_is_reported_and_the_rest_counted() {
    let (folder, texts) = common::corpus(20, 3_000);
    let path = folder.path().join("endless");
    make_endless(&path);
    let folder = path_text(folder.path());
    let mut demo = start_telling(&["demo", &folder, "--json", "--workers", "1"]);
    demo.workers(1);
    let lost: Vec<_> = (0..4)
        .map(|_| {
            let victim = reader_of(&mut demo, &path);
            signal(victim, Signal::SIGKILL);
            demo.wait_for(|line| line.contains("was lost"))
        })
        .collect();
    assert!(lost[0].contains(" again elsewhere"), "{lost:#?}");
    assert!(lost[3].ends_with(" 1 job is given up"), "{lost:#?}");
    assert!(
        !lost.iter().any(|line| line.contains(" 0 jobs")),
        "{lost:#?}"
    );
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    let object = object(&ended.stdout);
    assert_eq!(words(&object), count_words(&texts));
    let error = object["unreadable"][0]["error"].as_str().unwrap();
    assert!(
        error.starts_with("given up, because its worker was lost 4 times"),
        "{error}"
    );
}

/// There may be very many files: none would fare better.
#[test]
fn without_workers_it_ends_and_says_so_once() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};

    let (folder, _) = common::corpus(20, 3_000);
    let path = folder.path().join("endless");
    make_endless(&path);
    let mut demo = start_telling(&["demo", &path_text(folder.path()), "--workers", "1"]);
    demo.workers(1);
    let victim = reader_of(&mut demo, &path);
    // No other can be started.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let pid = Pid::from_raw(demo.pid().cast_signed());
    prlimit(pid, Resource::Nofile, none).unwrap();
    signal(victim, Signal::SIGKILL);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(1), "{:#?}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let said = ended.stderr.iter();
    let said: Vec<_> = said
        .filter(|line| line.starts_with("coros demo: "))
        .collect();
    let [line] = said[..] else {
        panic!("{:#?}", ended.stderr)
    };
    assert!(
        line.starts_with("coros demo: there are no workers: ")
            && line.contains("; not counted: ")
            && line.ends_with(" of 21 files"),
        "{line}"
    );
}

#[test]
fn a_frozen_worker_is_given_up_and_a_message_says_why() {
    let (folder, mut texts) = common::corpus(50, 3_000);
    let path = folder.path().join("endless");
    std::fs::write(&path, "some more words").unwrap();
    texts.push(b"some more words".to_vec());
    let endless = make_endless(&path);
    let mut demo = start_telling(&["demo", &path_text(folder.path()), "--json"]);
    demo.workers(2);
    let frozen = reader_of(&mut demo, &path);
    signal(frozen, Signal::SIGSTOP);
    let lost = demo.wait_for(|line| line.contains("was lost"));
    endless.set_len(15).unwrap();
    assert_eq!(pid_in(&lost), frozen);
    assert!(lost.contains("(no sign of life for 2."), "{lost}");
    assert!(lost.contains("s, so it was killed): "), "{lost}");
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.stderr);
    assert_eq!(words(&object(&ended.stdout)), count_words(&texts));
}

#[test]
fn no_worker_outlives_a_normal_end() {
    let (folder, _) = common::corpus(10, 1000);
    let mut demo = Demo::start(&["demo", &path_text(folder.path())]);
    let workers = demo.workers(2);
    assert_eq!(demo.end().status.code(), Some(0));
    // They have been waited for: not even a moment.
    assert!(!workers.into_iter().any(common::is_running));
}

#[test]
fn no_worker_outlives_ctrl_c() {
    let folder = long_work();
    let mut demo = Demo::start(&["demo", &path_text(folder.path())]);
    demo.workers(2);
    signal(demo.pid(), Signal::SIGINT);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(130), "{:#?}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn no_worker_outlives_a_killed_client() {
    let folder = long_work();
    let mut demo = Demo::start(&["demo", &path_text(folder.path())]);
    demo.workers(2);
    signal(demo.pid(), Signal::SIGKILL);
    demo.end();
}

#[test]
fn not_even_a_stopped_worker_outlives_a_killed_client() {
    // The guards of the workers become this process's children then. Were their new parent of another session,
    // as it mostly is, the kernel would wake what is stopped below them by a rule of terminals.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let folder = long_work();
    let mut demo = Demo::start(&["demo", &path_text(folder.path())]);
    for worker in demo.workers(2) {
        signal(worker, Signal::SIGSTOP);
    }
    signal(demo.pid(), Signal::SIGKILL);
    demo.end();
}
