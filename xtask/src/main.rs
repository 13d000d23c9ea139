//! The chores of the coros project: `cargo xtask help`.
//!
//! Each chore prints the commands that it runs (`$ cargo ...`), so that any of them can be repeated
//! by hand, and ends with the exit status of the first one that failed.

mod command;
mod tasks;
mod tools;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

use crate::command::CommandFailed;

/// The chores of the coros project.
///
/// Each prints the commands that it runs, so that any of them can be repeated by hand.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Test(tasks::test::Args),
    Ci(tasks::ci::Args),
    Lint(tasks::lint::Args),
    Doc(tasks::doc::Args),
    Faults(tasks::faults::Args),
    Features(tasks::features::Args),
    Msrv(tasks::msrv::Args),
    Loom(tasks::loom::Args),
    Asan(tasks::sanitizer::AsanArgs),
    Tsan(tasks::sanitizer::TsanArgs),
    Miri(tasks::miri::Args),
    Fuzz(tasks::fuzz::Args),
    Deny(tasks::deny::Args),
    Bench(tasks::bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test(args) => tasks::test::run(&args),
        Task::Ci(args) => tasks::ci::run(&args),
        Task::Lint(args) => tasks::lint::run(&args),
        Task::Doc(args) => tasks::doc::run(&args),
        Task::Faults(args) => tasks::faults::run(&args),
        Task::Features(args) => tasks::features::run(&args),
        Task::Msrv(args) => tasks::msrv::run(&args),
        Task::Loom(args) => tasks::loom::run(&args),
        Task::Asan(args) => tasks::sanitizer::asan(&args),
        Task::Tsan(args) => tasks::sanitizer::tsan(&args),
        Task::Miri(args) => tasks::miri::run(&args),
        Task::Fuzz(args) => tasks::fuzz::run(&args),
        Task::Deny(args) => tasks::deny::run(&args),
        Task::Bench(args) => tasks::bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<CommandFailed>() {
            // The command itself has said what is wrong, and its last lines should stay the last.
            Some(CommandFailed {
                code: Some(code), ..
            }) => ExitCode::from(*code),
            _ => {
                eprintln!("xtask: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}
