//! What the calls at nodes take of them besides their slots: each worker claims it for the next call, which begins when the
//! node, which has other clients too, has it to spare.

use super::super::core::{CallId, HostId, WorkerId};
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

#[cfg(test)]
impl Claim {
    /// One for which the first attempt of a call waits.
    pub(super) fn sample(number: u64, call: CallId) -> Self {
        let waits = Some((call, 1));
        Claim { number, waits }
    }
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

    /// A worker has what it has claimed: the call that waits for it begins, unless none does at present.
    pub(super) fn claimed(&mut self, id: WorkerId, number: u64) {
        if self.paused {
            return self.has_none_wait(id);
        }
        let claim = self.workers.get_mut(&id).and_then(|it| it.claim.as_mut());
        let Some(claim) = claim.filter(|it| it.number == number) else {
            return;
        };
        // One that was cancelled just now is about to be taken back.
        let wanted = |call: &(CallId, u32)| self.core.item(call.0).is_some();
        if let Some((call, attempt)) = claim.waits.take_if(|it| wanted(it)) {
            self.hand_over(id, call, attempt);
        }
    }

    /// A worker is to begin nothing: the call that waits there for what it takes goes elsewhere.
    pub(super) fn has_none_wait(&mut self, id: WorkerId) {
        if let Some((call, attempt)) = self.waits_for_claim(id) {
            self.take_back(id, call, attempt);
        }
    }

    /// A worker of a host where no call has begun, as it waits for what it takes.
    pub(super) fn waits_at(&self, host: HostId) -> Option<WorkerId> {
        let waiting = self.claiming.iter().filter(|id| {
            let here = self.workers.get(*id).filter(|it| it.host == host);
            here.is_some_and(|it| !it.retiring) && self.waits_for_claim(**id).is_some()
        });
        waiting.copied().next_back()
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
