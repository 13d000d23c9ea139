//! What a worker does before its first call and after its last.

use std::io::Write;

use coros_core::Address;
use coros_net::Node;
use tokio::runtime::Handle;

use super::calls::run::run_alone;
use super::control;
use crate::blob::Blob;
use crate::function;
use crate::protocol::{CallResult, Duties, Duty, FromWorker, ToScheduler, fits};
use crate::scheduler::core::WorkerId;
use crate::scheduler::pool::Purpose;

/// What there is to do for a worker that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Work,
    /// Nothing: it was there to prepare the node, or to tidy it up.
    End,
}

/// Does all that a worker is there for besides calls, but for what comes after those.
///
/// # Errors
/// What went wrong, which the scheduler has been told.
pub(super) async fn begin(
    purpose: Purpose,
    duties: &Duties,
    node: &Node,
    tasks: &Handle,
    scheduler: &Address<ToScheduler>,
    worker: WorkerId,
) -> Result<Next, String> {
    keep(duties.node_value.clone());
    if purpose == Purpose::TidyUp {
        tear_down(duties, true, node, tasks, scheduler, worker).await;
        return Ok(Next::End);
    }
    set_up(duties, node, tasks, scheduler, worker).await
}

/// Prepares the node, if this worker is there for that, or the worker.
async fn set_up(
    duties: &Duties,
    node: &Node,
    tasks: &Handle,
    scheduler: &Address<ToScheduler>,
    worker: WorkerId,
) -> Result<Next, String> {
    if duties.set_up_node.is_none() && duties.set_up.is_none() {
        return Ok(Next::Work);
    }
    let report = async |what| control::report(scheduler, worker, what).await;
    report(FromWorker::SettingUp).await;
    let failed = async |why: String| {
        report(FromWorker::SetupFailed(why.clone())).await;
        Err(why)
    };
    if let Some(duty) = &duties.set_up_node {
        let given = perform(duty, node, tasks).await;
        let given = given.and_then(|given| {
            fits("what it gives", &given.0)?;
            Ok(given)
        });
        return match given {
            Ok(given) => {
                let done = ToScheduler::Report(worker, FromWorker::NodeSetUp(given));
                // Before the end of this process is known by another way. Of one that cannot be told it is lost.
                let _ = scheduler.deliver(done).await;
                Ok(Next::End)
            }
            Err(why) => failed(format!("the setup of its node failed: {why}")).await,
        };
    }
    if let Some(duty) = &duties.set_up
        && let Err(why) = perform(duty, node, tasks).await
    {
        return failed(format!("its setup failed: {why}")).await;
    }
    Ok(Next::Work)
}

/// Undoes what was prepared. What goes wrong the scheduler is told, and it is said on standard error too: that
/// may be all that is left of the client.
pub(super) async fn tear_down(
    duties: &Duties,
    with_node: bool,
    node: &Node,
    tasks: &Handle,
    scheduler: &Address<ToScheduler>,
    worker: WorkerId,
) {
    let own = duties.tear_down.iter().map(|duty| ("its teardown", duty));
    let of_node = duties.tear_down_node.iter().filter(|_| with_node);
    let of_node = of_node.map(|duty| ("the teardown of its node", duty));
    for (what, duty) in own.chain(of_node) {
        if let Err(why) = perform(duty, node, tasks).await {
            let why = format!("{what} failed: {why}");
            // It cannot be told where standard error is closed.
            let _ = writeln!(std::io::stderr(), "{why}");
            let report = FromWorker::TearDownFailed(why);
            // Before the end of this process is known by another way.
            let _ = scheduler.deliver(ToScheduler::Report(worker, report)).await;
        }
    }
}

fn keep(value: Option<Blob>) {
    if let Some(value) = value {
        let _ = super::NODE_VALUE.set(value);
    }
}

async fn perform(duty: &Duty, node: &Node, tasks: &Handle) -> Result<Blob, String> {
    let function = function::find(&duty.function)?;
    let (node, args, on) = (node.clone(), duty.args.clone(), tasks.clone());
    let run = tasks.spawn_blocking(move || run_alone(function, &node, &on, &args));
    match run.await.map_err(|error| error.to_string())? {
        CallResult::Value(value) => Ok(value),
        CallResult::Failed(why) | CallResult::Refused(why) => Err(why),
        CallResult::Panicked(why) => Err(format!("it panicked: {why}")),
    }
}
