//! The lines of standard input.

use std::io;

use tokio::io::{AsyncBufReadExt, BufReader, Split, Stdin};

/// Lines of whatever bytes: what is no UTF-8 is replaced, so that no log ends its watch.
pub(crate) struct Lines(Split<BufReader<Stdin>>);

impl Lines {
    pub(crate) fn new() -> Self {
        Lines(BufReader::new(tokio::io::stdin()).split(b'\n'))
    }

    /// The next one, without its end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<String>> {
        let line = self.0.next_segment().await?;
        Ok(line.map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            String::from_utf8_lossy(line).into_owned()
        }))
    }
}
