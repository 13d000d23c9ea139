//! What `coros send` and `coros receive` print: for people a line a file, for programs JSON.

use std::path::Path;
use std::time::Duration;

use coros::net::{Location, Received, Transferred};
use indicatif::DecimalBytes;
use serde::Serialize;

use crate::terminal::{Name, one_line, print};

/// What became of one file.
#[derive(Serialize)]
pub(super) struct Sent {
    path: String,
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "result")]
enum Outcome {
    Sent(Numbers),
    Resumed(Numbers),
    Skipped(Numbers),
    Failed { error: String },
}

#[derive(Serialize)]
struct Numbers {
    size: u64,
    moved: u64,
    seconds: f64,
}

impl Sent {
    pub(super) fn new(
        path: &Path,
        name: String,
        sent: Result<Transferred, String>,
        took: Duration,
    ) -> Self {
        let outcome = match sent {
            Err(error) => Outcome::Failed { error },
            Ok(Transferred {
                size,
                moved,
                already,
                ..
            }) => {
                let numbers = Numbers {
                    size,
                    moved,
                    seconds: took.as_secs_f64(),
                };
                match moved {
                    0 if already => Outcome::Skipped(numbers),
                    moved if moved == size => Outcome::Sent(numbers),
                    _ => Outcome::Resumed(numbers),
                }
            }
        };
        Sent {
            path: Name(path).to_string(),
            name,
            outcome,
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed { error } => Some(error),
            _ => None,
        }
    }

    /// A line for people.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let Sent { path, name, .. } = self;
        let name = one_line(name);
        let rate = |numbers: &Numbers| {
            let rate = numbers.moved as f64 / numbers.seconds.max(1e-9);
            format!("{}/s", DecimalBytes(rate as u64))
        };
        print(&match &self.outcome {
            Outcome::Sent(n) => {
                format!(
                    "sent     {path} as {name}, {}, {}",
                    DecimalBytes(n.size),
                    rate(n)
                )
            }
            Outcome::Resumed(n) => format!(
                "resumed  {path} as {name}, the last {} of {}, {}",
                DecimalBytes(n.moved),
                DecimalBytes(n.size),
                rate(n)
            ),
            Outcome::Skipped(n) => {
                format!(
                    "skipped  {path}: {name} has the same content, {}",
                    DecimalBytes(n.size)
                )
            }
            Outcome::Failed { .. } => format!("failed   {path}"),
        })
    }
}

/// What became of all files.
#[derive(Serialize)]
pub(super) struct SentAll {
    node: Receiver,
    seconds: f64,
    files: Vec<Sent>,
}

#[derive(Serialize)]
struct Receiver {
    name: String,
    endpoint: Option<String>,
}

impl SentAll {
    pub(super) fn new(to: &Location) -> Self {
        SentAll {
            node: Receiver {
                name: to.name.to_string(),
                endpoint: to.endpoint.map(|endpoint| endpoint.to_string()),
            },
            seconds: 0.0,
            files: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, sent: Sent) {
        self.files.push(sent);
    }

    pub(super) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }

    pub(super) fn are_there(&self) -> bool {
        self.files.iter().all(|sent| sent.error().is_none())
    }

    pub(super) fn print(&self) -> anyhow::Result<()> {
        print(&serde_json::to_string(self)?)
    }
}

/// A file that has come.
#[derive(Serialize)]
pub(super) struct Came {
    from: String,
    name: String,
    size: u64,
    moved: u64,
    already: bool,
}

impl Came {
    pub(super) fn new(received: Received) -> Self {
        Came {
            from: received.from.name.to_string(),
            name: received.name,
            size: received.size,
            moved: received.moved,
            already: received.already,
        }
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print(&serde_json::to_string(self)?);
        }
        let Came { from, name, .. } = self;
        let size = DecimalBytes(self.size);
        // It is one line whatever the peer has called itself and the file.
        let line = format!("{} from {}, {size}", one_line(name), one_line(from));
        let already = if self.already {
            ", was there already"
        } else {
            ""
        };
        print(&format!("{line}{already}"))
    }
}
