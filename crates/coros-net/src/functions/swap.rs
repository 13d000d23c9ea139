//! Offers of functions by name across nodes: both sides.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, CodecError, Location, NodeId, RemoteId,
};
use coros_core::swap::SwapFunction;
use coros_core::{Exit, Reply, SwapError};

use super::protocol::{Head, SwapRequest};
use crate::exports::{Exports, Found};
use crate::parts::Part;
use crate::tame;

/// The functions of a node, as a carrier sees them.
pub(super) fn functions_of(location: &Location) -> RemoteId {
    RemoteId {
        location: location.clone(),
        coroutine: Part::Functions as u64,
    }
}

/// Asks the node of a coroutine to offer it a function.
pub(crate) fn swap_at(
    carrier: &dyn Carrier,
    to: &RemoteId,
    function: &str,
    limit: Duration,
) -> BoxFuture<Result<(), SwapError>> {
    let (answer, answered) = remote::question();
    let head = Head::Swap(SwapRequest {
        coroutine: to.coroutine,
        function: function.to_owned(),
        limit,
        answer,
    });
    let delivery = carrier.deliver(&functions_of(&to.location), &mut |buffer| {
        remote::encode(&head, buffer)
    });
    let node = to.location.to_string();
    let Head::Swap(SwapRequest { answer, .. }) = head else {
        unreachable!("made above");
    };
    let asking = Asking(Some(answer));
    Box::pin(async move {
        // Dropped, it tells the node that nobody waits any more: the offer is withdrawn.
        let _asking = asking;
        delivery.await.map_err(|error| match error {
            CarryError::Disconnected(why) => SwapError::Disconnected(*why),
            // Its node is there, and has no functions or cannot be told of this one.
            CarryError::Closed => {
                SwapError::Refused(format!("{node} takes no offers of functions"))
            }
            error => SwapError::Refused(format!("the offer cannot travel to {node}: {error}")),
        })?;
        let lost = || format!("{node}: the link was lost before the answer came");
        let answer = answered.await;
        let answer = answer.unwrap_or_else(|| Err(SwapError::Disconnected(lost())));
        answer.map_err(tame::swap)
    })
}

/// A question to another node, given up with this.
struct Asking(Option<Reply<Result<(), SwapError>>>);

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            remote::give_up(reply);
        }
    }
}

/// Offers a function of this node for a peer, and tells it what became of that.
///
/// A coroutine has one offer at a time, so no more of these wait than there are coroutines.
pub(super) fn offer(
    exports: &Exports,
    from: Option<NodeId>,
    function: Option<Arc<SwapFunction>>,
    request: SwapRequest,
) -> impl Future<Output = ()> + Send + use<> {
    let SwapRequest {
        coroutine,
        function: name,
        limit,
        answer,
    } = request;
    let offered = match (exports.come_home(coroutine), function) {
        (None, _) => Err(SwapError::Ended(exit(exports, coroutine, from))),
        (Some(_), None) => Err(SwapError::UnknownFunction(name)),
        (Some(inlet), Some(function)) => Ok(inlet.swap(function, limit)),
    };
    let given_up = remote::given_up(&answer);
    async move {
        let result = match offered {
            Ok(offered) => tokio::select! {
                biased;
                result = offered => result,
                // With it the offer is withdrawn.
                () = given_up => return,
            },
            Err(error) => Err(error),
        };
        let too_long = |e: CodecError| Err(SwapError::Refused(e.to_string()));
        // Whoever has lost the session knows.
        let _ = remote::answer(answer, result, too_long).await;
    }
}

/// How a coroutine ended, as far as that is known.
fn exit(exports: &Exports, coroutine: u64, from: Option<NodeId>) -> Exit {
    let found = from.and_then(|peer| exports.find(coroutine, peer));
    match found {
        Some(Found::Ended(Some(exit))) => exit,
        _ => Exit::Disconnected,
    }
}
