//! Counting again, in the plainest way, to check the result.
//!
//! It shares nothing with the counting that it checks: it looks at the bytes one by one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::reduce::Totals;
use crate::terminal::Name;

/// So many differences are told.
const MOST: usize = 10;

/// Counts the words of these files in this thread and says how the totals differ, if they do.
pub(super) fn differences(paths: &[PathBuf], totals: &Totals) -> Vec<String> {
    let mut differences = Vec::new();
    let mut words = HashMap::new();
    let (mut files, mut bytes) = (0, 0);
    for path in paths {
        match count(path, &mut words) {
            Ok(n) => bytes += n,
            Err(error) => differences.push(format!("{}: {error}", Name(path))),
        }
        files += 1;
    }
    if files != totals.files {
        differences.push(format!("{files} files instead of {}", totals.files));
    }
    if bytes != totals.bytes {
        differences.push(format!("{bytes} bytes instead of {}", totals.bytes));
    }
    for (word, count) in totals.words.sorted() {
        let again = words.remove(word.as_bytes()).unwrap_or(0);
        if again != count {
            differences.push(format!("{again} times {word:?} instead of {count}"));
        }
    }
    for (word, count) in words {
        let word = String::from_utf8_lossy(&word);
        differences.push(format!("{count} times {word:?} instead of 0"));
    }
    let all = differences.len();
    if all > MOST {
        differences.truncate(MOST);
        differences.push(format!("and {} more", all - MOST));
    }
    differences
}

fn count(path: &Path, words: &mut HashMap<Vec<u8>, u64>) -> io::Result<u64> {
    let mut word = Vec::new();
    let mut length = 0;
    let mut end = |word: &mut Vec<u8>| {
        if word.is_empty() {
            return;
        }
        match words.get_mut(word.as_slice()) {
            Some(count) => *count += 1,
            None => drop(words.insert(word.clone(), 1)),
        }
        word.clear();
    };
    for byte in BufReader::with_capacity(64 * 1024, File::open(path)?).bytes() {
        let byte = byte?;
        length += 1;
        if byte.is_ascii_alphabetic() {
            word.push(byte.to_ascii_lowercase());
        } else {
            end(&mut word);
        }
    }
    end(&mut word);
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "One two, one\n").unwrap();
        let mut totals = Totals {
            files: 1,
            bytes: 13,
            ..Totals::default()
        };
        totals.words.add(b"one", 2);
        totals.words.add(b"two", 1);
        assert_eq!(
            differences(std::slice::from_ref(&path), &totals),
            [] as [String; 0]
        );
        totals.words.add(b"two", 1);
        totals.words.add(b"six", 1);
        let found = differences(&[path], &totals);
        assert_eq!(
            found,
            [
                "1 times \"two\" instead of 2",
                "0 times \"six\" instead of 1"
            ]
        );
    }
}
