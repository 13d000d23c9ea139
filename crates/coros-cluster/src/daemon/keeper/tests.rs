//! A daemon that is for one client, in virtual time.

use coros_core::Exit;
use tokio::time::Instant;

use super::super::spare::Spare;
use super::*;
use crate::isolation::Limits;
use crate::scheduler::liaison::ToLiaison;

/// A client that waits until it is told to end.
fn client() -> Address<ToLiaison> {
    let client = async |mut me: Context<ToLiaison>| while me.receive().await.is_some() {};
    coros_core::build().daemon().spawn(client).address()
}

#[tokio::test(start_paused = true)]
async fn a_client_counts_once_however_often_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Keeper::new(Settings {
        machine: Machine::look([]),
        folder: folder.path().to_owned(),
        slots: 1,
        largest: 1000,
        serve: Some(1),
        store: Store::open(&folder.path().join("store"), 1000)
            .await
            .unwrap(),
        work: WorkRoot::open(&folder.path().join("work")).await.unwrap(),
        rules: Rules {
            work: u64::MAX,
            limits: Limits::default(),
            spare: Spare::new(Limits::default(), None),
            readable: Vec::new(),
            hidden: Vec::new(),
        },
        told: Told::default(),
    });
    let daemon = coros_core::build()
        .daemon()
        .spawn(move |me| keeper.run(me))
        .address();
    let open = async |client: &Address<ToLiaison>, node| {
        let opening = Opening::for_test(client.clone(), node);
        let opened = daemon
            .ask(|reply| ToDaemon::Open(Box::new(opening), reply))
            .await;
        opened.unwrap()
    };
    let asked = daemon.clone();
    let served = tokio::spawn(async move {
        let served = asked.ask(|reply| ToDaemon::Own(Own::Served(reply))).await;
        (served, Instant::now())
    });

    // It is sent away twice, and comes back each time but the last.
    let started = Instant::now();
    for _ in 0..2 {
        tokio::time::sleep(AWAY * 9 / 10).await;
        let desk = open(&client(), 1).await.unwrap();
        assert_eq!(open(&client(), 2).await.err(), Some(Closed::Served));
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
    let desk = open(&client, 1).await.unwrap();
    client.terminate();
    assert_eq!(desk.exit().await, Exit::Finished);
    let asked = daemon.ask(|reply| ToDaemon::Own(Own::Served(reply)));
    asked.await.unwrap();
    assert!(lost.elapsed() < AWAY * 11 / 10);
    daemon.terminate();
    daemon.exit().await;
}
