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

/// Who sees to what there is to do besides calls.
pub(super) struct Caretaker<'a> {
    pub(super) duties: Duties,
    pub(super) node: &'a Node,
    /// Where what the functions spawn runs.
    pub(super) tasks: &'a Handle,
    pub(super) scheduler: &'a Address<ToScheduler>,
    pub(super) worker: WorkerId,
}

impl Caretaker<'_> {
    /// Does all that a worker is there for besides calls, but for what comes after those.
    ///
    /// # Errors
    /// What went wrong, which the scheduler has been told.
    pub(super) async fn begin(&self, purpose: Purpose) -> Result<Next, String> {
        keep(self.duties.node_value.clone());
        if purpose == Purpose::TidyUp {
            self.tear_down(true).await;
            self.tell(FromWorker::NodeTidiedUp).await;
            return Ok(Next::End);
        }
        self.set_up().await
    }

    /// Prepares the node, if this worker is there for that, or the worker.
    async fn set_up(&self) -> Result<Next, String> {
        let Duties {
            set_up_node,
            set_up,
            ..
        } = &self.duties;
        if set_up_node.is_none() && set_up.is_none() {
            return Ok(Next::Work);
        }
        control::report(self.scheduler, self.worker, FromWorker::SettingUp).await;
        if let Some(duty) = set_up_node {
            let given = self.perform(duty).await;
            let given = given.and_then(|given| {
                fits("what it gives", &given.0)?;
                Ok(given)
            });
            return match given {
                Ok(given) => {
                    self.tell(FromWorker::NodeSetUp(given)).await;
                    Ok(Next::End)
                }
                Err(why) => {
                    self.failed(format!("the setup of its node failed: {why}"))
                        .await
                }
            };
        }
        if let Some(duty) = set_up
            && let Err(why) = self.perform(duty).await
        {
            return self.failed(format!("its setup failed: {why}")).await;
        }
        Ok(Next::Work)
    }

    async fn failed(&self, why: String) -> Result<Next, String> {
        let report = FromWorker::SetupFailed(why.clone());
        control::report(self.scheduler, self.worker, report).await;
        Err(why)
    }

    /// Undoes what was prepared. What goes wrong the scheduler is told, and it is said on standard error too: that
    /// may be all that is left of the client.
    pub(super) async fn tear_down(&self, with_node: bool) {
        let Duties {
            tear_down,
            tear_down_node,
            ..
        } = &self.duties;
        let own = tear_down.iter().map(|duty| ("its teardown", duty));
        let of_node = tear_down_node.iter().filter(|_| with_node);
        let of_node = of_node.map(|duty| ("the teardown of its node", duty));
        for (what, duty) in own.chain(of_node) {
            if let Err(why) = self.perform(duty).await {
                let why = format!("{what} failed: {why}");
                // It cannot be told where standard error is closed.
                let _ = writeln!(std::io::stderr(), "{why}");
                self.tell(FromWorker::TearDownFailed(why)).await;
            }
        }
    }

    /// Tells the scheduler, before the end of this process is known by another way. If it cannot be told, it is lost.
    async fn tell(&self, report: FromWorker) {
        let report = ToScheduler::Report(self.worker, report);
        let _ = self.scheduler.deliver(report).await;
    }

    async fn perform(&self, duty: &Duty) -> Result<Blob, String> {
        let function = function::find(&duty.function)?;
        let (node, args, on) = (self.node.clone(), duty.args.clone(), self.tasks.clone());
        let run = self
            .tasks
            .spawn_blocking(move || run_alone(function, &node, &on, &args));
        match run.await.map_err(|error| error.to_string())? {
            CallResult::Value(value) => Ok(value),
            CallResult::Failed(why) | CallResult::Refused(why) => Err(why),
            CallResult::Panicked(why) => Err(format!("it panicked: {why}")),
        }
    }
}

fn keep(value: Option<Blob>) {
    if let Some(value) = value {
        let _ = super::NODE_VALUE.set(value);
    }
}
