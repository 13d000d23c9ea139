//! What is done with a file only if it is allowed, and what never is.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use common::files::*;
use common::*;
use coros_net::{
    ConnectError, DeleteFileError, FetchFile, FetchFileError, Folder, Location, Node, NodeError,
    Refusal, Secret, SendFile, SendFileError,
};

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

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_deleted_meanwhile_is_told_to_be_gone() {
    let scene = Scene::set().await;
    fs::remove_dir(scene.inbox.path()).unwrap();
    for name in ["x", "a/x"] {
        assert_eq!(scene.refused(name, b"x").await, Refusal::FolderGone);
    }
    // Another folder of that name is not the one that peers were given.
    fs::create_dir(scene.inbox.path()).unwrap();
    assert_eq!(scene.refused("x", b"x").await, Refusal::FolderGone);
}

/// In a thread that has not the powers of root, whoever runs this.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_to_is_there_to_fetch_from_at_most() {
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    let set = |scene: &Scene, mode| {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(scene.inbox.path(), permissions).unwrap();
    };
    let powerless = async move || {
        let scene = Scene::set().await;
        scene.send("x", b"x").await.unwrap();
        set(&scene, 0o555);
        for name in ["y", "a/y"] {
            let why = scene.refused(name, b"y").await;
            assert!(matches!(why, Refusal::NotWritable(_)), "{why:?}");
        }
        let deleted = soon(scene.desk.delete_file(&scene.to, "x")).await;
        let deleted = deleted.unwrap_err().to_string();
        assert!(deleted.contains("cannot be written to"), "{deleted}");
        for (fetch, starts) in [(false, false), (true, true)] {
            let mut folder = Folder::new(scene.inbox.path());
            if fetch {
                folder = folder.allow_fetch();
            }
            let built = Node::builder().secret(Secret::random()).files(folder);
            match built.build().await {
                Ok(_) => assert!(starts),
                Err(NodeError::Folder { why, .. }) => {
                    assert!(
                        !starts && why.kind() == ErrorKind::PermissionDenied,
                        "{why}"
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
        set(&scene, 0o755);
    };
    let thread = std::thread::spawn(move || {
        // Of this thread, and those that it starts.
        nix::unistd::setfsuid(54321.into());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(powerless());
    });
    thread.join().unwrap();
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
            why: ConnectError::NotListening { .. },
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
    // As it is named by the file's name, length and time.
    let hidden = |name: &str, content: &[u8]| {
        let written = fs::metadata(scene.here(name, content)).unwrap().modified();
        let since = written
            .unwrap()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut key = blake3::Hasher::new();
        key.update(&(content.len() as u64).to_le_bytes());
        key.update(&(since.as_nanos() as u64).to_le_bytes());
        key.update(name.as_bytes());
        scene.there(&format!(".coros-part-{}", key.finalize().to_hex()))
    };
    // The very file, so that its time is what the name was made of.
    let send = async |name: &str| {
        let path = scene.home.path().join(name);
        soon(scene.desk.send_file(&scene.to, path, SendFile::new())).await
    };
    let refused = async |name: &str| refusal(send(name).await.unwrap_err());
    symlink(&victim, hidden("first", b"first")).unwrap();
    let why = refused("first").await;
    assert!(matches!(why, Refusal::Symlink(_)), "{why:?}");
    // A second name of another file is let go, and the file left as it is.
    fs::hard_link(&victim, hidden("second", b"second")).unwrap();
    send("second").await.unwrap();
    assert_eq!(fs::read(scene.there("second")).unwrap(), b"second");
    // A pipe keeps nobody waiting.
    let pipe = hidden("third", b"third");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let why = refused("third").await;
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
        Refusal::NotAFolder("f".into())
    );
}
