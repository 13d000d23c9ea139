//! Starting what can be started, in order.
//!
//! Each class of calls is looked at by its first call, in the order of these, until no host is left
//! for what comes after. A call that cannot start yet reserves a host on the way; reservations are
//! made anew each time, the same host for the same call if it is still fit for it.

use std::sync::Arc;

use super::class::ClassId;
use super::worker::Front;
use super::{CallId, Core, HostId, Output, Place, Rank, State, WorkerId};

/// What a reservation is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reserved {
    Host(HostId),
    /// For a call that has to run there while another does.
    Worker(WorkerId),
}

/// What became of a call.
enum Turn {
    /// It is on its way.
    Started,
    /// Its class waits.
    Waits,
    /// All that comes after it waits.
    Over,
}

impl<T> Core<T> {
    /// Starts what can be started, and takes back what waits behind a running call while a
    /// worker has nothing to do.
    pub(crate) fn dispatch<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        self.start_io(out);
        let before = std::mem::take(&mut self.reserved);
        for (_, reserved) in &before {
            self.set_reserved(*reserved, None);
        }
        let mut after = None;
        while let Some((rank, class)) = self.classes.next(false, after) {
            match self.turn(rank, class, &before, out) {
                Turn::Started => {}
                Turn::Waits => after = Some((rank, class)),
                Turn::Over => break,
            }
        }
        self.rebalance(out);
    }

    fn start_io<R>(&mut self, out: &mut Vec<Output<T, R>>) {
        let mut after = None;
        while let Some((rank, class)) = self.classes.next(true, after) {
            let place = self.classes.get(class).place();
            let Some(worker) = self.hosts.worker_for_io(place) else {
                after = Some((rank, class));
                continue;
            };
            self.hosts.begin_io(worker, rank.call);
            self.start(rank, class, worker, out);
        }
    }

    fn turn<R>(
        &mut self,
        rank: Rank,
        class: ClassId,
        before: &[(Rank, Reserved)],
        out: &mut Vec<Output<T, R>>,
    ) -> Turn {
        let of = self.classes.get(class);
        let (place, ahead) = (of.place(), of.is_ahead());
        if let Some(worker) = self.hosts.free_worker(place, of.needs()) {
            let needs = Arc::clone(of.needs());
            if self.gives_way(rank.priority(), needs.cores(), out) {
                return Turn::Over;
            }
            let suspect = self.calls[&rank.call].suspect;
            let front = Front {
                rank,
                ahead,
                suspect,
            };
            self.hosts.begin(worker, front, &needs);
            self.start(rank, class, worker, out);
            Turn::Started
        } else if ahead {
            // Where it cannot start, nothing can that comes after it.
            self.send_ahead(rank, class, out)
        } else {
            self.reserve(rank, class, before, out);
            if self.hosts.all_reserved() {
                Turn::Over
            } else {
                Turn::Waits
            }
        }
    }

    fn send_ahead<R>(&mut self, rank: Rank, class: ClassId, out: &mut Vec<Output<T, R>>) -> Turn {
        self.recall_below(rank.priority(), out);
        let later = self.hosts.behind().highest() > Some(rank.priority());
        let most = match self.calls[&rank.call].bulky {
            true => self.config.bulky_prefetch,
            false => self.config.prefetch,
        };
        match self.hosts.worker_ahead(most) {
            // A worker would begin it while a call of higher priority waits at another.
            Some(worker) if !later => {
                self.hosts.send_ahead(worker, rank);
                self.start(rank, class, worker, out);
                Turn::Started
            }
            _ => Turn::Over,
        }
    }

    fn start<R>(
        &mut self,
        rank: Rank,
        class: ClassId,
        worker: WorkerId,
        out: &mut Vec<Output<T, R>>,
    ) {
        self.classes.remove(class, rank);
        let call = self.call(rank.call);
        call.attempt += 1;
        call.state = State::InFlight {
            at: worker,
            revoked: false,
        };
        let attempt = call.attempt;
        let call: CallId = rank.call;
        out.push(Output::Start {
            worker,
            call,
            attempt,
        });
    }

    /// Keeps a host, or a worker, free of what comes after this call, if there is one to keep.
    fn reserve<R>(
        &mut self,
        rank: Rank,
        class: ClassId,
        before: &[(Rank, Reserved)],
        out: &mut Vec<Output<T, R>>,
    ) {
        let of = self.classes.get(class);
        let reserved = match of.place() {
            // It waits for more than that others end.
            Place::Worker(id) if self.hosts.is_suspended(id) => None,
            Place::Worker(id) if self.hosts.is_busy(id) => Some(Reserved::Worker(id)),
            place => {
                let before = before.iter().find_map(|(first, reserved)| match reserved {
                    Reserved::Host(host) if *first == rank => Some(*host),
                    _ => None,
                });
                let host = self.hosts.to_reserve(place, of.needs(), before);
                host.map(Reserved::Host)
            }
        };
        let Some(reserved) = reserved else { return };
        self.set_reserved(reserved, Some(rank));
        self.reserved.push((rank, reserved));
        match reserved {
            Reserved::Worker(worker) => self.recall(worker, out),
            Reserved::Host(host) => {
                for worker in self.hosts.workers_of(host) {
                    self.recall(worker, out);
                }
            }
        }
    }

    fn set_reserved(&mut self, reserved: Reserved, rank: Option<Rank>) {
        match reserved {
            Reserved::Host(host) => self.hosts.reserve(host, rank),
            Reserved::Worker(worker) => self.hosts.reserve_worker(worker, rank),
        }
    }
}
