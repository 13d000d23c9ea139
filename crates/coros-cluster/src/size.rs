//! How many bytes a message takes.

use postcard::ser_flavors::Size;
use serde::Serialize;

/// What a value takes besides what it says, about.
const EACH: usize = 128;

/// How many bytes a value takes on its way, and about as many where it is kept. It must hold no addresses, which are
/// written for somebody alone.
pub(crate) fn bytes(value: &impl Serialize) -> usize {
    // What cannot travel says nothing.
    EACH + postcard::serialize_with_flavor(value, Size::default()).unwrap_or(0)
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
}
