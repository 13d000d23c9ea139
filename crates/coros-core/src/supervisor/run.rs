//! The coroutine of a supervisor: does what the plan says, and tells it what has happened.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::child::Work;
use super::handle::{ChildError, ChildInfo, Found};
use super::plan::{Child, Plan, Step};
use super::{GaveUp, Message, Supervision};
use crate::{Context, Exit};

/// A supervisor at work. Dropped early, when somebody has it killed, it terminates its children.
struct Supervising {
    plan: Plan<Work>,
    /// Which child was started by which start.
    runs: HashMap<u64, Arc<str>>,
    last_run: u64,
}

pub(super) async fn supervise(
    mut me: Context<Supervision>,
    plan: Plan<Work>,
) -> Result<(), GaveUp> {
    let mut terminating = me.terminating();
    let mut supervising = Supervising {
        plan,
        runs: HashMap::new(),
        last_run: 0,
    };
    loop {
        // Before anything else, so that children which are terminated together with their
        // supervisor are not started again.
        if terminating.is_requested() && !supervising.plan.is_closing() {
            supervising.plan.close(None);
        }
        let until = match supervising.plan.next(Instant::now()) {
            Step::Start(id) => {
                if !supervising.start(&me, &id) {
                    // It may be tried again and again, without a pause.
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Step::Terminate(id) => {
                supervising.terminate(&id);
                continue;
            }
            Step::Close(None) => return Ok(()),
            Step::Close(Some(gave_up)) => return Err(gave_up),
            Step::Wait(until) => until,
        };
        let closing = supervising.plan.is_closing();
        let pause = async {
            match until {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut terminating, if !closing => {}
            message = me.receive() => match message {
                Some(message) => supervising.handle(message.0),
                // Nobody has its address and no child runs: only a child that is going to be
                // started can make a difference.
                None if until.is_none() => return Ok(()),
                None => pause_alone(until, &mut terminating).await,
            },
            () = pause => {}
        }
    }
}

async fn pause_alone(until: Option<Instant>, terminating: &mut crate::Terminating) {
    if let Some(at) = until {
        tokio::select! {
            () = terminating => {}
            () = sleep_until(at) => {}
        }
    }
}

impl Supervising {
    /// Starts a child; false when that failed.
    fn start(&mut self, me: &Context<Supervision>, id: &Arc<str>) -> bool {
        let Some(child) = self.plan.child(id) else {
            return false;
        };
        let now = Instant::now();
        match child.work.start() {
            Ok(running) => {
                self.last_run += 1;
                running.monitor(me, self.last_run);
                child.work.running = Some((self.last_run, running));
                child.work.tell_up();
                self.runs.insert(self.last_run, Arc::clone(id));
                self.plan.started(id, now);
                true
            }
            Err(exit) => {
                self.down(id, exit, now);
                false
            }
        }
    }

    fn terminate(&mut self, id: &str) {
        if let Some((_, running)) = self.plan.child(id).and_then(|it| it.work.running.as_ref()) {
            running.terminate();
        }
    }

    /// A child has ended, or has not come up.
    fn down(&mut self, id: &Arc<str>, exit: Exit, now: Instant) {
        if exit.is_finished() || exit == Exit::Terminated {
            tracing::debug!("child {id:?} of a supervisor {exit}");
        } else {
            tracing::warn!("child {id:?} of a supervisor {exit}");
        }
        if let Some(child) = self.plan.child(id) {
            drop(child.work.running.take());
            child.work.tell_down();
        }
        let forgotten = self.plan.ended(id, exit, now);
        forget(id, forgotten);
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ended(run, exit) => {
                if let Some(id) = self.runs.remove(&run) {
                    self.down(&id, exit, Instant::now());
                }
            }
            Message::Find(id, reply) => reply.send(self.find(id)),
            Message::List(reply) => {
                let list = self.plan.children().map(|(id, child)| info(id, child));
                reply.send(list.collect());
            }
            Message::Add(id, restart, mut work, reply) => {
                if self.plan.child(&id).is_some() {
                    reply.send(Err(ChildError::Exists { id }));
                } else if !self.plan.is_closing() {
                    work.until_up.push(reply);
                    let _ = self.plan.add(id, restart, work);
                }
            }
            Message::Stop(id, reply) => match self.plan.child(&id) {
                None => reply.send(Err(ChildError::Unknown { id })),
                Some(child) => {
                    child.work.until_down.push(reply);
                    child.work.give_up_waiting(&id);
                    if child.work.running.is_none() {
                        child.work.tell_down();
                    }
                    forget(&id, self.plan.stop(&id));
                }
            },
            // While it closes, the reply is dropped: the supervisor has ended.
            Message::Restart(..) if self.plan.is_closing() => {}
            Message::Restart(id, reply) => match self.plan.child(&id) {
                None => reply.send(Err(ChildError::Unknown { id })),
                Some(child) => {
                    child.work.until_up.push(reply);
                    self.plan.restart(&id);
                }
            },
        }
    }

    fn find(&mut self, id: Arc<str>) -> Found {
        let Some(child) = self.plan.child(&id) else {
            return Err(ChildError::Unknown { id });
        };
        match &child.work.running {
            Some((_, running)) => Ok((running.address(), running.receives())),
            None => Err(ChildError::NotRunning { id }),
        }
    }
}

/// Tells those who wait for a child that the supervisor has forgotten.
fn forget(id: &str, child: Option<Child<Work>>) {
    if let Some(mut child) = child {
        child.work.give_up_waiting(id);
    }
}

fn info(id: &Arc<str>, child: &Child<Work>) -> ChildInfo {
    ChildInfo {
        id: Arc::clone(id),
        restart: child.restart,
        state: child.state(),
        restarts: child.starts.saturating_sub(1),
        last_exit: child.last_exit.clone(),
        coroutine: child.work.running.as_ref().map(|it| it.1.coroutine()),
    }
}

impl Drop for Supervising {
    fn drop(&mut self) {
        for (_, child) in self.plan.children().rev() {
            if let Some((_, running)) = &child.work.running {
                running.terminate();
            }
        }
    }
}
