//! `cargo xtask faults`: all faults, several times, and what came of them.
//!
//! `--table [--runs N] [--long] [NAME...]`

use std::process::ExitCode;

use crate::cases::{self, Case};
use crate::check::Outcome;

struct Options {
    runs: usize,
    long: bool,
    names: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> ExitCode {
    let options = parse(args);
    println!(
        "{:<38} {:>5} {:>8} {:>5} {:>7} {:>6} {:>9} {:>10} {:>10}  ",
        "fault", "runs", "letters", "lost", "doubled", "stuck", "monitors", "longest", "known"
    );
    let mut failed = Vec::new();
    for case in cases::all() {
        if !options.names.is_empty() && !options.names.iter().any(|name| name == case.name) {
            continue;
        }
        if let Some(why) = &case.missing {
            println!("{:<38} not run: {why}", case.fault);
            continue;
        }
        if case.is_long && !options.long {
            println!("{:<38} not run: takes --long", case.fault);
            continue;
        }
        let runs = if case.is_long { 1 } else { options.runs };
        let outcome = (1..runs).fold((case.run)(), |all, _| all.and((case.run)()));
        show(&case, runs, &outcome);
        failed.extend(
            outcome
                .wrong
                .iter()
                .map(|what| format!("{}: {what}", case.name)),
        );
    }
    for what in &failed {
        println!("WRONG: {what}");
    }
    if failed.is_empty() {
        println!("nothing is out of order, and nothing that was confirmed is lost");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show(case: &Case, runs: usize, outcome: &Outcome) {
    let known = outcome
        .known
        .map_or("-".into(), |known| format!("{known:.1?}"));
    println!(
        "{:<38} {runs:>5} {:>8} {:>5} {:>7} {:>6} {:>9} {:>10} {known:>10}  {}",
        case.fault,
        outcome.letters,
        outcome.lost,
        outcome.doubled,
        outcome.stuck,
        outcome.fired,
        format!("{:.1?}", outcome.longest),
        outcome.note
    );
}

fn parse(args: &[String]) -> Options {
    let mut options = Options {
        runs: 5,
        long: false,
        names: Vec::new(),
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--runs" => {
                let runs = args.next().and_then(|runs| runs.parse().ok());
                options.runs = runs.filter(|runs| *runs > 0).expect("--runs N");
            }
            "--long" => options.long = true,
            name => options.names.push(name.to_owned()),
        }
    }
    options
}
