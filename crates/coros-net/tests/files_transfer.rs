//! Files from one node to another, with real files.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::files::*;
use common::*;
use coros_net::sim::SimNetwork;
use coros_net::{FetchFile, FetchFileError, Folder, Progress, Received, Refusal, SendFile};
use tokio::sync::mpsc;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_arrives_as_it_is() {
    let scene = Scene::set().await;
    for (name, length) in [
        ("empty", 0),
        ("one", 1),
        ("piece", 256 << 10),
        ("deep/er/more", (256 << 10) + 1),
        ("many", 3 * MIB + 17),
    ] {
        let content = noise(length);
        assert_eq!(scene.send(name, &content).await.unwrap(), length as u64);
        assert!(fs::read(scene.there(name)).unwrap() == content, "{name}");

        let copy = scene.home.path().join("copy");
        let fetch = scene
            .desk
            .fetch_file(&scene.to, name, &copy, FetchFile::new().replace());
        let fetched = soon(fetch).await.unwrap();
        assert_eq!(
            (fetched.size, fetched.moved),
            (length as u64, length as u64)
        );
        assert!(fs::read(&copy).unwrap() == content, "{name}");
    }
    assert_eq!(
        names(scene.inbox.path()),
        ["deep", "empty", "many", "one", "piece"]
    );
    assert_eq!(names(scene.home.path()), ["copy", "source"]);
    assert_eq!(scene.desk.peers(), [], "no link was needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_its_own_name_unless_told_otherwise() {
    let scene = Scene::set().await;
    let path = scene.here("ünlike.txt", b"x");
    let sending = scene.desk.send_file(&scene.to, path, SendFile::new());
    soon(sending).await.unwrap();
    assert_eq!(names(scene.inbox.path()), ["ünlike.txt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_content_is_not_sent_again() {
    let scene = Scene::set().await;
    let content = noise(MIB);
    assert_eq!(scene.send("x", &content).await.unwrap(), MIB as u64);
    let before = fs::metadata(scene.there("x")).unwrap().modified().unwrap();
    assert_eq!(scene.send("x", &content).await.unwrap(), 0);
    let after = fs::metadata(scene.there("x")).unwrap().modified().unwrap();
    assert_eq!(before, after);

    let copy = scene.here("copy", &content);
    let fetch = scene
        .desk
        .fetch_file(&scene.to, "x", copy, FetchFile::new());
    assert_eq!(soon(fetch).await.unwrap().moved, 0);
}

/// Whoever gets a file need not read it to know its hash, as long as it is the one that came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_is_known_until_it_is_another() {
    let (told, mut received) = mpsc::unbounded_channel();
    let told = move |file: Received| told.send(file.verified).unwrap();
    let scene = Scene::with(|folder| folder.on_received(told)).await;
    let content = noise(MIB + 1);
    let hash = *blake3::hash(&content).as_bytes();
    scene.send("x", &content).await.unwrap();
    let verified = soon(received.recv()).await.unwrap().unwrap();
    fs::rename(scene.there("x"), scene.there("y")).unwrap();
    let open = |name| {
        fs::File::options()
            .read(true)
            .write(true)
            .open(scene.there(name))
    };
    let file = open("y").unwrap();
    assert_eq!(verified.hash_of(&file).unwrap(), Some(hash));

    // Another file is another one, whatever is in it.
    fs::write(scene.there("x"), &content).unwrap();
    assert_eq!(verified.hash_of(&open("x").unwrap()).unwrap(), None);
    // The length is the same, so the time tells.
    let modified = file.metadata().unwrap().modified().unwrap();
    (&file).write_all(b"other").unwrap();
    file.set_modified(modified + Duration::from_nanos(1))
        .unwrap();
    assert_eq!(verified.hash_of(&file).unwrap(), None);
    file.set_modified(modified).unwrap();
    file.set_len(MIB as u64).unwrap();
    file.set_modified(modified).unwrap();
    assert_eq!(verified.hash_of(&file).unwrap(), None, "it is shorter");

    // Of what was there already nothing was written.
    scene.send("x", &content).await.unwrap();
    assert!(soon(received.recv()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_content_is_replaced_only_when_asked() {
    let scene = Scene::set().await;
    scene.send("x", b"one").await.unwrap();
    assert_eq!(scene.refused("x", b"two").await, Refusal::Exists);
    assert_eq!(fs::read(scene.there("x")).unwrap(), b"one");
    let replace = SendFile::new().name("x").replace();
    assert_eq!(scene.send_with(b"three", replace).await.unwrap(), 5);
    assert_eq!(fs::read(scene.there("x")).unwrap(), b"three");
    assert_eq!(names(scene.inbox.path()), ["x"]);

    let copy = scene.here("copy", b"mine");
    let to = scene.to.clone();
    let fetch = scene.desk.fetch_file(&to, "x", &copy, FetchFile::new());
    let Err(FetchFileError::Write { why, .. }) = soon(fetch).await else {
        panic!("it must not be replaced");
    };
    assert_eq!(why, Refusal::Exists);
    assert_eq!(fs::read(&copy).unwrap(), b"mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_goes_from_the_start_to_the_end() {
    let scene = Scene::set().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let tell = move |Progress { done, total, .. }| told.lock().unwrap().push((done, total));
    let content = noise(MIB);
    let options = SendFile::new().name("x").progress(tell);
    scene.send_with(&content, options).await.unwrap();
    let quarters: Vec<_> = (0..=4).map(|n| (n * MIB as u64 / 4, MIB as u64)).collect();
    assert_eq!(*seen.lock().unwrap(), quarters);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_the_same_name_one_wins_whole() {
    let scene = Scene::set().await;
    let contents = [noise(4 * MIB), vec![7; 4 * MIB]];
    let paths = [scene.here("a", &contents[0]), scene.here("b", &contents[1])];
    let to = scene.to.clone();
    let send = |path| scene.desk.send_file(&to, path, SendFile::new().name("x"));
    let (first, second) = soon(async { tokio::join!(send(&paths[0]), send(&paths[1])) }).await;
    let winner = match (first, second) {
        (Ok(_), Err(error)) => {
            assert_eq!(refusal(error), Refusal::Exists);
            0
        }
        (Err(error), Ok(_)) => {
            assert_eq!(refusal(error), Refusal::Exists);
            1
        }
        other => panic!("{other:?}"),
    };
    assert!(fs::read(scene.there("x")).unwrap() == contents[winner]);
    assert_eq!(names(scene.inbox.path()), ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_the_same_content_one_is_sent() {
    let scene = Scene::set().await;
    let content = noise(4 * MIB);
    let path = scene.here("a", &content);
    let to = scene.to.clone();
    let send = || scene.desk.send_file(&to, &path, SendFile::new().name("x"));
    let (first, second) = soon(async { tokio::join!(send(), send()) }).await;
    let moved = first.unwrap().moved + second.unwrap().moved;
    assert_eq!(moved, content.len() as u64);
    assert!(fs::read(scene.there("x")).unwrap() == content);
    assert_eq!(names(scene.inbox.path()), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_crosses_a_simulated_network_in_its_time() {
    let network = SimNetwork::new(1);
    let latency = Duration::from_millis(200);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let inbox = Folder::new(folders[1].path()).allow_fetch();
    let desk = network.host("desk").builder().build().await.unwrap();
    let farm = network.host("farm").builder().files(inbox);
    let farm = farm.build().await.unwrap();
    let there = desk.connect(endpoint(&farm)).await.unwrap();
    network.latency(latency..=latency);

    let began = Instant::now();
    let content = noise(3 * MIB + 17);
    let path = folders[0].path().join("a");
    fs::write(&path, &content).unwrap();
    let sent = desk.send_file(&there, &path, SendFile::new());
    assert_eq!(sent.await.unwrap().moved, content.len() as u64);
    assert!(fs::read(folders[1].path().join("a")).unwrap() == content);
    let copy = folders[0].path().join("copy");
    let fetched = desk.fetch_file(&there, "a", &copy, FetchFile::new());
    assert_eq!(fetched.await.unwrap().moved, content.len() as u64);
    assert!(fs::read(&copy).unwrap() == content);
    // Some trips there and back, and no disk takes simulated time.
    let took = began.elapsed();
    assert!(took > 8 * latency && took < 40 * latency, "{took:?}");
}
