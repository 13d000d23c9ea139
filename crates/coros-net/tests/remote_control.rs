//! Everything that can be done to a coroutine by its address, the same here and from another node.
//!
//! Each check runs twice, with the address of a coroutine of this process and with that of one
//! behind a link. What differs between the two is at the end, with the bounds on waiting for a
//! peer that has died.

mod common;

use std::future::{Future, pending};
use std::time::Duration;

use common::*;
use coros_core::remote::Message;
use coros_core::{Address, AskError, Context, Exit, Reply, SendError, SwapError, build, spawn};
use coros_net::sim::SimNetwork;
use coros_net::{Node, Rci};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const SHORT: Duration = Duration::from_millis(50);

/// Where a check is made, and where its coroutines live.
struct Scene {
    here: Node,
    home: Node,
}

impl Scene {
    fn is_remote(&self) -> bool {
        self.here.location() != self.home.location()
    }

    /// A coroutine of `home` as it is seen from here.
    fn see<M: Message>(&self, address: &Address<M>) -> Address<M> {
        if self.is_remote() {
            sent(&self.home, &self.here, address)
        } else {
            address.clone()
        }
    }
}

/// Makes a check at home, then from afar.
async fn both<Fut: Future<Output = ()>>(check: impl Fn(Scene) -> Fut) {
    let [desk, farm] = pair().await;
    for here in [farm.clone(), desk] {
        let home = farm.clone();
        let scene = Scene { here, home };
        let place = if scene.is_remote() { "afar" } else { "at home" };
        eprintln!("{place}");
        soon(check(scene)).await;
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Order {
    Note(u32),
    Notes(Reply<Vec<u32>>),
    /// Never answered.
    Keep(Reply<u32>),
    /// Dropped.
    Drop(Reply<u32>),
    End,
    Panic,
}

async fn clerk(mut me: Context<Order>) -> u32 {
    let (mut notes, mut kept) = (Vec::new(), Vec::new());
    while let Some(order) = me.receive().await {
        match order {
            Order::Note(n) => notes.push(n),
            Order::Notes(reply) => reply.send(notes.clone()),
            Order::Keep(reply) => kept.push(reply),
            Order::Drop(reply) => drop(reply),
            Order::End => break,
            Order::Panic => panic!("out of ink"),
        }
    }
    notes.len() as u32
}

/// With its home address, which keeps it alive.
fn clerk_of(scene: &Scene) -> (Address<Order>, Address<Order>) {
    let home = spawn(clerk).address();
    let seen = scene.see(&home);
    (home, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_deliver_ask() {
    both(async |scene| {
        let (_home, clerk) = clerk_of(&scene);
        for n in 0..100 {
            clerk.send(Order::Note(3 * n)).unwrap();
            clerk.deliver(Order::Note(3 * n + 1)).await.unwrap();
            let order = Order::Note(3 * n + 2);
            clerk.deliver_timeout(LIMIT, order).await.unwrap();
        }
        let notes = clerk.ask(Order::Notes).await.unwrap();
        assert_eq!(notes, (0..300).collect::<Vec<_>>());
        let notes = clerk.ask_timeout(LIMIT, Order::Notes).await.unwrap();
        assert_eq!(notes.len(), 300);
        let late = clerk.ask_timeout(SHORT, Order::Keep).await;
        assert_eq!(late, Err(AskError::TimedOut(SHORT)));
        assert_eq!(clerk.ask(Order::Drop).await, Err(AskError::NoReply));
        assert!(!clerk.is_closed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliver_to_a_full_mailbox_and_to_one_that_is_gone() {
    both(async |scene| {
        let (go, gone) = oneshot::channel::<()>();
        let coro = build()
            .capacity(1)
            .spawn(async move |mut me: Context<u32>| {
                gone.await.unwrap();
                let mut got = Vec::new();
                while got.last() != Some(&3) {
                    got.push(me.receive().await.unwrap());
                }
                got
            });
        let address = scene.see(&coro.address());
        address.deliver(1).await.unwrap();
        let late = address.deliver_timeout(SHORT, 2).await;
        assert_eq!(late, Err(SendError::TimedOut(2, SHORT)));
        let mut waiting = Box::pin(address.deliver_timeout(LIMIT, 3));
        assert!(polled(&mut waiting).await.is_pending());
        go.send(()).unwrap();
        waiting.await.unwrap();
        // From afar the one that was given up may be on its way.
        let mut got = coro.join().await.unwrap();
        got.retain(|n| *n != 2 || !scene.is_remote());
        assert_eq!(got, [1, 3]);
        assert_eq!(address.deliver(4).await, Err(SendError::Closed(4)));
        let closed = address.deliver_timeout(LIMIT, 5).await;
        assert_eq!(closed, Err(SendError::Closed(5)));
        // Only an answer could tell.
        assert_eq!(address.is_closed(), !scene.is_remote());
    })
    .await;
}

/// The end of a coroutine as told in all four ways: exit, on_exit, monitor, and afterwards.
async fn ends_with(address: &Address<Order>, end: impl FnOnce(&Address<Order>), expected: Exit) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (on_exit, monitors) = (tell.clone(), tell);
    address.on_exit(move |exit| on_exit.send(exit).expect("it works here"));
    let watched = address.clone();
    let (ready, is_ready) = oneshot::channel();
    let monitor = spawn(async move |mut me: Context<Exit>| {
        me.monitor(&watched, |exit| exit);
        drop(watched);
        ready.send(()).expect("it works here");
        monitors
            .send(me.receive().await.expect("it works here"))
            .expect("it works here");
        // Once and no more: the monitor was the last that could send.
        me.receive().await
    });
    is_ready.await.expect("it works here");
    let mut exit = Box::pin(address.exit());
    assert!(polled(&mut exit).await.is_pending());
    end(address);
    assert_eq!(exit.await, expected);
    assert_eq!(next(&mut told).await, expected);
    assert_eq!(next(&mut told).await, expected);
    assert_eq!(monitor.join().await, Ok(None));
    assert_eq!(told.recv().await, None, "each is told once");
    assert_eq!(address.exit().await, expected, "also afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitor_exit_on_exit() {
    both(async |scene| {
        let (_home, clerk) = clerk_of(&scene);
        ends_with(
            &clerk,
            |clerk| clerk.send(Order::End).unwrap(),
            Exit::Finished,
        )
        .await;

        let (_home, clerk) = clerk_of(&scene);
        let panicked = Exit::Panicked("out of ink".into());
        ends_with(&clerk, |clerk| clerk.send(Order::Panic).unwrap(), panicked).await;

        let (_home, clerk) = clerk_of(&scene);
        ends_with(&clerk, Address::terminate, Exit::Terminated).await;

        let fails = build().spawn_fallible(async |mut me: Context<Order>| {
            me.receive().await;
            Err::<(), _>("no more paper")
        });
        let failed = Exit::Failed("no more paper".into());
        let end = |fails: &Address<Order>| fails.send(Order::End).unwrap();
        ends_with(&scene.see(&fails), end, failed).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminate_with_and_without_grace() {
    both(async |scene| {
        let (_home, clerk) = clerk_of(&scene);
        clerk.terminate();
        assert_eq!(clerk.exit().await, Exit::Terminated);

        // One that asks for it cleans up, though it is suspended.
        let (ready, mut is_ready) = mpsc::unbounded_channel();
        let asks = ready.clone();
        let tidy = spawn(async move |mut me: Context<u32>| {
            let mut sum = 0;
            let mut stop = me.terminating();
            asks.send(()).unwrap();
            loop {
                tokio::select! {
                    biased;
                    Some(n) = me.receive() => sum += n,
                    () = &mut stop => return sum,
                }
            }
        });
        next(&mut is_ready).await;
        let seen = scene.see(&tidy.address());
        seen.deliver(40).await.unwrap();
        seen.suspend();
        seen.deliver(2).await.unwrap();
        seen.terminate();
        seen.terminate();
        assert_eq!(tidy.join().await, Ok(42));

        // One that takes too long does not.
        let slow = build().grace(SHORT).spawn(async move |me: Context<u32>| {
            let stop = me.terminating();
            ready.send(()).unwrap();
            stop.await;
            pending::<()>().await;
        });
        next(&mut is_ready).await;
        let seen = scene.see(&slow.address());
        seen.terminate();
        assert_eq!(seen.exit().await, Exit::Terminated);
    })
    .await;
}

/// On one thread, where a coroutine that has answered waits when the answer is read. On several it
/// may be at work yet, stands still only when it waits, and receives until then what comes.
#[tokio::test]
async fn suspend_and_resume() {
    both(async |scene| {
        let (_home, clerk) = clerk_of(&scene);
        let (_home, other) = clerk_of(&scene);
        clerk.ask(Order::Notes).await.unwrap();
        clerk.suspend();
        clerk.suspend();
        // Requests overtake messages, and this one has come when another's answer has.
        other.ask(Order::Notes).await.unwrap();
        clerk.deliver(Order::Note(1)).await.unwrap();
        let asked = clerk.ask_timeout(SHORT, Order::Notes).await;
        assert_eq!(asked, Err(AskError::TimedOut(SHORT)));
        clerk.resume();
        assert_eq!(clerk.ask(Order::Notes).await, Ok(vec![1]));
        // Resuming one that runs does nothing.
        clerk.resume();
        clerk.deliver(Order::Note(2)).await.unwrap();
        assert_eq!(clerk.ask(Order::Notes).await, Ok(vec![1, 2]));
    })
    .await;
}

async fn rude(mut me: Context<Order>) -> u32 {
    let notes: Vec<u32> = me.take_state().unwrap_or_default();
    while let Some(order) = me.receive().await {
        match order {
            Order::Notes(reply) => reply.send(notes.iter().rev().copied().collect()),
            Order::End => break,
            _ => {}
        }
    }
    7
}

/// Takes notes, and hands them over to functions that are not rude to it.
async fn polite(mut me: Context<Order>) -> u32 {
    let offers = me.swap_offers();
    let mut notes = Vec::new();
    loop {
        tokio::select! {
            biased;
            offer = offers.next() => match notes.first() {
                Some(0) => offer.refuse("not while I have a zero"),
                _ => notes = offer.accept(notes).await,
            },
            order = me.receive() => match order {
                Some(Order::Note(n)) => notes.push(n),
                Some(Order::Notes(reply)) => reply.send(notes.clone()),
                Some(Order::End) | None => return 1,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swap_to_a_function_by_name() {
    both(async |scene| {
        let home = &scene.home;
        home.offer_swap("rude", rude).unwrap();
        let text = async |_me: Context<Order>| String::new();
        home.offer_swap("text", text).unwrap();
        home.offer_swap("other", async |_me: Context<u8>| 1_u32)
            .unwrap();

        // State is handed over, and messages keep their order across the swap.
        let coro = spawn(polite);
        let seen = scene.see(&coro.address());
        for n in 1..=3 {
            seen.send(Order::Note(n)).unwrap();
        }
        assert_eq!(seen.ask(Order::Notes).await, Ok(vec![1, 2, 3]));
        let unknown = Err(SwapError::UnknownFunction("ruder".into()));
        assert_eq!(seen.swap_to("ruder").await, unknown);
        let error = seen.swap_to("text").await.unwrap_err();
        let SwapError::WrongResult { running, offered } = &error else {
            panic!("{error}");
        };
        assert_eq!((&**running, &**offered), ("u32", "alloc::string::String"));
        let error = seen.swap_to("other").await.unwrap_err();
        let SwapError::WrongMessages { running, offered } = &error else {
            panic!("{error}");
        };
        assert!(running.ends_with("Order") && offered == "u8", "{error}");
        seen.swap_to("rude").await.unwrap();
        assert_eq!(seen.ask(Order::Notes).await, Ok(vec![3, 2, 1]));
        let error = seen.swap_to_timeout(SHORT, "rude").await;
        assert_eq!(error, Err(SwapError::NotTaken(SHORT)));
        seen.send(Order::End).unwrap();
        assert_eq!(coro.join().await, Ok(7));
        let ended = Err(SwapError::Ended(Exit::Finished));
        assert_eq!(seen.swap_to("rude").await, ended);

        // Refused, with the reason.
        let coro = spawn(polite);
        let seen = scene.see(&coro.address());
        seen.deliver(Order::Note(0)).await.unwrap();
        seen.ask(Order::Notes).await.unwrap();
        let refused = Err(SwapError::Refused("not while I have a zero".into()));
        assert_eq!(seen.swap_to("rude").await, refused);

        // One at a time, and its end answers it.
        let (_home, clerk) = clerk_of(&scene);
        let mut first = Box::pin(clerk.swap_to("rude"));
        assert!(polled(&mut first).await.is_pending());
        assert_eq!(clerk.swap_to("rude").await, Err(SwapError::Busy));
        clerk.send(Order::End).unwrap();
        assert_eq!(first.await, ended);

        assert!(home.withdraw_swap("rude") && !home.withdraw_swap("rude"));
        let gone = Err(SwapError::UnknownFunction("rude".into()));
        assert_eq!(scene.see(&coro.address()).swap_to("rude").await, gone);
        for name in ["text", "other"] {
            home.withdraw_swap(name);
        }
        // A closure stays in its process.
        if scene.is_remote() {
            let error = scene.see(&coro.address()).swap(rude).await.unwrap_err();
            assert!(error.to_string().contains("swap_to"), "{error}");
            assert_eq!(error, SwapError::Remote);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_that_nobody_waits_for_is_withdrawn() {
    both(async |scene| {
        scene.home.offer_swap("rude", rude).unwrap();
        let (_home, clerk) = clerk_of(&scene);
        let mut first = Box::pin(clerk.swap_to_timeout(10 * LIMIT, "rude"));
        assert!(polled(&mut first).await.is_pending());
        let second = clerk.swap_to_timeout(SHORT, "rude").await;
        assert_eq!(second, Err(SwapError::Busy));
        drop(first);
        while clerk.swap_to_timeout(SHORT, "rude").await == Err(SwapError::Busy) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = clerk.swap_to_timeout(SHORT, "rude").await;
        assert_eq!(next, Err(SwapError::NotTaken(SHORT)));
        scene.home.withdraw_swap("rude");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_of_one_started_by_name() {
    async fn add(_me: Context<()>, (a, b): (u32, u32)) -> u32 {
        a.checked_add(b).expect("a small sum")
    }
    both(async |scene| {
        scene.home.offer("add", add).unwrap();
        let add: Rci<(u32, u32), (), u32> = scene.here.function_at(&scene.home.location(), "add");
        assert_eq!(add.start((40, 2)).await.unwrap().join().await, Ok(42));
        let coro = add.start((u32::MAX, 2)).await.unwrap();
        assert_eq!(coro.await, Err(Exit::Panicked("a small sum".into())));
        scene.home.withdraw("add");
    })
    .await;
}

#[derive(Debug, Serialize, Deserialize)]
enum Letter {
    /// Whom to write to, and the reply that it is to give.
    Introduce(Address<Order>, Reply<Vec<u32>>),
    Return(Reply<Address<Order>>),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_replies_in_messages_to_third_parties() {
    both(async |scene| {
        let secretary = spawn(async |mut me: Context<Letter>| {
            let mut friends = Vec::new();
            while let Some(letter) = me.receive().await {
                match letter {
                    Letter::Introduce(friend, reply) => {
                        friend.send(Order::Note(7)).unwrap();
                        friend.send(Order::Notes(reply)).unwrap();
                        friends.push(friend);
                    }
                    Letter::Return(reply) => reply.send(friends.pop().unwrap()),
                }
            }
        });
        let secretary = scene.see(&secretary.address());
        // A third party's coroutine: of this process, and of another node than the two.
        let [third, _] = pair().await;
        let friend = spawn(clerk).address();
        let bytes = third.encode(&friend).unwrap();
        for friend in [friend.clone(), third.decode(&bytes).unwrap()] {
            let known = friend.clone();
            let introduce = |reply| Letter::Introduce(known, reply);
            let notes = secretary.ask(introduce).await.unwrap();
            assert_eq!(notes.last(), Some(&7));
            // It comes home as what it was.
            let back = secretary.ask(Letter::Return).await.unwrap();
            assert_eq!(back, friend);
            assert_eq!(back.remote_id(), None);
        }
    })
    .await;
}

/// With the defaults: a silent peer is lost after 2.2 s, its session ends with the grace period.
const BOUND: Duration = Duration::from_millis(2200 + 5000 + 100);

#[tokio::test(start_paused = true)]
async fn whatever_waits_for_a_peer_that_dies_ends_within_the_bound() {
    let network = SimNetwork::new(3);
    let hosts = ["desk", "farm"].map(|name| network.host(name));
    let desk = hosts[0].builder().build().await.unwrap();
    let farm = hosts[1].builder().build().await.unwrap();
    let stuck = build().capacity(1).spawn(async |me: Context<u32>| {
        pending::<()>().await;
        drop(me);
    });
    let stuck = sent(&farm, &desk, &stuck.address());
    let clerk = sent(&farm, &desk, &spawn(clerk).address());
    farm.offer_swap("rude", rude).unwrap();
    farm.offer("wait", async |_me: Context<()>, (): ()| {
        pending::<()>().await;
    })
    .unwrap();
    let wait: Rci<(), (), ()> = desk.function_at(&farm.location(), "wait");
    stuck.deliver(1).await.unwrap();
    let coro = wait.start(()).await.unwrap();

    let hour = Duration::from_secs(3600);
    let mut waits = tokio::task::JoinSet::<&str>::new();
    let full = stuck.clone();
    waits.spawn(async move {
        let lost = full.deliver(2).await.unwrap_err();
        assert!(matches!(lost, SendError::Disconnected(2, _)), "{lost}");
        "deliver"
    });
    let full = stuck.clone();
    waits.spawn(async move {
        let lost = full.deliver_timeout(hour, 3).await.unwrap_err();
        assert!(matches!(lost, SendError::Disconnected(3, _)), "{lost}");
        "deliver_timeout"
    });
    let asked = clerk.clone();
    waits.spawn(async move {
        let lost = asked.ask(Order::Keep).await;
        assert!(matches!(lost, Err(AskError::Disconnected(_))), "{lost:?}");
        "ask"
    });
    let asked = clerk.clone();
    waits.spawn(async move {
        let lost = asked.ask_timeout(hour, Order::Keep).await;
        assert!(matches!(lost, Err(AskError::Disconnected(_))), "{lost:?}");
        "ask_timeout"
    });
    let watched = clerk.clone();
    waits.spawn(async move {
        assert_eq!(watched.exit().await, Exit::Disconnected);
        "exit"
    });
    let (tell, told) = oneshot::channel();
    clerk.on_exit(move |exit| tell.send(exit).unwrap());
    waits.spawn(async move {
        assert_eq!(told.await, Ok(Exit::Disconnected));
        "on_exit"
    });
    let watched = clerk.clone();
    let monitor = spawn(async move |mut me: Context<Exit>| {
        me.monitor(&watched, |exit| exit);
        me.receive().await
    });
    waits.spawn(async move {
        assert_eq!(monitor.join().await, Ok(Some(Exit::Disconnected)));
        "monitor"
    });
    let swapped = clerk.clone();
    waits.spawn(async move {
        let lost = swapped.swap_to_timeout(hour, "rude").await.unwrap_err();
        assert!(matches!(lost, SwapError::Disconnected(_)), "{lost}");
        "swap_to"
    });
    waits.spawn(async move {
        assert_eq!(coro.join().await, Err(Exit::Disconnected));
        "join"
    });
    // All of them have got through when one that was asked later has its answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    clerk.ask(Order::Notes).await.unwrap();

    network.partition([&hosts[0]], [&hosts[1]]);
    let starting = tokio::spawn(async move {
        let lost = wait.start(()).await.unwrap_err();
        assert!(
            matches!(lost.why, coros_net::NotStarted::Disconnected(_)),
            "{lost}"
        );
    });
    let cut = Instant::now();
    let mut ended = Vec::new();
    while let Some(wait) = waits.join_next().await {
        ended.push(wait.unwrap());
        assert!(
            cut.elapsed() <= BOUND,
            "{ended:?} after {:?}",
            cut.elapsed()
        );
    }
    starting.await.unwrap();
    assert!(cut.elapsed() <= BOUND, "start: {:?}", cut.elapsed());
    assert_eq!(ended.len(), 9, "{ended:?}");
}
