//! What a coroutine gets as its argument: its mailbox and its own address.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::Address;
use crate::control::Flags;
use crate::engine::Host;
use crate::mailbox::Receiver;
use crate::monitor::Monitor;
use crate::swap::{SwapOffer, SwapOffers};
use crate::terminate::Terminating;

/// A coroutine's own end: it receives messages, and does to itself what others can do by address.
///
/// There is one for each coroutine, and it belongs inside: when it is dropped, the mailbox
/// closes. A hot swap needs it to be dropped together with the function, so do not move it into
/// another task. And do not [`forget`](std::mem::forget) it: the mailbox stays open then, also
/// after the coroutine's end, so that senders fill it and are told that all is well.
///
/// All receiving methods are cancel-safe: a message is either returned or still in the mailbox,
/// so they can be branches of `select!`. After 128 messages without waiting, a receive lets other
/// tasks run first.
pub struct Context<M: Send + 'static> {
    receiver: Receiver<M>,
}

impl<M: Send + 'static> Context<M> {
    pub(crate) fn new(receiver: Receiver<M>) -> Self {
        Context { receiver }
    }

    pub(crate) fn receiver(&mut self) -> &mut Receiver<M> {
        &mut self.receiver
    }

    /// The oldest message. Waits for one; `None` when there is none and no address is left, so
    /// that none can come.
    ///
    /// An address that the coroutine itself holds counts, and so does a
    /// [`monitor`](Self::monitor) that has not fired.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    // Not an `async fn`, whose state machine costs more than the receive itself.
    #[inline]
    pub fn receive(&mut self) -> impl Future<Output = Option<M>> + Send {
        poll_fn(|cx| self.receiver.poll_receive(cx))
    }

    /// The oldest message, if there is one now.
    pub fn try_receive(&mut self) -> Option<M> {
        self.receiver.try_receive()
    }

    /// The oldest message, waiting at most `limit` for one.
    ///
    /// # Errors
    /// [`ReceiveTimeoutError::TimedOut`], or [`ReceiveTimeoutError::Closed`] when no address is
    /// left.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: what it has not returned stays.
    pub async fn receive_timeout(&mut self, limit: Duration) -> Result<M, ReceiveTimeoutError> {
        match tokio::time::timeout(limit, self.receive()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(ReceiveTimeoutError::Closed),
            Err(_) => Err(ReceiveTimeoutError::TimedOut(limit)),
        }
    }

    /// The oldest message that `wanted` says yes to; the others stay, in order, for later
    /// receives. Waits for one; `None` when there is none and no address is left.
    ///
    /// Looks at each message of the backlog once a call, however often the coroutine is woken
    /// meanwhile. To receive selectively again and again over a long backlog,
    /// [`Categories`](crate::Categories) looks at each message once in all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let coro = coros_core::spawn(async |mut me: coros_core::Context<u32>| {
    ///     (me.receive_where(|n| *n > 10).await, me.receive().await, me.receive().await)
    /// });
    /// for n in [1, 20, 2] {
    ///     coro.send(n).unwrap();
    /// }
    /// assert_eq!(coro.join().await.unwrap(), (Some(20), Some(1), Some(2)));
    /// # }
    /// ```
    ///
    /// What it leaves behind has no bound: it counts as taken for senders that wait for room, here and on
    /// other nodes, since what is wanted may be what they hold back.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: all stay where they are in the order.
    pub async fn receive_where(&mut self, mut wanted: impl FnMut(&M) -> bool) -> Option<M> {
        let mut seen = 0;
        poll_fn(|cx| self.receiver.poll_receive_where(cx, &mut seen, &mut wanted)).await
    }

    /// Appends up to `limit` messages to `into`, in order, and returns how many. Waits for the
    /// first only; zero when no address is left, or for a `limit` of zero.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped: it takes nothing before it is ready.
    pub async fn receive_many(&mut self, into: &mut Vec<M>, limit: usize) -> usize {
        poll_fn(|cx| self.receiver.poll_receive_many(cx, into, limit)).await
    }

    /// The coroutine's own address, to be given to others. It counts: a coroutine that keeps its
    /// own address will not see `None` from [`receive`](Self::receive).
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::local(Arc::clone(self.receiver.mailbox()))
    }

    /// The coroutine's number, unique within a run of the process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.receiver.mailbox().control().id()
    }

    /// The name given by [`Builder::name`](crate::Builder::name).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.receiver.mailbox().control().name()
    }

    /// Waits; messages queue up meanwhile. The same as [`tokio::time::sleep`], which is the one
    /// to use in a `select!` beside a receive, since that borrows the context.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled.
    pub fn sleep(&self, duration: Duration) -> tokio::time::Sleep {
        tokio::time::sleep(duration)
    }

    /// Stops here until somebody calls [`Address::resume`].
    ///
    /// # Cancel safety
    /// Dropped before it resolves, but not before its first poll, the suspension stands: the
    /// coroutine stops at its next suspension point.
    pub async fn suspend(&mut self) {
        let control = self.receiver.mailbox().control();
        control.suspend();
        // The engine does not poll a suspended coroutine, so the next poll is after the resume;
        // a combinator polls again only if its own waker is woken.
        poll_fn(|cx| {
            if !control.is_own(cx.waker()) {
                control.set_elsewhere(cx.waker());
            }
            if control.flags().has(Flags::SUSPENDED) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Has `message` made from the reason and sent to this coroutine when the other one has
    /// ended: once, at once if it has ended already, with
    /// [`Exit::Disconnected`](crate::Exit::Disconnected) if the link to its node is lost.
    ///
    /// Of one other node 1,048,576 ends are waited for at a time. Beyond that the reason is
    /// [`Exit::Unwatched`](crate::Exit::Unwatched), at once: the other one may well run, and can be
    /// monitored when others have ended or their monitors were [cancelled](Monitor::cancel).
    ///
    /// The message goes in even if this coroutine's mailbox is bounded and full. Until it comes,
    /// the monitor counts as an address of this coroutine.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Context, Exit};
    ///
    /// let watched = coros_core::spawn(async |_me: Context<()>| { panic!("boom") });
    /// let watcher = coros_core::spawn(async move |mut me: Context<Exit>| {
    ///     me.monitor(&watched, |exit| exit);
    ///     me.receive().await
    /// });
    /// assert_eq!(watcher.join().await, Ok(Some(Exit::Panicked("boom".into()))));
    /// # }
    /// ```
    pub fn monitor<N: Send + 'static>(
        &self,
        other: &Address<N>,
        message: impl FnOnce(crate::Exit) -> M + Send + 'static,
    ) -> Monitor<N> {
        let me = self.address();
        Monitor::new(other, self.host(), move |exit| {
            // An error means that this coroutine has ended: nobody is left to be told.
            let _ = me.send_anyway(message(exit));
        })
    }

    /// Asks to be told when somebody [terminates](Address::terminate) this coroutine, and
    /// returns what resolves then.
    ///
    /// From the first call on, the coroutine is not dropped at an await point but has its grace
    /// period to clean up and return. The result does not borrow the context, so that it can be
    /// a branch of `select!` beside a receive.
    ///
    /// In a biased `select!` that receives first, match only `Some(n)`, as here: `terminate` and
    /// then `join` drops the last address, and a loop that ended with `None` would not see that it
    /// is to clean up. One that shall end with its addresses too has the request first.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::Context;
    ///
    /// let coro = coros_core::spawn(async |mut me: Context<u32>| {
    ///     let mut sum = 0;
    ///     let mut stop = me.terminating();
    ///     loop {
    ///         tokio::select! {
    ///             biased;
    ///             Some(n) = me.receive() => sum += n,
    ///             () = &mut stop => return sum,
    ///         }
    ///     }
    /// });
    /// coro.send(20).unwrap();
    /// coro.send(22).unwrap();
    /// tokio::task::yield_now().await;
    /// coro.terminate();
    /// assert_eq!(coro.join().await, Ok(42));
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled, which the grace period needs.
    #[must_use]
    pub fn terminating(&self) -> Terminating {
        Terminating::new(self.host())
    }

    /// Leaves a policy that is asked at any suspension point when somebody offers this coroutine
    /// [another function](crate::swap). It replaces an earlier policy, and ends with the
    /// function.
    ///
    /// A panic in the policy ends the coroutine.
    pub fn swappable(&mut self, policy: impl FnMut(SwapOffer) + Send + 'static) {
        let control = self.receiver.mailbox().control();
        control.extra().swap.set_policy(Box::new(policy));
        // An offer may have come before the policy.
        control.set(Flags::OFFERED);
        control.wake();
    }

    /// Waits for an offer of [another function](crate::swap). Cancel-safe: an offer that is not
    /// taken is there for the next call.
    ///
    /// In a `select!` beside a receive, use [`swap_offers`](Self::swap_offers), which does not
    /// borrow the context.
    pub fn swap_offer(&self) -> impl Future<Output = SwapOffer> + Send + use<M> {
        let offers = self.swap_offers();
        async move { offers.next().await }
    }

    /// The offers of [another function](crate::swap) that come to this coroutine, to be waited
    /// for beside a receive.
    #[must_use]
    pub fn swap_offers(&self) -> SwapOffers {
        SwapOffers::new(self.host())
    }

    /// The state that the previous function of this coroutine handed over when it accepted to be
    /// replaced; `None` if there was none, it has been taken, or it is of another type.
    #[must_use]
    pub fn take_state<S: Any + Send>(&mut self) -> Option<S> {
        self.receiver
            .mailbox()
            .control()
            .existing_extra()?
            .swap
            .take_state()
    }

    fn host(&self) -> Arc<dyn Host> {
        Arc::clone(self.receiver.mailbox()) as Arc<dyn Host>
    }
}

impl<M: Send + 'static> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}#{})", self.name().unwrap_or(""), self.id())
    }
}

/// Why [`Context::receive_timeout`] returned no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveTimeoutError {
    /// No message came in time.
    #[error("no message within {0:?}")]
    TimedOut(Duration),
    /// No address is left, so no message will come.
    #[error("nobody is left who could send a message")]
    Closed,
}
