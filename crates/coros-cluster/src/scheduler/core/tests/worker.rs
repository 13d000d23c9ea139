//! A worker and its link, simulated.

use std::collections::VecDeque;

use super::super::{CallId, Input, WorkerId};

/// A worker process as the contract describes it, with its two directions of the link.
#[derive(Default)]
pub(super) struct FakeWorker {
    pub(super) slots: usize,
    pub(super) to: VecDeque<ToWorker>,
    pub(super) from: VecDeque<Input<u64, u64>>,
    queue: VecDeque<(CallId, u32)>,
    running: Vec<(CallId, u32)>,
    pub(super) dead: bool,
}

pub(super) enum ToWorker {
    Start(CallId, u32),
    Revoke(CallId, u32),
}

impl FakeWorker {
    pub(super) fn new(slots: usize) -> Self {
        FakeWorker {
            slots,
            ..FakeWorker::default()
        }
    }

    /// Takes the next message off the link.
    pub(super) fn receive(&mut self, me: WorkerId) {
        match self.to.pop_front() {
            Some(ToWorker::Start(call, attempt)) => self.queue.push_back((call, attempt)),
            Some(ToWorker::Revoke(call, attempt)) => {
                let place = self.queue.iter().position(|it| *it == (call, attempt));
                if let Some(place) = place {
                    self.queue.remove(place);
                    self.from.push_back(Input::Returned {
                        worker: me,
                        call,
                        attempt,
                    });
                } else if self.running.contains(&(call, attempt)) {
                    self.from.push_back(Input::Kept {
                        worker: me,
                        call,
                        attempt,
                    });
                }
            }
            None => {}
        }
        while self.running.len() < self.slots {
            let Some(next) = self.queue.pop_front() else {
                break;
            };
            self.running.push(next);
        }
    }

    /// Ends one of the running calls.
    pub(super) fn finish(&mut self, me: WorkerId, pick: usize) {
        if !self.running.is_empty() {
            let (call, attempt) = self.running.remove(pick % self.running.len());
            self.from.push_back(Input::Done {
                worker: me,
                call,
                attempt,
                result: call.0 * 10,
            });
        }
        if let Some(next) = self.queue.pop_front() {
            self.running.push(next);
        }
    }
}

pub(super) fn copy(report: &Input<u64, u64>) -> Input<u64, u64> {
    match *report {
        Input::Done {
            worker,
            call,
            attempt,
            result,
        } => Input::Done {
            worker,
            call,
            attempt,
            result,
        },
        Input::Returned {
            worker,
            call,
            attempt,
        } => Input::Returned {
            worker,
            call,
            attempt,
        },
        Input::Kept {
            worker,
            call,
            attempt,
        } => Input::Kept {
            worker,
            call,
            attempt,
        },
        _ => unreachable!("workers report nothing else"),
    }
}
