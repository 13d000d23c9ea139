//! Where what peers say to a node's functions comes in.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Waker};

use coros_core::remote::{self, BoxFuture, CarryError, CodecError, Inlet, NodeId, OnExit, Request};

use super::error::NotStarted;
use super::protocol::{Head, Replies, SwapRequest, Types};
use super::swap;
use super::table::Functions;
use crate::exports::Exports;
use crate::parts::Part;

/// The inlet of a node's part for functions. It lives as long as the node.
pub(crate) struct FunctionsInlet {
    functions: Arc<Functions>,
    exports: Arc<Exports>,
}

impl FunctionsInlet {
    pub(crate) fn new(functions: Arc<Functions>, exports: Arc<Exports>) -> Self {
        FunctionsInlet { functions, exports }
    }

    pub(super) fn functions(&self) -> &Arc<Functions> {
        &self.functions
    }

    /// Whose functions an address of the part is about that has come home.
    pub(super) fn of(inlet: Arc<dyn Inlet>) -> Option<Arc<FunctionsInlet>> {
        inlet.as_any().downcast().ok()
    }

    fn read(&self, payload: &[u8]) -> Result<(), CodecError> {
        let from = remote::exchange().and_then(|exchange| exchange.peer());
        match remote::decode_first(payload)? {
            (Head::Start { name, types }, body) => self.start(from, &name, types, body),
            (Head::Swap(request), _) => {
                self.swap(from, request);
                Ok(())
            }
        }
    }

    fn start(
        &self,
        from: Option<NodeId>,
        name: &str,
        asked: Types,
        body: &[u8],
    ) -> Result<(), CodecError> {
        let Some(function) = self.functions.find(name) else {
            return refuse(body, NotStarted::Unknown);
        };
        let offered = function.types();
        if asked != offered {
            return refuse(body, NotStarted::WrongTypes { asked, offered });
        }
        function.start(&self.functions, from, body)
    }

    fn swap(&self, from: Option<NodeId>, request: SwapRequest) {
        let function = self.functions.find_swap(&request.function);
        let mut swap: BoxFuture<()> = Box::pin(swap::offer(&self.exports, from, function, request));
        // At once, so that offers are made in the order in which they come. The task that waits
        // polls again with its own waker.
        let mut context = Context::from_waker(Waker::noop());
        if swap.as_mut().poll(&mut context).is_pending() {
            self.functions.runtime().spawn(swap);
        }
    }
}

/// Refuses to start a function whose types are not known.
fn refuse(body: &[u8], why: NotStarted) -> Result<(), CodecError> {
    // An address is not among what is written, nor a result.
    let (replies, _) = remote::decode_first::<Replies<(), ()>>(body)?;
    replies.started.send(Err(why));
    Ok(())
}

impl Inlet for FunctionsInlet {
    fn id(&self) -> u64 {
        Part::Functions as u64
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        Ok(self.read(payload)?)
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn watch(&self, on_exit: OnExit) {
        // It ends with the node, and then there is nobody left who could tell.
        drop(on_exit);
    }

    fn request(&self, _: Request) {}

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
