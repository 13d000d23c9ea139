//! Progress on stderr: a bar on a terminal, otherwise a line per case and round.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::peers::Peer;
use crate::run::Case;
use crate::table::count;

pub(crate) struct Progress {
    /// Absent when stderr is not a terminal.
    bar: Option<ProgressBar>,
    started: Instant,
    /// The case and round that the last plain line was about.
    announced: Cell<Option<(Case, usize)>>,
}

impl Progress {
    pub(crate) fn new(runs: usize) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = "{elapsed_precise} {wide_bar} {pos}/{len}, about {eta} left  {msg}";
            let style = ProgressStyle::with_template(style).expect("the template is well-formed");
            ProgressBar::new(runs as u64).with_style(style)
        });
        Progress {
            bar,
            started: Instant::now(),
            announced: Cell::new(None),
        }
    }

    pub(crate) fn starts(&self, peer: Peer, case: Case, round: usize, rounds: usize) {
        let what = format!(
            "round {} of {rounds}: {} N={}",
            round + 1,
            case.workload.name(),
            count(case.n)
        );
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{what}, {}", peer.title()));
        } else if self.announced.replace(Some((case, round))) != Some((case, round)) {
            eprintln!("{:>5.0} s  {what}", self.started.elapsed().as_secs_f64());
        }
    }

    pub(crate) fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    pub(crate) fn finish(&self) {
        match &self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => eprintln!("{:>5.0} s  done", self.started.elapsed().as_secs_f64()),
        }
    }
}
