//! How many bytes a message takes, and a line of messages that knows it: each is measured once, when it joins.

use std::collections::VecDeque;

use postcard::ser_flavors::Size;
use serde::Serialize;

/// What a value takes besides what it says, about.
const EACH: usize = 128;

/// So many go together.
pub(crate) const BATCH: usize = 256;
/// And so many bytes.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// How many bytes a value takes on its way, and about as many where it is kept. It must hold no addresses, which are
/// written for somebody alone.
pub(crate) fn bytes(value: &impl Serialize) -> usize {
    // What cannot travel says nothing.
    EACH + postcard::serialize_with_flavor(value, Size::default()).unwrap_or(0)
}

/// Values that wait, each with its size: first in, first out. They must hold no addresses, which are written for
/// somebody alone.
#[derive(Debug)]
pub(crate) struct Line<T> {
    values: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line {
            values: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T: Serialize> Line<T> {
    pub(crate) fn push(&mut self, value: T) {
        let bytes = bytes(&value);
        self.bytes += bytes;
        self.values.push_back((value, bytes));
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let (value, bytes) = self.values.pop_front()?;
        self.bytes -= bytes;
        Some(value)
    }

    /// Those that go together next. What is large goes alone, so that nothing else is refused with it.
    pub(crate) fn batch(&mut self) -> Vec<T> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some((_, next)) = self.values.front()
            && (batch.is_empty() || *next < BATCH_BYTES)
        {
            bytes += next;
            batch.extend(self.pop());
        }
        batch
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// How many bytes all of them take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;

    #[test]
    fn all_that_a_value_says_counts() {
        let value = ("x".repeat(1000), Blob::from(vec![0; 500]), 7);
        let said = bytes(&value) - EACH;
        assert_eq!(said, postcard::to_stdvec(&value).unwrap().len());
        assert!(said > 1500, "{said}");
    }

    #[test]
    fn a_line_takes_what_those_take_that_wait_in_it() {
        let mut line = Line::default();
        let all = ["a".to_owned(), "b".repeat(1000), "c".repeat(BATCH_BYTES)];
        for value in &all {
            line.push(value.clone());
        }
        let sizes = all.each_ref().map(bytes);
        assert_eq!((line.len(), line.bytes()), (3, sizes.iter().sum()));
        assert_eq!(line.pop().as_ref(), Some(&all[0]));
        assert_eq!(line.bytes(), sizes[1] + sizes[2]);
        assert_eq!(line.batch(), all[1..2]);
        assert_eq!(line.bytes(), sizes[2]);
        assert_eq!(line.batch(), all[2..]);
        assert_eq!((line.len(), line.bytes(), line.pop()), (0, 0, None));
    }
}
