//! The `coros` program.
//!
//! `flags` says what can be written on the command line, and nothing about what it means; each
//! command has a module that does what was asked.

mod config;
mod demo;
mod files;
mod flags;
mod log;
mod neighbours;
mod network;
mod node;
mod peers;
mod ping;
mod scheduler;
mod secret;
mod signal;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Cli, Command};

/// Exit status for a command line, an environment or a path that makes no sense, as clap's.
const USAGE: u8 = 2;

#[coros::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = match log::start() {
        Ok(filter) => filter,
        Err(error) => {
            terminal::say(&format!("coros: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    match cli.command {
        Command::Demo(flags) => demo::run(flags, &log).await,
        Command::Node(flags) => node::run(*flags).await,
        Command::Scheduler(flags) => scheduler::run(flags).await,
        Command::Secret(flags) => secret::run(flags).await,
        Command::Send(flags) => files::send(flags).await,
        Command::Receive(flags) => files::receive(flags).await,
        Command::Peers(flags) => peers::run(flags).await,
        Command::Ping(flags) => ping::run(flags).await,
    }
}
