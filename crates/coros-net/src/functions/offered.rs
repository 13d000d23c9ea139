//! A function as its node has it: how a coroutine of it is started, and what follows its end.

use std::any::Any;
use std::future::{self, Future, IntoFuture};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coros_core::remote::{self, Answer, BoxFuture, CodecError, Message, NodeId};
use coros_core::{Address, Context, Coro, Exit};

use super::error::NotStarted;
use super::limits::{LimitReached, Running};
use super::offer::Offer;
use super::protocol::{Replies, Types};
use super::table::Functions;

/// A function, whatever its types.
pub(super) trait Function: Send + Sync {
    fn name(&self) -> &str;

    fn types(&self) -> Types;

    /// Starts it for a peer, whose replies and arguments are in `body`, or tells the peer why not.
    /// Reads them, and does nothing that takes longer.
    fn start(
        self: Arc<Self>,
        home: &Arc<Functions>,
        from: Option<NodeId>,
        body: &[u8],
    ) -> Result<(), CodecError>;

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

type Spawn<Args, M, R> = Box<dyn Fn(coros_core::Builder, Args) -> Coro<M, R> + Send + Sync>;

/// A function of known types.
pub(super) struct Offered<Args, M, R> {
    name: String,
    options: Offer,
    running: Arc<Mutex<Running>>,
    spawn: Spawn<Args, M, R>,
}

/// What the starter of a coroutine in this process gets.
pub(super) type Started<M, R> = (Address<M>, Answer<Result<R, Exit>>);

impl<Args: Message, M: Message, R: Message> Offered<Args, M, R> {
    pub(super) fn new<F, Fut>(name: &str, options: Offer, function: F) -> Arc<Self>
    where
        F: Fn(Context<M>, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let function = Arc::new(function);
        let spawn = move |builder: coros_core::Builder, args| {
            let function = Arc::clone(&function);
            // Called in the coroutine's own task: a panic in it is the coroutine's.
            builder.spawn(move |me| function(me, args))
        };
        Arc::new(Offered {
            name: name.to_owned(),
            running: Arc::new(Mutex::new(Running::new(options.limits))),
            options,
            spawn: Box::new(spawn),
        })
    }

    /// Starts it for somebody in this process.
    pub(super) fn start_here(
        &self,
        home: &Arc<Functions>,
        args: Args,
    ) -> Result<Started<M, R>, (Args, LimitReached)> {
        let slot = match self.slot(None) {
            Ok(slot) => slot,
            Err(limit) => return Err((args, limit)),
        };
        let coro = self.spawn(home, args);
        let address = coro.address();
        let (reply, answer) = remote::question();
        home.runtime().spawn(async move {
            let result = coro.await;
            drop(slot);
            reply.send(result);
        });
        Ok((address, answer))
    }

    fn spawn(&self, home: &Functions, args: Args) -> Coro<M, R> {
        let mut builder = coros_core::build().name(&*self.name).on(home.runtime());
        if let Some(messages) = self.options.capacity {
            builder = builder.capacity(messages);
        }
        (self.spawn)(builder, args)
    }

    fn slot(&self, from: Option<NodeId>) -> Result<Slot, LimitReached> {
        lock(&self.running).enter(from)?;
        Ok(Slot {
            running: Arc::clone(&self.running),
            from,
        })
    }
}

impl<Args: Message, M: Message, R: Message> Function for Offered<Args, M, R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn types(&self) -> Types {
        Types::of::<Args, M, R>()
    }

    fn start(
        self: Arc<Self>,
        home: &Arc<Functions>,
        from: Option<NodeId>,
        body: &[u8],
    ) -> Result<(), CodecError> {
        let (replies, args) = remote::decode_first::<Replies<M, R>>(body)?;
        // Read even if they are not needed: replies in them are refused when they are dropped.
        let args = match remote::decode::<Args>(args) {
            Ok(args) => args,
            Err(error) => {
                replies.started.send(Err(NotStarted::Unreadable(error)));
                return Ok(());
            }
        };
        let slot = match self.slot(from) {
            Ok(slot) => slot,
            Err(limit) => {
                replies.started.send(Err(NotStarted::Limit(limit)));
                return Ok(());
            }
        };
        let coro = self.spawn(home, args);
        let exchange = remote::exchange().filter(|_| self.options.linked);
        let over = exchange.and_then(|exchange| exchange.session_over());
        home.runtime().spawn(see_through(coro, replies, slot, over));
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Tells the starter that the coroutine has been started, and how it ended; ends it when the session
/// with the starter is over.
async fn see_through<M: Message, R: Message>(
    coro: Coro<M, R>,
    replies: Replies<M, R>,
    slot: Slot,
    over: Option<BoxFuture<()>>,
) {
    let mut over = over.unwrap_or_else(|| Box::pin(future::pending()));
    // A refusal cannot be written either where an address cannot.
    #[expect(clippy::result_large_err, reason = "what travels, and is made once")]
    let cannot = |error| Err(NotStarted::Unreadable(error));
    let is_over = tokio::select! {
        biased;
        () = &mut over => true,
        // Whoever has lost the session knows.
        _ = remote::answer(replies.started, Ok(coro.address()), cannot) => false,
    };
    // It must not count as an address.
    let weak = coro.downgrade();
    let mut ends = coro.into_future();
    let result = if is_over {
        None
    } else {
        tokio::select! {
            biased;
            result = &mut ends => Some(result),
            () = over => None,
        }
    };
    let Some(result) = result else {
        if let Some(coro) = weak {
            coro.terminate();
        }
        let _ = ends.await;
        return;
    };
    // Before the starter is told, who may want to start the next.
    drop(slot);
    let lost = |e: CodecError| {
        let why = format!("it finished, but its result cannot travel: {e}");
        Err(Exit::Failed(why.into()))
    };
    let _ = remote::answer(replies.result, result, lost).await;
}

/// Counts against the limits as long as it is there.
struct Slot {
    running: Arc<Mutex<Running>>,
    from: Option<NodeId>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.running).leave(self.from);
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
