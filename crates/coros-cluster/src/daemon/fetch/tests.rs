//! Clients that send, slowly or not at all, in virtual time.

use std::fs;
use std::path::PathBuf;

use coros_core::Context;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::computation::Start;

const PROGRAM: &[u8] = b"a program";

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
    async fn fetch(&self, send: impl AsyncFnOnce() + Send) -> Result<Fetched, String> {
        let (asked, is_asked) = tokio::sync::oneshot::channel();
        let client = async move |mut me: Context<ToLiaison>| {
            let _ = asked.send(me.receive().await);
            me.receive().await;
        };
        let client = coros_core::build().daemon().spawn(client).address();
        let daemon = async |mut me: Context<ToDaemon>| while me.receive().await.is_some() {};
        let fetching = Fetching {
            store: self.store.clone(),
            turns: self.turns.clone(),
            largest: 1000,
            computation: Computation {
                program: World::program(),
                files: Vec::new(),
                start: Start::default(),
            },
            id: ClientId(1),
            daemon: coros_core::build().daemon().spawn(daemon).address(),
        };
        let sent = Notify::new();
        let send = async {
            if is_asked.await.is_ok() {
                send().await;
                sent.notify_one();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            fetched = fetching.run(&client, &sent) => fetched,
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
    assert!(mute.unwrap_err().contains("has come for 60s"));
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
