//! What a content is named by.

mod pieces;

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use self::pieces::Pieces;

/// The BLAKE3 hash of a program or a file. As text it is 64 hexadecimal digits in lower case, in
/// messages 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ContentHash([u8; 32]);

/// A text that is no hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hash: it takes 64 hexadecimal digits in lower case")]
pub(crate) struct NoHash(String);

impl ContentHash {
    /// Reads all of `content`; its hash, and how many bytes it has.
    ///
    /// Takes as long as reading does, and all cores meanwhile: in async code call it by
    /// [`blocking`](crate::blocking).
    pub(crate) fn of(content: &(impl Pieces + ?Sized)) -> io::Result<(Self, u64)> {
        let (hash, length) = pieces::hash(content)?;
        Ok((ContentHash(hash.into()), length))
    }
}

impl From<[u8; 32]> for ContentHash {
    fn from(hash: [u8; 32]) -> Self {
        ContentHash(hash)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        match blake3::Hash::from_hex(text) {
            // One text for each: it is also the name of a file.
            Ok(hash) if hash.to_hex().as_str() == text => Ok(ContentHash(hash.into())),
            _ => Err(NoHash(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_has_one_text_and_travels_as_its_bytes(bytes: [u8; 32]) {
            let hash = ContentHash(bytes);
            let text = hash.to_string();
            prop_assert_eq!(text.parse(), Ok(hash));
            prop_assert_eq!(postcard::to_stdvec(&hash).unwrap(), bytes);
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(hash));
            let upper = text.to_uppercase();
            prop_assert_eq!(upper.parse::<ContentHash>().is_ok(), upper == text);
        }
    }

    #[test]
    fn what_is_no_hash_is_none() {
        let digits = "0".repeat(64);
        for text in [
            "",
            "..",
            &digits[1..],
            &format!("{digits}0"),
            &format!("g{}", &digits[1..]),
        ] {
            assert_eq!(text.parse::<ContentHash>(), Err(NoHash(text.into())));
        }
    }

    #[test]
    fn it_is_that_of_the_content() {
        let (hash, length) = ContentHash::of(b"abc".as_slice()).unwrap();
        // The published vector of BLAKE3 for these three bytes.
        let known = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
        assert_eq!((hash.to_string().as_str(), length), (known, 3));
    }
}
