//! Clients that send, slowly or not at all, in virtual time.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

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
        let sent = Notify::new();
        let send = async {
            is_asked.notified().await;
            send().await;
            sent.notify_one();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            fetched = fetching.run(&sent) => fetched,
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
    assert!(fs::read(other.unwrap().program.path()).unwrap() == PROGRAM);
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
    assert!(fs::read(other.unwrap().program.path()).unwrap() == PROGRAM);
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
    assert_eq!(slow.unwrap().program.hash(), other.unwrap().program.hash());
    // While the disk is looked at, the clock may go on: of some pieces it is told together.
    let told = world.coming.load(Ordering::Relaxed);
    assert!((1..=pieces().count()).contains(&told), "{told} times");
}
