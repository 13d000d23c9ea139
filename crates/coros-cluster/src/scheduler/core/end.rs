//! The end of calls, and of what they run on.

use super::{CallId, Core, HostId, Outcome, Output, Place, State, WorkerId};

/// What a call had to do with the loss of its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It ran there, and may be the reason.
    Ran,
    /// It ran there beside what is known to be the reason.
    Beside,
    /// It may have run there, if results were lost with the worker. The next attempt, alone, will
    /// tell.
    Waited,
    /// It had not begun.
    None,
}

impl<T> Core<T> {
    /// Ends a call for its owner, if it wants to know, and forgets it.
    pub(super) fn finish<R>(
        &mut self,
        id: CallId,
        outcome: Outcome<R>,
        out: &mut Vec<Output<T, R>>,
    ) {
        if let Some(item) = self.forget(id) {
            out.push(Output::Finished {
                call: id,
                item,
                outcome,
            });
        }
    }

    /// Forgets a call that has ended, and is at no worker any more. Gives its item, if it has ended
    /// for its owner only now.
    pub(super) fn forget(&mut self, id: CallId) -> Option<T> {
        let call = self.calls.remove(&id)?;
        if call.state == State::Queued {
            self.classes.remove(call.class, call.rank(id));
        }
        self.classes.leave(call.class);
        call.item
    }

    pub(super) fn worker_lost<R>(&mut self, id: WorkerId, out: &mut Vec<Output<T, R>>) {
        let Some(lost) = self.hosts.remove(id) else {
            return;
        };
        for call in &lost.leaving {
            let call = (*call, &self.calls[call]);
            if call.1.item.is_some() {
                self.hosts.unwanted(call.1.rank(call.0));
            }
        }
        let mut calls: Vec<_> = lost.front.iter().map(|front| front.rank).collect();
        let mut waiting: Vec<_> = lost.behind.iter().copied().collect();
        waiting.extend(lost.leaving.iter().map(|id| self.calls[id].rank(*id)));
        waiting.sort_unstable();
        calls.extend(waiting);
        for (place, rank) in calls.into_iter().enumerate() {
            let part = match place {
                _ if lost.doomed => Part::None,
                0 => Part::Ran,
                _ => Part::Waited,
            };
            self.call_lost(rank.call, id, part, out);
        }
        let excused = lost.doomed || lost.has_suspect();
        let part = if excused { Part::Beside } else { Part::Ran };
        for call in &lost.io {
            self.call_lost(*call, id, part, out);
        }
        self.target_lost(Place::Worker(id), out);
    }

    /// A call has lost its worker: it runs again, or ends.
    fn call_lost<R>(
        &mut self,
        id: CallId,
        from: WorkerId,
        part: Part,
        out: &mut Vec<Output<T, R>>,
    ) {
        let attempts = self.attempts(id);
        let call = self.call(id);
        let once = call.retries == 0;
        if part == Part::Ran || (part == Part::Beside && once) {
            call.losses += 1;
        }
        let (losses, retries, class) = (call.losses, call.retries, call.class);
        let wanted = call.item.is_some();
        let cpu = !self.classes.get(class).is_io();
        if cpu && matches!(part, Part::Ran | Part::Waited) {
            let alone = self.classes.set_alone(class, &self.hosts);
            let call = self.call(id);
            call.suspect = true;
            call.class = alone;
        }
        if losses > retries {
            let worker = from;
            self.finish(id, Outcome::Abandoned { worker, losses }, out);
            return;
        }
        let there = self.classes.get(self.calls[&id].class).place() == Place::Worker(from);
        if wanted && !there {
            let ran = matches!(part, Part::Ran | Part::Beside);
            out.push(Output::Retry {
                call: id,
                from,
                ran,
                attempts,
            });
        }
        self.requeue(id);
    }

    pub(super) fn host_lost<R>(&mut self, host: HostId, out: &mut Vec<Output<T, R>>) {
        for worker in self.hosts.workers_of(host) {
            self.worker_lost(worker, out);
        }
        self.hosts.remove_host(host);
        self.target_lost(Place::Host(host), out);
        self.look_for_room(out);
    }

    pub(super) fn suspend<R>(
        &mut self,
        worker: WorkerId,
        suspended: bool,
        out: &mut Vec<Output<T, R>>,
    ) {
        if self.hosts.get(worker).is_some() {
            self.hosts.suspend(worker, suspended);
            self.recall(worker, out);
        }
    }

    pub(super) fn retire<R>(&mut self, worker: WorkerId, out: &mut Vec<Output<T, R>>) {
        if self.hosts.get(worker).is_none() {
            return;
        }
        self.hosts.retire(worker);
        self.recall(worker, out);
        self.target_lost(Place::Worker(worker), out);
        if self.hosts.has_retired(worker) {
            out.push(Output::Retired { worker });
        }
    }

    /// Ends the calls that wait for a place that is gone.
    fn target_lost<R>(&mut self, place: Place, out: &mut Vec<Output<T, R>>) {
        for call in self.classes.waiting_for(place) {
            let losses = self.calls[&call].losses;
            self.finish(call, Outcome::TargetLost { losses }, out);
        }
    }

    /// Ends all calls. Hosts and workers stay for those that come.
    pub(super) fn give_up<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        let mut calls: Vec<_> = self.calls.keys().copied().collect();
        calls.sort_unstable();
        for call in calls {
            self.end_unasked(call, Outcome::Closed, out);
        }
    }

    pub(super) fn close<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        self.classes = super::Classes::new();
        self.hosts = super::Hosts::new(self.config.prefetch);
        self.reserved.clear();
        let mut left: Vec<_> = self.calls.drain().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        for (call, state) in left {
            if let Some(item) = state.item {
                let outcome = Outcome::Closed;
                out.push(Output::Finished {
                    call,
                    item,
                    outcome,
                });
            }
        }
    }
}
