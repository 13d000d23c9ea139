//! Which call runs where: the scheduler's decisions, without sockets, clocks or tasks.
//!
//! [`Core`] is told what happened ([`Input`]) and answers with what to do ([`Output`]). It knows
//! calls and workers by number and keeps, for each call, a value `T` of its owner.
//!
//! # Contract
//!
//! - **First in, first out.** Calls start in the order submitted, to the least loaded worker.
//!   A call that comes back (its worker was lost, or gave it back) goes to its old place.
//! - **Slots and prefetch.** A worker is sent as many calls as it has slots, and, once all slots
//!   of all workers are taken, up to `prefetch` more, so that it need not wait for the next call
//!   between two. When a worker idles while another has calls waiting behind running ones, some
//!   of those are [revoked](Output::Revoke): a long call never holds up what was sent after it.
//! - **One result.** A call ends by exactly one [`Output::Finished`]. Every start of a call is an
//!   *attempt* with its own number; what is reported for another attempt than the current one, or
//!   for a call that has ended, changes nothing.
//! - **Lost workers.** A call in flight on a lost worker starts again elsewhere, at least once
//!   in all: it may have run on the lost worker too. A call that has lost its worker is a
//!   *suspect*, because it may be what kills workers: it runs alone on its worker from then
//!   on, so that it takes no other calls with it, and after `retries` more attempts it ends as
//!   [`Outcome::Abandoned`]. With `retries` 0 nothing is prefetched: every call in flight may have
//!   begun.
//! - **Cancelling** ends a call at once for its owner; its slot is free when the worker says so.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Numbers a call. Numbers rise in the order of submission and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallId(pub(crate) u64);

/// Numbers a worker process; never used twice within a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WorkerId(pub(crate) u32);

/// What may be configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// How many calls may wait at a worker behind those that run.
    pub(crate) prefetch: usize,
    /// How often a call runs again after its worker was lost.
    pub(crate) retries: u32,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input<T, R> {
    /// Somebody wants a call to run.
    Submit { call: CallId, item: T },
    /// A worker is there, with so many slots.
    WorkerReady { worker: WorkerId, slots: usize },
    /// A worker ran a call.
    Done {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
        result: R,
    },
    /// A worker gave back a call that it had not begun, or dropped it half way on request.
    Returned {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
    },
    /// A worker was asked to give back a call and has already begun it.
    Kept {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
    },
    /// A worker shall go: it gets nothing more, and gives back what it has not begun.
    Retire { worker: WorkerId },
    /// A worker is gone, with all calls that it had.
    WorkerLost { worker: WorkerId },
    /// The owner no longer wants the result.
    Cancel { call: CallId },
    /// No worker will ever come: every call that is left ends.
    Close,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output<T, R> {
    /// Send the call to the worker; its item is [`Core::item`].
    Start {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
    },
    /// Ask the worker to give the call back if it has not begun, and, with `abort`, even then.
    Revoke {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
        abort: bool,
    },
    /// A worker that shall go has nothing left to do.
    Retired { worker: WorkerId },
    /// The call's worker was lost; it starts again as soon as there is room.
    Retry { call: CallId, from: WorkerId },
    /// The call has ended: tell its owner.
    Finished {
        call: CallId,
        item: T,
        outcome: Outcome<R>,
    },
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<R> {
    /// A worker ran it, in attempts counted from 1.
    Done {
        worker: WorkerId,
        attempts: u32,
        result: R,
    },
    /// So many attempts lost their worker.
    Abandoned { worker: WorkerId, losses: u32 },
    /// Its owner cancelled it.
    Cancelled,
    /// The scheduler was closed first.
    Closed,
}

#[derive(Debug)]
struct Call<T> {
    /// `None` once cancelled: only the slot is still taken.
    item: Option<T>,
    attempt: u32,
    losses: u32,
    /// Was in flight on a worker that was lost.
    suspect: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    InFlight { worker: WorkerId, revoked: bool },
}

#[derive(Debug)]
struct Worker {
    slots: usize,
    /// In the order sent, which is the order in which the worker begins them.
    in_flight: VecDeque<CallId>,
    /// How many of them it has been asked to give back.
    revoked: usize,
    /// A suspect runs here: nothing else is sent.
    reserved: bool,
    /// It shall go: nothing else is sent.
    retiring: bool,
}

impl Worker {
    fn free(&self) -> usize {
        if self.reserved || self.retiring {
            0
        } else {
            self.slots.saturating_sub(self.in_flight.len())
        }
    }
}

/// The scheduler's state. `T` is what its owner keeps for a call, `R` what a worker reports.
#[derive(Debug)]
pub(crate) struct Core<T> {
    config: Config,
    calls: HashMap<CallId, Call<T>>,
    /// Calls that wait, oldest first. Those never started are in order by themselves; those that
    /// came back are older than all of these and few.
    fresh: VecDeque<CallId>,
    returned: BTreeSet<CallId>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Those that shall go and may.
    retired: Vec<WorkerId>,
}

impl<T> Core<T> {
    pub(crate) fn new(mut config: Config) -> Self {
        if config.retries == 0 {
            config.prefetch = 0;
        }
        Core {
            config,
            calls: HashMap::new(),
            fresh: VecDeque::new(),
            returned: BTreeSet::new(),
            workers: BTreeMap::new(),
            retired: Vec::new(),
        }
    }

    /// How many calls have not ended.
    pub(crate) fn open(&self) -> usize {
        self.calls.len()
    }

    /// Of these workers, one that does least, if it is not to go already.
    pub(crate) fn least_busy(&self, workers: impl Iterator<Item = WorkerId>) -> Option<WorkerId> {
        let busy = |id: WorkerId| {
            let worker = self.workers.get(&id).filter(|it| !it.retiring)?;
            Some((worker.in_flight.len(), id))
        };
        workers.filter_map(busy).min().map(|(_, id)| id)
    }

    /// What the owner keeps for a call; `None` when it has ended.
    pub(crate) fn item(&self, call: CallId) -> Option<&T> {
        self.calls.get(&call).and_then(|call| call.item.as_ref())
    }

    /// Takes note of `input` and appends what is to be done to `out`, in order.
    ///
    /// It does not start calls: that is [`dispatch`](Self::dispatch), once after a batch of inputs,
    /// so that a freed slot and a new call of the same batch meet.
    pub(crate) fn handle<R>(&mut self, input: Input<T, R>, out: &mut Vec<Output<T, R>>) {
        match input {
            Input::Submit { call, item } => self.submit(call, item),
            Input::WorkerReady { worker, slots } => self.worker_ready(worker, slots),
            Input::Done {
                worker,
                call,
                attempt,
                result,
            } => {
                self.done(worker, call, attempt, result, out);
            }
            Input::Returned {
                worker,
                call,
                attempt,
            } => self.give_back(worker, call, attempt),
            Input::Kept {
                worker,
                call,
                attempt,
            } => self.kept(worker, call, attempt),
            Input::Retire { worker } => self.retire(worker, out),
            Input::WorkerLost { worker } => self.worker_lost(worker, out),
            Input::Cancel { call } => self.cancel(call, out),
            Input::Close => self.close(out),
        }
    }

    fn submit(&mut self, id: CallId, item: T) {
        let call = Call {
            item: Some(item),
            attempt: 0,
            losses: 0,
            suspect: false,
            state: State::Queued,
        };
        self.calls.insert(id, call);
        self.fresh.push_back(id);
    }

    fn worker_ready(&mut self, worker: WorkerId, slots: usize) {
        self.workers.entry(worker).or_insert(Worker {
            slots: slots.max(1),
            in_flight: VecDeque::new(),
            revoked: 0,
            reserved: false,
            retiring: false,
        });
    }

    /// Ends the stay of this attempt of a call at a worker; `false` when it was not there.
    fn leave(&mut self, worker: WorkerId, id: CallId, attempt: u32) -> bool {
        let Some(call) = self.calls.get(&id) else {
            return false;
        };
        let State::InFlight {
            worker: at,
            revoked,
        } = call.state
        else {
            return false;
        };
        if at != worker || call.attempt != attempt {
            return false;
        }
        let suspect = call.suspect;
        let here = self.worker(worker);
        let place = here.in_flight.iter().position(|other| *other == id);
        // Nearly always the first: a worker begins calls in order.
        here.in_flight
            .remove(place.expect("the worker's list has every call that is there"));
        here.revoked -= usize::from(revoked);
        here.reserved &= !suspect;
        if here.retiring && here.in_flight.is_empty() {
            self.retired.push(worker);
        }
        true
    }

    fn done<R>(
        &mut self,
        worker: WorkerId,
        id: CallId,
        attempt: u32,
        result: R,
        out: &mut Vec<Output<T, R>>,
    ) {
        if !self.leave(worker, id, attempt) {
            return;
        }
        let call = self
            .calls
            .remove(&id)
            .expect("a call that left a worker is known");
        if let Some(item) = call.item {
            let outcome = Outcome::Done {
                worker,
                attempts: attempt,
                result,
            };
            out.push(Output::Finished {
                call: id,
                item,
                outcome,
            });
        }
    }

    fn give_back(&mut self, worker: WorkerId, id: CallId, attempt: u32) {
        if self.leave(worker, id, attempt) {
            self.requeue(id);
        }
    }

    fn kept(&mut self, worker: WorkerId, id: CallId, attempt: u32) {
        if let Some(call) = self.calls.get_mut(&id)
            && call.attempt == attempt
            && call.state
                == (State::InFlight {
                    worker,
                    revoked: true,
                })
        {
            call.state = State::InFlight {
                worker,
                revoked: false,
            };
            self.worker(worker).revoked -= 1;
        }
    }

    /// The worker of a call in flight.
    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        self.workers
            .get_mut(&id)
            .expect("a call in flight is at a known worker")
    }

    /// Puts a call that left its worker back in its place, or forgets it if it was cancelled.
    fn requeue(&mut self, id: CallId) {
        let call = self
            .calls
            .get_mut(&id)
            .expect("a call that left a worker is known");
        if call.item.is_some() {
            call.state = State::Queued;
            self.returned.insert(id);
        } else {
            self.calls.remove(&id);
        }
    }

    fn retire<R>(&mut self, id: WorkerId, out: &mut Vec<Output<T, R>>) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        worker.retiring = true;
        if worker.in_flight.is_empty() {
            self.retired.push(id);
        }
        let behind: Vec<_> = worker
            .in_flight
            .iter()
            .copied()
            .skip(worker.slots)
            .collect();
        for call in behind {
            self.revoke(id, call, out);
        }
    }

    /// Asks for a call that has not begun, as far as is known.
    fn revoke<R>(&mut self, worker: WorkerId, id: CallId, out: &mut Vec<Output<T, R>>) {
        let call = self.calls.get_mut(&id).expect("a call in flight is known");
        let revoked = State::InFlight {
            worker,
            revoked: true,
        };
        if call.state == revoked || call.item.is_none() {
            return;
        }
        call.state = revoked;
        let attempt = call.attempt;
        self.worker(worker).revoked += 1;
        out.push(Output::Revoke {
            worker,
            call: id,
            attempt,
            abort: false,
        });
    }

    fn worker_lost<R>(&mut self, worker: WorkerId, out: &mut Vec<Output<T, R>>) {
        let Some(lost) = self.workers.remove(&worker) else {
            return;
        };
        for (place, id) in lost.in_flight.into_iter().enumerate() {
            let call = self.calls.get_mut(&id).expect("a call in flight is known");
            call.suspect = true;
            // Those behind had not begun, unless results were lost with the worker; then the next
            // attempt, alone, will tell.
            if place < lost.slots {
                call.losses += 1;
            }
            let losses = call.losses;
            if losses > self.config.retries {
                let call = self.calls.remove(&id).expect("it was there a line ago");
                if let Some(item) = call.item {
                    let outcome = Outcome::Abandoned { worker, losses };
                    out.push(Output::Finished {
                        call: id,
                        item,
                        outcome,
                    });
                }
                continue;
            }
            if call.item.is_some() {
                out.push(Output::Retry {
                    call: id,
                    from: worker,
                });
            }
            self.requeue(id);
        }
    }

    fn cancel<R>(&mut self, id: CallId, out: &mut Vec<Output<T, R>>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Some(item) = call.item.take() else {
            return;
        };
        out.push(Output::Finished {
            call: id,
            item,
            outcome: Outcome::Cancelled,
        });
        match &mut call.state {
            // Its place in the queue is skipped when its turn comes.
            State::Queued => {
                self.returned.remove(&id);
                self.calls.remove(&id);
            }
            State::InFlight { worker, revoked } => {
                let (worker, attempt) = (*worker, call.attempt);
                // It is no longer one that comes back to run elsewhere.
                if std::mem::take(revoked) {
                    self.worker(worker).revoked -= 1;
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

    fn close<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        self.fresh.clear();
        self.returned.clear();
        self.workers.clear();
        let mut left: Vec<_> = self.calls.drain().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        for (call, state) in left {
            if let Some(item) = state.item {
                out.push(Output::Finished {
                    call,
                    item,
                    outcome: Outcome::Closed,
                });
            }
        }
    }

    /// Starts what can be started, and takes back what waits behind a running call while a
    /// worker has nothing to do.
    pub(crate) fn dispatch<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        let retired = self.retired.drain(..);
        out.extend(retired.map(|worker| Output::Retired { worker }));
        while let Some(id) = self.first_waiting() {
            let suspect = self.calls[&id].suspect;
            // A suspect waits for an idle worker, and everything after it waits too: otherwise
            // there might never be one.
            let Some(worker) = self.place_for(suspect) else {
                break;
            };
            if !self.returned.remove(&id) {
                self.fresh.pop_front();
            }
            self.start(id, worker, out);
        }
        if self.returned.is_empty() && self.fresh.is_empty() {
            self.rebalance(out);
        }
    }

    /// The oldest call that waits.
    fn first_waiting(&mut self) -> Option<CallId> {
        // Cancelled calls leave their place behind.
        while let Some(id) = self.fresh.front() {
            if self.calls.contains_key(id) {
                break;
            }
            self.fresh.pop_front();
        }
        let returned = self.returned.first().copied();
        match (returned, self.fresh.front().copied()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// A worker for the next call: one with a free slot if there is, else one with room for
    /// prefetching; the least loaded first.
    fn place_for(&self, suspect: bool) -> Option<WorkerId> {
        if suspect {
            let idle = self
                .workers
                .iter()
                .find(|(_, worker)| worker.in_flight.is_empty() && !worker.retiring);
            return idle.map(|(id, _)| *id);
        }
        let (id, worker) = self
            .workers
            .iter()
            .filter(|(_, worker)| !worker.reserved && !worker.retiring)
            .min_by_key(|(_, worker)| {
                let load = worker.in_flight.len() * 1024 / worker.slots;
                (worker.free() == 0, load)
            })?;
        (worker.in_flight.len() < worker.slots + self.config.prefetch).then_some(*id)
    }

    fn start<R>(&mut self, id: CallId, worker: WorkerId, out: &mut Vec<Output<T, R>>) {
        let call = self.calls.get_mut(&id).expect("a waiting call is known");
        call.attempt += 1;
        call.state = State::InFlight {
            worker,
            revoked: false,
        };
        let place = self.workers.get_mut(&worker).expect("it was just chosen");
        place.in_flight.push_back(id);
        place.reserved |= call.suspect;
        out.push(Output::Start {
            worker,
            call: id,
            attempt: call.attempt,
        });
    }

    /// With nothing waiting here: asks for calls that wait behind running ones, one for each free
    /// slot elsewhere, the latest sent first.
    fn rebalance<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        let mut wanted: usize = self.workers.values().map(Worker::free).sum();
        // Those that are already on their way back will fill some.
        let expected: usize = self.workers.values().map(|worker| worker.revoked).sum();
        wanted = wanted.saturating_sub(expected);
        while wanted > 0
            && let Some((worker, id)) = self.behind()
        {
            self.revoke(worker, id, out);
            wanted -= 1;
        }
    }

    /// Of the worker where most calls wait behind running ones, the one that was sent last.
    fn behind(&self) -> Option<(WorkerId, CallId)> {
        // Not those that are on their way back already, nor those that nobody wants.
        let movable = |worker: WorkerId, id: CallId| {
            let call = &self.calls[&id];
            let revoked = false;
            call.state == State::InFlight { worker, revoked } && call.item.is_some()
        };
        let last_of_each = self.workers.iter().filter_map(|(worker, state)| {
            let behind = state.in_flight.iter().copied().skip(state.slots);
            let mut behind = behind.filter(|id| movable(*worker, *id));
            let last = behind.next_back()?;
            Some((behind.count(), *worker, last))
        });
        last_of_each.max().map(|(_, worker, call)| (worker, call))
    }
}

#[cfg(test)]
mod tests;
