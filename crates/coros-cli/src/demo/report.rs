//! The result on standard output: a table for people, or one JSON object for programs.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::corpus::Unreadable;
use super::reduce::Totals;
use crate::terminal::{Name, s};

/// What is shown.
pub(super) struct Report<'a> {
    pub(super) totals: &'a Totals,
    pub(super) seconds: f64,
    pub(super) jobs: Vec<(Arc<str>, u64)>,
    pub(super) unreadable: &'a [Unreadable],
}

impl Report<'_> {
    /// Prints the `top` most frequent words and the sums.
    pub(super) fn write_table(&self, top: usize) -> io::Result<()> {
        self.table(top, &mut BufWriter::new(io::stdout().lock()))
    }

    /// Prints all as one JSON object on one line.
    pub(super) fn write_json(&self) -> io::Result<()> {
        self.json(&mut BufWriter::new(io::stdout().lock()))
    }

    fn table(&self, top: usize, out: &mut impl Write) -> io::Result<()> {
        let words = self.totals.words.sorted();
        if !words.is_empty() {
            writeln!(out, "{:>12}  word", "count")?;
            for (word, count) in words.iter().take(top) {
                writeln!(out, "{:>12}  {}", grouped(*count), shortened(word))?;
            }
            writeln!(out)?;
        }
        let Totals { files, bytes, .. } = self.totals;
        let megabytes = *bytes as f64 / 1e6;
        let rate = megabytes / self.seconds.max(1e-9);
        let words = words.len() as u64;
        writeln!(out, "{:>12}  different word{}", grouped(words), s(words))?;
        writeln!(out, "{:>12}  file{}", grouped(*files), s(*files))?;
        writeln!(
            out,
            "{:>12}  byte{} in {:.3} s: {rate:.1} MB/s",
            grouped(*bytes),
            s(*bytes),
            self.seconds
        )?;
        for (worker, jobs) in &self.jobs {
            writeln!(out, "{:>12}  job{} by {worker}", grouped(*jobs), s(*jobs))?;
        }
        if !self.unreadable.is_empty() {
            let n = self.unreadable.len() as u64;
            writeln!(out, "{:>12}  could not be counted, see above", grouped(n))?;
        }
        out.flush()
    }

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let object = Object {
            words: Words(self.totals.words.sorted()),
            files: self.totals.files,
            bytes: self.totals.bytes,
            seconds: self.seconds,
            jobs_by_worker: Jobs(&self.jobs),
            unreadable: self
                .unreadable
                .iter()
                .map(|it| UnreadableObject {
                    path: Name(&it.path).to_string(),
                    error: &it.error,
                })
                .collect(),
        };
        serde_json::to_writer(&mut *out, &object)?;
        writeln!(out)?;
        out.flush()
    }
}

#[derive(Serialize)]
struct Object<'a> {
    words: Words<'a>,
    files: u64,
    bytes: u64,
    seconds: f64,
    jobs_by_worker: Jobs<'a>,
    unreadable: Vec<UnreadableObject<'a>>,
}

#[derive(Serialize)]
struct UnreadableObject<'a> {
    path: String,
    error: &'a str,
}

struct Words<'a>(Vec<(&'a str, u64)>);

impl Serialize for Words<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for word in &self.0 {
            list.serialize_element(word)?;
        }
        list.end()
    }
}

struct Jobs<'a>(&'a [(Arc<str>, u64)]);

impl Serialize for Jobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (worker, jobs) in self.0 {
            map.serialize_entry(&**worker, jobs)?;
        }
        map.end()
    }
}

/// So many characters of a word are shown: a "word" may be a megabyte of base64.
const LONGEST: usize = 40;

/// The beginning of a word that is longer, with an ellipsis in the place of the rest.
fn shortened(word: &str) -> Cow<'_, str> {
    match word.char_indices().nth(LONGEST) {
        None => Cow::Borrowed(word),
        Some(_) => Cow::Owned(word.chars().take(LONGEST - 1).chain(['…']).collect()),
    }
}

/// `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_as_specified() {
        let mut totals = Totals {
            files: 2,
            bytes: 30,
            ..Totals::default()
        };
        totals.words.add(b"b", 3);
        totals.words.add(b"a", 3);
        totals.words.add(b"c", 7);
        let unreadable = [Unreadable {
            path: "x/y".into(),
            error: "no".into(),
        }];
        let jobs = vec![("w1".into(), 1), ("w2".into(), 2)];
        let report = Report {
            totals: &totals,
            seconds: 0.5,
            jobs,
            unreadable: &unreadable,
        };
        let mut out = Vec::new();
        report.json(&mut out).unwrap();
        let expected = concat!(
            r#"{"words":[["c",7],["a",3],["b",3]],"files":2,"bytes":30,"seconds":0.5,"#,
            r#""jobs_by_worker":{"w1":1,"w2":2},"unreadable":[{"path":"x/y","error":"no"}]}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_long_word_is_shortened() {
        let forty = "ä".repeat(40);
        assert_eq!(shortened(&forty), forty);
        assert_eq!(shortened(&(forty + "z")), "ä".repeat(39) + "…");
    }

    #[test]
    fn without_a_word_there_is_no_table_of_words() {
        let report = Report {
            totals: &Totals::default(),
            seconds: 0.5,
            jobs: Vec::new(),
            unreadable: &[],
        };
        let mut out = Vec::new();
        report.table(10, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().next(), Some("           0  different words"));
    }

    #[test]
    fn one_is_no_plural() {
        let mut totals = Totals {
            files: 1,
            bytes: 1,
            ..Totals::default()
        };
        totals.words.add(b"a", 1);
        let report = Report {
            totals: &totals,
            seconds: 0.5,
            jobs: vec![("w1".into(), 1)],
            unreadable: &[],
        };
        let mut out = Vec::new();
        report.table(10, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in [
            "1  different word\n",
            "1  file\n",
            "1  byte in 0.500 s",
            "1  job by w1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        let texts = [0, 12, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "999", "1,000", "1,234,567"]);
    }
}
