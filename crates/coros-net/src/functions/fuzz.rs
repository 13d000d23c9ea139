//! What of functions a peer's bytes reach, for fuzzing.

use std::sync::Arc;
use std::time::Duration;

use coros_core::Context;
use coros_core::remote::{self, Message};
use serde::Serialize;
use tokio::runtime::Handle;

use super::inlet::FunctionsInlet;
use super::offer::Offer;
use super::offered::Offered;
use super::protocol::{Head, Replies, SwapRequest, Types};
use super::table::Functions;

/// Where a peer reaches the functions of a node that offers one.
pub(crate) fn inlet(runtime: Handle) -> FunctionsInlet {
    let functions = Arc::new(Functions::new(runtime));
    let limits = Offer::new().limit(3).per_peer(2);
    let sum = async |mut me: Context<u64>, mut sum: u64| {
        while let Some(n) = me.receive().await {
            sum = sum.wrapping_add(n);
        }
        sum
    };
    let sum = Offered::new("sum", limits, sum);
    functions.offer(sum).expect("it is the only one");
    FunctionsInlet::new(functions, Arc::default())
}

/// Messages that a peer may send; to be called where addresses can be written.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        start::<u64, u64, u64>("sum", &40),
        start::<u64, u64, u64>("product", &40),
        start::<String, (), u64>("sum", &"40".into()),
        swap(),
    ]
}

fn start<Args: Message, M: Message, R: Message>(name: &str, args: &Args) -> Vec<u8> {
    let head = Head::Start {
        name: name.into(),
        types: Types::of::<Args, M, R>(),
    };
    let replies = Replies::<M, R> {
        started: remote::question().0,
        result: remote::question().0,
    };
    [encoded(&head), encoded(&replies), encoded(args)].concat()
}

fn swap() -> Vec<u8> {
    encoded(&Head::Swap(SwapRequest {
        coroutine: 5000,
        function: "twice".into(),
        limit: Duration::from_secs(1),
        answer: remote::question().0,
    }))
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    remote::encode(value, &mut bytes).expect("there is an exchange");
    bytes
}
