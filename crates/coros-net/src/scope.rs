//! What addresses go through while they are encoded and decoded.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use coros_core::remote::{
    self, CodecError, Encode, Exchange, Imported, Inlet, NodeId, RESERVED, RemoteId,
};

use crate::node::Inner;

/// Scratch space that grew beyond this for one long message is given back.
const KEEP: usize = 256 << 10;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// What the encoding under way has told the peer of.
    static LENT: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A node's exchange for values that go to one peer, or to nobody in particular.
pub(crate) struct Scope {
    pub(crate) node: Arc<Inner>,
    pub(crate) peer: Option<NodeId>,
}

impl Exchange for Scope {
    fn export(&self, inlet: Arc<dyn Inlet>) -> RemoteId {
        let coroutine = inlet.id();
        if self.node.exports.add(&inlet, self.peer) {
            LENT.with_borrow_mut(|lent| lent.push(coroutine));
        }
        RemoteId {
            location: self.node.location.clone(),
            coroutine,
        }
    }

    fn import(&self, id: &RemoteId) -> Imported {
        if id.location.node == self.node.location.node {
            let inlet = if id.coroutine < RESERVED {
                self.node.parts.inlet(id.coroutine)
            } else {
                self.node.exports.come_home(id.coroutine)
            };
            return match inlet {
                Some(inlet) => Imported::Local(inlet),
                None => Imported::Gone,
            };
        }
        Imported::Remote(self.node.peer(&id.location))
    }

    fn peer(&self) -> Option<NodeId> {
        self.peer
    }
}

/// Encodes a message and calls `f` with it and what it lends; whatever goes wrong, `take_back` is
/// called with the latter.
///
/// The message is built in scratch space of this thread and not in the link's buffer, since
/// encoding runs the user's code: that must not hold up other senders, nor deadlock when it sends
/// something itself.
pub(crate) fn encoded<T, E: From<CodecError>>(
    exchange: &Arc<dyn Exchange>,
    encode: Encode<'_>,
    take_back: impl FnOnce(&[u64]),
    f: impl FnOnce(&[u8], &[u64]) -> Result<T, E>,
) -> Result<T, E> {
    // Encoding may nest: the inner one finds no scratch space and makes its own.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let outer = LENT.take();
    let encoding = catch_unwind(AssertUnwindSafe(|| {
        remote::with_exchange(exchange, || encode(&mut scratch))
    }));
    let lent = LENT.replace(outer);
    let result = match encoding {
        Ok(encoded) => encoded.map_err(E::from).and_then(|()| f(&scratch, &lent)),
        Err(panic) => {
            take_back(&lent);
            resume_unwind(panic);
        }
    };
    if result.is_err() {
        take_back(&lent);
    }
    scratch.clear();
    scratch.shrink_to(KEEP);
    SCRATCH.set(scratch);
    result
}

#[cfg(test)]
mod tests {
    use coros_core::{Address, Context, spawn};

    use super::*;
    use crate::{Node, Secret};

    #[tokio::test]
    async fn values_that_are_no_messages_leave_nothing_to_take_back() {
        let node = Node::builder().secret(Secret::random()).no_listen();
        let node = node.build().await.unwrap();
        let coro = spawn(async |mut me: Context<u32>| me.receive().await);
        let address: Address<u32> = coro.address();
        node.encode(&address).unwrap();
        node.encode_for(NodeId(7), &address).unwrap();
        assert_eq!(LENT.take(), [0; 0]);
        node.close().await;
    }
}
