//! Rogues that send files, by names, of lengths and with contents that no honest sender does.

use super::*;

#[tokio::test]
async fn what_is_only_announced_leaves_no_folders() {
    let Scene {
        node: _node,
        mut rogue,
        outer,
        ..
    } = Scene::set().await;
    let inbox = outer.path().join("inbox");
    fs::create_dir(inbox.join("ours")).unwrap();
    let name = format!("ours/{}x", "d/".repeat(100));
    rogue.say(&send(&name, b"x")).await;
    assert_eq!(rogue.wanted().await, 0);
    assert!(inbox.join("ours/d/d").exists());
    drop(rogue);
    soon(async {
        while inbox.join("ours/d").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(inbox.join("ours").exists(), "it was there before");
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let mut scene = Scene::set().await;
    let absolute = scene.outer.path().join("secret");
    for name in [
        "../secret",
        "..",
        ".",
        "a/../../secret",
        absolute.to_str().unwrap(),
        "",
        "a//b",
        "c:/secret",
        "..\\secret",
        "a\0b",
        ".coros-part-x",
    ] {
        for ask in [
            send(name, b"stolen"),
            Say::Fetch { name: name.into() },
            Say::Delete { name: name.into() },
        ] {
            scene.rogue.say(&ask).await;
            let why = scene.rogue.refused().await;
            assert!(matches!(why, Refusal::Name(_)), "{ask:?}: {why}");
        }
    }
    let secret = fs::read(scene.outer.path().join("secret")).unwrap();
    assert_eq!(secret, b"secret");
    scene.unharmed().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_planted_while_a_file_comes_is_not_followed() {
    use std::os::unix::fs::symlink;
    let mut scene = Scene::set().await;
    let inbox = scene.outer.path().join("inbox");
    // The folder on the way and the file itself, after both were looked at.
    scene.rogue.say(&send("way/x", b"stolen")).await;
    assert_eq!(scene.rogue.wanted().await, 0);
    fs::rename(inbox.join("way"), inbox.join("moved")).unwrap();
    symlink(scene.outer.path(), inbox.join("way")).unwrap();
    symlink(scene.outer.path().join("secret"), inbox.join("moved/x")).unwrap();
    scene.rogue.say(&Say::From { offset: 0 }).await;
    scene.rogue.raw(&piece(b"stolen")).await;
    scene.rogue.say(&end(b"stolen")).await;
    assert_eq!(scene.rogue.refused().await, Refusal::Symlink("x".into()));
    assert_eq!(names(scene.outer.path()), ["inbox", "secret"]);
    assert_eq!(
        fs::read(scene.outer.path().join("secret")).unwrap(),
        b"secret"
    );
    fs::remove_file(inbox.join("way")).unwrap();
    fs::remove_dir_all(inbox.join("moved")).unwrap();
    scene.unharmed().await;
}

#[tokio::test]
async fn more_or_less_than_announced_is_thrown_away() {
    for (pieces, says) in [
        (&[&b"four"[..], b"+"][..], "more than the 4 bytes"),
        (&[b"fou"], "3 of the 4 bytes"),
    ] {
        let mut scene = Scene::set().await;
        scene.rogue.say(&send("x", b"four")).await;
        scene.rogue.wanted().await;
        scene.rogue.say(&Say::From { offset: 0 }).await;
        for bytes in pieces {
            scene.rogue.raw(&piece(bytes)).await;
        }
        scene.rogue.say(&end(b"four")).await;
        let Refusal::Protocol(why) = scene.rogue.refused().await else {
            panic!("{says}");
        };
        assert!(why.contains(says), "{why}");
        scene.unharmed().await;
    }
}

#[tokio::test]
async fn an_endless_file_ends_at_the_announced_length() {
    let mut scene = Scene::with(|folder| folder.largest(1 << 20)).await;
    // What is announced beyond the limit is not even begun.
    scene
        .rogue
        .say(&Say::Send {
            replace: false,
            size: u64::MAX,
            stamp: 7,
            name: "x".into(),
        })
        .await;
    let largest = 1 << 20;
    assert_eq!(scene.rogue.refused().await, Refusal::TooLarge { largest });

    scene.rogue.say(&send("x", &vec![0; 1 << 20])).await;
    scene.rogue.wanted().await;
    scene.rogue.say(&Say::From { offset: 0 }).await;
    let endless = piece(&vec![0; MAX_PIECE]);
    let (mut read, mut write) = tokio::io::split(scene.rogue.0);
    let pouring = async {
        // Until the node has closed, or stops reading.
        while write.write_all(&endless).await.is_ok() {
            write.flush().await.ok();
        }
    };
    let hearing = async {
        let mut heard = Vec::new();
        while let Ok(1..) = read.read_buf(&mut heard).await {}
        heard
    };
    let ((), heard) = soon(async { tokio::join!(pouring, hearing) }).await;
    let text = String::from_utf8_lossy(&heard);
    assert!(text.contains("more than the 1048576 bytes"), "{text}");
    let rogue = Rogue::dial(&scene.node, &scene.credentials).await;
    Scene { rogue, ..scene }.unharmed().await;
}

#[tokio::test]
async fn another_content_than_announced_is_thrown_away() {
    let mut scene = Scene::set().await;
    scene.rogue.say(&send("x", b"good")).await;
    scene.rogue.wanted().await;
    scene.rogue.say(&Say::From { offset: 0 }).await;
    scene.rogue.raw(&piece(b"evil")).await;
    scene.rogue.say(&end(b"good")).await;
    assert_eq!(scene.rogue.refused().await, Refusal::Mismatch);
    scene.unharmed().await;
}

/// More than any disk has. No folder is made for it either.
#[cfg(unix)]
#[tokio::test]
async fn what_the_disk_has_no_room_for_is_refused_before_it_comes() {
    let mut scene = Scene::set().await;
    for name in ["x", "deep/er/x"] {
        let size = 1 << 62;
        scene
            .rogue
            .say(&Say::Send {
                replace: false,
                size,
                stamp: 7,
                name: name.into(),
            })
            .await;
        let why = scene.rogue.refused().await;
        let said = why.to_string();
        let Refusal::DiskFull {
            folder, missing, ..
        } = why
        else {
            panic!("{said}");
        };
        let inbox = scene.outer.path().join("inbox");
        assert_eq!(folder, inbox.to_str().unwrap());
        assert!(missing < size && missing > size / 2, "{said}");
        assert!(scene.inbox().is_empty(), "{name}");
    }
    scene.unharmed().await;
}

#[tokio::test]
async fn a_file_that_is_there_is_not_replaced_by_a_lie() {
    let mut scene = Scene::set().await;
    let there = scene.outer.path().join("inbox/x");
    fs::write(&there, b"mine").unwrap();
    // It has to be compared, and to another content the answer is that the name is taken.
    scene.rogue.say(&send("x", b"evil")).await;
    let hash = *blake3::hash(b"mine").as_bytes();
    let heard = scene.rogue.hear().await;
    assert_eq!(heard, Some(Heard::Say(Say::Have { hash })));
    scene.rogue.say(&Say::Same(false)).await;
    assert_eq!(scene.rogue.refused().await, Refusal::Exists);
    // Nothing can be sent in place of the answer.
    scene.rogue.say(&send("x", b"evil")).await;
    scene.rogue.hear().await;
    scene.rogue.say(&Say::From { offset: 0 }).await;
    let why = scene.rogue.refused().await;
    assert!(matches!(why, Refusal::Protocol(_)), "{why}");
    // Whoever says that it is the same changes nothing.
    scene.rogue = Rogue::dial(&scene.node, &scene.credentials).await;
    scene.rogue.say(&send("x", b"evil")).await;
    scene.rogue.hear().await;
    scene.rogue.say(&Say::Same(true)).await;
    assert_eq!(scene.rogue.hear().await, Some(Heard::Say(Say::Done)));
    assert_eq!(fs::read(&there).unwrap(), b"mine");
    fs::remove_file(there).unwrap();
    scene.unharmed().await;
}

#[tokio::test]
async fn what_is_out_of_turn_ends_the_connection() {
    for bytes in [
        piece(b"x"),
        wire::encode(&end(b"")),
        wire::encode(&Say::Same(true)),
        wire::encode(&Say::Have { hash: [0; 32] }),
        wire::encode(&Say::Done),
        wire::encode(&Say::From { offset: 0 }),
        wire::encode(&Say::Offer { size: 1, stamp: 7 }),
    ] {
        let mut scene = Scene::set().await;
        scene.rogue.raw(&bytes).await;
        let why = scene.rogue.refused().await;
        assert!(matches!(why, Refusal::Protocol(_)), "{why}");
        assert_eq!(scene.rogue.hear().await, None);
        scene.unharmed().await;
    }
    // No frames at all, and lengths that nobody may claim.
    for bytes in [[0xff; HEADER], [0, 0, 16, 0, 0], [0, 0, 1, 0, 1]] {
        let mut scene = Scene::set().await;
        scene.rogue.raw(&bytes).await;
        assert_eq!(scene.rogue.hear().await, None);
        scene.unharmed().await;
    }
}

#[tokio::test]
async fn a_connection_for_something_else_is_refused() {
    let scene = Scene::set().await;
    let endpoint = scene.node.location().endpoint.unwrap();
    let tcp = TcpStream::connect(endpoint).await.unwrap();
    let tls = Tls::new(&scene.credentials).unwrap();
    let (stream, _) = tls
        .dial(ReadAhead::new(Box::new(tcp) as BoxStream))
        .await
        .unwrap();
    let mut rogue = Rogue(stream);
    rogue
        .raw(&hello_for(2, scene.credentials.node(), "rogue", 0))
        .await;
    assert_eq!(rogue.hear().await, None);
    scene.unharmed().await;
}

#[tokio::test]
async fn who_says_nothing_more_is_given_up_and_what_came_is_kept() {
    let mut scene = Scene::set().await;
    scene.rogue.say(&send("x", b"four")).await;
    scene.rogue.wanted().await;
    scene.rogue.say(&Say::From { offset: 0 }).await;
    scene.rogue.raw(&piece(b"fo")).await;
    assert_eq!(scene.rogue.hear().await, None, "within the silence bound");
    let hidden = scene.inbox();
    assert!(
        hidden.len() == 1 && hidden[0].starts_with(".coros-part-"),
        "{hidden:?}"
    );
    let mut next = Rogue::dial(&scene.node, &scene.credentials).await;
    next.say(&send("x", b"four")).await;
    assert_eq!(next.wanted().await, 2);
}

#[tokio::test]
async fn who_starts_over_has_no_more_room_than_before() {
    let mut scene = Scene::with(|folder| folder.total(100)).await;
    let [big, small] = [[7; 100], [8; 100]];
    let small = &small[..60];
    scene.rogue.say(&send("x", &big)).await;
    scene.rogue.wanted().await;
    scene.rogue.say(&Say::From { offset: 0 }).await;
    scene.rogue.raw(&piece(&big[..60])).await;
    assert_eq!(scene.rogue.hear().await, None, "within the silence bound");

    // What is kept of it is given up, and is on the way again.
    scene.rogue = Rogue::dial(&scene.node, &scene.credentials).await;
    scene.rogue.say(&send("x", &big)).await;
    assert_eq!(scene.rogue.wanted().await, 60);
    scene.rogue.say(&Say::From { offset: 0 }).await;
    scene.rogue.raw(&piece(&big[..1])).await;
    let hidden = scene.outer.path().join("inbox").join(&scene.inbox()[0]);
    soon(async {
        while fs::metadata(&hidden).unwrap().len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Which leaves no room for another.
    let mut other = Rogue::dial(&scene.node, &scene.credentials).await;
    other.say(&send("y", small)).await;
    let full = Refusal::FolderFull { total: 100 };
    assert_eq!(other.refused().await, full);
    scene.rogue.raw(&piece(&big[1..])).await;
    scene.rogue.say(&end(&big)).await;
    assert_eq!(scene.rogue.hear().await, Some(Heard::Say(Say::Done)));
    fs::remove_file(scene.outer.path().join("inbox/x")).unwrap();
    scene.unharmed().await;
}
