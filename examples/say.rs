//! Printing in programs whose output may be cut short, as by `| head`.

use std::fmt;
use std::io::{self, Write};

/// `println!` for these: where that panics because nobody reads any more, this ends the program
/// quietly.
macro_rules! say {
    ($($text:tt)*) => {
        crate::say::line(format_args!($($text)*))
    };
}

pub(crate) use say;

/// What somebody else has written, with escapes in the place of what could tell the terminal to do
/// something.
#[allow(dead_code, reason = "not every example prints what others write")]
pub(crate) fn readable(text: &[u8]) -> String {
    coros::readable(&String::from_utf8_lossy(text))
}

pub(crate) fn line(line: fmt::Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout().lock(), "{line}") {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        let _ = writeln!(io::stderr(), "Error: cannot print: {error}");
        std::process::exit(1);
    }
}
