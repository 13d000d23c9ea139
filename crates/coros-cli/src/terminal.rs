//! What people read: standard error, lines on standard output, and names in what is printed.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use coros::readable_lines;
use tokio::sync::mpsc;

/// What was asked for has not been done, or not all of it.
const TROUBLE: u8 = 1;
/// What is said to whoever wants a node or a scheduler to drain that does already.
pub(crate) const DRAINS: &str =
    "it is draining already: it ends when nothing runs here any more; `close` ends it at once";
/// So long a program in the background waits until it looks whether it is in front.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Prints lines on standard error, where they can do no more than be read: what tells a terminal to
/// do something, or hides, is shown as escapes.
///
/// A standard error that is closed is no failure: nobody wants to know.
pub(crate) fn say(text: &str) {
    let text = readable_lines(text) + "\n";
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The text on one line, whatever a peer has called itself or a file.
pub(crate) fn one_line(text: &str) -> String {
    coros::readable(text)
}

/// Prints a line on standard output.
pub(crate) fn print(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the result"),
    }
}

/// The exit status of a command that has done what was asked, or not, or says why it could not.
pub(crate) fn status(command: &str, done: anyhow::Result<bool>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(TROUBLE),
        Err(error) => {
            say(&format!("coros {command}: {error:#}"));
            ExitCode::from(TROUBLE)
        }
    }
}

/// What a client wants that not all do: to be alone, in these words, or a priority.
pub(crate) fn terms(alone: Option<&str>, priority: i32) -> String {
    let alone = alone.map_or_else(String::new, |alone| format!(", {alone}"));
    match priority {
        0 => alone,
        priority => format!("{alone}, priority {priority}"),
    }
}

/// The lines that are typed, if they are wanted; none where standard input is no terminal, and while a shell has this
/// program in the background.
pub(crate) fn lines(wanted: bool) -> mpsc::Receiver<String> {
    let (to, lines) = mpsc::channel(1);
    if wanted && io::stdin().is_terminal() {
        // A thread of its own: one of the runtime would keep the program from ending.
        std::thread::spawn(move || pass_on(&to));
    }
    lines
}

fn pass_on(to: &mpsc::Sender<String>) {
    background::reading_is_an_error();
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    loop {
        match stdin.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {
                let line = std::mem::take(&mut line);
                if !line.trim().is_empty() && to.blocking_send(line).is_err() {
                    return;
                }
            }
            // A shell tells nobody that it has put somebody in front.
            Err(_) if background::is_here() => std::thread::sleep(LOOK_AGAIN),
            Err(_) => return,
        }
    }
}

/// Programs that a shell runs without waiting for them.
#[cfg(unix)]
mod background {
    use std::io;

    use nix::sys::signal::{SigSet, Signal};
    use nix::unistd::{getpgrp, tcgetpgrp};

    /// Has this thread get an error when it reads what is typed for others. Otherwise the system would stop the program.
    pub(super) fn reading_is_an_error() {
        let _ = SigSet::from(Signal::SIGTTIN).thread_block();
    }

    pub(super) fn is_here() -> bool {
        tcgetpgrp(io::stdin()).is_ok_and(|front| front != getpgrp())
    }
}

#[cfg(not(unix))]
mod background {
    pub(super) fn reading_is_an_error() {}

    pub(super) fn is_here() -> bool {
        false
    }
}

/// So many of something.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", s(n as u64))
}

/// The end of the word for so many.
pub(crate) fn s(n: u64) -> &'static str {
    match n {
        1 => "",
        _ => "s",
    }
}

/// A path, as it is printed everywhere: on one line, without anything that could move the cursor,
/// and such that names which differ look different.
///
/// A backslash is doubled (but not on Windows, where it separates names); what cannot be seen is
/// `\n`, `\t`, `\r`, `\0` or `\u{1b}`; a byte that is no part of UTF-8 is `\xe9`.
pub(crate) struct Name<'a>(pub(crate) &'a Path);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let as_it_is: &[char] = if cfg!(windows) {
            &['\'', '"', '\\']
        } else {
            &['\'', '"']
        };
        for chunk in self.0.as_os_str().as_encoded_bytes().utf8_chunks() {
            for piece in chunk.valid().split_inclusive(as_it_is) {
                let text = piece.trim_end_matches(as_it_is);
                write!(f, "{}{}", text.escape_debug(), &piece[text.len()..])?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_cannot_command_a_terminal() {
        let said = readable_lines("a\x1b]0;title\x07\r\nb\u{9b}31m\té\u{202e}");
        assert_eq!(said, "a\\u{1b}]0;title\\u{7}\\r\nb\\u{9b}31m\\té\\u{202e}");
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("no disk");
        let error = anyhow::Error::new(cause()).context("cannot read a");
        assert_eq!(
            format!("{:#}", error.context("b")),
            "b: cannot read a: no disk"
        );
        // Errors of the library say what their causes say.
        let (path, why) = ("a".into(), cause());
        let error = anyhow::Error::new(coros::net::SecretError::Read { path, why });
        assert_eq!(
            format!("{:#}", error.context("b")),
            "b: cannot read a: no disk"
        );
    }

    #[cfg(unix)]
    #[test]
    fn names_are_shown_on_one_line_and_those_that_differ_look_different() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let shown = |bytes: &[u8]| Name(Path::new(OsStr::from_bytes(bytes))).to_string();
        let names: [(&[u8], &str); 8] = [
            (b"d/it's \"a\" name", "d/it's \"a\" name"),
            ("e\u{301}té ✓".as_bytes(), "e\u{301}té ✓"),
            (b"caf\xe9", r"caf\xe9"),
            (br"caf\xe9", r"caf\\xe9"),
            (b"caf\xe8", r"caf\xe8"),
            (b"two\nlines\t\x1b[31m", r"two\nlines\t\u{1b}[31m"),
            (br"two\nlines", r"two\\nlines"),
            ("\u{202e}txt.exe".as_bytes(), r"\u{202e}txt.exe"),
        ];
        for (bytes, expected) in names {
            assert_eq!(shown(bytes), expected);
        }
    }
}
