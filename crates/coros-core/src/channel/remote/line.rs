//! The way to a counterpart on another node.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::wire::Delivered;
use crate::channel::life::MAX_TURNS;
use crate::mailbox::oneshot;
use crate::remote::{self, BoxFuture, Carrier, CarryError, Encode, OnExit, RemoteId};
use crate::reply::Reply;
use crate::waiting;

/// For how long a delivery that was refused waits before it is tried again, at first and at most.
const AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// Takes messages to one inlet of another node.
pub(super) struct Line {
    pub(super) id: RemoteId,
    carrier: Arc<dyn Carrier>,
    /// For what goes on when the caller has returned; channels are also used outside of a runtime.
    runtime: Option<Handle>,
    /// As many deliveries as may wait there.
    turns: Arc<Semaphore>,
}

impl Line {
    pub(super) fn new(id: RemoteId, carrier: Arc<dyn Carrier>) -> Self {
        Line {
            id,
            carrier,
            runtime: Handle::try_current().ok(),
            turns: Arc::new(Semaphore::new(MAX_TURNS)),
        }
    }

    pub(super) fn has_carrier(&self, carrier: &Arc<dyn Carrier>) -> bool {
        Arc::ptr_eq(&self.carrier, carrier)
    }

    pub(super) fn send(&self, encode: Encode<'_>) -> Result<(), CarryError> {
        self.carrier.send(&self.id, encode)
    }

    pub(super) fn deliver(&self, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        self.carrier.deliver(&self.id, encode)
    }

    /// Calls `attempt`, which queues a delivery, as soon as one more may wait there: now, if it may;
    /// and again while it is refused all the same, since those given up just now may still count
    /// there. How many coroutines got it.
    pub(super) fn deliver_in_turn<F>(
        &self,
        mut attempt: impl FnMut() -> F + Send + 'static,
    ) -> BoxFuture<usize>
    where
        F: Future<Output = Result<usize, CarryError>> + Send + 'static,
    {
        let turns = Arc::clone(&self.turns);
        let turn = Arc::clone(&turns).try_acquire_owned().ok();
        let mut first = turn.is_some().then(&mut attempt);
        Box::pin(async move {
            let _turn = match turn {
                Some(turn) => Ok(turn),
                None => turns.acquire_owned().await,
            };
            let [mut pause, most] = AGAIN;
            loop {
                let delivery = first.take().unwrap_or_else(&mut attempt);
                match delivery.await {
                    Ok(reached) => return reached,
                    Err(CarryError::Full) => {}
                    Err(error) => {
                        tracing::debug!("a delivery of a channel did not arrive: {error}");
                        return 0;
                    }
                }
                tokio::time::sleep(pause).await;
                pause = most.min(2 * pause);
            }
        })
    }

    /// Sends, or lets it wait when there is no room, behind what waits already, unless `most` does.
    /// `keep` lives until it is sent.
    pub(super) fn send_or_wait(
        &self,
        most: usize,
        encode: Encode<'_>,
        keep: impl Send + 'static,
    ) -> Result<(), CarryError> {
        match self.carrier.send(&self.id, &mut *encode) {
            Err(CarryError::Full) => {
                let runtime = self.runtime().ok_or(CarryError::Full)?;
                let waits = waiting::take(self.id.location.node, most);
                let mut waits = waits.ok_or(CarryError::Full)?;
                let encode = &mut |buffer: &mut Vec<u8>| waits.encode(buffer, &mut *encode);
                let delivery = self.carrier.deliver(&self.id, encode);
                runtime.spawn(async move {
                    // If it does not arrive, the session is over.
                    let _ = delivery.await;
                    drop((waits, keep));
                });
                Ok(())
            }
            sent => sent,
        }
    }

    /// Watches for good: whoever asks needs to know as long as there is a line.
    pub(super) fn watch(&self, on_exit: OnExit) {
        let _ = self.carrier.watch(&self.id, on_exit);
    }

    /// Writes the name of the counterpart into a message.
    pub(super) fn pass_on<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(exchange) = remote::exchange() {
            exchange.pass_on(&self.id, &self.carrier);
        }
        self.id.serialize(serializer)
    }

    pub(super) fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.runtime.clone())
    }
}

/// A delivery that has been queued, and the question what became of it: given up with this.
pub(super) struct Asking {
    pub(super) queued: BoxFuture<Result<(), CarryError>>,
    pub(super) reply: Reply<Delivered>,
    pub(super) answer: oneshot::Receiver<Delivered>,
}

impl Asking {
    /// How many coroutines got it; [`CarryError::Full`] when it was refused.
    pub(super) async fn answered(mut self) -> Result<usize, CarryError> {
        (&mut self.queued).await?;
        match (&mut self.answer).await {
            Ok(Delivered::To(n)) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
            Ok(Delivered::Closed) => Err(CarryError::Closed),
            Ok(Delivered::TooMany) => Err(CarryError::Full),
            Err(_) => Err(CarryError::Disconnected(Box::new(
                "the link was lost before the answer".into(),
            ))),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.reply.give_up();
    }
}
