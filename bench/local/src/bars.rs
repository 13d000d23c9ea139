//! The bars that coros has to reach with a tokio task per coroutine, judged from this run alone.

use harness::Peer as _;
use harness::bars::Bar;
use harness::results;
use harness::run::Outcome;

use crate::peers::Peer;
use crate::results::{Column, Measure};
use crate::run::Local;
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

pub(crate) fn judge(outcome: &Outcome<Local>, columns: &[Column]) -> Vec<Bar> {
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
        .and_then(|column| results::cell(outcome, Peer::Coros, Peer::Tokio, column));
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
