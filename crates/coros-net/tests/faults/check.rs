//! What is promised, held against what sites have said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use crate::log::{Line, between};
use crate::process::Site;

/// What came of one run of a fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Letters that were taken to be sent.
    pub(crate) letters: usize,
    /// Those of them that have not come, of which nobody was told that they had.
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) stuck: usize,
    /// Monitors that fired.
    pub(crate) fired: usize,
    /// The longest that a site which was not stopped itself has waited for an answer or a confirmation.
    pub(crate) longest: Duration,
    /// From the fault until the other side knew.
    pub(crate) known: Option<Duration>,
    /// What else is worth telling.
    pub(crate) note: String,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

impl Outcome {
    pub(crate) fn wrong(&mut self, what: impl Display) {
        self.wrong.push(what.to_string());
    }

    /// Both of two runs.
    pub(crate) fn and(mut self, other: Outcome) -> Self {
        self.letters += other.letters;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.stuck += other.stuck;
        self.fired += other.fired;
        self.longest = self.longest.max(other.longest);
        self.known = self.known.max(other.known);
        self.note = other.note;
        self.wrong.extend(other.wrong);
        self
    }

    /// What all sites said in a run that has come to its end. `patient` is who was never stopped, and so whose
    /// waits count.
    pub(crate) fn of(sites: &[Site], patient: &[&str]) -> Self {
        let mut outcome = Outcome::default();
        let mut came: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let mut taken: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        let mut confirmed: Vec<(&str, u64)> = Vec::new();
        for site in sites {
            for line in &site.said {
                let pair = line.word(1);
                match line.what() {
                    "got" => came.entry(pair).or_default().push(line.number(2)),
                    "sent" => drop(taken.entry(pair).or_default().insert(line.number(2))),
                    "through" if pair.ends_with(":deliver") => {
                        taken.entry(pair).or_default().insert(line.number(2));
                        confirmed.push((pair, line.number(2)));
                    }
                    "stuck" => {
                        outcome.stuck += 1;
                        outcome.wrong(format_args!("{} is stuck: {:?}", site.name, line.words));
                    }
                    "panicked" => outcome.wrong(format_args!("{}: {:?}", site.name, line.words)),
                    _ => {}
                }
                if matches!(line.what(), "through" | "failed")
                    && patient.contains(&site.name.as_str())
                {
                    let waited = between(line.number(3), line.at);
                    outcome.longest = outcome.longest.max(waited);
                }
            }
            outcome.monitors(site);
        }
        for (pair, numbers) in &came {
            outcome.in_order(pair, numbers);
        }
        // What came to a site that was killed, it may not have had the time to say.
        let gone = |pair: &str| {
            let to = pair.split(['>', ':']).nth(1);
            sites
                .iter()
                .any(|site| site.gone && Some(&*site.name) == to)
        };
        let came: BTreeMap<&str, BTreeSet<u64>> = came
            .into_iter()
            .map(|(pair, numbers)| (pair, numbers.into_iter().collect()))
            .collect();
        let has_come = |pair: &str, n| came.get(pair).is_some_and(|numbers| numbers.contains(&n));
        for (pair, numbers) in &taken {
            outcome.letters += numbers.len();
            if !gone(pair) {
                outcome.lost += numbers.iter().filter(|n| !has_come(pair, **n)).count();
            }
        }
        for (pair, n) in confirmed {
            if !gone(pair) && !has_come(pair, n) {
                outcome.wrong(format_args!("{pair} {n} was confirmed and has not come"));
            }
        }
        outcome
    }

    fn in_order(&mut self, pair: &str, numbers: &[u64]) {
        let mut last = 0;
        let mut seen = BTreeSet::new();
        for n in numbers {
            if !seen.insert(n) {
                self.doubled += 1;
                self.wrong(format_args!("{pair} {n} came twice"));
            } else if *n < last {
                self.wrong(format_args!("{pair} {n} came after {last}"));
            }
            last = last.max(*n);
        }
    }

    /// Each has fired once; the last of each watcher may not have.
    fn monitors(&mut self, site: &Site) {
        let numbers = |what: &'static str| {
            let lines = site.said.iter().filter(move |line| line.what() == what);
            lines.map(|line| line.number(1))
        };
        let (set, fired): (Vec<u64>, Vec<u64>) =
            (numbers("watch").collect(), numbers("exited").collect());
        self.fired += fired.len();
        let last = set.last().copied().unwrap_or(0);
        for k in set {
            let times = fired.iter().filter(|n| **n == k).count();
            if times > 1 || (times == 0 && k < last) {
                self.wrong(format_args!(
                    "monitor {k} of {} fired {times} times",
                    site.name
                ));
            }
        }
    }
}

/// When a site's monitor fired first after a moment, and what it said.
pub(crate) fn exit_after(site: &Site, moment: u64) -> Option<&Line> {
    let mut lines = site.said.iter();
    lines.find(|line| line.what() == "exited" && line.at >= moment)
}
