//! How far the work is: a bar on a terminal, else a line now and then. All on standard error.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coros::readable_lines;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal::{s, say};

/// A file costs as much time as so many bytes, besides its own: opening it, and the call. Large
/// files come first, so by bytes alone the end would seem near for all of the small ones.
const COST_OF_A_FILE: u64 = 16 * 1024;
/// How fast it goes is told once so much time has passed, or at the end; how long the rest takes,
/// once so large a part of the work is done too: before, there is no rate worth believing.
const FIRST_ESTIMATE: Duration = Duration::from_secs(1);
const FIRST_PART: f64 = 0.01;
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
            state.bar = Some(bar(cost(files, bytes), ProgressDrawTarget::stderr()));
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
            Some(bar) if !bar.is_hidden() => bar.println(readable_lines(line)),
            _ => say(line),
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
            bar.set_message(self.line(begun.elapsed()));
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
        say(&self.line(elapsed));
    }

    /// The important things first: a terminal may have no room for the rest.
    fn line(&self, elapsed: Duration) -> String {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let left = self
            .left(elapsed)
            .map_or(String::new(), |left| format!(", about {left} left"));
        let rate = megabytes(self.bytes) / elapsed.as_secs_f64().max(1e-9);
        let rate = if elapsed >= FIRST_ESTIMATE || self.files == self.all_files {
            format!(", {rate:.1} MB/s")
        } else {
            String::new()
        };
        format!(
            "{} of {} file{}{left}, {:.1} of {:.1} MB{rate}",
            self.files,
            self.all_files,
            s(self.all_files),
            megabytes(self.bytes),
            megabytes(self.all_bytes),
        )
    }

    /// How long the rest takes, when that can be told.
    fn left(&self, elapsed: Duration) -> Option<String> {
        let done = cost(self.files, self.bytes) as f64;
        let all = cost(self.all_files, self.all_bytes) as f64;
        if elapsed < FIRST_ESTIMATE || done < FIRST_PART * all || done >= all {
            return None;
        }
        let seconds = elapsed.as_secs_f64() * (all - done) / done;
        Some(match seconds {
            ..120.0 => format!("{seconds:.0} s"),
            ..7200.0 => format!("{:.0} min", seconds / 60.0),
            _ => format!("{:.0} h", seconds / 3600.0),
        })
    }
}

/// A bar of one line, however wide the terminal is.
fn bar(length: u64, target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style = ProgressStyle::with_template("{bar:10} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// So much work, in bytes.
fn cost(files: u64, bytes: u64) -> u64 {
    bytes.saturating_add(files.saturating_mul(COST_OF_A_FILE))
}

#[cfg(test)]
mod tests {
    use indicatif::TermLike;

    use super::*;

    fn state(files: u64, bytes: u64) -> State {
        State {
            bar: None,
            files,
            bytes,
            all_files: 10,
            all_bytes: 20_000_000,
            begun: None,
            printed: None,
        }
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let line = state(3, 5_000_000).line(Duration::from_secs(2));
        assert_eq!(
            line,
            "3 of 10 files, about 6 s left, 5.0 of 20.0 MB, 2.5 MB/s"
        );
    }

    #[test]
    fn a_rate_is_told_when_it_is_worth_something() {
        let soon = Duration::from_millis(5);
        let line = state(0, 65_536).line(soon);
        assert_eq!(line, "0 of 10 files, 0.1 of 20.0 MB");
        let line = state(10, 20_000_000).line(soon);
        assert_eq!(line, "10 of 10 files, 20.0 of 20.0 MB, 4000.0 MB/s");
    }

    #[test]
    fn how_long_is_told_when_it_can_be_known() {
        let left = |files, bytes, seconds| {
            let elapsed = Duration::from_secs_f64(seconds);
            state(files, bytes).left(elapsed)
        };
        assert_eq!(left(0, 0, 60.0), None);
        assert_eq!(left(5, 10_000_000, 0.5), None, "too early");
        assert_eq!(left(1, 1000, 2.0), None, "too little");
        assert_eq!(left(10, 20_000_000, 2.0), None, "nothing is left");
        assert_eq!(left(5, 10_000_000, 3.0).as_deref(), Some("3 s"));
        assert_eq!(left(5, 10_000_000, 300.0).as_deref(), Some("5 min"));
        assert_eq!(left(5, 10_000_000, 36_000.0).as_deref(), Some("10 h"));
    }

    /// A terminal that keeps what is drawn.
    #[derive(Clone, Debug)]
    struct Terminal(u16, Arc<Mutex<Vec<String>>>);

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.0
        }
        fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
            Ok(())
        }
        fn write_line(&self, line: &str) -> std::io::Result<()> {
            self.write_str(line)
        }
        fn write_str(&self, text: &str) -> std::io::Result<()> {
            self.1.lock().unwrap().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> std::io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_fits_in_its_terminal() {
        for (width, end) in [(40, "about 6 s left"), (100, "2.5 MB/s"), (20, "3 of 10 f")] {
            let drawn = Arc::default();
            let terminal = Terminal(width, Arc::clone(&drawn));
            let target = ProgressDrawTarget::term_like(Box::new(terminal));
            let bar = bar(100, target);
            bar.set_message(state(3, 5_000_000).line(Duration::from_secs(2)));
            bar.force_draw();
            let drawn: Vec<String> = drawn.lock().unwrap().clone();
            assert!(
                drawn
                    .iter()
                    .all(|text| text.chars().count() <= width.into()),
                "{drawn:?}"
            );
            assert!(
                drawn.iter().any(|text| text.trim_end().ends_with(end)),
                "{drawn:?}"
            );
        }
    }
}
