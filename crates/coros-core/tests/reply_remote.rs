//! Replies that come from other nodes, go there, and come home.
#![allow(clippy::unwrap_used)] // in what the tests call

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, Message,
    NodeId, OnExit, RemoteId, Request, Unwatch,
};
use coros_core::{Address, AskError, Context, Reply, SendError, spawn};

const HERE: NodeId = NodeId(0);
const ASKER: NodeId = NodeId(1);
const NEXT: NodeId = NodeId(2);
const REFUSED: [Request; 1] = [Request::Terminate];

/// What this node has told others of.
type Exports = Arc<Mutex<HashMap<u64, Arc<dyn Inlet>>>>;

/// The way to another node; notes what goes there.
#[derive(Default)]
struct Way {
    this: std::sync::Weak<Way>,
    exports: Exports,
    broken: AtomicBool,
    /// A `send` finds no room, and a delivery waits for it.
    full: AtomicBool,
    room: tokio::sync::Notify,
    messages: Mutex<Vec<Vec<u8>>>,
    requests: Mutex<Vec<Request>>,
}

impl Way {
    fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
        if !full {
            self.room.notify_one();
        }
    }

    fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// How many messages and what requests have gone there.
    fn traffic(&self) -> (usize, Vec<Request>) {
        let requests = self.requests.lock().unwrap().clone();
        (self.messages.lock().unwrap().len(), requests)
    }
}

impl Carrier for Way {
    fn send(&self, _to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        let before: Vec<u64> = self.exports.lock().unwrap().keys().copied().collect();
        let mut message = Vec::new();
        encode(&mut message)?;
        if self.broken.load(Ordering::SeqCst) {
            // What the message lends is taken back.
            let mut exports = self.exports.lock().unwrap();
            let (kept, dropped): (Vec<_>, Vec<_>) =
                exports.drain().partition(|(id, _)| before.contains(id));
            exports.extend(kept);
            drop(exports);
            drop(dropped);
            return Err(CarryError::Disconnected(Box::new(
                "the cable is out".into(),
            )));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(CarryError::Full);
        }
        self.messages.lock().unwrap().push(message);
        Ok(())
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        if !self.full.load(Ordering::SeqCst) {
            let sent = self.send(to, encode);
            return Box::pin(async move { sent });
        }
        let mut message = Vec::new();
        if let Err(error) = encode(&mut message) {
            return Box::pin(async { Err(error.into()) });
        }
        let this = self.this.upgrade().unwrap();
        Box::pin(async move {
            this.room.notified().await;
            this.messages.lock().unwrap().push(message);
            Ok(())
        })
    }

    fn watch(&self, _to: &RemoteId, _on_exit: OnExit) -> Option<Unwatch> {
        None
    }

    fn request(&self, _to: &RemoteId, request: Request) {
        self.requests.lock().unwrap().push(request);
    }
}

/// This node, between one that asks and one to which the question is passed on.
struct Between {
    exports: Exports,
    asker: Arc<Way>,
    next: Arc<Way>,
}

impl Exchange for Between {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let id = inlet.id();
        self.exports.lock().unwrap().insert(id, inlet);
        name(HERE, id)
    }

    fn import(&self, id: &RemoteId) -> Imported {
        match id.location.node {
            HERE => match self.exports.lock().unwrap().get(&id.coroutine) {
                Some(inlet) => Imported::Local(Arc::clone(inlet)),
                None => Imported::Gone,
            },
            ASKER => Imported::Remote(Arc::clone(&self.asker) as Arc<dyn Carrier>),
            _ => Imported::Remote(Arc::clone(&self.next) as Arc<dyn Carrier>),
        }
    }
}

fn name(node: NodeId, coroutine: u64) -> RemoteId {
    let location = Location {
        node,
        name: "somewhere".into(),
        endpoint: None,
    };
    RemoteId {
        location,
        coroutine,
    }
}

struct Node {
    between: Arc<Between>,
    exchange: Arc<dyn Exchange>,
}

impl Node {
    fn new() -> Self {
        let exports = Exports::default();
        let way = || {
            let exports = Arc::clone(&exports);
            Arc::new_cyclic(|this| Way {
                this: std::sync::Weak::clone(this),
                exports,
                ..Way::default()
            })
        };
        let between = Arc::new(Between {
            asker: way(),
            next: way(),
            exports,
        });
        Node {
            exchange: Arc::clone(&between) as Arc<dyn Exchange>,
            between,
        }
    }

    /// An address or a reply that has come in a message.
    fn read<T: Message>(&self, node: NodeId, coroutine: u64) -> T {
        let mut bytes = Vec::new();
        remote::encode(&name(node, coroutine), &mut bytes).unwrap();
        remote::with_exchange(&self.exchange, || remote::decode(&bytes)).unwrap()
    }

    /// What the other node asks.
    fn question(&self) -> Reply<u32> {
        self.read(ASKER, 7)
    }

    /// Sends a question to the next node.
    fn pass_on(&self, question: Reply<u32>) -> Result<(), Reply<u32>> {
        let to: Address<Reply<u32>> = self.read(NEXT, 8);
        remote::with_exchange(&self.exchange, || to.send(question)).map_err(SendError::into_message)
    }

    /// The one inlet that others have been told of.
    fn lent(&self) -> Arc<dyn Inlet> {
        let exports = self.between.exports.lock().unwrap();
        assert_eq!(exports.len(), 1);
        Arc::clone(exports.values().next().unwrap())
    }

    fn asker(&self) -> (usize, Vec<Request>) {
        self.between.asker.traffic()
    }

    /// The session with the next node is over.
    fn next_is_lost(&self) {
        let dropped = std::mem::take(&mut *self.between.exports.lock().unwrap());
        drop(dropped);
    }
}

impl Drop for Node {
    /// As a node does when it closes: the table holds replies, and they the ways to other nodes.
    fn drop(&mut self) {
        self.next_is_lost();
    }
}

#[test]
fn an_answer_comes_back_by_way_of_who_passed_the_question_on() {
    let node = Node::new();
    assert!(node.pass_on(node.question()).is_ok());
    assert_eq!(node.between.next.traffic(), (1, vec![]));
    assert_eq!(node.asker(), (0, vec![]));

    let mut answer = Vec::new();
    remote::encode(&7_u32, &mut answer).unwrap();
    let inlet = node.lent();
    assert_eq!(inlet.receive(&answer), Ok(()));
    assert_eq!(node.asker(), (1, vec![]));
    assert_eq!(
        *node.between.asker.messages.lock().unwrap(),
        [answer.clone()]
    );
    // Once.
    assert_eq!(inlet.receive(&answer), Err(CarryError::Closed));
    node.next_is_lost();
    assert_eq!(node.asker(), (1, vec![]));
}

#[test]
fn whoever_asks_is_told_when_the_question_is_lost_behind_who_passed_it_on() {
    let lose: [fn(&Node); 4] = [
        // The next node drops it.
        |node| node.lent().request(Request::Terminate),
        // Nobody there has read it.
        |node| node.lent().undelivered(),
        |node| node.next_is_lost(),
        // Its answer cannot be read.
        |node| assert!(node.lent().receive(&[]).is_err()),
    ];
    for lose in lose {
        let node = Node::new();
        assert!(node.pass_on(node.question()).is_ok());
        assert_eq!(node.asker(), (0, vec![]));
        lose(&node);
        assert_eq!(node.asker(), (0, REFUSED.to_vec()));
        node.next_is_lost();
        assert_eq!(node.asker(), (0, REFUSED.to_vec()), "once");
    }
}

#[test]
fn one_that_comes_back_is_refused_when_it_is_dropped() {
    let node = Node::new();
    node.between.next.set_broken(true);
    let back = node.pass_on(node.question()).unwrap_err();
    assert_eq!(node.asker(), (0, vec![]));
    drop(back);
    assert_eq!(node.asker(), (0, REFUSED.to_vec()));
}

#[test]
fn one_that_comes_back_from_a_delivery_is_refused_when_it_is_dropped() {
    let node = Node::new();
    node.between.next.set_broken(true);
    let to: Address<Reply<u32>> = node.read(NEXT, 8);
    let mut delivery = pin!(to.deliver(node.question()));
    let cx = &mut TaskContext::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) =
        remote::with_exchange(&node.exchange, || delivery.as_mut().poll(cx))
    else {
        panic!("the way is broken");
    };
    assert!(matches!(error, SendError::Disconnected(..)), "{error}");
    assert_eq!(node.asker(), (0, vec![]));
    drop(error);
    assert_eq!(node.asker(), (0, REFUSED.to_vec()));
}

#[test]
fn one_that_comes_back_can_be_answered_or_passed_on_again() {
    let node = Node::new();
    node.between.next.set_broken(true);
    let back = node.pass_on(node.question()).unwrap_err();
    back.send(7);
    assert_eq!(node.asker(), (1, vec![]));

    let back = node.pass_on(node.question()).unwrap_err();
    node.between.next.set_broken(false);
    assert!(node.pass_on(back).is_ok());
    assert_eq!(node.between.next.traffic(), (1, vec![]));
    assert_eq!(node.asker(), (1, vec![]), "no refusal");
}

#[test]
fn a_reply_within_an_answer_that_is_lost_is_refused() {
    let node = Node::new();
    let outer: Reply<Reply<u32>> = node.read(NEXT, 9);
    node.between.next.set_broken(true);
    remote::with_exchange(&node.exchange, || outer.send(node.question()));
    assert_eq!(node.asker(), (0, REFUSED.to_vec()));
    assert_eq!(node.between.next.traffic(), (0, REFUSED.to_vec()));
}

/// A question from this process, and its reply.
async fn ask_here() -> (tokio::task::JoinHandle<Result<u32, AskError>>, Reply<u32>) {
    let (give, given) = tokio::sync::oneshot::channel();
    let asked = spawn(async |mut me: Context<Reply<u32>>| {
        let _ = give.send(me.receive().await.unwrap());
    });
    let asking = tokio::spawn(async move { asked.ask(|reply| reply).await });
    (asking, given.await.unwrap())
}

#[tokio::test]
async fn one_that_has_come_home_is_what_it_was() {
    let node = Node::new();
    for broken in [false, true] {
        let (asking, reply) = ask_here().await;
        assert!(node.pass_on(reply).is_ok());
        // The next node sends it back in a message, and keeps what it knows of it.
        let inlet = node.lent();
        let home: Reply<u32> = node.read(HERE, inlet.id());
        assert_eq!(inlet.receive(&[3]), Err(CarryError::Closed), "moved");
        let again: Reply<u32> = node.read(HERE, inlet.id());
        drop(again);
        assert!(!home.is_closed());
        if broken {
            node.between.next.set_broken(true);
            drop(node.pass_on(home).unwrap_err());
            assert_eq!(asking.await.unwrap(), Err(AskError::NoReply));
        } else {
            home.send(5);
            assert_eq!(asking.await.unwrap(), Ok(5));
        }
        node.next_is_lost();
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_which_there_is_no_room_waits_for_it() {
    let node = Node::new();
    node.between.asker.set_full(true);
    node.question().send(7);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.asker(), (0, vec![]), "it waits");
    node.between.asker.set_full(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.asker(), (1, vec![]));
}

/// Asks the next node, whatever becomes of that.
fn asking(node: &Node) -> tokio::task::JoinHandle<Result<u32, AskError>> {
    let to: Address<Reply<u32>> = node.read(NEXT, 8);
    let exchange = Arc::clone(&node.exchange);
    let mut ask = Box::pin(async move { to.ask(|reply| reply).await });
    tokio::spawn(std::future::poll_fn(move |cx| {
        remote::with_exchange(&exchange, || ask.as_mut().poll(cx))
    }))
}

#[tokio::test(start_paused = true)]
async fn a_question_waits_for_room() {
    let node = Node::new();
    node.between.next.set_full(true);
    let asked = asking(&node);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!asked.is_finished());
    assert_eq!(node.between.next.traffic(), (0, vec![]));
    node.between.next.set_full(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.between.next.traffic(), (1, vec![]));
    assert_eq!(node.lent().receive(&[7]), Ok(()));
    assert_eq!(asked.await.unwrap(), Ok(7));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_is_told_that_the_session_is_over() {
    let node = Node::new();
    let asked = asking(&node);
    tokio::time::sleep(Duration::from_secs(1)).await;
    node.lent().lost();
    let lost = asked.await.unwrap();
    assert!(matches!(lost, Err(AskError::Disconnected(_))), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn questions_that_were_given_up_leave_little_behind() {
    let node = Node::new();
    let kept = asking(&node);
    for _ in 0..1000 {
        let asked = asking(&node);
        tokio::task::yield_now().await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
    }
    assert_eq!(node.between.next.traffic().0, 1001);
    let exports = node.between.exports.lock().unwrap().clone();
    let open = exports.values().filter(|it| it.receive(&[7]).is_ok());
    let open = open.count();
    assert!((1..200).contains(&open), "{open} of 1000 are open");
    assert_eq!(kept.await.unwrap(), Ok(7), "it was wanted");
}
