//! The bars that coros has to reach, judged from one run alone.

use serde::Serialize;

use crate::table::short;

#[derive(Debug, Serialize)]
pub struct Bar {
    pub what: String,
    pub bar: f64,
    /// `None` if this run did not measure what it takes.
    pub measured: Option<f64>,
    pub reached: Option<bool>,
}

impl Bar {
    #[must_use]
    pub fn at_most(what: String, bar: f64, measured: Option<f64>) -> Self {
        Bar {
            what,
            bar,
            measured,
            reached: measured.map(|measured| measured <= bar),
        }
    }

    #[must_use]
    pub fn at_least(what: String, bar: f64, measured: Option<f64>) -> Self {
        Bar {
            what,
            bar,
            measured,
            reached: measured.map(|measured| measured >= bar),
        }
    }
}

/// One line a bar, and how many could not be judged.
#[must_use]
pub fn render(bars: &[Bar]) -> String {
    let width = bars.iter().map(|bar| bar.what.len()).max().unwrap_or(0);
    let line = |bar: &Bar| {
        let verdict = if bar.reached? { "reached" } else { "MISSED" };
        let (limit, measured) = (short(bar.bar), short(bar.measured?));
        Some(format!(
            "  {:<width$}   bar {limit:>6}   measured {measured:>6}   {verdict}\n",
            bar.what
        ))
    };
    let mut text: String = bars.iter().filter_map(line).collect();
    let others = bars.iter().filter(|bar| bar.reached.is_none()).count();
    if others > 0 {
        text += &format!("  {others} others need what this run did not measure\n");
    }
    text
}
