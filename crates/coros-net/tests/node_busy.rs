//! Nodes of processes whose threads have much else to do.

mod common;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use common::*;
use coros_core::{Address, Context, SendError};
use coros_net::wire;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::task::JoinSet;

const SENDERS: usize = 64;
const EACH: usize = 2_000;
const ALL: usize = SENDERS * EACH;

/// It takes [`LENGTH`] bytes on a link: large numbers are longer than they are in memory.
type Message = [u64; 8];
const MESSAGE: Message = [u64::MAX; 8];
const LENGTH: usize = wire::HEADER + 8 * 10;

/// Counts, and knows how much was counted at a time.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The most bytes that were sent between two turns of a task that takes every turn.
    async fn most_in_a_turn(self) -> usize {
        let (mut most, mut before) = (0, 0);
        while before < ALL {
            tokio::task::yield_now().await;
            let now = self.0.load(Ordering::Relaxed);
            most = most.max(now - before);
            before = now;
        }
        most * LENGTH
    }
}

/// Sending does not wait, so nothing but its errors keeps those who send from taking all the time
/// of a thread, which the tasks of the link need as well.
#[tokio::test]
async fn however_many_send_without_a_pause_a_link_has_its_turns() {
    let [desk, farm] = pair().await;
    let mailbox = |_| {
        let coro = coros_core::spawn(
            async |mut me: Context<Message>| {
                while me.receive().await.is_some() {}
            },
        );
        coro.address()
    };
    let mailboxes: Vec<Address<Message>> = (0..SENDERS).map(mailbox).collect();
    let mailboxes: Vec<Address<Message>> = desk.decode(&farm.encode(&mailboxes).unwrap()).unwrap();
    soon(desk.connect(endpoint(&farm))).await.unwrap();

    let sent = Count::default();
    let most = tokio::spawn(sent.clone().most_in_a_turn());
    let mut senders = JoinSet::new();
    for to in mailboxes {
        let sent = sent.clone();
        senders.spawn(async move {
            for _ in 0..EACH {
                while let Err(error) = to.send(MESSAGE) {
                    assert!(matches!(error, SendError::Full(_)), "{error}");
                    tokio::task::yield_now().await;
                }
                sent.one_more();
            }
        });
    }
    soon(senders.join_all()).await;
    let most = soon(most).await.unwrap();
    assert!(most <= 4 * wire::WINDOW, "{most} of {} bytes", ALL * LENGTH);
}

thread_local! {
    /// Messages that have been read on this thread, which is the only one of its test.
    static READ: Cell<usize> = const { Cell::new(0) };
}

/// Is counted when it is read.
#[derive(Serialize)]
struct Heavy(Vec<u8>);

impl<'de> Deserialize<'de> for Heavy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        READ.set(READ.get() + 1);
        Vec::deserialize(deserializer).map(Heavy)
    }
}

#[tokio::test]
async fn those_who_got_much_go_before_more_is_read() {
    const COUNT: usize = 20_000;
    const LENGTH: usize = 1000;
    let [desk, farm] = pair().await;
    let coro = coros_core::spawn(async |mut me: Context<Heavy>| {
        let mut most = 0;
        for n in 0..COUNT {
            let Heavy(bytes) = me.receive().await.expect("there are more");
            assert_eq!(bytes.len(), LENGTH);
            most = most.max(READ.get() - n);
        }
        most * LENGTH
    });
    let remote = sent(&farm, &desk, &coro.address());
    for _ in 0..COUNT {
        let fed = soon(remote.feed(Heavy(vec![0; LENGTH]))).await;
        fed.expect("it only waits");
    }
    let most = soon(coro.join()).await.expect("no panic");
    // Less than what waits for the link, and far less than what all buffers on the way hold.
    assert!(most <= 256 << 10, "{most} bytes in a mailbox");
}

static BEING_READ: AtomicUsize = AtomicUsize::new(0);
static GATE: Mutex<Option<mpsc::Receiver<()>>> = Mutex::new(None);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is not read before the gate opens.
#[derive(Debug, PartialEq, Serialize)]
struct Stuck(u32);

impl<'de> Deserialize<'de> for Stuck {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        BEING_READ.fetch_add(1, Ordering::SeqCst);
        let gate = lock(&GATE).take().expect("it is read once");
        // Until it is dropped.
        let _ = gate.recv();
        Ok(Stuck(number))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_closes_though_a_message_is_being_read_for_ever() {
    let [desk, farm] = pair().await;
    let (address, mut received) = collector::<Stuck>();
    let remote = sent(&farm, &desk, &address);
    let (opens, gate) = mpsc::channel::<()>();
    *lock(&GATE) = Some(gate);
    remote.send(Stuck(7)).expect("there is room");
    let being_read = async {
        while BEING_READ.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(being_read).await;
    let began = Instant::now();
    soon(farm.close()).await;
    // For the last frames, for the reader, and for all else.
    let most = Duration::from_secs(6 + 2);
    assert!(began.elapsed() < most, "{:?}", began.elapsed());
    drop(opens);
    assert_eq!(next(&mut received).await, Stuck(7), "it goes on by itself");
    soon(desk.close()).await;
}
