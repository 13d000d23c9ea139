//! Channels with subscribers of other nodes, and their relays there.
#![allow(clippy::unwrap_used)] // in what the tests call

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, NodeId,
    OnExit, RemoteId, Request, Unwatch,
};
use coros_core::{Address, Channel, Exit};

/// A way to another node that keeps those who wait for an end.
#[derive(Default)]
struct Way {
    watchers: Arc<Mutex<std::collections::BTreeMap<u64, OnExit>>>,
    watched: AtomicU64,
    /// The coroutine has ended, though nobody has told yet.
    closed: AtomicBool,
}

impl Way {
    fn watchers(&self) -> usize {
        self.watchers.lock().unwrap().len()
    }

    fn tell(&self, exit: &Exit) {
        let watchers = std::mem::take(&mut *self.watchers.lock().unwrap());
        for watcher in watchers.into_values() {
            watcher(exit.clone());
        }
    }
}

impl Carrier for Way {
    fn send(&self, _to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        Ok(encode(&mut Vec::new())?)
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let sent = match self.closed.load(Relaxed) {
            true => Err(CarryError::Closed),
            false => self.send(to, encode),
        };
        Box::pin(async move { sent })
    }

    fn watch(&self, _to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        let key = self.watched.fetch_add(1, Relaxed);
        self.watchers.lock().unwrap().insert(key, on_exit);
        let watchers = Arc::clone(&self.watchers);
        Some(Box::new(move || {
            let taken = watchers.lock().unwrap().remove(&key);
            taken.is_some()
        }))
    }

    fn request(&self, _to: &RemoteId, _request: Request) {}
}

/// A node that knows one way to every other.
struct Node(Arc<Way>);

impl Exchange for Node {
    fn export(&self, _inlet: Arc<dyn Inlet>) -> RemoteId {
        unreachable!("nothing is sent from here")
    }

    fn import(&self, _id: &RemoteId) -> Imported {
        Imported::Remote(Arc::clone(&self.0) as Arc<dyn Carrier>)
    }
}

/// The address of coroutine 7 of another node, as it comes in a message by this way.
fn address(way: &Arc<Way>) -> Address<u32> {
    let id = RemoteId {
        location: Location {
            node: NodeId(1),
            name: "elsewhere".into(),
            endpoint: None,
        },
        coroutine: 7,
    };
    let mut bytes = Vec::new();
    remote::encode(&id, &mut bytes).unwrap();
    let node: Arc<dyn Exchange> = Arc::new(Node(Arc::clone(way)));
    remote::with_exchange(&node, || remote::decode(&bytes)).unwrap()
}

#[test]
fn one_that_subscribes_again_and_again_is_watched_while_it_is_subscribed() {
    let way = Arc::default();
    let channel = Channel::new();
    for _ in 0..100 {
        // Each time the address has come in another message.
        assert_eq!(channel.subscribe(&address(&way)), Ok(true));
        assert_eq!(channel.subscribe(&address(&way)), Ok(false));
        assert_eq!(way.watchers(), 1);
        assert!(channel.unsubscribe(&address(&way)));
        assert_eq!(way.watchers(), 0);
        assert_eq!(Arc::strong_count(&way), 1, "no address is left");
    }

    assert_eq!(channel.subscribe(&address(&way)), Ok(true));
    assert_eq!(channel.send(1), Ok(1));
    way.tell(&Exit::Disconnected);
    assert_eq!(channel.subscribers(), 0, "its end releases it");
    // The link is there again: whoever subscribes now is watched anew.
    assert_eq!(channel.subscribe(&address(&way)), Ok(true));
    assert_eq!(way.watchers(), 1);
    way.tell(&Exit::Finished);
    assert_eq!(channel.subscribers(), 0);
}

#[test]
fn a_link_that_is_lost_releases_no_subscriber_that_is_reached_by_another() {
    let (lost, kept) = (Arc::default(), Arc::default());
    let channel = Channel::new();
    channel.subscribe(&address(&lost)).unwrap();
    assert!(channel.unsubscribe(&address(&lost)));
    channel.subscribe(&address(&kept)).unwrap();
    assert_eq!((lost.watchers(), kept.watchers()), (0, 1));
    lost.tell(&Exit::Disconnected);
    assert_eq!(channel.subscribers(), 1);
    kept.tell(&Exit::Disconnected);
    assert_eq!(channel.subscribers(), 0);
}

#[test]
fn a_closed_channel_releases_those_it_watches() {
    let way = Arc::<Way>::default();
    let channel = Channel::new();
    channel.subscribe(&address(&way)).unwrap();
    channel.close();
    assert_eq!(way.watchers(), 0);
    assert_eq!(Arc::strong_count(&way), 1, "no address is left");
}

// ---- two nodes, between which messages go when the test says so

/// What a node has told others of.
type Exports = Arc<Mutex<std::collections::BTreeMap<u64, Arc<dyn Inlet>>>>;

/// By the number of the coroutine.
type Numbered<T> = Arc<Mutex<Vec<(u64, T)>>>;

/// One of two nodes, and what is under way to it.
#[derive(Clone)]
struct Side {
    id: NodeId,
    exports: Exports,
    queue: Numbered<Vec<u8>>,
    watchers: Numbered<OnExit>,
    full: Arc<AtomicBool>,
    broken: Arc<Mutex<bool>>,
}

impl Side {
    fn new(id: u128) -> Self {
        Side {
            id: NodeId(id),
            exports: Exports::default(),
            queue: Arc::default(),
            watchers: Arc::default(),
            full: Arc::default(),
            broken: Arc::default(),
        }
    }

    fn location(&self) -> Location {
        Location {
            node: self.id,
            name: "side".into(),
            endpoint: None,
        }
    }
}

/// The way to a side from the other.
struct Wire {
    from: Side,
    to: Side,
}

struct View(Arc<Wire>);

impl Exchange for View {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let coroutine = inlet.id();
        let mut exports = self.0.from.exports.lock().unwrap();
        exports.entry(coroutine).or_insert(inlet);
        RemoteId {
            location: self.0.from.location(),
            coroutine,
        }
    }

    fn import(&self, id: &RemoteId) -> Imported {
        if id.location.node != self.0.from.id {
            return Imported::Remote(Arc::clone(&self.0) as Arc<dyn Carrier>);
        }
        let exports = self.0.from.exports.lock().unwrap();
        match exports.get(&id.coroutine) {
            Some(inlet) => Imported::Local(Arc::clone(inlet)),
            None => Imported::Gone,
        }
    }

    fn peer(&self) -> Option<NodeId> {
        Some(self.0.to.id)
    }
}

impl Carrier for Wire {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        if self.to.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(CarryError::Full);
        }
        if *self.to.broken.lock().unwrap() {
            return Err(CarryError::Disconnected("the cable is out".into()));
        }
        let exchange: Arc<dyn Exchange> = Arc::new(View(Arc::new(Wire {
            from: self.from.clone(),
            to: self.to.clone(),
        })));
        let mut bytes = Vec::new();
        remote::with_exchange(&exchange, || encode(&mut bytes))?;
        let mut queue = self.to.queue.lock().unwrap();
        queue.push((to.coroutine, bytes));
        Ok(())
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        if self.to.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        let sent = self.send(to, encode);
        Box::pin(async move { sent })
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) -> Option<Unwatch> {
        let mut watchers = self.to.watchers.lock().unwrap();
        watchers.push((to.coroutine, on_exit));
        None
    }

    fn request(&self, _to: &RemoteId, _request: Request) {}
}

struct Pair {
    home: Side,
    away: Side,
    at_home: Arc<dyn Exchange>,
    at_away: Arc<dyn Exchange>,
}

impl Pair {
    fn new() -> Self {
        let (home, away) = (Side::new(1), Side::new(2));
        let view = |from: &Side, to: &Side| {
            Arc::new(View(Arc::new(Wire {
                from: from.clone(),
                to: to.clone(),
            }))) as Arc<dyn Exchange>
        };
        Pair {
            at_home: view(&home, &away),
            at_away: view(&away, &home),
            home,
            away,
        }
    }

    /// A channel of the home as the other sees it.
    fn remote(&self, channel: &Channel<u32>) -> Channel<u32> {
        let mut bytes = Vec::new();
        remote::with_exchange(&self.at_home, || remote::encode(channel, &mut bytes)).unwrap();
        remote::with_exchange(&self.at_away, || remote::decode(&bytes)).unwrap()
    }

    /// Lets everything arrive that is under way, both ways; how many messages came to the home and
    /// to the other.
    async fn flow(&self) -> (usize, usize) {
        let mut count = (0, 0);
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let to_home = std::mem::take(&mut *self.home.queue.lock().unwrap());
            let to_away = std::mem::take(&mut *self.away.queue.lock().unwrap());
            if to_home.is_empty() && to_away.is_empty() {
                return count;
            }
            count.0 += to_home.len();
            count.1 += to_away.len();
            arrive(&self.home, &self.at_home, to_home);
            arrive(&self.away, &self.at_away, to_away);
        }
    }
}

impl Pair {
    /// Each side lets go of what it has lent, but for the channel, and tells those who watch.
    fn end_session(&self) {
        let lent = std::mem::take(&mut *self.away.exports.lock().unwrap());
        drop(lent);
        for side in [&self.home, &self.away] {
            let watchers = std::mem::take(&mut *side.watchers.lock().unwrap());
            for (_, watcher) in watchers {
                watcher(Exit::Disconnected);
            }
        }
    }

    /// The home is told of the end of whatever has ended on the other side.
    fn tell_home(&self) {
        let watchers = std::mem::take(&mut *self.away.watchers.lock().unwrap());
        for (id, watcher) in watchers {
            let inlet = self.away.exports.lock().unwrap().get(&id).cloned();
            inlet.unwrap().watch(watcher);
        }
    }
}

/// As when a session ends; the sides hold each other.
impl Drop for Pair {
    fn drop(&mut self) {
        for side in [&self.home, &self.away] {
            let watchers = std::mem::take(&mut *side.watchers.lock().unwrap());
            let exports = std::mem::take(&mut *side.exports.lock().unwrap());
            drop((watchers, exports));
        }
    }
}

fn arrive(side: &Side, exchange: &Arc<dyn Exchange>, messages: Vec<(u64, Vec<u8>)>) {
    for (target, bytes) in messages {
        let inlet = side.exports.lock().unwrap().get(&target).cloned();
        if let Some(inlet) = inlet {
            let _ = remote::with_exchange(exchange, || inlet.receive(&bytes));
        }
    }
}

fn reader() -> coros_core::Coro<u32, Vec<u32>> {
    coros_core::spawn(async |mut me: coros_core::Context<u32>| {
        let mut all = Vec::new();
        while let Some(n) = me.receive().await {
            all.push(n);
        }
        all
    })
}

#[tokio::test(start_paused = true)]
async fn who_turns_out_to_have_ended_is_let_go_by_a_delivery() {
    let way = Arc::new(Way::default());
    let channel = Channel::new();
    channel.subscribe(&address(&way)).unwrap();
    let second = std::time::Duration::from_secs(1);
    assert_eq!(channel.deliver(1, 1, second).await, Ok(1));
    way.closed.store(true, Relaxed);
    assert_eq!(channel.deliver(2, 1, second).await, Ok(0));
    assert_eq!((channel.subscribers(), way.watchers()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn numbers_are_told_in_batches_and_messages_come_once() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let readers: Vec<_> = (0..1000).map(|_| reader()).collect();
    for reader in &readers {
        assert_eq!(remote.subscribe(reader), Ok(true));
    }
    assert_eq!(
        pair.flow().await,
        (2, 0),
        "the first, and the rest together"
    );
    assert_eq!(channel.subscribers(), 1000);
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    assert_eq!(channel.send(1), Ok(1000));
    assert_eq!(pair.flow().await, (0, 1));
    for reader in &readers[1..] {
        assert!(remote.unsubscribe(reader));
    }
    assert_eq!(pair.flow().await, (1, 0));
    assert_eq!(channel.send(2), Ok(1));
    channel.close();
    assert_eq!(pair.flow().await, (0, 2));
    for (index, reader) in readers.into_iter().enumerate() {
        let all = reader.join().await.unwrap();
        assert_eq!(all, if index == 0 { vec![1, 2] } else { vec![1] });
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_does_not_reach_one_that_has_unsubscribed() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let (leaves, stays) = (reader(), reader());
    remote.subscribe(&leaves).unwrap();
    remote.subscribe(&stays).unwrap();
    pair.flow().await;
    channel.send(1).unwrap();
    assert!(remote.unsubscribe(&leaves));
    pair.flow().await;
    assert_eq!(leaves.join().await, Ok(vec![]));
    // Nor when it was the last, and another has subscribed meanwhile.
    channel.send(2).unwrap();
    assert!(remote.unsubscribe(&stays));
    let late = reader();
    remote.subscribe(&late).unwrap();
    pair.flow().await;
    assert_eq!(stays.join().await, Ok(vec![1]));
    channel.send(3).unwrap();
    channel.close();
    pair.flow().await;
    let all = late.join().await.unwrap();
    assert!(all == [3], "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_session_releases_both_sides() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let readers = [reader(), reader()];
    for reader in &readers {
        remote.subscribe(reader).unwrap();
    }
    pair.flow().await;
    assert_eq!(channel.subscribers(), 2);
    pair.end_session();
    assert_eq!(channel.subscribers(), 0);
    for reader in readers {
        assert_eq!(reader.join().await, Ok(vec![]), "released");
    }
    // And anew.
    let again = reader();
    assert_eq!(remote.subscribe(&again), Ok(true));
    pair.flow().await;
    assert_eq!(channel.send(7), Ok(1));
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    channel.close();
    pair.flow().await;
    assert_eq!(again.join().await, Ok(vec![7]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_and_goes_is_watched_once() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    for _ in 0..200 {
        let reader = reader();
        remote.subscribe(&reader).unwrap();
        pair.flow().await;
        assert!(remote.unsubscribe(&reader));
        assert_eq!(reader.join().await, Ok(vec![]));
    }
    assert_eq!(pair.away.watchers.lock().unwrap().len(), 1);
    assert_eq!(pair.home.watchers.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handles_and_relays_leave_nothing_behind() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    assert_eq!(remote, pair.remote(&channel), "one relay for all handles");
    let reader = reader();
    remote.subscribe(&reader).unwrap();
    pair.flow().await;
    drop(remote);
    channel.send(1).unwrap();
    pair.flow().await;
    assert!(
        pair.remote(&channel).unsubscribe(&reader),
        "still the same relay"
    );
    assert_eq!(reader.join().await, Ok(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_channel_means_nothing_without_a_node() {
    let mut bytes = Vec::new();
    let error = remote::encode(&Channel::<u32>::new(), &mut bytes).unwrap_err();
    assert!(error.to_string().contains("no node in scope"), "{error}");
    // An address of something else is no channel.
    let pair = Pair::new();
    let reader = reader();
    remote::with_exchange(&pair.at_home, || {
        remote::encode(&reader.address(), &mut bytes)
    })
    .unwrap();
    let read = remote::with_exchange(&pair.at_home, || remote::decode::<Channel<u32>>(&bytes));
    assert!(read.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_home_with_too_much_to_send_says_so() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let reader = reader();
    remote.subscribe(&reader).unwrap();
    pair.flow().await;
    pair.away
        .full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let waiting = (0..).take_while(|_| channel.send(1) == Ok(1)).count();
    assert_eq!(waiting, (64 << 20) / 512, "the others are missed");
    pair.away
        .full
        .store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(channel.send(2), Ok(1));
    pair.home
        .full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(remote.send(3), Err(coros_core::ChannelError::Full(3)));
    pair.home
        .full
        .store(false, std::sync::atomic::Ordering::SeqCst);
    channel.close();
    pair.flow().await;
    assert_eq!(reader.join().await, Ok(vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_was_given_up_is_not_made_later() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let limit = std::time::Duration::from_secs(3600);
    let delivery = remote.deliver(1, 1, limit);
    assert!(tokio::time::timeout(limit / 100, delivery).await.is_err());
    pair.flow().await;
    // What the home has been lent has ended, and it is told.
    let watchers = std::mem::take(&mut *pair.away.watchers.lock().unwrap());
    assert_eq!(watchers.len(), 1, "it watches the reply while it waits");
    for (id, watcher) in watchers {
        let lent = Arc::clone(&pair.away.exports.lock().unwrap()[&id]);
        assert_eq!(lent.receive(&[0, 0]), Err(CarryError::Closed));
        watcher(Exit::Terminated);
    }
    tokio::task::yield_now().await;
    let late = reader();
    channel.subscribe(&late).unwrap();
    tokio::time::sleep(limit * 2).await;
    channel.send(2).unwrap();
    channel.close();
    assert_eq!(late.join().await, Ok(vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_only_follows_leaves_no_task() {
    let pair = Pair::new();
    let channel = Channel::new();
    let here = Channel::new();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for _ in 0..10 {
        let remote = pair.remote(&channel);
        here.subscribe_channel(&remote).unwrap();
        pair.flow().await;
        assert!(here.unsubscribe_channel(&remote));
        drop(remote);
        pair.flow().await;
    }
    channel.close();
    pair.flow().await;
    assert_eq!(tasks(), before);
}

/// How a channel of this node lets go of one of another.
type LetGo = fn(Channel<u32>, &Channel<u32>);

#[tokio::test(start_paused = true)]
async fn a_home_tells_nobody_when_nobody_wants_to_know_any_more() {
    let ways: [(&str, LetGo); 3] = [
        ("unsubscribed", |here, remote| {
            assert!(here.unsubscribe_channel(remote));
        }),
        ("closed", |here, _| {
            here.close();
        }),
        ("dropped", |here, _| drop(here)),
    ];
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for (how, let_go) in ways {
        let (here, other) = (Channel::new(), Channel::new());
        for here in [&here, &other] {
            assert_eq!(here.subscribe_channel(&remote), Ok(true));
        }
        pair.flow().await;
        let first = reader();
        channel.subscribe(&first).unwrap();
        assert_eq!(pair.flow().await, (0, 1), "the number is told once");
        assert_eq!((here.subscribers(), other.subscribers()), (1, 1));
        let_go(here, &remote);
        assert_eq!(pair.flow().await, (0, 0), "the other still wants to know");
        channel.unsubscribe(&first);
        assert_eq!(pair.flow().await, (0, 1), "{how}");
        assert_eq!(other.subscribers(), 0);
        assert_eq!(first.join().await, Ok(vec![]));
        let_go(other, &remote);
        pair.flow().await;
        pair.tell_home();
        pair.flow().await;
        assert_eq!(tasks(), before, "{how}: whoever told of changes has ended");
        let last = reader();
        channel.subscribe(&last).unwrap();
        assert_eq!(pair.flow().await, (0, 0), "{how}: nobody is told");
        channel.unsubscribe(&last);
        assert_eq!(last.join().await, Ok(vec![]));
    }
    // A message from here does not make anybody interested again.
    assert_eq!(remote.send(1), Ok(0));
    assert_eq!(pair.flow().await, (1, 0));
    channel.close();
}

#[tokio::test(start_paused = true)]
async fn whoever_wants_to_know_is_told_again_after_another_message() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    let here = Channel::new();
    assert_eq!(here.subscribe_channel(&remote), Ok(true));
    let reader = reader();
    channel.subscribe(&reader).unwrap();
    pair.flow().await;
    for n in 0..3 {
        assert_eq!(here.subscribers(), 1, "session {n}");
        pair.end_session();
        assert_eq!(here.subscribers(), 0);
        assert_eq!(pair.flow().await, (0, 0), "nothing is asked for by itself");
        assert_eq!(here.send(n), Ok(0));
        pair.flow().await;
    }
    channel.close();
    assert_eq!(reader.join().await, Ok(vec![0, 1, 2]));
}

#[tokio::test]
async fn a_channel_that_cannot_be_told_to_close_stays_open() {
    let pair = Pair::new();
    let channel = Channel::new();
    let remote = pair.remote(&channel);
    *pair.home.broken.lock().unwrap() = true;
    assert!(!remote.close());
    assert!(!remote.is_closed());
    *pair.home.broken.lock().unwrap() = false;
    assert!(remote.close());
    assert!(remote.is_closed());
}
