//! That nodes, or a service, were waited for in vain: who comes right after is told so at once.

use std::time::{Duration, Instant};

/// Until when nobody waits, and why, if that is so.
#[derive(Debug, Default)]
pub(super) struct InVain(Option<(Instant, String)>);

impl InVain {
    /// Somebody has waited for as long as `limit`, and so nobody waits for as long again.
    pub(super) fn set(&mut self, limit: Duration, why: String) {
        self.0 = Some((Instant::now() + limit, why));
    }

    /// There is hope again.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    /// Why there is no use in waiting, if there is none.
    pub(super) fn why(&self) -> Option<&str> {
        let (until, why) = self.0.as_ref()?;
        (Instant::now() < *until).then_some(why)
    }
}
