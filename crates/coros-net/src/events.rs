//! What happens to a node's peers, told in order to whoever wants to know.
//!
//! Links and membership [tell](Events::tell) facts; the [`Roster`] makes events of them, which go
//! to one task. So a subscriber first hears of the peers that are there already and then of each
//! change, once and in order, and a slow or panicking subscriber holds up no link. The parts of the node
//! [tap](Events::tap) the facts, so that it does not hold up them either.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coros_core::remote::{Location, NodeId};
use tokio::sync::mpsc;

use crate::HandshakeError;
use crate::roster::{Fact, Roster};

/// A change in who is there.
///
/// Of each peer, that is of each launch of a node, they come in this order: `Joined`, then `Lost` and
/// `Returned` any number of times, then perhaps `Left`. A peer that is linked again after it has
/// left, as after [`close_peer`](crate::Node::close_peer), begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// The peer is known for the first time: there is a link to it, or others have told of it.
    Joined(Location),
    /// One of the two has said goodbye: the peer has shut down, or this node has.
    Left(Location),
    /// No sign of life from the peer, or the link to it broke; and why.
    Lost(Location, Arc<str>),
    /// The same launch of the peer can be reached again.
    Returned(Location),
    /// Somebody who belongs to coros tried to link and could not, such as a node with another
    /// secret.
    Refused(SocketAddr, HandshakeError),
}

type Subscriber = Box<dyn FnMut(PeerEvent) + Send>;

enum Command {
    Event(PeerEvent),
    /// With those who are there already.
    Subscribe(Subscriber, Vec<Location>),
    Close,
}

/// So many refusals wait for slow subscribers; strangers can make any number of them.
const MAX_REFUSED: usize = 256;

/// Where facts go in.
#[derive(Clone)]
pub(crate) struct Events {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    roster: Roster,
    /// Under the same lock, so that events are in the order of the facts.
    commands: mpsc::UnboundedSender<Command>,
    /// How many of the commands tell of a refusal.
    refused: Arc<AtomicUsize>,
    /// Parts of the node that want the facts themselves.
    taps: Vec<mpsc::UnboundedSender<Fact>>,
}

/// The task's side.
pub(crate) struct Dispatcher {
    commands: mpsc::UnboundedReceiver<Command>,
    subscribers: Vec<Subscriber>,
    refused: Arc<AtomicUsize>,
}

impl Events {
    pub(crate) fn new() -> (Self, Dispatcher) {
        let (sender, commands) = mpsc::unbounded_channel();
        let refused = Arc::<AtomicUsize>::default();
        let dispatcher = Dispatcher {
            commands,
            subscribers: Vec::new(),
            refused: Arc::clone(&refused),
        };
        let shared = Shared {
            roster: Roster::default(),
            commands: sender,
            refused,
            taps: Vec::new(),
        };
        let shared = Arc::new(Mutex::new(shared));
        (Events { shared }, dispatcher)
    }

    // After closing nobody listens: that is no failure of whoever tells.

    /// Something is known of a peer. Takes no lock but its own, and calls nobody.
    pub(crate) fn tell(&self, fact: Fact) {
        let mut shared = self.lock();
        shared.taps.retain(|tap| tap.send(fact.clone()).is_ok());
        if let Some(event) = shared.roster.handle(fact) {
            if let PeerEvent::Refused(from, error) = &event {
                // Under the lock, so that nobody else adds one meanwhile.
                if shared.refused.load(Ordering::Relaxed) >= MAX_REFUSED {
                    tracing::warn!(%from, %error, "refused; subscribers to peer events are too slow to be told");
                    return;
                }
                shared.refused.fetch_add(1, Ordering::Relaxed);
            }
            let _ = shared.commands.send(Command::Event(event));
        }
    }

    /// All facts from now on, for a part of the node.
    pub(crate) fn tap(&self) -> mpsc::UnboundedReceiver<Fact> {
        let (tap, facts) = mpsc::unbounded_channel();
        self.lock().taps.push(tap);
        facts
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        let shared = self.lock();
        let present = shared.roster.present().cloned().collect();
        let _ = shared
            .commands
            .send(Command::Subscribe(subscriber, present));
    }

    /// Lets the dispatcher end after what has been told so far.
    pub(crate) fn close(&self) {
        let _ = self.lock().commands.send(Command::Close);
    }

    /// The peers that are there, with or without a link.
    pub(crate) fn present(&self) -> Vec<Location> {
        self.lock().roster.present().cloned().collect()
    }

    pub(crate) fn is_present(&self, peer: NodeId) -> bool {
        self.lock().roster.is_present(peer)
    }

    /// Whether a peer is there, or was and has not left.
    pub(crate) fn knows(&self, peer: NodeId) -> bool {
        self.lock().roster.knows(peer)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    pub(crate) async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Event(event) => {
                    if matches!(event, PeerEvent::Refused(..)) {
                        self.refused.fetch_sub(1, Ordering::Relaxed);
                    }
                    self.event(&event);
                }
                Command::Subscribe(mut subscriber, present) => {
                    let mut present = present.into_iter().map(PeerEvent::Joined);
                    if present.all(|event| call(&mut subscriber, event)) {
                        self.subscribers.push(subscriber);
                    }
                }
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
        }
        self.subscribers
            .retain_mut(|subscriber| call(subscriber, event.clone()));
    }
}

/// False when the subscriber panicked: it is not called again.
fn call(subscriber: &mut Subscriber, event: PeerEvent) -> bool {
    let called = catch_unwind(AssertUnwindSafe(|| subscriber(event)));
    if called.is_err() {
        tracing::error!("a subscriber to peer events panicked and is called no more");
    }
    called.is_ok()
}

#[cfg(test)]
mod tests {
    use coros_core::remote::NodeId;

    use super::*;

    #[tokio::test]
    async fn strangers_fill_no_memory_while_a_subscriber_is_slow() {
        let (events, dispatcher) = Events::new();
        let (told, refusals) = std::sync::mpsc::channel();
        events.subscribe(Box::new(move |event| {
            let _ = told.send(event);
        }));
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
        let peer = Location {
            node: NodeId(1),
            name: "peer".into(),
            endpoint: None,
        };
        events.tell(Fact::Up(peer.clone()));
        events.close();
        dispatcher.run().await;
        let told: Vec<_> = refusals.try_iter().collect();
        assert_eq!(told.len(), MAX_REFUSED + 1);
        assert_eq!(told.last(), Some(&PeerEvent::Joined(peer)));
        assert_eq!(events.lock().refused.load(Ordering::Relaxed), 0);
    }
}
