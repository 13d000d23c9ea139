//! Agents in workers find each other by name, and talk without anybody in between, worker to worker.
//!
//! They stand in a circle. Each knows the name of the next and no more, and hands on a letter, in which everyone
//! writes who it was; after some rounds it comes to the client.
//!
//!     cargo run --release --example discoro_agents
//!     cargo run --release --example discoro_agents -- 5 --rounds 2 --workers 4 --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::{Event, Target, worker};
use coros::{Address, Context};
use farm::Farm;
use say::say;
use serde::{Deserialize, Serialize};

/// Sends a letter through a circle of agents.
#[derive(Parser)]
struct Args {
    /// How many agents there are.
    #[arg(default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    agents: u32,

    /// How often the letter goes round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How many workers they live in; there must be as many.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,

    #[command(flatten)]
    farm: Farm,
}

/// Who has had it, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Letter(Vec<String>);

/// Takes a name, finds the next one by his, and hands on the letter; the last one sends it to the client.
#[coros::remote]
async fn agent(
    mut me: Context<Letter>,
    number: u32,
    of: u32,
    rounds: u32,
    client: Address<Letter>,
) -> anyhow::Result<()> {
    let node = worker::node().context("this is no worker")?;
    let called = |number| format!("agent {number}");
    node.register(called(number), &me.address())?;
    // Waits until somebody has it.
    let next: Address<Letter> = node.locate(&called(number % of + 1)).await?;
    if number == 1 {
        me.address().send(Letter(Vec::new()))?;
    }
    for round in 1..=rounds {
        let mut letter = me.receive().await.context("nobody can write any more")?;
        let worker = worker::name().unwrap_or("nobody");
        letter.0.push(format!("agent {number} in {worker}"));
        let last = round == rounds && number == of;
        let to = if last { &client } else { &next };
        to.deliver(letter).await?;
    }
    Ok(())
}

/// Reads the letter.
async fn client(mut me: Context<Letter>) {
    if let Some(Letter(lines)) = me.receive().await {
        for line in lines {
            say!("{line}");
        }
    }
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (agents, workers) = (args.agents, usize::from(args.workers));
    let scheduler = args.farm.scheduler().await?.workers(workers);
    let scheduler = scheduler.start().await?;
    let mut events = scheduler.events();
    let mut there = Vec::new();
    while there.len() < workers {
        let event = events.next().await.context("the scheduler has ended")?;
        if let Event::WorkerReady { name, .. } = event {
            there.push(Target::worker(name));
        }
    }
    // It does not hold up the end of a program that has failed.
    let client = coros::build().daemon().spawn(client);
    // All must be there at the same time, and mostly wait: any number of such calls share a worker.
    let homes = there.iter().cycle();
    let jobs: Vec<_> = (1..=agents)
        .zip(homes)
        .map(|(number, home)| {
            let call = agent(number, agents, args.rounds, client.address());
            scheduler.submit(call.io().at(home.clone()).retries(0))
        })
        .collect();
    for job in jobs {
        job.await?;
    }
    client.join().await?;
    scheduler.close().await?;
    Ok(())
}
