//! Where another node's answer comes in, once a reply has been written into a message to it.

use std::any::{Any, type_name};
use std::sync::Arc;

use serde::de::Error;

use super::lent::Lent;
use super::right::Right;
use crate::Exit;
use crate::control::next_id;
use crate::primitives::{Mutex, lock};
use crate::remote::{self, BoxFuture, CarryError, Inlet, Message, OnExit, Request};

/// A right to answer that another node may use, once. It comes to an end with the first answer,
/// when there will be none, or when the right comes home. The last to let go of one that has not
/// been used tells whoever asks.
pub(super) struct ReplyInlet<T> {
    id: u64,
    state: Mutex<State<T>>,
}

struct State<T> {
    right: Option<Right<T>>,
    watchers: Vec<OnExit>,
}

impl<T> ReplyInlet<T> {
    pub(super) fn new(right: Right<T>) -> Self {
        let state = State {
            right: Some(right),
            watchers: Vec::new(),
        };
        ReplyInlet {
            id: next_id(),
            state: Mutex::new(state),
        }
    }

    /// Ends: hands the right, unless it has been used, to `f`, and tells those who watch.
    fn end<U>(&self, exit: &Exit, f: impl FnOnce(Option<Right<T>>) -> U) -> U {
        let (right, watchers) = {
            let mut state = lock(&self.state);
            (state.right.take(), std::mem::take(&mut state.watchers))
        };
        let result = f(right);
        for watcher in watchers {
            watcher(exit.clone());
        }
        result
    }

    /// Answers, or ends without an answer. Only the first call counts.
    pub(super) fn finish(&self, answer: Option<T>) {
        match answer {
            Some(answer) => self.end(&Exit::Finished, |right| {
                if let Some(right) = right {
                    right.answer(answer);
                }
            }),
            None => self.end(&Exit::Terminated, drop),
        }
    }
}

impl<T: Send + 'static> Lent for ReplyInlet<T> {
    fn is_wanted(&self) -> bool {
        let (open, given_up) = {
            let state = lock(&self.state);
            let right = state.right.as_ref();
            (right.is_some(), right.is_some_and(Right::is_closed))
        };
        if given_up {
            self.finish(None);
        }
        open && !given_up
    }
}

impl<T: Message> ReplyInlet<T> {
    /// The right behind an inlet of this process, whose name has come in a message.
    pub(super) fn come_home<E: Error>(inlet: Arc<dyn Inlet>) -> Result<Option<Right<T>>, E> {
        match inlet.as_any().downcast::<ReplyInlet<T>>() {
            Ok(inlet) => Ok(inlet.end(&Exit::Finished, |right| right)),
            Err(_) => Err(E::custom(format_args!(
                "no {} is awaited there",
                type_name::<T>()
            ))),
        }
    }
}

impl<T: Message> Inlet for ReplyInlet<T> {
    fn id(&self) -> u64 {
        self.id
    }

    fn receive(&self, payload: &[u8]) -> Result<(), CarryError> {
        if lock(&self.state).right.is_none() {
            return Err(CarryError::Closed);
        }
        // An answer that cannot be read is no answer: whoever asks must not wait on.
        let (answer, result) = match remote::decode(payload) {
            Ok(answer) => (Some(answer), Ok(())),
            Err(error) => (None, Err(CarryError::Codec(error))),
        };
        self.finish(answer);
        result
    }

    fn deliver(&self, payload: &[u8]) -> BoxFuture<Result<(), CarryError>> {
        let received = self.receive(payload);
        Box::pin(async move { received })
    }

    fn is_reply(&self) -> bool {
        true
    }

    fn watch(&self, on_exit: OnExit) {
        let mut state = lock(&self.state);
        if state.right.is_some() {
            state.watchers.push(on_exit);
        } else {
            drop(state);
            on_exit(Exit::Finished);
        }
    }

    fn request(&self, request: Request) {
        if request == Request::Terminate {
            self.finish(None);
        }
    }

    fn lost(&self) {
        self.end(&Exit::Disconnected, |right| {
            if let Some(right) = right {
                right.lose();
            }
        });
    }

    fn undelivered(&self) {
        self.finish(None);
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
