//! What a peer can do to a channel by messages that no honest relay sends.

mod common;

use std::time::Duration;

use common::{collector, next, soon};
use coros_core::remote::{Location, NodeId, RemoteId};
use coros_core::{Address, Channel, Context, Reply, SubscribeError};
use coros_net::Node;
use coros_net::sim::SimNetwork;
use serde::{Deserialize, Serialize};

/// What goes to the home of a channel, for whoever wants to say anything. The order of the variants
/// is that of the original.
#[derive(Debug, Serialize, Deserialize)]
enum Up {
    Send(u32),
    Deliver {
        message: u32,
        n: u64,
        limit: Duration,
        reply: Reply<Delivered>,
    },
    Report(RemoteId, Report),
    Subscribe(RemoteId),
    Unsubscribe(RemoteId),
    SubscribeChannel(RemoteId, Reply<Result<bool, SubscribeError>>),
    UnsubscribeChannel(RemoteId),
    Close,
    Count(Reply<u64>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Delivered {
    To(u64),
    Closed,
    TooMany,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Report {
    number: u64,
    subscribed: bool,
    coroutines: u64,
    channels: bool,
    follows: bool,
}

fn report(number: u64, coroutines: u64) -> Report {
    Report {
        number,
        subscribed: true,
        coroutines,
        channels: false,
        follows: false,
    }
}

struct Scene {
    news: Channel<u32>,
    rogue: Node,
    /// What the rogue says to the channel.
    up: Address<Up>,
    /// An honest node.
    honest: Channel<u32>,
    nodes: [Node; 2],
}

impl Scene {
    async fn set() -> Self {
        let network = SimNetwork::new(1);
        let [home, rogue, honest] = ["home", "rogue", "honest"].map(|name| network.host(name));
        let home = home.builder().build().await.expect("it works here");
        let rogue = rogue.builder().build().await.expect("it works here");
        let honest = honest.builder().build().await.expect("it works here");
        let news = Channel::named("news");
        let bytes = home.encode(&news).expect("it works here");
        Scene {
            up: rogue.decode(&bytes).expect("it works here"),
            honest: honest.decode(&bytes).expect("it works here"),
            rogue,
            news,
            nodes: [home, honest],
        }
    }

    async fn count(&self) -> u64 {
        soon(self.up.ask(Up::Count)).await.expect("it works here")
    }

    fn named(&self, location: Location, coroutine: u64) -> RemoteId {
        RemoteId {
            location,
            coroutine,
        }
    }

    /// The channel does what it is there for.
    async fn works(&self) {
        let ((here, mut one), (there, mut other)) = (collector(), collector());
        self.news.subscribe(&here).expect("it works here");
        self.honest.subscribe(&there).expect("it works here");
        assert!(self.honest.ask_subscribers().await.expect("it works here") >= 2);
        self.news.send(7).expect("it works here");
        for received in [&mut one, &mut other] {
            assert_eq!(next(received).await, 7);
        }
        assert!(self.news.unsubscribe(&here) && self.honest.unsubscribe(&there));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_has_one_relay_however_often_it_says_that_it_has_another() {
    let scene = Scene::set().await;
    for n in 0..3_000 {
        let relay = scene.named(scene.rogue.location(), 5000 + n);
        soon(scene.up.deliver(Up::Report(relay, report(n, 1))))
            .await
            .unwrap();
    }
    assert!(scene.count().await <= 1);
    scene.works().await;
    scene.rogue.close().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.news.subscribers(), 0);
}

/// An honest relay reports from several threads, so its reports may overtake each other.
#[tokio::test(start_paused = true)]
async fn of_two_reports_the_later_one_counts_whichever_comes_first() {
    let scene = Scene::set().await;
    // Its end would be that of the relay.
    let (inlet, _received) = collector::<u32>();
    scene.rogue.encode(&inlet).expect("it works here");
    for (number, says, counts) in [(1, 3, 3), (3, 5, 5), (2, 4, 5), (3, 6, 5), (4, 2, 2)] {
        let relay = scene.named(scene.rogue.location(), inlet.id());
        let told = Up::Report(relay, report(number, says));
        soon(scene.up.deliver(told)).await.expect("it works here");
        assert_eq!(scene.count().await, counts, "after report {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_speaks_for_no_other() {
    let scene = Scene::set().await;
    let stranger = Location {
        node: NodeId(7),
        ..scene.nodes[1].location()
    };
    for location in [
        scene.nodes[0].location(),
        scene.nodes[1].location(),
        stranger,
    ] {
        let relay = scene.named(location, 5000);
        scene.up.send(Up::Report(relay, report(1, 3))).unwrap();
    }
    assert_eq!(scene.count().await, 0);
    scene.works().await;
}

#[tokio::test(start_paused = true)]
async fn forged_numbers_neither_overflow_nor_stand_for_coroutines() {
    let scene = Scene::set().await;
    let here = coros_core::spawn(async |mut me: Context<u32>| me.receive().await);
    scene.news.subscribe(&here).unwrap();
    let other = Channel::named("above");
    other.subscribe_channel(&scene.news).unwrap();
    let there = other.clone();
    other
        .subscribe(&coros_core::spawn(async move |mut me: Context<u32>| {
            me.receive().await;
            drop(there);
        }))
        .unwrap();
    let relay = scene.named(scene.rogue.location(), 5000);
    scene
        .up
        .send(Up::Report(relay.clone(), report(u64::MAX, u64::MAX)))
        .unwrap();
    // A number that is smaller has been overtaken, whatever it says.
    scene.up.send(Up::Report(relay, report(1, 5))).unwrap();
    scene.count().await;
    // Until the home has found out that there is no such relay.
    let reached = other.deliver(7, 1000, Duration::from_secs(2)).await;
    assert_eq!(reached, Ok(2), "nobody has confirmed but two coroutines");
    scene.works().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_never_there_can_be_taken_back() {
    let scene = Scene::set().await;
    for location in [scene.nodes[0].location(), scene.rogue.location()] {
        for id in [0, 1, 1024, u64::MAX, scene.news.id()] {
            let it = || scene.named(location.clone(), id);
            scene.up.send(Up::Unsubscribe(it())).unwrap();
            scene.up.send(Up::UnsubscribeChannel(it())).unwrap();
        }
    }
    assert_eq!(scene.count().await, 0);
    scene.works().await;
}

#[tokio::test(start_paused = true)]
async fn coroutines_and_channels_that_do_not_exist_are_not_subscribers() {
    let scene = Scene::set().await;
    for n in 0..1000 {
        let it = scene.named(scene.rogue.location(), 5000 + n);
        scene.up.send(Up::Subscribe(it)).unwrap();
        let it = scene.named(scene.nodes[0].location(), 5000 + n);
        scene.up.send(Up::Subscribe(it)).unwrap();
    }
    scene.count().await;
    // The rogue's node has been asked for each, and has none.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.count().await, 0);
    let itself = scene.named(scene.nodes[0].location(), scene.news.id());
    let answer = soon(scene.up.ask(|reply| Up::SubscribeChannel(itself, reply))).await;
    assert!(
        matches!(answer, Ok(Err(SubscribeError::Cycle { .. }))),
        "{answer:?}"
    );
    let gone = scene.named(scene.nodes[0].location(), 5000);
    let answer = soon(scene.up.ask(|reply| Up::SubscribeChannel(gone, reply))).await;
    assert_eq!(answer, Ok(Ok(false)));
    scene.works().await;
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_wait_are_bounded_for_each_node() {
    let scene = Scene::set().await;
    let mut asked = Vec::new();
    for _ in 0..300 {
        let up = scene.up.clone();
        asked.push(tokio::spawn(async move {
            up.ask(|reply| Up::Deliver {
                message: 1,
                n: u64::MAX,
                limit: Duration::MAX,
                reply,
            })
            .await
        }));
    }
    scene.count().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = asked.iter().filter(|it| it.is_finished()).count();
    assert_eq!(refused, 300 - 256);
    // Others are not held up.
    assert_eq!(
        scene.honest.deliver(2, 0, Duration::from_secs(1)).await,
        Ok(0)
    );
    scene.works().await;
    scene.up.send(Up::Close).unwrap();
    let mut results = Vec::new();
    for asked in asked {
        results.push(soon(asked).await.unwrap().unwrap());
    }
    let too_many = results
        .iter()
        .filter(|it| **it == Delivered::TooMany)
        .count();
    assert_eq!(too_many, 300 - 256);
    assert!(results.contains(&Delivered::Closed));
}

#[tokio::test(start_paused = true)]
async fn only_its_home_speaks_to_a_relay() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Down {
        Message(u32),
        Other,
        Total(u64),
        Closed,
    }
    let scene = Scene::set().await;
    let (there, mut received) = collector();
    scene.honest.subscribe(&there).unwrap();
    assert_eq!(
        scene.news.deliver(1, 1, Duration::from_secs(60)).await,
        Ok(1)
    );
    assert_eq!(next(&mut received).await, 1);
    // The relay's number is near those that the test has made lately.
    let last = collector::<u32>().0.id();
    let honest = scene.nodes[1].location();
    for id in last.saturating_sub(200)..last {
        let mut bytes = Vec::new();
        coros_core::remote::encode(&scene.named(honest.clone(), id), &mut bytes).unwrap();
        let relay: Address<Down> = scene.rogue.decode(&bytes).unwrap();
        for down in [Down::Message(666), Down::Total(9), Down::Closed] {
            let _ = soon(relay.deliver(down)).await;
        }
    }
    assert!(!scene.honest.is_closed());
    assert_eq!(
        scene.news.deliver(2, 1, Duration::from_secs(60)).await,
        Ok(1)
    );
    assert_eq!(next(&mut received).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_home_says_when_it_refuses_is_fit_to_be_shown() {
    let scene = Scene::set().await;
    let text = || format!("\u{1b}[2J\n{}", "ü".repeat(1 << 20));
    let [channel, subscriber, reason] = std::array::from_fn(|_| text());
    let said = [
        SubscribeError::Closed {
            channel: channel.clone(),
        },
        SubscribeError::Cycle {
            channel: channel.clone(),
            subscriber: subscriber.clone(),
        },
        SubscribeError::Disconnected {
            channel: channel.clone(),
            reason: reason.clone(),
        },
        SubscribeError::Refused {
            channel,
            subscriber,
            reason,
        },
    ];
    let mut answers = said.clone().into_iter();
    let home = coros_core::spawn(async move |mut me: Context<Up>| {
        while let Some(up) = me.receive().await {
            if let Up::SubscribeChannel(_, reply) = up {
                reply.send(Err(answers.next().expect("it is asked once for each")));
            }
        }
    });
    let bytes = scene.rogue.encode(&home.address()).expect("it works here");
    let channel: Channel<u32> = scene.nodes[1].decode(&bytes).expect("it works here");
    for said in said {
        let subscribing = channel.subscribe_channel_checked(&scene.honest);
        let error = soon(subscribing).await.expect_err("it is refused");
        assert_eq!(
            std::mem::discriminant(&error),
            std::mem::discriminant(&said)
        );
        let texts = match &error {
            SubscribeError::Closed { channel } => vec![channel],
            SubscribeError::Cycle {
                channel,
                subscriber,
            } => vec![channel, subscriber],
            SubscribeError::Disconnected { channel, reason } => vec![channel, reason],
            SubscribeError::Refused {
                channel,
                subscriber,
                reason,
            } => vec![channel, subscriber, reason],
            other => panic!("{other}"),
        };
        for text in texts {
            assert!(text.starts_with(r"\u{1b}[2J\nü"), "{}", &text[..20]);
            assert!(text.len() <= 2 << 10, "{} bytes", text.len());
        }
    }
}
