//! The `coros` program.
//!
//! `flags` says what can be written on the command line, and nothing about what it means; each
//! command has a module that does what was asked.

mod demo;
mod flags;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::flags::{Cli, Command};

/// Exit status for a command line or a path that makes no sense, as clap's.
const USAGE: u8 = 2;

#[coros::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // Quiet unless asked: what a person needs to know, commands say themselves.
    let filter = EnvFilter::try_from_env("COROS_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match cli.command {
        Command::Demo(flags) => demo::run(flags).await,
    }
}
