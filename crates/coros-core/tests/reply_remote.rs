//! A reply that came from another node and is sent on to a third.
#![allow(clippy::unwrap_used)] // in what the tests call

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, Encode, Exchange, Imported, Inlet, Location, NodeId,
    OnExit, RemoteId, Request,
};
use coros_core::{Address, Reply, SendError};

/// The way to another node; notes what goes there.
#[derive(Default)]
struct Way {
    broken: Mutex<bool>,
    messages: Mutex<usize>,
    requests: Mutex<Vec<Request>>,
}

impl Way {
    fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    /// Messages and requests that have gone there.
    fn traffic(&self) -> (usize, Vec<Request>) {
        let requests = self.requests.lock().unwrap().clone();
        (*self.messages.lock().unwrap(), requests)
    }
}

impl Carrier for Way {
    fn send(&self, _to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        encode(&mut Vec::new())?;
        if *self.broken.lock().unwrap() {
            return Err(CarryError::Disconnected("the cable is out".into()));
        }
        *self.messages.lock().unwrap() += 1;
        Ok(())
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let sent = self.send(to, encode);
        Box::pin(async move { sent })
    }

    fn watch(&self, _to: &RemoteId, _on_exit: OnExit) {}

    fn request(&self, _to: &RemoteId, request: Request) {
        self.requests.lock().unwrap().push(request);
    }
}

/// A node that knows the ways to others.
#[derive(Default)]
struct Node(HashMap<NodeId, Arc<Way>>);

impl Exchange for Node {
    fn export(&self, _inlet: Arc<dyn Inlet>) -> RemoteId {
        unreachable!("nothing that lives here is sent")
    }

    fn import(&self, id: &RemoteId) -> Imported {
        Imported::Remote(Arc::clone(&self.0[&id.location.node]) as Arc<dyn Carrier>)
    }
}

/// What node 1 asks, and the way to node 2 on which it can be sent on.
struct Forwarder {
    node: Arc<dyn Exchange>,
    asker: Arc<Way>,
    next: Arc<Way>,
}

impl Forwarder {
    fn new() -> Self {
        let (asker, next) = (Arc::<Way>::default(), Arc::<Way>::default());
        let ways = [(NodeId(1), &asker), (NodeId(2), &next)];
        let node = Node(ways.map(|(id, way)| (id, Arc::clone(way))).into());
        Forwarder {
            node: Arc::new(node),
            asker,
            next,
        }
    }

    fn read<T: remote::Message>(&self, node: NodeId) -> T {
        let id = RemoteId {
            location: Location {
                node,
                name: "elsewhere".into(),
                endpoint: None,
            },
            coroutine: 7,
        };
        let mut bytes = Vec::new();
        remote::encode(&id, &mut bytes).unwrap();
        remote::with_exchange(&self.node, || remote::decode(&bytes)).unwrap()
    }

    fn question(&self) -> Reply<u32> {
        self.read(NodeId(1))
    }

    fn send_on(&self, question: Reply<u32>) -> Result<(), Reply<u32>> {
        let to: Address<Reply<u32>> = self.read(NodeId(2));
        remote::with_exchange(&self.node, || to.send(question)).map_err(SendError::into_message)
    }
}

const REFUSED: [Request; 1] = [Request::Terminate];

#[test]
fn one_that_is_sent_on_is_no_longer_answered_for_here() {
    let forwarder = Forwarder::new();
    assert!(forwarder.send_on(forwarder.question()).is_ok());
    assert_eq!(forwarder.next.traffic(), (1, vec![]));
    assert_eq!(forwarder.asker.traffic(), (0, vec![]));
}

#[test]
fn one_that_comes_back_is_refused_when_it_is_dropped() {
    let forwarder = Forwarder::new();
    forwarder.next.set_broken(true);
    let back = forwarder.send_on(forwarder.question()).unwrap_err();
    assert_eq!(forwarder.asker.traffic(), (0, vec![]));
    drop(back);
    assert_eq!(forwarder.asker.traffic(), (0, REFUSED.to_vec()));
}

#[test]
fn one_that_comes_back_from_a_delivery_is_refused_when_it_is_dropped() {
    let forwarder = Forwarder::new();
    forwarder.next.set_broken(true);
    let to: Address<Reply<u32>> = forwarder.read(NodeId(2));
    let mut delivery = pin!(to.deliver(forwarder.question()));
    let cx = &mut Context::from_waker(Waker::noop());
    let Poll::Ready(Err(error)) =
        remote::with_exchange(&forwarder.node, || delivery.as_mut().poll(cx))
    else {
        panic!("the way is broken");
    };
    assert!(matches!(error, SendError::Disconnected(..)), "{error}");
    assert_eq!(forwarder.asker.traffic(), (0, vec![]));
    drop(error);
    assert_eq!(forwarder.asker.traffic(), (0, REFUSED.to_vec()));
}

#[test]
fn one_that_comes_back_can_be_answered_or_sent_on_again() {
    let forwarder = Forwarder::new();
    forwarder.next.set_broken(true);
    let back = forwarder.send_on(forwarder.question()).unwrap_err();
    back.send(7);
    assert_eq!(forwarder.asker.traffic(), (1, vec![]));

    let back = forwarder.send_on(forwarder.question()).unwrap_err();
    forwarder.next.set_broken(false);
    assert!(forwarder.send_on(back).is_ok());
    assert_eq!(forwarder.next.traffic(), (1, vec![]));
    assert_eq!(forwarder.asker.traffic(), (1, vec![]), "no refusal");
}
