//! What a coroutine has only when it is used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::Exit;
use crate::engine::Host;
use crate::mailbox::Bounds;
use crate::primitives::Mutex;
use crate::remote::OnExit;
use crate::swap::SwapState;
use crate::terminate::Graceful;

/// How long a coroutine that asked for it may clean up, unless its builder says otherwise.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Extra {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) grace: Duration,
    pub(crate) born: Instant,
    pub(crate) end: Mutex<End>,
    /// The waker of a receiver that is polled by another task or a combinator.
    pub(crate) elsewhere: Mutex<Option<Waker>>,
    pub(crate) graceful: Graceful,
    pub(crate) swap: SwapState,
    /// Messages taken from the mailbox and not yet received.
    pub(crate) held: AtomicUsize,
    /// Who wants to know when the messages that are in the mailbox's queue have been taken out of
    /// it. Used under the queue's lock, which so says what is there.
    pub(crate) taken: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

/// Who waits for the end, and how it came about.
#[derive(Default)]
pub(crate) struct End {
    /// `Finished` and `Terminated` are flags; everything else is here.
    pub(crate) exit: Option<Exit>,
    pub(crate) next: u64,
    /// In the order in which they came.
    pub(crate) watchers: BTreeMap<u64, Watcher>,
    /// With so many watchers, the next one looks for those that are obsolete.
    look_at: usize,
}

/// Somebody who waits for the end.
pub(crate) struct Watcher {
    /// The coroutine that is to be told, if it is one.
    pub(crate) owner: Option<Arc<dyn Host>>,
    pub(crate) call: OnExit,
}

impl End {
    /// Removes the watchers of coroutines that have ended, each time when there are twice as many
    /// as were left the last time: constant time on average. Otherwise a server that each of its
    /// clients monitors would remember them all.
    pub(super) fn take_obsolete(&mut self) -> Vec<Watcher> {
        const LOOK_AT_LEAST: usize = 64;
        if self.watchers.len() < self.look_at.max(LOOK_AT_LEAST) {
            return Vec::new();
        }
        let is_obsolete = |watcher: &Watcher| {
            watcher
                .owner
                .as_ref()
                .is_some_and(|owner| owner.is_closed())
        };
        let obsolete: Vec<u64> = self
            .watchers
            .iter()
            .filter(|(_, watcher)| is_obsolete(watcher))
            .map(|(key, _)| *key)
            .collect();
        let taken = obsolete
            .iter()
            .filter_map(|key| self.watchers.remove(key))
            .collect();
        self.look_at = 2 * self.watchers.len();
        taken
    }
}

impl Default for Extra {
    fn default() -> Self {
        Extra {
            name: None,
            bounds: None,
            grace: DEFAULT_GRACE,
            born: Instant::now(),
            end: Mutex::new(End::default()),
            elsewhere: Mutex::new(None),
            graceful: Graceful::default(),
            swap: SwapState::default(),
            held: AtomicUsize::new(0),
            taken: Mutex::new(Vec::new()),
        }
    }
}
