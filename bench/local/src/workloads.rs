//! The workloads, written once for every Rust peer.
//!
//! A peer is seen through [`Peer`]: start something that owns a mailbox and runs a [`Behaviour`], send it a message, ask it
//! a question. Everything is generic and monomorphised, so what runs is the loop or the handler that a user of that
//! peer would write by hand. Mailboxes are unbounded and messages are taken one at a time, everywhere.
//!
//! Consumers add up what they get and every result is checked: a peer that loses or repeats a message fails.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use harness::machine;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::peers;

/// Worker threads of each peer's runtime.
pub(crate) const WORKERS: usize = 2;
pub(crate) const PRODUCERS: u64 = 64;
pub(crate) const PAIRS: u64 = 1_000;
pub(crate) const RING: u64 = 10_000;
pub(crate) const SUBSCRIBERS: u64 = 1_000;

/// The one message type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Msg {
    pub(crate) a: u64,
    pub(crate) b: u64,
}

const _: () = assert!(size_of::<Msg>() == 16);

/// What to measure. The order is the order of the table's columns.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    #[value(alias = "W1")]
    W1,
    #[value(alias = "W2")]
    W2,
    #[value(alias = "W3")]
    W3,
    #[value(alias = "W4")]
    W4,
    Ask,
    #[value(alias = "W5")]
    W5,
    #[value(alias = "W6")]
    W6,
    #[value(alias = "W7")]
    W7,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::W1 => "W1",
            Workload::W2 => "W2",
            Workload::W3 => "W3",
            Workload::W4 => "W4",
            Workload::Ask => "ask",
            Workload::W5 => "W5",
            Workload::W6 => "W6",
            Workload::W7 => "W7",
        }
    }
}

/// What one run of one workload found; a child process prints it as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Operations done in `seconds`: coroutines spawned, messages, round trips, hops or deliveries.
    pub(crate) ops: u64,
    pub(crate) seconds: f64,
    /// W1 only: time to send one message to each and have all of them handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deliver_seconds: Option<f64>,
    /// W1 only: resident memory in bytes before the first spawn, and with all of them waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rss_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rss_after: Option<u64>,
}

impl Report {
    pub(crate) fn new(ops: u64, elapsed: Duration) -> Self {
        Report {
            ops,
            seconds: elapsed.as_secs_f64(),
            deliver_seconds: None,
            rss_before: None,
            rss_after: None,
        }
    }

    pub(crate) fn bytes_per_idle(&self) -> Option<f64> {
        let grown = self.rss_after?.saturating_sub(self.rss_before?);
        Some(grown as f64 / self.ops as f64)
    }
}

/// What an owner of a mailbox does with its messages.
pub(crate) trait Behaviour: Send + Unpin + 'static {
    /// Runs in the coroutine itself, before its first receive.
    fn started(&mut self) {}
    fn handle(&mut self, message: Msg);
}

/// A library that gives tasks mailboxes.
pub(crate) trait Peer: Send + Sync + Sized + 'static {
    /// Where to send messages for a `B`.
    type Ref<B: Behaviour>: Send + Sync + 'static;
    /// Where to ask the echo.
    type Echo: Send + Sync + 'static;

    /// Runs `driver` to its end inside the peer's runtime; by default tokio's.
    fn block_on<F>(driver: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        peers::tokio_block_on(driver)
    }

    /// Starts a sender: something that runs but needs no mailbox; by default a task of tokio's.
    fn task(_place: usize, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    /// Starts an owner of a mailbox. Where a peer pins to threads, equal `place`s (modulo [`WORKERS`]) share one.
    fn start<B: Behaviour>(place: usize, behaviour: B)
    -> impl Future<Output = Self::Ref<B>> + Send;

    fn send<B: Behaviour>(to: &Self::Ref<B>, message: Msg);

    /// Starts something that answers each request with [`echo`] of it.
    fn start_echo() -> impl Future<Output = Self::Echo> + Send;

    /// One request and its reply.
    fn ask(echo: &Self::Echo, message: Msg) -> impl Future<Output = Msg> + Send;

    /// Sends `messages` messages to each of `to`; the default is what a peer without a channel of its own must do.
    fn broadcast<B: Behaviour>(
        to: Vec<Self::Ref<B>>,
        messages: u64,
    ) -> impl Future<Output = ()> + Send {
        async move {
            for a in 0..messages {
                for subscriber in &to {
                    Self::send(subscriber, Msg { a, b: 1 });
                }
            }
        }
    }
}

/// The answer to a request.
pub(crate) fn echo(message: Msg) -> Msg {
    Msg {
        a: message.a,
        b: message.b + 1,
    }
}

/// Counts arrivals down to none left and adds up what they bring.
pub(crate) struct Latch {
    left: AtomicU64,
    sum: AtomicU64,
    all: Notify,
}

impl Latch {
    /// The process is a benchmark's and ends soon: a leak makes every holder's part of it one word.
    pub(crate) fn leak(arrivals: u64) -> &'static Self {
        Box::leak(Box::new(Latch {
            left: AtomicU64::new(arrivals),
            sum: AtomicU64::new(0),
            all: Notify::new(),
        }))
    }

    pub(crate) fn arrive(&self, sum: u64) {
        self.sum.fetch_add(sum, Ordering::Relaxed);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.notify_one();
        }
    }

    pub(crate) async fn wait(&self) -> u64 {
        self.all.notified().await;
        self.sum.load(Ordering::Acquire)
    }
}

/// W1: waits for one message.
struct Waiter {
    waiting: &'static Latch,
    got: &'static Latch,
}

impl Behaviour for Waiter {
    fn started(&mut self) {
        self.waiting.arrive(0);
    }

    fn handle(&mut self, message: Msg) {
        self.got.arrive(message.a);
    }
}

/// W2, W3, W7: adds up a known number of messages.
pub(crate) struct Sum {
    left: u64,
    sum: u64,
    done: &'static Latch,
}

impl Sum {
    pub(crate) fn new(messages: u64, done: &'static Latch) -> Self {
        Sum {
            left: messages,
            sum: 0,
            done,
        }
    }
}

impl Behaviour for Sum {
    fn handle(&mut self, message: Msg) {
        self.sum += message.a;
        self.left -= 1;
        if self.left == 0 {
            self.done.arrive(self.sum);
        }
    }
}

/// W4, W5, W6: passes a message on to its neighbour in a ring until the message's hops are used up.
struct Hop<P: Peer> {
    ring: &'static Ring<P>,
    next: usize,
    done: &'static Latch,
}

/// The members of a ring, known only when all of them have been started.
struct Ring<P: Peer>(OnceLock<Vec<P::Ref<Hop<P>>>>);

impl<P: Peer> Behaviour for Hop<P> {
    fn handle(&mut self, Msg { a, b }: Msg) {
        if a == 0 {
            return self.done.arrive(b);
        }
        let members = self
            .ring
            .0
            .get()
            .expect("messages are sent when the ring is closed");
        P::send(&members[self.next], Msg { a: a - 1, b: b + 1 });
    }
}

/// Runs `workload` at size `n` in this process, after a warm-up at a small part of that size.
pub(crate) fn run<P: Peer>(workload: Workload, n: u64) -> Result<Report> {
    P::block_on(async move {
        let warm_up = match workload {
            // Enough to start every thread; the memory it leaves behind is in `rss_before`.
            Workload::W1 => n.min(1_000),
            _ => n.div_ceil(20),
        };
        measure::<P>(workload, warm_up).await?;
        measure::<P>(workload, n).await
    })
}

async fn measure<P: Peer>(workload: Workload, n: u64) -> Result<Report> {
    match workload {
        Workload::W1 => idle::<P>(n).await,
        Workload::W2 => fan_in::<P>(1, n).await,
        Workload::W3 => fan_in::<P>(PRODUCERS, n).await,
        Workload::W4 => ping_pong::<P>(1, n).await,
        Workload::Ask => ask::<P>(n).await,
        Workload::W5 => ping_pong::<P>(PAIRS, n).await,
        Workload::W6 => rings::<P>(1, RING, n).await,
        Workload::W7 => fan_out::<P>(n).await,
    }
}

async fn idle<P: Peer>(n: u64) -> Result<Report> {
    let (waiting, got) = (Latch::leak(n), Latch::leak(n));
    let mut all = Vec::with_capacity(n as usize);
    let rss_before = machine::rss();
    let start = Instant::now();
    for place in 0..n as usize {
        all.push(P::start(place, Waiter { waiting, got }).await);
    }
    waiting.wait().await;
    let spawned = start.elapsed();
    let rss_after = machine::rss();
    let start = Instant::now();
    for to in &all {
        P::send(to, Msg { a: 1, b: 1 });
    }
    let sum = got.wait().await;
    let delivered = start.elapsed();
    ensure!(sum == n, "{sum} of {n} coroutines got their message");
    Ok(Report {
        deliver_seconds: Some(delivered.as_secs_f64()),
        rss_before,
        rss_after,
        ..Report::new(n, spawned)
    })
}

async fn fan_in<P: Peer>(producers: u64, n: u64) -> Result<Report> {
    let each = n / producers;
    let done = Latch::leak(1);
    let consumer = P::start(1, Sum::new(each * producers, done)).await;
    let consumer = std::sync::Arc::new(consumer);
    let start = Instant::now();
    for producer in 0..producers as usize {
        let to = consumer.clone();
        P::task(producer, async move {
            for a in 0..each {
                P::send(&to, Msg { a, b: 1 });
            }
        });
    }
    let sum = done.wait().await;
    let elapsed = start.elapsed();
    check_sum(sum, each, producers)?;
    Ok(Report::new(each * producers, elapsed))
}

/// A pair is a ring of two, a round trip two hops in it.
async fn ping_pong<P: Peer>(pairs: u64, round_trips: u64) -> Result<Report> {
    let hops = rings::<P>(pairs, 2, 2 * round_trips / pairs).await?;
    Ok(Report {
        ops: hops.ops / 2,
        ..hops
    })
}

/// `rings` rings of `size` members, one message in each, which makes `hops` hops.
async fn rings<P: Peer>(rings: u64, size: u64, hops: u64) -> Result<Report> {
    let done = Latch::leak(rings);
    let mut first = Vec::new();
    for r in 0..rings {
        let ring: &'static Ring<P> = Box::leak(Box::new(Ring(OnceLock::new())));
        let mut members = Vec::with_capacity(size as usize);
        for i in 0..size {
            let next = ((i + 1) % size) as usize;
            // Pairs share a place; the arcs of a long ring are as long as they can be.
            let place = if size == 2 {
                r
            } else {
                i * WORKERS as u64 / size
            };
            members.push(P::start(place as usize, Hop { ring, next, done }).await);
        }
        first.push(ring);
        ring.0.set(members).ok().expect("each ring is closed once");
    }
    let start = Instant::now();
    for ring in first {
        P::send(
            &ring.0.get().expect("closed above")[0],
            Msg { a: hops, b: 0 },
        );
    }
    let sum = done.wait().await;
    let elapsed = start.elapsed();
    ensure!(
        sum == rings * hops,
        "{sum} hops instead of {}",
        rings * hops
    );
    Ok(Report::new(sum, elapsed))
}

async fn ask<P: Peer>(n: u64) -> Result<Report> {
    let done = Latch::leak(1);
    let echo = P::start_echo().await;
    let start = Instant::now();
    P::task(0, async move {
        let mut sum = 0;
        for a in 0..n {
            let reply = P::ask(&echo, Msg { a, b: 0 }).await;
            sum += reply.a * reply.b;
        }
        done.arrive(sum);
    });
    let sum = done.wait().await;
    let elapsed = start.elapsed();
    check_sum(sum, n, 1)?;
    Ok(Report::new(n, elapsed))
}

async fn fan_out<P: Peer>(n: u64) -> Result<Report> {
    let done = Latch::leak(SUBSCRIBERS);
    let mut to = Vec::new();
    for place in 0..SUBSCRIBERS as usize {
        to.push(P::start(place, Sum::new(n, done)).await);
    }
    let start = Instant::now();
    P::task(0, P::broadcast(to, n));
    let sum = done.wait().await;
    let elapsed = start.elapsed();
    check_sum(sum, n, SUBSCRIBERS)?;
    Ok(Report::new(n * SUBSCRIBERS, elapsed))
}

/// Each of `times` senders or receivers counted 0, 1, … `n - 1`.
pub(crate) fn check_sum(sum: u64, n: u64, times: u64) -> Result<()> {
    let expected = times * (n * n.saturating_sub(1) / 2);
    ensure!(
        sum == expected,
        "messages add up to {sum} instead of {expected}"
    );
    Ok(())
}
