//! Hot swap: replacing the function of a running coroutine.
//!
//! Somebody with the coroutine's address [offers](crate::Address::swap) a new function. The
//! running function decides, in one of two ways:
//!
//! - [`Context::swappable`](crate::Context::swappable) leaves a policy, asked at any suspension
//!   point, even one that is not a receive;
//! - [`Context::swap_offer`](crate::Context::swap_offer) waits for an offer, as one of the things
//!   that a `select!` waits for, so that the function decides between two messages.
//!
//! A function that does neither keeps running, and the offer ends after its time limit.
//! To accept hands over a state of any type; the new function finds it with
//! [`Context::take_state`](crate::Context::take_state). The mailbox stays: what is queued, and
//! what a selective receive has passed over, is received by the new function in the same order.
//!
//! A closure goes to coroutines of this process. A function that is [published](publish) under a
//! name can be offered by that name ([`Address::swap_to`](crate::Address::swap_to)), and, when a
//! node publishes it, from other nodes too.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use coros_core::{Context, Reply};
//!
//! enum Count { Up, Get(Reply<u64>) }
//!
//! async fn by_one(mut me: Context<Count>) {
//!     let mut n = 0_u64;
//!     let offers = me.swap_offers();
//!     loop {
//!         tokio::select! {
//!             message = me.receive() => match message {
//!                 Some(Count::Up) => n += 1,
//!                 Some(Count::Get(reply)) => reply.send(n),
//!                 None => return,
//!             },
//!             offer = offers.next() => n = offer.accept(n).await,
//!         }
//!     }
//! }
//!
//! async fn by_ten(mut me: Context<Count>) {
//!     let mut n: u64 = me.take_state().unwrap_or(0);
//!     while let Some(message) = me.receive().await {
//!         match message {
//!             Count::Up => n += 10,
//!             Count::Get(reply) => reply.send(n),
//!         }
//!     }
//! }
//!
//! let counter = coros_core::spawn(by_one);
//! counter.send(Count::Up).unwrap();
//! counter.ask(Count::Get).await.unwrap();
//! counter.swap(by_ten).await.unwrap();
//! counter.send(Count::Up).unwrap();
//! assert_eq!(counter.ask(Count::Get).await.unwrap(), 11);
//! # }
//! ```

mod named;
mod state;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::Flags;
use crate::engine::Host;
use crate::{Context, Exit};

pub(crate) use named::find_published;
pub use named::{Published, SwapFunction, publish};
pub(crate) use state::{Due, SwapState, Taken};

/// How long [`Address::swap`](crate::Address::swap) waits for the coroutine to take the offer.
pub const SWAP_TIME_LIMIT: Duration = Duration::from_secs(10);

/// A function that can take over a coroutine which receives `M` and whose function returns `O`.
pub(crate) type Replacement<M, O> =
    Box<dyn FnOnce(Context<M>) -> Pin<Box<dyn Future<Output = O> + Send>> + Send>;

/// Why a coroutine still runs its old function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SwapError {
    /// The running function refused, with this reason.
    #[error("the coroutine refused the new function: {0}")]
    Refused(String),
    /// Another offer has not been decided on.
    #[error("another function is on offer to this coroutine and has not been decided on")]
    Busy,
    /// The coroutine did not decide within the time limit; the offer is withdrawn.
    #[error(
        "the coroutine did not take the offer within {0:?}: it neither left a policy with \
         `swappable` nor reached `swap_offer`, or did not reach a suspension point"
    )]
    NotTaken(Duration),
    /// The new function returns another type than the old, on which `join` relies.
    #[error("the new function returns `{offered}`, the coroutine's function `{running}`")]
    WrongResult {
        /// What the running function returns.
        running: Cow<'static, str>,
        /// What the offered function returns.
        offered: Cow<'static, str>,
    },
    /// The new function receives other messages than the coroutine.
    #[error("the new function receives `{offered}`, the coroutine `{running}`")]
    WrongMessages {
        /// What the coroutine receives.
        running: Cow<'static, str>,
        /// What the offered function receives.
        offered: Cow<'static, str>,
    },
    /// The process in which the coroutine lives has published no function of this name.
    #[error("no function {0:?} has been published, by `offer_swap`, where the coroutine lives")]
    UnknownFunction(String),
    /// The coroutine has ended.
    #[error("the coroutine has ended: {0}")]
    Ended(Exit),
    /// The coroutine lives on another node, where a function of this process cannot run.
    #[error(
        "the coroutine lives on another node, where a function of this process cannot run: \
         `swap_to` names one of that node's"
    )]
    Remote,
    /// There is no link to the coroutine's node, or it was lost before the answer came: whether
    /// the new function has taken over is unknown.
    #[error("no link to the coroutine's node: {0}")]
    Disconnected(String),
}

/// A function that somebody wants a coroutine to go on with.
///
/// Dropping it refuses; not so in a panic, or when the coroutine is dropped with it: whoever
/// offers is then told of the end.
pub struct SwapOffer {
    host: Arc<dyn Host>,
    taken: Option<Taken>,
}

impl SwapOffer {
    pub(crate) fn new(host: Arc<dyn Host>, taken: Taken) -> Self {
        SwapOffer {
            host,
            taken: Some(taken),
        }
    }

    /// The path of the offered function, such as `my_service::v2::serve`.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.taken.as_ref().map_or("", Taken::function)
    }

    /// Accepts: at the next suspension point the new function takes over, with `state`.
    ///
    /// In a function, await the result: it does not return, because the function ends there. It
    /// resolves, with the state given back, only if the offer's time limit passed meanwhile. In
    /// a policy, ignore the result.
    pub fn accept<S: Any + Send>(mut self, state: S) -> Accepted<S> {
        let taken = self.taken.take();
        let number = taken.as_ref().map_or(0, Taken::number);
        let accepted = taken.is_some_and(|taken| {
            self.host
                .control()
                .extra()
                .swap
                .accept(taken, Box::new(state))
        });
        if accepted {
            self.host.control().set(Flags::ACCEPTED);
            self.host.control().wake();
        }
        Accepted {
            host: Arc::clone(&self.host),
            number,
            state: std::marker::PhantomData,
        }
    }

    /// Refuses, for a reason that the one who offers is told.
    pub fn refuse(mut self, reason: impl fmt::Display) {
        // First: if that panics, the offer has not been decided on.
        let reason = reason.to_string();
        if let Some(taken) = self.taken.take() {
            self.host.control().extra().swap.refuse(taken, reason);
        }
    }
}

impl Drop for SwapOffer {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        let control = self.host.control();
        let swap = &control.extra().swap;
        if std::thread::panicking() || control.flags().has(Flags::KILLED) {
            swap.put_back(taken);
        } else {
            swap.refuse(taken, "the coroutine dropped the offer".to_owned());
        }
    }
}

impl fmt::Debug for SwapOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwapOffer")
            .field("function", &self.function())
            .finish_non_exhaustive()
    }
}

/// The offers that come to a coroutine: see [`Context::swap_offers`](crate::Context::swap_offers).
pub struct SwapOffers {
    host: Arc<dyn Host>,
}

impl SwapOffers {
    pub(crate) fn new(host: Arc<dyn Host>) -> Self {
        SwapOffers { host }
    }

    /// Waits for an offer. Cancel-safe: an offer that is not taken is there for the next call.
    pub async fn next(&self) -> SwapOffer {
        let swap = &self.host.control().extra().swap;
        loop {
            let checked = swap.checked.notified();
            if let Some(taken) = swap.take_checked() {
                return SwapOffer::new(Arc::clone(&self.host), taken);
            }
            checked.await;
        }
    }
}

impl fmt::Debug for SwapOffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SwapOffers")
    }
}

/// What [`SwapOffer::accept`] returns: pending for ever, unless the offer was withdrawn.
pub struct Accepted<S> {
    host: Arc<dyn Host>,
    number: u64,
    state: std::marker::PhantomData<fn() -> S>,
}

impl<S: Any + Send> Future for Accepted<S> {
    type Output = S;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<S> {
        let swap = &self.host.control().extra().swap;
        let state = ready!(swap.poll_returned(self.number, cx.waker()));
        let state = state.downcast::<S>();
        Poll::Ready(*state.expect("it was accepted with this state"))
    }
}

impl<S> fmt::Debug for Accepted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepted")
    }
}

/// Offers a boxed [`Replacement`], whose path and result type are `names`, and waits.
pub(crate) async fn offer(
    host: &Arc<dyn Host>,
    replacement: Box<dyn Any + Send>,
    names: (&'static str, &'static str),
    limit: Duration,
) -> Result<(), SwapError> {
    /// Takes the offer back when whoever offers stops waiting.
    struct Withdraw<'a>(&'a dyn Host, u64);
    impl Drop for Withdraw<'_> {
        fn drop(&mut self) {
            self.0.control().extra().swap.withdraw(self.1);
        }
    }

    let control = host.control();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let number = control
        .extra()
        .swap
        .offer(replacement, names.0, names.1, answer)?;
    let _withdraw = Withdraw(&**host, number);
    control.set(Flags::OFFERED);
    control.wake();
    let ended = || SwapError::Ended(control.exit().unwrap_or(Exit::Terminated));
    if control.is_ended() {
        // It may have ended before it could see the offer, which then nobody answers.
        return Err(ended());
    }
    match tokio::time::timeout(limit, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ended()),
        Err(_) => Err(SwapError::NotTaken(limit)),
    }
}
