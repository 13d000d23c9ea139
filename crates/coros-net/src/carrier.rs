//! A peer as core sees it: what takes bytes to the coroutines of another node.

use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{
    BoxFuture, Carrier, CarryError, CodecError, Encode, OnExit, RemoteId, Request,
};
use coros_core::{Exit, SwapError};
use tokio::sync::oneshot;

use crate::functions;
use crate::peer::{Peer, PeerSession, tell};
use crate::scope;
use crate::session::Place;
use crate::wire;

impl Carrier for Peer {
    fn send(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.encoded(encode, |payload, lent| {
            let queued = self.reach(|session, _| session.message(to.coroutine, payload, lent))?;
            queued.map_err(|_| CarryError::Full)
        })
    }

    fn answer(&self, to: &RemoteId, encode: Encode<'_>) -> Result<(), CarryError> {
        self.encoded(encode, |payload, lent| {
            let queued =
                self.reach(|session, _| session.answer_question(to.coroutine, payload, lent))?;
            queued.map_err(|_| CarryError::Full)
        })
    }

    fn deliver(&self, to: &RemoteId, encode: Encode<'_>) -> BoxFuture<Result<(), CarryError>> {
        let Some(this) = self.this() else {
            return Box::pin(async { Err(gone()) });
        };
        let target = to.coroutine;
        let queued = self.encoded(encode, |payload, lent| {
            let (waiter, answer) = oneshot::channel();
            // Queued before anybody polls: what the caller sends next comes after it.
            let (place, epoch) = self
                .reach(|session, epoch| (session.deliver(target, payload, lent, waiter), epoch))?;
            let turn = place.map(|place| Turn {
                peer: this,
                epoch,
                place,
                lent: lent.to_vec(),
            });
            let answered = async move {
                // While it waits, it goes with whoever waits for it.
                let _turn = turn;
                answer.await.unwrap_or_else(|_| Err(gone()))
            };
            Ok(Box::pin(answered) as BoxFuture<_>)
        });
        queued.unwrap_or_else(|e| Box::pin(async { Err(e) }))
    }

    fn watch(&self, to: &RemoteId, on_exit: OnExit) {
        let mut on_exit = Some(on_exit);
        let watched = self.reach(|session, _| {
            if let Some(on_exit) = on_exit.take() {
                session.watch(to.coroutine, on_exit);
            }
        });
        if watched.is_err()
            && let Some(on_exit) = on_exit
        {
            tell(on_exit, Exit::Disconnected);
        }
    }

    fn request(&self, to: &RemoteId, request: Request) {
        if let Err(error) = self.reach(|session, _| session.request(to.coroutine, request)) {
            tracing::debug!(peer = %to.location, %error, "a request was lost");
        }
    }

    fn swap(
        &self,
        to: &RemoteId,
        function: &str,
        limit: Duration,
    ) -> BoxFuture<Result<(), SwapError>> {
        functions::swap_at(self, to, function, limit)
    }
}

impl Peer {
    fn encoded<T>(
        &self,
        encode: Encode<'_>,
        f: impl FnOnce(&[u8], &[u64]) -> Result<T, CarryError>,
    ) -> Result<T, CarryError> {
        let take_back = |lent: &[u64]| self.take_back(lent);
        scope::encoded(self.exchange(), encode, take_back, |payload, lent| {
            check_length(payload, lent)?;
            f(payload, lent)
        })
    }

    /// A message that would have told the peer of these was never sent.
    fn take_back(&self, lent: &[u64]) {
        if !lent.is_empty() {
            self.node().exports.take_back(lent, self.id());
        }
    }
}

/// A delivery that waits until it may be sent, and is withdrawn if nobody waits for it before.
struct Turn {
    peer: Arc<Peer>,
    epoch: u64,
    place: Place,
    lent: Vec<u64>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let withdraw = |session: &mut PeerSession| session.withdraw(self.place);
        if self.peer.in_session(self.epoch, withdraw) == Some(true) {
            self.peer.take_back(&self.lent);
        }
    }
}

fn gone() -> CarryError {
    CarryError::Disconnected("the link has ended".into())
}

fn check_length(payload: &[u8], lent: &[u64]) -> Result<(), CarryError> {
    let length = payload.len() + size_of_val(lent);
    if length <= wire::MAX_MESSAGE {
        return Ok(());
    }
    Err(CarryError::Codec(CodecError {
        action: "send".into(),
        type_name: "message".into(),
        reason: format!(
            "it takes {length} bytes, and at most {} may travel in one",
            wire::MAX_MESSAGE
        ),
    }))
}
