//! What a report says of this bench.

use harness::bars::Bar;
use harness::report::Reported;
use harness::run::Outcome;

use crate::bars;
use crate::cases::{self, Case, Column, Remote};
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

    fn columns(cases: &[Case]) -> Vec<Column> {
        Column::of(cases)
    }

    fn header(column: Column) -> String {
        cases::header(column)
    }

    fn judge(outcome: &Outcome<Remote>, columns: &[Column]) -> Vec<Bar> {
        bars::judge(outcome, columns)
    }
}
