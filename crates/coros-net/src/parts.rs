//! The parts of a node that talk to their counterparts on other nodes: who else is on the network,
//! which names there are, which functions may be started.
//!
//! A part has a number below [`RESERVED`], the same on every node, and up to two ways in:
//!
//! - **notices**, bytes that it encodes and decodes itself, at most 64 KiB. They travel in the control lane,
//!   so they overtake messages and are held up by nobody; one may be lost with its link. For gossip.
//! - **an inlet**, as a coroutine has one: ordinary typed messages, with replies, flow control and
//!   all, from any peer, whether or not it has been told of an address. For questions.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use coros_core::Address;
use coros_core::remote::{self, Inlet, Location, Message, RemoteId};

use crate::node::Inner;
use crate::peer::Peer;

const _: () = assert!((Part::LAST as u64) < remote::RESERVED);

/// Which part of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum Part {
    /// Who is on the network.
    Membership = 1,
    /// Who is registered under which name.
    Names = 2,
    /// Functions that peers may start.
    Functions = 3,
}

impl Part {
    const LAST: Part = Part::Functions;
}

/// Takes the notices of one part.
pub(crate) trait Notices: Send + Sync {
    /// Runs on the link's reader: must not block.
    fn notice(&self, from: &Arc<Peer>, payload: &[u8]);
}

/// What the parts of one node have opened to peers.
#[derive(Default)]
pub(crate) struct Parts {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    notices: BTreeMap<u64, Arc<dyn Notices>>,
    inlets: BTreeMap<u64, Arc<dyn Inlet>>,
}

impl Parts {
    /// From now on `to` gets the notices of its counterparts.
    pub(crate) fn on_notice(&self, part: Part, to: Arc<dyn Notices>) {
        self.write(|table| table.notices.insert(part as u64, to));
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "for the parts to come"))]
    /// From now on peers reach the part's coroutine.
    pub(crate) fn open<M: Message>(&self, part: Part, coroutine: &Address<M>) {
        if let Some(inlet) = remote::inlet(coroutine) {
            self.serve(part, inlet);
        }
    }

    /// From now on peers reach this under the part's number.
    pub(crate) fn serve(&self, part: Part, inlet: Arc<dyn Inlet>) {
        self.write(|table| table.inlets.insert(part as u64, inlet));
    }

    /// A notice has come; one for a part that this node does not have is for a newer version.
    pub(crate) fn notice(&self, from: &Arc<Peer>, part: u64, payload: &[u8]) {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let to = table.notices.get(&part).cloned();
        drop(table);
        let Some(to) = to else {
            tracing::debug!(peer = %from.location(), part, "a notice for an unknown part");
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| to.notice(from, payload))).is_err() {
            tracing::error!(peer = %from.location(), part, "a part of the node panicked at a notice");
        }
    }

    /// Where messages for a part come in.
    pub(crate) fn inlet(&self, part: u64) -> Option<Arc<dyn Inlet>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.inlets.get(&part).cloned()
    }

    #[cfg(test)]
    pub(crate) fn hears(&self, part: Part) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.notices.contains_key(&(part as u64))
    }

    /// The node closes.
    pub(crate) fn close(&self) {
        drop(self.write(std::mem::take));
    }

    fn write<T>(&self, f: impl FnOnce(&mut Table) -> T) -> T {
        // What was there before is dropped by the caller, without the lock.
        f(&mut self.table.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// The coroutine of a part of another node.
    pub(crate) fn part_of<M: Message>(
        self: &Arc<Self>,
        location: &Location,
        part: Part,
    ) -> Address<M> {
        let id = RemoteId {
            location: location.clone(),
            coroutine: part as u64,
        };
        remote::address(id, self.peer(location))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use coros_core::{Context, Reply, spawn};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{Node, Secret};

    struct Heard(mpsc::UnboundedSender<(String, Vec<u8>)>);

    impl Notices for Heard {
        fn notice(&self, from: &Arc<Peer>, payload: &[u8]) {
            let name = from.location().name.to_string();
            self.0.send((name, payload.to_vec())).unwrap();
        }
    }

    async fn two_nodes() -> [Node; 2] {
        let secret = Secret::random();
        let [desk, farm] = ["desk", "farm"].map(|name| {
            let builder = Node::builder().name(name).secret(secret.clone());
            // Its part is played by the test.
            let builder = builder.member(false);
            builder.build()
        });
        [desk.await.unwrap(), farm.await.unwrap()]
    }

    #[tokio::test]
    async fn parts_talk_to_their_counterparts_without_having_been_introduced() {
        let [desk, farm] = two_nodes().await;
        let (heard, mut notices) = mpsc::unbounded_channel();
        farm.inner()
            .parts
            .on_notice(Part::Membership, Arc::new(Heard(heard)));
        let doubler = spawn(async |mut me: Context<(u32, Reply<u32>)>| {
            while let Some((n, reply)) = me.receive().await {
                reply.send(2 * n);
            }
        });
        farm.inner().parts.open(Part::Functions, &doubler.address());
        drop(doubler);

        let there = farm.location();
        let peer = desk.inner().peer(&there);
        peer.notify(Part::Names, b"nobody minds").unwrap();
        peer.notify(Part::Membership, b"spring").unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), notices.recv());
        assert_eq!(
            heard.await.unwrap().unwrap(),
            ("desk".into(), b"spring".to_vec())
        );

        let doubler = desk.inner().part_of(&there, Part::Functions);
        let answer =
            doubler.ask_timeout(Duration::from_secs(10), |reply: Reply<u32>| (21_u32, reply));
        assert_eq!(answer.await, Ok(42));
        let none = desk.inner().part_of(&there, Part::Names);
        let answer = none.ask_timeout(Duration::from_secs(10), |reply: Reply<u32>| (21_u32, reply));
        assert_eq!(answer.await, Err(coros_core::AskError::NoReply));
        desk.close().await;
        farm.close().await;
    }
}
