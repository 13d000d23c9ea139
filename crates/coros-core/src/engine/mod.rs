//! How a coroutine is stored and polled.
//!
//! At present each coroutine is one tokio task. Nothing outside this module and the mailbox knows
//! that: they see [`start`], the [`Handle`] to its result, and [`Host`].

mod running;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use crate::control::Control;
use crate::mailbox::{Mailbox, Receiver};
use crate::{Context, Exit};

pub(crate) use running::Running;

/// A coroutine seen without the type of its messages.
pub(crate) trait Host: Send + Sync {
    fn control(&self) -> &Control;

    /// Messages that senders have put in and the coroutine has not taken.
    fn queued(&self) -> usize;

    /// Whether the coroutine takes no more messages.
    fn is_closed(&self) -> bool;
}

impl<M: Send> Host for Mailbox<M> {
    fn control(&self) -> &Control {
        Mailbox::control(self)
    }

    fn queued(&self) -> usize {
        self.len()
    }

    fn is_closed(&self) -> bool {
        Mailbox::is_closed(self)
    }
}

/// Runs a coroutine in the given runtime, or in that of the caller.
///
/// # Panics
/// Without a handle and outside a tokio runtime.
pub(crate) fn start<M, R, F, Fut>(
    mailbox: Arc<Mailbox<M>>,
    receiver: Receiver<M>,
    function: F,
    outcome: fn(Fut::Output) -> Result<R, Exit>,
    runtime: Option<&tokio::runtime::Handle>,
) -> Handle<R>
where
    M: Send + 'static,
    R: Send + 'static,
    F: FnOnce(Context<M>) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    let running = Running::new(mailbox, Context::new(receiver), function, outcome);
    Handle(match runtime {
        Some(runtime) => runtime.spawn(running),
        None => tokio::spawn(running),
    })
}

/// The result of a coroutine, once.
#[derive(Debug)]
pub(crate) struct Handle<R>(tokio::task::JoinHandle<Result<R, Exit>>);

impl<R> Future for Handle<R> {
    type Output = Result<R, Exit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(result) => result,
            // The runtime was dropped with the coroutine in it; panics do not get here.
            Err(_) => Err(Exit::Terminated),
        })
    }
}

/// Drops what belongs to a user; a panic in its destructor is logged and goes no further.
pub(crate) fn drop_guarded<T>(value: T) {
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value)));
    if let Err(panic) = dropped {
        tracing::error!("a destructor panicked: {}", panic_text(&*panic));
    }
}

/// The text of a panic that was caught: what [`Exit::Panicked`] says.
///
/// `a value that is not text` for one that was raised with something else, as
/// [`std::panic::panic_any`] can.
///
/// ```
/// let panic = std::panic::catch_unwind(|| panic!("out of cheese")).unwrap_err();
/// assert_eq!(coros_core::panic_text(&*panic), "out of cheese");
/// ```
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "a value that is not text"
    }
}
