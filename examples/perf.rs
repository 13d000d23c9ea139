//! How fast coroutines are made, and how fast messages pass between them.
//!
//!     cargo run --release --example perf
//!     cargo run --release --example perf -- 100000 20
//!
//! `bench/local` in the sources measures the same with care and beside other libraries.

mod say;

use std::time::{Duration, Instant};

use clap::Parser;
use coros::{Address, Context, Reply};
use say::say;

/// Measures message passing between the coroutines of one process.
#[derive(Parser)]
struct Args {
    /// How many coroutines send to one.
    #[arg(default_value_t = 10_000)]
    clients: u64,

    /// How many messages each of them sends.
    #[arg(default_value_t = 100)]
    messages: u64,

    /// How many questions one coroutine asks another, each after the answer to the one before.
    #[arg(long, default_value_t = 100_000)]
    round_trips: u64,
}

enum Request {
    Count,
    Double(u64, Reply<u64>),
}

/// Counts messages until no address of it is left, and answers questions.
async fn server(mut me: Context<Request>) -> u64 {
    let mut count = 0;
    while let Some(request) = me.receive().await {
        match request {
            Request::Count => count += 1,
            Request::Double(n, reply) => reply.send(2 * n),
        }
    }
    count
}

/// Waits for the word, then sends.
async fn client(mut me: Context<Address<Request>>, messages: u64) {
    if let Some(server) = me.receive().await {
        for _ in 0..messages {
            if server.send(Request::Count).is_err() {
                return;
            }
        }
    }
}

async fn asker(_me: Context<()>, server: Address<Request>, times: u64) -> anyhow::Result<()> {
    for n in 0..times {
        let double = server.ask(|reply| Request::Double(n, reply)).await?;
        anyhow::ensure!(double == 2 * n, "the double of {n} is not {double}");
    }
    Ok(())
}

fn report(what: &str, count: u64, took: Duration) {
    let per_second = count as f64 / took.as_secs_f64();
    say!("{what}: {count} in {took:.3?}, {per_second:.0}/s");
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();

    let start = Instant::now();
    let clients: Vec<_> = (0..args.clients)
        .map(|_| coros::spawn(move |me| client(me, args.messages)))
        .collect();
    report("coroutines", args.clients, start.elapsed());

    let start = Instant::now();
    let server = coros::spawn(server);
    for client in &clients {
        client.send(server.address())?;
    }
    // `server` is the only address beside those of the clients: when they are done it sees the
    // end.
    let asked = server.address();
    for client in clients {
        client.await?;
    }
    drop(asked);
    let count = server.await?;
    report("messages", count, start.elapsed());
    anyhow::ensure!(
        Some(count) == args.clients.checked_mul(args.messages),
        "messages were lost: only {count} came"
    );

    let start = Instant::now();
    let server = coros::spawn(self::server);
    let address = server.address();
    coros::spawn(move |me| asker(me, address, args.round_trips)).await??;
    drop(server);
    report("round trips", args.round_trips, start.elapsed());
    Ok(())
}
