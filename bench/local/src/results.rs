//! What the columns of the table show.

use harness::results;
use serde::Serialize;

use crate::run::{Case, Local};
use crate::workloads::{Report, Workload};

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
}

impl results::Column for Column {
    type Suite = Local;

    fn case(self) -> Case {
        self.case
    }

    fn value(self, report: &Report) -> Option<f64> {
        match self.measure {
            Measure::MillionsPerSecond => Some(report.ops as f64 / report.seconds / 1e6),
            Measure::SpawnSeconds => Some(report.seconds),
            Measure::BytesPerIdle => report.bytes_per_idle(),
        }
    }

    fn smaller_is_better(self) -> bool {
        self.measure != Measure::MillionsPerSecond
    }
}

#[cfg(test)]
mod tests {
    use harness::results::Column as _;

    use super::*;

    #[test]
    fn less_time_and_less_memory_are_better() {
        let column = |measure| Column {
            case: Case {
                workload: Workload::W1,
                n: 1_000_000,
                only_coros: false,
            },
            measure,
        };
        assert_eq!(column(Measure::SpawnSeconds).times_better(0.5, 1.0), 2.0);
        assert_eq!(
            column(Measure::BytesPerIdle).times_better(400.0, 1200.0),
            3.0
        );
        assert_eq!(
            column(Measure::MillionsPerSecond).times_better(3.0, 1.5),
            2.0
        );
    }
}
