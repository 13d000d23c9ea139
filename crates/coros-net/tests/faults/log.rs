//! What a site says of what it does: one line for each thing, with the time.
//!
//! ```text
//! 1700000000123456 got farm>desk:send 17
//! ```
//!
//! The time is in microseconds since 1970, so that lines of several processes of one machine can be
//! compared.

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// The time now, as in a line.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is later than 1970").as_micros() as u64
}

/// Says something, at once and whole: whoever is killed has said it, and what the end of a process meets
/// halfway is said or not. (`println!` writes piece by piece once a process has begun to exit.)
pub(crate) fn say(what: impl Display) {
    let line = format!("{} {what}\n", now());
    // Nobody may be there to hear it.
    let _ = std::io::stdout().write_all(line.as_bytes());
}

/// A line as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) words: Vec<String>,
}

impl Line {
    /// From the line with its end; nothing, if it was cut off by the end of its writer.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (at, rest) = text.strip_suffix('\n')?.split_once(' ')?;
        let words = rest.split(' ').map(str::to_owned).collect();
        let at = at.parse().ok()?;
        Some(Line { at, words })
    }

    pub(crate) fn what(&self) -> &str {
        &self.words[0]
    }

    pub(crate) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    pub(crate) fn number(&self, index: usize) -> u64 {
        let word = self.word(index);
        let number = word.parse();
        number.unwrap_or_else(|_| panic!("{word:?} in {:?} is no number", self.words))
    }
}

/// How long it is from one time to another.
pub(crate) fn between(from: u64, to: u64) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}
