//! A worker and its link, simulated.

use std::collections::{BTreeMap, VecDeque};

use super::super::{CallId, Input, Rank, WorkerId};

pub(super) type In = Input<u64, u64>;

/// A worker process as the contract describes it, with its two directions of the link.
#[derive(Default)]
pub(super) struct FakeWorker {
    pub(super) to: VecDeque<ToWorker>,
    pub(super) from: VecDeque<In>,
    queue: BTreeMap<Rank, u32>,
    running: Option<(CallId, u32)>,
    io: Vec<(CallId, u32)>,
    /// A call is stuck: nothing else begins.
    doomed: bool,
    /// That this is so has yet to be said.
    stuck: Option<In>,
    pub(super) dead: bool,
}

pub(super) enum ToWorker {
    Start {
        rank: Rank,
        attempt: u32,
        io: bool,
    },
    Revoke {
        call: CallId,
        attempt: u32,
        abort: bool,
    },
}

/// Every third call is none that can be dropped once it has begun.
fn can_be_dropped(call: CallId) -> bool {
    !call.0.is_multiple_of(3)
}

impl FakeWorker {
    /// Takes the next message off the link.
    pub(super) fn receive(&mut self, me: WorkerId) {
        self.from.extend(self.stuck.take());
        match self.to.pop_front() {
            Some(ToWorker::Start {
                rank,
                attempt,
                io: true,
            }) => self.io.push((rank.call, attempt)),
            Some(ToWorker::Start { rank, attempt, .. }) => {
                self.queue.insert(rank, attempt);
            }
            Some(ToWorker::Revoke {
                call,
                attempt,
                abort,
            }) => self.revoke(me, call, attempt, abort),
            None => {}
        }
        self.begin();
    }

    fn revoke(&mut self, me: WorkerId, call: CallId, attempt: u32, abort: bool) {
        let (worker, it) = (me, (call, attempt));
        let returned = In::Returned {
            worker,
            call,
            attempt,
        };
        let mut queued = self.queue.iter();
        if let Some(rank) = queued.find(|(rank, n)| (rank.call, **n) == it) {
            let rank = *rank.0;
            self.queue.remove(&rank);
            self.from.push_back(returned);
        } else if let Some(place) = self.io.iter().position(|io| *io == it) {
            assert!(abort, "io calls are not moved");
            self.io.remove(place);
            self.from.push_back(returned);
        } else if self.running == Some(it) {
            if !abort {
                self.from.push_back(In::Kept {
                    worker,
                    call,
                    attempt,
                });
            } else if can_be_dropped(call) {
                self.running = None;
                self.from.push_back(returned);
            } else {
                self.stuck(me, it);
            }
        }
    }

    fn stuck(&mut self, worker: WorkerId, (call, attempt): (CallId, u32)) {
        self.doomed = true;
        self.stuck = Some(In::Stuck {
            worker,
            call,
            attempt,
        });
    }

    fn begin(&mut self) {
        if self.running.is_none() && !self.doomed {
            let next = self.queue.pop_first();
            self.running = next.map(|(rank, attempt)| (rank.call, attempt));
        }
    }

    fn pick(&mut self, which: usize) -> Option<((CallId, u32), bool)> {
        let all = self.io.len() + usize::from(self.running.is_some());
        match which.checked_rem(all)? {
            n if n < self.io.len() => Some((self.io.remove(n), true)),
            _ => self.running.take().map(|it| (it, false)),
        }
    }

    /// Ends one of the calls that run. Of one that is stuck nothing more is to be said, and may be nevertheless.
    pub(super) fn finish(&mut self, worker: WorkerId, which: usize) {
        if let Some(((call, attempt), io)) = self.pick(which)
            && (io || !self.doomed || which.is_multiple_of(2))
        {
            self.from.push_back(In::Done {
                worker,
                call,
                attempt,
                result: call.0 * 10,
            });
        }
        self.begin();
    }

    /// The time of one of the calls that run is over.
    pub(super) fn time_out(&mut self, worker: WorkerId, which: usize) {
        if let Some((it, io)) = self.pick(which) {
            let (call, attempt) = it;
            if io || can_be_dropped(call) {
                self.from.push_back(In::TimedOut {
                    worker,
                    call,
                    attempt,
                });
            } else {
                self.running = Some(it);
                self.stuck(worker, it);
            }
        }
        self.begin();
    }
}

pub(super) fn copy(report: &In) -> In {
    macro_rules! copy {
        ($($kind:ident),*) => {
            match *report {
                In::Done { worker, call, attempt, result } => {
                    In::Done { worker, call, attempt, result }
                }
                $(In::$kind { worker, call, attempt } => In::$kind { worker, call, attempt },)*
                _ => unreachable!("workers report nothing else"),
            }
        };
    }
    copy!(Returned, Kept, TimedOut, Stuck)
}
