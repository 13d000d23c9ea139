//! `coros ping`.

use std::process::ExitCode;
use std::time::Duration;

use coros::net::{Location, Node};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::flags::network::PingFlags;
use crate::network::{self, Way};
use crate::terminal::{one_line, print, say, status};

/// Does what was asked for and gives the exit status.
pub(crate) async fn run(flags: PingFlags) -> ExitCode {
    status("ping", find_and_ask(&flags).await)
}

/// Whether there was an answer.
async fn find_and_ask(flags: &PingFlags) -> anyhow::Result<bool> {
    let way = Way::to(&flags.node, &flags.network, "does a node run there");
    let node = network::start(way.builder().await?).await?;
    let asked = match way.find(&node).await {
        Ok(peer) => ask(&node, &peer, flags).await,
        Err(error) => Err(error),
    };
    node.close().await;
    asked
}

async fn ask(node: &Node, peer: &Location, flags: &PingFlags) -> anyhow::Result<bool> {
    let named = one_line(&peer.to_string());
    let mut all = SummedUp {
        peer,
        json: flags.json,
        summary: Summary::default(),
    };
    for number in 1.. {
        let next = Instant::now() + flags.interval;
        let answer = match timeout(flags.timeout, node.ping(peer)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer from {peer} within {:?}", flags.timeout)),
        };
        all.summary.count(&answer);
        Word::new(number, answer).print(&named, flags.json)?;
        tracing::debug!(peer = %named, number, "asked");
        if number == flags.count {
            break;
        }
        sleep_until(next).await;
    }
    Ok(all.summary.answered > 0)
}

/// Prints the summary when it is dropped: at the end, or at Ctrl-C, which drops all that runs.
struct SummedUp<'a> {
    peer: &'a Location,
    json: bool,
    summary: Summary,
}

impl Drop for SummedUp<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.summary.print(self.peer, self.json) {
            say(&format!("coros ping: {error:#}"));
        }
    }
}

/// What became of one.
#[derive(Serialize)]
struct Word {
    number: u64,
    seconds: Option<f64>,
    error: Option<String>,
}

impl Word {
    fn new(number: u64, answer: Result<Duration, String>) -> Self {
        Word {
            number,
            seconds: answer.as_ref().ok().map(Duration::as_secs_f64),
            error: answer.err(),
        }
    }

    fn print(&self, peer: &str, json: bool) -> anyhow::Result<()> {
        if json {
            return print(&serde_json::to_string(self)?);
        }
        let number = self.number;
        print(&match (self.seconds, &self.error) {
            (Some(seconds), _) => format!("{number}: answer from {peer} after {}", ms(seconds)),
            (None, error) => {
                let error = error.as_deref().unwrap_or("no answer");
                format!("{number}: {}", one_line(error))
            }
        })
    }
}

/// What became of all.
#[derive(Default)]
struct Summary {
    asked: u64,
    answered: u64,
    least: Option<Duration>,
    most: Option<Duration>,
    all: Duration,
}

impl Summary {
    fn count(&mut self, answer: &Result<Duration, String>) {
        self.asked += 1;
        if let Ok(took) = *answer {
            self.answered += 1;
            self.least = Some(self.least.map_or(took, |least| least.min(took)));
            self.most = Some(self.most.map_or(took, |most| most.max(took)));
            self.all += took;
        }
    }

    fn loss(&self) -> f64 {
        (self.asked - self.answered) as f64 / self.asked.max(1) as f64
    }

    fn average(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.all.as_secs_f64() / self.answered as f64)
    }

    fn print(&self, peer: &Location, json: bool) -> anyhow::Result<()> {
        let (asked, answered, loss) = (self.asked, self.answered, self.loss());
        let [min_seconds, max_seconds] =
            [self.least, self.most].map(|time| time.as_ref().map(Duration::as_secs_f64));
        let avg_seconds = self.average();
        if json {
            return print(&serde_json::to_string(&Totals {
                node: Asked::new(peer),
                asked,
                answered,
                loss,
                min_seconds,
                avg_seconds,
                max_seconds,
            })?);
        }
        let mut line = format!(
            "{}: {asked} asked, {answered} answered, {:.0} % lost",
            one_line(&peer.name),
            100.0 * loss
        );
        if let (Some(min), Some(avg), Some(max)) = (min_seconds, avg_seconds, max_seconds) {
            line += &format!("; min {}, avg {}, max {}", ms(min), ms(avg), ms(max));
        }
        print(&line)
    }
}

#[derive(Serialize)]
struct Totals {
    node: Asked,
    asked: u64,
    answered: u64,
    loss: f64,
    min_seconds: Option<f64>,
    avg_seconds: Option<f64>,
    max_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Asked {
    name: String,
    id: String,
    endpoint: Option<String>,
}

impl Asked {
    fn new(peer: &Location) -> Self {
        Asked {
            name: peer.name.to_string(),
            id: peer.node.to_string(),
            endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
        }
    }
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_answer_is_in_the_loss_and_in_no_time() {
        let mut summary = Summary::default();
        assert_eq!((summary.loss(), summary.average()), (0.0, None));
        summary.count(&Err("gone".into()));
        assert_eq!((summary.loss(), summary.average()), (1.0, None));
        for ms in [4, 1, 1] {
            summary.count(&Ok(Duration::from_millis(ms)));
        }
        assert_eq!((summary.loss(), summary.average()), (0.25, Some(0.002)));
        let bounds = [summary.least, summary.most];
        assert_eq!(bounds, [1, 4].map(|ms| Some(Duration::from_millis(ms))));
    }
}
