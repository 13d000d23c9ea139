//! Files from one node to another, with real files.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::*;
use coros_net::{
    ConnectError, DeleteFileError, FetchFile, FetchFileError, Folder, Location, Node, NodeError,
    Progress, Refusal, Secret, SendFile, SendFileError,
};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// Two nodes; the farm has a folder.
struct Scene {
    desk: Node,
    farm: Node,
    to: Location,
    inbox: TempDir,
    home: TempDir,
}

impl Scene {
    async fn set() -> Self {
        Scene::with(|folder| folder.allow_fetch().allow_delete()).await
    }

    async fn with(limits: impl FnOnce(Folder) -> Folder) -> Self {
        let secret = Secret::random();
        let [inbox, home] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let folder = limits(Folder::new(inbox.path()));
        let farm = builder("farm", &secret).files(folder).build();
        let farm = farm.await.unwrap();
        Scene {
            desk: node("desk", &secret).await,
            to: farm.location(),
            farm,
            inbox,
            home,
        }
    }

    fn here(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn there(&self, name: &str) -> PathBuf {
        self.inbox.path().join(name)
    }

    /// Sends `content` under a name; bytes moved.
    async fn send(&self, name: &str, content: &[u8]) -> Result<u64, SendFileError> {
        self.send_with(content, SendFile::new().name(name)).await
    }

    async fn send_with(&self, content: &[u8], options: SendFile) -> Result<u64, SendFileError> {
        let path = self.here("source", content);
        let sent = soon(self.desk.send_file(&self.to, path, options)).await?;
        assert_eq!(sent.size, content.len() as u64);
        Ok(sent.moved)
    }

    async fn refused(&self, name: &str, content: &[u8]) -> Refusal {
        refusal(self.send(name, content).await.unwrap_err())
    }
}

#[track_caller]
fn refusal(error: SendFileError) -> Refusal {
    match error {
        SendFileError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// All names below a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The incomplete file in a folder, and its length.
fn partial(folder: &Path) -> Option<u64> {
    let name = names(folder)
        .into_iter()
        .find(|name| name.starts_with(".coros-part-"))?;
    Some(fs::metadata(folder.join(name)).unwrap().len())
}

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
async fn a_node_without_a_folder_refuses() {
    let scene = Scene::set().await;
    let path = scene.here("x", b"x");
    let to = scene.desk.location();
    let sent = soon(scene.farm.send_file(&to, &path, SendFile::new())).await;
    let error = sent.unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("desk@") && said.contains("\"x\""),
        "{said}"
    );
    assert!(said.contains("Builder::files"), "{said}");
    assert_eq!(refusal(error), Refusal::NoFolder);
    let fetch = scene.farm.fetch_file(&to, "x", &path, FetchFile::new());
    assert!(matches!(
        soon(fetch).await,
        Err(FetchFileError::Refused {
            why: Refusal::NoFolder,
            ..
        })
    ));
    assert!(matches!(
        soon(scene.farm.delete_file(&to, "x")).await,
        Err(DeleteFileError::Refused {
            why: Refusal::NoFolder,
            ..
        })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_to_exist() {
    let missing = Node::builder()
        .secret(Secret::random())
        .files(Folder::new("/nowhere/at/all"));
    let Err(NodeError::Folder { path, .. }) = missing.build().await else {
        panic!("there is none");
    };
    assert_eq!(path, Path::new("/nowhere/at/all"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetching_and_deleting_take_permission() {
    let scene = Scene::with(|folder| folder).await;
    scene.send("x", b"x").await.unwrap();
    let (to, copy) = (scene.to.clone(), scene.home.path().join("copy"));
    let fetch = scene.desk.fetch_file(&to, "x", &copy, FetchFile::new());
    let fetched = soon(fetch).await.unwrap_err().to_string();
    assert!(fetched.contains("allow_fetch"), "{fetched}");
    let deleted = soon(scene.desk.delete_file(&to, "x")).await;
    let deleted = deleted.unwrap_err().to_string();
    assert!(deleted.contains("does not allow to delete"), "{deleted}");
    assert!(scene.there("x").exists() && !copy.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_removes_files_and_nothing_else() {
    let scene = Scene::set().await;
    scene.send("a/x", b"x").await.unwrap();
    let delete = async |name| match soon(scene.desk.delete_file(&scene.to, name)).await {
        Ok(()) => None,
        Err(DeleteFileError::Refused { why, .. }) => Some(why),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(delete("a").await, Some(Refusal::NotAFile("a".into())));
    assert_eq!(delete("b/x").await, Some(Refusal::Missing));
    assert_eq!(delete("a/x").await, None);
    assert_eq!(delete("a/x").await, Some(Refusal::Missing));
    assert!(scene.there("a").is_dir());
    assert!(matches!(
        soon(scene.desk.delete_file(&scene.to, "../x")).await,
        Err(DeleteFileError::Name(_))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_names_are_refused_before_anybody_is_dialled() {
    let scene = Scene::set().await;
    let nowhere = Location {
        endpoint: None,
        ..scene.to.clone()
    };
    let path = scene.here("x", b"x");
    for name in ["", "/x", "../x", "a/../x", "c:/x", "a\0b"] {
        let options = SendFile::new().name(name);
        let sent = soon(scene.desk.send_file(&nowhere, &path, options)).await;
        assert!(matches!(sent, Err(SendFileError::Name(_))), "{name:?}");
        let fetch = scene
            .desk
            .fetch_file(&nowhere, name, &path, FetchFile::new());
        assert!(
            matches!(soon(fetch).await, Err(FetchFileError::Name(_))),
            "{name:?}"
        );
    }
    let sent = soon(scene.desk.send_file(&nowhere, &path, SendFile::new())).await;
    let error = sent.unwrap_err();
    assert!(error.to_string().contains("listens nowhere"), "{error}");
    assert!(matches!(
        error,
        SendFileError::Unreachable {
            source: ConnectError::NotListening { .. },
            ..
        }
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold() {
    let scene = Scene::with(|folder| folder.largest(1000).total(2500)).await;
    scene.send("a", &noise(1000)).await.unwrap();
    let largest = Refusal::TooLarge { largest: 1000 };
    assert_eq!(scene.refused("b", &noise(1001)).await, largest);
    scene.send("b/c", &[1; 1000]).await.unwrap();
    let full = Refusal::FolderFull { total: 2500 };
    assert_eq!(scene.refused("d", &[2; 501]).await, full);
    scene.send("e", &[2; 500]).await.unwrap();
    assert_eq!(scene.refused("f", b"x").await, full);
    assert_eq!(names(scene.inbox.path()), ["a", "b", "e"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_may_limit_the_size() {
    let scene = Scene::set().await;
    scene.send("x", b"1234").await.unwrap();
    let (to, copy) = (scene.to.clone(), scene.home.path().join("copy"));
    let limited = FetchFile::new().largest(3);
    let fetched = soon(scene.desk.fetch_file(&to, "x", &copy, limited)).await;
    let Err(FetchFileError::Write { why, .. }) = fetched else {
        panic!("it is too large");
    };
    assert_eq!(why, Refusal::TooLarge { largest: 3 });
    // The connection is as good as before.
    let limited = FetchFile::new().largest(4);
    soon(scene.desk.fetch_file(&to, "x", &copy, limited))
        .await
        .unwrap();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let scene = Scene::set().await;
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    symlink(outside.path(), scene.there("way")).unwrap();
    symlink(&secret, scene.there("file")).unwrap();
    symlink(outside.path().join("new"), scene.there("dangling")).unwrap();
    fs::create_dir(scene.there("in")).unwrap();
    symlink("in", scene.there("inner")).unwrap();
    let (to, copy) = (scene.to.clone(), scene.home.path().join("copy"));
    for (name, link) in [
        ("way/secret", "way"),
        ("way/new", "way"),
        ("way/a/b", "way"),
        ("file", "file"),
        ("dangling", "dangling"),
        ("inner/x", "inner"),
    ] {
        let why = Refusal::Symlink(link.into());
        assert_eq!(scene.refused(name, b"stolen").await, why, "{name}");
        let replace = SendFile::new().name(name).replace();
        let sent = scene.send_with(b"stolen", replace).await;
        assert_eq!(refusal(sent.unwrap_err()), why, "{name}");
        let fetch = scene.desk.fetch_file(&to, name, &copy, FetchFile::new());
        let Err(FetchFileError::Refused { why: fetched, .. }) = soon(fetch).await else {
            panic!("{name}");
        };
        assert_eq!(fetched, why);
        let deleted = soon(scene.desk.delete_file(&to, name)).await;
        let Err(DeleteFileError::Refused { why: deleted, .. }) = deleted else {
            panic!("{name}");
        };
        assert_eq!(deleted, why);
    }
    assert_eq!(names(outside.path()), ["secret"]);
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(names(&scene.there("in")).is_empty() && !copy.exists());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_under_the_hidden_name_does_no_harm() {
    use std::os::unix::fs::symlink;
    let scene = Scene::set().await;
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, b"victim").unwrap();
    let hidden = |content: &[u8]| {
        let hash = blake3::hash(content).to_hex();
        scene.there(&format!(".coros-part-{hash}"))
    };
    symlink(&victim, hidden(b"first")).unwrap();
    let why = scene.refused("first", b"first").await;
    assert!(matches!(why, Refusal::Symlink(_)), "{why:?}");
    // A second name of another file is let go, and the file left as it is.
    fs::hard_link(&victim, hidden(b"second")).unwrap();
    scene.send("second", b"second").await.unwrap();
    assert_eq!(fs::read(scene.there("second")).unwrap(), b"second");
    // A pipe keeps nobody waiting.
    let pipe = hidden(b"third");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let why = scene.refused("third", b"third").await;
    assert!(matches!(why, Refusal::NotAFile(_)), "{why:?}");
    assert_eq!(fs::read(&victim).unwrap(), b"victim");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_is_not_sent() {
    let scene = Scene::set().await;
    let send =
        async |path: &Path| soon(scene.desk.send_file(&scene.to, path, SendFile::new())).await;
    assert!(matches!(
        send(scene.home.path()).await,
        Err(SendFileError::NotAFile { .. })
    ));
    let missing = scene.home.path().join("missing");
    let error = send(&missing).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(error, SendFileError::Read { .. }));
    // A folder stands where the file is to go, and a file where a folder is.
    fs::create_dir(scene.there("d")).unwrap();
    scene.send("f", b"f").await.unwrap();
    assert_eq!(
        scene.refused("d", b"x").await,
        Refusal::NotAFile("d".into())
    );
    assert_eq!(
        scene.refused("f/x", b"x").await,
        Refusal::NotAFile("f".into())
    );
}

/// A connection through a cable that can be held and cut.
async fn cabled(scene: &Scene) -> (Cable, Location) {
    let (cable, to) = Cable::lay().await;
    to.send_replace(scene.farm.location().endpoint);
    let location = Location {
        endpoint: Some(cable.endpoint),
        ..scene.to.clone()
    };
    (cable, location)
}

/// Calls `f` once, when half of it is done.
fn at_half(f: impl FnOnce() + Send + 'static) -> impl FnMut(Progress) + Send + 'static {
    let mut f = Some(f);
    move |at| {
        if at.done * 2 > at.total
            && let Some(f) = f.take()
        {
            f();
        }
    }
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_compared_before_it_is_continued() {
    let scene = Scene::set().await;
    let content = noise(MIB);
    let hash = blake3::hash(&content).to_hex();
    let hidden = scene.there(&format!(".coros-part-{hash}"));
    // Honest, spoilt, longer than the file, complete.
    let half = MIB / 2;
    let mut spoilt = content[..half].to_vec();
    spoilt[7] ^= 1;
    let longer = [&content[..], b"x"].concat();
    for (kept, moved) in [
        (&content[..half], MIB - half),
        (&spoilt, MIB),
        (&longer, MIB),
        (&content, 0),
    ] {
        fs::write(&hidden, kept).unwrap();
        assert_eq!(scene.send("x", &content).await.unwrap(), moved as u64);
        assert!(fs::read(scene.there("x")).unwrap() == content);
        assert_eq!(names(scene.inbox.path()), ["x"]);
        fs::remove_file(scene.there("x")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transfer_stops_and_can_be_continued() {
    let scene = Scene::set().await;
    let content = noise(24 * MIB);
    let path = scene.here("big", &content);
    let (half, mut reached) = tokio::sync::mpsc::unbounded_channel();
    let options = SendFile::new().progress(at_half(move || half.send(()).unwrap()));
    let to = scene.to.clone();
    tokio::select! {
        sent = scene.desk.send_file(&to, &path, options) => panic!("{sent:?}"),
        () = next(&mut reached) => {}
    }
    let sent = soon(scene.desk.send_file(&to, &path, SendFile::new())).await;
    let sent = sent.unwrap();
    assert!(sent.moved < sent.size, "{sent:?}");
    assert!(fs::read(scene.there("big")).unwrap() == content);
}

const SILENCE: Duration = Duration::from_secs(1);

/// Two nodes that are not patient.
async fn impatient() -> Scene {
    let secret = Secret::random();
    let [inbox, home] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let folder = Folder::new(inbox.path()).allow_fetch();
    let farm = builder("farm", &secret).silence(SILENCE).files(folder);
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
    assert!(took < SILENCE + Duration::from_secs(2), "{took:?}");
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
    assert!(took < SILENCE + Duration::from_secs(2), "{took:?}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_what_is_under_way() {
    let scene = Scene::set().await;
    let path = scene.here("big", &noise(24 * MIB));
    let closing = scene.desk.clone();
    let (closed, mut done) = tokio::sync::mpsc::unbounded_channel();
    let close = at_half(move || {
        tokio::spawn(async move {
            closing.close().await;
            closed.send(()).unwrap();
        });
    });
    let options = SendFile::new().progress(close);
    let sent = soon(scene.desk.send_file(&scene.to, &path, options)).await;
    assert!(matches!(sent, Err(SendFileError::Closed)), "{sent:?}");
    next(&mut done).await;
    let late = soon(scene.desk.send_file(&scene.to, &path, SendFile::new())).await;
    assert!(matches!(late, Err(SendFileError::Closed)), "{late:?}");
    soon(scene.farm.close()).await;
}
