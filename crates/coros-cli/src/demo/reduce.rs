//! The coroutine that adds up what the workers send.
//!
//! A job may run more than once when a worker is lost, and may have sent some or all of its
//! counts before. So the counts of a file come in *runs*: those of one execution of its job. They
//! are put aside until the last chunk of the run is there; the first complete run of a file
//! counts, and all others are dropped.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use coros::{Context, Coro, Reply};
use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::tally::Tally;
use crate::terminal::s;

/// After the last job ended, its counts are a moment away. If nothing comes for so long, they
/// are lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the reducer is sent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Partial {
    /// From a worker: some counts of a file.
    Counts(Chunk),
    /// From a worker that goes on when they have been added up.
    Paced(Chunk, Reply<()>),
    /// From this process: all jobs have ended, these ones without counts. Give the totals when all
    /// others are there.
    Finish { failed: Vec<u64> },
}

/// Some counts of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    index: u64,
    /// A random number for each execution of a job.
    run: u64,
    /// The run is complete.
    last: bool,
    /// How many bytes of the file these are the counts of.
    bytes: u64,
    /// The words, one after the other, with nothing between.
    text: String,
    /// The length and count of each.
    words: Vec<(u32, u64)>,
}

impl Chunk {
    pub(super) fn new(index: u64, run: u64, last: bool, bytes: u64, tally: &Tally) -> Self {
        let mut text = String::with_capacity(tally.text_len());
        let mut words = Vec::with_capacity(tally.len());
        for (word, count) in tally.iter() {
            text.push_str(std::str::from_utf8(word).expect("words are ASCII letters"));
            words.push((u32::try_from(word.len()).expect("words are bounded"), count));
        }
        Chunk {
            index,
            run,
            last,
            bytes,
            text,
            words,
        }
    }

    /// Adds the counts. A chunk that contradicts itself, which no worker sends, adds what can be
    /// made of it.
    fn add_to(&self, tally: &mut Tally) {
        let mut rest = self.text.as_bytes();
        for (length, count) in &self.words {
            let Some((word, behind)) = rest.split_at_checked(*length as usize) else {
                return;
            };
            tally.add(word, *count);
            rest = behind;
        }
    }
}

/// What all files have together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) words: Tally,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Jobs that failed, though an earlier attempt had sent all counts.
    pub(super) counted_anyway: HashSet<u64>,
}

/// Starts the coroutine that adds up the counts of so many files.
pub(super) fn spawn(files: usize, progress: Progress) -> Coro<Partial, Totals> {
    coros::build()
        .name("reducer")
        .spawn_fallible(move |me| reduce(me, files, progress))
}

async fn reduce(
    mut me: Context<Partial>,
    files: usize,
    progress: Progress,
) -> Result<Totals, String> {
    let mut reducer = Reducer::new(files);
    let mut failed: Option<Vec<u64>> = None;
    loop {
        let message = match &failed {
            None => me.receive().await.ok_or("nobody sends counts any more")?,
            Some(failed) => {
                let missing = reducer.missing(failed);
                if missing == 0 {
                    return Ok(reducer.finish(failed));
                }
                me.receive_timeout(PATIENCE).await.map_err(|_| {
                    let s = s(missing);
                    format!(
                        "the counts of {missing} file{s} did not come though their jobs are done"
                    )
                })?
            }
        };
        match message {
            Partial::Counts(chunk) => progress.bytes_done(reducer.take(&chunk)),
            Partial::Paced(chunk, added) => {
                progress.bytes_done(reducer.take(&chunk));
                added.send(());
            }
            Partial::Finish { failed: these } => failed = Some(these),
        }
    }
}

struct Reducer {
    totals: Totals,
    /// Which files are in the totals.
    counted: Vec<bool>,
    /// Incomplete runs, by file and run.
    aside: HashMap<(u64, u64), (Tally, u64)>,
}

impl Reducer {
    fn new(files: usize) -> Self {
        Reducer {
            totals: Totals::default(),
            counted: vec![false; files],
            aside: HashMap::new(),
        }
    }

    /// Takes a chunk and gives the bytes by which the work has come forward.
    fn take(&mut self, chunk: &Chunk) -> u64 {
        let key = (chunk.index, chunk.run);
        match self.counted.get_mut(chunk.index as usize) {
            Some(counted) if !*counted => {
                if !chunk.last {
                    let (tally, bytes) = self.aside.entry(key).or_default();
                    chunk.add_to(tally);
                    *bytes += chunk.bytes;
                    return chunk.bytes;
                }
                *counted = true;
            }
            _ => {
                self.aside.remove(&key);
                return 0;
            }
        }
        if let Some((tally, bytes)) = self.aside.remove(&key) {
            self.totals.words.merge(&tally);
            self.totals.bytes += bytes;
        }
        chunk.add_to(&mut self.totals.words);
        self.totals.bytes += chunk.bytes;
        self.totals.files += 1;
        chunk.bytes
    }

    /// How many files are still to come when all but these have been counted.
    fn missing(&self, failed: &[u64]) -> u64 {
        let failed_for_good = failed
            .iter()
            .filter(|index| !self.counted[**index as usize])
            .count() as u64;
        self.counted.len() as u64 - failed_for_good - self.totals.files
    }

    fn finish(mut self, failed: &[u64]) -> Totals {
        let counted = failed
            .iter()
            .copied()
            .filter(|index| self.counted[*index as usize]);
        self.totals.counted_anyway = counted.collect();
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(index: u64, run: u64, last: bool, words: &[(&str, u64)]) -> Chunk {
        let mut tally = Tally::default();
        for (word, n) in words {
            tally.add(word.as_bytes(), *n);
        }
        Chunk::new(index, run, last, 10, &tally)
    }

    #[test]
    fn a_file_counts_once_however_often_its_job_ran() {
        let mut reducer = Reducer::new(2);
        // The first run breaks off, the second is complete, and so is, too late, a third.
        reducer.take(&chunk(0, 1, false, &[("a", 1)]));
        reducer.take(&chunk(0, 2, false, &[("a", 1)]));
        assert_eq!(reducer.missing(&[]), 2);
        reducer.take(&chunk(0, 2, true, &[("a", 1), ("b", 5)]));
        reducer.take(&chunk(0, 1, true, &[("b", 5)]));
        reducer.take(&chunk(0, 3, true, &[("a", 2), ("b", 5)]));
        assert_eq!(
            (
                reducer.missing(&[]),
                reducer.missing(&[1]),
                reducer.missing(&[0])
            ),
            (1, 0, 1)
        );
        assert!(reducer.aside.is_empty());
        let totals = reducer.finish(&[0, 1]);
        assert_eq!(totals.words.sorted(), [("b", 5), ("a", 2)]);
        assert_eq!((totals.files, totals.bytes), (1, 20));
        assert_eq!(totals.counted_anyway, HashSet::from([0]));
    }

    #[tokio::test(start_paused = true)]
    async fn counts_that_never_come_are_an_error() {
        let coro = spawn(1, Progress::new());
        coro.send(Partial::Finish { failed: vec![] }).unwrap();
        let exit = coro.join().await.unwrap_err();
        assert!(
            exit.to_string().contains("counts of 1 file did not come"),
            "{exit}"
        );
    }

    #[tokio::test]
    async fn counts_may_come_after_the_end_is_announced() {
        let coro = spawn(2, Progress::new());
        coro.send(Partial::Finish { failed: vec![1] }).unwrap();
        coro.send(Partial::Counts(chunk(0, 1, true, &[("a", 1)])))
            .unwrap();
        assert_eq!(coro.join().await.unwrap().files, 1);
    }
}
