//! `coros peers`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use coros::net::{Location, Node};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::flags::network::PeersFlags;
use crate::network::{self, Seen, Unreachable};
use crate::terminal::{one_line, print, say, status};

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// How many are asked at a time.
const AT_ONCE: usize = 32;
/// How many digits of an id tell launches apart, for people.
const SHORT: usize = 8;

/// Does what was asked for and gives the exit status.
pub(crate) async fn run(flags: PeersFlags) -> ExitCode {
    status("peers", list(&flags).await)
}

async fn list(flags: &PeersFlags) -> anyhow::Result<bool> {
    let builder = network::member(&flags.network).await?;
    let node = network::start(builder).await?;
    let seen = Seen::watch(&node);
    let unreachable = Unreachable::watch(&node);
    let found = look(&node, flags, &seen).await;
    node.close().await;
    let found = found?;
    if found.peers.is_empty() {
        unreachable.say();
    }
    if flags.json {
        print(&serde_json::to_string(&found)?)?;
    } else if found.peers.is_empty() {
        say("there is nobody else");
    } else {
        print(&found.table())?;
    }
    Ok(!found.peers.is_empty())
}

async fn look(node: &Node, flags: &PeersFlags, seen: &Seen) -> anyhow::Result<Found> {
    network::join(node, &flags.network.around, "does a node run there").await?;
    tokio::time::sleep(flags.wait).await;
    let links = node.links();
    let mut peers = Vec::new();
    let mut asking = JoinSet::new();
    for (peer, lost) in seen.all() {
        if asking.len() >= AT_ONCE {
            peers.extend(asking.join_next().await.transpose()?);
        }
        let linked = links.contains(&peer);
        asking.spawn(ask(node.clone(), peer, lost, linked));
    }
    while let Some(answer) = asking.join_next().await {
        peers.push(answer?);
    }
    peers.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(Found { peers })
}

async fn ask(node: Node, peer: Location, lost: Option<Arc<str>>, link: bool) -> Peer {
    let answer = match &lost {
        Some(why) => Err(why.to_string()),
        None => match tokio::time::timeout(ANSWER, node.ping(&peer)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer from {peer} within {ANSWER:?}")),
        },
    };
    Peer {
        name: peer.name.to_string(),
        id: peer.node.to_string(),
        endpoint: peer.endpoint.map(|endpoint| endpoint.to_string()),
        state: if lost.is_some() { "lost" } else { "up" },
        link,
        round_trip_seconds: answer.as_ref().ok().map(Duration::as_secs_f64),
        error: answer.err(),
    }
}

#[derive(Serialize)]
struct Found {
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Peer {
    name: String,
    id: String,
    endpoint: Option<String>,
    state: &'static str,
    link: bool,
    round_trip_seconds: Option<f64>,
    error: Option<String>,
}

impl Found {
    /// For people: a line each, in columns.
    fn table(&self) -> String {
        let head = ["NAME", "ENDPOINT", "ID", "STATE", "LINK", "ROUND TRIP"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.peers.iter().map(Peer::row));
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let line = |row: &[String; 6]| {
            let cells = row.iter().zip(widths);
            let cells = cells.map(|(cell, width)| format!("{cell:width$}  "));
            cells.collect::<String>().trim_end().to_owned()
        };
        let lines: Vec<_> = rows.iter().map(line).collect();
        lines.join("\n")
    }
}

impl Peer {
    fn row(&self) -> [String; 6] {
        let round_trip = match (self.round_trip_seconds, &self.error) {
            (Some(seconds), _) => format!("{:.3} ms", seconds * 1e3),
            (None, Some(error)) => one_line(error),
            (None, None) => "-".to_owned(),
        };
        [
            one_line(&self.name),
            self.endpoint.clone().unwrap_or_else(|| "-".to_owned()),
            self.id[..SHORT].to_owned(),
            self.state.to_owned(),
            if self.link { "yes" } else { "no" }.to_owned(),
            round_trip,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_one_line_for_each() {
        let peer = |name: &str, round_trip_seconds, error: Option<&str>| Peer {
            name: name.into(),
            id: format!("{:032x}", 0xabcd_u128 << 100),
            endpoint: None,
            state: "up",
            link: error.is_none(),
            round_trip_seconds,
            error: error.map(str::to_owned),
        };
        let found = Found {
            peers: vec![
                peer("farm", Some(0.000_25), None),
                peer("a\x1b[31m\nb", None, Some("gone\nfor good")),
            ],
        };
        let expected = "\
NAME            ENDPOINT  ID        STATE  LINK  ROUND TRIP
farm            -         000abcd0  up     yes   0.250 ms
a\\u{1b}[31m\\nb  -         000abcd0  up     no    gone\\nfor good";
        assert_eq!(found.table(), expected);
    }
}
