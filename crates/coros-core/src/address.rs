//! The address of a coroutine, wherever it lives.

use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Control, Flags};
use crate::engine::Host;
use crate::mailbox::Mailbox;
use crate::remote::{OnExit, RemoteId, Request, Unwatch};
use crate::reply::{AskError, Reply};
use crate::send::{SendError, deliver_local, deliver_local_timeout, send_local};
use crate::swap::{Replacement, SWAP_TIME_LIMIT, SwapError};
use crate::wire::Remote;
use crate::{Context, Exit};

/// Sends messages to a coroutine and controls it.
///
/// An address is small and cheap to clone, compare and hash, and can be sent anywhere, also to
/// another node inside a message: there it works the same. Two addresses are equal when they
/// belong to the same coroutine.
///
/// A coroutine lives as long as its function runs, whether or not somebody has its address. But
/// once the last address is gone nobody can send to it any more, so
/// [`receive`](Context::receive) returns `None`, by which most coroutines end.
/// [`downgrade`](Address::downgrade) gives an address that does not count. One that has gone to
/// another node counts until the last that came of it there is dropped, or the session with that
/// node ends.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::{Address, Context};
///
/// async fn echo(mut me: Context<(String, Address<String>)>) {
///     while let Some((text, from)) = me.receive().await {
///         let _ = from.send(text.to_uppercase());
///     }
/// }
///
/// let echo = coros_core::spawn(echo);
/// let asker = coros_core::spawn(async move |mut me: Context<String>| {
///     echo.send(("hello".into(), me.address())).unwrap();
///     me.receive().await
/// });
/// assert_eq!(asker.join().await.unwrap().as_deref(), Some("HELLO"));
/// # }
/// ```
pub struct Address<M> {
    place: Place<M>,
}

enum Place<M> {
    Local(Arc<Mailbox<M>>),
    Remote(Arc<Remote<M>>),
}

/// A watcher that can be taken back: no address.
pub(crate) enum Watch {
    /// Of a local coroutine, by its key.
    Here(u64),
    There(Unwatch),
}

impl<M> Address<M> {
    pub(crate) fn local(mailbox: Arc<Mailbox<M>>) -> Self {
        mailbox.add_address();
        Address {
            place: Place::Local(mailbox),
        }
    }

    /// The address of a coroutine that has ended.
    pub(crate) fn ended() -> Self
    where
        M: Send + 'static,
    {
        let (mailbox, receiver) = Mailbox::new(Control::new(Flags::NONE, None));
        drop(receiver);
        mailbox.control().set(Flags::ENDED);
        Address::local(mailbox)
    }

    pub(crate) fn remote(remote: Remote<M>) -> Self {
        Address {
            place: Place::Remote(Arc::new(remote)),
        }
    }

    /// The local coroutine, or the way to a remote one.
    pub(crate) fn place(&self) -> Result<&Arc<Mailbox<M>>, &Arc<Remote<M>>> {
        match &self.place {
            Place::Local(mailbox) => Ok(mailbox),
            Place::Remote(remote) => Err(remote),
        }
    }

    /// The coroutine's number, unique within a run of its node.
    #[must_use]
    pub fn id(&self) -> u64 {
        match &self.place {
            Place::Local(mailbox) => mailbox.control().id(),
            Place::Remote(remote) => remote.id().coroutine,
        }
    }

    /// The name given by [`Builder::name`](crate::Builder::name). Unknown for a coroutine of
    /// another node.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.place().ok()?.control().name()
    }

    /// Where the coroutine lives, if that is not in this process.
    #[must_use]
    pub fn remote_id(&self) -> Option<&RemoteId> {
        self.place().err().map(|remote| remote.id())
    }

    /// Whether it is the same coroutine, reached by the same carrier if it is of another node.
    pub(crate) fn has_same_way(&self, other: &Address<M>) -> bool {
        match (&self.place, &other.place) {
            (Place::Remote(a), Place::Remote(b)) => a.has_same_way(b),
            _ => self == other,
        }
    }

    /// Takes a watcher back, if there is one. False when it has been called.
    pub(crate) fn unwatch(&self, watch: Option<Watch>) -> bool {
        match (watch, &self.place) {
            (Some(Watch::Here(key)), Place::Local(mailbox)) => mailbox.control().unwatch(key),
            (Some(Watch::There(unwatch)), _) => unwatch(),
            _ => false,
        }
    }

    /// Whether the coroutine takes no more messages: it has ended, or dropped its context. For a
    /// coroutine of another node always false, since only an answer could tell.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.place().is_ok_and(|mailbox| mailbox.is_closed())
    }

    /// Stops the coroutine at its next suspension point until [`resume`](Self::resume): where it
    /// would wait. One that is at work gets as far as that, and on its way may still receive what
    /// is in its mailbox.
    ///
    /// Messages queue up meanwhile, and timers go on. Suspending twice is suspending once.
    pub fn suspend(&self) {
        match &self.place {
            Place::Local(mailbox) => mailbox.control().suspend(),
            Place::Remote(remote) => remote.request(Request::Suspend),
        }
    }

    /// Lets a suspended coroutine go on, whether it suspended itself or others did. Does nothing
    /// to one that is not suspended.
    pub fn resume(&self) {
        match &self.place {
            Place::Local(mailbox) => mailbox.control().resume(),
            Place::Remote(remote) => remote.request(Request::Resume),
        }
    }

    /// An address that does not keep the coroutine's mailbox open; `None` for a coroutine of
    /// another node.
    #[must_use]
    pub fn downgrade(&self) -> Option<WeakAddress<M>> {
        self.place().ok().map(|mailbox| WeakAddress {
            mailbox: Arc::clone(mailbox),
        })
    }
}

impl<M: Send + 'static> Address<M> {
    /// Asks the coroutine to end.
    ///
    /// One that has asked to be told, by [`Context::terminating`], is told, and has its grace
    /// period ([`Builder::grace`](crate::Builder::grace), five seconds by default) to clean up
    /// and return; it is resumed if it was suspended. Any other, and one whose grace period is
    /// over, is dropped at the await point where it is, and ends with [`Exit::Terminated`].
    ///
    /// Returns at once; [`exit`](Self::exit) waits. A coroutine that computes without ever
    /// awaiting cannot be stopped. Terminating twice, or one that has ended, does nothing.
    pub fn terminate(&self) {
        match &self.place {
            Place::Local(mailbox) => {
                crate::terminate::terminate(Arc::clone(mailbox) as Arc<dyn Host>);
            }
            Place::Remote(remote) => remote.request(Request::Terminate),
        }
    }

    /// Puts a message into the coroutine's mailbox without waiting.
    ///
    /// To a coroutine of another node, `Ok` says that the message is on its way. It does not
    /// arrive when the session with that node ends before, or when the coroutine has ended
    /// meanwhile. [`deliver`](Self::deliver) waits until it has arrived.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the coroutine has ended, [`SendError::Full`] when its mailbox
    /// is bounded and full; both give the message back. Remote sends have further reasons.
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        match &self.place {
            Place::Local(mailbox) => send_local(mailbox, message),
            Place::Remote(remote) => remote.send(message),
        }
    }

    /// [`send`](Self::send) that waits for room instead of failing for want of it: for those who send
    /// much. Senders that wait are served in turn. To a coroutine of this process it does what
    /// [`deliver`](Self::deliver) does; to one of another node it does not wait for an answer, so it
    /// sends as much as the link and the receiver take.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let sum = coros_core::build().capacity(2).spawn(async |mut me| {
    ///     let mut sum = 0;
    ///     while let Some(n) = me.receive().await {
    ///         sum += n;
    ///     }
    ///     sum
    /// });
    /// for n in 1..=100 {
    ///     sum.feed(n).await.unwrap();
    /// }
    /// assert_eq!(sum.join().await.unwrap(), 5050);
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send), except [`SendError::Full`]: also [`SendError::Closed`] when a coroutine
    /// of this process ends while it waits, and [`SendError::Disconnected`] when the session with
    /// another node does. That a coroutine of another node has ended it does not learn.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, a message to a coroutine of this process has not been sent and is
    /// dropped; one to a coroutine of another node may have been sent, if its turn has come before
    /// anybody looked.
    pub async fn feed(&self, message: M) -> Result<(), SendError<M>> {
        match (self.send(message), &self.place) {
            (Err(SendError::Full(message)), Place::Local(mailbox)) => {
                deliver_local(mailbox, message).await
            }
            // Boxed, because it seldom has to wait.
            (Err(SendError::Full(message)), Place::Remote(remote)) => {
                Box::pin(remote.feed(message)).await
            }
            (sent, _) => sent,
        }
    }

    /// Puts a message into the coroutine's mailbox, and resolves when it is there. Waits for
    /// room in a bounded mailbox; senders that wait are served in turn.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the coroutine has ended, or ends before there is room;
    /// [`SendError::Disconnected`] when the link to its node is lost before the answer.
    ///
    /// # Cancel safety
    /// Dropped before it resolves, the message of a local delivery has not been sent and is
    /// dropped; that of a remote one may have been sent.
    pub async fn deliver(&self, message: M) -> Result<(), SendError<M>> {
        match &self.place {
            Place::Local(mailbox) => deliver_local(mailbox, message).await,
            Place::Remote(remote) => remote.deliver(message).await,
        }
    }

    /// [`deliver`](Self::deliver) with a time limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use std::time::Duration;
    /// use coros_core::{Context, SendError};
    ///
    /// let busy = coros_core::build().capacity(1).spawn(async |me: Context<u32>| {
    ///     std::future::pending::<()>().await;
    ///     drop(me);
    /// });
    /// let limit = Duration::from_millis(10);
    /// assert_eq!(busy.deliver_timeout(limit, 1).await, Ok(()));
    /// assert_eq!(busy.deliver_timeout(limit, 2).await, Err(SendError::TimedOut(2, limit)));
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver), and [`SendError::TimedOut`]: the message has not been sent, or,
    /// to a coroutine of another node, may arrive nevertheless.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// As [`deliver`](Self::deliver).
    pub async fn deliver_timeout(&self, limit: Duration, message: M) -> Result<(), SendError<M>> {
        match &self.place {
            Place::Local(mailbox) => deliver_local_timeout(mailbox, message, limit).await,
            Place::Remote(remote) => remote.deliver_timeout(message, limit).await,
        }
    }

    /// Sends a message with a [`Reply`] in it and waits for the reply, as long as the coroutine
    /// has it. To a coroutine of another node it waits for room first, as [`feed`](Self::feed) does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Context, Reply};
    ///
    /// enum Store { Get(u32, Reply<Option<String>>) }
    ///
    /// let store = coros_core::spawn(async |mut me: Context<Store>| {
    ///     while let Some(Store::Get(key, reply)) = me.receive().await {
    ///         reply.send((key == 7).then(|| "seven".into()));
    ///     }
    /// });
    /// let seven = store.ask(|reply| Store::Get(7, reply)).await.unwrap();
    /// assert_eq!(seven.as_deref(), Some("seven"));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`AskError::Closed`] or [`AskError::Full`] when the message did not get into the mailbox,
    /// [`AskError::NoReply`] when the coroutine drops the reply, as it does when it ends,
    /// [`AskError::Disconnected`] when its node cannot be reached, or the session with it ends
    /// before the answer comes.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back a message that has been sent; the reply is dropped when
    /// it comes. One that waits for room is not sent.
    pub async fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError> {
        let (reply, answer) = Reply::new();
        match (self.send(message(reply)), &self.place) {
            (Ok(()), _) => {}
            (Err(SendError::Full(message)), Place::Remote(remote)) => {
                // Boxed, because it seldom has to wait.
                let fed = Box::pin(remote.feed(message)).await;
                fed.map_err(AskError::from_send)?;
            }
            (Err(error), _) => return Err(AskError::from_send(error)),
        }
        answer.await.map_err(|why| AskError::unanswered(&why))
    }

    /// [`ask`](Self::ask) with a time limit.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), and [`AskError::TimedOut`].
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// As [`ask`](Self::ask).
    pub async fn ask_timeout<T: Send + 'static>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, AskError> {
        match tokio::time::timeout(limit, self.ask(message)).await {
            Ok(result) => result,
            Err(_) => Err(AskError::TimedOut(limit)),
        }
    }

    /// Offers a coroutine of this process a new function and waits, at most [`SWAP_TIME_LIMIT`], until it has
    /// taken over. See the [module](crate::swap) for the whole protocol.
    ///
    /// # Errors
    /// [`SwapError`]: whatever keeps the old function running.
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the offer, unless the new function has taken over.
    pub async fn swap<F, Fut>(&self, function: F) -> Result<(), SwapError>
    where
        F: FnOnce(Context<M>) -> Fut + Send + 'static,
        Fut: Future<Output: 'static> + Send + 'static,
    {
        self.swap_timeout(SWAP_TIME_LIMIT, function).await
    }

    /// [`swap`](Self::swap) with another time limit.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    ///
    /// # Panics
    /// As [`swap`](Self::swap).
    ///
    /// # Cancel safety
    /// As [`swap`](Self::swap).
    pub async fn swap_timeout<F, Fut>(&self, limit: Duration, function: F) -> Result<(), SwapError>
    where
        F: FnOnce(Context<M>) -> Fut + Send + 'static,
        Fut: Future<Output: 'static> + Send + 'static,
    {
        let mailbox = self.place().map_err(|_| SwapError::Remote)?;
        let replacement: Replacement<M, Fut::Output> =
            Box::new(move |context| Box::pin(function(context)));
        crate::swap::offer(
            &(Arc::clone(mailbox) as Arc<dyn Host>),
            Box::new(replacement),
            (
                std::any::type_name::<F>(),
                std::any::type_name::<Fut::Output>(),
            ),
            limit,
        )
        .await
    }

    /// Offers the coroutine, wherever it lives, a function that its process has under this name
    /// ([`swap::publish`](crate::swap::publish); a node's `offer_swap`), and waits, at most
    /// [`SWAP_TIME_LIMIT`], until it has taken over. All else is as with [`swap`](Self::swap).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// use coros_core::{Context, Reply};
    /// use coros_core::swap::{SwapFunction, publish};
    ///
    /// async fn french(mut me: Context<Reply<&'static str>>) {
    ///     while let Some(reply) = me.receive().await {
    ///         reply.send("bonjour");
    ///     }
    /// }
    ///
    /// let _published = publish("french", SwapFunction::new(french));
    /// let greeter = coros_core::spawn(async |mut me: Context<Reply<&'static str>>| {
    ///     me.swappable(|offer| drop(offer.accept(())));
    ///     while let Some(reply) = me.receive().await {
    ///         reply.send("hello");
    ///     }
    /// });
    /// greeter.swap_to("french").await.unwrap();
    /// assert_eq!(greeter.ask(|reply| reply).await.unwrap(), "bonjour");
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SwapError`]: whatever keeps the old function running; among them
    /// [`UnknownFunction`](SwapError::UnknownFunction), [`WrongMessages`](SwapError::WrongMessages)
    /// and, across nodes, [`Disconnected`](SwapError::Disconnected).
    ///
    /// # Panics
    /// When polled outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the offer, unless the new function has taken over; one to a
    /// coroutine of another node stands until its time limit.
    pub async fn swap_to(&self, function: &str) -> Result<(), SwapError> {
        self.swap_to_timeout(SWAP_TIME_LIMIT, function).await
    }

    /// [`swap_to`](Self::swap_to) with another time limit.
    ///
    /// # Errors
    /// As [`swap_to`](Self::swap_to).
    ///
    /// # Panics
    /// As [`swap_to`](Self::swap_to).
    ///
    /// # Cancel safety
    /// As [`swap_to`](Self::swap_to).
    pub async fn swap_to_timeout(&self, limit: Duration, function: &str) -> Result<(), SwapError> {
        match &self.place {
            Place::Local(mailbox) => {
                let function = crate::swap::find_published::<M>(function)?;
                let host = Arc::clone(mailbox) as Arc<dyn Host>;
                function.offer_to::<M>(&host, limit).await
            }
            Place::Remote(remote) => remote.swap(function, limit).await,
        }
    }

    /// Waits until the coroutine has ended, and says why. Resolves at once if it has, and with
    /// [`Exit::Unwatched`] if too many ends are waited for: see [`Context::monitor`].
    ///
    /// # Cancel safety
    /// Dropping the future is harmless.
    pub async fn exit(&self) -> Exit {
        crate::monitor::exit(self).await
    }

    /// Calls `f` once when the coroutine has ended, at once if it has; with
    /// [`Exit::Disconnected`] when the link to its node is lost, and [`Exit::Unwatched`] as
    /// [`Context::monitor`] says.
    ///
    /// `f` runs where the coroutine ends, on a thread of the runtime: it must not block. A panic
    /// in it is logged. [`Context::monitor`] sends a message instead.
    pub fn on_exit(&self, f: impl FnOnce(Exit) + Send + 'static) {
        let _ = self.watch(Box::new(f));
    }

    /// Registers a watcher; what [takes it back](Self::unwatch), unless it has been called.
    pub(crate) fn watch(&self, watcher: OnExit) -> Option<Watch> {
        match &self.place {
            Place::Local(mailbox) => Some(Watch::Here(mailbox.control().watch(watcher))),
            Place::Remote(remote) => remote.watch(watcher).map(Watch::There),
        }
    }

    /// Puts a message into the mailbox of a local coroutine even if that is bounded and full.
    pub(crate) fn send_anyway(&self, message: M) -> Result<(), SendError<M>> {
        match &self.place {
            Place::Local(mailbox) => {
                if let Some(bounds) = mailbox.control().bounds() {
                    bounds.enter_anyway();
                }
                mailbox.push(message).map_err(SendError::Closed)
            }
            Place::Remote(remote) => remote.send(message),
        }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        let place = match &self.place {
            Place::Local(mailbox) => {
                mailbox.add_address();
                Place::Local(Arc::clone(mailbox))
            }
            Place::Remote(remote) => Place::Remote(Arc::clone(remote)),
        };
        Address { place }
    }
}

impl<M> Drop for Address<M> {
    fn drop(&mut self) {
        if let Place::Local(mailbox) = &self.place {
            mailbox.drop_address();
        }
    }
}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Local(a), Place::Local(b)) => Arc::ptr_eq(a, b),
            (Place::Remote(a), Place::Remote(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

impl<M> Eq for Address<M> {}

impl<M> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id().hash(state);
    }
}

/// `name#12`, `#12`, or `#12@node@127.0.0.1:4000`.
impl<M> fmt::Display for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name().unwrap_or(""), self.id())?;
        match self.remote_id() {
            Some(id) => write!(f, "@{}", id.location),
            None => Ok(()),
        }
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The address of a coroutine of this process that does not keep its mailbox open.
pub struct WeakAddress<M> {
    mailbox: Arc<Mailbox<M>>,
}

impl<M> WeakAddress<M> {
    /// The address, if there still is one: `None` once the last is gone or the coroutine has
    /// ended.
    #[must_use]
    pub fn upgrade(&self) -> Option<Address<M>> {
        if self.mailbox.is_closed() || !self.mailbox.add_address_to_others() {
            return None;
        }
        Some(Address {
            place: Place::Local(Arc::clone(&self.mailbox)),
        })
    }

    /// The coroutine's number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.control().id()
    }

    pub(crate) fn control(&self) -> &Control {
        self.mailbox.control()
    }
}

impl<M: Send + 'static> WeakAddress<M> {
    /// [`Address::terminate`], also when no address is left.
    pub fn terminate(&self) {
        crate::terminate::terminate(Arc::clone(&self.mailbox) as Arc<dyn Host>);
    }
}

impl<M> Clone for WeakAddress<M> {
    fn clone(&self) -> Self {
        WeakAddress {
            mailbox: Arc::clone(&self.mailbox),
        }
    }
}

impl<M> fmt::Debug for WeakAddress<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakAddress(#{})", self.id())
    }
}
