//! The bars that coros has to reach between processes, judged from this run alone.

use harness::Peer as _;
use harness::bars::Bar;
use harness::figures::Judge;
use harness::run::Outcome;

use crate::cases::{Column, Measure, Remote, Workload};
use crate::peers::Peer;

/// At least so many times as good as raw tokio-rustls.
const BESIDE_TLS: [(Workload, Measure, f64, &str); 7] = [
    (
        Workload::Small,
        Measure::Thousands,
        0.8,
        "64 B, times the rate of tokio-rustls",
    ),
    (
        Workload::Large,
        Measure::Thousands,
        0.8,
        "1 KiB, times the rate of tokio-rustls",
    ),
    (
        Workload::Small,
        Measure::CpuMicros,
        1.3,
        "64 B, times the CPU of tokio-rustls",
    ),
    (
        Workload::Large,
        Measure::CpuMicros,
        1.3,
        "1 KiB, times the CPU of tokio-rustls",
    ),
    (
        Workload::Ping,
        Measure::MedianMicros,
        1.3,
        "ping p50, times that of tokio-rustls",
    ),
    (
        Workload::Ask,
        Measure::Thousands,
        0.8,
        "256 questions, times the rate of tokio-rustls",
    ),
    (
        Workload::Bulk,
        Measure::Mebibytes,
        0.6,
        "file, times the rate of tokio-rustls",
    ),
];
/// At least so many times as many messages as those who do the same.
const TIMES_PEERS: f64 = 3.0;
const PEERS: [Peer; 4] = [Peer::Ractor, Peer::Kameo, Peer::Erlang, Peer::ErlangTls];
/// At most so many bytes for each linked idle peer.
const BYTES_PER_PEER: f64 = 64.0 * 1024.0;
/// A killed peer is known within so many milliseconds.
const KILLED: f64 = 100.0;
/// A frozen one within the default of 2 s and a fifth.
const FROZEN: f64 = 2_400.0;

pub(crate) fn judge(outcome: &Outcome<Remote>, columns: &[Column]) -> Vec<Bar> {
    let judge = Judge { outcome, columns };
    let mut bars = Vec::new();
    for (workload, measure, bar, what) in BESIDE_TLS {
        let ratio = judge.ratio(Peer::Coros, Peer::Tls, workload, measure);
        bars.push(match measure {
            Measure::Thousands | Measure::Mebibytes => Bar::at_least(what.to_owned(), bar, ratio),
            // A ratio says how many times better; these bars say how many times as much.
            _ => Bar::at_most(what.to_owned(), bar, ratio.map(|ratio| 1.0 / ratio)),
        });
    }
    for peer in PEERS {
        for (workload, size) in [(Workload::Small, "64 B"), (Workload::Large, "1 KiB")] {
            let what = format!("{size}, times the rate of {}", peer.title());
            let ratio = judge.ratio(Peer::Coros, peer, workload, Measure::Thousands);
            bars.push(Bar::at_least(what, TIMES_PEERS, ratio));
        }
    }
    let idle = judge.median(Peer::Coros, Workload::Idle, Measure::BytesPerPeer);
    bars.push(Bar::at_most(
        "bytes per linked idle peer".to_owned(),
        BYTES_PER_PEER,
        idle,
    ));
    for (workload, bar, what) in [
        (Workload::Kill, KILLED, "a killed peer is known, ms, worst"),
        (
            Workload::Freeze,
            FROZEN,
            "a frozen peer is known, ms, worst",
        ),
    ] {
        let noticed = judge.worst(Peer::Coros, workload, Measure::NoticedMillis);
        bars.push(Bar::at_most(what.to_owned(), bar, noticed));
    }
    bars
}
