//! Two external programs chained by a pipe: counts the lines of a file as
//! `grep PATTERN FILE | wc -l` does.
//!
//! What passes between the two never comes through this program. What they write to standard
//! error is kept, so that one can say why they failed.
//!
//!     cargo run --release --example pipe_grep -- 'status installed' /var/log/dpkg.log
//!     cargo run --release --example pipe_grep -- -i error /var/log/syslog

mod say;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use coros::io::{Pipeline, command};
use say::say;

/// Counts the lines of a file that match a pattern.
#[derive(Parser)]
struct Args {
    /// What to look for, a regular expression as of grep.
    #[arg(allow_hyphen_values = true)]
    pattern: String,

    /// Where to look.
    file: PathBuf,

    /// Upper and lower case are the same.
    #[arg(short, long)]
    ignore_case: bool,

    /// The program that looks.
    #[arg(long, value_name = "PROGRAM", default_value = "grep")]
    grep: String,

    /// Gives up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let path = args.file.display();
    let file = std::fs::File::open(&args.file).with_context(|| format!("cannot open {path}"))?;

    let mut grep = command(&args.grep, ["-e", &args.pattern]);
    if args.ignore_case {
        grep.arg("-i");
    }
    let pipeline = Pipeline::new(grep)
        .pipe(command("wc", ["-l"]))
        .stdin(file)
        .spawn()?;

    // Whatever is awaited can be given a limit; giving up kills both programs.
    let limit = Duration::from_secs(args.limit);
    let output = tokio::time::timeout(limit, pipeline.communicate([]))
        .await
        .with_context(|| format!("not done within {limit:?}"))??;

    // grep returns 0 when it has found something, 1 when not, and more when something is wrong.
    for (program, stage, worst) in [(&*args.grep, 0, 1), ("wc", 1, 0)] {
        let status = output.statuses[stage];
        anyhow::ensure!(
            status.code().is_some_and(|code| code <= worst),
            "{program} failed, {status}: {}",
            output.stderr[stage].text().trim_end()
        );
    }
    let count = String::from_utf8_lossy(&output.stdout);
    say!("{}", count.trim());
    Ok(())
}
