//! A process that says in lines what it does.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

/// Killed when dropped.
pub(crate) struct Talker {
    pub(crate) child: Child,
    lines: BufReader<Box<dyn Read + Send>>,
    /// What it has said.
    pub(crate) seen: Vec<String>,
}

impl Talker {
    /// Its lines come from there.
    pub(crate) fn new(child: Child, from: impl Read + Send + 'static) -> Self {
        let from: Box<dyn Read + Send> = Box::new(from);
        Talker {
            child,
            lines: BufReader::new(from),
            seen: Vec::new(),
        }
    }

    /// Reads lines up to the next that contains this; the test runner ends a test that waits for ever.
    pub(crate) fn wait_for(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "it has ended: {:#?}", self.seen);
            let line = line.trim_end().to_owned();
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Reads all that it still has to say.
    pub(crate) fn hear_out(&mut self) {
        self.seen
            .extend(self.lines.by_ref().lines().map(Result::unwrap));
    }

    pub(crate) fn has_said(&self, what: &str) -> bool {
        self.seen.iter().any(|line| line.contains(what))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
