//! What the harness is told of this bench.

use std::process::Command;

use anyhow::Result;
use harness::Suite;
use harness::table::count;
use serde::Serialize;

use crate::peers::Peer;
use crate::workloads::{Report, Workload};

/// A workload at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) n: u64,
    /// Only coros is asked to do this one.
    pub(crate) only_coros: bool,
}

/// Coroutines on one machine.
#[derive(Debug)]
pub(crate) struct Local;

impl Suite for Local {
    type Peer = Peer;
    type Case = Case;
    type Report = Report;

    fn name(case: Case) -> String {
        format!("{} N={}", case.workload.name(), count(case.n))
    }

    fn has(case: Case, peer: Peer) -> bool {
        peer.takes_part_in(case.workload) && (!case.only_coros || peer == Peer::Coros)
    }

    fn command(peer: Peer, case: Case) -> Result<Command> {
        peer.command(case.workload, case.n)
    }
}
