//! The example `webserver` beside a plain hyper server, under wrk.
//!
//!     cargo run --release
//!     cargo run --release -- --rounds 10 --seconds 3
//!
//! Both servers are up all the time and are asked in turn, in changing order, so that whatever
//! else the machine does hits both alike. The ratio is the median of the ratios within a round.
//! CPU time of the server per request is measured as well: it hardly depends on what else runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use clap::Parser;

/// Measures requests per second of the example webserver and of a plain hyper server, by wrk.
#[derive(Parser)]
struct Args {
    /// Rounds for each kind of connection.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Seconds for each server in a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts one of the other programs of this package, which are built beside this one.
    fn start(name: &str) -> anyhow::Result<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        let mut child = Command::new(&path)
            .args((name == "webserver").then_some("0"))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}: run `cargo build --release`",
                    path.display()
                )
            })?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its output is a pipe")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .with_context(|| format!("{name} printed `{}`", line.trim()))?;
        let url = format!("{url}/");
        Ok(Server { child, url })
    }

    /// CPU time so far, in ticks of 10 ms, where there is /proc.
    fn ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // After the name, which may hold anything but ends with the last parenthesis.
        let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(user + system)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy)]
struct Sample {
    per_second: f64,
    /// Microseconds of the server's CPU time for a request.
    cpu: f64,
}

fn measure(args: &Args, server: &Server, close: bool) -> anyhow::Result<Sample> {
    let before = server.ticks();
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{}", args.connections),
            &format!("-d{}s", args.seconds),
        ])
        .args(if close {
            &["-H", "Connection: close"][..]
        } else {
            &[]
        })
        .arg(&server.url)
        .output()
        .context("cannot start wrk: install it (Debian: `apt-get install wrk`)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "wrk failed: {text}");
    anyhow::ensure!(
        !text.contains("Non-2xx"),
        "not every answer was good:\n{text}"
    );
    let per_second: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("wrk printed no rate:\n{text}"))?;
    let requests: f64 = text
        .split_whitespace()
        .zip(text.split_whitespace().skip(1))
        .find_map(|(number, word)| (word == "requests").then(|| number.parse().ok())?)
        .with_context(|| format!("wrk printed no count:\n{text}"))?;
    let ticks = server
        .ticks()
        .zip(before)
        .map_or(f64::NAN, |(now, then)| (now - then) as f64);
    Ok(Sample {
        per_second,
        cpu: ticks * 10_000.0 / requests,
    })
}

/// Median, least, greatest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let coros = Server::start("webserver")?;
    let hyper = Server::start("plain_hyper")?;
    println!(
        "wrk -t1 -c{} -d{}s, {} rounds; median (least-greatest)",
        args.connections, args.seconds, args.rounds
    );
    for (mode, close) in [("keep-alive", false), ("close", true)] {
        // Not counted: the first accesses, page faults, a connection pool that grows.
        measure(&Args { seconds: 1, ..args }, &coros, close)?;
        measure(&Args { seconds: 1, ..args }, &hyper, close)?;
        let mut rounds = Vec::new();
        for round in 0..args.rounds {
            rounds.push(if round % 2 == 0 {
                let first = measure(&args, &coros, close)?;
                (first, measure(&args, &hyper, close)?)
            } else {
                let first = measure(&args, &hyper, close)?;
                (measure(&args, &coros, close)?, first)
            });
        }
        for (name, samples) in [
            (
                "coros webserver",
                rounds.iter().map(|pair| pair.0).collect::<Vec<_>>(),
            ),
            ("plain hyper", rounds.iter().map(|pair| pair.1).collect()),
        ] {
            let (median, least, greatest) = spread(samples.iter().map(|it| it.per_second));
            let (cpu, ..) = spread(samples.iter().map(|it| it.cpu));
            println!(
                "{mode:10}  {name:15}  {median:7.0}/s ({least:.0}-{greatest:.0})  {cpu:.2} us CPU a request"
            );
        }
        let (rate, least, greatest) =
            spread(rounds.iter().map(|(a, b)| a.per_second / b.per_second));
        let (cpu, ..) = spread(rounds.iter().map(|(a, b)| b.cpu / a.cpu));
        println!(
            "{mode:10}  ratio {rate:.3} ({least:.3}-{greatest:.3}), by CPU {cpu:.3}; the bar is 0.97"
        );
    }
    Ok(())
}
