//! The bars that coros has to reach with a tokio task per coroutine, judged from this run alone.

use serde::Serialize;

use crate::peers::Peer;
use crate::results::{self, Column, Measure};
use crate::run::Outcome;
use crate::table::short;
use crate::workloads::Workload;

/// At most so many bytes per idle coroutine.
const BYTES_PER_IDLE: f64 = 560.0;
/// Spawning is to be faster than tokio + mpsc, by whatever.
const SPAWN: f64 = 1.0;
/// At least so many times the rate of tokio mpsc.
const RATES: [(Workload, f64); 7] = [
    (Workload::W2, 2.0),
    (Workload::W3, 2.0),
    (Workload::W4, 1.2),
    (Workload::Ask, 1.2),
    (Workload::W5, 1.2),
    (Workload::W6, 1.4),
    (Workload::W7, 1.5),
];
/// At least so many times the rate of these, in each of them.
const ACTORS: [Peer; 2] = [Peer::Ractor, Peer::Kameo];
const TIMES_ACTORS: f64 = 3.0;

#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    pub(crate) bar: f64,
    /// `None` if this run did not measure what it takes.
    pub(crate) measured: Option<f64>,
    pub(crate) reached: Option<bool>,
}

impl Bar {
    fn at_most(what: String, bar: f64, measured: Option<f64>) -> Self {
        Bar {
            what,
            bar,
            measured,
            reached: measured.map(|measured| measured <= bar),
        }
    }

    fn at_least(what: String, bar: f64, measured: Option<f64>) -> Self {
        Bar {
            what,
            bar,
            measured,
            reached: measured.map(|measured| measured >= bar),
        }
    }
}

pub(crate) fn judge(outcome: &Outcome, columns: &[Column]) -> Vec<Bar> {
    let largest = |workload: Workload, measure: Measure| {
        let same = columns
            .iter()
            .copied()
            .filter(|c| c.case.workload == workload && c.measure == measure && !c.case.only_coros);
        same.max_by_key(|column| column.case.n)
    };
    let coros_beside = |peer: Peer, workload: Workload, measure: Measure| {
        results::ratio(outcome, Peer::Coros, peer, largest(workload, measure)?)
    };

    let mut bars = Vec::new();
    let idle = largest(Workload::W1, Measure::BytesPerIdle)
        .and_then(|column| results::cell(outcome, Peer::Coros, column));
    let what = "bytes per idle coroutine, at most".to_owned();
    bars.push(Bar::at_most(
        what,
        BYTES_PER_IDLE,
        idle.map(|cell| cell.median),
    ));
    let spawn = coros_beside(Peer::Tokio, Workload::W1, Measure::SpawnSeconds);
    bars.push(Bar::at_least(
        "W1 spawn, times as fast as tokio mpsc".to_owned(),
        SPAWN,
        spawn,
    ));
    for (workload, bar) in RATES {
        let measured = coros_beside(Peer::Tokio, workload, Measure::MillionsPerSecond);
        bars.push(Bar::at_least(
            format!("{}, times tokio mpsc", workload.name()),
            bar,
            measured,
        ));
    }
    for peer in ACTORS {
        for (workload, _) in RATES {
            let measured = coros_beside(peer, workload, Measure::MillionsPerSecond);
            let what = format!("{}, times {}", workload.name(), peer.title());
            bars.push(Bar::at_least(what, TIMES_ACTORS, measured));
        }
    }
    bars
}

pub(crate) fn render(bars: &[Bar]) -> String {
    let line = |bar: &Bar| {
        let verdict = if bar.reached? { "reached" } else { "MISSED" };
        let (limit, measured) = (short(bar.bar), short(bar.measured?));
        Some(format!(
            "  {:<40} bar {limit:>5}   measured {measured:>6}   {verdict}\n",
            bar.what
        ))
    };
    let mut text: String = bars.iter().filter_map(line).collect();
    let others = bars.iter().filter(|bar| bar.reached.is_none()).count();
    if others > 0 {
        text += &format!("  {others} others need what this run did not measure\n");
    }
    text
}
