//! Tasks that tell another node of numbers that change: a relay its home, and a home those who
//! want to know.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::channel::count::Changes;
use crate::channel::{Channel, Inner};
use crate::primitives::lock;

/// Changes within this time are told together.
const BATCH: Duration = Duration::from_millis(10);

/// Tells the home of a relay how many coroutines have subscribed here, and when nobody is interested
/// any more, until the inlet that it was started with is not the present one any more.
pub(super) async fn report_changes<M: Clone + Send + 'static>(relay: Weak<Inner<M>>, inlet: u64) {
    loop {
        let mut changes = Changes::new();
        let report = {
            let Some(inner) = relay.upgrade() else { return };
            let channel = Channel { inner };
            let is_present = || {
                let home = channel.inner.home.as_ref();
                home.is_some_and(|home| home.is_inlet(inlet))
            };
            if !is_present() {
                return;
            }
            let count = channel.count(true, Some(&mut changes));
            // A home that cannot be reached forgets its relays.
            let _ = channel.report();
            if !is_present() {
                return;
            }
            channel.report_count(count as u64)
        };
        if let Some(report) = report {
            // Dropped, it would be withdrawn while it waits for room. If it does not arrive, the
            // session is over, and the inlet with it.
            let _ = report.await;
        }
        changes.next().await;
        tokio::time::sleep(BATCH).await;
    }
}

impl<M: Clone + Send + 'static> Channel<M> {
    /// Sees to it that those who follow are told how many subscribers there are.
    pub(super) fn tell_followers(&self) {
        let started = std::mem::replace(&mut lock(&self.inner.state).afar.telling, true);
        if !started {
            tokio::spawn(tell_changes(Arc::downgrade(&self.inner)));
        }
    }
}

async fn tell_changes<M: Clone + Send + 'static>(channel: Weak<Inner<M>>) {
    loop {
        let mut changes = Changes::new();
        let all_told = {
            let Some(inner) = channel.upgrade() else {
                return;
            };
            let channel = Channel { inner };
            let total = channel.count(true, Some(&mut changes));
            let followers: Vec<_> = {
                let mut state = lock(&channel.inner.state);
                let relays = state.subscribers.relays.values();
                let followers: Vec<_> = relays.filter(|it| it.follows()).cloned().collect();
                if followers.is_empty() {
                    state.afar.telling = false;
                    return;
                }
                followers
            };
            let untold = followers.iter().filter(|it| !it.tell_total(total));
            untold.count() == 0
        };
        if all_told {
            changes.next().await;
        }
        tokio::time::sleep(BATCH).await;
    }
}
