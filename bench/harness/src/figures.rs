//! Benches whose samples are named figures: workloads at sizes, a column for each measure.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run::Outcome;
use crate::{Suite, results};

/// What can be measured. The order of its values is that of the table's columns.
pub trait Workload: ValueEnum + Copy + Eq + Debug + Serialize + Send + Sync + 'static {
    type Measure: Measure;

    /// What a sample of it has figures for.
    fn measures(self) -> &'static [Self::Measure];
}

/// One figure of a sample.
pub trait Measure: Copy + Ord + Debug + Serialize + DeserializeOwned + 'static {
    /// Whether a smaller value is a better one: seconds, bytes.
    fn smaller_is_better(self) -> bool;
}

/// What one child process found. A figure that could not be had is left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent, bound = "M: Measure")]
pub struct Figures<M: Measure>(pub BTreeMap<M, f64>);

impl<M: Measure> Default for Figures<M> {
    fn default() -> Self {
        Figures(BTreeMap::new())
    }
}

impl<M: Measure> Figures<M> {
    #[must_use]
    pub fn with(mut self, measure: M, value: f64) -> Self {
        self.0.insert(measure, value);
        self
    }
}

/// A workload at a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case<W> {
    pub workload: W,
    pub n: u64,
}

/// A suite whose samples are figures.
pub trait Measured:
    Suite<Case = Case<Self::Workload>, Report = Figures<MeasureOf<Self>>> + Copy + Debug
{
    type Workload: Workload;
}

pub type MeasureOf<S> = <<S as Measured>::Workload as Workload>::Measure;

/// A measure of a case.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(bound = "")]
pub struct Column<S: Measured> {
    #[serde(flatten)]
    pub case: Case<S::Workload>,
    pub measure: MeasureOf<S>,
    #[serde(skip)]
    suite: PhantomData<S>,
}

impl<S: Measured> Column<S> {
    #[must_use]
    pub fn of(cases: &[Case<S::Workload>]) -> Vec<Self> {
        let columns = |&case: &Case<S::Workload>| {
            let measures = case.workload.measures().iter();
            measures.map(move |&measure| Column {
                case,
                measure,
                suite: PhantomData,
            })
        };
        cases.iter().flat_map(columns).collect()
    }
}

impl<S: Measured> results::Column for Column<S> {
    type Suite = S;

    fn case(self) -> S::Case {
        self.case
    }

    fn value(self, report: &S::Report) -> Option<f64> {
        report.0.get(&self.measure).copied()
    }

    fn smaller_is_better(self) -> bool {
        self.measure.smaller_is_better()
    }
}

/// What bars are judged from. `None` is what the run did not measure.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a, S: Measured> {
    pub outcome: &'a Outcome<S>,
    pub columns: &'a [Column<S>],
}

impl<S: Measured> Judge<'_, S> {
    /// How many times better `peer` was than `other`.
    #[must_use]
    pub fn ratio(
        &self,
        peer: S::Peer,
        other: S::Peer,
        workload: S::Workload,
        measure: MeasureOf<S>,
    ) -> Option<f64> {
        results::ratio(self.outcome, peer, other, self.column(workload, measure)?)
    }

    #[must_use]
    pub fn median(
        &self,
        peer: S::Peer,
        workload: S::Workload,
        measure: MeasureOf<S>,
    ) -> Option<f64> {
        Some(self.cell(peer, workload, measure)?.median)
    }

    /// The worst of all samples.
    #[must_use]
    pub fn worst(
        &self,
        peer: S::Peer,
        workload: S::Workload,
        measure: MeasureOf<S>,
    ) -> Option<f64> {
        let cell = self.cell(peer, workload, measure)?;
        Some(match measure.smaller_is_better() {
            true => cell.max,
            false => cell.min,
        })
    }

    fn cell(
        &self,
        peer: S::Peer,
        workload: S::Workload,
        measure: MeasureOf<S>,
    ) -> Option<results::Cell<Column<S>>> {
        results::cell(self.outcome, peer, peer, self.column(workload, measure)?)
    }

    fn column(&self, workload: S::Workload, measure: MeasureOf<S>) -> Option<Column<S>> {
        let same = |c: &Column<S>| c.case.workload == workload && c.measure == measure;
        self.columns.iter().copied().find(same)
    }
}
