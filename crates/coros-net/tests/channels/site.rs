//! Senders and subscribers.

use std::sync::Arc;
use std::time::Duration;

use coros_core::{Address, Channel, ChannelError, Context};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;

use super::record::Record;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    sender: usize,
    number: usize,
    /// Whether the transform drops it.
    loud: bool,
    /// How often it has been through the transform.
    passed: u32,
    /// To a coroutine itself, by whoever still knows it.
    direct: bool,
    freight: String,
}

impl Post {
    /// What the channel makes of it.
    pub(crate) fn transformed(self) -> Option<Self> {
        (!self.loud).then_some(Post {
            passed: self.passed + 1,
            ..self
        })
    }

    pub(crate) fn direct() -> Self {
        Post {
            sender: 0,
            number: 0,
            loud: false,
            passed: 0,
            direct: true,
            freight: String::new(),
        }
    }
}

/// What one node gives another one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Handle {
    Coroutine(Address<Post>),
    Channel(Channel<Post>),
}

impl Handle {
    pub(crate) fn coroutine(self) -> Address<Post> {
        match self {
            Handle::Coroutine(address) => address,
            Handle::Channel(channel) => panic!("{channel}"),
        }
    }

    pub(crate) fn channel(self) -> Channel<Post> {
        match self {
            Handle::Channel(channel) => channel,
            Handle::Coroutine(address) => panic!("{address}"),
        }
    }
}

/// What a sender is to do.
pub(crate) struct Order {
    pub(crate) loud: bool,
    pub(crate) freight: usize,
    /// To how many, and within what time; or just sent.
    pub(crate) deliver: Option<(usize, Duration)>,
}

/// A sender, which does one thing after the other.
pub(crate) struct Sender {
    pub(crate) orders: UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Sender {
    pub(crate) fn start(record: &Record, number: usize, channel: Channel<Post>) -> Self {
        let (orders, mut queue) = mpsc::unbounded_channel();
        let record = record.clone();
        let task = tokio::spawn(async move {
            while let Some(order) = queue.recv().await {
                one(&record, number, &channel, &order).await;
            }
        });
        Sender { orders, task }
    }

    /// Waits until all is done.
    pub(crate) async fn done(self) -> Result<(), impl std::fmt::Display> {
        drop(self.orders);
        tokio::time::timeout(Duration::from_secs(3600), self.task)
            .await
            .map(|ended| ended.expect("it does not panic"))
    }
}

async fn one(record: &Record, sender: usize, channel: &Channel<Post>, order: &Order) {
    let how = format!(
        "{} bytes, loud: {}, {:?}",
        order.freight, order.loud, order.deliver
    );
    let number = record.begins(sender, order.loud, how);
    let post = Post {
        sender,
        number,
        loud: order.loud,
        passed: 0,
        direct: false,
        freight: "x".repeat(order.freight),
    };
    let sent = match order.deliver {
        None => channel.send(post).map(|_| record.taken(sender, number)),
        Some((n, limit)) => {
            // If its node dies, nobody waits for the answer.
            record.may_come(sender, number);
            let delivered = channel.deliver(post, n, limit).await;
            delivered.map(|reached| record.delivered((sender, number), (n, limit), reached))
        }
    };
    match sent {
        Ok(()) => {}
        Err(ChannelError::TimedOut(..)) => record.timed_out(sender, number),
        Err(error @ ChannelError::Full(_)) => {
            record.note(format_args!("{number} of {sender}: {error}"));
        }
        Err(error) if record.is_dead(sender) => {
            record.note(format_args!("{number} of {sender}, which is dead: {error}"));
        }
        Err(error) => record.wrong(format_args!("{number} of {sender}: {error}")),
    }
}

/// A subscriber, for whoever may let go of it.
pub(crate) struct Subscriber {
    /// While somebody has this it is not released.
    pub(crate) address: Option<Address<Post>>,
    stop: Arc<Notify>,
}

impl Subscriber {
    /// Starts a coroutine that records what it gets.
    pub(crate) fn start(record: &Record, number: usize) -> Self {
        let (record, stop) = (record.clone(), Arc::new(Notify::new()));
        let stopped = Arc::clone(&stop);
        let coro = coros_core::spawn(async move |mut me: Context<Post>| {
            loop {
                let post = tokio::select! {
                    biased;
                    () = stopped.notified() => return,
                    post = me.receive() => post,
                };
                match post {
                    Some(post) if post.direct => {}
                    Some(post) => record.got(number, post.sender, post.number, post.passed),
                    None => return record.ended(number),
                }
            }
        });
        Subscriber {
            address: Some(coro.address()),
            stop,
        }
    }

    /// Ends it, with what is in its mailbox.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }
}

/// One that still has an address can use it.
pub(crate) async fn still_knows(address: &Address<Post>) -> Result<(), String> {
    let delivery = tokio::time::timeout(Duration::from_secs(10), address.deliver(Post::direct()));
    match delivery.await {
        Ok(delivered) => delivered.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".into()),
    }
}
