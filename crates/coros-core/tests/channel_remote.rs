//! Channels and subscribers of other nodes.
#![allow(clippy::unwrap_used)] // in what the tests call

use std::sync::{Arc, Mutex};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, NodeId,
    OnExit, RemoteId, Request,
};
use coros_core::{Address, Channel, Exit};

/// A way to another node that keeps those who wait for an end.
#[derive(Default)]
struct Way {
    watchers: Mutex<Vec<OnExit>>,
}

impl Way {
    fn watchers(&self) -> usize {
        self.watchers.lock().unwrap().len()
    }

    fn tell(&self, exit: &Exit) {
        let watchers = std::mem::take(&mut *self.watchers.lock().unwrap());
        for watcher in watchers {
            watcher(exit.clone());
        }
    }
}

impl Carrier for Way {
    fn send(&self, _to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        Ok(encode(&mut Vec::new())?)
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let sent = self.send(to, encode);
        Box::pin(async move { sent })
    }

    fn watch(&self, _to: &RemoteId, on_exit: OnExit) {
        self.watchers.lock().unwrap().push(on_exit);
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
fn one_that_subscribes_again_and_again_is_watched_once() {
    let way = Arc::default();
    let channel = Channel::new();
    for _ in 0..100 {
        // Each time the address has come in another message.
        assert_eq!(channel.subscribe(&address(&way)), Ok(true));
        assert!(channel.unsubscribe(&address(&way)));
    }
    assert_eq!(way.watchers(), 1);

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
    assert_eq!((lost.watchers(), kept.watchers()), (1, 1));
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
    way.tell(&Exit::Finished);
    drop(channel);
    assert_eq!(Arc::strong_count(&way), 1, "no address is left");
}
