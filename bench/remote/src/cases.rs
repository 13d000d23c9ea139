//! What is measured, and what the harness is told of it.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;
use harness::Suite;
use harness::table::count;
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

    pub(crate) fn measures(self) -> &'static [Measure] {
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

/// What one child process found. A figure that could not be had is left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(pub(crate) BTreeMap<Measure, f64>);

impl Figures {
    pub(crate) fn with(mut self, measure: Measure, value: f64) -> Self {
        self.0.insert(measure, value);
        self
    }
}

/// A workload at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) n: u64,
}

/// Coroutines of two processes.
#[derive(Debug)]
pub(crate) struct Remote;

impl Suite for Remote {
    type Peer = Peer;
    type Case = Case;
    type Report = Figures;

    fn title(peer: Peer) -> &'static str {
        peer.title()
    }

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

/// A measure of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) measure: Measure,
}

impl Column {
    pub(crate) fn of(cases: &[Case]) -> Vec<Column> {
        let columns = |&case: &Case| {
            let measures = case.workload.measures().iter();
            measures.map(move |&measure| Column { case, measure })
        };
        cases.iter().flat_map(columns).collect()
    }

    pub(crate) fn header(self) -> String {
        let name = self.case.workload.name();
        let n = count(self.case.n);
        match self.measure {
            Measure::Thousands => format!("{name}\n{n}\nk/s"),
            Measure::CpuMicros => format!("{name} CPU\n{n}\nus"),
            Measure::MedianMicros => format!("{name} p50\n{n}\nus"),
            Measure::TailMicros => format!("{name} p99\n{n}\nus"),
            Measure::Mebibytes => format!("{name}\n{} MiB\nMiB/s", count(self.case.n >> 20)),
            Measure::BytesPerPeer => format!("{name}\n{n}\nbytes"),
            Measure::NoticedMillis => format!("{name}\n\nms"),
        }
    }
}

impl harness::results::Column for Column {
    type Suite = Remote;

    fn case(self) -> Case {
        self.case
    }

    fn value(self, report: &Figures) -> Option<f64> {
        report.0.get(&self.measure).copied()
    }

    fn smaller_is_better(self) -> bool {
        !matches!(self.measure, Measure::Thousands | Measure::Mebibytes)
    }
}
