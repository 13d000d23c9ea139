//! Who waits for which name. Whoever stops waiting leaves nothing behind.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Names;

#[derive(Default)]
pub(super) struct Waiting(HashMap<Arc<str>, Awaited>);

struct Awaited {
    appeared: Arc<Notify>,
    waiting: usize,
}

impl Waiting {
    /// Somebody has the name now.
    pub(super) fn wake(&self, name: &str) {
        if let Some(awaited) = self.0.get(name) {
            awaited.appeared.notify_waiters();
        }
    }

    pub(super) fn is_anybody(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn wake_all(&self) {
        for awaited in self.0.values() {
            awaited.appeared.notify_waiters();
        }
    }
}

/// Somebody who waits for a name.
pub(super) struct Waiter<'a> {
    names: &'a Names,
    name: &'a str,
    appeared: Arc<Notify>,
}

impl Names {
    pub(super) fn waiter<'a>(&'a self, name: &'a str) -> Waiter<'a> {
        let mut state = self.lock();
        let awaited = state.waiting.0.entry(name.into());
        let awaited = awaited.or_insert_with(|| Awaited {
            appeared: Arc::default(),
            waiting: 0,
        });
        awaited.waiting += 1;
        Waiter {
            names: self,
            name,
            appeared: Arc::clone(&awaited.appeared),
        }
    }
}

impl Waiter<'_> {
    pub(super) fn appeared(&self) -> Notified<'_> {
        self.appeared.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.names.lock();
        if let Some(awaited) = state.waiting.0.get_mut(self.name) {
            awaited.waiting -= 1;
            if awaited.waiting == 0 {
                state.waiting.0.remove(self.name);
            }
        }
    }
}
