//! Functions that peers may start here by name, and functions that they may offer to coroutines.
//!
//! A function does not travel, its name does: [`Node::offer`] puts one under a name, an [`Rci`] is
//! that name at that node, and [`Rci::start`] has it called there, as a coroutine, with arguments that travel.
//! What comes back is a [`RemoteCoro`]: the coroutine's address and its result.
//!
//! What peers say goes to the node's part for functions, as messages with replies in them:
//! `protocol` has them, `inlet` reads them, on the link's reader, where nothing waits: a coroutine
//! that is started is first polled in its own task. One task more per coroutine (`offered`) takes
//! the answers back, and ends the coroutine with its starter's session. How many may run is counted
//! in `limits`, which is plain state.
//!
//! At most once: the request is one message, and no side repeats it. Whoever starts is told, or
//! loses the session and is told that.

mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod inlet;
mod limits;
mod named;
mod offer;
mod offered;
mod protocol;
mod rci;
mod remote_coro;
mod swap;
mod table;

use std::sync::Arc;

use coros_core::Context;
use coros_core::remote::{Location, Message};
use coros_core::swap::SwapFunction;

use crate::Node;

pub use error::{NotStarted, OfferError, StartError};
pub(crate) use inlet::FunctionsInlet;
pub use limits::LimitReached;
pub use offer::Offer;
pub use protocol::Types;
pub use rci::Rci;
pub use remote_coro::{RemoteCoro, RemoteJoin};
pub(crate) use swap::swap_at;
pub(crate) use table::Functions;

impl Node {
    /// Lets peers start a function by name, each time as a new coroutine of this node, within the
    /// limits that [`Offer`] has by default.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_core::Context;
    /// use coros_net::{Node, Rci, Secret};
    ///
    /// async fn sum(mut me: Context<u64>, start: u64) -> u64 {
    ///     let mut sum = start;
    ///     while let Some(n) = me.receive().await {
    ///         if n == 0 {
    ///             break;
    ///         }
    ///         sum += n;
    ///     }
    ///     sum
    /// }
    ///
    /// let secret = Secret::random();
    /// let farm = Node::builder().name("farm").secret(secret.clone()).build().await?;
    /// farm.offer("sum", sum)?;
    ///
    /// let desk = Node::builder().name("desk").secret(secret).build().await?;
    /// let sum: Rci<u64, u64, u64> = desk.function_at(&farm.location(), "sum");
    /// let coro = sum.start(40).await?;
    /// coro.send(2)?;
    /// coro.send(0)?;
    /// assert_eq!(coro.join().await?, 42);
    /// # desk.close().await; farm.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OfferError`]: there is one of this name already, or the node has closed.
    pub fn offer<Args, M, R, F, Fut>(
        &self,
        name: &str,
        function: F,
    ) -> Result<Rci<Args, M, R>, OfferError>
    where
        Args: Message,
        M: Message,
        R: Message,
        F: Fn(Context<M>, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.offer_with(name, Offer::new(), function)
    }

    /// [`offer`](Node::offer) with other limits, or other mailboxes.
    ///
    /// # Errors
    /// As [`offer`](Node::offer).
    pub fn offer_with<Args, M, R, F, Fut>(
        &self,
        name: &str,
        options: Offer,
        function: F,
    ) -> Result<Rci<Args, M, R>, OfferError>
    where
        Args: Message,
        M: Message,
        R: Message,
        F: Fn(Context<M>, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let functions = &self.inner().functions;
        functions.offer(offered::Offered::new(name, options, function))?;
        Ok(Rci::here(&self.location(), name, Arc::clone(functions)))
    }

    /// Takes back what was [offered](Node::offer) under this name. Coroutines that run go on.
    /// False when there was nothing.
    pub fn withdraw(&self, name: &str) -> bool {
        self.inner().functions.withdraw(name)
    }

    /// A function that the node at `location` offers, or does not: that is found out when it is
    /// started. Where the node is not known, it can [register](Node::register) the function, and others
    /// [locate](Node::locate) it.
    #[must_use]
    pub fn function_at<Args: Message, M: Message, R: Message>(
        &self,
        location: &Location,
        name: &str,
    ) -> Rci<Args, M, R> {
        let inner = self.inner();
        if location.node == inner.location.node {
            return Rci::here(&self.location(), name, Arc::clone(&inner.functions));
        }
        Rci::there(location, name, inner.peer(location))
    }

    /// Lets peers offer a function by name to the coroutines of this process whose addresses peers
    /// have, by [`Address::swap_to`](coros_core::Address::swap_to); this process may too. The
    /// coroutine decides, as [ever](coros_core::swap).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_core::{Context, Reply, spawn};
    /// use coros_net::{Node, Secret};
    ///
    /// async fn first(mut me: Context<Reply<u32>>) {
    ///     me.swappable(|offer| drop(offer.accept(())));
    ///     while let Some(reply) = me.receive().await {
    ///         reply.send(1);
    ///     }
    /// }
    /// async fn second(mut me: Context<Reply<u32>>) {
    ///     while let Some(reply) = me.receive().await {
    ///         reply.send(2);
    ///     }
    /// }
    ///
    /// let secret = Secret::random();
    /// let farm = Node::builder().name("farm").secret(secret.clone()).build().await?;
    /// farm.offer_swap("second", second)?;
    /// let bytes = farm.encode(&spawn(first).address())?;
    ///
    /// let desk = Node::builder().name("desk").secret(secret).build().await?;
    /// let coro: coros_core::Address<Reply<u32>> = desk.decode(&bytes)?;
    /// coro.swap_to("second").await?;
    /// assert_eq!(coro.ask(|reply| reply).await?, 2);
    /// # desk.close().await; farm.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`OfferError`]: there is one of this name already, or the node has closed.
    pub fn offer_swap<M, F, Fut>(&self, name: &str, function: F) -> Result<(), OfferError>
    where
        M: Send + 'static,
        F: Fn(Context<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: 'static> + Send + 'static,
    {
        let function = Arc::new(SwapFunction::new(function));
        self.inner().functions.offer_swap(name, function)
    }

    /// Takes back what was offered by [`offer_swap`](Node::offer_swap). False when there was
    /// nothing.
    pub fn withdraw_swap(&self, name: &str) -> bool {
        self.inner().functions.withdraw_swap(name)
    }
}
