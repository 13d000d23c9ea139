//! What happens to a node's links, told in order to whoever wants to know.
//!
//! Events are handed to one task, which knows who is linked. So a subscriber first hears of the
//! peers that are there already and then of each change, once and in order, and a slow or
//! panicking subscriber holds up no link.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use coros_core::remote::{Location, NodeId};
use tokio::sync::mpsc;

use crate::HandshakeError;

/// A change in who is linked to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// There is a link to this peer now.
    Joined(Location),
    /// The peer has shut down, and said so.
    Left(Location),
    /// The link broke, or the peer was silent for too long.
    Lost(Location, Arc<str>),
    /// Somebody who belongs to coros tried to link and could not, such as a node with another
    /// secret.
    Refused(SocketAddr, HandshakeError),
}

type Subscriber = Box<dyn FnMut(PeerEvent) + Send>;

enum Command {
    Event(PeerEvent),
    Subscribe(Subscriber),
    Close,
}

/// Where events go in.
#[derive(Clone)]
pub(crate) struct Events {
    commands: mpsc::UnboundedSender<Command>,
}

/// The task's side.
pub(crate) struct Dispatcher {
    commands: mpsc::UnboundedReceiver<Command>,
    present: BTreeMap<NodeId, Location>,
    subscribers: Vec<Subscriber>,
}

impl Events {
    pub(crate) fn new() -> (Self, Dispatcher) {
        let (sender, commands) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher {
            commands,
            present: BTreeMap::new(),
            subscribers: Vec::new(),
        };
        (Events { commands: sender }, dispatcher)
    }

    // After closing nobody listens: that is no failure of whoever tells.

    pub(crate) fn tell(&self, event: PeerEvent) {
        let _ = self.commands.send(Command::Event(event));
    }

    pub(crate) fn subscribe(&self, subscriber: Subscriber) {
        let _ = self.commands.send(Command::Subscribe(subscriber));
    }

    /// Lets the dispatcher end after what has been told so far.
    pub(crate) fn close(&self) {
        let _ = self.commands.send(Command::Close);
    }
}

impl Dispatcher {
    pub(crate) async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            match command {
                Command::Event(event) => self.event(&event),
                Command::Subscribe(mut subscriber) => {
                    let present = self.present.values().cloned().map(PeerEvent::Joined);
                    if present
                        .into_iter()
                        .all(|event| call(&mut subscriber, event))
                    {
                        self.subscribers.push(subscriber);
                    }
                }
                Command::Close => return,
            }
        }
    }

    fn event(&mut self, event: &PeerEvent) {
        match event {
            PeerEvent::Joined(peer) => {
                tracing::debug!(%peer, "linked");
                self.present.insert(peer.node, peer.clone());
            }
            PeerEvent::Left(peer) => {
                tracing::debug!(%peer, "left");
                self.present.remove(&peer.node);
            }
            PeerEvent::Lost(peer, reason) => {
                tracing::warn!(%peer, %reason, "lost");
                self.present.remove(&peer.node);
            }
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
