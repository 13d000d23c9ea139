//! A daemon, and clients that do as they like.

use std::path::Path;

use coros_core::Exit;
use coros_net::{Node, Secret};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::protocol::{FromDesk, NAME};
use super::super::spare::Spare;
use super::*;
use crate::computation::TooLarge;
use crate::isolation::Limits;
use crate::quota::Spent;
use crate::scheduler::liaison::ToLiaison;
use crate::soon::soon;

/// A client that waits until it is told to end.
fn client() -> Address<ToLiaison> {
    let client = async |mut me: Context<ToLiaison>| while me.receive().await.is_some() {};
    coros_core::build().daemon().spawn(client).address()
}

/// How much memory a daemon lends.
const MEMORY: u64 = 1 << 20;

/// A daemon that serves so many.
async fn daemon(folder: &Path, serve: Option<usize>) -> Address<ToDaemon> {
    let mut machine = Machine::look([]);
    machine.memory = MEMORY;
    let keeper = Keeper::new(Settings {
        machine,
        folder: folder.to_owned(),
        slots: 1,
        largest: 1000,
        serve,
        store: Store::open(&folder.join("store"), 1000).await.unwrap(),
        work: WorkRoot::open(&folder.join("work")).await.unwrap(),
        rules: Rules {
            work: u64::MAX,
            limits: Limits::default(),
            spare: Spare::new(Limits::default(), None),
            readable: Vec::new(),
            hidden: Vec::new(),
        },
        told: Told::default(),
    });
    coros_core::build()
        .daemon()
        .spawn(move |me| keeper.run(me))
        .address()
}

/// One on a network, and a process that opens desks there.
struct World {
    _folder: tempfile::TempDir,
    secret: Secret,
    node: Node,
    daemon: Address<ToDaemon>,
}

impl World {
    async fn new() -> Self {
        let (folder, secret) = (tempfile::tempdir().unwrap(), Secret::random());
        let node = Node::builder().name("farm").secret(secret.clone());
        let node = node.build().await.unwrap();
        let daemon = daemon(folder.path(), None).await;
        node.register(NAME, &daemon).unwrap();
        World {
            _folder: folder,
            secret,
            node,
            daemon,
        }
    }

    /// The daemon, as a process sees it.
    async fn process(&self) -> (Node, Address<ToDaemon>) {
        let at = self.node.location().endpoint.unwrap();
        let node = Node::builder().name("desk").secret(self.secret.clone());
        let node = node.peer(at).build().await.unwrap();
        let daemon = soon(node.locate(NAME)).await.unwrap();
        (node, daemon)
    }
}

async fn open(
    daemon: &Address<ToDaemon>,
    client: &Address<ToLiaison>,
    node: u128,
) -> Result<Address<ToDesk>, Closed> {
    ask(daemon, Opening::for_test(client.clone(), node)).await
}

async fn ask(daemon: &Address<ToDaemon>, opening: Opening) -> Result<Address<ToDesk>, Closed> {
    let opened = daemon.ask(|reply| ToDaemon::Open(Box::new(opening), reply));
    soon(opened).await.unwrap()
}

/// Of a client that brings so many bytes along.
fn with(client: &Address<ToLiaison>, bytes: usize) -> Opening {
    let mut opening = Opening::for_test(client.clone(), 1);
    let environment = &mut opening.computation.start.environment;
    environment.insert("A".into(), "x".repeat(bytes));
    opening
}

#[tokio::test]
async fn no_more_memory_is_free_than_is_lent() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), None).await;
    let view = soon(daemon.ask(ToDaemon::Look)).await.unwrap();
    let free = view.load.memory_free;
    assert!((1..=MEMORY).contains(&free), "{free} bytes");
}

/// Should the link not last until it has.
#[tokio::test]
async fn clients_hear_that_it_is_about_to_end_before_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), None).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let client = async move |mut me: Context<ToLiaison>| {
        while let Some(ToLiaison::Desk(message)) = me.receive().await {
            let _ = tell.send(message);
        }
    };
    let client = coros_core::build().daemon().spawn(client);
    let desk = open(&daemon, &client.address(), 1).await.unwrap();
    daemon.terminate();
    let draining = async {
        while !matches!(
            told.recv().await.unwrap(),
            FromDesk::State(NodeState::Draining)
        ) {}
    };
    soon(draining).await;
    assert_eq!(soon(desk.exit()).await, Exit::Finished);
    soon(daemon.exit()).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_counts_once_however_often_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), Some(1)).await;
    let asked = daemon.clone();
    let served = tokio::spawn(async move {
        let served = asked.ask(|reply| ToDaemon::Own(Own::Served(reply))).await;
        (served, Instant::now())
    });

    // It is sent away twice, and comes back each time but the last.
    let started = Instant::now();
    for _ in 0..2 {
        tokio::time::sleep(AWAY * 9 / 10).await;
        let desk = open(&daemon, &client(), 1).await.unwrap();
        assert_eq!(
            open(&daemon, &client(), 2).await.err(),
            Some(Closed::Served)
        );
        daemon.send(ToDaemon::Own(Own::Evict)).unwrap();
        assert_eq!(desk.exit().await, Exit::Finished);
    }
    let lost = Instant::now();
    let (served, at) = served.await.unwrap();
    served.unwrap();
    assert_eq!(lost - started, AWAY * 9 / 5);
    assert!(at - lost >= AWAY && at - lost < AWAY * 11 / 10);
    // One that ends is not waited for.
    let client = client();
    let desk = open(&daemon, &client, 1).await.unwrap();
    client.terminate();
    assert_eq!(desk.exit().await, Exit::Finished);
    let asked = daemon.ask(|reply| ToDaemon::Own(Own::Served(reply)));
    asked.await.unwrap();
    assert!(lost.elapsed() < AWAY * 11 / 10);
    daemon.terminate();
    daemon.exit().await;
}

/// It has come again before the first desk saw that its link was lost.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_another_desk_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(folder.path(), Some(1)).await;
    let [first, second] = [client(), client()];
    open(&daemon, &first, 1).await.unwrap();
    let desk = open(&daemon, &second, 1).await.unwrap();
    let lost = Own::Left {
        client: ClientId(1),
        lost: true,
    };
    daemon.send(ToDaemon::Own(lost)).unwrap();
    let started = Instant::now();
    second.terminate();
    assert_eq!(desk.exit().await, Exit::Finished);
    let served = daemon.ask(|reply| ToDaemon::Own(Own::Served(reply)));
    served.await.unwrap();
    assert!(started.elapsed() < AWAY / 10);
    daemon.terminate();
    daemon.exit().await;
}

/// Whatever schedulers it says that they are for.
#[tokio::test]
async fn a_process_has_no_more_desks_than_it_may() {
    let world = World::new().await;
    let (_node, daemon) = world.process().await;
    let [client, last] = [client(), client()];
    let desk = open(&daemon, &last, 0).await.unwrap();
    for scheduler in 1..QUOTA.computations {
        open(&daemon, &client, scheduler as u128).await.unwrap();
    }
    let refused = open(&daemon, &client, 0).await.unwrap_err();
    assert_eq!(refused, Closed::Spent(Spent::Computations(1024)));
    // That is no reason to refuse anybody else.
    let (_node, another) = world.process().await;
    open(&another, &client, 0).await.unwrap();
    // One that ends makes room.
    last.terminate();
    soon(desk.exit()).await;
    open(&daemon, &client, 0).await.unwrap();
    world.daemon.terminate();
    soon(world.daemon.exit()).await;
}

#[tokio::test]
async fn a_process_has_no_more_kept_than_it_may() {
    let world = World::new().await;
    let (_node, daemon) = world.process().await;
    let client = client();
    let refused = ask(&daemon, with(&client, 4 << 20)).await.unwrap_err();
    assert_eq!(refused, Closed::TooLarge(TooLarge::Start));
    for _ in 0..QUOTA.bytes / 1_000_000 {
        ask(&daemon, with(&client, 1_000_000)).await.unwrap();
    }
    let refused = ask(&daemon, with(&client, 1_000_000)).await.unwrap_err();
    assert_eq!(refused, Closed::Spent(Spent::Bytes(QUOTA.bytes)));
    // There is still room for one that brings little.
    open(&daemon, &client, 1).await.unwrap();
    let (_node, another) = world.process().await;
    ask(&another, with(&client, 1_000_000)).await.unwrap();
    world.daemon.terminate();
    soon(world.daemon.exit()).await;
}
