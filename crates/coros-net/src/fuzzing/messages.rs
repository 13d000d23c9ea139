//! Messages, and what those do who get them: coroutines, functions, channels.
//!
//! An input for functions or channels is a number of messages, each behind the number of the one
//! that gets it (a byte) and its length (two bytes).

use std::sync::Arc;

use coros_core::remote::{self, Inlet, Location, RemoteId};
use coros_core::{Address, Channel, Context, Coro, Reply, spawn};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Handle};

use super::desk::{Desk, HERE, THERE, location};
use crate::functions;

/// What a message may name.
#[derive(Serialize, Deserialize)]
pub(super) enum Message {
    One(Address<u64>),
    Many(Vec<Address<String>>),
    Ask(Reply<Option<Address<u64>>>),
    At(Location),
    Channel(Channel<u64>),
}

/// What a message may name: coroutines, pending replies, places, channels.
pub fn addresses(bytes: &[u8]) -> bool {
    running(async || {
        let desk = Desk::new(HERE, THERE);
        let read = |bytes: &[u8]| desk.exchanging(|| remote::decode::<Message>(bytes));
        let write = |message: &Message| {
            let mut bytes = Vec::new();
            let written = desk.exchanging(|| remote::encode(message, &mut bytes));
            written.map(|()| bytes)
        };
        let Ok(message) = read(bytes) else {
            return false;
        };
        // An address of nobody cannot be passed on.
        if let Ok(written) = write(&message) {
            let again = read(&written).expect("what was written can be read");
            // Each node that passes on a reply gives it a number of its own.
            if !matches!(message, Message::Ask(_)) {
                assert_eq!(write(&again), Ok(written));
            }
        }
        desk.close();
        true
    })
}

/// What peers say to the functions of a node.
pub fn functions(bytes: &[u8]) -> bool {
    running(async || {
        let desk = Desk::new(HERE, THERE);
        let all = functions::fuzz::inlet(Handle::current());
        let understood = receive_all(&desk, &(Arc::new(all) as Arc<dyn Inlet>), bytes).await;
        desk.close();
        understood
    })
}

/// What the home of a channel hears from other nodes, and a relay from the home of its channel.
pub fn channels(bytes: &[u8]) -> bool {
    running(async || {
        let desk = Desk::new(HERE, THERE);
        let scene = Channels::new(&desk);
        let understood = receive_all(&desk, &scene.inlet(), bytes).await;
        desk.close();
        understood
    })
}

/// A channel of a node, and one of its peer, each with a subscriber here.
pub(super) struct Channels {
    pub(super) home: Channel<u64>,
    pub(super) relay: Channel<u64>,
    pub(super) subscriber: Coro<u64, ()>,
}

/// The channel of the peer.
pub(super) const AFAR: u64 = 5000;

impl Channels {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        let there = RemoteId {
            location: location(remote::Exchange::peer(&**desk).expect("a desk has one")),
            coroutine: AFAR,
        };
        let scene = Channels {
            home: Channel::new(),
            relay: remote::channel(there, desk.way()),
            subscriber: spawn(
                async |mut me: Context<u64>| {
                    while me.receive().await.is_some() {}
                },
            ),
        };
        for channel in [&scene.home, &scene.relay] {
            let subscribed = channel.subscribe(&scene.subscriber.address());
            subscribed.expect("it is the first");
        }
        scene
    }

    /// Where messages for the channel that is at home here come in.
    pub(super) fn inlet(&self) -> Arc<dyn Inlet> {
        remote::channel_inlet(&self.home).expect("it is at home here")
    }
}

/// Has all messages of an input received: number 0 by `first`, the others by what the peer has been
/// told of. Whether any was understood.
async fn receive_all(desk: &Arc<Desk>, first: &Arc<dyn Inlet>, mut bytes: &[u8]) -> bool {
    let mut understood = false;
    while let Some(([to, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (message, rest) = rest.split_at(length.min(rest.len()));
        bytes = rest;
        let exported = desk.exported();
        let to = match usize::from(*to).checked_sub(1) {
            None => first,
            Some(number) => exported.get(number).unwrap_or(first),
        };
        understood |= desk.exchanging(|| to.receive(message)).is_ok();
        tokio::task::yield_now().await;
    }
    understood
}

/// An input for [`receive_all`].
pub(super) fn input(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut input = Vec::new();
    for (to, message) in messages {
        let length = u16::try_from(message.len()).expect("seeds are short");
        input.push(*to);
        input.extend(length.to_le_bytes());
        input.extend(message);
    }
    input
}

/// Runs an input on a runtime of its own, with which ends all that it has started.
pub(super) fn running<T>(input: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("the system gives us a timer");
    runtime.block_on(async {
        let result = input().await;
        // So that what was started gets to run.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        result
    })
}
