//! Text that somebody else has written, fit to be shown.

use serde::{Deserialize, Deserializer};

/// As much of what another process says in words as anybody reads, in bytes.
pub const MAX_TOLD: usize = 2 << 10;

/// The text with escapes in the place of all that cannot be seen, or changes how the rest is seen.
///
/// Those are control characters, which tell a terminal to do something, ends of lines and tabs
/// among them; marks that turn the direction of writing; characters without a width; spaces other
/// than the plain one; and what Unicode leaves to private use or has not assigned. Whatever
/// came from another process belongs through this before people read it in a terminal or a log.
///
/// ```
/// use coros_core::readable;
///
/// assert_eq!(readable("läßt es"), "läßt es");
/// assert_eq!(readable("a\u{1b}[2J\nb\u{202e}txt.exe"), r"a\u{1b}[2J\nb\u{202e}txt.exe");
/// ```
#[must_use]
pub fn readable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_seen(char) {
            shown.push(char);
        } else {
            shown.extend(char.escape_default());
        }
    }
    shown
}

/// [`readable`] line by line: what has lines keeps them.
///
/// ```
/// assert_eq!(coros_core::readable_lines("left:\n  1\u{1b}[2J"), "left:\n  1\\u{1b}[2J");
/// ```
#[must_use]
pub fn readable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(readable).collect();
    lines.join("\n")
}

/// Whether [`readable`] leaves the text as it is.
#[must_use]
pub fn is_readable(text: &str) -> bool {
    text.chars().all(is_seen)
}

/// [`readable`], and at most so many bytes: what another process says in words, which may be of any
/// length.
#[must_use]
pub fn readable_within(text: &str, most: usize) -> String {
    within(text, most, readable)
}

/// [`readable_lines`], and at most so many bytes.
#[must_use]
pub fn readable_lines_within(text: &str, most: usize) -> String {
    within(text, most, readable_lines)
}

fn within(text: &str, most: usize, shown: fn(&str) -> String) -> String {
    let mut shown = shown(&text[..text.floor_char_boundary(most)]);
    shown.truncate(shown.floor_char_boundary(most));
    shown
}

/// Reads what another process says in words, for `#[serde(deserialize_with)]`: [`readable_within`]
/// [`MAX_TOLD`].
///
/// # Errors
/// As a `String`'s.
pub fn told<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(readable_within(&text, MAX_TOLD))
}

fn is_seen(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    // What std prints and is not seen all the same, by Unicode's Default_Ignorable_Code_Point
    // (DerivedCoreProperties.txt), but for the 16 that choose the form of the character before.
    let ignorable = matches!(
        char,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    );
    // Behind another character: what follows one may be a mark on it.
    let pair = String::from_iter(['x', char]);
    !ignorable && pair.escape_debug().nth(1) == Some(char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::{Location, NodeId};

    #[test]
    fn nothing_invisible_is_left() {
        for range in [
            '\0'..='\u{1f}',
            '\u{7f}'..='\u{a0}',
            '\u{ad}'..='\u{ad}',
            '\u{34f}'..='\u{34f}',
            '\u{61c}'..='\u{61c}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{2000}'..='\u{200f}',
            '\u{2028}'..='\u{202f}',
            '\u{205f}'..='\u{206f}',
            '\u{3164}'..='\u{3164}',
            '\u{e000}'..='\u{f8ff}',
            '\u{fdd0}'..='\u{fdef}',
            '\u{feff}'..='\u{feff}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{fff0}'..='\u{fffb}',
            '\u{1bca0}'..='\u{1bca3}',
            '\u{1d173}'..='\u{1d17a}',
            '\u{e0000}'..='\u{10ffff}',
        ] {
            for char in range {
                let shown = readable(&format!("a{char}b"));
                assert!(shown.is_ascii() && shown.len() > 3, "{char:?}: {shown}");
                assert!(!is_readable(&char.to_string()), "{char:?}");
            }
        }
    }

    /// It may come in an address, of a node that nobody here has met.
    #[test]
    fn a_node_that_others_speak_of_is_shown_readable() {
        let location = Location {
            node: NodeId(7),
            name: ("\u{202e}\n".to_owned() + &"x".repeat(1 << 16)).into(),
            endpoint: None,
        };
        let shown = location.to_string();
        assert!(shown.starts_with(r"\u{202e}\nxx"), "{shown}");
        assert!(shown.len() < 200, "{shown}");
    }

    #[test]
    fn what_is_seen_stays() {
        let text = "it's \"plain\" \\ e\u{301}té ✓ שלום 漢字 ☎\u{fe0f} ~";
        assert_eq!(readable(text), text);
        assert!(is_readable(text));
        assert!(!is_readable("a\nb"));
    }
}
