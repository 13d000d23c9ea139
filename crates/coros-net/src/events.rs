//! What happens to a node's peers, told in order to whoever wants to know.
//!
//! Links and membership [tell](Events::tell) facts; the [`Roster`] makes events of them, which go
//! to one task. So a subscriber first hears of the peers that are there already and then of each
//! change, once and in order, and a slow or panicking subscriber holds up no link. The parts of the node
//! [tap](Events::tap) the facts, so that it does not hold up them either.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use coros_core::remote::{Location, NodeId};
use tokio::sync::{Notify, mpsc};

use crate::event_queue::EventQueue;
use crate::roster::{Fact, Roster};
use crate::{HandshakeError, HostPort};

/// A change in who is there.
///
/// Of each peer, that is of each launch of a node, they come in this order: `Joined`, then `Lost` and
/// `Returned` any number of times, then perhaps `Left`. A peer that is linked again after it has
/// left, as one that is no member after [`close_peer`](crate::Node::close_peer), begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The peer is known for the first time: there is a link to it, or others have told of it.
    Joined(Location),
    /// One of the two has said goodbye: the peer has shut down, or this node has. Or one of them has ended the
    /// session with a peer that is there, and is no member.
    Left(Location),
    /// No sign of life from the peer, or the link to it broke; and why.
    Lost(Location, Arc<str>),
    /// The same launch of the peer can be reached again.
    Returned(Location),
    /// Somebody who belongs to coros tried to link and could not, such as a node with another
    /// secret.
    Refused(SocketAddr, HandshakeError),
    /// Nobody that was given or found there, as by [`Builder::peer`](crate::Builder::peer), can be
    /// linked with, and why. It is tried on; that it fails again is told when there is another
    /// reason.
    Unreachable(SocketAddr, Arc<str>),
    /// The name of a host that was given, as by [`Builder::peer`](crate::Builder::peer), cannot be looked
    /// up, and why. As with `Unreachable`, it is tried on, and told again when there is another reason, or when it
    /// was found meanwhile.
    NotFound(HostPort, Arc<str>),
}

/// Whether it wants to be told more.
pub(crate) type Subscriber = Box<dyn FnMut(PeerEvent) -> bool + Send>;

/// A subscriber that wants all there is.
pub(crate) fn calling(mut f: impl FnMut(PeerEvent) + Send + 'static) -> Subscriber {
    Box::new(move |event| {
        f(event);
        true
    })
}

pub(crate) enum Command {
    Event(PeerEvent),
    /// With those who are there already.
    Subscribe(u64, Subscriber, Vec<Location>),
    Unsubscribe(u64),
    Close,
}

/// Where facts go in.
#[derive(Clone)]
pub(crate) struct Events {
    shared: Arc<Mutex<Shared>>,
    /// Wakes the task that calls subscribers.
    wake: Arc<Notify>,
}

struct Shared {
    roster: Roster,
    /// Under the same lock, so that events are in the order of the facts.
    queue: EventQueue,
    /// Parts of the node that want the facts themselves.
    taps: Vec<mpsc::UnboundedSender<Fact>>,
    /// How many have ever subscribed.
    subscribed: u64,
}

/// Ends what it was given for. It keeps nothing of the node.
pub(crate) struct Subscription {
    number: u64,
    shared: Weak<Mutex<Shared>>,
    wake: Arc<Notify>,
}

/// The task's side.
pub(crate) struct Dispatcher {
    events: Events,
    /// In the order in which they have come.
    subscribers: BTreeMap<u64, Subscriber>,
}

impl Events {
    pub(crate) fn new() -> (Self, Dispatcher) {
        let shared = Shared {
            roster: Roster::default(),
            queue: EventQueue::default(),
            taps: Vec::new(),
            subscribed: 0,
        };
        let events = Events {
            shared: Arc::new(Mutex::new(shared)),
            wake: Arc::default(),
        };
        let dispatcher = Dispatcher {
            events: events.clone(),
            subscribers: BTreeMap::new(),
        };
        (events, dispatcher)
    }

    /// Something is known of a peer. Takes no lock but its own, and calls nobody.
    pub(crate) fn tell(&self, fact: Fact) {
        self.tell_of(|_| fact);
    }

    /// As [`tell`](Events::tell): one of the two has ended the session with a peer that has had a link,
    /// and both stay. Whether the peer is a member is looked at under the lock under which the
    /// membership tells, so that one that goes at this moment is not listed for good.
    pub(crate) fn closed(&self, peer: Location) {
        self.tell_of(|roster| roster.closed(peer));
    }

    fn tell_of(&self, fact: impl FnOnce(&Roster) -> Fact) {
        let mut shared = self.lock();
        let fact = fact(&shared.roster);
        shared.taps.retain(|tap| tap.send(fact.clone()).is_ok());
        if let Some(event) = shared.roster.handle(fact) {
            if !shared.queue.push(event.clone()) {
                tracing::warn!(?event, "subscribers to peer events are too slow to be told");
            }
            drop(shared);
            self.wake.notify_one();
        }
    }

    /// All facts from now on, for a part of the node.
    pub(crate) fn tap(&self) -> mpsc::UnboundedReceiver<Fact> {
        let (tap, facts) = mpsc::unbounded_channel();
        self.lock().taps.push(tap);
        facts
    }

    #[cfg(test)]
    pub(crate) fn taps(&self) -> usize {
        self.lock().taps.len()
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) -> Subscription {
        let mut shared = self.lock();
        let number = shared.subscribed;
        shared.subscribed += 1;
        let present = shared.roster.present().cloned().collect();
        let command = Command::Subscribe(number, subscriber, present);
        shared.queue.command(command);
        drop(shared);
        self.wake.notify_one();
        Subscription {
            number,
            shared: Arc::downgrade(&self.shared),
            wake: Arc::clone(&self.wake),
        }
    }

    /// Lets the dispatcher end after what has been told so far.
    pub(crate) fn close(&self) {
        self.lock().queue.command(Command::Close);
        self.wake.notify_one();
    }

    async fn next(&self) -> Command {
        loop {
            // One that comes after this look has left a permit.
            let command = self.lock().queue.pop();
            match command {
                Some(command) => return command,
                None => self.wake.notified().await,
            }
        }
    }

    /// The peers that are there, with or without a link.
    pub(crate) fn present(&self) -> Vec<Location> {
        self.lock().roster.present().cloned().collect()
    }

    pub(crate) fn is_present(&self, peer: NodeId) -> bool {
        self.lock().roster.is_present(peer)
    }

    /// Somebody who is there, and listens at an endpoint.
    pub(crate) fn whoever_is_at(&self, endpoint: SocketAddr) -> Option<NodeId> {
        self.lock().roster.whoever_is_at(endpoint)
    }

    /// Who is there, or was and has not left.
    pub(crate) fn known(&self) -> HashSet<NodeId> {
        self.lock().roster.known().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscription {
    pub(crate) fn end(self) {
        if let Some(shared) = self.shared.upgrade() {
            let command = Command::Unsubscribe(self.number);
            lock(&shared).queue.command(command);
            self.wake.notify_one();
        }
    }
}

impl Dispatcher {
    pub(crate) async fn run(mut self) {
        loop {
            match self.events.next().await {
                Command::Event(event) => self.event(&event),
                Command::Subscribe(number, mut subscriber, present) => {
                    let mut present = present.into_iter().map(PeerEvent::Joined);
                    if present.all(|event| call(&mut subscriber, event)) {
                        self.subscribers.insert(number, subscriber);
                    }
                }
                Command::Unsubscribe(number) => drop(self.subscribers.remove(&number)),
                Command::Close => return,
            }
        }
    }

    fn event(&mut self, event: &PeerEvent) {
        match event {
            PeerEvent::Joined(peer) => tracing::debug!(%peer, "joined"),
            PeerEvent::Returned(peer) => tracing::info!(%peer, "returned"),
            PeerEvent::Left(peer) => tracing::debug!(%peer, "left"),
            PeerEvent::Lost(peer, reason) => tracing::warn!(%peer, %reason, "lost"),
            PeerEvent::Refused(from, error) => tracing::warn!(%from, %error, "refused"),
            PeerEvent::Unreachable(endpoint, why) => {
                tracing::warn!(%endpoint, "a node that was looked for: {why}");
            }
            PeerEvent::NotFound(name, why) => {
                tracing::warn!(%name, "a node that was looked for: {why}");
            }
        }
        self.subscribers
            .retain(|_, subscriber| call(subscriber, event.clone()));
    }
}

/// False when the subscriber wants no more, or panicked: it is not called again.
fn call(subscriber: &mut Subscriber, event: PeerEvent) -> bool {
    let called = catch_unwind(AssertUnwindSafe(|| subscriber(event)));
    if called.is_err() {
        tracing::error!("a subscriber to peer events panicked and is called no more");
    }
    called.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;

    use super::*;
    use crate::event_queue::MAX_REFUSED;

    #[tokio::test]
    async fn strangers_fill_no_memory_while_a_subscriber_is_slow() {
        let (events, dispatcher) = Events::new();
        let (told, refusals) = std::sync::mpsc::channel();
        events.subscribe(Box::new(move |event| told.send(event).is_ok()));
        let refused = || {
            let error = HandshakeError::Connection {
                kind: std::io::ErrorKind::InvalidData,
                reason: "no TLS".into(),
            };
            events.tell(Fact::Refused(([127, 0, 0, 1], 1).into(), error));
        };
        for _ in 0..3 * MAX_REFUSED {
            refused();
        }
        events.tell(Fact::Up(peer()));
        events.close();
        dispatcher.run().await;
        let told: Vec<_> = refusals.try_iter().collect();
        assert_eq!(told.len(), MAX_REFUSED + 1);
        assert_eq!(told.last(), Some(&PeerEvent::Joined(peer())));
    }

    /// What a subscriber has is dropped with it: when it says so, or when it is ended, without any event.
    #[tokio::test]
    async fn subscribers_that_want_no_more_are_let_go() {
        let (events, dispatcher) = Events::new();
        let running = tokio::spawn(dispatcher.run());
        let (dropped, mut drops) = mpsc::unbounded_channel();
        let subscribe = |name: &'static str, more: bool| {
            let held = OnDrop(name, dropped.clone());
            events.subscribe(Box::new(move |_| {
                let _held = &held;
                more
            }))
        };
        // The end of all drops them in this order.
        subscribe("more", true);
        let ended = subscribe("ended", true);
        subscribe("enough", false);
        ended.end();
        events.tell(Fact::Up(peer()));
        events.close();
        running.await.expect("it does not panic");
        let order = [(); 3].map(|()| drops.try_recv().expect("all are dropped"));
        assert_eq!(order, ["ended", "enough", "more"]);
    }

    struct OnDrop(&'static str, mpsc::UnboundedSender<&'static str>);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    fn peer() -> Location {
        Location {
            node: NodeId(1),
            name: "peer".into(),
            endpoint: None,
        }
    }
}
