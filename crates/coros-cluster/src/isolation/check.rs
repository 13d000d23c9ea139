//! What there is of isolation.

use std::borrow::Cow;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// One of the means of isolation, and whether this system has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// What it holds, or what it is called: `memory`, `landlock: files`.
    pub name: Cow<'static, str>,
    /// Whether this system has it.
    pub available: bool,
    /// What it does here. Where it is not available, why, and what can be done.
    pub detail: Cow<'static, str>,
}

impl Check {
    pub(crate) fn yes(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Check {
            name: name.into(),
            available: true,
            detail: detail.into(),
        }
    }

    /// With what can be done about that.
    pub(crate) fn no(name: &'static str, why: impl Display, to_do: impl Display) -> Self {
        Check {
            available: false,
            ..Check::yes(name, format!("{why}; {to_do}"))
        }
    }
}
