//! Clients that send, slowly or not at all, in virtual time.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

const PROGRAM: &[u8] = b"a program";

/// Is told that somebody asks.
struct Client(Arc<Notify>);

impl Sender for Client {
    fn send(&self, _: ContentHash) -> BoxFuture<()> {
        self.0.notify_one();
        Box::pin(std::future::ready(()))
    }

    fn received(&self, _: Kind, _: u64) {}
}

/// A node that has nothing yet.
struct World {
    store: Store,
    turns: Turns,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        World {
            store: Store::open(&folder.path().join("store"), 1000)
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
            largest: 1000,
            program: World::program(),
            also: Vec::new(),
            files: Vec::new(),
            client: Box::new(Client(asked)),
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
        for sent in 1..=PROGRAM.len() {
            tokio::time::sleep(SILENCE * 9 / 10).await;
            fs::write(&part, &PROGRAM[..sent]).unwrap();
        }
        fs::rename(&part, world.file(&sent_as(hash))).unwrap();
    };
    world.fetch(slow).await.unwrap();
}
