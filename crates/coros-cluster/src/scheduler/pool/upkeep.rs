//! Who prepares a host, and who tidies it up.

use std::time::Instant;

use super::{Config, Output, Pool, Process, Purpose};
use crate::scheduler::core::WorkerId;

/// How far the host is prepared for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// Not at all: the next one has to do that.
    Bare,
    /// They may come and go.
    Prepared,
    /// This one is the last, and is told so when it is alone.
    Leaving(WorkerId),
    /// It has been told, or was started for that.
    TidyingUp(WorkerId),
}

impl Upkeep {
    pub(super) fn at_first(config: &Config) -> Self {
        match config.prepares {
            true => Upkeep::Bare,
            false => Upkeep::Prepared,
        }
    }
}

impl Pool {
    /// Has somebody come to tidy up what was prepared, if nobody else is left to do that or to work there.
    pub(super) fn tidy_up(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Config {
            prepares,
            tidies_up,
            ..
        } = self.config;
        let nobody = self.processes.is_empty() && (self.closing || self.wanted == 0);
        if prepares && tidies_up && nobody && self.upkeep == Upkeep::Prepared {
            let deadline = now + self.config.start_limit + self.config.grace;
            let worker = self.launch(deadline, Purpose::TidyUp, out);
            self.upkeep = Upkeep::TidyingUp(worker);
        }
    }

    /// Whether a worker that is to go leaves nobody behind, where that makes a difference.
    pub(super) fn is_last(&self, worker: WorkerId) -> bool {
        // When all end, who is not ready yet is killed.
        let stays = |process: &Process| {
            let comes = process.ready.is_some() || !self.closing;
            process.is_live() && !process.dismissed && comes
        };
        let mut others = self.processes.iter().filter(|(id, _)| **id != worker);
        let prepared = self.upkeep == Upkeep::Prepared;
        self.config.tidies_up && prepared && !others.any(|(_, process)| stays(process))
    }

    /// After a worker is gone.
    pub(super) fn see_to_last(&mut self, now: Instant, gone: WorkerId, out: &mut Vec<Output>) {
        match self.upkeep {
            Upkeep::Leaving(last) if last == gone => self.upkeep = Upkeep::Prepared,
            Upkeep::TidyingUp(last) if last == gone => {
                self.upkeep = Upkeep::at_first(&self.config);
            }
            _ => self.tell_last(now, out),
        }
    }

    /// Has the last one tidy up if it is alone.
    pub(super) fn tell_last(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Upkeep::Leaving(last) = self.upkeep
            && self.processes.len() == 1
            && self.processes.values().all(Process::listens)
        {
            self.upkeep = Upkeep::TidyingUp(last);
            self.dismiss(now, last, true, out);
        }
    }
}
