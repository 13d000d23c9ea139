//! Why a coroutine ended.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a coroutine ended: what [`join`](crate::Coro::join), monitors and
/// [`Address::exit`](crate::Address::exit) report.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use coros_core::{Context, Exit};
///
/// let coro = coros_core::spawn(|_me: Context<()>| async { panic!("out of cheese") });
/// assert_eq!(coro.join().await, Err::<(), _>(Exit::Panicked("out of cheese".into())));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Exit {
    /// The function returned.
    Finished,
    /// The function of a [fallible](crate::Builder::spawn_fallible) coroutine returned an error:
    /// its text.
    Failed(Arc<str>),
    /// The function panicked: the text of the panic, or `a value that is not text`.
    Panicked(Arc<str>),
    /// Somebody called [`terminate`](crate::Address::terminate), or the runtime that ran the
    /// coroutine was dropped.
    Terminated,
    /// The link to the coroutine's node was lost; whether the coroutine still runs is unknown.
    Disconnected,
    /// No reason at all: this node waits for the ends of as many coroutines of that node as it may,
    /// 1,048,576, so nobody will tell how this one ends.
    Unwatched,
}

impl Exit {
    /// Whether the coroutine ended by returning, without an error.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self, Exit::Finished)
    }

    /// Whether the coroutine is known to have ended.
    pub(crate) fn is_certain(&self) -> bool {
        !matches!(self, Exit::Disconnected | Exit::Unwatched)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Finished => f.write_str("finished"),
            Exit::Failed(why) => write!(f, "failed: {why}"),
            Exit::Panicked(why) => write!(f, "panicked: {why}"),
            Exit::Terminated => f.write_str("terminated"),
            Exit::Disconnected => f.write_str("disconnected"),
            Exit::Unwatched => f.write_str(
                "not watched: as many ends of coroutines of its node are waited for as may be",
            ),
        }
    }
}

impl std::error::Error for Exit {}
