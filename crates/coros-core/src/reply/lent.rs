//! Replies that other nodes have been lent and nobody waits for any more.
//!
//! Whoever gives up a question leaves its inlet behind, until the other node answers or lets go.
//! Each thread keeps the inlets that it has lent in mind, and ends those that have been given up
//! when there are twice as many as were open last time: constant time on average, and what is left
//! behind is bounded by what is open.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

/// An inlet of whatever type.
pub(super) trait Lent: Send + Sync {
    /// Ends it if nobody waits for the answer: whether it is open.
    fn is_wanted(&self) -> bool;
}

/// Fewer are not looked at.
const LOOK_AT_LEAST: usize = 64;

struct Known {
    lent: Vec<Weak<dyn Lent>>,
    look_at: usize,
}

thread_local! {
    static KNOWN: RefCell<Known> = const {
        RefCell::new(Known {
            lent: Vec::new(),
            look_at: LOOK_AT_LEAST,
        })
    };
}

/// One more has been lent.
pub(super) fn note<L: Lent + 'static>(inlet: &Arc<L>) {
    let inlet: Weak<dyn Lent> = Arc::downgrade(inlet) as _;
    let full = KNOWN.with_borrow_mut(|known| {
        known.lent.push(inlet);
        (known.lent.len() >= known.look_at).then(|| std::mem::take(&mut known.lent))
    });
    let Some(mut lent) = full else { return };
    // Not borrowed: the end of one may be told to anybody.
    lent.retain(|inlet| inlet.upgrade().is_some_and(|inlet| inlet.is_wanted()));
    KNOWN.with_borrow_mut(|known| {
        lent.append(&mut known.lent);
        known.look_at = LOOK_AT_LEAST.max(2 * lent.len());
        known.lent = lent;
    });
}
