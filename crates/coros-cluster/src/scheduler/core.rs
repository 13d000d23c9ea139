//! Which call runs where: the scheduler's decisions, without sockets, clocks or tasks.
//!
//! [`Core`] is told what happened ([`Input`]) and answers with what to do ([`Output`]). It knows
//! calls, workers and hosts by number and keeps, for each call, a value `T` of its owner.
//!
//! # Contract
//!
//! - **Room.** A *host* is a machine with room for so much ([`Resources`]). A worker is a process
//!   on a host and runs one CPU-bound call at a time. What all calls that run on a host need is
//!   never more than its room. A room that shrinks takes nothing away; nothing more starts until
//!   it is enough again.
//! - **Order.** Calls start by priority, the higher first, and then in the order submitted. A call
//!   that comes back (its worker was lost, or gave it back) goes to its old place. Where a call
//!   could be but does not fit yet, one host is *reserved* for it: nothing that comes after it
//!   starts there before it has. On other hosts later calls go on.
//! - **Prefetch.** When no worker is free, calls that need one core and nothing else are sent
//!   ahead: up to `prefetch` wait at a worker behind a call of the same kind, so that it need not
//!   wait for the next call between two; a bulky one only as one of the first few. They are
//!   [asked back](Output::Revoke) when a worker has nothing to do, when a call of higher priority or
//!   one with a reservation comes before them: a long call never holds up what was sent after it.
//! - **Places.** A call may have to run on a certain host or worker. When that is gone, or goes,
//!   the call ends as [`Outcome::TargetLost`].
//! - **Suspended workers** begin nothing until they are resumed: what runs there goes on, what waits behind it is asked
//!   back, and calls that have to run there wait. A suspended worker keeps its slot.
//! - **io calls** are many at one worker, beside its CPU-bound call, and take no room. They never
//!   wait while there is a worker, and go where there are the fewest.
//! - **One result.** A call ends by exactly one [`Output::Finished`]. Every start of a call is an
//!   *attempt* with its own number; what is reported for another attempt than the current one, or
//!   for a call that has ended, changes nothing.
//! - **Lost workers.** A call in flight on a lost worker starts again elsewhere, at least once in
//!   all: it may have run on the lost worker too. A CPU-bound call that has lost its worker is a
//!   *suspect*, because it may be what kills workers: it runs alone from then on, so that it
//!   takes no other calls with it, and after its retries it ends as [`Outcome::Abandoned`]. io
//!   calls are never suspects: running alone is not what they are for, and they may run for ever.
//!   Each lost worker counts for all io calls there, but not beside a suspect, which is then to
//!   blame. A call without retries is never prefetched, since it could not be told whether it had
//!   begun.
//! - **Ending calls.** Cancelling ends a call at once for its owner; its room is free when the worker
//!   says so. A call that computes on though it is cancelled or its time is over costs its worker,
//!   which is [killed](Output::Kill); the other calls there run again elsewhere and nothing is held
//!   against them.

mod call;
mod class;
mod demand;
mod dispatch;
mod end;
mod hosts;
mod ranking;
mod recall;
mod worker;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use self::call::{Call, State};
use self::class::{Classes, Kind};
use self::dispatch::Reserved;
use self::hosts::Hosts;
use crate::resources::Resources;

pub(crate) use self::call::{Options, Place, Rank};
pub(crate) use self::demand::Local;

/// Numbers a call. Numbers rise in the order of submission and are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallId(pub(crate) u64);

/// Numbers a worker process; never used twice within a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WorkerId(pub(crate) u32);

/// Numbers a machine on which workers run; never used twice within a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct HostId(pub(crate) u32);

/// What may be configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// How many calls may wait at a worker behind the one that runs.
    pub(crate) prefetch: usize,
    /// Where so many wait, no bulky one is sent ahead.
    pub(crate) bulky_prefetch: usize,
    /// How often a call runs again after its worker was lost, unless it says otherwise.
    pub(crate) retries: u32,
    /// Whether a call waits for a host that has room for it, when there is none at present.
    pub(crate) hosts_may_come: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input<T, R> {
    /// Somebody wants a call to run; `None` if as most do.
    Submit {
        call: CallId,
        item: T,
        /// Many of them would take too much memory at a worker.
        bulky: bool,
        options: Option<Box<Options>>,
    },
    /// A host is there, or has another room than before, or could have.
    HostRoom {
        host: HostId,
        room: Resources,
        /// As much as it can have at most.
        could: Resources,
    },
    /// A host is gone, with all its workers.
    HostLost { host: HostId },
    /// A worker is there. Its host is known.
    WorkerReady { worker: WorkerId, host: HostId },
    /// A worker shall begin no calls for the time being, or may again.
    Suspend { worker: WorkerId, suspended: bool },
    /// A worker shall get no more calls, and end when it has none left.
    Retire { worker: WorkerId },
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
    /// A worker dropped a call half way because its time was over.
    TimedOut {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
    },
    /// A worker was to drop a call, which was cancelled or whose time was over, and cannot. It
    /// begins no other CPU-bound call.
    Stuck {
        worker: WorkerId,
        call: CallId,
        attempt: u32,
    },
    /// A worker is gone, with all calls that it had.
    WorkerLost { worker: WorkerId },
    /// The owner no longer wants the result.
    Cancel { call: CallId },
    /// Nobody waits any longer: every call that is left ends, for all who wanted its result.
    GiveUp,
    /// A call has waited for long enough for a host that can have room for it.
    NoneCame { call: CallId },
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
    /// Kill the worker, because this call neither ends nor can be dropped; whether its time is
    /// over, else it was cancelled.
    Kill {
        worker: WorkerId,
        call: CallId,
        timed_out: bool,
    },
    /// The call's worker was lost; it starts again as soon as there is room. Whether it ran there, as far as is
    /// known; else it only waited, and that counts for nothing. And which attempt it was.
    Retry {
        call: CallId,
        from: WorkerId,
        ran: bool,
        attempts: u32,
    },
    /// The call needs more than any host has; it waits for one. Said once of a call.
    Unplaceable { call: CallId },
    /// The worker that was to retire has nothing left to do.
    Retired { worker: WorkerId },
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
    /// A worker ran it; it has begun so often, as far as is known.
    Done {
        worker: WorkerId,
        attempts: u32,
        result: R,
    },
    /// It ran longer than it may.
    TimedOut { worker: WorkerId, attempts: u32 },
    /// So many attempts lost their worker.
    Abandoned { worker: WorkerId, losses: u32 },
    /// The host or worker where it had to run is gone; it had begun so often, as far as is known.
    TargetLost { losses: u32 },
    /// No host has room for what it needs, and none will come, or none came.
    NoRoom { needs: Resources },
    /// Its owner cancelled it.
    Cancelled,
    /// The scheduler was closed first.
    Closed,
}

/// The scheduler's state. `T` is what its owner keeps for a call, `R` what a worker reports.
#[derive(Debug)]
pub(crate) struct Core<T> {
    config: Config,
    calls: HashMap<CallId, Call<T>>,
    classes: Classes,
    hosts: Hosts,
    /// For which calls what is reserved, as of the last [`dispatch`](Self::dispatch).
    reserved: Vec<(Rank, Reserved)>,
    /// Those that wait again since a moment ago.
    enqueued: Vec<CallId>,
}

impl<T> Core<T> {
    pub(crate) fn new(config: Config) -> Self {
        Core {
            config,
            calls: HashMap::new(),
            classes: Classes::new(),
            hosts: Hosts::new(config.prefetch),
            reserved: Vec::new(),
            enqueued: Vec::new(),
        }
    }

    /// What the owner keeps for a call; `None` when it has ended.
    pub(crate) fn item(&self, call: CallId) -> Option<&T> {
        self.calls.get(&call).and_then(|call| call.item.as_ref())
    }

    pub(crate) fn item_mut(&mut self, call: CallId) -> Option<&mut T> {
        self.calls
            .get_mut(&call)
            .and_then(|call| call.item.as_mut())
    }

    /// How often a call has begun, if this attempt of it is at this worker and has.
    pub(crate) fn begun(&self, worker: WorkerId, call: CallId, attempt: u32) -> Option<u32> {
        self.find(worker, call, attempt)?;
        Some(self.attempts(call))
    }

    /// How often a call that runs has begun, as far as is known: each time but the last its worker was lost. It may
    /// have been sent to workers that had no time for it, too.
    fn attempts(&self, call: CallId) -> u32 {
        self.calls[&call].losses + 1
    }

    /// Whether a worker has any call.
    pub(crate) fn is_busy(&self, worker: WorkerId) -> bool {
        let worker = self.hosts.get(worker);
        worker.is_some_and(|it| it.load() > 0 || !it.io.is_empty())
    }

    /// Whether a worker has a CPU-bound call.
    pub(crate) fn computes(&self, worker: WorkerId) -> bool {
        self.hosts.is_busy(worker)
    }

    /// Whether any call has not ended.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// How many calls run, as far as is known, and how many wait, here or at a worker.
    pub(crate) fn count(&self) -> (usize, usize) {
        let running = self.hosts.running();
        (running, self.calls.len().saturating_sub(running))
    }

    /// How many cores of a host are in use, with those that suspended workers keep; at least one if any call runs there.
    pub(crate) fn taken(&self, host: HostId) -> usize {
        self.hosts.taken_cores(host)
    }

    /// A worker of a host that runs no CPU-bound call, a suspended one last; `None` when there is none that takes calls.
    pub(crate) fn idle(&self, host: HostId) -> Option<WorkerId> {
        self.hosts.idle(host)
    }

    /// Takes note of `input` and appends what is to be done to `out`, in order.
    ///
    /// It does not start calls: that is [`dispatch`](Self::dispatch), once after a batch of inputs,
    /// so that a free worker and a new call of the same batch meet.
    pub(crate) fn handle<R>(&mut self, input: Input<T, R>, out: &mut Vec<Output<T, R>>) {
        match input {
            Input::Submit {
                call,
                item,
                bulky,
                options,
            } => self.submit(call, item, bulky, options, out),
            Input::HostRoom { host, room, could } => {
                self.hosts.set_room(host, room, could);
                for worker in self.hosts.workers_of(host) {
                    self.recall(worker, out);
                }
                self.look_for_room(out);
            }
            Input::HostLost { host } => self.host_lost(host, out),
            Input::WorkerReady { worker, host } => self.hosts.ready(worker, host),
            Input::Suspend { worker, suspended } => self.suspend(worker, suspended, out),
            Input::Retire { worker } => self.retire(worker, out),
            Input::Done {
                worker,
                call,
                attempt,
                result,
            } => {
                if self.leave(worker, call, attempt, out) {
                    let attempts = self.attempts(call);
                    let outcome = Outcome::Done {
                        worker,
                        attempts,
                        result,
                    };
                    self.finish(call, outcome, out);
                }
            }
            Input::Returned {
                worker,
                call,
                attempt,
            } => {
                if self.leave(worker, call, attempt, out) {
                    self.requeue(call);
                }
            }
            Input::Kept {
                worker,
                call,
                attempt,
            } => self.kept(worker, call, attempt, out),
            Input::TimedOut {
                worker,
                call,
                attempt,
            } => {
                if self.leave(worker, call, attempt, out) {
                    let attempts = self.attempts(call);
                    self.finish(call, Outcome::TimedOut { worker, attempts }, out);
                }
            }
            Input::Stuck {
                worker,
                call,
                attempt,
            } => self.stuck(worker, call, attempt, out),
            Input::WorkerLost { worker } => self.worker_lost(worker, out),
            Input::Cancel { call } => self.end_unasked(call, Outcome::Cancelled, out),
            Input::GiveUp => self.give_up(out),
            Input::NoneCame { call } => {
                if self.is_hopeless(call) {
                    self.no_room(call, out);
                }
            }
            Input::Close => self.close(out),
        }
        self.look_at_enqueued(out);
    }

    fn submit<R>(
        &mut self,
        id: CallId,
        item: T,
        bulky: bool,
        options: Option<Box<Options>>,
        out: &mut Vec<Output<T, R>>,
    ) {
        // The client of a service may use a number again that it has cancelled, and the call may still be at a worker.
        if self.calls.contains_key(&id) {
            return out.push(Output::Finished {
                call: id,
                item,
                outcome: Outcome::Cancelled,
            });
        }
        let options = options.map_or_else(Options::default, |options| *options);
        if !self.hosts.takes_calls(options.place) {
            let outcome = Outcome::TargetLost { losses: 0 };
            return out.push(Output::Finished {
                call: id,
                item,
                outcome,
            });
        }
        let retries = options.retries.unwrap_or(self.config.retries);
        let priority = options.priority;
        let class = self.classes.enter(Kind::new(options, retries), &self.hosts);
        let call = Call {
            item: Some(item),
            class,
            priority,
            retries,
            attempt: 0,
            losses: 0,
            suspect: false,
            bulky,
            told_unplaceable: false,
            state: State::Queued,
        };
        self.classes.push(class, call.rank(id));
        self.calls.insert(id, call);
        if self.classes.get(class).is_hopeless() {
            self.unplaceable(id, out);
        }
    }

    /// Puts a call that is not in flight into its place among those that wait.
    fn enqueue(&mut self, id: CallId) {
        let call = self.call(id);
        call.state = State::Queued;
        let (class, rank) = (call.class, call.rank(id));
        self.classes.push(class, rank);
        self.enqueued.push(id);
    }

    /// Tells of those that wait again for what no host can have: when all that an input means for hosts is known.
    fn look_at_enqueued<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        for id in std::mem::take(&mut self.enqueued) {
            if self.is_hopeless(id) {
                self.unplaceable(id, out);
            }
        }
    }

    /// Whether a call waits for which no host can have room.
    fn is_hopeless(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| {
            call.state == State::Queued && self.classes.get(call.class).is_hopeless()
        })
    }

    /// A call waits for which no host can have room.
    fn unplaceable<R>(&mut self, id: CallId, out: &mut Vec<Output<T, R>>) {
        if self.config.hosts_may_come {
            let told = &mut self.call(id).told_unplaceable;
            if !std::mem::replace(told, true) {
                out.push(Output::Unplaceable { call: id });
            }
        } else {
            self.no_room(id, out);
        }
    }

    fn no_room<R>(&mut self, id: CallId, out: &mut Vec<Output<T, R>>) {
        let class = self.call(id).class;
        let needs = (**self.classes.get(class).needs()).clone();
        self.finish(id, Outcome::NoRoom { needs }, out);
    }

    /// Finds out anew for which calls there is room, after hosts or their room have changed.
    fn look_for_room<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        let changes = self.classes.look_for_room(&self.hosts);
        for rank in changes.hopeful {
            self.call(rank.call).told_unplaceable = false;
        }
        for rank in changes.hopeless {
            self.unplaceable(rank.call, out);
        }
    }

    /// Ends the stay of this attempt of a call at a worker; `false` when it was not there.
    fn leave<R>(
        &mut self,
        worker: WorkerId,
        id: CallId,
        attempt: u32,
        out: &mut Vec<Output<T, R>>,
    ) -> bool {
        let Some((call, revoked)) = self.find(worker, id, attempt) else {
            return false;
        };
        let (class, rank, wanted) = (call.class, call.rank(id), call.item.is_some());
        if self.classes.get(class).is_io() {
            self.hosts.leave_io(worker, id);
        } else if revoked {
            self.hosts.leave_revoked(worker, rank, wanted);
        } else {
            self.hosts.leave(worker, rank);
        }
        if self.hosts.has_retired(worker) {
            out.push(Output::Retired { worker });
        }
        true
    }

    /// This attempt of a call, and whether it has been asked back; `None` when it is not at this
    /// worker.
    fn find(&self, worker: WorkerId, id: CallId, attempt: u32) -> Option<(&Call<T>, bool)> {
        let call = self.calls.get(&id)?;
        match call.state {
            State::InFlight { at, revoked } if at == worker && call.attempt == attempt => {
                Some((call, revoked))
            }
            _ => None,
        }
    }

    /// Puts a call that left its worker back in its place, or forgets it if it was cancelled.
    fn requeue(&mut self, id: CallId) {
        if self.calls[&id].item.is_some() {
            self.enqueue(id);
        } else {
            self.forget(id);
        }
    }

    #[cfg(test)]
    fn assert_empty(&self) {
        assert!(self.calls.is_empty());
        self.classes.assert_empty();
        self.hosts.assert_empty();
    }

    fn call(&mut self, id: CallId) -> &mut Call<T> {
        self.calls.get_mut(&id).expect("the caller knows the call")
    }
}

#[cfg(test)]
mod tests;
