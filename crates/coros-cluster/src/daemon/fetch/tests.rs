//! Clients that send, slowly or not at all, in virtual time.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::store;

/// Of nine pieces, each large enough for one that others wait for.
const PROGRAM: &[u8] = &[7; 9 * LEAST as usize];

/// Its pieces.
fn pieces() -> impl Iterator<Item = &'static [u8]> {
    PROGRAM.chunks(LEAST as usize)
}

/// Is told that somebody asks, and that what it would send comes from others.
struct Client {
    asked: Arc<Notify>,
    coming: Arc<AtomicUsize>,
}

impl Sender for Client {
    fn send(&self, _: ContentHash) -> BoxFuture<()> {
        self.asked.notify_one();
        Box::pin(std::future::ready(()))
    }

    fn pack(&self, _: Vec<ContentHash>) -> BoxFuture<()> {
        unreachable!("it has no files")
    }

    fn coming(&self) -> BoxFuture<()> {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }

    fn received(&self, _: Kind, _: u64) {}
}

/// A node that has nothing yet.
struct World {
    /// How often clients were told that something comes from others.
    coming: Arc<AtomicUsize>,
    store: Store,
    turns: Turns,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        World {
            coming: Arc::default(),
            store: Store::open(&folder.path().join("store"), 10 * LEAST)
                .await
                .unwrap(),
            turns: Turns::default(),
            _folder: folder,
        }
    }

    fn program() -> Content {
        let (hash, length) = ContentHash::of(PROGRAM).unwrap();
        Content { hash, length }
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.store.incoming().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Fetches the program from a client that does this when it is asked for it, and then says so.
    async fn fetch(&self, send: impl AsyncFnOnce() + Send) -> Result<Fetched, Unfit> {
        let asked = Arc::new(Notify::new());
        let is_asked = Arc::clone(&asked);
        let fetching = Fetching {
            store: self.store.clone(),
            turns: self.turns.clone(),
            largest: 10 * LEAST,
            program: World::program(),
            also: Vec::new(),
            files: Vec::new(),
            client: Box::new(Client {
                asked,
                coming: Arc::clone(&self.coming),
            }),
        };
        let (sent, mut came) = mpsc::channel(1);
        let send = async {
            is_asked.notified().await;
            send().await;
            sent.send(Came::File).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            fetched = fetching.run(&mut came) => fetched,
            () = send => unreachable!("it is pending for ever"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_loses_its_turn() {
    let world = World::new().await;
    let started = Instant::now();
    let mute = world.fetch(async || std::future::pending().await);
    let other = async {
        // After the first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let name = world.file(&sent_as(World::program().hash));
        world
            .fetch(async || fs::write(name, PROGRAM).unwrap())
            .await
    };
    let (mute, other) = tokio::join!(mute, other);
    assert!(mute.unwrap_err().why.contains("has come for 60s"));
    assert!(fs::read(other.unwrap().program()).unwrap() == PROGRAM);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(61), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_slowly_does_not() {
    let world = World::new().await;
    let hash = World::program().hash;
    let part = world.file(&format!("{hash}/.coros-part-1"));
    let slow = async || {
        let mut file = fs::File::create(&part).unwrap();
        for _ in 0..9 {
            tokio::time::sleep(SILENCE * 9 / 10).await;
            file.write_all(b"7").unwrap();
        }
        fs::write(&part, PROGRAM).unwrap();
        fs::rename(&part, world.file(&sent_as(hash))).unwrap();
    };
    world.fetch(slow).await.unwrap();
    assert_eq!(world.coming.load(Ordering::Relaxed), 0, "it knows");
}

/// Nobody would ever run it whose program somebody else has chosen to send like that.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_slowly_loses_its_turn_to_others() {
    let world = World::new().await;
    let hash = World::program().hash;
    let part = world.file(&format!("{hash}/.coros-part-1"));
    let started = Instant::now();
    let slow = world.fetch(async || {
        let mut file = fs::File::create(&part).unwrap();
        loop {
            tokio::time::sleep(SILENCE * 9 / 10).await;
            file.write_all(b"7").unwrap();
        }
    });
    let other = async {
        // When nobody waited it could take its time, and it has some now.
        tokio::time::sleep(SILENCE * 5 / 2).await;
        let name = world.file(&sent_as(hash));
        world
            .fetch(async || fs::write(name, PROGRAM).unwrap())
            .await
    };
    let (slow, other) = tokio::join!(slow, other);
    let why = slow.unwrap_err().why;
    assert!(
        why.contains("in 60s only") && why.contains("bytes"),
        "{why}"
    );
    assert!(fs::read(other.unwrap().program()).unwrap() == PROGRAM);
    let took = started.elapsed();
    assert!((SILENCE * 4..SILENCE * 9 / 2).contains(&took), "{took:?}");
}

/// Else it would take the node for one that does nothing.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_turn_of_another_is_told_that_it_comes() {
    let world = World::new().await;
    let hash = World::program().hash;
    let part = world.file(&format!("{hash}/.coros-part-1"));
    let begun = Notify::new();
    let slow = world.fetch(async || {
        begun.notify_one();
        let mut file = fs::File::create(&part).unwrap();
        for piece in pieces() {
            tokio::time::sleep(SILENCE / 2).await;
            file.write_all(piece).unwrap();
        }
        // And nothing any more, for a while.
        tokio::time::sleep(SILENCE / 2).await;
        fs::rename(&part, world.file(&sent_as(hash))).unwrap();
    });
    let other = async {
        begun.notified().await;
        let others = world.fetch(async || panic!("it is there"));
        others.await
    };
    let (slow, other) = tokio::join!(slow, other);
    assert_eq!(slow.unwrap().program, other.unwrap().program);
    // While the disk is looked at, the clock may go on: of some pieces it is told together.
    let told = world.coming.load(Ordering::Relaxed);
    assert!((1..=pieces().count()).contains(&told), "{told} times");
}

/// What a client says of a file that is there may be anything.
#[tokio::test]
async fn room_for_a_copy_is_as_large_as_what_is_copied() {
    let world = World::new().await;
    let content = World::program();
    let name = world.file(&sent_as(content.hash));
    let fetched = world.fetch(async || fs::write(name, PROGRAM).unwrap());
    let mut fetched = fetched.await.unwrap();
    for length in [content.length, 0] {
        fetched.files.push(Dependency {
            name: format!("a/{length}"),
            content: Content { length, ..content },
            executable: false,
        });
    }
    assert_eq!(fetched.copied(), 2 * content.length);
}

/// Many small files, all different; the program is the first.
fn small(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|n| format!("{n:1024}").into_bytes()).collect()
}

/// Is asked for packs, each of which is told.
struct Packer(mpsc::UnboundedSender<Vec<ContentHash>>);

impl Sender for Packer {
    fn send(&self, _: ContentHash) -> BoxFuture<()> {
        unreachable!("all is small, and the program is there")
    }

    fn pack(&self, contents: Vec<ContentHash>) -> BoxFuture<()> {
        self.0.send(contents).unwrap();
        Box::pin(std::future::ready(()))
    }

    fn received(&self, kind: Kind, bytes: u64) {
        assert_eq!((kind, bytes), (Kind::File, 1024));
    }
}

/// A client that has files.
struct Files {
    asked: mpsc::UnboundedReceiver<Vec<ContentHash>>,
    came: mpsc::Sender<Came>,
    fetched: tokio::sync::oneshot::Receiver<Result<Fetched, Unfit>>,
    _fetching: AbortOnDropHandle<()>,
}

impl Files {
    async fn of(world: &World, files: &[Vec<u8>]) -> Self {
        let content = |file: &Vec<u8>| Content::of(&**file).unwrap();
        let program = content(&files[0]);
        let room = world
            .store
            .make_room("program", program.length)
            .await
            .unwrap();
        fs::write(world.file("program"), &files[0]).unwrap();
        let adopted = world.store.adopt(program.hash, Kind::Program, room).await;
        let file = |file| Dependency {
            name: "a/file".into(),
            content: content(file),
            executable: false,
        };
        let (packer, asked) = mpsc::unbounded_channel();
        let (tell, fetched) = tokio::sync::oneshot::channel();
        let fetching = Fetching {
            store: world.store.clone(),
            turns: world.turns.clone(),
            largest: 10 * LEAST,
            program,
            also: Vec::new(),
            files: files.iter().map(file).collect(),
            client: Box::new(Packer(packer)),
        };
        let (came, fetching) = fetching.start(move |it| drop(tell.send(it)));
        drop(adopted);
        Files {
            asked,
            came,
            fetched,
            _fetching: fetching,
        }
    }

    /// Sends what it is asked for, until that is all; in how many packs, and how many contents.
    async fn send(mut self, files: &[Vec<u8>]) -> (Result<Fetched, Unfit>, usize, usize) {
        let hash = |file: &Vec<u8>| Content::of(&**file).unwrap().hash;
        let all: HashMap<_, _> = files.iter().map(|file| (hash(file), file)).collect();
        let (mut packs, mut contents) = (0, 0);
        loop {
            tokio::select! {
                biased;
                Some(asked) = self.asked.recv() => {
                    (packs, contents) = (packs + 1, contents + asked.len());
                    let pack: Vec<_> = asked.iter().map(|hash| &**all[hash]).collect();
                    self.came.send(Came::Pack(pack.concat().into())).await.unwrap();
                }
                fetched = &mut self.fetched => return (fetched.unwrap(), packs, contents),
            }
        }
    }
}

fn what_came(fetched: &Fetched) -> Vec<Vec<u8>> {
    let files = fetched.files();
    files.map(|(_, path)| fs::read(path).unwrap()).collect()
}

#[tokio::test]
async fn small_files_come_in_few_packs() {
    let world = World::new().await;
    let mut files = small(600);
    // One that is there twice comes once, and so does what is also the program: not at all.
    files.push(files[1].clone());
    let (fetched, packs, contents) = Files::of(&world, &files).await.send(&files).await;
    assert_eq!((packs, contents), (3, 599));
    let fetched = fetched.unwrap();
    assert!(what_came(&fetched) == files);
    assert_eq!(fetched.copied(), 601 * store::LEAST);
    // All is there now.
    let (_, packs, _) = Files::of(&world, &files).await.send(&files).await;
    assert_eq!(packs, 0);
}

#[tokio::test]
async fn of_two_clients_with_the_same_small_files_each_is_sent_by_one() {
    let world = World::new().await;
    let files = small(600);
    // The second has some that the first does not have, and the other way round.
    let (one, two) = (
        &files[..400],
        &files[..1]
            .iter()
            .chain(&files[200..])
            .cloned()
            .collect::<Vec<_>>(),
    );
    let (a, b) = (Files::of(&world, one).await, Files::of(&world, two).await);
    let (a, b) = tokio::join!(a.send(one), b.send(two));
    assert_eq!(a.2 + b.2, 599);
    for (fetched, files) in [(a.0, one), (b.0, &**two)] {
        let fetched = fetched.unwrap();
        assert!(what_came(&fetched) == files);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_sends_no_pack_or_another_leaves_its_turns_to_others() {
    let world = World::new().await;
    let files = small(10);
    let mut mute = Files::of(&world, &files).await;
    mute.asked.recv().await.unwrap();
    // As a file it was not asked for.
    mute.came.send(Came::File).await.unwrap();
    let mut liar = Files::of(&world, &files).await;
    let lie = async {
        assert_eq!(liar.asked.recv().await.unwrap().len(), 9);
        let other = vec![b'x'; 9 * 1024];
        liar.came.send(Came::Pack(other.into())).await.unwrap();
        liar.fetched.await.unwrap()
    };
    let (mute, liar) = tokio::join!(mute.fetched, lie);
    let why = mute.unwrap().unwrap_err().why;
    assert!(why.contains("has come for 60s"), "{why}");
    let why = liar.unwrap_err().why;
    assert!(why.contains("is not that: send it again"), "{why}");
    let (fetched, packs, contents) = Files::of(&world, &files).await.send(&files).await;
    assert_eq!((packs, contents), (1, 9));
    assert_eq!(fetched.unwrap().files().count(), 10);
}
