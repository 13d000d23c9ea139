//! The task around [`Membership`]: what the links tell goes in, packets go out as notices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coros_core::remote::{Location, NodeId};
use tokio::sync::mpsc;

use super::{Input, Membership, Output, Settings};
use crate::clock::{self, now};
use crate::node::Inner;
use crate::parts::{Notices, Part};
use crate::peer::Peer;
use crate::roster::Fact;

/// So many packets may wait. More are dropped: gossip comes again.
const WAITING: usize = 256;

/// A node's place among the members.
pub(crate) struct Shell {
    membership: Mutex<Membership>,
}

/// Where packets of peers come in.
struct Mail(mpsc::Sender<(NodeId, Vec<u8>)>);

impl Notices for Mail {
    fn notice(&self, from: &Arc<Peer>, payload: &[u8]) {
        if self.0.try_send((from.id(), payload.to_vec())).is_err() {
            tracing::debug!(peer = %from.location(), "a membership packet is dropped: too many wait");
        }
    }
}

impl Shell {
    pub(crate) fn new(own: Location, settings: Settings) -> Self {
        let membership = Membership::new(now(), own, settings);
        Shell {
            membership: Mutex::new(membership),
        }
    }

    /// Begins, and goes on until the node stops. What a link tells is heard from now on: one that is made at
    /// once may well be faster than a task, and says who it is but once.
    pub(crate) fn start(self: &Arc<Self>, node: &Arc<Inner>) {
        let (mail, packets) = mpsc::channel(WAITING);
        node.parts.on_notice(Part::Membership, Arc::new(Mail(mail)));
        let facts = node.events.tap();
        let run = Arc::clone(self).run(Arc::clone(node), packets, facts);
        node.tasks.spawn_on(run, &node.runtime);
    }

    async fn run(
        self: Arc<Self>,
        node: Arc<Inner>,
        mut packets: mpsc::Receiver<(NodeId, Vec<u8>)>,
        mut facts: mpsc::UnboundedReceiver<Fact>,
    ) {
        loop {
            let due = clock::until(self.lock().deadline());
            tokio::select! {
                biased;
                () = node.stop.cancelled() => return,
                fact = facts.recv() => {
                    let Some(fact) = fact else { return };
                    if let Some(input) = input(fact) {
                        self.handle(&node, input);
                    }
                }
                () = due => self.handle(&node, Input::Timeout),
                packet = packets.recv() => {
                    let Some((from, payload)) = packet else { return };
                    self.handle(&node, Input::Notice { from, payload: &payload });
                }
            }
        }
    }

    /// Tells some members that this node leaves.
    pub(crate) fn leave(&self, node: &Arc<Inner>) {
        self.handle(node, Input::Leave);
    }

    /// Takes no notice of new members, or does again.
    pub(crate) fn refuse_new(&self, node: &Arc<Inner>, refuse: bool) {
        self.handle(node, Input::Refuse(refuse));
    }

    /// The members that there are.
    pub(crate) fn members(&self) -> Vec<Location> {
        self.lock().members().cloned().collect()
    }

    /// Whether it is one of the members that there are.
    pub(crate) fn has(&self, peer: NodeId) -> bool {
        self.lock().is_member(peer)
    }

    fn handle(&self, node: &Arc<Inner>, input: Input<'_>) {
        // Done in their order, after the lock is released: they take the locks of peers.
        let outputs: Vec<_> = {
            let mut membership = self.lock();
            membership.handle(now(), input);
            std::iter::from_fn(|| membership.poll()).collect()
        };
        for output in outputs {
            match output {
                Output::Send(to, packet) => {
                    // Whoever cannot be reached is found out by that.
                    let _ = node.peer(&to).look_after(Part::Membership, &packet);
                }
                Output::Tell(to, packet) => {
                    let _ = node.peer(&to).notify(Part::Membership, &packet);
                }
                Output::Up(peer) => node.events.tell(Fact::Up(peer)),
                Output::Down(peer) => {
                    let why = "other members get no sign of life from it";
                    node.events.tell(Fact::Down(peer.clone(), why.into()));
                    node.doubt(peer.node);
                }
                Output::Gone(peer) => {
                    node.events.tell(Fact::Gone(peer.clone()));
                    // If that is true nobody listens there any more, which ends the session.
                    node.doubt(peer.node);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Membership> {
        self.membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a fact means for the membership.
fn input(fact: Fact) -> Option<Input<'static>> {
    let unlinked = |peer: NodeId, broken| Some(Input::Unlinked { peer, broken });
    match fact {
        Fact::Linked(peer) => Some(Input::Linked(peer)),
        Fact::Idle(peer) => unlinked(peer, false),
        Fact::Left(peer) => unlinked(peer.node, false),
        Fact::Broke(peer, _) | Fact::Lost(peer, _) => unlinked(peer.node, true),
        Fact::Up(_)
        | Fact::Down(..)
        | Fact::Gone(_)
        | Fact::Refused(..)
        | Fact::Unreachable(..)
        | Fact::NotFound(..) => None,
    }
}
