//! What addresses go through while they are encoded and decoded.

use std::cell::Cell;
use std::sync::Arc;

use coros_core::remote::{
    self, BoxFuture, Carrier, CodecError, Encode, Exchange, Imported, Inlet, NodeId, RESERVED,
    RemoteId,
};

use tokio_util::sync::CancellationToken;

use crate::naming::{self, Naming};
use crate::node::Inner;

/// Scratch space that grew beyond this for one long message is given back.
const KEEP: usize = 256 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A node's exchange for values that go to one peer, or to nobody in particular, and for those that
/// come from it.
pub(crate) struct Scope {
    pub(crate) node: Arc<Inner>,
    pub(crate) peer: Option<NodeId>,
    /// The session whose messages are read, if they come in one.
    pub(crate) session: Option<Within>,
}

/// A session, for what is read in it.
pub(crate) struct Within {
    /// Cancelled when it ends.
    pub(crate) over: CancellationToken,
    /// To the questions that the peer asks in it.
    pub(crate) questions: Arc<dyn Carrier>,
}

impl Exchange for Scope {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let coroutine = inlet.id();
        let exports = &self.node.exports;
        let is_held = |peer| exports.is_held_by(coroutine, peer);
        if let Some(inlet) = naming::own(inlet, !self.peer.is_some_and(is_held)) {
            exports.keep(&inlet, self.peer);
        }
        RemoteId {
            location: self.node.location.clone(),
            coroutine,
        }
    }

    fn import(&self, id: &RemoteId) -> Imported {
        self.find(id, |node| match id.coroutine {
            // A part of the node is nothing to release.
            ..RESERVED => node.peer(&id.location),
            _ => node.import(id),
        })
    }

    fn import_reply(&self, id: &RemoteId) -> Imported {
        let asker = id.location.node;
        match &self.session {
            None => self.find(id, |node| node.peer(&id.location)),
            // Whoever passes a question on asks it himself: an answer goes back step by step.
            Some(_) if asker != self.node.location.node && Some(asker) != self.peer => {
                Imported::Gone
            }
            Some(session) => self.find(id, |_| Arc::clone(&session.questions)),
        }
    }

    fn pass_on(&self, id: &RemoteId, carrier: &Arc<dyn Carrier>) {
        if id.coroutine >= RESERVED && !naming::others(self.peer, id, carrier) {
            self.node.exports.keep_way(id, carrier);
        }
    }

    fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    fn session_over(&self) -> Option<BoxFuture<()>> {
        let over = self.session.as_ref()?.over.clone();
        Some(Box::pin(over.cancelled_owned()))
    }
}

impl Scope {
    fn find(
        &self,
        id: &RemoteId,
        carrier: impl FnOnce(&Arc<Inner>) -> Arc<dyn Carrier>,
    ) -> Imported {
        if id.location.node != self.node.location.node {
            return Imported::Remote(carrier(&self.node));
        }
        let inlet = if id.coroutine < RESERVED {
            self.node.parts.inlet(id.coroutine)
        } else {
            self.node.exports.come_home(id.coroutine)
        };
        match inlet {
            Some(inlet) => Imported::Local(inlet),
            None => Imported::Gone,
        }
    }
}

/// Encodes a message and calls `f` with it and what it names.
///
/// The message is built in scratch space of this thread and not in the link's buffer, since
/// encoding runs the user's code: that must not hold up other senders, nor deadlock when it sends
/// something itself.
pub(crate) fn message<T, E: From<CodecError>>(
    exchange: &Arc<dyn Exchange>,
    encode: Encode<'_>,
    f: impl FnOnce(&[u8], Naming) -> Result<T, E>,
) -> Result<T, E> {
    encoded(true, exchange, encode, f)
}

/// Encodes a value that is no message: nobody knows whether anybody reads it.
pub(crate) fn value(
    exchange: &Arc<dyn Exchange>,
    encode: Encode<'_>,
) -> Result<Vec<u8>, CodecError> {
    encoded(false, exchange, encode, |bytes, _| Ok(bytes.to_vec()))
}

fn encoded<T, E: From<CodecError>>(
    is_message: bool,
    exchange: &Arc<dyn Exchange>,
    encode: Encode<'_>,
    f: impl FnOnce(&[u8], Naming) -> Result<T, E>,
) -> Result<T, E> {
    // Encoding may nest: the inner one finds no scratch space and makes its own.
    let mut scratch = SCRATCH.take();
    let encode = || remote::with_exchange(exchange, || encode(&mut scratch));
    let (encoded, naming) = naming::during(is_message, encode);
    let result = match encoded {
        Ok(()) => f(&scratch, naming),
        Err(error) => Err(error.into()),
    };
    scratch.clear();
    scratch.shrink_to(KEEP);
    SCRATCH.set(scratch);
    result
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use coros_core::remote::Location;
    use coros_core::{Address, Context, Reply, spawn};

    use super::*;
    use crate::carrier::Questions;
    use crate::{Node, Secret};

    #[tokio::test]
    async fn values_that_are_no_messages_count_for_no_message() {
        let node = Node::builder().secret(Secret::random()).no_listen();
        let node = node.build().await.unwrap();
        let coro = spawn(async |mut me: Context<u32>| me.receive().await);
        let address: Address<u32> = coro.address();
        let (_, naming) = naming::during(true, || {
            node.encode(&address).unwrap();
            node.encode_for(NodeId(7), &address).unwrap();
        });
        assert_eq!(naming.ids(), [0; 0]);
        node.close().await;
    }

    #[tokio::test]
    async fn a_question_in_the_name_of_a_third_node_is_none() {
        let node = Node::builder().secret(Secret::random()).no_listen();
        let node = node.build().await.unwrap();
        let asker = |id| Location {
            node: NodeId(id),
            name: "third".into(),
            endpoint: Some(([127, 0, 0, 1], 1).into()),
        };
        let exchange: Arc<dyn Exchange> = Arc::new(Scope {
            node: Arc::clone(node.inner()),
            peer: Some(NodeId(7)),
            session: Some(Within {
                over: CancellationToken::new(),
                questions: Arc::new(Questions::new(&Weak::new(), 1)),
            }),
        });
        for (id, is_one) in [(7, true), (8, false)] {
            let id = RemoteId {
                location: asker(id),
                coroutine: RESERVED,
            };
            let mut bytes = Vec::new();
            remote::encode(&id, &mut bytes).unwrap();
            let read = || remote::decode::<Reply<u32>>(&bytes).unwrap();
            drop(remote::with_exchange(&exchange, read));
            let question = remote::with_exchange(&exchange, read);
            // The session is over already.
            let over = tokio::time::timeout(Duration::ZERO, remote::given_up(&question));
            assert_eq!(over.await.is_ok(), is_one);
            question.send(1);
            assert_eq!(node.inner().known(), 0, "nobody is dialled for {id:?}");
        }
        node.close().await;
    }
}
