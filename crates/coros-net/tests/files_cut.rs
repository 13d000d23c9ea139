//! Transfers that are cut, dropped, or fail on the way, and what is left of them.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::files::*;
use common::*;
use coros_net::{
    Authority, ConnectError, DeleteFileError, FetchFile, FetchFileError, Folder, HandshakeError,
    Location, Progress, Refusal, Secret, SendFile, SendFileError,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cut_left_is_not_sent_again() {
    let scene = Scene::set().await;
    let content = noise(24 * MIB);
    let path = scene.here("big", &content);
    let (cable, to) = cabled(&scene).await;
    let options = SendFile::new().progress(at_half(move || cable.cut()));
    let cut = soon(scene.desk.send_file(&to, &path, options)).await;
    let error = cut.unwrap_err();
    assert!(matches!(error, SendFileError::Lost { .. }), "{error}");
    assert!(
        error.to_string().contains("it goes on from there"),
        "{error}"
    );
    assert!(
        !scene.there("big").exists(),
        "nothing incomplete has the name"
    );

    let sent = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    let sent = sent.unwrap();
    assert!(fs::read(scene.there("big")).unwrap() == content);
    assert_eq!(names(scene.inbox.path()), ["big"]);
    // At most what was in buffers when it was cut is lost.
    let lost = 10 * MIB as u64;
    assert!(sent.moved < sent.size / 2 + lost, "{sent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cut_left_is_not_fetched_again() {
    let scene = Scene::set().await;
    let content = noise(24 * MIB);
    fs::write(scene.there("big"), &content).unwrap();
    let copy = scene.home.path().join("copy");
    let (cable, to) = cabled(&scene).await;
    let options = FetchFile::new().progress(at_half(move || cable.cut()));
    let cut = soon(scene.desk.fetch_file(&to, "big", &copy, options)).await;
    assert!(matches!(cut, Err(FetchFileError::Lost { .. })), "{cut:?}");
    assert!(!copy.exists(), "nothing incomplete has the name");
    let fetch = scene
        .desk
        .fetch_file(&scene.to, "big", &copy, FetchFile::new());
    let fetched = soon(fetch).await.unwrap();
    assert!(fs::read(&copy).unwrap() == content);
    assert!(fetched.moved <= fetched.size / 2, "{fetched:?}");
    assert_eq!(names(scene.home.path()), ["copy"]);
}

/// Holds a cable when half has come, and gives it back.
fn holding(
    cable: Cable,
) -> (
    impl FnMut(Progress) + Send + 'static,
    tokio::sync::oneshot::Receiver<Cable>,
) {
    let (tell, half) = tokio::sync::oneshot::channel();
    let hold = at_half(move || {
        cable.hold();
        let _ = tell.send(cable);
    });
    (hold, half)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_outlives_the_certificate_of_whoever_has_the_files() {
    let [hour, moment] = [3600, 5].map(Duration::from_secs);
    let authority = Authority::generate("default", hour).unwrap();
    let certified = |name, lifetime| {
        let certificate = authority.certify(name, lifetime).unwrap();
        builder(name, &Secret::random()).certificate(certificate)
    };
    let nodes = [certified("desk", hour), certified("farm", moment)];
    let scene = Scene::of(nodes, Folder::allow_fetch).await;

    // Three of which nothing comes any more, ...
    let (delete_cable, to) = cabled(&scene).await;
    let deleted = soon(scene.desk.delete_file(&to, "nothing")).await;
    assert!(matches!(deleted, Err(DeleteFileError::Refused { .. })));
    delete_cable.hold();
    let mut deleting = Box::pin(soon(scene.desk.delete_file(&to, "nothing")));
    assert!(polled(&mut deleting).await.is_pending());

    let path = scene.here("big", &noise(24 * MIB));
    fs::copy(&path, scene.there("copied")).unwrap();
    let (fetch_cable, to) = cabled(&scene).await;
    let (hold, half) = holding(fetch_cable);
    let (desk, copy) = (scene.desk.clone(), scene.home.path().join("copy"));
    let options = FetchFile::new().progress(hold);
    let fetching = async move { soon(desk.fetch_file(&to, "copied", copy, options)).await };
    let fetching = tokio::spawn(fetching);
    let fetch_cable = soon(half).await.unwrap();

    let (cable, to) = cabled(&scene).await;
    let (hold, half) = holding(cable);
    let (desk, options) = (scene.desk.clone(), SendFile::new().progress(hold));
    let sending = async move { soon(desk.send_file(&to, path, options)).await };
    let sending = tokio::spawn(sending);
    let cable = soon(half).await.unwrap();

    // ... one that is kept for later, and one that is in use all the time.
    let delete = || soon(scene.desk.delete_file(&scene.to, "nothing"));
    let deleted = tokio::join!(delete(), delete());
    assert!(deleted.0.is_err() && deleted.1.is_err(), "{deleted:?}");
    let mut number = 0_u32;
    let refused = soon(async {
        loop {
            if let Err(error) = scene.send("little", &number.to_le_bytes()).await {
                break error;
            }
            fs::remove_file(scene.there("little")).unwrap();
            number += 1;
        }
    });
    let refused = refused.await.to_string();
    assert!(refused.contains("certificate"), "{refused}");
    assert!(number > 0, "while it was valid it was of use");
    let cuts = [
        deleting.await.unwrap_err().to_string(),
        fetching.await.unwrap().unwrap_err().to_string(),
        sending.await.unwrap().unwrap_err().to_string(),
    ];
    for cut in cuts {
        assert!(cut.contains("its certificate has expired"), "{cut}");
    }
    for cable in [delete_cable, fetch_cable, cable] {
        cable.release();
    }
    let refused = scene.send("little", b"again").await.unwrap_err();
    let expired = matches!(
        &refused,
        SendFileError::Unreachable {
            why: ConnectError::Handshake {
                why: HandshakeError::PeerExpired { .. },
                ..
            },
            ..
        }
    );
    assert!(expired, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_compared_before_it_is_continued() {
    let scene = Scene::set().await;
    let content = noise(24 * MIB);
    let path = scene.here("x", &content);
    let send = async || soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    // What an attempt leaves says under which name it is kept.
    let (cable, to) = cabled(&scene).await;
    let options = SendFile::new().progress(at_half(move || cable.cut()));
    soon(scene.desk.send_file(&to, &path, options))
        .await
        .unwrap_err();
    let hidden = soon(async {
        loop {
            match partial_name(scene.inbox.path()) {
                Some(name) => break scene.there(&name),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    // Honest, spoilt, longer than the file, complete.
    let half = content.len() / 2;
    let mut spoilt = content[..half].to_vec();
    spoilt[7] ^= 1;
    let longer = [&content[..], b"x"].concat();
    for (kept, moved) in [
        (&content[..half], half),
        (&spoilt, 2 * half),
        (&longer, 2 * half),
        (&content, 0),
    ] {
        fs::write(&hidden, kept).unwrap();
        assert_eq!(send().await.unwrap().moved, moved as u64);
        assert!(fs::read(scene.there("x")).unwrap() == content);
        assert_eq!(names(scene.inbox.path()), ["x"]);
        fs::remove_file(scene.there("x")).unwrap();
    }
    // What is kept of another version is not for this one.
    fs::write(&hidden, &content[..half]).unwrap();
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(send().await.unwrap().moved, 2 * half as u64);
    assert_eq!(names(scene.inbox.path()).len(), 2);
}

#[tokio::test]
async fn what_was_left_long_ago_is_removed_at_the_start() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let inbox = tempfile::tempdir().unwrap();
    fs::create_dir(inbox.path().join("in")).unwrap();
    let [old, young] = [("in/.coros-part-a", 8), ("in/.coros-part-b", 6)].map(|(name, days)| {
        let path = inbox.path().join(name);
        let file = fs::File::create(&path).unwrap();
        let modified = std::time::SystemTime::now() - days * DAY;
        file.set_modified(modified).unwrap();
        path
    });
    let farm = builder("farm", &Secret::random()).files(Folder::new(inbox.path()));
    let farm = farm.build().await.unwrap();
    soon(async {
        while old.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    farm.close().await;
    assert!(young.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transfer_stops_and_can_be_continued() {
    let scene = Scene::set().await;
    let content = noise(24 * MIB);
    let path = scene.here("big", &content);
    let (cable, to) = cabled(&scene).await;
    let (hold, half) = holding(cable);
    let options = SendFile::new().progress(hold);
    let cable = soon(async {
        tokio::select! {
            sent = scene.desk.send_file(&to, &path, options) => panic!("{sent:?}"),
            cable = half => cable.unwrap(),
        }
    });
    cable.await.cut();
    let sent = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    let sent = sent.unwrap();
    assert!(sent.moved < sent.size, "{sent:?}");
    assert!(fs::read(scene.there("big")).unwrap() == content);
}

const SILENCE: Duration = Duration::from_secs(1);
/// What has been written still has to drain, and machines that run tests stand still at times.
const IN_TIME: Duration = Duration::from_secs(10);

/// Two nodes that are not patient. The farm is the more patient one: it must not close first,
/// which would be seen through the cable.
async fn impatient() -> Scene {
    let secret = Secret::random();
    let [inbox, home] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let folder = Folder::new(inbox.path()).allow_fetch();
    let farm = builder("farm", &secret)
        .silence(3 * SILENCE)
        .heartbeat(SILENCE / 2)
        .files(folder);
    let desk = builder("desk", &secret).silence(SILENCE);
    let farm = farm.build().await.unwrap();
    Scene {
        desk: desk.build().await.unwrap(),
        to: farm.location(),
        farm,
        inbox,
        home,
    }
}

/// The lock is what a transfer has for as long as it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_what_is_on_its_way_already_is_told_so() {
    let scene = impatient().await;
    let path = scene.here("big", &noise(24 * MIB));
    let (cable, to) = cabled(&scene).await;
    let options = SendFile::new().progress(at_half(move || cable.cut()));
    let cut = soon(scene.desk.send_file(&to, &path, options)).await;
    assert!(matches!(cut, Err(SendFileError::Lost { .. })), "{cut:?}");
    let kept = scene.there(&partial_name(scene.inbox.path()).unwrap());
    let kept = fs::File::open(kept).unwrap();
    kept.lock().unwrap();
    let sent = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    assert_eq!(refusal(sent.unwrap_err()), Refusal::Busy);
}

/// Holds the cable when half is through, and says when that was.
fn held(
    cable: Cable,
) -> (
    impl FnMut(Progress) + Send + 'static,
    impl FnOnce() -> Duration,
) {
    let at = Arc::new(Mutex::new(None));
    let held = Arc::clone(&at);
    // Stays laid as long as somebody wants to know.
    let cable = Arc::new(cable);
    let holding = Arc::clone(&cable);
    let hold = at_half(move || {
        holding.hold();
        *held.lock().unwrap() = Some(Instant::now());
    });
    let took = move || {
        let at: Option<Instant> = at.lock().unwrap().take();
        drop(cable);
        at.unwrap().elapsed()
    };
    (hold, took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_vanishes_is_noticed_in_time() {
    let scene = impatient().await;
    let content = noise(24 * MIB);
    let path = scene.here("big", &content);
    let (cable, to) = cabled(&scene).await;
    let (hold, took) = held(cable);
    let options = SendFile::new().progress(hold);
    let error = soon(scene.desk.send_file(&to, &path, options)).await;
    let error = error.unwrap_err().to_string();
    let took = took();
    assert!(error.contains("no sign of life for 1.0s"), "{error}");
    assert!(took < IN_TIME, "{took:?}");
    // The receiver has found it out too, or is about to: the next attempt gets through.
    let sent = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    assert!(sent.unwrap().moved < content.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_vanishes_is_noticed_in_time() {
    let scene = impatient().await;
    fs::write(scene.there("big"), noise(24 * MIB)).unwrap();
    let copy = scene.home.path().join("copy");
    let (cable, to) = cabled(&scene).await;
    let (hold, took) = held(cable);
    let options = FetchFile::new().progress(hold);
    let error = soon(scene.desk.fetch_file(&to, "big", &copy, options)).await;
    let error = error.unwrap_err().to_string();
    let took = took();
    assert!(error.contains("no sign of life for 1.0s"), "{error}");
    assert!(took < IN_TIME, "{took:?}");
    assert!(partial(scene.home.path()).is_some_and(|kept| kept > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_one_operation_after_the_other() {
    let scene = Scene::set().await;
    let (cable, to) = cabled(&scene).await;
    let path = scene.here("x", b"x");
    soon(scene.desk.send_file(&to, &path, SendFile::new()))
        .await
        .unwrap();
    // Nobody could be dialled for these.
    let idle = Location {
        endpoint: None,
        ..to.clone()
    };
    let again = SendFile::new().name("y");
    soon(scene.desk.send_file(&idle, &path, again))
        .await
        .unwrap();
    soon(scene.desk.delete_file(&idle, "y")).await.unwrap();
    soon(scene.desk.delete_file(&idle, "y")).await.unwrap_err();
    let copy = scene.home.path().join("copy");
    let fetch = scene.desk.fetch_file(&idle, "x", &copy, FetchFile::new());
    soon(fetch).await.unwrap();
    // One that has broken meanwhile is not used.
    cable.cut();
    soon(async {
        while let Err(DeleteFileError::Refused { .. }) = scene.desk.delete_file(&idle, "y").await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(scene.desk.delete_file(&scene.to, "x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_meanwhile_is_not_sent() {
    let scene = Scene::set().await;
    let path = scene.here("log", &noise(8 * MIB));
    for change in [append as fn(&Path), shorten] {
        let changed = path.clone();
        let options = SendFile::new().progress(at_half(move || change(&changed)));
        let sent = soon(scene.desk.send_file(&scene.to, &path, options)).await;
        let Err(error @ SendFileError::Changed { .. }) = sent else {
            panic!("{sent:?}");
        };
        let said = error.to_string();
        assert!(
            said.contains("log changed while it was sent to farm@"),
            "{said}"
        );
        // That the receiver is told takes a moment.
        soon(async {
            while !names(scene.inbox.path()).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn append(path: &Path) {
    use std::io::Write;
    let mut log = fs::OpenOptions::new().append(true).open(path).unwrap();
    log.write_all(b"more").unwrap();
}

fn shorten(path: &Path) {
    let log = fs::OpenOptions::new().write(true).open(path).unwrap();
    log.set_len(MIB as u64).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_what_is_under_way() {
    let scene = Scene::set().await;
    let path = scene.here("big", &noise(24 * MIB));
    let (cable, to) = cabled(&scene).await;
    let (hold, half) = holding(cable);
    let options = SendFile::new().progress(hold);
    let closing = async {
        let _cable = soon(half).await.expect("half of it comes");
        soon(scene.desk.close()).await;
    };
    let sent = scene.desk.send_file(&to, &path, options);
    let (sent, ()) = soon(async { tokio::join!(sent, closing) }).await;
    assert!(matches!(sent, Err(SendFileError::Closed)), "{sent:?}");
    let late = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    assert!(matches!(late, Err(SendFileError::Closed)), "{late:?}");
    soon(scene.farm.close()).await;
}
