//! Addresses that have gone to another node are released when it has none any more, and not
//! before; and ends that nobody waits for any more are not told.

mod common;

use std::task::Poll;
use std::time::Duration;

use common::*;
use coros_core::{Address, Context, Coro, Exit, Reply};
use coros_net::sim::SimNetwork;
use coros_net::{Census, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Of(Address<u32>),
    OfAll(Vec<Address<u32>>),
    /// What was told is dropped.
    Forget(Reply<()>),
}

/// Keeps what it is told of, until it is to forget it.
fn keeper() -> Address<Told> {
    let coro = coros_core::spawn(async |mut me: Context<Told>| {
        let mut kept = Vec::new();
        while let Some(told) = me.receive().await {
            match told {
                Told::Of(address) => kept.push(address),
                Told::OfAll(all) => kept.extend(all),
                Told::Forget(reply) => {
                    kept.clear();
                    reply.send(());
                }
            }
        }
    });
    coro.address()
}

/// Ends, with the sum of what it has received, when there is no address of it any more.
fn counting() -> Coro<u32, u32> {
    coros_core::spawn(async |mut me: Context<u32>| {
        let mut sum = 0;
        while let Some(n) = me.receive().await {
            sum += n;
        }
        sum
    })
}

async fn forget(keeper: &Address<Told>) {
    soon(keeper.ask(Told::Forget)).await.expect("it answers");
}

/// What a node keeps of others' coroutines, and others of its.
fn tables(it: Census) -> [usize; 4] {
    [it.exports, it.imports, it.watches, it.watching]
}

/// Waits until nodes keep no more than that.
async fn until(nodes: [&Node; 2], expected: [[usize; 4]; 2]) {
    let reached = async {
        while nodes.map(|node| tables(node.census())) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(LIMIT, reached).await.is_err() {
        let kept = nodes.map(|node| tables(node.census()));
        panic!("{kept:?} is not {expected:?}");
    }
}

async fn runs<R>(coro: &Coro<u32, R>) -> bool {
    tokio::task::yield_now().await;
    !coro.is_finished()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_address_at_a_peer_is_the_last_of_all() {
    let [desk, farm] = pair().await;
    let there = sent(&farm, &desk, &keeper());
    let coro = counting();
    for _ in 0..3 {
        there.send(Told::Of(coro.address())).unwrap();
    }
    let joined = tokio::spawn(coro.join());
    forget(&there).await;
    assert_eq!(soon(joined).await.unwrap(), Ok(0));
    // The keeper is pinned, and has been imported.
    until([&desk, &farm], [[0, 1, 0, 0], [1, 0, 0, 0]]).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_so_on_a_slow_network_and_when_links_break() {
    let network = SimNetwork::new(7);
    network.latency(Duration::from_millis(20)..=Duration::from_millis(60));
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let [desk, farm] = [&hosts[0], &hosts[1]].map(|host| host.builder().build());
    let [desk, farm] = [desk.await.unwrap(), farm.await.unwrap()];
    let there = sent(&farm, &desk, &keeper());
    for round in 0..20 {
        let coro = counting();
        there.send(Told::Of(coro.address())).unwrap();
        let joined = tokio::spawn(coro.join());
        forget(&there).await;
        if round % 2 == 0 {
            // The release may be lost with the link, and comes over the next.
            network.cut(&hosts[0], &hosts[1]);
        }
        assert_eq!(soon(joined).await.unwrap(), Ok(0), "{round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_tells_again_and_a_release_may_cross() {
    let [desk, farm] = pair().await;
    let there = sent(&farm, &desk, &keeper());
    let coro = counting();
    let mut forgotten = Vec::new();
    for n in 0..3000 {
        there.send(Told::Of(coro.address())).unwrap();
        if n % 3 == 0 {
            let there = there.clone();
            forgotten.push(tokio::spawn(async move { forget(&there).await }));
        }
        assert!(runs(&coro).await);
    }
    for forgotten in forgotten {
        soon(forgotten).await.unwrap();
    }
    forget(&there).await;
    assert_eq!(soon(coro.join()).await, Ok(0));
    until([&desk, &farm], [[0, 1, 0, 0], [1, 0, 0, 0]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_addresses_leave_nothing() {
    const MANY: usize = 100_000;
    let [desk, farm] = pair().await;
    let there = sent(&farm, &desk, &keeper());
    let mut ended = Vec::new();
    while ended.len() < MANY {
        let coros: Vec<_> = (0..1000).map(|_| counting()).collect();
        let all: Vec<_> = coros.iter().map(Coro::address).collect();
        soon(there.deliver(Told::OfAll(all))).await.unwrap();
        ended.extend(coros.into_iter().map(Coro::join));
    }
    until([&desk, &farm], [[MANY, 1, 0, 0], [1, MANY, 0, 0]]).await;
    forget(&there).await;
    for ended in ended {
        assert_eq!(soon(ended).await, Ok(0));
    }
    until([&desk, &farm], [[0, 1, 0, 0], [1, 0, 0, 0]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_released() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Odd(Address<u32>, Address<u32>, u32);
    #[derive(Debug, Serialize, Deserialize)]
    struct Even(Address<u32>, String);

    let [desk, farm] = pair().await;
    let (odd, mut received) = collector::<Even>();
    // The one address is read, the string and the other are not.
    let bytes = farm.encode(&odd).unwrap();
    let mistaken: Address<Odd> = desk.decode(&bytes).unwrap();
    let [one, other] = [counting(), counting()];
    let message = || Odd(one.address(), other.address(), u32::MAX);
    mistaken.send(message()).unwrap();
    soon(mistaken.deliver(message())).await.unwrap_err();
    // Nobody is there.
    let gone = coros_core::spawn(async |_: Context<Told>| {});
    let gone_there = sent(&farm, &desk, &gone.address());
    gone.join().await.unwrap();
    gone_there.send(Told::Of(one.address())).unwrap();
    // It never leaves.
    let too_long = vec![one.address(); 1_000_000];
    let there = sent(&farm, &desk, &keeper());
    there.send(Told::OfAll(too_long)).unwrap_err();

    assert_eq!(soon(one.join()).await, Ok(0));
    assert_eq!(soon(other.join()).await, Ok(0));
    assert!(received.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_comes_home_is_not_overtaken_by_its_release() {
    let [desk, farm] = pair().await;
    // At home somebody takes his time, so that what comes waits outside of his mailbox.
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (tell, mut told) = mpsc::unbounded_channel();
    let slow = coros_core::build().capacity(1).spawn(
        async move |mut me: Context<Option<Address<u32>>>| {
            gone.await.unwrap();
            while let Some(message) = me.receive().await {
                tell.send(message).unwrap();
            }
        },
    );
    let slow_there = sent(&desk, &farm, &slow.address());
    let mut coros = Vec::new();
    let mut deliveries = Vec::new();
    for _ in 0..20 {
        let coro = counting();
        let (tell, mut told) = mpsc::unbounded_channel::<Address<u32>>();
        let there = sent(&farm, &desk, &{
            let coro = coros_core::spawn(async move |mut me: Context<Address<u32>>| {
                if let Some(address) = me.receive().await {
                    tell.send(address).unwrap();
                }
            });
            coro.address()
        });
        there.send(coro.address()).unwrap();
        let afar = next(&mut told).await;
        let mut delivery = Box::pin(slow_there.deliver(Some(afar)));
        match polled(&mut delivery).await {
            Poll::Pending => deliveries.push(delivery),
            Poll::Ready(delivered) => delivered.unwrap(),
        }
        coros.push(coro);
    }
    // The last handles at the farm are gone, and that has been said when this has been answered.
    let there = sent(&desk, &farm, &keeper());
    forget(&there).await;
    go.send(()).unwrap();
    for delivery in deliveries {
        soon(delivery).await.unwrap();
    }
    for coro in coros {
        let home = next(&mut told).await.unwrap();
        assert_eq!(home, coro.address());
        home.send(7).unwrap();
        drop(home);
        assert_eq!(soon(coro.join()).await, Ok(7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_has_passed_an_address_on_keeps_it_while_he_knows_the_third() {
    let secret = coros_net::Secret::random();
    let [desk, farm, lab] = [
        node("desk", &secret).await,
        node("farm", &secret).await,
        node("lab", &secret).await,
    ];
    let coro = counting();
    let (tell, mut told) = mpsc::unbounded_channel::<Address<u32>>();
    let at_lab = coros_core::spawn(async move |mut me: Context<Address<u32>>| {
        while let Some(address) = me.receive().await {
            tell.send(address).unwrap();
        }
    });
    let at_farm = {
        let to_lab = sent(&lab, &farm, &at_lab.address());
        let passing = coros_core::spawn(async move |mut me: Context<Address<u32>>| {
            while let Some(address) = me.receive().await {
                to_lab.send(address).unwrap();
            }
        });
        sent(&farm, &desk, &passing.address())
    };
    at_farm.send(coro.address()).unwrap();
    let third = next(&mut told).await;
    // Not used yet.
    assert!(runs(&coro).await);
    soon(third.deliver(3)).await.unwrap();
    // The one who has passed it on waits for its end, to forget it.
    until([&desk, &lab], [[1, 1, 1, 0], [1, 1, 0, 0]]).await;
    // The one who has passed it on leaves: it is held by the one who has used it.
    soon(farm.close()).await;
    third.send(4).unwrap();
    drop(third);
    assert_eq!(soon(coro.join()).await, Ok(7));
}

/// What a node keeps of what it has passed on, and what the home of that keeps for it.
async fn until_passed(farm: &Node, desk: &Node, count: usize) {
    let kept = || {
        let (farm, desk) = (farm.census(), desk.census());
        [farm.passed, farm.imports, farm.watching, desk.watches]
    };
    // It has one address of its own.
    let expected = [count, count + 1, count, count];
    let reached = async {
        while kept() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(LIMIT, reached).await.is_err() {
        panic!("{:?} is not {expected:?}", kept());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_passed_on_is_let_go_of_when_it_ends() {
    const COUNT: usize = 2000;
    let secret = coros_net::Secret::random();
    let [desk, farm, lab] = [
        node("desk", &secret).await,
        node("farm", &secret).await,
        node("lab", &secret).await,
    ];
    let to_lab = sent(&lab, &farm, &keeper());
    let passing = coros_core::spawn(async move |mut me: Context<Vec<Address<u32>>>| {
        while let Some(all) = me.receive().await {
            to_lab.deliver(Told::OfAll(all)).await.expect("it is there");
        }
    });
    let to_farm = sent(&farm, &desk, &passing.address());
    let coros: Vec<_> = (0..COUNT).map(|_| counting()).collect();
    let all = coros.iter().map(Coro::address).collect();
    soon(to_farm.deliver(all)).await.expect("it is there");
    until_passed(&farm, &desk, COUNT).await;
    let (ending, staying) = coros.split_at(COUNT / 2);
    for coro in ending {
        coro.terminate();
    }
    until_passed(&farm, &desk, COUNT - ending.len()).await;
    // Again, which is no news; and too late.
    let again = [&ending[0], &staying[0]].map(Coro::address).to_vec();
    soon(to_farm.deliver(again)).await.expect("it is there");
    until_passed(&farm, &desk, staying.len()).await;
    for coro in staying {
        assert!(runs(coro).await, "there are addresses of it");
    }
    // Nobody has any when the third is gone, who has not used its own.
    soon(lab.close()).await;
    until_passed(&farm, &desk, 0).await;
    let mut coros = coros;
    for coro in coros.split_off(COUNT / 2) {
        assert_eq!(soon(coro.join()).await, Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_found_by_name_is_released_too() {
    let [desk, farm] = pair().await;
    let coro = counting();
    desk.register("counter", &coro.address()).unwrap();
    soon(farm.connect(endpoint(&desk))).await.unwrap();
    let found: Address<u32> = soon(farm.locate("counter")).await.unwrap();
    soon(found.deliver(5)).await.unwrap();
    assert!(desk.unregister("counter"));
    // It is used, so it is held.
    soon(found.deliver(6)).await.unwrap();
    drop(found);
    assert_eq!(soon(coro.join()).await, Ok(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_end_does_not_put_it_off() {
    let [desk, farm] = pair().await;
    let there = sent(&farm, &desk, &keeper());
    let coro = counting();
    let (tell, mut told) = mpsc::unbounded_channel();
    let watcher = coros_core::spawn(async move |mut me: Context<Watched>| {
        let mut monitor = None;
        while let Some(watched) = me.receive().await {
            match watched {
                Watched::Watch(address, reply) => {
                    monitor = Some(me.monitor(&address, Watched::Ended));
                    reply.send(());
                }
                Watched::Ended(exit) => {
                    tell.send(exit).unwrap();
                    break;
                }
            }
        }
        drop(monitor);
    });
    drop(there);
    let watcher = sent(&farm, &desk, &watcher.address());
    let watching = watcher.ask(|reply| Watched::Watch(coro.address(), reply));
    soon(watching).await.unwrap();
    // The watcher has no address any more.
    assert_eq!(soon(coro.join()).await, Ok(0));
    assert_eq!(next(&mut told).await, Exit::Finished);
}

#[derive(Debug, Serialize, Deserialize)]
enum Watched {
    Watch(Address<u32>, Reply<()>),
    Ended(Exit),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_that_are_given_up_leave_nothing() {
    const ROUNDS: usize = 20;
    let [desk, farm] = pair().await;
    let coro = counting();
    let there = sent(&farm, &desk, &coro.address());
    let monitoring = coros_core::spawn(async move |mut me: Context<Exit>| {
        for round in 0..ROUNDS {
            let monitors: Vec<_> = (0..5000).map(|_| me.monitor(&there, |exit| exit)).collect();
            let mut waits: Vec<_> = (0..5000).map(|_| Box::pin(there.exit())).collect();
            for wait in &mut waits {
                assert!(polled(wait).await.is_pending());
            }
            drop(waits);
            assert!(monitors.into_iter().all(coros_core::Monitor::cancel));
            if round % 5 == 4 {
                // The peer has read all that.
                there.deliver(0).await.unwrap();
            }
        }
        there.deliver(1).await.unwrap();
        assert!(me.receive().await.is_none());
    });
    let keeping = async {
        loop {
            let kept = farm.census().watches;
            assert!(kept <= ROUNDS * 10_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        joined = monitoring.join() => joined.unwrap(),
        () = keeping => {}
    }
    until([&desk, &farm], [[0, 0, 0, 0], [1, 0, 0, 0]]).await;
    drop(coro);
}
