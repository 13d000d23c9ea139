//! What a report says of this bench.

use harness::bars::Bar;
use harness::report::Reported;
use harness::run::Outcome;

use crate::bars;
use crate::cases::{Case, Column, Remote};
use crate::peers::Peer;
use crate::workloads::WORKERS;

impl Reported for Remote {
    type Column = Column;

    const OURS: Peer = Peer::Coros;
    const BASE: Peer = Peer::Tls;
    const LOCK_FILE: &'static str = include_str!("../Cargo.lock");
    const WORKER_THREADS: usize = WORKERS;
    const WORKERS_OF: &'static str = " in each process";
    const BARS: &'static str = "Bars for messages between processes, from this run:";

    fn package(peer: Peer) -> Option<&'static str> {
        peer.package()
    }

    fn installed_version(peer: Peer) -> Option<String> {
        peer.installed_version()
    }

    fn columns(cases: &[Case]) -> Vec<Column> {
        Column::of(cases)
    }

    fn header(column: Column) -> String {
        column.header()
    }

    fn judge(outcome: &Outcome<Remote>, columns: &[Column]) -> Vec<Bar> {
        bars::judge(outcome, columns)
    }
}
