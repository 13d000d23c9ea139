//! Live analytics over a channel: sensors in workers send what they measure into a channel of this program, which is
//! among the arguments of their calls. Who listens is no concern of theirs: here two coroutines, which do
//! different things with it.
//!
//!     cargo run --release --example discoro_analytics_channel
//!     cargo run --release --example discoro_analytics_channel -- 8 --above 70 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod readings;
mod say;

use std::time::Duration;

use clap::Parser;
use coros::{Channel, Context};
use farm::Farm;
use readings::{Averages, Measuring, Reading};
use say::say;

/// Shows moving averages, and what is high, of what is measured elsewhere.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    measuring: Measuring,

    /// From where on a value is high.
    #[arg(long, default_value_t = 38.5)]
    above: f64,

    #[command(flatten)]
    farm: Farm,
}

/// How many readings may be under way from a sensor.
const AHEAD: usize = 256;

/// How long a sensor waits until all who listen have a reading.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures. All readings have arrived when it ends.
#[coros::remote]
async fn sensor(number: u32, count: usize, to: Channel<Reading>) -> anyhow::Result<()> {
    for (n, reading) in (1..=count).zip(readings::measure(number)) {
        if n % AHEAD == 0 || n == count {
            to.deliver(reading, 2, PATIENCE).await?;
        } else {
            to.send(reading)?;
        }
    }
    Ok(())
}

async fn show(mut me: Context<Reading>, mut averages: Averages) {
    while let Some(reading) = me.receive().await {
        if let Some(line) = averages.add(reading) {
            say!("{line}");
        }
    }
}

async fn alarm(mut me: Context<Reading>, above: f64) {
    let mut high = 0;
    while let Some(reading) = me.receive().await {
        if reading.value > above {
            high += 1;
        }
    }
    say!("{high} readings were above {above}");
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let channel = Channel::named("readings");
    let averages = Averages::of_last(args.measuring.window);
    let show = coros::spawn(move |me| show(me, averages));
    let alarm = coros::spawn(move |me| alarm(me, args.above));
    channel.subscribe(&show)?;
    channel.subscribe(&alarm)?;

    let scheduler = args.farm.scheduler().await?.start().await?;
    // Sensors mostly wait, so any number share a worker. One that began again would measure twice.
    let sensor = |number| {
        sensor(number, args.measuring.readings, channel.clone())
            .io()
            .retries(0)
    };
    let jobs: Vec<_> = (1..=args.measuring.sensors)
        .map(|number| scheduler.submit(sensor(number)))
        .collect();
    let mut ended = Ok(());
    for job in jobs {
        ended = ended.and(job.await);
    }
    // Those who listen get what there is, and end.
    channel.close();
    show.join().await?;
    alarm.join().await?;
    scheduler.close().await?;
    Ok(ended?)
}
