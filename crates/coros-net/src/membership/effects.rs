//! What foca wants done, collected.

use std::time::Duration;

use foca::{Notification, OwnedNotification, Runtime, Timer};

use super::packet::Id;

/// Foca's way out: it calls this, and whoever called foca looks afterwards.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) packets: Vec<(Id, Vec<u8>)>,
    pub(super) changes: Vec<OwnedNotification<Id>>,
    pub(super) timers: Vec<(Timer<Id>, Duration)>,
}

impl Runtime<Id> for Effects {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        self.changes.push(notification.to_owned());
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.packets.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        self.timers.push((event, after));
    }
}
