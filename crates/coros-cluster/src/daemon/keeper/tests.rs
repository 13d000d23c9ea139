//! A daemon that is for one client, in virtual time.

use std::path::Path;

use coros_core::Exit;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::protocol::FromDesk;
use super::super::spare::Spare;
use super::*;
use crate::isolation::Limits;
use crate::scheduler::liaison::ToLiaison;
use crate::soon::soon;

/// A client that waits until it is told to end.
fn client() -> Address<ToLiaison> {
    let client = async |mut me: Context<ToLiaison>| while me.receive().await.is_some() {};
    coros_core::build().daemon().spawn(client).address()
}

/// A daemon that serves so many.
async fn daemon(folder: &Path, serve: Option<usize>) -> Address<ToDaemon> {
    let keeper = Keeper::new(Settings {
        machine: Machine::look([]),
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

async fn open(
    daemon: &Address<ToDaemon>,
    client: &Address<ToLiaison>,
    node: u128,
) -> Result<Address<ToDesk>, Closed> {
    let opening = Opening::for_test(client.clone(), node);
    let opened = daemon.ask(|reply| ToDaemon::Open(Box::new(opening), reply));
    opened.await.unwrap()
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
