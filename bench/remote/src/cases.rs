//! What is measured, and what the harness is told of it.

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use harness::table::count;
use harness::{Suite, figures};
use serde::{Deserialize, Serialize};

use crate::peers::Peer;

/// What to measure. The order is the order of the table's columns.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Messages of 64 bytes, one way.
    Small,
    /// Messages of 1 KiB, one way.
    Large,
    /// Questions, one under way.
    Ping,
    /// Questions, 256 under way.
    Ask,
    /// A file.
    Bulk,
    /// Peers that are linked and silent.
    Idle,
    /// The other process is killed.
    Kill,
    /// The other process is stopped.
    Freeze,
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Small => "small",
            Workload::Large => "large",
            Workload::Ping => "ping",
            Workload::Ask => "ask",
            Workload::Bulk => "bulk",
            Workload::Idle => "idle",
            Workload::Kill => "kill",
            Workload::Freeze => "freeze",
        }
    }

    /// Bytes of a message, its number included.
    pub(crate) fn message_size(self) -> usize {
        if self == Workload::Large { 1024 } else { 64 }
    }
}

impl figures::Workload for Workload {
    type Measure = Measure;

    fn measures(self) -> &'static [Measure] {
        match self {
            Workload::Small | Workload::Large => &[Measure::Thousands, Measure::CpuMicros],
            Workload::Ping => &[Measure::MedianMicros, Measure::TailMicros],
            Workload::Ask => &[Measure::Thousands],
            Workload::Bulk => &[Measure::Mebibytes],
            Workload::Idle => &[Measure::BytesPerPeer],
            Workload::Kill | Workload::Freeze => &[Measure::NoticedMillis],
        }
    }
}

/// One figure of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Thousands of messages or answers per second.
    Thousands,
    /// CPU time of both processes for each message, in microseconds.
    CpuMicros,
    /// Half of the round trips took no longer.
    MedianMicros,
    /// 99 of 100 round trips took no longer.
    TailMicros,
    /// MiB per second.
    Mebibytes,
    /// Growth of resident memory for each linked peer.
    BytesPerPeer,
    /// Until the loss of the peer was noticed.
    NoticedMillis,
}

impl figures::Measure for Measure {
    fn smaller_is_better(self) -> bool {
        !matches!(self, Measure::Thousands | Measure::Mebibytes)
    }
}

pub(crate) type Figures = figures::Figures<Measure>;
pub(crate) type Case = figures::Case<Workload>;
pub(crate) type Column = figures::Column<Remote>;

/// Coroutines of two processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote;

impl Suite for Remote {
    type Peer = Peer;
    type Case = Case;
    type Report = Figures;

    fn name(case: Case) -> String {
        format!("{} N={}", case.workload.name(), count(case.n))
    }

    fn has(case: Case, peer: Peer) -> bool {
        peer.takes_part_in(case.workload)
    }

    fn command(peer: Peer, case: Case) -> Result<Command> {
        peer.command(case.workload, peer.share_of(case))
    }
}

impl figures::Measured for Remote {
    type Workload = Workload;
}

pub(crate) fn header(column: Column) -> String {
    let name = column.case.workload.name();
    let n = count(column.case.n);
    match column.measure {
        Measure::Thousands => format!("{name}\n{n}\nk/s"),
        Measure::CpuMicros => format!("{name} CPU\n{n}\nus"),
        Measure::MedianMicros => format!("{name} p50\n{n}\nus"),
        Measure::TailMicros => format!("{name} p99\n{n}\nus"),
        Measure::Mebibytes => format!("{name}\n{} MiB\nMiB/s", count(column.case.n >> 20)),
        Measure::BytesPerPeer => format!("{name}\n{n}\nbytes"),
        Measure::NoticedMillis => format!("{name}\n\nms"),
    }
}
