//! What the owner of a node says that it has, for calls that need it.

use std::fmt;
use std::str::FromStr;

use coros_core::is_readable;
use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// So many of what has a name, as the owner of a node says: `name=number`, such as `license=2`.
///
/// What all calls that run on the node at a time [need](crate::Call::resource) of it is never more than that, whoever's
/// they are.
///
/// ```
/// use coros_cluster::machine::Resource;
///
/// let resource: Resource = "license=2".parse()?;
/// assert_eq!((resource.name(), resource.amount()), ("license", 2));
/// # Ok::<(), coros_cluster::machine::ResourceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resource {
    name: String,
    amount: u64,
}

/// A text that says of nothing how many there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no resource: expected `name=number`, as in `license=2`, with a name of at most 128 bytes without \
     spaces or control characters, and a whole number"
)]
pub struct ResourceError {
    text: String,
}

impl Resource {
    /// What calls that need it call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many there are.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl FromStr for Resource {
    type Err = ResourceError;

    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let fits = |name: &str| {
            !name.is_empty() && name.len() <= LONGEST && !name.contains(' ') && is_readable(name)
        };
        let parts = text.split_once('=').filter(|(name, _)| fits(name));
        let parsed = parts.and_then(|(name, number)| {
            // `u64` takes a sign.
            let digits = number.bytes().all(|it| it.is_ascii_digit());
            let amount = number.parse().ok().filter(|_| digits)?;
            let name = name.to_owned();
            Some(Resource { name, amount })
        });
        parsed.ok_or_else(|| ResourceError {
            text: text.chars().take(2 * LONGEST).collect(),
        })
    }
}

impl TryFrom<String> for Resource {
    type Error = ResourceError;

    fn try_from(text: String) -> Result<Self, ResourceError> {
        text.parse()
    }
}

impl From<Resource> for String {
    fn from(resource: Resource) -> String {
        resource.to_string()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_name_and_a_whole_number() {
        for text in ["gpu=0", "license=2", "a.b-c=18446744073709551615"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        let long = format!("{}=1", "x".repeat(LONGEST + 1));
        for text in [
            "",
            "gpu",
            "gpu=",
            "=1",
            "gpu=x",
            "gpu=-1",
            "gpu=+1",
            "gpu=1.5",
            "a b=1",
            "a\n=1",
            "gpu=1=2",
            "gpu=18446744073709551616",
            &long,
        ] {
            let error = text.parse::<Resource>().unwrap_err();
            assert!(
                error.to_string().contains("expected `name=number`"),
                "{text}"
            );
            let sent = postcard::to_allocvec(text).unwrap();
            postcard::from_bytes::<Resource>(&sent).unwrap_err();
        }
    }
}
