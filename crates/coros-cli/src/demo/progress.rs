//! How far the work is: a bar on a terminal, else a line now and then. All on standard error.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A file costs as much time as so many bytes, besides its own: opening it, and the call. Large
/// files come first, so by bytes alone the end would seem near for all of the small ones.
const COST_OF_A_FILE: u64 = 16 * 1024;
/// Plain lines are at least so far apart.
const INTERVAL: Duration = Duration::from_secs(1);

/// The display. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Progress {
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` when standard error is no terminal.
    bar: Option<ProgressBar>,
    files: u64,
    bytes: u64,
    all_files: u64,
    all_bytes: u64,
    /// When the work began; `None` before.
    begun: Option<Instant>,
    /// When the last line was.
    printed: Option<Instant>,
}

impl Progress {
    /// Nothing to show yet.
    pub(super) fn new() -> Self {
        let state = State {
            bar: std::io::stderr().is_terminal().then(ProgressBar::hidden),
            files: 0,
            bytes: 0,
            all_files: 0,
            all_bytes: 0,
            begun: None,
            printed: None,
        };
        Progress {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The work begins, of so much.
    pub(super) fn start(&self, files: u64, bytes: u64) {
        let mut state = self.lock();
        (state.all_files, state.all_bytes) = (files, bytes);
        state.begun = Some(Instant::now());
        if state.bar.is_some() {
            let bar = ProgressBar::new(cost(files, bytes));
            let style = ProgressStyle::with_template("{wide_bar} {msg}, ETA {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            state.bar = Some(bar);
        }
    }

    /// A job has ended.
    pub(super) fn file_done(&self) {
        let mut state = self.lock();
        state.files += 1;
        state.show();
    }

    /// So many more bytes are counted.
    pub(super) fn bytes_done(&self, n: u64) {
        let mut state = self.lock();
        // What a job had done on a lost worker is done again.
        state.bytes = (state.bytes + n).min(state.all_bytes.max(state.bytes));
        state.show();
    }

    /// Says something on a line of its own.
    pub(super) fn say(&self, line: &str) {
        match &self.lock().bar {
            Some(bar) if !bar.is_hidden() => bar.println(line),
            _ => eprintln!("{line}"),
        }
    }

    /// The work is over.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        match state.bar.take() {
            Some(bar) => bar.finish_and_clear(),
            None => state.print(),
        }
        state.begun = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn show(&mut self) {
        let Some(begun) = self.begun else {
            return;
        };
        if let Some(bar) = &self.bar {
            bar.set_position(cost(self.files, self.bytes));
            bar.set_message(self.so_far(begun.elapsed()));
        } else if self
            .printed
            .is_none_or(|printed| printed.elapsed() >= INTERVAL)
        {
            self.print();
        }
    }

    /// A plain line.
    fn print(&mut self) {
        let Some(begun) = self.begun else {
            return;
        };
        self.printed = Some(Instant::now());
        let elapsed = begun.elapsed();
        eprintln!("{}", self.line(elapsed));
    }

    fn line(&self, elapsed: Duration) -> String {
        let mut line = self.so_far(elapsed);
        let done = cost(self.files, self.bytes);
        let left = cost(self.all_files, self.all_bytes).saturating_sub(done);
        if left > 0 && done > 0 {
            let seconds = elapsed.as_secs_f64() * left as f64 / done as f64;
            line.push_str(&format!(", about {seconds:.0} s left"));
        }
        line
    }

    fn so_far(&self, elapsed: Duration) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "{} of {} files, {:.1} of {:.1} MB, {:.1} MB/s",
            self.files,
            self.all_files,
            megabytes(self.bytes),
            megabytes(self.all_bytes),
            megabytes(self.bytes) / elapsed.as_secs_f64().max(1e-9),
        )
    }
}

/// So much work, in bytes.
fn cost(files: u64, bytes: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(COST_OF_A_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let state = State {
            bar: None,
            files: 3,
            bytes: 5_000_000,
            all_files: 10,
            all_bytes: 20_000_000,
            begun: None,
            printed: None,
        };
        let line = state.line(Duration::from_secs(2));
        assert_eq!(
            line,
            "3 of 10 files, 5.0 of 20.0 MB, 2.5 MB/s, about 6 s left"
        );
    }
}
