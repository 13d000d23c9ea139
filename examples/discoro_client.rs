//! A program that is nowhere but here runs on other machines: it travels there by itself, and with it a
//! file and a folder that it needs. Its coroutines there and the one here send each other messages.
//!
//! Each searcher there has the texts of the folder in memory. It is given one line of the file after the other,
//! by its number, and says how often the word in that line is in the texts.
//!
//!     printf 'coroutine\nmessage\n' > /tmp/words
//!     cargo run --release --example discoro_client -- /tmp/words examples
//!     cargo run --release --example discoro_client -- /tmp/words examples --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::worker;
use coros::{Address, Context};
use farm::Farm;
use say::say;
use serde::{Deserialize, Serialize};

/// Has coroutines on other machines find words in texts that travel with this program.
#[derive(Parser)]
struct Args {
    /// A file of words, one in each line.
    words: PathBuf,

    /// A folder of texts to find them in.
    texts: PathBuf,

    /// How many coroutines search.
    #[arg(long, default_value_t = 4)]
    searchers: usize,

    #[command(flatten)]
    farm: Farm,
}

/// To the client.
#[derive(Serialize, Deserialize)]
enum ToClient {
    /// A searcher has nothing to do.
    Free(Address<ToSearcher>),
    Found {
        line: usize,
        word: String,
        times: usize,
        worker: String,
    },
}

/// To a searcher.
#[derive(Serialize, Deserialize)]
enum ToSearcher {
    Find { line: usize },
    Enough,
}

/// Runs in a worker, on whatever machine.
#[coros::remote]
async fn searcher(mut me: Context<ToSearcher>, client: Address<ToClient>) -> anyhow::Result<()> {
    let worker = worker::name().unwrap_or("nobody").to_owned();
    let travels = |name| worker::file(name).with_context(|| format!("{name} did not come along"));
    let words = std::fs::read_to_string(travels("words")?)?;
    let mut texts = String::new();
    for entry in std::fs::read_dir(travels("texts")?)? {
        let path = entry?.path();
        if path.is_file() {
            texts.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
        }
    }
    client.send(ToClient::Free(me.address()))?;
    while let Some(ToSearcher::Find { line }) = me.receive().await {
        let word = words.lines().nth(line).context("there is no such line")?;
        client.send(ToClient::Found {
            line,
            word: word.to_owned(),
            times: texts.matches(word).count(),
            worker: worker.clone(),
        })?;
        client.send(ToClient::Free(me.address()))?;
    }
    Ok(())
}

/// Gives each searcher a line whenever it has nothing to do, and says in the end what was found.
async fn client(mut me: Context<ToClient>, lines: usize, searchers: usize) -> anyhow::Result<()> {
    let (mut next, mut at_work) = (0, searchers);
    let mut found = Vec::new();
    while at_work > 0 {
        match me.receive().await.context("the searchers are gone")? {
            ToClient::Free(searcher) if next < lines => {
                searcher.send(ToSearcher::Find { line: next })?;
                next += 1;
            }
            ToClient::Free(searcher) => {
                searcher.send(ToSearcher::Enough)?;
                at_work -= 1;
            }
            ToClient::Found {
                line,
                word,
                times,
                worker,
            } => found.push((line, word, times, worker)),
        }
    }
    found.sort();
    for (_, word, times, worker) in found {
        say!("{word}: {times} times, says {worker}");
    }
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let lines = std::fs::read_to_string(&args.words)
        .with_context(|| format!("cannot read {}", args.words.display()))?
        .lines()
        .count();
    let scheduler = args.farm.scheduler().await?;
    let scheduler = scheduler
        .depends_as(&args.words, "words")
        .depends_as(&args.texts, "texts");
    let scheduler = scheduler.start().await?;
    let client = coros::spawn(move |me| client(me, lines, args.searchers));
    // One that ran again would not know what it has been asked.
    let jobs = (0..args.searchers)
        .map(|_| scheduler.submit(searcher(client.address()).retries(0)))
        .collect::<Vec<_>>();
    for job in jobs {
        job.await?;
    }
    client.join().await??;
    scheduler.close().await?;
    Ok(())
}
