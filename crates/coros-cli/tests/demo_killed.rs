//! Whoever is killed: no count is lost, and no process is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Demo, LIMIT, assert_all_end, count_words, object, path_text, pid_in, signal, words};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// Longer than can be counted in the time of any test, and yet almost no room: it is a hole.
const ENDLESS: u64 = 64 << 30;

/// Makes a file endless, after what it has.
fn make_endless(path: &Path) -> File {
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.set_len(ENDLESS).unwrap();
    file
}

/// A folder with work without end.
fn long_work() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..4 {
        make_endless(&folder.path().join(format!("endless{n}")));
    }
    folder
}

/// Waits until one of these processes reads the file.
fn reader_of(path: &Path, pids: &[u32]) -> u32 {
    let path = path.canonicalize().unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        for pid in pids {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            if open
                .filter_map(|fd| fd.path().read_link().ok())
                .any(|target| target == path)
            {
                return *pid;
            }
        }
        assert!(Instant::now() < deadline, "nobody reads {}", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_jobs_of_a_killed_worker_run_again_elsewhere() {
    let (folder, mut texts) = common::corpus(150, 3_000);
    // Whoever gets this file never comes to those behind it, so they cannot be done when it dies.
    let path = folder.path().join("endless");
    std::fs::write(&path, "some more words").unwrap();
    texts.push(b"some more words".to_vec());
    let endless = make_endless(&path);
    let mut demo = Demo::start(&["demo", &path_text(folder.path()), "--json", "--verify"]);
    let workers = demo.workers(2);
    let victim = reader_of(&path, &workers);
    signal(victim, Signal::SIGKILL);
    let lost = demo.wait_for(|line| line.contains("was lost"));
    endless.set_len(15).unwrap();

    assert_eq!(pid_in(&lost), victim);
    assert!(lost.contains("(killed by signal 9 (SIGKILL))"), "{lost}");
    let jobs = lost.split("): ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(jobs.parse::<u32>().unwrap() > 0, "{lost}");
    assert!(lost.ends_with("again elsewhere"), "{lost}");
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
    demo.wait_for(|line| line.starts_with("0 of 1 files, "));
    signal(victim, Signal::SIGKILL);
    demo.wait_for(|line| line.contains("was lost"));
    endless.set_len(texts[0].len() as u64).unwrap();
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
    let workers = demo.workers(2);
    signal(demo.pid(), Signal::SIGINT);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(130), "{:#?}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert_all_end(&workers);
}

#[test]
fn no_worker_outlives_a_killed_client() {
    let folder = long_work();
    let mut demo = Demo::start(&["demo", &path_text(folder.path())]);
    let workers = demo.workers(2);
    signal(demo.pid(), Signal::SIGKILL);
    assert_all_end(&workers);
}
