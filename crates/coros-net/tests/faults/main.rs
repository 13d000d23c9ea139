//! Faults of processes and of networks, as they happen: nodes in processes of their own are killed, stopped,
//! left without a network, and what they say of it is held against what is promised.
//!
//! This executable is the nodes, too: `site` makes it one, `crowd` many strangers. As a test it runs a short version of each
//! fault; `cargo xtask faults` runs them more often and prints a table. What a machine lacks is said,
//! and counted as ignored.

#![allow(clippy::unwrap_used, reason = "in tests, and what they share")]

#[cfg(unix)]
mod cable;
#[cfg(unix)]
mod cases;
#[cfg(unix)]
mod check;
#[cfg(unix)]
mod crowd;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod flood;
#[cfg(unix)]
mod log;
#[cfg(unix)]
mod netns;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod site;
#[cfg(unix)]
#[path = "../common/strangers.rs"]
mod strangers;
#[cfg(unix)]
mod table;
#[cfg(unix)]
#[path = "../common/trial.rs"]
mod trial;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("site") => {
            site::run(&args.collect::<Vec<_>>());
            ExitCode::SUCCESS
        }
        Some("crowd") => {
            crowd::run(&args.collect::<Vec<_>>());
            ExitCode::SUCCESS
        }
        Some("--table") => table::run(&args.collect::<Vec<_>>()),
        _ => {
            let trials = cases::all().into_iter().map(cases::Case::into_trial);
            let arguments = libtest_mimic::Arguments::from_args();
            libtest_mimic::run(&arguments, trials.collect()).exit_code()
        }
    }
}

#[cfg(not(unix))]
fn main() {}
