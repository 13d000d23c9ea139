//! The shell's calls: on their way into the core, from there to a worker, and out when they have ended.

use std::sync::Arc;
use std::time::Duration;

use super::super::core::{self, CallId, Outcome, WorkerId};
use super::super::error::end_of;
use super::super::job::Completed;
use super::super::pool;
use super::super::{Event, Item, JobError};
use super::workers::Worker;
use super::{Phase, Shell};
use crate::blob::Blob;
use crate::protocol::{CallResult, Run, ToWorker};

/// Calls for one worker go together up to so many bytes of arguments.
const BATCH_BYTES: usize = 64 * 1024;
/// Calls with more bytes of arguments are bulky.
const BULKY: usize = 16 * 1024;

/// What the core wants done.
pub(super) type Output = core::Output<Item, Report>;

/// What a worker says of a call that has ended there.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) result: CallResult,
    /// How long it ran, if somebody wants to know.
    pub(super) ran: Option<Duration>,
}

impl Shell {
    pub(super) fn submit(&mut self, call: CallId, item: Item) {
        let refusal = match (&self.phase, self.patience.in_vain.why()) {
            (Phase::Open, Some(why)) => JobError::NoWorkers(why.to_owned()),
            (Phase::Open, None) => match self.place(item.target()) {
                Ok(place) => {
                    let asked = item.options.as_ref();
                    let options = asked.map(|it| {
                        let mut options = Box::new(it.core.clone());
                        options.place = place;
                        options
                    });
                    return self.tell_core(core::Input::Submit {
                        call,
                        bulky: item.args.0.len() > BULKY,
                        item,
                        options,
                    });
                }
                Err(error) => error,
            },
            (Phase::Failed(why), _) => JobError::NoWorkers(why.clone()),
            (Phase::Closing | Phase::Closed, _) => JobError::Closed,
        };
        item.reply.send(Completed::without_worker(refusal));
    }

    /// Has calls begin that can.
    pub(super) fn dispatch(&mut self) {
        if !self.paused {
            self.core.dispatch(&mut self.todo);
        }
    }

    /// Does what the core wants.
    pub(super) fn act(&mut self) {
        let mut todo = std::mem::take(&mut self.todo);
        for output in todo.drain(..) {
            match output {
                core::Output::Start {
                    worker,
                    call,
                    attempt,
                } => self.start(worker, call, attempt),
                core::Output::Revoke {
                    worker,
                    call,
                    attempt,
                    abort,
                } => {
                    // After the calls that were sent before it.
                    self.flush_worker(worker);
                    if abort && self.take_back(worker, call, attempt) {
                        continue;
                    }
                    self.send(
                        worker,
                        ToWorker::Revoke {
                            call,
                            attempt,
                            abort,
                        },
                    );
                }
                core::Output::Kill {
                    worker,
                    call,
                    timed_out,
                } => {
                    let why = if timed_out {
                        "ran for longer than its time limit"
                    } else {
                        "was cancelled"
                    };
                    let why = format!("killed, because job {} {why} and computed on", call.0);
                    self.tell_pool_of(worker, pool::Input::Kill { worker, why });
                }
                core::Output::Retired { worker } => {
                    self.tell_pool_of(worker, pool::Input::Retire { worker });
                }
                core::Output::Unplaceable { call } => self.unplaceable(call),
                core::Output::Retry {
                    call, from, ran, ..
                } => {
                    let (had_begun, from) = (self.had_begun(call, ran), self.name(from));
                    if let Some(item) = self.core.item_mut(call) {
                        item.begun = None;
                        let (job, function) = (call.0, item.function.clone());
                        if had_begun {
                            self.emit(&Event::JobRetried {
                                job,
                                function,
                                from,
                            });
                        }
                    }
                }
                core::Output::Finished {
                    call,
                    item,
                    outcome,
                } => self.finish(call, item, outcome),
            }
        }
        // Nothing above makes new work; what comes is from the next messages.
        if self.todo.is_empty() {
            self.todo = todo;
        }
    }

    /// Whether a call ran at the worker that was lost with it, as the core says or as was told.
    pub(super) fn had_begun(&self, call: CallId, ran: bool) -> bool {
        ran || self.core.item(call).is_some_and(|it| it.begun.is_some())
    }

    fn start(&mut self, id: WorkerId, call: CallId, attempt: u32) {
        if !self.claims(id, call, attempt) {
            self.hand_over(id, call, attempt);
        }
    }

    /// Has a call go to its worker.
    pub(super) fn hand_over(&mut self, id: WorkerId, call: CallId, attempt: u32) {
        let bytes = self.core.item(call).map_or(0, |item| item.args.0.len());
        let full =
            |worker: &Worker| !worker.batch.is_empty() && worker.batch_bytes + bytes > BATCH_BYTES;
        if self.workers.get(&id).is_some_and(full) {
            self.flush_worker(id);
        }
        let (Some(item), Some(worker)) = (self.core.item(call), self.workers.get_mut(&id)) else {
            return;
        };
        let options = item.options.as_deref();
        let run = Run {
            call,
            attempt,
            function: worker.batch_names(&item.function),
            args: item.args.clone(),
            priority: options.map_or(0, |it| it.core.priority),
            io: options.is_some_and(|it| it.core.io),
            limit: options.and_then(|it| it.limit),
            watched: self.listeners.any(),
        };
        worker.batch_bytes += bytes;
        worker.batch.push(run);
    }

    pub(super) fn begun(&mut self, worker: WorkerId, call: CallId, attempt: u32) {
        // The end of the call before it is told first.
        self.act();
        let name = self.name(worker);
        // One that was cancelled has ended.
        if let Some(attempts) = self.core.begun(worker, call, attempt)
            && let Some(item) = self.core.item_mut(call)
            && let Some(event) = item.started(call, name, attempts)
        {
            self.emit(&event);
        }
    }

    /// Tells of calls that are known to have begun, as they have ended a worker, which has not said so.
    pub(super) fn begun_at_lost(&mut self, name: &Arc<str>, out: &mut [Output]) {
        if !self.listeners.any() {
            return;
        }
        for output in out {
            let begun = match output {
                core::Output::Retry {
                    call,
                    ran: true,
                    attempts,
                    ..
                } => {
                    let item = self.core.item_mut(*call);
                    item.and_then(|it| it.started(*call, Arc::clone(name), *attempts))
                }
                core::Output::Finished {
                    call,
                    item,
                    // One that had not begun has lost none.
                    outcome:
                        Outcome::Abandoned { losses, .. }
                        | Outcome::TargetLost {
                            losses: losses @ 1..,
                        },
                } => item.started(*call, Arc::clone(name), *losses),
                _ => None,
            };
            if let Some(event) = begun {
                self.emit(&event);
            }
        }
    }

    fn finish(&mut self, call: CallId, item: Item, outcome: Outcome<Report>) {
        let completed = match outcome {
            Outcome::Done {
                worker,
                attempts,
                result,
            } => Completed {
                worker: Some(self.name(worker)),
                attempts,
                ran: result.ran,
                result: value(result.result),
            },
            Outcome::Abandoned { worker, losses } => {
                let from = self.name(worker);
                let why = self
                    .workers
                    .get(&worker)
                    .map_or_else(String::new, |it| end_of(&it.name, &it.end, &it.last_words));
                let result = Err(JobError::Abandoned {
                    losses,
                    reason: why,
                });
                Completed {
                    worker: Some(from),
                    attempts: losses,
                    ran: None,
                    result,
                }
            }
            Outcome::TimedOut { worker, attempts } => Completed {
                worker: Some(self.name(worker)),
                attempts,
                ran: None,
                result: Err(JobError::TimedOut(
                    item.options
                        .as_ref()
                        .and_then(|it| it.limit)
                        .unwrap_or_default(),
                )),
            },
            Outcome::TargetLost { .. } => Completed::without_worker(match item.target().cloned() {
                Some(target) => JobError::TargetLost(target),
                None => JobError::Closed,
            }),
            Outcome::NoRoom { needs } => Completed::without_worker(JobError::NoRoom(needs)),
            Outcome::Cancelled => Completed::without_worker(JobError::Cancelled),
            Outcome::Closed => Completed::without_worker(match &self.phase {
                Phase::Failed(why) => JobError::NoWorkers(why.clone()),
                Phase::Open => JobError::NoWorkers(self.why_no_node()),
                Phase::Closing | Phase::Closed => JobError::Closed,
            }),
        };
        self.patience.ended(call);
        if self.listeners.any() && self.tells_ends() {
            self.emit(&item.ended(call, &completed));
        }
        item.reply.send(completed);
    }
}

fn value(result: CallResult) -> Result<Blob, JobError> {
    match result {
        CallResult::Value(value) => Ok(value),
        CallResult::Failed(why) => Err(JobError::Failed(why)),
        CallResult::Panicked(why) => Err(JobError::Panicked(why)),
        CallResult::Refused(why) => Err(JobError::Refused(why)),
    }
}
