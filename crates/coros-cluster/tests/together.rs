//! What workers have to do with their client and with each other besides calls: files, names, and their end.
#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

mod common;

use std::time::Duration;

use common::farm::*;
use common::*;
use coros::cluster::worker;
use coros::net::{Folder, Received, SendFile};
use coros::{Address, Context, Scheduler};
use libtest_mimic::Arguments;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Life {
    Begun,
    Ended,
}

/// Nobody has its address; it ends when it is told to, after some time.
#[coros::remote]
async fn ends_with_grace(me: Context<()>, to: Address<Life>) {
    let stop = me.terminating();
    to.deliver(Life::Begun).await.unwrap();
    stop.await;
    // Longer than what is under way takes.
    me.sleep(Duration::from_millis(300)).await;
    to.deliver(Life::Ended).await.unwrap();
}

/// As it does, but in a coroutine that the call leaves behind.
#[coros::remote]
async fn leaves_one_behind(to: Address<Life>) {
    let (begins, has_begun) = tokio::sync::oneshot::channel();
    let coro = coros::spawn(async move |me: Context<()>| {
        let stop = me.terminating();
        begins.send(()).unwrap();
        stop.await;
        to.deliver(Life::Ended).await.unwrap();
    });
    has_begun.await.unwrap();
    drop(coro);
}

async fn a_coroutine_ends_with_grace_when_its_call_is_cancelled() {
    let farm = Farm::of([1]).await;
    for scheduler in [
        Scheduler::local().workers(1),
        Scheduler::cluster(&farm.client().await),
    ] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        let (to, mut life) = told::<Life>();
        for io in [false, true] {
            let call = ends_with_grace(to.clone());
            let job = scheduler.submit(if io { call.io() } else { call });
            assert_eq!(life.recv().await, Some(Life::Begun));
            job.cancel();
            assert_eq!(life.recv().await, Some(Life::Ended));
        }
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

async fn coroutines_end_with_grace_when_the_scheduler_closes() {
    let farm = Farm::of([1, 1]).await;
    for scheduler in [
        Scheduler::local().workers(2),
        Scheduler::cluster(&farm.client().await),
    ] {
        let scheduler = quiet(scheduler).start().await.unwrap();
        workers(&mut scheduler.events(), 2).await;
        let (to, mut life) = told::<Life>();
        scheduler.run(leaves_one_behind(to.clone())).await.unwrap();
        let calls = [false, false, true].map(|io| {
            let call = ends_with_grace(to.clone());
            scheduler.submit(if io { call.io() } else { call })
        });
        for _ in &calls {
            assert_eq!(life.recv().await, Some(Life::Begun));
        }
        // None had to be killed.
        scheduler.close().await.unwrap();
        drop(to);
        let mut ended = 0;
        while let Some(Life::Ended) = life.recv().await {
            ended += 1;
        }
        assert_eq!(ended, 4);
    }
    farm.close().await;
}

/// Sends a file to the client; why it does not take it.
#[coros::remote]
async fn sends(name: String, text: String) -> Result<(), coros::net::SendFileError> {
    let path = worker::shared_folder().unwrap().join(&name);
    std::fs::write(&path, text).unwrap();
    let (node, client) = (worker::node().unwrap(), worker::client().unwrap());
    node.send_file(client, &path, SendFile::new()).await?;
    Ok(())
}

async fn a_worker_sends_files_to_a_client_that_wants_them() {
    let farm = Farm::of([1]).await;
    let node = farm.client().await;
    for local in [true, false] {
        let builder = || match local {
            true => quiet(Scheduler::local().workers(1)),
            false => quiet(Scheduler::cluster(&node)),
        };
        let inbox = tempfile::tempdir().unwrap();
        let (to, mut received) = told::<Received>();
        let folder = Folder::new(inbox.path()).on_received(move |file| drop(to.send(file)));
        let scheduler = builder().files(folder).start().await.unwrap();
        let call = sends("result".into(), "42".into());
        scheduler.run(call).await.unwrap();
        let file = received.recv().await.unwrap();
        assert_eq!((file.name.as_str(), file.size), ("result", 2));
        let text = std::fs::read_to_string(inbox.path().join("result")).unwrap();
        assert_eq!(text, "42");
        scheduler.close().await.unwrap();

        let scheduler = builder().start().await.unwrap();
        let error = scheduler.run(sends("result".into(), "42".into())).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("takes no files"), "{error}");
        scheduler.close().await.unwrap();
    }
    farm.close().await;
}

/// Takes a name and finds the other one by his: who has answered.
#[coros::remote]
async fn meets(mut me: Context<String>, name: String, other: String) -> Option<String> {
    let node = worker::node().unwrap();
    node.register(&name, &me.address()).unwrap();
    let other: Address<String> = node.locate(&other).await.unwrap();
    other.deliver(worker::name()?.to_owned()).await.unwrap();
    me.receive().await
}

async fn workers_find_each_other_by_name() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = farm.scheduler().await;
    workers(&mut scheduler.events(), 2).await;
    let [one, other] = ["one", "other"].map(str::to_owned);
    let first = scheduler.submit(meets(one.clone(), other.clone()));
    let second = scheduler.submit(meets(other, one));
    let mut nodes = [first.await, second.await].map(|by| node_of(&by.unwrap().unwrap()));
    nodes.sort();
    assert_eq!(nodes, ["farm-1", "farm-2"]);
    scheduler.close().await.unwrap();
    farm.close().await;
}

/// A node that lends fewer slots than it has cores leaves the rest to others.
async fn as_many_workers_as_are_wanted_come_from_all_nodes_together() {
    let farm = Farm::of([1, 1]).await;
    let scheduler = quiet(Scheduler::cluster(&farm.client().await).workers(2));
    let scheduler = scheduler.start().await.unwrap();
    let names = workers(&mut scheduler.events(), 2).await;
    let nodes: Vec<_> = names.iter().map(|name| node_of(name)).collect();
    assert!(nodes.contains(&"farm-1".into()) && nodes.contains(&"farm-2".into()));
    scheduler.close().await.unwrap();
    farm.close().await;
}

fn main() {
    worker::enter();
    let trials = trials![
        a_coroutine_ends_with_grace_when_its_call_is_cancelled,
        coroutines_end_with_grace_when_the_scheduler_closes,
        a_worker_sends_files_to_a_client_that_wants_them,
        workers_find_each_other_by_name,
        as_many_workers_as_are_wanted_come_from_all_nodes_together,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
