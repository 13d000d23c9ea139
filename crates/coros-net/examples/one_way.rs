//! How many messages of 64 bytes go one way between two processes in a second.
//!
//! `cargo run --release -p coros-net --example one_way [SENDERS] [SECONDS]`

mod measured;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coros_core::{Address, Context, Reply, SendError};
use coros_net::{Authority, Credentials, Node, Secret};
use measured::{Error, Receiver, Sender, cpu_seconds};
use serde::{Deserialize, Serialize};

const MAILBOXES: usize = 1000;
const TRIPS: usize = 20_000;

type Payload = ([u8; 32], [u8; 32]);

#[derive(Serialize, Deserialize)]
enum Message {
    Data(Payload),
    Count(Reply<u64>),
    Ping(Reply<()>),
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("receive") => receive().await,
        senders => {
            let senders = senders.unwrap_or("64").parse()?;
            let seconds = args.next().as_deref().unwrap_or("3").parse()?;
            send(senders, Duration::from_secs(seconds)).await
        }
    }
}

/// The other process: takes its credentials from standard input, gives out its addresses.
async fn receive() -> Result<(), Error> {
    let (parent, credentials): (_, Credentials) = Sender::brief().await?;
    let node = Node::builder().credentials(credentials).build().await?;
    let received = Arc::new(AtomicU64::new(0));
    let mailbox = |_| {
        let received = Arc::clone(&received);
        let coro = coros_core::spawn(async move |mut me: Context<Message>| {
            while let Some(message) = me.receive().await {
                match message {
                    Message::Data(_) => drop(received.fetch_add(1, Ordering::Relaxed)),
                    Message::Count(reply) => reply.send(received.load(Ordering::Relaxed)),
                    Message::Ping(reply) => reply.send(()),
                }
            }
        });
        coro.address()
    };
    let mailboxes: Vec<Address<Message>> = (0..MAILBOXES).map(mailbox).collect();
    parent.answer(node.encode(&mailboxes)?).await?;
    let count = received.load(Ordering::Relaxed) as f64;
    println!(
        "receiver: {:.2} us of CPU a message",
        cpu_seconds("self") * 1e6 / count
    );
    Ok(())
}

async fn send(senders: usize, time: Duration) -> Result<(), Error> {
    let authority = Authority::derive(&Secret::random(), "default")?;
    let credentials = authority.issue("receiver")?;
    let node = Node::builder()
        .name("sender")
        .authority(authority)
        .build()
        .await?;
    let (receiver, told) = Receiver::start(&credentials).await?;
    let mailboxes: Vec<Address<Message>> = node.decode(&told)?;
    let mailboxes: Arc<[Address<Message>]> = mailboxes.into();

    ping(&mailboxes[0]).await?;
    let (start, busy) = (Instant::now(), cpu_seconds("self"));
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..senders {
        tasks.spawn(flood(sender, Arc::clone(&mailboxes), start + time));
    }
    let mut sent = 0;
    while let Some(flooded) = tasks.join_next().await {
        sent += flooded??;
    }
    let mut received = 0;
    while received < sent {
        received = mailboxes[0].ask(Message::Count).await?;
    }
    let (elapsed, count) = (start.elapsed().as_secs_f64(), received as f64);
    println!(
        "{senders} senders: {:.0} k messages/s",
        count / elapsed / 1e3
    );
    println!(
        "sender: {:.2} us of CPU a message",
        (cpu_seconds("self") - busy) * 1e6 / count
    );
    println!("{}", receiver.end().await?);
    node.close().await;
    Ok(())
}

async fn ping(to: &Address<Message>) -> Result<(), Error> {
    let mut trips = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let start = Instant::now();
        to.ask(Message::Ping).await?;
        trips.push(start.elapsed());
    }
    trips.sort_unstable();
    println!("ask and answer: median {:.1?}", trips[TRIPS / 2]);
    Ok(())
}

async fn flood(
    sender: usize,
    mailboxes: Arc<[Address<Message>]>,
    until: Instant,
) -> Result<u64, SendError<Message>> {
    let mut sent = 0_u64;
    while Instant::now() < until {
        for n in 0..64 {
            let to = &mailboxes[(sender * 17 + n * 13) % MAILBOXES];
            to.feed(Message::Data(([7; 32], [8; 32]))).await?;
            sent += 1;
        }
        tokio::task::yield_now().await;
    }
    Ok(sent)
}
