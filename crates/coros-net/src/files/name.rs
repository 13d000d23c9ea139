//! Names of files as they travel: relative paths that cannot lead anywhere else.

use std::fmt;

/// The longest name, in bytes.
const MAX_NAME: usize = 1024;
/// The longest part of a name, in bytes: what file systems allow.
const MAX_PART: usize = 255;
/// What the names of files that are still incomplete begin with.
pub(super) const HIDDEN: &str = ".coros-part-";

/// A name that is fit to be looked up below a folder: a relative path with `/` that leads nowhere else, on
/// any system that this runs on.
///
/// ```
/// use coros_net::FileName;
///
/// assert!(FileName::new("in/data.bin").is_ok());
/// assert!(FileName::new("../data.bin").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name).map_err(|why| NameError {
            name: name.chars().take(MAX_NAME).collect(),
            why,
        })?;
        Ok(FileName(name.to_owned()))
    }

    /// The folders on the way.
    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        let (folders, _) = self.0.rsplit_once('/').unwrap_or_default();
        folders.split('/').filter(|folder| !folder.is_empty())
    }

    pub(super) fn last(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, last)| last)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that no file may have at a receiver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a file on another node: {why}; give a relative path such as \"in/data.bin\""
)]
pub struct NameError {
    name: String,
    why: &'static str,
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > MAX_NAME {
        return Err("it is longer than 1024 bytes");
    }
    if name.starts_with('/') {
        return Err("it is an absolute path");
    }
    let bytes = name.as_bytes();
    if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
        return Err("it begins with a drive letter");
    }
    if name.contains('\0') {
        return Err("there is a zero byte in it");
    }
    if name.contains('\\') {
        return Err("there is a backslash in it, which separates folders on some systems");
    }
    name.split('/').try_for_each(check_part)
}

fn check_part(part: &str) -> Result<(), &'static str> {
    match part {
        "" => return Err("a part of it is empty"),
        "." | ".." => return Err("\".\" and \"..\" may not be part of it"),
        _ => {}
    }
    if part.len() > MAX_PART {
        return Err("a part of it is longer than 255 bytes");
    }
    // File systems may fold the case.
    let start = part.as_bytes().get(..HIDDEN.len());
    if start.is_some_and(|start| start.eq_ignore_ascii_case(HIDDEN.as_bytes())) {
        return Err("names that begin with \".coros-part-\" are those of incomplete files");
    }
    if cfg!(windows) { windows(part) } else { Ok(()) }
}

/// What means something else than a file's name to Windows.
fn windows(part: &str) -> Result<(), &'static str> {
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    if part.contains(['<', '>', ':', '"', '|', '?', '*']) || part.chars().any(|c| c < ' ') {
        return Err("there is a character in it that Windows does not allow");
    }
    if part.ends_with(['.', ' ']) {
        return Err("a part of it ends with a dot or a space, which Windows drops");
    }
    let stem = part.split('.').next().unwrap_or_default();
    let stem = stem.trim_end().to_ascii_lowercase();
    let numbered = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"))
        .is_some_and(|number| number.chars().count() == 1);
    if numbered || DEVICES.contains(&&*stem) {
        return Err("a part of it is the name of a device on Windows");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for (name, why) in [
            ("", "empty"),
            ("/etc/passwd", "absolute"),
            ("//host/x", "absolute"),
            ("..", "\"..\""),
            ("a/../b", "\"..\""),
            ("./a", "\".\""),
            ("a//b", "a part of it is empty"),
            ("a/", "a part of it is empty"),
            ("c:/x", "drive letter"),
            ("C:x", "drive letter"),
            ("a\\b", "backslash"),
            ("a\0b", "zero byte"),
            (".coros-part-0", "incomplete"),
            ("a/.Coros-Part-0", "incomplete"),
        ] {
            let error = FileName::new(name).expect_err(name).to_string();
            assert!(error.contains(why), "{name:?}: {error}");
        }
        assert!(FileName::new(&"x/".repeat(600)).is_err());
        assert!(FileName::new(&"x".repeat(256)).is_err());
    }

    #[test]
    fn a_name_has_folders_and_a_last_part() {
        let name = FileName::new("a/b c/ü...x").unwrap();
        assert_eq!(name.folders().collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(name.last(), "ü...x");
        let plain = FileName::new("..x").unwrap();
        assert_eq!((plain.folders().count(), plain.last()), (0, "..x"));
    }

    #[test]
    fn devices_of_windows_are_known() {
        for part in ["CON", "nul.txt", "com1", "LPT9.x", "a:b", "a.", "a "] {
            assert!(windows(part).is_err(), "{part}");
        }
        for part in ["console", "com", "com10", "a.b", ".x"] {
            assert_eq!(windows(part), Ok(()), "{part}");
        }
    }
}
