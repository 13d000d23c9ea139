//! Offers of functions by name across nodes: both sides.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{
    self, BoxFuture, Carrier, CarryError, CodecError, Location, NodeId, RemoteId,
};
use coros_core::swap::SwapFunction;
use coros_core::{Exit, SwapError};

use super::protocol::{Head, SwapRequest};
use crate::exports::{Exports, Found};
use crate::parts::Part;

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
    Box::pin(async move {
        drop(head);
        delivery.await.map_err(|error| match error {
            CarryError::Disconnected(why) => SwapError::Disconnected(why),
            // Its node is there, and has no functions or cannot be told of this one.
            CarryError::Closed => {
                SwapError::Refused(format!("{node} takes no offers of functions"))
            }
            error => SwapError::Refused(format!("the offer cannot travel to {node}: {error}")),
        })?;
        let lost = || format!("{node}: the link was lost before the answer came");
        answered
            .await
            .unwrap_or_else(|| Err(SwapError::Disconnected(lost())))
    })
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
    async move {
        let result = match offered {
            Ok(offered) => offered.await,
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
