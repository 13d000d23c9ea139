//! Progress on stderr: a bar on a terminal, otherwise a line per case and round.

use std::cell::RefCell;
use std::io::{IsTerminal, stderr};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    /// Absent when stderr is not a terminal.
    bar: Option<ProgressBar>,
    started: Instant,
    /// What the last plain line was about.
    announced: RefCell<String>,
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
            announced: RefCell::default(),
        }
    }

    /// `what` is the round and the case, `who` the peer.
    pub(crate) fn starts(&self, what: &str, who: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{what}, {who}"));
        } else if self.announced.replace(what.to_owned()) != what {
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
