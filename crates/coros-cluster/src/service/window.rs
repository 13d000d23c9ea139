//! How many bytes of the calls of a client a service has at a time: an account that both keep. What goes beyond it
//! waits at the client; of one that sends it all the same nothing more is taken.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::scheduler::core::CallId;

/// What a service has of a client at most, in bytes; one call it always has. And of what came of them, before no
/// more of them begin.
pub(crate) const WINDOW: usize = 64 << 20;

/// How many bytes the names of a call may take in all, and that of a node or a worker: what happens to a call is told
/// with its names, so that they are kept more than once.
pub(super) const LONGEST_NAMES: usize = 4096;

/// How much of that a client keeps for calls of a higher priority than all that are there, so that these need not
/// wait for room: about as much as a message takes.
const RESERVED: usize = WINDOW / 4;

#[derive(Debug, Default)]
pub(crate) struct Window {
    there: usize,
}

impl Window {
    /// Whether a call of so many bytes may come.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.has_room_within(WINDOW, bytes)
    }

    /// Whether a client sends one that is no more urgent than all that are there.
    pub(crate) fn has_usual_room(&self, bytes: usize) -> bool {
        self.has_room_within(WINDOW - RESERVED, bytes)
    }

    fn has_room_within(&self, most: usize, bytes: usize) -> bool {
        self.there == 0 || self.there.saturating_add(bytes) <= most
    }

    pub(crate) fn enter(&mut self, bytes: usize) {
        self.there += bytes;
    }

    pub(crate) fn leave(&mut self, bytes: usize) {
        self.there -= bytes;
    }
}

/// The calls of a client, as the service counts them. A client that keeps to the rules never counts fewer bytes,
/// because it hears of the end of a call later.
#[derive(Debug, Default)]
pub(super) struct Account {
    window: Window,
    calls: HashMap<CallId, usize>,
}

/// How a client has broken the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Breach {
    #[error(
        "it has sent more calls at a time than a service takes of a client, which are {WINDOW} bytes"
    )]
    TooMuch,
    #[error("it has sent call {0} twice")]
    Twice(u64),
    #[error("it has sent calls before their turn had come")]
    TooEarly,
}

impl Account {
    /// A call has come.
    ///
    /// # Errors
    /// When it should not have.
    pub(super) fn take(&mut self, call: CallId, bytes: usize) -> Result<(), Breach> {
        let Entry::Vacant(entry) = self.calls.entry(call) else {
            return Err(Breach::Twice(call.0));
        };
        if !self.window.has_room(bytes) {
            return Err(Breach::TooMuch);
        }
        self.window.enter(bytes);
        entry.insert(bytes);
        Ok(())
    }

    /// A call has ended, or nobody wants its result: `false` when that was known.
    pub(super) fn end(&mut self, call: CallId) -> bool {
        let bytes = self.calls.remove(&call);
        if let Some(bytes) = bytes {
            self.window.leave(bytes);
        }
        bytes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_beyond_the_window_is_a_breach() {
        let mut account = Account::default();
        assert_eq!(account.take(CallId(0), 2 * WINDOW), Ok(()));
        assert_eq!(account.take(CallId(1), 1), Err(Breach::TooMuch));
        assert!(account.end(CallId(0)));
        for call in 1..=2 {
            assert_eq!(account.take(CallId(call), WINDOW / 2), Ok(()));
        }
        assert_eq!(account.take(CallId(3), 1), Err(Breach::TooMuch));
        assert_eq!(account.take(CallId(3), usize::MAX), Err(Breach::TooMuch));
    }

    #[test]
    fn a_call_comes_and_ends_once() {
        let mut account = Account::default();
        assert_eq!(account.take(CallId(0), WINDOW), Ok(()));
        assert_eq!(account.take(CallId(0), 0), Err(Breach::Twice(0)));
        assert!(account.end(CallId(0)));
        assert!(!account.end(CallId(0)));
        assert_eq!(account.take(CallId(1), WINDOW), Ok(()));
    }
}
