//! What can be done to a coroutine besides sending it messages, and how it ended: the part of a
//! coroutine that does not depend on the type of its messages.
//!
//! Everything that most coroutines never need (a name, monitors, a capacity, an offered swap, a
//! reason for failing) is in [`Extra`], allocated when first used, so an anonymous coroutine
//! pays two words for all of it.
//!
//! Requests from outside are flags. Whoever sets one wakes the coroutine; the engine looks at the
//! flags before each poll, so a request takes effect at a suspension point and nowhere else.

mod extra;
mod flags;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

pub(crate) use extra::Extra;
use extra::Watcher;
pub(crate) use flags::Flags;

use crate::Exit;
use crate::engine::Host;
use crate::introspect;
use crate::mailbox::Bounds;
use crate::primitives::{fence, lock};
use crate::remote::{OnExit, RESERVED};

/// The state of one coroutine.
pub(crate) struct Control {
    /// Never used twice in a process.
    id: u64,
    flags: AtomicU32,
    /// The waker of the coroutine's task, known since the first poll.
    own: OnceLock<Waker>,
    extra: OnceLock<Box<Extra>>,
}

impl Control {
    pub(crate) fn new(flags: Flags, extra: Option<Extra>) -> Self {
        let control = Control {
            id: next_id(),
            flags: AtomicU32::new(flags.0),
            own: OnceLock::new(),
            extra: OnceLock::new(),
        };
        if let Some(extra) = extra {
            let _ = control.extra.set(Box::new(extra));
        }
        control
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.flags.load(Ordering::Acquire))
    }

    /// Sets flags; returns those before.
    pub(crate) fn set(&self, flags: Flags) -> Flags {
        Flags(self.flags.fetch_or(flags.0, Ordering::AcqRel))
    }

    /// Clears flags; returns those before.
    pub(crate) fn clear(&self, flags: Flags) -> Flags {
        Flags(self.flags.fetch_and(!flags.0, Ordering::AcqRel))
    }

    /// The rarely used part, if anything has used it.
    pub(crate) fn existing_extra(&self) -> Option<&Extra> {
        self.extra.get().map(|extra| &**extra)
    }

    /// The rarely used part.
    pub(crate) fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.existing_extra()?.name.as_deref()
    }

    pub(crate) fn bounds(&self) -> Option<&Bounds> {
        self.existing_extra()?.bounds.as_ref()
    }

    // --- Waking ---------------------------------------------------------------------------

    /// Remembers the waker of the coroutine's task; the engine calls it at the first poll.
    pub(crate) fn set_own(&self, waker: &Waker) {
        let _ = self.own.set(waker.clone());
        // Pairs with the fence in `wake`: either the waker is seen there, or what was written
        // before `wake` is seen by the poll that follows.
        fence(Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn has_own(&self) -> bool {
        self.own.get().is_some()
    }

    /// Whether `waker` is that of the coroutine's task, rather than of a combinator or another
    /// task that polls on its behalf.
    #[inline]
    pub(crate) fn is_own(&self, waker: &Waker) -> bool {
        self.own.get().is_some_and(|own| own.will_wake(waker))
    }

    /// Has the coroutine polled after this call, so that it sees what was written before it.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        self.wake_parked();
        self.wake_elsewhere();
    }

    /// Wakes the task. Enough for a receiver that has parked with the task's waker.
    #[inline]
    pub(crate) fn wake_parked(&self) {
        if let Some(own) = self.own.get() {
            own.wake_by_ref();
        }
    }

    /// Remembers with which foreign waker the receiver parks.
    pub(crate) fn set_elsewhere(&self, waker: &Waker) {
        let previous = lock(&self.extra().elsewhere).replace(waker.clone());
        drop(previous);
    }

    /// Wakes a receiver that has parked with a foreign waker.
    pub(crate) fn wake_elsewhere(&self) {
        if let Some(extra) = self.existing_extra() {
            let waker = lock(&extra.elsewhere).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    // --- Suspension -----------------------------------------------------------------------

    pub(crate) fn suspend(&self) {
        self.set(Flags::SUSPENDED);
    }

    pub(crate) fn resume(&self) {
        if self.clear(Flags::SUSPENDED).has(Flags::SUSPENDED) {
            self.wake();
        }
    }

    // --- The end --------------------------------------------------------------------------

    pub(crate) fn is_ended(&self) -> bool {
        self.flags().has(Flags::ENDED)
    }

    /// Why the coroutine ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let flags = self.flags();
        if !flags.has(Flags::ENDED) {
            return None;
        }
        let told = self
            .existing_extra()
            .and_then(|extra| lock(&extra.end).exit.clone());
        Some(told.unwrap_or(if flags.has(Flags::FINISHED) {
            Exit::Finished
        } else {
            Exit::Terminated
        }))
    }

    /// Records the end and tells everyone who waits for it. Only the first call counts.
    pub(crate) fn end(&self, exit: &Exit) {
        let mut flags = Flags::ENDED;
        match exit {
            Exit::Finished => flags = flags.and(Flags::FINISHED),
            Exit::Terminated => {}
            _ => {
                lock(&self.extra().end)
                    .exit
                    .get_or_insert_with(|| exit.clone());
            }
        }
        let before = self.set(flags);
        if before.has(Flags::ENDED) {
            return;
        }
        // Pairs with the fence in `watch`: either the watcher sees the flag, or it is seen here.
        fence(Ordering::SeqCst);
        if let Some(extra) = self.existing_extra() {
            let watchers = std::mem::take(&mut lock(&extra.end).watchers);
            for watcher in watchers.into_values() {
                call(watcher.call, exit.clone());
            }
            // A waker holds the task that it wakes.
            let elsewhere = lock(&extra.elsewhere).take();
            drop(elsewhere);
        }
        introspect::ended(self.id, before);
        // Last, because this drops what users have left here.
        if let Some(extra) = self.existing_extra() {
            extra.swap.ended(exit);
        }
    }

    /// Calls `watcher` once with the reason for the end; at once if the coroutine has ended.
    /// Returns what [`unwatch`](Self::unwatch) takes.
    pub(crate) fn watch(&self, watcher: OnExit) -> u64 {
        self.watch_for(None, watcher)
    }

    /// [`watch`](Self::watch) on behalf of another coroutine: once that takes no messages any
    /// more, the watcher may be dropped without a call.
    pub(crate) fn watch_for(&self, owner: Option<Arc<dyn Host>>, watcher: OnExit) -> u64 {
        let extra = self.extra();
        fence(Ordering::SeqCst);
        let mut end = lock(&extra.end);
        end.next += 1;
        let key = end.next;
        if self.is_ended() {
            drop(end);
            call(watcher, self.exit().unwrap_or(Exit::Terminated));
        } else {
            let obsolete = end.take_obsolete();
            end.watchers.insert(
                key,
                Watcher {
                    owner,
                    call: watcher,
                },
            );
            drop(end);
            drop(obsolete);
        }
        key
    }

    /// Takes a watcher back. False when it has been called, or is being called.
    pub(crate) fn unwatch(&self, key: u64) -> bool {
        let removed = self
            .existing_extra()
            .and_then(|extra| lock(&extra.end).watchers.remove(&key));
        removed.is_some()
    }

    // --- Hot swap -------------------------------------------------------------------------

    /// Whether the coroutine's function is being replaced at this moment.
    pub(crate) fn is_swapping(&self) -> bool {
        self.flags().has(Flags::SWAPPING)
    }

    /// Keeps the receiver of a function that is being replaced for its successor.
    pub(crate) fn hand_over(&self, receiver: Box<dyn Any + Send>) {
        self.extra().swap.keep_receiver(receiver);
    }

    // --- Introspection --------------------------------------------------------------------

    /// Notes how many messages the receiver holds, for those who look at a named coroutine.
    pub(crate) fn note_held(&self, held: usize) {
        if let Some(extra) = self.existing_extra() {
            extra.held.store(held, Ordering::Relaxed);
        }
    }
}

/// A number for a coroutine or a pending reply, never used twice in a process.
pub(crate) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(RESERVED);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Calls a watcher; a panic in one must not keep the others from being told.
fn call(watcher: OnExit, exit: Exit) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| watcher(exit))) {
        tracing::error!(
            "an exit handler panicked: {}",
            crate::engine::panic_text(&*panic)
        );
    }
}
