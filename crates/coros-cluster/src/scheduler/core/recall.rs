//! Asking calls back that wait behind others at workers: when they should not be there, and when
//! they could begin elsewhere.

use super::dispatch::Reserved;
use super::worker::Worker;
use super::{CallId, Core, Outcome, Output, Rank, State, WorkerId};

impl<T> Core<T> {
    /// Asks back all that may not stay behind the front of a worker.
    pub(super) fn recall<R>(&mut self, id: WorkerId, out: &mut Vec<Output<T, R>>) {
        while let Some(worker) = self.hosts.get(id)
            && !worker.doomed
            && let Some(last) = worker.behind.back().copied()
            && !self.hosts.may_stay(worker, last)
        {
            self.revoke(id, last, out);
        }
    }

    /// Asks back all calls of a lower priority that wait behind others: one of this priority does,
    /// or will.
    pub(super) fn recall_below<R>(&mut self, priority: i32, out: &mut Vec<Output<T, R>>) {
        if self.hosts.behind().lowest().is_none_or(|it| it >= priority) {
            return;
        }
        for id in self.hosts.workers() {
            while let Some(worker) = self.hosts.get(id)
                && !worker.doomed
                && let Some(last) = worker.behind.back().copied()
                && last.priority() < priority
            {
                self.revoke(id, last, out);
            }
        }
    }

    /// Whether a call of this priority that needs so many cores has to wait, because what is free
    /// is for calls of higher priority that wait behind others at workers. They are asked back.
    pub(super) fn gives_way<R>(
        &mut self,
        priority: i32,
        cores: u32,
        out: &mut Vec<Output<T, R>>,
    ) -> bool {
        let coming = self.hosts.coming().above(priority);
        if coming == 0 && self.hosts.behind().highest() <= Some(priority) {
            return false;
        }
        let slots = self.hosts.slots();
        for _ in coming..slots {
            let higher = |rank: Rank| rank.priority() > priority;
            let Some((worker, rank)) = self.best_behind(higher) else {
                break;
            };
            self.revoke(worker, rank, out);
        }
        self.hosts.coming().above(priority) + cores as usize > slots
    }

    /// When nothing that waits here can start on what is free: asks for calls that wait behind
    /// others, one for each that could start.
    pub(super) fn rebalance<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        if self.hosts.behind().total() == 0 {
            return;
        }
        // Those that are already on their way back will take some.
        for _ in self.hosts.coming().total()..self.hosts.slots() {
            let Some((worker, rank)) = self.best_behind(|_| true) else {
                return;
            };
            self.revoke(worker, rank, out);
        }
        // A reserved host is there for what comes before the call that has it.
        for n in 0..self.reserved.len() {
            let (first, reserved) = self.reserved[n];
            let Reserved::Host(host) = reserved else {
                continue;
            };
            for _ in self.hosts.coming().total()..self.hosts.slots_of(host) {
                let Some((worker, rank)) = self.best_behind(|rank| rank < first) else {
                    break;
                };
                self.revoke(worker, rank, out);
            }
        }
    }

    /// Of the calls that wait behind others and are meant, one of the highest priority; of those,
    /// at the worker where most wait, the next in order, though it may have begun when it is asked back.
    fn best_behind(&self, meant: impl Fn(Rank) -> bool) -> Option<(WorkerId, Rank)> {
        let of_each = self.hosts.workers().into_iter().filter_map(|id| {
            let worker = self.hosts.get(id).filter(|worker| !worker.doomed)?;
            let behind = &worker.behind;
            // What is meant comes before what is not.
            let next = behind.front().copied().filter(|rank| meant(*rank))?;
            Some((next.priority(), behind.len(), id, next))
        });
        let best = of_each.max();
        best.map(|(_, _, worker, rank)| (worker, rank))
    }

    fn revoke<R>(&mut self, worker: WorkerId, rank: Rank, out: &mut Vec<Output<T, R>>) {
        self.hosts.revoke(worker, rank, true);
        let call: CallId = rank.call;
        out.push(Output::Revoke {
            worker,
            call,
            attempt: self.mark_revoked(call, true),
            abort: false,
        });
    }

    /// Notes whether a call in flight is to come back, and gives its attempt.
    fn mark_revoked(&mut self, id: CallId, is: bool) -> u32 {
        let call = self.call(id);
        if let State::InFlight { revoked, .. } = &mut call.state {
            *revoked = is;
        }
        call.attempt
    }

    /// A worker says that it goes on with a call that it was asked to give back.
    pub(super) fn kept<R>(
        &mut self,
        worker: WorkerId,
        id: CallId,
        attempt: u32,
        out: &mut Vec<Output<T, R>>,
    ) {
        let Some((call, true)) = self.find(worker, id, attempt) else {
            return;
        };
        let (rank, wanted) = (call.rank(id), call.item.is_some());
        self.mark_revoked(id, false);
        if let Some(not_begun) = self.hosts.set_front(worker, rank, wanted) {
            let wanted = self.item(not_begun.call).is_some();
            self.hosts.put_behind(worker, not_begun, wanted);
            if !wanted {
                self.mark_revoked(not_begun.call, true);
            }
            self.recall(worker, out);
        }
    }

    /// The owner of a call does not wait for it any more: it ends so, wherever it is.
    pub(super) fn end_unasked<R>(
        &mut self,
        id: CallId,
        outcome: Outcome<R>,
        out: &mut Vec<Output<T, R>>,
    ) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(item) = call.item.take() else {
            return;
        };
        out.push(Output::Finished {
            call: id,
            item,
            outcome,
        });
        let (state, attempt) = (call.state, call.attempt);
        let rank = call.rank(id);
        match state {
            State::Queued => drop(self.forget(id)),
            State::InFlight {
                at: worker,
                revoked,
            } => {
                let is_behind = |it: &Worker| it.behind.binary_search(&rank).is_ok();
                if revoked {
                    // It is no longer one that comes back to run elsewhere.
                    self.hosts.unwanted(rank);
                } else if self.hosts.get(worker).is_some_and(is_behind) {
                    self.hosts.revoke(worker, rank, false);
                    self.mark_revoked(id, true);
                }
                out.push(Output::Revoke {
                    worker,
                    call: id,
                    attempt,
                    abort: true,
                });
            }
        }
    }

    /// A worker cannot drop a call that it was to drop.
    pub(super) fn stuck<R>(
        &mut self,
        worker: WorkerId,
        id: CallId,
        attempt: u32,
        out: &mut Vec<Output<T, R>>,
    ) {
        let mut timed_out = false;
        if let Some((call, revoked)) = self.find(worker, id, attempt) {
            let rank = call.rank(id);
            // Who wants it still learns that its time was over.
            if let Some(item) = self.call(id).item.take() {
                timed_out = true;
                if revoked {
                    self.hosts.unwanted(rank);
                }
                let attempts = self.attempts(id);
                let outcome = Outcome::TimedOut { worker, attempts };
                out.push(Output::Finished {
                    call: id,
                    item,
                    outcome,
                });
            }
        }
        // Whatever is known of the call: a worker that says so begins nothing any more, and what is sent there
        // would wait for ever.
        if self.hosts.get(worker).is_some() && self.hosts.doom(worker) {
            out.push(Output::Kill {
                worker,
                call: id,
                timed_out,
            });
        }
    }
}
