//! What the calls at nodes take of them besides their slots: each worker claims it for the next call, which begins when the
//! node, which has other clients too, has it to spare.

use super::super::core::{CallId, WorkerId};
use super::Shell;
use crate::daemon::protocol::ToDesk;
use crate::resources::Resources;

/// What a worker has claimed last.
#[derive(Debug)]
pub(super) struct Claim {
    number: u64,
    /// The call that waits for it, and which attempt of it.
    waits: Option<(CallId, u32)>,
}

impl Shell {
    /// A call is to begin at a worker: whether it has to wait for what it takes.
    pub(super) fn claims(&mut self, id: WorkerId, call: CallId, attempt: u32) -> bool {
        let Some(item) = self.core.item(call) else {
            return false;
        };
        let needs = match item.options.as_deref() {
            // It takes nothing, and says nothing of the call beside which it runs.
            Some(options) if options.core.io => return false,
            Some(options) => options.core.needs.besides_cores(),
            None => Resources::default(),
        };
        let Some(worker) = self.workers.get(&id) else {
            return false;
        };
        if !self.is_remote(worker.host) {
            return false;
        }
        let waits = !needs.is_none();
        if waits || worker.claim.is_some() {
            self.claim(id, needs, waits.then_some((call, attempt)));
        }
        waits
    }

    fn claim(&mut self, id: WorkerId, needs: Resources, waits: Option<(CallId, u32)>) {
        self.last_claim += 1;
        let number = self.last_claim;
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let claims = waits.is_some();
        worker.claim = claims.then_some(Claim { number, waits });
        let claim = ToDesk::Claim {
            worker: id,
            number,
            needs,
        };
        let host = worker.host;
        self.order(host, claim);
        match claims {
            true => self.claiming.insert(id),
            false => self.claiming.remove(&id),
        };
    }

    /// A worker has what it has claimed: the call that waits for it begins.
    pub(super) fn claimed(&mut self, id: WorkerId, number: u64) {
        let claim = self.workers.get_mut(&id).and_then(|it| it.claim.as_mut());
        if let Some(claim) = claim.filter(|it| it.number == number)
            && let Some((call, attempt)) = claim.waits.take()
        {
            self.hand_over(id, call, attempt);
        }
    }

    /// The call that waits for what a worker has claimed.
    pub(super) fn waits_for_claim(&self, id: WorkerId) -> Option<(CallId, u32)> {
        self.workers.get(&id)?.claim.as_ref()?.waits
    }

    /// Takes out a call that waits for what it takes: whether it did.
    pub(super) fn gives_up_claim(&mut self, id: WorkerId, call: CallId, attempt: u32) -> bool {
        let waits = self.waits_for_claim(id) == Some((call, attempt));
        if waits {
            self.claim(id, Resources::default(), None);
        }
        waits
    }

    /// Gives up what workers have claimed whose calls have ended.
    pub(super) fn settle_claims(&mut self) {
        let done = self.claiming.iter().filter(|id| !self.core.computes(**id));
        for id in done.copied().collect::<Vec<_>>() {
            self.claiming.remove(&id);
            self.claim(id, Resources::default(), None);
        }
    }
}
