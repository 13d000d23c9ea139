//! Functions that peers start by name.

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use coros_core::{Address, AskError, Context, Exit, Reply, spawn};
use coros_net::{LimitReached, Node, NotStarted, Offer, OfferError, Rci, Secret, StartError};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Add(u64),
    Total(Reply<u64>),
    End,
    Panic,
}

async fn count(mut me: Context<Order>, start: u64) -> u64 {
    let mut total = start;
    while let Some(order) = me.receive().await {
        match order {
            Order::Add(n) => total += n,
            Order::Total(reply) => reply.send(total),
            Order::End => break,
            Order::Panic => panic!("out of cheese"),
        }
    }
    total
}

type Count = Rci<u64, Order, u64>;

/// `count` at its home, from there and from another node.
async fn here_and_there(options: Offer) -> ([Node; 2], [Count; 2]) {
    let [desk, farm] = pair().await;
    let here = farm
        .offer_with("count", options, count)
        .expect("it works here");
    let there = desk.function_at(&farm.location(), "count");
    ([desk, farm], [here, there])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_runs_where_it_is_offered_and_its_result_comes_back() {
    let (_nodes, both) = here_and_there(Offer::new()).await;
    for count in both {
        let coro = soon(count.start(40)).await.unwrap();
        assert_eq!(coro.remote_id().is_some(), coro.to_string().contains('@'));
        coro.send(Order::Add(1)).unwrap();
        soon(coro.deliver(Order::Add(1))).await.unwrap();
        assert_eq!(soon(coro.ask(Order::Total)).await, Ok(42));
        let address = coro.address();
        coro.send(Order::End).unwrap();
        assert_eq!(soon(coro.join()).await, Ok(42));
        assert_eq!(soon(address.exit()).await, Exit::Finished);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_end_is_told_as_that_of_any_coroutine() {
    let (_nodes, both) = here_and_there(Offer::new()).await;
    for count in both {
        let coro = soon(count.start(0)).await.unwrap();
        coro.send(Order::Panic).unwrap();
        let panicked = Exit::Panicked("out of cheese".into());
        assert_eq!(soon(coro.exit()).await, panicked);
        assert_eq!(soon(coro.join()).await, Err(panicked));

        let coro = soon(count.start(0)).await.unwrap();
        coro.terminate();
        assert_eq!(soon(coro.into_future()).await, Err(Exit::Terminated));

        let (exits, mut told) = tokio::sync::mpsc::unbounded_channel();
        let coro = soon(count.start(0)).await.unwrap();
        coro.on_exit(move |exit| exits.send(exit).unwrap());
        coro.send(Order::End).unwrap();
        assert_eq!(next(&mut told).await, Exit::Finished);
        assert_eq!(soon(coro.join()).await, Ok(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_panics_before_it_is_a_future_has_been_started_and_has_panicked() {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as functions take their arguments"
    )]
    fn at_once(_me: Context<u32>, text: String) -> std::future::Ready<u32> {
        assert!(text.is_empty(), "not for {text}");
        std::future::ready(1)
    }
    let [desk, farm] = pair().await;
    let here = farm.offer("at_once", at_once).unwrap();
    for function in [here, desk.function_at(&farm.location(), "at_once")] {
        let coro = soon(function.start("you".into())).await.unwrap();
        let panicked = Err(Exit::Panicked("not for you".into()));
        assert_eq!(soon(coro.join()).await, panicked);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_that_is_dropped_lets_the_coroutine_run() {
    let (_nodes, both) = here_and_there(Offer::new()).await;
    for count in both {
        let coro = soon(count.start(1)).await.unwrap();
        let address = coro.address();
        drop(coro);
        assert_eq!(soon(address.ask(Order::Total)).await, Ok(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_run_than_may_and_the_numbers_are_told() {
    let (nodes, [here, there]) = here_and_there(Offer::new().limit(3).per_peer(2)).await;
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(soon(there.start(0)).await.unwrap());
    }
    let refused = soon(there.start(7)).await.unwrap_err();
    assert_eq!(refused.args, 7);
    let limit = LimitReached::PerPeer { limit: 2 };
    assert_eq!(refused.why, NotStarted::Limit(limit));
    let text = refused.to_string();
    assert!(
        text.contains("\"count\" on farm") && text.contains("raise `Offer::per_peer`"),
        "{text}"
    );

    running.push(soon(here.start(0)).await.unwrap());
    for count in [&here, &there] {
        let refused = soon(count.start(7)).await.unwrap_err();
        let limit = LimitReached::All { limit: 3 };
        assert_eq!(refused.why, NotStarted::Limit(limit), "{refused}");
    }
    // Whoever has the result may start the next.
    for count in [&there, &here, &there] {
        let ends = running.remove(0);
        ends.send(Order::End).unwrap();
        soon(ends.join()).await.unwrap();
        running.push(soon(count.start(0)).await.unwrap());
    }
    drop(nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_or_has_other_types_is_refused_by_name() {
    let (nodes, _) = here_and_there(Offer::new()).await;
    let [desk, farm] = &nodes;
    for node in [desk, farm] {
        let unknown: Count = node.function_at(&farm.location(), "cuont");
        let refused = soon(unknown.start(7)).await.unwrap_err();
        assert_eq!((refused.args, &refused.why), (7, &NotStarted::Unknown));
        assert!(
            refused.to_string().contains("\"cuont\" on farm"),
            "{refused}"
        );

        let other: Rci<u64, Order, String> = node.function_at(&farm.location(), "count");
        let refused = soon(other.start(7)).await.unwrap_err();
        assert!(
            matches!(refused.why, NotStarted::WrongTypes { .. }),
            "{refused}"
        );
        let text = refused.to_string();
        assert!(
            text.contains("String, and is") && text.contains("-> u64"),
            "{text}"
        );
    }
    let taken = farm.offer("count", count).unwrap_err();
    assert_eq!(taken, OfferError::Taken("count".into()));
    let runs: Count = desk.function_at(&farm.location(), "count");
    let coro = soon(runs.start(1)).await.unwrap();
    assert!(farm.withdraw("count"));
    assert!(!farm.withdraw("count"));
    let refused = soon(runs.start(7)).await.unwrap_err();
    assert_eq!(refused.why, NotStarted::Unknown);
    // What runs goes on.
    assert_eq!(soon(coro.ask(Order::Total)).await, Ok(1));
    farm.offer("count", count).unwrap();
    farm.close().await;
    let closed = farm.offer("another", count).unwrap_err();
    assert_eq!(closed, OfferError::Closed);
}

/// Can be written by everybody and read by nobody.
#[derive(Debug, Serialize)]
struct Picky(Reply<u32>);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not today"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_in_arguments_that_nobody_reads_end() {
    async fn answers(_me: Context<()>, reply: Reply<u32>) {
        reply.send(42);
        std::future::pending::<()>().await;
    }
    let [desk, farm] = pair().await;
    farm.offer_with("answers", Offer::new().limit(1), answers)
        .unwrap();
    farm.offer("picky", async |_me: Context<()>, _: Picky| ())
        .unwrap();
    let at = farm.location();
    for (name, expected) in [
        ("answers", Ok(42)),
        ("answers", Err(AskError::NoReply)), // the limit
        ("unknown", Err(AskError::NoReply)),
    ] {
        let function: Rci<Reply<u32>, (), ()> = desk.function_at(&at, name);
        let asked = asked(async move |reply| drop(function.start(reply).await));
        assert_eq!(soon(asked).await, expected, "{name}");
    }
    let picky: Rci<Picky, (), ()> = desk.function_at(&at, "picky");
    let (tell, told) = tokio::sync::oneshot::channel();
    let asked = asked(async move |reply| {
        let refused = picky.start(Picky(reply)).await.unwrap_err();
        tell.send(refused.why.clone()).unwrap();
    });
    assert_eq!(soon(asked).await, Err(AskError::NoReply));
    let why = told.await.unwrap();
    assert!(matches!(&why, NotStarted::Unreadable(_)), "{why}");
}

/// Asks somebody who does `f` with the reply.
async fn asked<Fut: Future<Output = ()> + Send + 'static>(
    f: impl FnOnce(Reply<u32>) -> Fut + Send + 'static,
) -> Result<u32, AskError> {
    let asked = spawn(async move |mut me: Context<Reply<u32>>| {
        let reply = me.receive().await.expect("it works here");
        f(reply).await;
        // As long as it lives nobody takes the question for lost.
        std::future::pending::<()>().await;
    });
    asked.ask(|reply| reply).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_travel_is_told() {
    let [desk, farm] = pair().await;
    farm.offer("echo", async |_me: Context<()>, n: usize| "x".repeat(n))
        .unwrap();
    farm.offer("length", async |_me: Context<()>, text: String| text.len())
        .unwrap();
    let length: Rci<String, (), usize> = desk.function_at(&farm.location(), "length");
    let long: StartError<_> = soon(length.start("x".repeat(17 << 20))).await.unwrap_err();
    assert_eq!(long.args.len(), 17 << 20);
    assert!(matches!(long.why, NotStarted::Codec(_)), "{long}");
    assert!(long.to_string().contains("at most 16777216"), "{long}");
    let coro = soon(length.start("x".repeat(15 << 20))).await.unwrap();
    assert_eq!(soon(coro.join()).await, Ok(15 << 20));

    let echo: Rci<usize, (), String> = desk.function_at(&farm.location(), "echo");
    let coro = soon(echo.start(17 << 20)).await.unwrap();
    let Err(Exit::Failed(why)) = soon(coro.join()).await else {
        panic!("its result is too long");
    };
    assert!(why.contains("its result cannot travel"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_session_of_its_starter_unless_offered_otherwise() {
    let secret = Secret::random();
    let [desk, farm] = [node("desk", &secret).await, node("farm", &secret).await];
    let (cleaned, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let (asked, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let serve = move |linked: bool| {
        let (asked, cleaned) = (asked.clone(), cleaned.clone());
        move |me: Context<()>, name: String| {
            let (asked, cleaned) = (asked.clone(), cleaned.clone());
            async move {
                let stop = me.terminating();
                asked.send(()).unwrap();
                stop.await;
                cleaned.send((linked, name)).unwrap();
            }
        }
    };
    farm.offer("linked", serve(true)).unwrap();
    let options = Offer::new().linked(false).limit(1);
    farm.offer_with("alone", options, serve(false)).unwrap();
    let at = farm.location();
    let linked: Rci<String, (), ()> = desk.function_at(&at, "linked");
    let alone: Rci<String, (), ()> = desk.function_at(&at, "alone");
    let mut coros = Vec::new();
    for (function, name) in [(&alone, "a"), (&linked, "b"), (&linked, "c")] {
        coros.push(soon(function.start(name.into())).await.unwrap());
    }
    // Another peer's are none of its business.
    let other = node("other", &secret).await;
    let theirs: Rci<String, (), ()> = other.function_at(&at, "linked");
    let theirs = soon(theirs.start("d".into())).await.unwrap();
    for _ in 0..4 {
        next(&mut begun).await;
    }

    soon(desk.close()).await;
    for coro in coros {
        assert_eq!(soon(coro.join()).await, Err(Exit::Disconnected));
    }
    let mut ended = [next(&mut ends).await, next(&mut ends).await];
    ended.sort();
    assert_eq!(ended, [(true, "b".to_owned()), (true, "c".to_owned())]);
    // It still runs: nothing else may.
    let here: Rci<String, (), ()> = farm.function_at(&at, "alone");
    let refused = soon(here.start("e".into())).await.unwrap_err();
    assert!(matches!(refused.why, NotStarted::Limit(_)), "{refused}");
    theirs.terminate();
    assert_eq!(soon(theirs.join()).await, Ok(()));
    assert_eq!(next(&mut ends).await, (true, "d".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_does_not_end_with_the_session_before() {
    let [desk, farm] = pair().await;
    farm.offer("count", count).unwrap();
    let (address, _received) = collector::<u32>();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    // Whoever ends the session is held up by this, when all others see that it has ended.
    sent(&desk, &farm, &address).on_exit(move |exit| {
        told.send(exit).unwrap();
        gone.recv_timeout(LIMIT).unwrap();
    });
    let count: Count = desk.function_at(&farm.location(), "count");
    let before = soon(count.start(1)).await.unwrap();
    let ends = {
        let (farm, desk) = (farm.clone(), desk.location().node);
        tokio::task::spawn_blocking(move || farm.close_peer(&desk))
    };
    assert_eq!(next(&mut is_told).await, Exit::Disconnected);
    assert_eq!(soon(before.join()).await, Err(Exit::Disconnected));
    let coro = soon(count.start(2)).await.unwrap();
    go.send(()).unwrap();
    assert!(soon(ends).await.unwrap());
    for _ in 0..100 {
        assert_eq!(soon(coro.ask(Order::Total)).await, Ok(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_travels_to_others_and_comes_home() {
    let secret = Secret::random();
    let [home, desk, third] = ["home", "desk", "third"].map(|name| node(name, &secret));
    let (home, desk, third) = (home.await, desk.await, third.await);
    let count = home.offer("count", count).unwrap();

    let (address, mut received) = collector::<Count>();
    let at_third = sent(&third, &desk, &address);
    let bytes = home.encode(&count).unwrap();
    at_third
        .send(desk.decode::<Count>(&bytes).unwrap())
        .unwrap();
    let count = next(&mut received).await;
    assert_eq!(count.name(), "count");
    assert_eq!(*count.location(), home.location());
    let coro = soon(count.start(1)).await.unwrap();
    assert!(coro.remote_id().is_some());
    assert_eq!(soon(coro.ask(Order::Total)).await, Ok(1));

    let bytes = third.encode(&count).unwrap();
    let at_home: Count = home.decode(&bytes).unwrap();
    let coro = soon(at_home.start(2)).await.unwrap();
    assert_eq!(coro.remote_id(), None);
    assert_eq!(soon(coro.ask(Order::Total)).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn arguments_and_results_may_have_addresses_in_them() {
    async fn tell(mut me: Context<u32>, to: Address<String>) -> Address<String> {
        while let Some(n) = me.receive().await {
            if n == 0 {
                break;
            }
            to.send(format!("got {n}")).unwrap();
        }
        to
    }
    let [desk, farm] = pair().await;
    farm.offer("tell", tell).unwrap();
    let tell: Rci<Address<String>, u32, Address<String>> =
        desk.function_at(&farm.location(), "tell");
    let (address, mut received) = collector::<String>();
    let coro = soon(tell.start(address.clone())).await.unwrap();
    coro.send(7).unwrap();
    assert_eq!(next(&mut received).await, "got 7");
    coro.send(0).unwrap();
    assert_eq!(soon(coro.join()).await, Ok(address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_that_blocks_at_once_holds_up_nobody_on_the_link() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let started = Arc::new(AtomicUsize::new(0));
    let [desk, farm] = pair().await;
    let counter = Arc::clone(&started);
    let blocks = move |_me: Context<()>, (): ()| {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = gone.lock().unwrap().recv_timeout(LIMIT);
        std::future::ready(())
    };
    farm.offer("blocks", blocks).unwrap();
    farm.offer("count", count).unwrap();
    let blocks: Rci<(), (), ()> = desk.function_at(&farm.location(), "blocks");
    let blocked = soon(blocks.start(())).await.unwrap();
    let count: Count = desk.function_at(&farm.location(), "count");
    let coro = soon(count.start(1)).await.unwrap();
    assert_eq!(soon(coro.ask(Order::Total)).await, Ok(1));
    go.send(()).unwrap();
    assert_eq!(soon(blocked.join()).await, Ok(()));
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_mailbox_is_one() {
    async fn waits(mut me: Context<u32>, go: Address<Reply<()>>) -> Vec<u32> {
        go.ask(|reply| reply).await.unwrap();
        let mut got = Vec::new();
        while got.last() != Some(&3) {
            got.push(me.receive().await.unwrap());
        }
        got
    }
    let [desk, farm] = pair().await;
    farm.offer_with("waits", Offer::new().capacity(1), waits)
        .unwrap();
    let waits: Rci<Address<Reply<()>>, u32, Vec<u32>> = desk.function_at(&farm.location(), "waits");
    let (go, mut asked) = collector::<Reply<()>>();
    let coro = soon(waits.start(go)).await.unwrap();
    soon(coro.deliver(1)).await.unwrap();
    let short = Duration::from_millis(50);
    let late = coro.deliver_timeout(short, 2).await;
    assert!(late.is_err(), "there is no room");
    next(&mut asked).await.send(());
    soon(coro.deliver(3)).await.unwrap();
    // The one that was given up may have been on its way.
    let mut got = soon(coro.join()).await.unwrap();
    got.retain(|n| *n != 2);
    assert_eq!(got, [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_found_by_a_name_that_goes_when_it_is_withdrawn() {
    let [desk, farm] = pair().await;
    let offered = farm.offer("count", count).unwrap();
    farm.register("counting", &offered).unwrap();
    desk.connect(endpoint(&farm)).await.unwrap();
    let found: Count = soon(desk.locate("counting")).await.unwrap();
    assert_eq!(found.name(), "counting");
    let coro = soon(found.start(1)).await.unwrap();
    assert_eq!(soon(coro.ask(Order::Total)).await, Ok(1));
    let wrong = desk.try_locate::<Rci<u64, Order, String>>("counting");
    let error = wrong.unwrap_err().to_string();
    assert!(
        error.contains("Rci<u64") && error.contains("String"),
        "{error}"
    );
    // It comes home as what it is there.
    let bytes = desk.encode(&found).unwrap();
    let home: Count = farm.decode(&bytes).unwrap();
    assert_eq!(home.name(), "count");
    let coro = soon(home.start(2)).await.unwrap();
    assert_eq!(coro.remote_id(), None);

    assert!(farm.withdraw("count"));
    let refused = soon(found.start(7)).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("\"counting\" on farm"), "{text}");
    assert_eq!((refused.args, refused.why), (7, NotStarted::Unknown));
    soon(async {
        while desk.try_locate::<Count>("counting").is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
