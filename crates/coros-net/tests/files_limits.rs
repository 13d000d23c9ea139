//! What files may cost: memory that does not grow with their size, and a disk that is full.
//!
//! Each of these measures or limits a whole process, so the process is a child: this executable,
//! with the role in its environment.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::process::Command;

use common::files::*;
use common::*;
use coros_net::{FetchFile, FetchFileError, Folder, Refusal, Secret, SendFile};

/// Runs one test of this executable again, in a shell that may prepare the process.
fn child(test: &str, prepare: &str) {
    let script = format!("{prepare} exec \"$0\" --exact --nocapture {test}");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    command.arg(std::env::current_exe().unwrap());
    let output = command.env("COROS_TEST_CHILD", test).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_child(test: &str) -> bool {
    std::env::var("COROS_TEST_CHILD").is_ok_and(|child| child == test)
}

/// What the process has had in memory at most, in KiB.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Both ways, and both sides in one process. With 1 GiB and two processes that is among the tests of
/// `faults`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_the_file() {
    const NAME: &str = "memory_does_not_grow_with_the_file";
    if !is_child(NAME) {
        return child(NAME, "");
    }
    let scene = Scene::set().await;
    let path = scene.home.path().join("big");
    {
        use std::io::Write;
        let mut file = fs::File::create(&path).unwrap();
        for n in 0..64_u8 {
            file.write_all(&vec![n; MIB]).unwrap();
        }
    }
    let small = scene.here("small", &vec![7; 4 * MIB]);
    soon(scene.desk.send_file(&scene.to, &small, SendFile::new()))
        .await
        .unwrap();
    let before = peak();
    soon(scene.desk.send_file(&scene.to, &path, SendFile::new()))
        .await
        .unwrap();
    let copy = scene.home.path().join("copy");
    let fetch = scene
        .desk
        .fetch_file(&scene.to, "big", &copy, FetchFile::new());
    assert_eq!(soon(fetch).await.unwrap().moved, 64 * MIB as u64);
    let grown = peak() - before;
    assert!(grown < 16 << 10, "{grown} KiB for a file of 64 MiB");
}

/// A limit on the size of files stands in for the disk: no rights are needed for it. The system
/// says the same for both, but for the words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_to_both_sides_and_leaves_nothing() {
    const NAME: &str = "a_full_disk_is_told_to_both_sides_and_leaves_nothing";
    if !is_child(NAME) {
        // Blocks of 512 or 1024 bytes, by shell: 1 or 2 MiB.
        return child(NAME, "trap '' XFSZ; ulimit -f 2048;");
    }
    // Larger than what this process may write.
    let big = std::env::current_exe().unwrap();
    assert!(fs::metadata(&big).unwrap().len() > 4 * MIB as u64);
    let scene = Scene::set().await;
    let options = SendFile::new().name("big");
    let sent = soon(scene.desk.send_file(&scene.to, &big, options)).await;
    let error = sent.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("there is no room for it in /"), "{said}");
    let Refusal::DiskFull {
        folder, missing, ..
    } = refusal(error)
    else {
        panic!("{said}");
    };
    assert_eq!(folder, scene.inbox.path().to_str().unwrap());
    // What is beyond the limit is missing, give or take a piece.
    let beyond = fs::metadata(&big).unwrap().len() - missing;
    let limit = [1, 2].map(|limit| limit * MIB as u64);
    let near = limit.map(|limit| beyond.abs_diff(limit) <= 256 << 10);
    assert!(near.contains(&true), "{missing} missing, {beyond} written");
    assert!(names(scene.inbox.path()).is_empty());

    // The other way round: who fetches has no room.
    let secret = Secret::random();
    let folder = Folder::new(big.parent().unwrap()).allow_fetch();
    let shop = builder("shop", &secret).files(folder).build();
    let (shop, desk) = (shop.await.unwrap(), node("desk", &secret).await);
    let copy = scene.home.path().join("copy");
    let name = big.file_name().unwrap().to_str().unwrap();
    let to = shop.location();
    let fetch = desk.fetch_file(&to, name, &copy, FetchFile::new());
    let Err(FetchFileError::Write { why, .. }) = soon(fetch).await else {
        panic!("there is no room");
    };
    assert!(matches!(why, Refusal::DiskFull { .. }), "{why}");
    assert!(names(scene.home.path()).is_empty());
}
