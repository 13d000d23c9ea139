//! The owned handle of a coroutine.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Handle;
use crate::{Address, Exit};

/// A coroutine that receives `M` and returns `R`: its address, and its result.
///
/// Dropping it neither stops the coroutine nor waits for it; the address in it is gone then, as
/// any other.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let sum = coros_core::spawn(async |mut me: coros_core::Context<u32>| {
///     let mut sum = 0;
///     while let Some(n) = me.receive().await {
///         sum += n;
///     }
///     sum
/// });
/// sum.send(20).unwrap();
/// sum.send(22).unwrap();
/// assert_eq!(sum.await, Ok(42));
/// # }
/// ```
pub struct Coro<M, R> {
    address: Address<M>,
    handle: Handle<R>,
}

impl<M, R> Coro<M, R> {
    pub(crate) fn new(address: Address<M>, handle: Handle<R>) -> Self {
        Coro { address, handle }
    }

    /// Another address of the coroutine.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.address.clone()
    }

    /// Waits for the coroutine's result. Drops this handle's address first, so that a coroutine
    /// which nobody else can reach sees `None` once it has received everything.
    ///
    /// # Errors
    /// Why the coroutine ended without a result.
    ///
    /// # Cancel safety
    /// Dropping the future drops the result, not the coroutine; to wait more than once,
    /// [`Address::exit`].
    pub async fn join(self) -> Result<R, Exit> {
        self.into_future().await
    }

    /// Whether the coroutine has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.address
            .place()
            .is_ok_and(|mailbox| mailbox.control().is_ended())
    }
}

impl<M, R> Deref for Coro<M, R> {
    type Target = Address<M>;

    fn deref(&self) -> &Address<M> {
        &self.address
    }
}

impl<M, R> IntoFuture for Coro<M, R> {
    type Output = Result<R, Exit>;
    type IntoFuture = Join<R>;

    fn into_future(self) -> Join<R> {
        Join(self.handle)
    }
}

impl<M, R> fmt::Debug for Coro<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coro({})", self.address)
    }
}

/// The result of a coroutine, to come: awaiting a [`Coro`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Join<R>(Handle<R>);

impl<R> Future for Join<R> {
    type Output = Result<R, Exit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}
