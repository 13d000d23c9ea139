//! Data in memory, once for each node: before anything else runs on a node, a function computes a table into the
//! folder that all workers there share, and the calls read from it what they need.
//!
//! What that function gives is there for all workers of the node as well: here how long the table is. The
//! system keeps it in memory once for all of them; each could also map it.
//!
//!     cargo run --release --example discoro_node_setup -- 1 10 1000
//!     cargo run --release --example discoro_node_setup -- 78498 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;
mod sieve;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::worker;
use coros::{Address, Context};
use farm::Farm;
use say::say;

/// Looks primes up, in a table that each node has once.
#[derive(Parser)]
struct Args {
    /// The numbers of primes: 1 for 2, 2 for 3, …
    #[arg(required = true)]
    numbers: Vec<u64>,

    /// How far the table goes.
    #[arg(long, default_value_t = 1_000_000)]
    up_to: u32,

    #[command(flatten)]
    farm: Farm,
}

const TABLE: &str = "primes";
const WIDTH: u64 = u32::BITS as u64 / 8;

/// Runs once for each node: how many primes there are in the table.
#[coros::remote]
async fn prepare(node: String, up_to: u32, to: Address<String>) -> anyhow::Result<u64> {
    let folder = worker::shared_folder().context("this is no worker")?;
    let primes = sieve::primes(up_to);
    let table: Vec<u8> = primes.iter().flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(folder.join(TABLE), table)?;
    let made = format!("a table of {} primes was made on node {node}", primes.len());
    to.deliver(made).await?;
    Ok(primes.len() as u64)
}

#[coros::remote]
fn prime(number: u64) -> anyhow::Result<u32> {
    let primes: u64 = worker::node_value().context("the node was not prepared")??;
    anyhow::ensure!(
        (1..=primes).contains(&number),
        "the table has the primes 1 to {primes}, and not {number}"
    );
    let folder = worker::shared_folder().context("this is no worker")?;
    let mut table = File::open(folder.join(TABLE))?;
    table.seek(SeekFrom::Start((number - 1) * WIDTH))?;
    let mut bytes = [0; WIDTH as usize];
    table.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Says what it is told.
async fn teller(mut me: Context<String>) {
    while let Some(line) = me.receive().await {
        say!("{line}");
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args {
        numbers,
        up_to,
        farm,
    } = Args::parse();
    let teller = coros::build().daemon().spawn(teller).address();
    let scheduler = farm.scheduler().await?;
    let scheduler =
        scheduler.set_up_node(move |node| Some(prepare(node.name.clone(), up_to, teller.clone())));
    let scheduler = scheduler.start().await?;
    let mut primes = scheduler.map(numbers.iter().map(|number| prime(*number)));
    for number in &numbers {
        if let Some(found) = primes.next().await {
            say!("prime {number} is {}", found?);
        }
    }
    scheduler.close().await?;
    Ok(())
}
