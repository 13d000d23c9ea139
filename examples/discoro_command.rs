//! A program that knows nothing of coros runs in a worker, and its pipes lead here: what this one reads goes to
//! its standard input, and what it writes comes back, as it does.
//!
//!     seq 100 | cargo run --release --example discoro_command -- grep --line-buffered 7
//!     cargo run --release --example discoro_command -- --peer 192.0.2.7:7341 uname -a < /dev/null

mod dial;
mod farm;
mod say;
mod typed;

use std::io::Write as _;

use clap::Parser;
use coros::cluster::command::{Command, Input, Told};
use coros::{Address, Context};
use farm::Farm;
use say::say;
use typed::Lines;

/// Runs a command elsewhere, with this standard input.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    farm: Farm,

    /// The program, which must be there.
    program: String,

    /// Its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Sends it what is read here, as fast as it takes it.
async fn feed(_me: Context<()>, stdin: Address<Input>) -> anyhow::Result<()> {
    let mut lines = Lines::new();
    while let Some(line) = lines.next().await? {
        let line = Input::Data(format!("{line}\n").into());
        if stdin.feed(line).await.is_err() {
            // It need not read all.
            return Ok(());
        }
    }
    stdin.feed(Input::End).await?;
    Ok(())
}

/// The lines of what comes in pieces.
#[derive(Default)]
struct Pieces(Vec<u8>);

impl Pieces {
    fn add(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.0.drain(..=end).collect();
            say!("{}", say::readable(&line[..end]));
        }
    }

    fn end(&self) {
        if !self.0.is_empty() {
            say!("{}", say::readable(&self.0));
        }
    }
}

/// Shows what it writes, until nobody can tell more.
async fn show(mut me: Context<Told>) {
    let mut pieces = Pieces::default();
    while let Some(told) = me.receive().await {
        match told {
            Told::Began { stdin, .. } => {
                if let Some(stdin) = stdin {
                    // It waits for what somebody types, also when the command has ended.
                    let _ = coros::build().daemon().spawn(move |me| feed(me, stdin));
                }
            }
            Told::Stdout(bytes) => pieces.add(&bytes),
            Told::Stderr(bytes) => drop(std::io::stderr().write_all(&bytes)),
        }
    }
    pieces.end();
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scheduler = args.farm.scheduler().await?.start().await?;
    // No more than this waits here; what is more waits where the command runs, and then it does.
    let show = coros::build().capacity(16).spawn(show);
    let command = Command::new(args.program).args(args.arguments);
    let job = scheduler.submit(command.stdin_goes_on().run(show.address()));
    let status = job.await?;
    // Then the worker cannot tell it anything any more.
    scheduler.close().await?;
    show.join().await?;
    anyhow::ensure!(status.success(), "the command {status}");
    Ok(())
}
