//! From samples to figures: one column a measure, one cell a peer's median, spread and ratio to raw tokio mpsc.

use serde::Serialize;

use crate::noise;
use crate::peers::Peer;
use crate::run::{Case, Outcome, Sample};
use crate::workloads::Workload;

/// What a column shows of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Millions of operations per second.
    MillionsPerSecond,
    /// Seconds to spawn all, until all wait.
    SpawnSeconds,
    /// Growth of resident memory per waiting coroutine, in bytes.
    BytesPerIdle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) measure: Measure,
}

impl Column {
    pub(crate) fn of(cases: &[Case]) -> Vec<Column> {
        let measures = |case: &Case| match case.workload {
            Workload::W1 => vec![Measure::SpawnSeconds, Measure::BytesPerIdle],
            _ => vec![Measure::MillionsPerSecond],
        };
        let column = |case: &Case, measure| Column {
            case: *case,
            measure,
        };
        cases
            .iter()
            .flat_map(|case| {
                measures(case)
                    .into_iter()
                    .map(move |measure| column(case, measure))
            })
            .collect()
    }

    fn value(self, sample: &Sample) -> Option<f64> {
        let report = &sample.report;
        match self.measure {
            Measure::MillionsPerSecond => Some(report.ops as f64 / report.seconds / 1e6),
            Measure::SpawnSeconds => Some(report.seconds),
            Measure::BytesPerIdle => report.bytes_per_idle(),
        }
    }

    /// How many times better `value` is than `other`.
    fn times_better(self, value: f64, other: f64) -> f64 {
        match self.measure {
            Measure::MillionsPerSecond => value / other,
            Measure::SpawnSeconds | Measure::BytesPerIdle => other / value,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) peer: Peer,
    #[serde(flatten)]
    pub(crate) column: Column,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many times better than raw tokio mpsc.
    pub(crate) ratio: Option<f64>,
    pub(crate) kept: usize,
    pub(crate) discarded: usize,
}

pub(crate) fn cell(outcome: &Outcome, peer: Peer, column: Column) -> Option<Cell> {
    let (kept, discarded): (Vec<_>, Vec<_>) = outcome
        .cell(peer, column.case)
        .partition(|sample| sample.kept);
    let mut values: Vec<f64> = kept.iter().filter_map(|s| column.value(s)).collect();
    values.sort_by(f64::total_cmp);
    Some(Cell {
        peer,
        column,
        median: median(&values)?,
        min: *values.first()?,
        max: *values.last()?,
        ratio: ratio(outcome, peer, Peer::Tokio, column),
        kept: kept.len(),
        discarded: discarded.len(),
    })
}

/// How many times better `peer` is than `other`: the median of the ratios within a round. A pair is as disturbed as the
/// worse of its two samples; which pairs count is settled apart from which samples do, so that no half is missing.
pub(crate) fn ratio(outcome: &Outcome, peer: Peer, other: Peer, column: Column) -> Option<f64> {
    let mut pairs = Vec::new();
    for one in outcome.cell(peer, column.case) {
        let beside = outcome
            .cell(other, column.case)
            .find(|s| s.round == one.round);
        let Some(other) = beside else { continue };
        if let Some((a, b)) = column.value(one).zip(column.value(other)) {
            let level = noise::level(one.disturbance).max(noise::level(other.disturbance));
            pairs.push((level, column.times_better(a, b)));
        }
    }
    let levels: Vec<f64> = pairs.iter().map(|&(level, _)| level).collect();
    let counting = pairs
        .iter()
        .zip(noise::counting(&levels))
        .filter(|&(_, counts)| counts);
    let mut ratios: Vec<f64> = counting.map(|(&(_, ratio), _)| ratio).collect();
    ratios.sort_by(f64::total_cmp);
    median(&ratios)
}

/// The median of what is already sorted.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 {
        upper
    } else {
        f64::midpoint(sorted[middle - 1], upper)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::machine::Disturbance;
    use crate::workloads::Report;

    const CASE: Case = Case {
        workload: Workload::W2,
        n: 1_000_000,
        only_coros: false,
    };
    const RATE: Column = Column {
        case: CASE,
        measure: Measure::MillionsPerSecond,
    };

    fn sample(peer: Peer, round: usize, seconds: f64, others: f64) -> Sample {
        Sample {
            peer,
            case: CASE,
            round,
            report: Report::new(CASE.n, Duration::from_secs_f64(seconds)),
            disturbance: Some(Disturbance {
                stolen: 0.0,
                others,
            }),
            kept: others < 0.3,
        }
    }

    #[test]
    fn ratios_pair_what_ran_in_the_same_round() {
        let samples = vec![
            sample(Peer::Tokio, 0, 1.0, 0.0),
            sample(Peer::Coros, 0, 0.5, 0.0),
            // A round in which the machine was four times as slow, for both.
            sample(Peer::Tokio, 1, 4.0, 0.2),
            sample(Peer::Coros, 1, 2.0, 0.2),
            sample(Peer::Tokio, 2, 1.0, 0.0),
            sample(Peer::Coros, 2, 0.4, 0.0),
            // One of the two was disturbed, so the pair is.
            sample(Peer::Tokio, 3, 1.0, 0.9),
            sample(Peer::Coros, 3, 0.01, 0.0),
        ];
        let outcome = Outcome {
            samples,
            failures: Vec::new(),
        };
        assert_eq!(ratio(&outcome, Peer::Coros, Peer::Tokio, RATE), Some(2.0));
        let cell = cell(&outcome, Peer::Tokio, RATE).expect("three samples count");
        assert_eq!((cell.kept, cell.discarded, cell.ratio), (3, 1, Some(1.0)));
        assert_eq!((cell.min, cell.median, cell.max), (0.25, 1.0, 1.0));
    }

    #[test]
    fn a_ratio_is_there_even_if_no_round_was_quiet_for_both() {
        let samples = vec![
            sample(Peer::Tokio, 0, 1.0, 0.9),
            sample(Peer::Coros, 0, 0.5, 0.0),
            sample(Peer::Tokio, 1, 1.0, 0.0),
            sample(Peer::Coros, 1, 0.25, 0.9),
        ];
        let outcome = Outcome {
            samples,
            failures: Vec::new(),
        };
        assert_eq!(ratio(&outcome, Peer::Coros, Peer::Tokio, RATE), Some(3.0));
    }

    #[test]
    fn less_time_and_less_memory_are_better() {
        let column = Column {
            measure: Measure::SpawnSeconds,
            ..RATE
        };
        assert_eq!(column.times_better(0.5, 1.0), 2.0);
        let column = Column {
            measure: Measure::BytesPerIdle,
            ..RATE
        };
        assert_eq!(column.times_better(400.0, 1200.0), 3.0);
    }

    #[test]
    fn a_median_needs_a_value() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 10.0]), Some(2.0));
    }
}
