//! The store in real folders.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use coros_net::{Node, Secret, SendFile};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;

const MANY: u64 = 1 << 30;

fn hash_of(content: &[u8]) -> ContentHash {
    ContentHash::of(content).unwrap().0
}

/// A folder in which nothing has been yet.
struct Site {
    outside: TempDir,
    folder: PathBuf,
}

impl Site {
    fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("not there yet/store");
        Site { outside, folder }
    }

    async fn open(&self, limit: u64) -> Store {
        Store::open(&self.folder, limit).await.unwrap()
    }

    async fn refused(&self) -> OpenError {
        Store::open(&self.folder, MANY).await.unwrap_err()
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    fn entry(&self, content: &[u8]) -> PathBuf {
        self.at(hash_of(content).to_string())
    }

    fn names(&self) -> Vec<String> {
        names(&self.folder)
    }

    /// What is there when there are these entries and nothing else.
    fn expected(&self, contents: &[&[u8]]) -> Vec<String> {
        let mut names = vec!["coros-store.lock".into(), "incoming".into()];
        names.extend(contents.iter().map(|it| hash_of(it).to_string()));
        names.sort();
        names
    }
}

fn names(folder: &Path) -> Vec<String> {
    let name = |it: io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

async fn adopt(store: &Store, content: &[u8], kind: Kind) -> Pin {
    let hash = hash_of(content);
    let name = format!("received {hash}");
    let room = store.make_room(&name, content.len() as u64).await.unwrap();
    fs::write(store.incoming().join(&name), content).unwrap();
    store.adopt(hash, kind, room).await.unwrap()
}

async fn pin(store: &Store, content: &[u8]) -> Result<Pin, PinError> {
    store.pin(hash_of(content), Kind::File).await
}

/// Nothing is counted that is not there.
async fn assert_all_is_free(store: &Store, limit: u64) {
    let room = store.make_room("x", limit).await;
    room.unwrap();
}

#[tokio::test]
async fn what_was_received_is_kept_once_and_outlives_the_store() {
    let site = Site::new();
    let store = site.open(MANY).await;
    let hash = hash_of(b"one");
    assert!(!store.contains(&hash));
    let first = adopt(&store, b"one", Kind::File).await;
    let again = adopt(&store, b"one", Kind::File).await;
    assert!(store.contains(&hash));
    assert_eq!(first.path(), again.path());
    assert!(first.path().is_absolute());
    assert_eq!(fs::read(first.path()).unwrap(), b"one");
    drop((store, first, again));

    let store = site.open(MANY).await;
    assert!(store.contains(&hash));
    let pin = pin(&store, b"one").await.unwrap();
    assert_eq!(fs::read(pin.path()).unwrap(), b"one");
    assert_eq!(names(&store.incoming()), [""; 0]);
    assert_eq!(site.names(), site.expected(&[b"one"]));
    drop(pin);
    assert_all_is_free(&store, MANY).await;
    assert_eq!(site.names(), site.expected(&[]));
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_can_write_to_an_entry_and_programs_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let site = Site::new();
    let store = site.open(MANY).await;
    assert_eq!(mode(&site.folder), 0o700);
    assert_eq!(mode(&store.incoming()), 0o700);
    let file = adopt(&store, b"file", Kind::File).await;
    let program = adopt(&store, b"program", Kind::Program).await;
    assert_eq!([mode(&file.path()), mode(&program.path())], [0o400, 0o500]);
    // One that came as a file is wanted as a program, and the other way round.
    for content in [&b"file"[..], b"program"] {
        for kind in [Kind::Program, Kind::File] {
            let pin = store.pin(hash_of(content), kind).await.unwrap();
            assert_eq!(mode(&pin.path()), 0o500);
        }
    }
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_refused_and_removed() {
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    let wanted = hash_of(b"announced");
    let adopt = async |name: &str, bytes| {
        let room = store.make_room(name, bytes).await.unwrap();
        let adopted = store.adopt(wanted, Kind::Program, room).await;
        adopted.unwrap_err()
    };
    let received = |name: &str| store.incoming().join(name);

    fs::write(received("another"), b"another").unwrap();
    let error = adopt("another", 100).await;
    let AdoptError::Mismatch { found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(found, hash_of(b"another"));

    fs::write(received("announced"), [7; LEAST as usize + 1]).unwrap();
    let error = adopt("announced", 8).await;
    assert!(
        matches!(
            error,
            AdoptError::TooLarge {
                size,
                room: LEAST,
                ..
            } if size == LEAST + 1
        ),
        "{error}"
    );

    fs::create_dir(received("folder")).unwrap();
    fs::write(received("folder/announced"), b"announced").unwrap();
    for name in ["announced", "folder", "never came"] {
        let error = adopt(name, 100).await;
        assert!(matches!(error, AdoptError::Missing(_)), "{error}");
    }
    assert!(!store.contains(&wanted));
    assert_eq!(names(&store.incoming()), [""; 0]);
    assert_eq!(site.names(), site.expected(&[]));
    assert_all_is_free(&store, 10 * LEAST).await;
}

#[cfg(unix)]
#[tokio::test]
async fn no_name_and_no_link_leads_out_of_the_folder() {
    let site = Site::new();
    let store = site.open(MANY).await;
    let outside = site.outside.path().join("outside");
    fs::write(&outside, b"outside").unwrap();
    let before = fs::metadata(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, store.incoming().join("link")).unwrap();
    std::os::unix::fs::symlink(site.outside.path(), store.incoming().join("folder")).unwrap();
    let absolute = outside.to_str().unwrap();
    for name in [
        "link",
        "folder/outside",
        "../../../outside",
        absolute,
        "..",
        ".",
    ] {
        let room = store.make_room(name, 100).await.unwrap();
        let adopted = store.adopt(hash_of(b"outside"), Kind::File, room);
        adopted.await.unwrap_err();
    }
    assert!(!store.contains(&hash_of(b"outside")));
    assert_eq!(fs::read(&outside).unwrap(), b"outside");
    let after = fs::metadata(&outside).unwrap();
    assert_eq!(after.permissions(), before.permissions());
    assert_eq!(after.modified().unwrap(), before.modified().unwrap());
}

/// What was used last stays, also over a restart.
#[tokio::test]
async fn the_least_recently_used_goes_first() {
    let site = Site::new();
    let store = site.open(3 * LEAST).await;
    let [a, b, c] = [[b'a'; 10], [b'b'; 10], [b'c'; 10]];
    for content in [a, b, c] {
        adopt(&store, &content, Kind::File).await;
    }
    pin(&store, &a).await.unwrap();
    let room = store.make_room("x", 1).await.unwrap();
    assert_eq!(site.names(), site.expected(&[&a, &c]));
    drop((room, store));

    let long_ago = |content: &[u8], days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::open(site.entry(content))
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    long_ago(&a, 2);
    long_ago(&c, 1);
    let store = site.open(3 * LEAST).await;
    adopt(&store, &b, Kind::File).await;
    pin(&store, &a).await.unwrap();
    drop(store);
    long_ago(&b, 3);
    // It holds less from now on: `a` has been used last.
    let store = site.open(2 * LEAST - 1).await;
    assert_eq!(site.names(), site.expected(&[&a]));
    assert!(store.contains(&hash_of(&a)));
}

#[tokio::test]
async fn what_is_in_use_or_on_its_way_takes_its_room() {
    const SIZE: usize = LEAST as usize;
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    let kept = adopt(&store, &[1; 6 * SIZE], Kind::Program).await;
    adopt(&store, &[2; 2 * SIZE], Kind::File).await;
    let room = store.make_room("x", 3 * LEAST).await.unwrap();
    assert_eq!(site.names(), site.expected(&[&[1; 6 * SIZE]]));
    let error = store.make_room("x", LEAST + 1).await.unwrap_err();
    let RoomError::NoRoom(error) = error else {
        panic!("{error}");
    };
    let expected = NoRoom {
        limit: 10 * LEAST,
        pinned: 6 * LEAST,
        promised: 3 * LEAST,
        wanted: LEAST + 1,
    };
    assert_eq!(error, expected);
    drop(room);
    store.make_room("x", 4 * LEAST).await.unwrap();
    assert!(kept.path().exists());
    drop(kept);
    assert_all_is_free(&store, 10 * LEAST).await;
    assert_eq!(site.names(), site.expected(&[]));
}

/// What can be in the place of an entry that was good once.
#[cfg(unix)]
#[tokio::test]
async fn a_damaged_entry_is_found_removed_and_can_come_again() {
    let content = b"a program";
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("outside");
    fs::write(&target, content).unwrap();
    let damage = |what: &str, path: &Path| match what {
        "truncated" => fs::write(path, b"a prog"),
        "other bytes" => fs::write(path, b"a problem"),
        "a link to what it was" => std::os::unix::fs::symlink(&target, path),
        "a folder" => fs::create_dir(path),
        _ => Ok(()),
    };
    for what in [
        "truncated",
        "other bytes",
        "a link to what it was",
        "a folder",
        "nothing",
    ] {
        for restarted in [true, false] {
            let site = Site::new();
            let mut store = site.open(10 * LEAST).await;
            drop(adopt(&store, content, Kind::Program).await);
            let path = site.entry(content);
            if restarted {
                drop(store);
                store = site.open(10 * LEAST).await;
            }
            fs::remove_file(&path).unwrap();
            damage(what, &path).unwrap();
            let error = pin(&store, content).await.unwrap_err();
            assert!(matches!(error, PinError::Damaged(_)), "{what}: {error}");
            let error = pin(&store, content).await.unwrap_err();
            assert!(matches!(error, PinError::Missing(_)), "{what}: {error}");
            assert_eq!(site.names(), site.expected(&[]), "{what}");
            assert_all_is_free(&store, 10 * LEAST).await;
            let pin = adopt(&store, content, Kind::Program).await;
            assert_eq!(fs::read(pin.path()).unwrap(), content);
        }
    }
    assert_eq!(fs::read(&target).unwrap(), content);
}

/// Has the store keep what came for these.
async fn keep(store: &Store, contents: &[&[u8]], came: &[u8]) -> Result<Vec<Pin>, KeepError> {
    let contents = contents.iter().map(|it| ContentHash::of(*it).unwrap());
    let contents: Vec<_> = contents.collect();
    let room = contents.iter().map(|(_, length)| counted(*length)).sum();
    let room = store.set_aside(room).await.unwrap();
    store
        .keep(contents, Bytes::copy_from_slice(came), room)
        .await
}

#[tokio::test]
async fn what_came_together_is_kept_one_by_one() {
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    drop(adopt(&store, b"two", Kind::File).await);
    let contents: [&[u8]; 4] = [b"one", b"two", b"", b"three"];
    let pins = keep(&store, &contents, b"onetwothree").await.unwrap();
    for (pin, content) in pins.iter().zip(contents) {
        assert_eq!(pin.hash(), hash_of(content));
        assert_eq!(fs::read(pin.path()).unwrap(), content);
    }
    assert_eq!(site.names(), site.expected(&contents));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(pins[0].path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o400);
    }
    drop(pins);
    assert_all_is_free(&store, 10 * LEAST).await;
    assert_eq!(site.names(), site.expected(&[]));
}

#[tokio::test]
async fn what_was_left_incomplete_goes_for_what_comes_together() {
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    let left = store.incoming().join("left");
    fs::write(&left, [7; 9 * LEAST as usize]).unwrap();
    keep(&store, &[b"one"], b"one").await.unwrap();
    assert!(left.exists());
    keep(&store, &[b"two", b"three"], b"twothree")
        .await
        .unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn what_came_together_and_is_something_else_is_not_kept() {
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    for came in ["onetw", "onetwoo", ""] {
        let error = keep(&store, &[b"one", b"two"], came.as_bytes()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("and not 6: send it again"), "{error}");
        assert_eq!(site.names(), site.expected(&[]));
    }
    let error = keep(&store, &[b"one", b"two", b"three"], b"onetowthree").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&hash_of(b"two").to_string()), "{error}");
    // It goes as all that nobody uses.
    assert_eq!(site.names(), site.expected(&[b"one"]));
    assert_all_is_free(&store, 10 * LEAST).await;
    assert_eq!(site.names(), site.expected(&[]));
}

/// A damaged one does not keep out what has come in its stead.
#[tokio::test]
async fn what_is_received_again_replaces_what_is_damaged() {
    let site = Site::new();
    let store = site.open(MANY).await;
    drop(adopt(&store, b"good", Kind::File).await);
    drop(store);
    fs::remove_file(site.entry(b"good")).unwrap();
    fs::write(site.entry(b"good"), b"evil").unwrap();
    let store = site.open(MANY).await;
    let pin = adopt(&store, b"good", Kind::File).await;
    assert_eq!(fs::read(pin.path()).unwrap(), b"good");
}

/// As a daemon leaves it that is killed while something comes and something is adopted.
#[cfg(unix)]
#[tokio::test]
async fn what_is_no_entry_is_swept() {
    let site = Site::new();
    let store = site.open(MANY).await;
    adopt(&store, b"kept", Kind::File).await;
    let outside = site.outside.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"outside").unwrap();
    let incoming = store.incoming();
    drop(store);
    fs::write(incoming.join(".coros-part-1"), b"half of it").unwrap();
    fs::create_dir_all(incoming.join("a/folder")).unwrap();
    std::os::unix::fs::symlink(&outside, incoming.join("a/link")).unwrap();
    // Half of what somebody sends again, and what cannot be that.
    let awaited = hash_of(b"awaited").to_string();
    for name in [".coros-part-1", "content", "link", "folder/.coros-part-1"] {
        let path = incoming.join(&awaited).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name {
            "link" => std::os::unix::fs::symlink(&outside, path).unwrap(),
            _ => fs::write(path, b"half of it").unwrap(),
        }
    }
    let other = incoming.join(hash_of(b"other").to_string());
    std::os::unix::fs::symlink(&outside, other).unwrap();
    fs::write(site.at("adopting-0"), b"not verified").unwrap();
    fs::create_dir(site.entry(b"folder")).unwrap();
    std::os::unix::fs::symlink(&outside, site.entry(b"link")).unwrap();
    fs::write(site.at(hash_of(b"x").to_string().to_uppercase()), b"x").unwrap();

    let store = site.open(MANY).await;
    assert_eq!(site.names(), site.expected(&[b"kept"]));
    assert_eq!(names(&store.incoming()), [&*awaited]);
    assert_eq!(names(&store.incoming().join(&awaited)), [".coros-part-1"]);
    assert_eq!(store.received(&format!("{awaited}/content")).await, 10);
    assert_eq!(names(&outside), ["file"]);
    pin(&store, b"kept").await.unwrap();
    assert_eq!(
        fs::read(adopt(&store, b"x", Kind::File).await.path()).unwrap(),
        b"x"
    );
}

#[tokio::test]
async fn a_second_daemon_is_told_who_has_the_folder() {
    let site = Site::new();
    let store = site.open(MANY).await;
    let pin = adopt(&store, b"in use", Kind::Program).await;
    fs::write(store.incoming().join("coming"), b"half of it").unwrap();
    drop(store);
    // Who has something pinned still uses the store.
    let error = site.refused().await;
    let OpenError::InUse { pid, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*pid, Some(std::process::id()));
    let words = format!("in use by process {}: ", std::process::id());
    assert!(error.to_string().contains(&words), "{error}");
    assert_eq!(names(&site.at("incoming")), ["coming"]);
    drop(pin);
    site.open(MANY).await;
}

#[tokio::test]
async fn a_folder_of_other_things_is_left_alone() {
    let site = Site::new();
    fs::create_dir_all(site.at("incoming")).unwrap();
    fs::write(site.at("incoming/letter"), b"precious").unwrap();
    let error = site.refused().await;
    assert!(matches!(error, OpenError::NotAStore { .. }), "{error}");
    assert_eq!(site.names(), ["incoming"]);
    assert_eq!(fs::read(site.at("incoming/letter")).unwrap(), b"precious");

    let file = Site::new();
    fs::create_dir_all(file.folder.parent().unwrap()).unwrap();
    fs::write(&file.folder, b"precious").unwrap();
    let error = file.refused().await;
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(
        error.to_string().contains(file.folder.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read(&file.folder).unwrap(), b"precious");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_to_which_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    drop(site.open(MANY).await);
    for (mode, trusted) in [
        (0o770, false),
        (0o702, false),
        (0o1777, false),
        (0o755, true),
    ] {
        fs::set_permissions(&site.folder, fs::Permissions::from_mode(mode)).unwrap();
        let opened = Store::open(&site.folder, MANY).await;
        match opened {
            Ok(_) => assert!(trusted, "{mode:o}"),
            Err(OpenError::Exposed { .. }) => assert!(!trusted, "{mode:o}"),
            Err(error) => panic!("{mode:o}: {error}"),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_of_another_user_is_refused() {
    let site = Site::new();
    drop(site.open(MANY).await);
    let mut folder = site.folder.clone();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&folder, Some(65_534), None).unwrap();
    } else {
        // Root's, everywhere.
        folder = "/".into();
    }
    let error = Store::open(&folder, MANY).await.unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(
        error.to_string().contains(folder.to_str().unwrap()),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_adopt_the_same() {
    const SIZE: u64 = 100_000;
    let site = Site::new();
    let store = site.open(20 * SIZE).await;
    let content = vec![7; SIZE as usize];
    let hash = hash_of(&content);
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let name = format!("n{n}");
        let (store, content) = (store.clone(), content.clone());
        tasks.spawn(async move {
            let room = store.make_room(&name, SIZE).await.unwrap();
            fs::write(store.incoming().join(&name), &content).unwrap();
            store.adopt(hash, Kind::File, room).await.unwrap()
        });
    }
    let pins = tasks.join_all().await;
    assert_eq!(site.names(), site.expected(&[&content]));
    assert_eq!(names(&store.incoming()), [""; 0]);
    drop(store.make_room("x", 19 * SIZE).await.unwrap());
    store.make_room("x", 20 * SIZE).await.unwrap_err();
    drop(pins);
    assert_all_is_free(&store, 20 * SIZE).await;
}

/// Half of what is wanted has room: all the time something goes and comes again, while others use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pinned_stays_whatever_goes_at_that_moment() {
    const SIZE: usize = LEAST as usize;
    let site = Site::new();
    let store = site.open(8 * SIZE as u64).await;
    let mut tasks = JoinSet::new();
    for task in 0..4_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut came = 0;
            for round in 0..60_u8 {
                // Others want the same, in another order.
                let content = vec![round.wrapping_mul(2 * task + 1) % 16; SIZE];
                let pin = match pin(&store, &content).await {
                    Ok(pin) => pin,
                    Err(PinError::Missing(hash)) => {
                        came += 1;
                        let name = format!("{task} {round}");
                        let room = store.make_room(&name, SIZE as u64).await.unwrap();
                        fs::write(store.incoming().join(&name), &content).unwrap();
                        store.adopt(hash, Kind::File, room).await.unwrap()
                    }
                    Err(error) => panic!("{error}"),
                };
                tokio::task::yield_now().await;
                assert!(fs::read(pin.path()).unwrap() == content, "{task}, {round}");
            }
            came
        });
    }
    let came: usize = tasks.join_all().await.into_iter().sum();
    assert!(came > 16, "nothing went: {came}");
    assert!(site.names().len() <= 2 + 8, "{:?}", site.names());
    assert_all_is_free(&store, 8 * SIZE as u64).await;
}

/// Waits until nothing is in a folder.
async fn is_empty(folder: &Path) {
    let empty = async {
        while names(folder) != [""; 0] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(30), empty);
    limit.await.expect("it stays");
}

#[tokio::test]
async fn what_came_and_is_not_waited_for_goes() {
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    let incoming = store.incoming();
    let came = |name: &str| {
        fs::create_dir_all(incoming.join(name).parent().unwrap()).unwrap();
        fs::write(incoming.join(name), [7; 10]).unwrap();
        store.has_come(name.into(), None);
    };
    // Nobody has asked for it.
    came("a/b");
    is_empty(&incoming).await;
    // Whoever waited for it has gone.
    let room = store.make_room("one/content", 10).await.unwrap();
    came("one/content");
    came("other/content");
    assert_eq!(store.received("one/content").await, 10);
    while incoming.join("other").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(incoming.join("one/content").exists());
    drop(room);
    is_empty(&incoming).await;
}

/// What was left incomplete is kept for another attempt, but counts, and goes before anything else.
#[tokio::test]
async fn what_is_incomplete_has_no_room_of_its_own() {
    const SIZE: usize = LEAST as usize;
    let site = Site::new();
    let store = site.open(10 * LEAST).await;
    let incoming = store.incoming();
    let part = |name: &str| {
        fs::create_dir_all(incoming.join(name)).unwrap();
        fs::write(incoming.join(name).join(".coros-part-x"), [7; 3 * SIZE]).unwrap();
    };
    adopt(&store, &[1; 4 * SIZE], Kind::File).await;
    part("one");
    part("other");
    // There is as much as there may be.
    drop(store.make_room("one/content", 3 * LEAST).await.unwrap());
    assert_eq!(names(&incoming), ["one", "other"]);
    let room = store.make_room("one/content", 3 * LEAST + 1).await.unwrap();
    assert_eq!(names(&incoming), ["one"]);
    assert_eq!(store.received("one/content").await, 3 * LEAST);
    assert!(store.contains(&hash_of(&[1; 4 * SIZE])));
    drop(room);
    assert_all_is_free(&store, 10 * LEAST).await;
    assert_eq!(names(&incoming), [""; 0]);
}

/// The hash is that of the transfer, and not of what was announced; and not that of what somebody has put in its
/// place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_sends_is_taken_for_what_it_is() {
    let site = Site::new();
    let store = site.open(MANY).await;
    let secret = Secret::random();
    let node = || Node::builder().secret(secret.clone());
    let farm = node()
        .files(store.folder(MANY, MANY))
        .build()
        .await
        .unwrap();
    let desk = node().build().await.unwrap();
    let source = site.outside.path().join("source");
    let send = async |content: &[u8]| {
        fs::write(&source, content).unwrap();
        let options = SendFile::new().name("sent/content");
        let to = farm.location();
        let sending = desk.send_file(&to, &source, options);
        sending.await.unwrap();
    };
    let announced = hash_of(b"announced");
    let make_room = async || store.make_room("sent/content", 9).await.unwrap();

    let room = make_room().await;
    send(b"announced").await;
    let pin = store.adopt(announced, Kind::File, room).await.unwrap();
    assert_eq!(fs::read(pin.path()).unwrap(), b"announced");

    let other = hash_of(b"something");
    let room = make_room().await;
    send(b"announced").await;
    let error = store.adopt(other, Kind::File, room).await.unwrap_err();
    assert!(
        matches!(error, AdoptError::Mismatch { found, .. } if found == announced),
        "{error}"
    );

    let room = make_room().await;
    send(b"something").await;
    let there = site.at("incoming/sent/content");
    let modified = fs::metadata(&there).unwrap().modified().unwrap();
    fs::write(&there, b"elsewhere").unwrap();
    let file = fs::File::options().write(true).open(&there).unwrap();
    file.set_modified(modified + Duration::from_nanos(1))
        .unwrap();
    let error = store.adopt(other, Kind::File, room).await.unwrap_err();
    assert!(
        matches!(error, AdoptError::Mismatch { found, .. } if found == hash_of(b"elsewhere")),
        "{error}"
    );
    assert_eq!(site.names(), site.expected(&[b"announced"]));
}
