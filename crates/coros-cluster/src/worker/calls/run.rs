//! Running a call, in the thread for CPU-bound calls or beside it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use coros_core::panic_text;
use coros_core::remote::BoxFuture;
use coros_net::Node;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::super::control;
use super::{Attempt, Job, Shared};
use crate::blob::Blob;
use crate::caught::caught;
use crate::command::group::settled;
use crate::function::{Begun, Failure, Function, Invocation};
use crate::protocol::CallResult;

type Outcome = Result<Vec<u8>, Failure>;

impl Shared {
    /// Runs a call to its end in this thread. `None` when it was dropped half way.
    pub(super) fn execute(&self, job: &Job) -> Option<CallResult> {
        match self.call(job) {
            Ok(Invocation::Now(outcome)) => Some(result(outcome)),
            Ok(Invocation::Later(future)) => {
                let polled = self.poll(job.attempt(), future);
                self.tasks.block_on(polled).map(result)
            }
            Err(refused) => Some(refused),
        }
    }

    /// Runs an io call: as a task, or in a thread of its own if it is not async.
    pub(super) fn spawn_io(self: &Arc<Self>, job: Job) {
        let this = Arc::clone(self);
        if job.is_async() {
            self.tasks.spawn(async move {
                if let Some(report) = job.begun() {
                    control::report(&this.scheduler, this.worker, report).await;
                }
                let result = match this.call(&job) {
                    Ok(Invocation::Now(outcome)) => Some(result(outcome)),
                    Ok(Invocation::Later(future)) => {
                        let polled = this.poll(job.attempt(), future);
                        polled.await.map(result)
                    }
                    Err(refused) => Some(refused),
                };
                if let Some(report) = this.ended(&job, result) {
                    this.tell_end(report).await;
                }
            });
        } else {
            self.tasks.spawn_blocking(move || {
                if let Some(report) = job.begun() {
                    this.report_blocking(report);
                }
                let result = this.execute(&job);
                if let Some(report) = this.ended(&job, result) {
                    this.tell_end_blocking(report);
                }
            });
        }
    }

    /// Calls the function; or says why that cannot be.
    fn call(&self, job: &Job) -> Result<Begun, CallResult> {
        let refused = |why: &String| CallResult::Refused(why.clone());
        let function = job.function.as_ref().map_err(refused)?;
        begin(*function, &self.node, &self.tasks, &job.run.args)
    }

    /// Runs an async call to its end, or until it is dropped.
    async fn poll(&self, id: Attempt, future: BoxFuture<Outcome>) -> Option<Outcome> {
        let (abort, mut aborted) = oneshot::channel();
        {
            let mut state = self.lock();
            let ending = state.ending;
            // Who is not there any more was to be dropped, and is no longer waited for.
            let running = state.running(id)?;
            if ending || running.dropped.is_some() {
                return None;
            }
            running.abort = Some(abort);
        }
        let run = async move {
            tokio::select! {
                biased;
                outcome = future => Some(outcome),
                // Only a message aborts: a sender that is dropped is one that was not needed.
                Ok(()) = &mut aborted => None,
                else => None,
            }
        };
        let settles = || {
            if let Some(running) = self.lock().running(id) {
                running.settles = true;
            }
        };
        let polled = settled(AssertUnwindSafe(run).catch_unwind(), settles).await;
        polled.unwrap_or_else(|panic| Some(Err(Failure::Panicked(panic_text(&*panic).to_owned()))))
    }
}

/// Calls a function; or says why that cannot be.
fn begin(
    function: Function,
    node: &Node,
    tasks: &Handle,
    args: &Blob,
) -> Result<Begun, CallResult> {
    let begun = caught(|| {
        let _tasks = tasks.enter();
        function.begin(node, &args.0)
    });
    match begun {
        Ok(Ok(begun)) => Ok(begun),
        Ok(Err(why)) => Err(CallResult::Refused(why.to_string())),
        Err(panic) => Err(CallResult::Panicked(panic)),
    }
}

/// Runs a function to its end in this thread, outside of all calls.
pub(in crate::worker) fn run_alone(
    function: Function,
    node: &Node,
    tasks: &Handle,
    args: &Blob,
) -> CallResult {
    match begin(function, node, tasks, args) {
        Ok(Invocation::Now(outcome)) => result(outcome),
        Ok(Invocation::Later(future)) => {
            let polled = caught(|| tasks.block_on(future));
            polled.map_or_else(CallResult::Panicked, result)
        }
        Err(refused) => refused,
    }
}

fn result(outcome: Outcome) -> CallResult {
    match outcome {
        Ok(value) => CallResult::Value(value.into()),
        Err(Failure::Failed(why)) => CallResult::Failed(why),
        Err(Failure::Panicked(why)) => CallResult::Panicked(why),
        Err(Failure::Codec(why)) => {
            CallResult::Refused(format!("the result cannot be sent: {why}"))
        }
    }
}
