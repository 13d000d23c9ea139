//! What is measured, and what the harness is told of it.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use harness::options::name;
use harness::report::Extent;
use harness::table::count;
use harness::{Suite, figures};
use serde::{Deserialize, Serialize};

use crate::peers::Peer;

/// What to measure. The order is the order of the tables' columns.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Calls that do nothing, through the scheduler.
    Calls,
    /// Questions to a coroutine in a worker, past the scheduler.
    Direct,
    /// Calls, one under way.
    Latency,
    /// Large arguments and results.
    Bulk,
    /// Programs that do nothing.
    Spawn,
    /// From the wish to run something to its result.
    Start,
    /// Node and worker that have nothing to do.
    Idle,
    /// So many calls that they do not fit into memory.
    Many,
    /// A worker is killed.
    Kill,
}

impl figures::Workload for Workload {
    type Measure = Measure;

    fn measures(self) -> &'static [Measure] {
        match self {
            Workload::Calls | Workload::Direct | Workload::Spawn => &[Measure::Thousands],
            Workload::Latency => &[Measure::MedianMicros, Measure::TailMicros],
            Workload::Bulk => &[Measure::MebibytesThere, Measure::MebibytesBoth],
            Workload::Start => &[
                Measure::ProgramMebibytes,
                Measure::ColdMillis,
                Measure::WarmMillis,
            ],
            Workload::Idle => &[
                Measure::NodeMebibytes,
                Measure::NodeOwnMebibytes,
                Measure::WorkerMebibytes,
                Measure::WorkerOwnMebibytes,
            ],
            Workload::Many => &[Measure::GrowthMebibytes],
            Workload::Kill => &[Measure::Results, Measure::Seconds],
        }
    }
}

/// One figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Thousands per second.
    Thousands,
    /// Half of the calls took no longer.
    MedianMicros,
    /// 99 of 100 calls took no longer.
    TailMicros,
    /// MiB per second to the workers.
    MebibytesThere,
    /// MiB per second to the workers and back, counted both ways.
    MebibytesBoth,
    /// Size of the program that travels.
    ProgramMebibytes,
    /// Until the first result, where the program has never been.
    ColdMillis,
    /// The same once more.
    WarmMillis,
    /// Resident memory of what lends the machine.
    NodeMebibytes,
    /// What of it is not of files, as the program's own, which whoever runs it shares.
    NodeOwnMebibytes,
    /// Resident memory of a worker.
    WorkerMebibytes,
    /// Likewise.
    WorkerOwnMebibytes,
    /// How much more resident memory the client had at most.
    GrowthMebibytes,
    /// Calls that gave what they should.
    Results,
    /// Until all had.
    Seconds,
}

impl figures::Measure for Measure {
    fn smaller_is_better(self) -> bool {
        !matches!(
            self,
            Measure::Thousands
                | Measure::MebibytesThere
                | Measure::MebibytesBoth
                | Measure::Results
        )
    }
}

pub(crate) type Figures = figures::Figures<Measure>;
pub(crate) type Case = figures::Case<Workload>;
pub(crate) type Column = figures::Column<Cluster>;

/// Calls in worker processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster;

impl Suite for Cluster {
    type Peer = Peer;
    type Case = Case;
    type Report = Figures;

    fn name(case: Case) -> String {
        format!("{} N={}", name(&case.workload), count(case.n))
    }

    fn has(case: Case, peer: Peer) -> bool {
        peer.takes_part_in(case.workload)
    }

    fn command(peer: Peer, case: Case) -> Result<Command> {
        peer.command(case.workload, peer.share_of(case))
    }
}

impl figures::Measured for Cluster {
    type Workload = Workload;
}

/// Each workload at the size of a full run, of a quick one, and of a check.
pub(crate) fn of(extent: Extent, workloads: &[Workload]) -> Vec<Case> {
    let size = |workload| match workload {
        Workload::Calls => [500_000, 100_000, 200],
        Workload::Direct => [1_000_000, 200_000, 200],
        Workload::Latency => [5_000, 1_000, 20],
        Workload::Bulk => [64, 32, 2],
        Workload::Spawn => [2_000, 500, 10],
        Workload::Start | Workload::Idle => [1, 1, 1],
        Workload::Many => [1_000_000, 1_000_000, 5_000],
        Workload::Kill => [200, 200, 20],
    };
    let case = |&workload| Case {
        workload,
        n: size(workload)[extent as usize],
    };
    workloads.iter().map(case).collect()
}

pub(crate) fn header(column: Column) -> String {
    let name = name(&column.case.workload);
    let n = count(column.case.n);
    match column.measure {
        Measure::Thousands => format!("{name}\n{n}\nk/s"),
        Measure::MedianMicros => format!("{name} p50\n{n}\nus"),
        Measure::TailMicros => format!("{name} p99\n{n}\nus"),
        Measure::MebibytesThere => format!("{name} there\n{n} x 4 MiB\nMiB/s"),
        Measure::MebibytesBoth => format!("{name} both ways\n{n} x 4 MiB\nMiB/s"),
        Measure::ProgramMebibytes => "program\n\nMiB".to_owned(),
        Measure::ColdMillis => format!("{name} cold\n\nms"),
        Measure::WarmMillis => format!("{name} again\n\nms"),
        Measure::NodeMebibytes => format!("{name} node\n\nMiB"),
        Measure::NodeOwnMebibytes => "of that\nits own\nMiB".to_owned(),
        Measure::WorkerMebibytes => format!("{name} worker\n\nMiB"),
        Measure::WorkerOwnMebibytes => "of that\nits own\nMiB".to_owned(),
        Measure::GrowthMebibytes => format!("{name} growth\n{n}\nMiB"),
        Measure::Results => format!("{name} results\nof {n}\n"),
        Measure::Seconds => format!("{name} time\n{n} x 0.1 s / 2\ns"),
    }
}
