//! Words and how often each was there.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Counts of words. All words lie in one buffer, so that a million of them are a few allocations
/// and go on the wire as they lie.
#[derive(Debug, Default)]
pub(super) struct Tally {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Indexes of `entries` by word.
    table: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    length: usize,
    count: u64,
}

impl Tally {
    /// Adds to a word's count.
    #[inline]
    pub(super) fn add(&mut self, word: &[u8], n: u64) {
        let Tally {
            text,
            entries,
            table,
            hasher,
        } = self;
        let word_at = |index: &usize| {
            let entry = entries[*index];
            &text[entry.start..entry.start + entry.length]
        };
        let hash = hasher.hash_one(word);
        if let Some(index) = table.find(hash, |index| word_at(index) == word) {
            entries[*index].count += n;
            return;
        }
        table.insert_unique(hash, entries.len(), |index| hasher.hash_one(word_at(index)));
        entries.push(Entry {
            start: text.len(),
            length: word.len(),
            count: n,
        });
        text.extend_from_slice(word);
    }

    /// Adds all counts of another tally.
    pub(super) fn merge(&mut self, other: &Tally) {
        for (word, count) in other.iter() {
            self.add(word, count);
        }
    }

    /// How many different words there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes their letters take.
    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    /// The words in the order in which they came first, each with its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries.iter().map(|entry| {
            (
                &self.text[entry.start..entry.start + entry.length],
                entry.count,
            )
        })
    }

    /// The words by count, the most frequent first, then by word.
    pub(super) fn sorted(&self) -> Vec<(&str, u64)> {
        let mut words: Vec<_> = self.iter().collect();
        words.sort_unstable_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        words
            .into_iter()
            .map(|(word, n)| {
                (
                    std::str::from_utf8(word).expect("words are ASCII letters"),
                    n,
                )
            })
            .collect()
    }
}

/// Finds words in text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The letters at the end of the last piece: the word may go on in the next.
    carry: Vec<u8>,
}

/// A word was longer than this: 1 MiB.
pub(super) const LONGEST_WORD: usize = 1024 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct WordTooLong;

impl Splitter {
    /// Counts the words of a piece, which becomes lower case, except for one that may go on.
    pub(super) fn feed(&mut self, piece: &mut [u8], tally: &mut Tally) -> Result<(), WordTooLong> {
        piece.make_ascii_lowercase();
        let mut words = piece.split(|byte| !byte.is_ascii_lowercase());
        // There is at least one, possibly empty, and only the last one may go on.
        let mut word = words.next().unwrap_or_default();
        for next in words {
            if !self.carry.is_empty() {
                self.carry.extend_from_slice(word);
                tally.add(&self.carry, 1);
                self.carry.clear();
            } else if !word.is_empty() {
                tally.add(word, 1);
            }
            word = next;
        }
        self.carry.extend_from_slice(word);
        if self.carry.len() > LONGEST_WORD {
            Err(WordTooLong)
        } else {
            Ok(())
        }
    }

    /// Counts the word at the end of the text.
    pub(super) fn finish(&mut self, tally: &mut Tally) {
        if !self.carry.is_empty() {
            tally.add(&self.carry, 1);
            self.carry.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(pieces: &[&[u8]]) -> Vec<(String, u64)> {
        let (mut splitter, mut tally) = (Splitter::default(), Tally::default());
        for piece in pieces {
            splitter.feed(&mut piece.to_vec(), &mut tally).unwrap();
        }
        splitter.finish(&mut tally);
        tally
            .sorted()
            .into_iter()
            .map(|(word, n)| (word.to_owned(), n))
            .collect()
    }

    #[test]
    fn a_word_is_a_maximal_run_of_ascii_letters() {
        let words = count(&["The cat's hat: THE-end, na\u{ef}ve x2y_z".as_bytes()]);
        let expected = [
            ("the", 2),
            ("cat", 1),
            ("end", 1),
            ("hat", 1),
            ("na", 1),
            ("s", 1),
            ("ve", 1),
            ("x", 1),
            ("y", 1),
            ("z", 1),
        ];
        assert_eq!(words, expected.map(|(word, n)| (word.to_owned(), n)));
        assert_eq!(count(&[b" 12 ", b""]), []);
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = b"one two  three-four\xff\xfefive one";
        let whole = count(&[text]);
        for size in 1..text.len() {
            let pieces: Vec<_> = text.chunks(size).collect();
            assert_eq!(count(&pieces), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_word_without_end_is_refused() {
        let (mut splitter, mut tally) = (Splitter::default(), Tally::default());
        assert_eq!(
            splitter.feed(&mut vec![b'a'; LONGEST_WORD], &mut tally),
            Ok(())
        );
        assert_eq!(splitter.feed(&mut [b'a'], &mut tally), Err(WordTooLong));
    }
}
