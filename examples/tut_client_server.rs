//! A server coroutine and its clients, which talk by messages.
//!
//! A request that wants an answer says where to: either it carries the client's address, which
//! anybody may keep and use again, or a `Reply`, the right to answer one question (`ask`). The
//! clients find the server by its name.
//!
//!     cargo run --release --example tut_client_server
//!     cargo run --release --example tut_client_server -- 3 2

mod say;

use std::time::Duration;

use clap::Parser;
use coros::{Address, Context, Reply, locate_timeout};
use say::say;

/// Starts a server and clients that have it square numbers.
#[derive(Parser)]
struct Args {
    /// How many clients.
    #[arg(default_value_t = 10)]
    clients: u32,

    /// How many requests each of them sends.
    #[arg(default_value_t = 3)]
    requests: u32,
}

/// The name by which the clients find the server.
const NAME: &str = "squares";

/// What the server receives.
enum Request {
    Square { n: u32, from: Address<Answer> },
    Answered(Reply<u64>),
}

/// What a client receives.
struct Answer {
    n: u32,
    square: u64,
}

async fn server(mut me: Context<Request>) -> anyhow::Result<()> {
    me.register(NAME)?;
    let mut answered = 0;
    while let Some(request) = me.receive().await {
        match request {
            Request::Square { n, from } => {
                let square = u64::from(n) * u64::from(n);
                // A client that has ended meanwhile does not need the answer.
                if from.send(Answer { n, square }).is_ok() {
                    answered += 1;
                }
            }
            Request::Answered(reply) => reply.send(answered),
        }
    }
    Ok(())
}

async fn client(mut me: Context<Answer>, number: u32, requests: u32) -> anyhow::Result<()> {
    // Waits until a coroutine has registered that name.
    let server = locate_timeout(NAME, Duration::from_secs(10)).await?;
    for n in 0..requests {
        let from = me.address();
        server.send(Request::Square { n, from })?;
        // Lets the others run, so that one sees that the server serves all at once.
        tokio::task::yield_now().await;
    }
    for _ in 0..requests {
        // `None` when nobody has the client's address any more: the server has dropped it.
        let Some(Answer { n, square }) = me.receive().await else {
            anyhow::bail!("the server has ended");
        };
        say!("client {number}: the square of {n} is {square}");
    }
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { clients, requests } = Args::parse();

    let clients: Vec<_> = (0..clients)
        .map(|number| coros::spawn(move |me| client(me, number, requests)))
        .collect();
    // A daemon: the program does not wait for its end, and it can be found as long as it lives.
    let server = coros::build().daemon().spawn_fallible(server);
    for client in clients {
        client.await??;
    }

    let answered = server.ask(Request::Answered).await?;
    say!("the server has answered {answered} requests");
    Ok(())
}
