//! How far a file is: a bar on a terminal, nothing elsewhere. On standard error.

use std::io::IsTerminal;

use coros::readable_lines;
use indicatif::{ProgressBar, ProgressStyle};

/// The display of one file. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn new(name: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Progress(None);
        }
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        );
        let bar = ProgressBar::new(0).with_style(style.expect("the template is valid"));
        bar.set_message(readable_lines(name));
        Progress(Some(bar))
    }

    pub(super) fn at(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            if bar.length() != Some(total) {
                bar.set_length(total);
                // What an earlier attempt has sent says nothing of the rate of this one.
                bar.set_position(done);
                bar.reset_eta();
            }
            bar.set_position(done);
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
