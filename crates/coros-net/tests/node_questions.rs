//! Questions that are passed on between nodes, and lost on the way: whoever asks is told.
#![allow(clippy::unwrap_used)] // in what the tests call

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use common::{Cable, builder, collector, next, node, polled, sent, soon};
use coros_core::{Address, AskError, Context, Reply, spawn};
use coros_net::sim::SimNetwork;
use coros_net::{Node, Offer, Secret};
use serde::{Deserialize, Serialize, Serializer};

type Question = Reply<u32>;

/// Three nodes, the first of which asks the third by way of the second.
struct Row {
    nodes: [Node; 3],
    /// The second node's coroutine, as the first sees it.
    front: Address<Question>,
}

impl Row {
    async fn new(last: impl AsyncFnOnce(&Node) -> Address<Question>) -> Self {
        let secret = Secret::random();
        let nodes = [
            node("asks", &secret).await,
            node("passes-on", &secret).await,
            node("knows", &secret).await,
        ];
        let last = last(&nodes[2]).await;
        let last = sent(&nodes[2], &nodes[1], &last);
        let front = spawn(async move |mut me: Context<Question>| {
            while let Some(question) = me.receive().await {
                let _ = last.send(question);
            }
        });
        let front = sent(&nodes[1], &nodes[0], &front.address());
        Row { nodes, front }
    }

    async fn ask(&self) -> Result<u32, AskError> {
        soon(self.front.ask(|reply| reply)).await
    }
}

#[tokio::test]
async fn an_answer_comes_back_the_way_the_question_went() {
    let row = Row::new(async |_| {
        spawn(async |mut me: Context<Question>| {
            for n in 0.. {
                let Some(question) = me.receive().await else {
                    return;
                };
                question.send(n);
            }
        })
        .address()
    })
    .await;
    for n in 0..10 {
        assert_eq!(row.ask().await, Ok(n));
    }
    let [asks, _, knows] = &row.nodes;
    assert_eq!(asks.peers().len(), 1, "{:?}", asks.peers());
    assert_eq!(knows.peers().len(), 1, "{:?}", knows.peers());
}

#[tokio::test]
async fn whoever_asks_is_told_when_the_node_that_keeps_the_question_goes() {
    let (keeper, mut kept) = collector::<Question>();
    let row = Row::new(async |_| keeper).await;
    let front = row.front.clone();
    let asking = tokio::spawn(async move { front.ask(|reply| reply).await });
    let _question = next(&mut kept).await;
    row.nodes[2].close().await;
    assert_eq!(soon(asking).await.unwrap(), Err(AskError::NoReply));
}

#[tokio::test]
async fn whoever_asks_is_told_when_the_node_that_passed_the_question_on_goes() {
    let (keeper, mut kept) = collector::<Question>();
    let row = Row::new(async |_| keeper).await;
    let front = row.front.clone();
    let asking = tokio::spawn(async move { front.ask(|reply| reply).await });
    let question = next(&mut kept).await;
    row.nodes[1].close().await;
    let lost = soon(asking).await.unwrap();
    // It may still say that it has lost the question to the next, or be gone first.
    assert!(
        matches!(lost, Err(AskError::NoReply | AskError::Disconnected(_))),
        "{lost:?}"
    );
    question.send(1);
}

#[tokio::test]
async fn whoever_asks_is_told_when_the_last_coroutine_has_ended() {
    let row = Row::new(async |_| {
        spawn(async |mut me: Context<Question>| drop(me.receive().await)).address()
    })
    .await;
    assert_eq!(row.ask().await, Err(AskError::NoReply));
    assert_eq!(row.ask().await, Err(AskError::NoReply), "it has ended");
}

#[derive(Serialize, Deserialize)]
struct Heavy(Vec<u8>, Option<Question>);

#[tokio::test]
async fn whoever_asks_is_told_when_a_delivery_is_given_up_before_it_is_sent() {
    let secret = Secret::random();
    let (cable, to) = Cable::lay().await;
    let farm = builder("farm", &secret).advertise(cable.endpoint);
    let farm = farm.build().await.unwrap();
    to.send_replace(farm.listening_on());
    let desk = builder("desk", &secret).outbox(64 << 10).no_listen();
    let desk = desk.build().await.unwrap();
    let (keeper, mut kept) = collector::<Heavy>();
    let remote = sent(&farm, &desk, &keeper);
    soon(remote.deliver(Heavy(vec![], None))).await.unwrap();
    next(&mut kept).await;

    cable.hold();
    // More than the kernel takes: it waits in the outbox, and leaves no room.
    remote.send(Heavy(vec![0; 15 << 20], None)).unwrap();
    let asked = spawn(async move |mut me: Context<Question>| {
        let question = me.receive().await.unwrap();
        let mut delivery = Box::pin(remote.deliver(Heavy(vec![], Some(question))));
        assert!(polled(&mut delivery).await.is_pending());
        drop(delivery);
        remote
    });
    assert_eq!(soon(asked.ask(|reply| reply)).await, Err(AskError::NoReply));
    cable.release();
    let remote = asked.join().await.unwrap();
    soon(remote.deliver(Heavy(vec![], None))).await.unwrap();
    assert_eq!(next(&mut kept).await.0.len(), 15 << 20);
    assert!(next(&mut kept).await.1.is_none(), "it was never sent");
}

#[derive(Deserialize)]
struct Bomb;

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("boom")
    }
}

#[tokio::test]
async fn whoever_asks_is_told_when_writing_the_message_panics() {
    let secret = Secret::random();
    let [desk, farm] = [node("desk", &secret).await, node("farm", &secret).await];
    let (keeper, _kept) = collector::<(Question, Bomb)>();
    let remote = sent(&farm, &desk, &keeper);
    let asked = spawn(async move |mut me: Context<Question>| {
        let question = me.receive().await.unwrap();
        let sending = AssertUnwindSafe(|| remote.send((question, Bomb)));
        assert!(catch_unwind(sending).is_err());
    });
    assert_eq!(soon(asked.ask(|reply| reply)).await, Err(AskError::NoReply));
    asked.join().await.unwrap();
}

/// Two nodes of which neither has a session any more with the other, and a question of the first
/// that the second has yet to answer.
async fn left_with_a_question(network: &SimNetwork) -> ([Node; 2], Question) {
    let [desk, farm] = ["desk", "farm"].map(|name| network.host(name));
    let desk = desk.builder().member(false).build().await.unwrap();
    let farm = farm.builder().member(false).build().await.unwrap();
    let (keeper, mut kept) = collector::<Question>();
    let remote = sent(&farm, &desk, &keeper);
    let asking = tokio::spawn(async move { remote.ask(|reply| reply).await });
    let question = next(&mut kept).await;
    assert!(desk.close_peer(&farm.location().node));
    let lost = asking.await.unwrap();
    assert!(matches!(lost, Err(AskError::Disconnected(_))), "{lost:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    ([desk, farm], question)
}

/// Neither has a session, nor has anybody dialled.
async fn assert_apart(nodes: &[Node; 2], network: &SimNetwork, dials: usize, how: &str) {
    tokio::time::sleep(Duration::from_secs(10)).await;
    for node in nodes {
        let census = node.census();
        assert_eq!((census.sessions, census.peers), (0, 0), "{how}");
    }
    let events = network.events();
    assert_eq!(events.len(), dials, "{how}: {events:#?}");
}

/// What becomes of a question.
type Use = fn(Question);

#[tokio::test(start_paused = true)]
async fn a_question_whose_session_is_over_is_worth_no_other() {
    let uses: [(&str, Use); 3] = [
        ("dropped", drop),
        ("answered", |question| question.send(1)),
        ("passed on", |question| {
            let (keeper, mut kept) = collector::<Question>();
            let _ = keeper.send(question);
            tokio::spawn(async move { drop(next(&mut kept).await) });
        }),
    ];
    for (how, use_up) in uses {
        let network = SimNetwork::new(1);
        let (nodes, question) = left_with_a_question(&network).await;
        let dials = network.events().len();
        use_up(question);
        assert_apart(&nodes, &network, dials, how).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_session_is_over_is_worth_no_other() {
    let network = SimNetwork::new(2);
    let ([desk, farm], question) = left_with_a_question(&network).await;
    drop(question);
    let offer = Offer::new().linked(false);
    let slow = async |me: Context<()>, (): ()| me.sleep(Duration::from_secs(5)).await;
    farm.offer_with("slow", offer, slow).unwrap();
    let slow = desk.function_at::<(), (), ()>(&farm.location(), "slow");
    let coro = slow.start(()).await.unwrap();
    assert!(desk.close_peer(&farm.location().node));
    drop((coro, slow));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let dials = network.events().len();
    assert_apart(&[desk, farm], &network, dials, "ended").await;
}
