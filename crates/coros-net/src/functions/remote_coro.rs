//! The handle of a coroutine that was started by name.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use coros_core::remote::Answer;
use coros_core::{Address, Exit};

use crate::tame;

/// A coroutine that [`Rci::start`](crate::Rci::start) has started: its address, and its result,
/// which comes from wherever it runs.
///
/// As with a [`Coro`](coros_core::Coro), dropping it neither stops the coroutine nor waits for it:
/// it is detached, and its result is dropped when it comes. It still ends with the session, unless it was
/// [offered](crate::Offer::linked) otherwise.
pub struct RemoteCoro<M, R> {
    address: Address<M>,
    outcome: RemoteJoin<R>,
}

impl<M, R> RemoteCoro<M, R> {
    pub(super) fn new(address: Address<M>, answer: Answer<Result<R, Exit>>) -> Self {
        // That there is no answer in the same process says that the runtime has gone.
        let lost = match address.remote_id() {
            Some(_) => Exit::Disconnected,
            None => Exit::Terminated,
        };
        RemoteCoro {
            address,
            outcome: RemoteJoin { answer, lost },
        }
    }

    /// Another address of the coroutine.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        self.address.clone()
    }

    /// Waits for the coroutine's result. Drops this handle's address first.
    ///
    /// # Errors
    /// Why the coroutine ended without a result; [`Exit::Disconnected`] when the session with its
    /// node ended first, and [`Exit::Failed`] when the result cannot travel.
    ///
    /// # Cancel safety
    /// Dropping the future drops the result, not the coroutine; to wait more than once,
    /// [`Address::exit`].
    pub async fn join(self) -> Result<R, Exit> {
        self.into_future().await
    }
}

impl<M, R> Deref for RemoteCoro<M, R> {
    type Target = Address<M>;

    fn deref(&self) -> &Address<M> {
        &self.address
    }
}

impl<M, R> IntoFuture for RemoteCoro<M, R> {
    type Output = Result<R, Exit>;
    type IntoFuture = RemoteJoin<R>;

    fn into_future(self) -> RemoteJoin<R> {
        self.outcome
    }
}

impl<M, R> fmt::Debug for RemoteCoro<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteCoro({})", self.address)
    }
}

/// The result of a coroutine, to come: awaiting a [`RemoteCoro`].
#[must_use = "futures do nothing unless polled"]
pub struct RemoteJoin<R> {
    answer: Answer<Result<R, Exit>>,
    lost: Exit,
}

impl<R> Future for RemoteJoin<R> {
    type Output = Result<R, Exit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| match answer {
            Some(result) => result.map_err(tame::exit),
            None => Err(self.lost.clone()),
        })
    }
}

impl<R> fmt::Debug for RemoteJoin<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteJoin")
    }
}
