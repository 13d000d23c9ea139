//! What a call was given, for whoever hears of it.

use std::fmt;

use coros_core::remote::{CodecError, Message};
use coros_net::Node;

use crate::blob::Blob;

/// The arguments of a call, as [`Event`](super::Event)s have them: encoded, as they travelled. Cloning does
/// not copy.
///
/// ```
/// use coros_cluster::{Event, Scheduler};
///
/// # fn f(scheduler: &Scheduler, event: &Event) {
/// // Of `#[coros::remote] fn area(width: u32, height: u32) -> u64`.
/// if let Event::JobEnded { function, arguments, error: Some(why), .. } = event
///     && function.ends_with("::area")
///     && let Ok((width, height)) = arguments.decode::<(u32, u32)>(scheduler.node())
/// {
///     eprintln!("area({width}, {height}): {why}");
/// }
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Arguments(Blob);

impl Arguments {
    pub(super) fn new(encoded: Blob) -> Self {
        Arguments(encoded)
    }

    /// The arguments: a tuple of what the function takes, without its [`Context`](coros_core::Context), so
    /// `(A,)` for one. `node` is [that of the scheduler](super::Scheduler::node); addresses work.
    ///
    /// O(length of the arguments).
    ///
    /// # Errors
    /// When the types are not those of the function.
    pub fn decode<A: Message>(&self, node: &Node) -> Result<A, CodecError> {
        node.decode(&self.0.0)
    }
}

/// On the way from a [service](crate::service), whose client has them.
impl Default for Arguments {
    fn default() -> Self {
        Arguments(Vec::new().into())
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
