//! From samples to figures: one column a measure, one cell a peer's median, spread and ratio to the base of the suite.

use serde::Serialize;

use crate::run::Outcome;
use crate::{Suite, noise};

/// What a column of the table shows.
pub trait Column: Copy + Serialize {
    type Suite: Suite;

    /// The samples that it is made of.
    fn case(self) -> <Self::Suite as Suite>::Case;

    /// What it shows of one of them; `None` if that was not measured.
    fn value(self, report: &<Self::Suite as Suite>::Report) -> Option<f64>;

    /// Whether a smaller value is a better one: seconds, bytes.
    fn smaller_is_better(self) -> bool;

    /// How many times better `value` is than `other`.
    fn times_better(self, value: f64, other: f64) -> f64 {
        if self.smaller_is_better() {
            other / value
        } else {
            value / other
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(bound = "")]
pub struct Cell<C: Column> {
    pub peer: <C::Suite as Suite>::Peer,
    #[serde(flatten)]
    pub column: C,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// How many times better than the base.
    pub ratio: Option<f64>,
    pub kept: usize,
    pub discarded: usize,
}

/// The cell of `peer`, compared with `base`.
pub fn cell<C: Column>(
    outcome: &Outcome<C::Suite>,
    peer: <C::Suite as Suite>::Peer,
    base: <C::Suite as Suite>::Peer,
    column: C,
) -> Option<Cell<C>> {
    let (kept, discarded): (Vec<_>, Vec<_>) = outcome
        .cell(peer, column.case())
        .partition(|sample| sample.kept);
    let mut values: Vec<f64> = kept
        .iter()
        .filter_map(|s| column.value(&s.report))
        .collect();
    values.sort_by(f64::total_cmp);
    Some(Cell {
        peer,
        column,
        median: median(&values)?,
        min: *values.first()?,
        max: *values.last()?,
        ratio: ratio(outcome, peer, base, column),
        kept: kept.len(),
        discarded: discarded.len(),
    })
}

/// How many times better `peer` is than `other`: the median of the ratios within a round. A pair is as disturbed as the
/// worse of its two samples; which pairs count is settled apart from which samples do, so that no half is missing.
pub fn ratio<C: Column>(
    outcome: &Outcome<C::Suite>,
    peer: <C::Suite as Suite>::Peer,
    other: <C::Suite as Suite>::Peer,
    column: C,
) -> Option<f64> {
    let mut pairs = Vec::new();
    for one in outcome.cell(peer, column.case()) {
        let beside = outcome
            .cell(other, column.case())
            .find(|s| s.round == one.round);
        let Some(other) = beside else { continue };
        let (a, b) = (column.value(&one.report), column.value(&other.report));
        if let Some((a, b)) = a.zip(b) {
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
    use std::process::Command;

    use super::*;
    use crate::Peer;
    use crate::machine::Disturbance;
    use crate::run::Sample;

    #[derive(Debug)]
    struct Races;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    enum Racer {
        Base,
        Other,
    }

    impl Peer for Racer {
        fn title(self) -> &'static str {
            "racer"
        }

        fn package(self) -> Option<&'static str> {
            None
        }

        fn installed_version(self) -> Option<String> {
            None
        }
    }

    impl Suite for Races {
        type Peer = Racer;
        type Case = ();
        /// Seconds.
        type Report = f64;

        fn name((): ()) -> String {
            "race".to_owned()
        }

        fn has((): (), _: Racer) -> bool {
            true
        }

        fn command(_: Racer, (): ()) -> anyhow::Result<Command> {
            anyhow::bail!("no race is run here")
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
    enum Shown {
        Rate,
        Seconds,
    }

    impl Column for Shown {
        type Suite = Races;

        fn case(self) {}

        fn value(self, seconds: &f64) -> Option<f64> {
            match self {
                Shown::Rate => Some(1.0 / seconds),
                Shown::Seconds => Some(*seconds),
            }
        }

        fn smaller_is_better(self) -> bool {
            self == Shown::Seconds
        }
    }

    fn sample(peer: Racer, round: usize, seconds: f64, others: f64) -> Sample<Races> {
        Sample {
            peer,
            case: (),
            round,
            report: seconds,
            speed: 1.0,
            disturbance: Some(Disturbance {
                stolen: 0.0,
                others,
                slowed: 0.0,
            }),
            kept: others < 0.3,
        }
    }

    fn outcome(samples: Vec<Sample<Races>>) -> Outcome<Races> {
        Outcome {
            samples,
            failures: Vec::new(),
        }
    }

    #[test]
    fn ratios_pair_what_ran_in_the_same_round() {
        let outcome = outcome(vec![
            sample(Racer::Base, 0, 1.0, 0.0),
            sample(Racer::Other, 0, 0.5, 0.0),
            // A round in which the machine was four times as slow, for both.
            sample(Racer::Base, 1, 4.0, 0.2),
            sample(Racer::Other, 1, 2.0, 0.2),
            sample(Racer::Base, 2, 1.0, 0.0),
            sample(Racer::Other, 2, 0.4, 0.0),
            // One of the two was disturbed, so the pair is.
            sample(Racer::Base, 3, 1.0, 0.9),
            sample(Racer::Other, 3, 0.01, 0.0),
        ]);
        let ratio = ratio(&outcome, Racer::Other, Racer::Base, Shown::Rate);
        assert_eq!(ratio, Some(2.0));
        let cell =
            cell(&outcome, Racer::Base, Racer::Base, Shown::Rate).expect("three samples count");
        assert_eq!((cell.kept, cell.discarded, cell.ratio), (3, 1, Some(1.0)));
        assert_eq!((cell.min, cell.median, cell.max), (0.25, 1.0, 1.0));
    }

    #[test]
    fn a_ratio_is_there_even_if_no_round_was_quiet_for_both() {
        let outcome = outcome(vec![
            sample(Racer::Base, 0, 1.0, 0.9),
            sample(Racer::Other, 0, 0.5, 0.0),
            sample(Racer::Base, 1, 1.0, 0.0),
            sample(Racer::Other, 1, 0.25, 0.9),
        ]);
        let ratio = ratio(&outcome, Racer::Other, Racer::Base, Shown::Rate);
        assert_eq!(ratio, Some(3.0));
    }

    #[test]
    fn what_was_measured_while_the_machine_was_slow_is_discarded() {
        let at = |round, speed, other| {
            let pair = [(Racer::Base, 1.0), (Racer::Other, other)];
            pair.map(|(peer, seconds)| Sample {
                speed,
                ..sample(peer, round, seconds, 0.0)
            })
        };
        let rounds = [
            at(0, 99.0, 0.5),
            at(1, 20.0, 0.1),
            at(2, 100.0, 0.5),
            at(3, 98.0, 0.4),
            at(4, 50.0, 0.1),
        ];
        let mut outcome = outcome(rounds.into_iter().flatten().collect());
        outcome.discard_disturbed(&[Racer::Base, Racer::Other], &[()]);
        let cell =
            cell(&outcome, Racer::Other, Racer::Base, Shown::Rate).expect("three samples count");
        assert_eq!((cell.kept, cell.discarded, cell.ratio), (3, 2, Some(2.0)));
    }

    #[test]
    fn less_of_it_may_be_better() {
        assert_eq!(Shown::Seconds.times_better(0.5, 1.0), 2.0);
        assert_eq!(Shown::Rate.times_better(0.5, 1.0), 0.5);
    }

    #[test]
    fn a_median_needs_a_value() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 10.0]), Some(2.0));
    }
}
