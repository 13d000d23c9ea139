//! What a report says of this bench.

use harness::bars::Bar;
use harness::report::Reported;
use harness::run::Outcome;

use crate::bars;
use crate::cases::{self, Case, Cluster, Column, Workload};
use crate::peers::{Peer, WORKERS};

impl Reported for Cluster {
    type Column = Column;

    const OURS: Peer = Peer::Coros;
    const BASE: Peer = Peer::Pool;
    const LOCK_FILE: &'static str = include_str!("../Cargo.lock");
    const WORKER_THREADS: usize = WORKERS;
    const WORKERS_OF: &'static str = " of a client, and as many workers of one call at a time";
    const BARS: &'static str = "Bars for calls in worker processes, from this run:";

    fn columns(cases: &[Case]) -> Vec<Column> {
        Column::of(cases)
    }

    fn header(column: Column) -> String {
        cases::header(column)
    }

    fn tables(columns: &[Column]) -> Vec<(&'static str, Vec<Column>)> {
        let title = |column: &Column| match column.case.workload {
            Workload::Calls | Workload::Direct | Workload::Latency | Workload::Bulk => "Calls:",
            Workload::Spawn => "Commands:",
            Workload::Start => "From the wish to run something to its result:",
            Workload::Idle | Workload::Many => "Memory:",
            Workload::Kill => "What a kill -9 of one of the two workers did:",
        };
        let alike = columns.chunk_by(|a, b| title(a) == title(b));
        alike
            .map(|columns| (title(&columns[0]), columns.to_vec()))
            .collect()
    }

    fn judge(outcome: &Outcome<Cluster>, columns: &[Column]) -> Vec<Bar> {
        bars::judge(outcome, columns)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use harness::Peer as _;
    use harness::report::version;

    use super::*;

    #[test]
    fn every_rust_peer_has_a_version() {
        let peers = Peer::value_variants().iter();
        for &peer in peers.filter(|peer| peer.package().is_some()) {
            let version = version::<Cluster>(peer);
            assert!(version.is_some(), "{peer:?} is not in Cargo.lock");
        }
    }
}
