//! Which subscribers of other nodes a channel watches, and which questions, and for how long.
#![allow(clippy::unwrap_used)] // in what the tests call

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, NodeId,
    OnExit, RemoteId, Request, Unwatch,
};
use coros_core::{Address, Channel, Exit, Reply, SubscribeError};
use futures_util::FutureExt as _;

/// A way to another node that keeps those who wait for an end.
#[derive(Default)]
struct Way {
    watchers: Arc<Mutex<std::collections::BTreeMap<u64, OnExit>>>,
    watched: AtomicU64,
    /// The coroutine has ended, though nobody has told yet.
    closed: AtomicBool,
    /// As many ends are waited for as may be.
    full: AtomicBool,
    session: Arc<tokio::sync::Notify>,
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
        if self.full.load(Relaxed) {
            on_exit(Exit::Unwatched);
            return None;
        }
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

    fn session_over(&self) -> Option<BoxFuture<()>> {
        Some(Box::pin(Arc::clone(&self.0.session).notified_owned()))
    }
}

/// The address of coroutine 7 of another node, as it comes in a message by this way.
fn address(way: &Arc<Way>) -> Address<u32> {
    read(way, remote::decode).unwrap()
}

/// What is read of the name of coroutine 7 of another node, in a message by this way.
fn read<T>(way: &Arc<Way>, read: impl FnOnce(&[u8]) -> T) -> T {
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
    remote::with_exchange(&node, || read(&bytes))
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

#[test]
fn one_whose_end_nobody_would_tell_does_not_subscribe() {
    let way = Arc::<Way>::default();
    way.full.store(true, Relaxed);
    let channel = Channel::new();
    let refused = channel.subscribe(&address(&way));
    assert!(
        matches!(&refused, Err(SubscribeError::Refused { reason, .. })
            if *reason == Exit::Unwatched.to_string()),
        "{refused:?}"
    );
    assert_eq!(channel.send(1), Ok(0));
    assert_eq!(Arc::strong_count(&way), 1, "no address is left");
    way.full.store(false, Relaxed);
    assert_eq!(channel.subscribe(&address(&way)), Ok(true));
}

#[test]
fn a_question_is_watched_while_somebody_waits_for_its_end() {
    let way = Arc::<Way>::default();
    let given_up = || {
        read(&way, |bytes| {
            let question: Reply<u32> = remote::decode(bytes).unwrap();
            remote::given_up(&question)
        })
    };
    let mut first = given_up();
    assert_eq!((&mut first).now_or_never(), None);
    assert_eq!(way.watchers(), 1);
    drop(first);
    assert_eq!(way.watchers(), 0);

    // If that cannot be, it ends with its session.
    way.full.store(true, Relaxed);
    let mut second = given_up();
    assert_eq!((&mut second).now_or_never(), None);
    way.session.notify_waiters();
    assert_eq!(second.now_or_never(), Some(()));
}
