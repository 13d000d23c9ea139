//! Whether a message that was written for another node has gone there, or came back to its
//! sender with an error: a [`Reply`](crate::Reply) in it that belongs to a third node must know,
//! lest nobody feels bound to answer.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// The ticket of the message that is being written, once something in it has asked.
    static CURRENT: RefCell<Option<Ticket>> = const { RefCell::new(None) };
}

/// One attempt to send one message. Costs nothing unless something in the message takes a ticket.
#[derive(Default)]
pub(crate) struct Trip {
    ticket: Option<Ticket>,
}

/// What a part of the message keeps to learn whether the message came back.
#[derive(Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicBool>);

impl Trip {
    /// Runs `write`, which serialises the message.
    pub(crate) fn write<T>(&mut self, write: impl FnOnce() -> T) -> T {
        struct Scope<'a>(&'a mut Trip, Option<Ticket>);
        impl Drop for Scope<'_> {
            fn drop(&mut self) {
                self.0.ticket = CURRENT.replace(self.1.take());
            }
        }
        let outer = CURRENT.replace(self.ticket.take());
        let _scope = Scope(self, outer);
        write()
    }

    /// The message is with its sender again.
    pub(crate) fn came_back(self) {
        if let Some(Ticket(came_back)) = self.ticket {
            came_back.store(true, Ordering::Release);
        }
    }
}

impl Ticket {
    /// For a part of the message that is being written.
    pub(crate) fn take() -> Ticket {
        CURRENT.with_borrow_mut(|current| current.get_or_insert_default().clone())
    }

    pub(crate) fn came_back(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
