//! Live analytics: sensors in workers send what they measure to one coroutine here, which shows moving averages
//! while it comes.
//!
//! They send as fast as they are listened to: `feed` waits while there is no room on the way or in the mailbox.
//!
//!     cargo run --release --example discoro_analytics
//!     cargo run --release --example discoro_analytics -- 8 --readings 1000000 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod readings;
mod say;

use clap::Parser;
use coros::{Address, Context};
use farm::Farm;
use readings::{Averages, Measuring, Reading};
use say::say;

/// Shows moving averages of what is measured elsewhere.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    measuring: Measuring,

    #[command(flatten)]
    farm: Farm,
}

/// Measures. The last reading has arrived when it ends.
#[coros::remote]
async fn sensor(number: u32, count: usize, to: Address<Reading>) -> anyhow::Result<()> {
    for (n, reading) in readings::measure(number).take(count).enumerate() {
        if n + 1 < count {
            to.feed(reading).await?;
        } else {
            to.deliver(reading).await?;
        }
    }
    Ok(())
}

/// Takes so many readings in all.
async fn analyst(mut me: Context<Reading>, total: usize, mut averages: Averages) {
    for _ in 0..total {
        let Some(reading) = me.receive().await else {
            return;
        };
        if let Some(line) = averages.add(reading) {
            say!("{line}");
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { measuring, farm } = Args::parse();
    let Measuring {
        sensors,
        readings,
        window,
    } = measuring;
    let scheduler = farm.scheduler().await?.start().await?;
    let total = sensors as usize * readings;
    // It does not hold up the end of a program that has failed.
    let analyst = coros::build()
        .capacity(1024)
        .daemon()
        .spawn(move |me| analyst(me, total, Averages::of_last(window)));
    // Sensors mostly wait, so any number share a worker. One that began again would measure twice.
    let sensor = |number| sensor(number, readings, analyst.address()).io().retries(0);
    let jobs: Vec<_> = (1..=sensors)
        .map(|number| scheduler.submit(sensor(number)))
        .collect();
    for job in jobs {
        job.await?;
    }
    analyst.join().await?;
    scheduler.close().await?;
    Ok(())
}
