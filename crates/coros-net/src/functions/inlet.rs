//! Where what peers say to a node's functions comes in: by way of the node's part for functions,
//! which finds them by name, or of one function's own number, if it has a name on the network.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};

use coros_core::Exit;
use coros_core::remote::{self, BoxFuture, CarryError, CodecError, Inlet, NodeId, OnExit, Request};

use super::error::NotStarted;
use super::offered::Function;
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

    fn read(&self, payload: &[u8]) -> Result<(), CodecError> {
        match remote::decode_first(payload)? {
            (Head::Start { name, types }, body) => {
                let function = self.functions.find(&name);
                let function = function.map(|inlet| Arc::clone(inlet.function()));
                start(&self.functions, function, types, body)
            }
            (Head::Swap(request), _) => {
                self.swap(sender(), request);
                Ok(())
            }
        }
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

/// The node whose message is read.
fn sender() -> Option<NodeId> {
    remote::exchange().and_then(|exchange| exchange.peer())
}

fn start(
    functions: &Arc<Functions>,
    function: Option<Arc<dyn Function>>,
    asked: Types,
    body: &[u8],
) -> Result<(), CodecError> {
    let Some(function) = function else {
        return refuse(body, NotStarted::Unknown);
    };
    let offered = function.types();
    if asked != offered {
        return refuse(body, NotStarted::WrongTypes { asked, offered });
    }
    function.start(functions, sender(), body)
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

/// The inlet of one function. It ends when the function is withdrawn.
pub(super) struct FunctionInlet {
    number: u64,
    function: Arc<dyn Function>,
    functions: Weak<Functions>,
    /// Those who wait for the end; none when that has come.
    watchers: Mutex<Option<Vec<OnExit>>>,
}

impl FunctionInlet {
    pub(super) fn new(functions: &Arc<Functions>, function: Arc<dyn Function>) -> Arc<Self> {
        Arc::new(FunctionInlet {
            number: remote::new_number(),
            function,
            functions: Arc::downgrade(functions),
            watchers: Mutex::new(Some(Vec::new())),
        })
    }

    pub(super) fn function(&self) -> &Arc<dyn Function> {
        &self.function
    }

    /// The function has been withdrawn.
    pub(super) fn end(&self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = watchers.take();
        drop(watchers);
        for watcher in ended.into_iter().flatten() {
            watcher(Exit::Finished);
        }
    }
}

impl Inlet for FunctionInlet {
    fn id(&self) -> u64 {
        self.number
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        let Some(functions) = self.functions.upgrade() else {
            return Err(CarryError::Closed);
        };
        match remote::decode_first(payload)? {
            (Head::Start { types, .. }, body) => {
                let function = Some(Arc::clone(&self.function));
                Ok(start(&functions, function, types, body)?)
            }
            // It is no coroutine.
            (Head::Swap(_), _) => Err(CarryError::Closed),
        }
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn watch(&self, on_exit: OnExit) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watchers) = &mut *watchers {
            watchers.push(on_exit);
            return;
        }
        drop(watchers);
        on_exit(Exit::Finished);
    }

    fn request(&self, _: Request) {}

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// The functions that an inlet of this process leads to, and the name of the one if it is one.
pub(super) fn come_home(inlet: Arc<dyn Inlet>) -> Option<(Arc<Functions>, Option<String>)> {
    let inlet = match inlet.as_any().downcast::<FunctionsInlet>() {
        Ok(all) => return Some((Arc::clone(&all.functions), None)),
        Err(other) => other,
    };
    let one = inlet.downcast::<FunctionInlet>().ok()?;
    let functions = one.functions.upgrade()?;
    Some((functions, Some(one.function.name().to_owned())))
}
