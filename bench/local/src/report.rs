//! What a report says of this bench.

use harness::bars::Bar;
use harness::report::Reported;
use harness::run::Outcome;
use harness::table::count;

use crate::bars;
use crate::peers::Peer;
use crate::results::{Column, Measure};
use crate::run::{Case, Local};
use crate::workloads::WORKERS;

impl Reported for Local {
    type Column = Column;

    const OURS: Peer = Peer::Coros;
    const BASE: Peer = Peer::Tokio;
    const LOCK_FILE: &'static str = include_str!("../Cargo.lock");
    const WORKER_THREADS: usize = WORKERS;
    const WORKERS_OF: &'static str = "";
    const BARS: &'static str = "Bars for coroutines on tokio tasks, from this run:";

    fn columns(cases: &[Case]) -> Vec<Column> {
        Column::of(cases)
    }

    fn header(column: Column) -> String {
        let name = column.case.workload.name();
        let n = count(column.case.n);
        match column.measure {
            Measure::MillionsPerSecond => format!("{name}\n{n}\nM/s"),
            Measure::SpawnSeconds => format!("{name} spawn\n{n}\ns"),
            Measure::BytesPerIdle => format!("{name} idle\n{n}\nbytes"),
        }
    }

    fn judge(outcome: &Outcome<Local>, columns: &[Column]) -> Vec<Bar> {
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
            let version = version::<Local>(peer);
            assert!(version.is_some(), "{peer:?} is not in Cargo.lock");
        }
    }
}
