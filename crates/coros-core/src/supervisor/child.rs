//! A child of a supervisor, whatever it receives and returns.

use std::any::{Any, type_name};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Supervision;
use super::handle::{Answer, ChildError};
use crate::engine::panic_text;
use crate::{Address, Context, Coro, Exit, Reply};

/// How to start a child, and the child that runs.
pub(super) struct Work {
    start: Box<dyn Fn() -> Box<dyn Running> + Send>,
    /// The child that was started last, and the number of that start.
    pub(super) running: Option<(u64, Box<dyn Running>)>,
    /// Told when it is up.
    pub(super) until_up: Vec<Reply<Answer>>,
    /// Told when it is down.
    pub(super) until_down: Vec<Reply<Answer>>,
}

impl Work {
    pub(super) fn new<M, R>(start: impl Fn() -> Coro<M, R> + Send + 'static) -> Self
    where
        M: Send + 'static,
        R: Send + 'static,
    {
        Work {
            // The result is nobody's; how the child ends is what counts.
            start: Box::new(move || Box::new(start().address())),
            running: None,
            until_up: Vec::new(),
            until_down: Vec::new(),
        }
    }

    /// Starts the child.
    pub(super) fn start(&self) -> Result<Box<dyn Running>, Exit> {
        catch_unwind(AssertUnwindSafe(|| (self.start)()))
            .map_err(|panic| Exit::Panicked(panic_text(&*panic).into()))
    }

    pub(super) fn tell_up(&mut self) {
        for reply in self.until_up.drain(..) {
            reply.send(Ok(()));
        }
    }

    pub(super) fn tell_down(&mut self) {
        for reply in self.until_down.drain(..) {
            reply.send(Ok(()));
        }
    }

    /// Somebody else wants it down: whoever waits for it to come up waits in vain.
    pub(super) fn give_up_waiting(&mut self, id: &str) {
        for reply in self.until_up.drain(..) {
            reply.send(Err(ChildError::NotRunning { id: id.into() }));
        }
    }
}

/// The address of a child.
pub(super) trait Running: Any + Send {
    /// Has the supervisor told when the child of this start ends.
    fn monitor(&self, me: &Context<Supervision>, run: u64);
    fn terminate(&self);
    fn coroutine(&self) -> u64;
    fn receives(&self) -> &'static str;
    /// An `Address` of the child's type.
    fn address(&self) -> Box<dyn Any + Send>;
}

impl<M: Send + 'static> Running for Address<M> {
    fn monitor(&self, me: &Context<Supervision>, run: u64) {
        me.monitor(self, move |exit| Supervision::ended(run, exit));
    }

    fn terminate(&self) {
        Address::terminate(self);
    }

    fn coroutine(&self) -> u64 {
        self.id()
    }

    fn receives(&self) -> &'static str {
        type_name::<M>()
    }

    fn address(&self) -> Box<dyn Any + Send> {
        Box::new(self.clone())
    }
}
