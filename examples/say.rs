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

/// What somebody else has written, with escapes in the place of control characters: by those it
/// could tell the terminal to do something.
#[allow(dead_code, reason = "not every example prints what others write")]
pub(crate) fn readable(text: &[u8]) -> String {
    let mut readable = String::new();
    for char in String::from_utf8_lossy(text).chars() {
        if char.is_control() {
            readable.extend(char.escape_default());
        } else {
            readable.push(char);
        }
    }
    readable
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
