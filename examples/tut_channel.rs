//! A channel: what is sent to it goes to every coroutine that has subscribed.
//!
//! Subscribers come and go while messages are sent; `deliver` waits for a number of them. A
//! channel can subscribe to another one, and can change or drop what passes through it.
//!
//!     cargo run --release --example tut_channel
//!     cargo run --release --example tut_channel -- 1000

mod say;

use std::time::Duration;

use clap::Parser;
use coros::{Channel, Context};
use say::say;

/// Sends the numbers from 1 to N to a channel, where coroutines add them up.
#[derive(Parser)]
struct Args {
    /// The last number.
    #[arg(value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=1_000_000_000))]
    last: u64,
}

const LARGEST_TO_SQUARE: u64 = 1000;

/// Adds up what it receives. `None` comes when nobody can send to it any more: here, when the
/// channel is closed.
async fn sum(mut me: Context<u64>) -> u64 {
    let mut sum = 0;
    while let Some(n) = me.receive().await {
        sum += n;
    }
    sum
}

async fn average(mut me: Context<u64>) -> f64 {
    let (mut sum, mut count) = (0, 0);
    while let Some(n) = me.receive().await {
        sum += n;
        count += 1;
    }
    sum as f64 / f64::from(count)
}

/// Subscribes by itself, and leaves when it has seen three numbers.
async fn first_three(mut me: Context<u64>, numbers: Channel<u64>) -> anyhow::Result<Vec<u64>> {
    numbers.subscribe(&me.address())?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(me.receive().await);
    }
    numbers.unsubscribe(&me.address());
    Ok(seen)
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { last } = Args::parse();

    let numbers = Channel::named("numbers");
    let (sum_of_all, average) = (coros::spawn(sum), coros::spawn(average));
    numbers.subscribe(&sum_of_all)?;
    numbers.subscribe(&average)?;

    // What a transform returns is passed on; `None` drops the message.
    let squares = Channel::named("squares");
    squares.set_transform(|n: u64| (n <= LARGEST_TO_SQUARE).then(|| n * n));
    numbers.subscribe_channel(&squares)?;
    let sum_of_squares = coros::spawn(sum);
    squares.subscribe(&sum_of_squares)?;

    let first_three = {
        let numbers = numbers.clone();
        coros::spawn(move |me| first_three(me, numbers))
    };

    // Three have subscribed, and the fourth does it when it runs.
    let reached = numbers.deliver(1, 4, Duration::from_secs(10)).await?;
    say!("1 went to {reached} coroutines");
    numbers.send(2)?;
    numbers.send(3)?;
    say!("the first three are {:?}", first_three.await??);
    for n in 4..=last {
        let reached = numbers.send(n)?;
        if n == 4 {
            say!("4 went to {reached} coroutines");
        }
    }

    // Lets the subscribers go: they receive what is in their mailboxes, and then `None`.
    numbers.close();
    squares.close();
    say!("sum {}", sum_of_all.await?);
    say!("average {}", average.await?);
    say!(
        "sum of squares up to {LARGEST_TO_SQUARE}² {}",
        sum_of_squares.await?
    );
    Ok(())
}
