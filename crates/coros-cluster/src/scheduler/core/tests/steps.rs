//! What can happen in a world, one thing at a time.

use super::super::{CallId, Input, WorkerId};
use super::worker::{FakeWorker, copy};
use super::world::World;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Submit(u64),
    NewWorker(usize),
    Receive(usize),
    Finish(usize, usize),
    Report(usize, bool),
    Crash(usize),
    Lost(usize),
    Cancel(usize),
    /// An old report comes once more.
    Replay(usize),
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit(n) => (0..n).for_each(|_| self.submit()),
            Step::NewWorker(slots) => self.new_worker(slots),
            Step::Receive(n) => self.with_worker(n, FakeWorker::receive),
            Step::Finish(n, which) => self.with_worker(n, |worker, id| worker.finish(id, which)),
            Step::Report(n, twice) => {
                if let Some(id) = pick(&self.alive(), n)
                    && let Some(report) = self.worker(id).from.pop_front()
                {
                    self.report(report, twice);
                }
            }
            Step::Crash(n) => self.with_worker(n, |worker, _| worker.dead = true),
            Step::Lost(n) => self.lose(n),
            Step::Replay(n) => {
                if !self.delivered.is_empty() {
                    let old = copy(&self.delivered[n % self.delivered.len()]);
                    self.tell(old);
                }
            }
            Step::Cancel(n) => {
                if self.submitted > 0 {
                    let call = CallId(n as u64 % self.submitted);
                    self.tell(Input::Cancel { call });
                }
            }
        }
    }

    fn submit(&mut self) {
        let item = self.submitted;
        self.submitted += 1;
        let call = CallId(item);
        self.tell(Input::Submit { call, item });
    }

    fn new_worker(&mut self, slots: usize) {
        let worker = WorkerId(self.next_worker);
        self.next_worker += 1;
        self.workers.insert(worker, FakeWorker::new(slots));
        self.tell(Input::WorkerReady { worker, slots });
    }

    /// The core learns of one of the workers that have crashed.
    fn lose(&mut self, n: usize) {
        let mut dead = self.alive();
        dead.retain(|id| self.workers[id].dead);
        let Some(worker) = pick(&dead, n) else { return };
        self.tell(Input::WorkerLost { worker });
        // What was still on its way comes too late and must change nothing.
        let late = std::mem::take(&mut self.worker(worker).from);
        for report in late {
            self.report(report, false);
        }
    }

    /// Those of which the core does not know yet that they are lost.
    fn alive(&self) -> Vec<WorkerId> {
        self.in_flight.keys().copied().collect()
    }

    fn worker(&mut self, id: WorkerId) -> &mut FakeWorker {
        self.workers.get_mut(&id).expect("a known worker")
    }

    /// Lets something happen in one of the workers that have not crashed.
    fn with_worker(&mut self, n: usize, f: impl FnOnce(&mut FakeWorker, WorkerId)) {
        if let Some(id) = pick(&self.alive(), n)
            && !self.workers[&id].dead
        {
            f(self.worker(id), id);
        }
    }

    fn report(&mut self, report: Input<u64, u64>, twice: bool) {
        self.delivered.push(copy(&report));
        let again = twice.then(|| copy(&report));
        self.tell(report);
        if let Some(again) = again {
            self.tell(again);
        }
    }

    /// From now on nothing goes wrong: everything must end.
    pub(super) fn settle(&mut self) {
        while let Some(dead) = self.in_flight.keys().position(|id| self.workers[id].dead) {
            let id = *self.in_flight.keys().nth(dead).unwrap();
            self.tell(Input::WorkerLost { worker: id });
        }
        if self.in_flight.is_empty() {
            self.step(&Step::NewWorker(1));
        }
        for round in 0..10_000 {
            if self.finished.len() as u64 == self.submitted {
                break;
            }
            for n in 0..self.in_flight.len() {
                self.step(&Step::Receive(n));
                self.step(&Step::Report(n, false));
                self.step(&Step::Finish(n, round));
            }
        }
        for n in 0..self.in_flight.len() {
            for _ in 0..1_000 {
                self.step(&Step::Receive(n));
                self.step(&Step::Finish(n, 0));
                self.step(&Step::Report(n, false));
            }
        }
        assert_eq!(
            self.finished.len() as u64,
            self.submitted,
            "a call was lost"
        );
        assert!(self.in_flight.values().all(Vec::is_empty), "a slot leaked");
        let core = &self.core;
        assert!(core.calls.is_empty() && core.fresh.is_empty() && core.returned.is_empty());
        for worker in core.workers.values() {
            assert!(worker.in_flight.is_empty() && worker.revoked == 0 && !worker.reserved);
        }
    }
}

fn pick(workers: &[WorkerId], n: usize) -> Option<WorkerId> {
    (!workers.is_empty()).then(|| workers[n % workers.len()])
}
