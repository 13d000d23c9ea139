//! The bars that coros has to reach with calls in worker processes, judged from this run alone.

use harness::Peer as _;
use harness::bars::Bar;
use harness::figures::Judge;
use harness::run::Outcome;

use crate::cases::{Cluster, Column, Measure, Workload};
use crate::peers::Peer;

/// At least so many times the rate of these, or at most so many times the time.
const BESIDE: [(Workload, Measure, Peer, f64, &str); 6] = [
    (
        Workload::Calls,
        Measure::Thousands,
        Peer::Dask,
        100.0,
        "calls, times the rate of dask",
    ),
    (
        Workload::Calls,
        Measure::Thousands,
        Peer::Ray,
        50.0,
        "calls, times the rate of ray",
    ),
    (
        Workload::Calls,
        Measure::Thousands,
        Peer::Pool,
        10.0,
        "calls, times the rate of Pool",
    ),
    (
        Workload::Latency,
        Measure::MedianMicros,
        Peer::Tcp,
        3.0,
        "latency p50, times that of TCP",
    ),
    (
        Workload::Bulk,
        Measure::MebibytesThere,
        Peer::Dask,
        0.5,
        "bulk there, times dask's scatter",
    ),
    (
        Workload::Spawn,
        Measure::Thousands,
        Peer::Xargs,
        0.9,
        "commands, times xargs -P2",
    ),
];
/// How many times as many questions past the scheduler as calls through it.
const DIRECT: f64 = 5.0;
/// No more than this.
const AT_MOST: [(Workload, Measure, f64, &str); 4] = [
    (Workload::Start, Measure::ColdMillis, 20.0, "cold start, ms"),
    (Workload::Start, Measure::WarmMillis, 4.0, "warm start, ms"),
    (
        Workload::Idle,
        Measure::NodeMebibytes,
        12.0,
        "idle node, MiB",
    ),
    (
        Workload::Idle,
        Measure::WorkerMebibytes,
        6.0,
        "idle worker, MiB",
    ),
];
/// MiB for a million calls.
const GROWTH: f64 = 200.0;

pub(crate) fn judge(outcome: &Outcome<Cluster>, columns: &[Column]) -> Vec<Bar> {
    let judge = Judge { outcome, columns };
    let mut bars = Vec::new();
    for ours in [Peer::Coros, Peer::CorosNode] {
        let of = |what: &str| format!("{}: {what}", ours.title());
        for (workload, measure, other, bar, what) in BESIDE {
            let ratio = judge.ratio(ours, other, workload, measure);
            bars.push(match measure {
                // A ratio says how many times better; this bar says how many times as much.
                Measure::MedianMicros => {
                    Bar::at_most(of(what), bar, ratio.map(|ratio| 1.0 / ratio))
                }
                _ => Bar::at_least(of(what), bar, ratio),
            });
        }
        let rate = |workload| judge.median(ours, workload, Measure::Thousands);
        let direct = rate(Workload::Direct).zip(rate(Workload::Calls));
        let times = direct.map(|(direct, calls)| direct / calls);
        bars.push(Bar::at_least(
            of("direct, times the rate of calls"),
            DIRECT,
            times,
        ));
        for (workload, measure, bar, what) in AT_MOST {
            // Workers on this machine have no node, and the program does not travel.
            if ours == Peer::CorosNode || measure == Measure::WorkerMebibytes {
                let median = judge.median(ours, workload, measure);
                bars.push(Bar::at_most(of(what), bar, median));
            }
        }
        let growth = judge.worst(ours, Workload::Many, Measure::GrowthMebibytes);
        bars.push(Bar::at_most(
            of("a million calls, MiB, worst"),
            GROWTH,
            growth,
        ));
        let killed = columns.iter().find(|c| c.case.workload == Workload::Kill);
        let results = judge.worst(ours, Workload::Kill, Measure::Results);
        let all = killed.map_or(0, |column| column.case.n) as f64;
        bars.push(Bar::at_least(
            of("results after a kill, worst"),
            all,
            results,
        ));
    }
    bars
}
