//! What the owner of a node says of it, for rules to go by.

use std::fmt;
use std::str::FromStr;

use coros_core::is_readable;
use serde::{Deserialize, Serialize};

/// The longest label, in bytes.
const LONGEST: usize = 256;

/// What the owner of a node says of it: `key` or `key=value`.
///
/// Keys and values have no spaces or control characters, so that a label can be shown and given on
/// a command line as it is.
///
/// ```
/// use coros_cluster::machine::Label;
///
/// let label: Label = "room=b12".parse()?;
/// assert_eq!((label.key(), label.value()), ("room", Some("b12")));
/// # Ok::<(), coros_cluster::machine::LabelError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    key: String,
    value: Option<String>,
}

/// A text that is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no label: expected `key` or `key=value`, at most 256 bytes, without spaces or \
     control characters"
)]
pub struct LabelError {
    text: String,
}

impl Label {
    /// What is before the `=`, or all of it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is after the `=`.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Whether whoever has this label has what `wanted` asks for: the same key and, if it has
    /// one, the same value.
    pub fn satisfies(&self, wanted: &Label) -> bool {
        self.key == wanted.key && (wanted.value.is_none() || self.value == wanted.value)
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let fits = |part: &str| !part.is_empty() && !part.contains(' ') && is_readable(part);
        if text.len() > LONGEST || !fits(key) || !value.is_none_or(fits) {
            let text = text.chars().take(LONGEST).collect();
            return Err(LabelError { text });
        }
        Ok(Label {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.to_string()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}
