//! The worker's coroutine: takes the scheduler's orders.

use coros_core::{Address, Context, SendError};

use super::calls::{Calls, Revoked};
use crate::protocol::{CallResult, FromWorker, TOO_LARGE, ToScheduler, ToWorker};
use crate::scheduler::core::WorkerId;

/// Tells the scheduler that this worker takes calls, and passes them on until told to
/// end; whether its node is to be seen to then.
pub(super) async fn run(
    mut me: Context<ToWorker>,
    scheduler: Address<ToScheduler>,
    worker: WorkerId,
    calls: Calls,
) -> bool {
    drop(me.monitor(&scheduler, |_| ToWorker::ClientLost));
    let ready = FromWorker::Ready {
        control: me.address(),
        pid: std::process::id(),
    };
    report(&scheduler, worker, ready).await;
    let mut last = false;
    while let Some(message) = me.receive().await {
        match message {
            ToWorker::Run(runs) => calls.take(runs),
            ToWorker::Revoke {
                call,
                attempt,
                abort,
            } => {
                let answer = match calls.revoke(call, attempt, abort) {
                    Revoked::Returned => FromWorker::Returned { call, attempt },
                    Revoked::Kept => FromWorker::Kept { call, attempt },
                    Revoked::WillTell => continue,
                };
                report(&scheduler, worker, answer).await;
            }
            ToWorker::Pause(paused) => calls.pause(paused),
            ToWorker::Goodbye { tear_down_node } => {
                last = tear_down_node;
                break;
            }
            // Nobody is left to say goodbye.
            ToWorker::ClientLost => super::lifeline::end_group(),
        }
    }
    calls.end();
    last
}

/// Sends a report; gives it back when the link has no room for it at present. It is lost when the
/// link is down, which ends the worker by another way.
pub(super) fn send(scheduler: &Address<ToScheduler>, message: ToScheduler) -> Option<ToScheduler> {
    match scheduler.send(message) {
        Err(SendError::Full(message)) => Some(message),
        Err(SendError::Codec(ToScheduler::Report(worker, report), why)) => {
            // The caller must not wait for a result that cannot travel, as one that is too large.
            let FromWorker::Done {
                call, attempt, ran, ..
            } = report
            else {
                return None;
            };
            let result =
                CallResult::Refused(format!("the result cannot be sent: {why}{TOO_LARGE}"));
            let report = FromWorker::Done {
                call,
                attempt,
                result,
                ran,
            };
            send(scheduler, ToScheduler::Report(worker, report))
        }
        Ok(()) | Err(_) => None,
    }
}

/// Sends a report, and waits if the link has no room for it at present.
pub(super) async fn report(scheduler: &Address<ToScheduler>, worker: WorkerId, report: FromWorker) {
    if let Some(message) = send(scheduler, ToScheduler::Report(worker, report)) {
        let _ = scheduler.deliver(message).await;
    }
}
