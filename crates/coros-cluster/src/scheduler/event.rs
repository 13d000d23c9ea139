//! What happens to workers and calls, for whoever wants to know.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Arguments, JobError};
use crate::daemon::protocol::NodeState;
use crate::placement::NodeView;

/// Something that happened to a worker or a call. Events of one worker or call come in order,
/// each once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// There is a node with the program, or a worker on this machine: what
    /// [`start`](super::SchedulerBuilder::start) waits for. Calls run from now on, as there is room for them. At
    /// a [service](crate::service), once more after each that was lost.
    Scheduled,
    /// The scheduler was closed, and nothing of it is left anywhere. The last event.
    Closed {
        /// The workers that had to be killed.
        killed: Vec<Arc<str>>,
    },
    /// A [service](crate::service) was found; the calls run there when the program is there and its turn has
    /// come.
    ServiceFound {
        /// Its name.
        name: Arc<str>,
        /// Where it listens.
        endpoint: Option<SocketAddr>,
    },
    /// A service cannot be used at present, and is tried again; for another reason than was told of it before, if
    /// any was.
    ServiceNotUsed {
        /// Its name.
        name: Arc<str>,
        /// Why, and what to do.
        reason: String,
    },
    /// The program is at the service, and others go before it: with
    /// [exclusive](super::SchedulerBuilder::exclusive) programs each has to wait for its turn. Told again when that
    /// changes.
    ServiceBusy {
        /// The service's name.
        name: Arc<str>,
        /// How many go before it, with those that run.
        before: usize,
    },
    /// The program is at the service and has its turn.
    ServiceReady {
        /// The service's name.
        name: Arc<str>,
    },
    /// A service was lost, and all workers and nodes with it. One is looked for.
    ServiceLost {
        /// Its name.
        name: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A node was found that can run the program; it is asked for slots.
    NodeFound {
        /// What it is called, where it is, what it has, and how busy it is.
        node: Arc<NodeView>,
    },
    /// A node that was [lost](Event::NodeLost) or had [ended](Event::NodeEnded) before was found again: itself, or
    /// another run of a node of that name at that address.
    NodeReturned {
        /// As of [`NodeFound`](Event::NodeFound).
        node: Arc<NodeView>,
    },
    /// A node is not used, or not any more; for another reason than was told of it before, if any was.
    NodeNotUsed {
        /// Its name.
        name: Arc<str>,
        /// Where it listens.
        endpoint: Option<SocketAddr>,
        /// Why, and what to do.
        reason: String,
    },
    /// A node that was found is there and of no use for this program: it cannot take it, no worker starts there, or it
    /// takes nobody. It is tried again later, which is not told while it goes as before. One that has gone meanwhile is not
    /// told to be lost: nothing of the program was there.
    NodeUnfit {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
        /// Why, and what to do.
        reason: String,
    },
    /// A node has the program and lends slots as soon as it has some.
    NodeReady {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node lends nothing for a while; what runs there goes on. Its own daemon has it so, or
    /// [`Scheduler::suspend`](super::Scheduler::suspend).
    NodeSuspended {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node that was suspended lends again.
    NodeResumed {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node is about to end: it lends nothing more, and what runs there goes on, unless it is closed: then that
    /// ends too.
    NodeDraining {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node that is about to end runs nothing more of this program.
    NodeDrained {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node was [closed](super::Scheduler::close_node): nothing of this program runs there any more.
    NodeClosed {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node has ended all that ran there for this program, as when its owner closes it (Ctrl-C at a `coros node`
    /// does), or wants it for himself.
    /// It is used again when it is back.
    NodeEnded {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A node that was found cannot be reached any more. It is used again when it is back.
    NodeLost {
        /// As it was when it was looked at last.
        node: Arc<NodeView>,
        /// Why.
        reason: String,
    },
    /// Calls, or [`start`](super::SchedulerBuilder::start), wait for a node, because none is of use at present; at a
    /// client of a [service](crate::service), for one of those. Told after a second, once, until there is one.
    NodesAwaited {
        /// How long they do so in all: see [`patience`](super::SchedulerBuilder::patience).
        limit: Duration,
        /// Which were found so far and why they are not used, and what to do where none was.
        reason: String,
    },
    /// There has been no node for as long as calls wait for one: see
    /// [`patience`](super::SchedulerBuilder::patience).
    NoNodes {
        /// Which nodes were found and why they are not used.
        reason: String,
    },
    /// Calls have waited for [that long](super::SchedulerBuilder::patience) for a node to lend anything, and
    /// go on to wait. Told once, until one has.
    NoSlots {
        /// Which nodes there are, and why each lends nothing.
        reason: String,
    },
    /// A worker takes calls.
    WorkerReady {
        /// Its name.
        name: Arc<str>,
        /// Its process.
        pid: u32,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A worker that was ready is gone. Another one is started in its place.
    WorkerLost {
        /// Its name.
        name: Arc<str>,
        /// Its process.
        pid: u32,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
        /// How it ended, as `killed by signal 9 (SIGKILL)`, or why it was killed, as `no sign of
        /// life for 2.2s, so it was killed`.
        reason: String,
        /// How many calls that ran there, as far as is known, run again elsewhere.
        jobs: usize,
        /// How many calls that only waited there for their turn run elsewhere now. That is no attempt more.
        waited: usize,
        /// How many calls that it had are given up, because they lost too many workers.
        given_up: usize,
    },
    /// A worker ended before it took calls. Another one is started in its place.
    WorkerFailed {
        /// Its name.
        name: Arc<str>,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
        /// How it ended, with the last lines of its standard error.
        reason: String,
    },
    /// What a worker had prepared for itself or its node could not be undone when it ended. Also told of one that was
    /// started only to tidy up its node, and has not come to that; and of each worker of a node, and of the node, before
    /// that has [ended](Event::NodeEnded) all that ran there, or is lost: nothing is torn down then.
    TearDownFailed {
        /// The worker's name; of a node that is gone, that of one of its workers.
        name: Arc<str>,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
        /// Which of it, and why.
        reason: String,
    },
    /// A call has begun at a worker; of one that ends its worker at once that is told when the worker is lost. Not told of
    /// a call that was on its way to its worker before anybody listened.
    JobStarted {
        /// The call, as [`Job::id`](super::Job::id).
        job: u64,
        /// The function's name.
        function: Cow<'static, str>,
        /// What it was given.
        #[serde(skip)]
        arguments: Arguments,
        /// The worker's name.
        worker: Arc<str>,
        /// Which attempt it is, as in [`Completion::attempts`](super::Completion::attempts); the first one
        /// is 1.
        attempt: u32,
        /// How long after it was submitted.
        after: Duration,
    },
    /// A call has ended; exactly once for each.
    JobEnded {
        /// The call, as [`Job::id`](super::Job::id).
        job: u64,
        /// The function's name.
        function: Cow<'static, str>,
        /// What it was given.
        #[serde(skip)]
        arguments: Arguments,
        /// The worker's name, if it was at one.
        worker: Option<Arc<str>>,
        /// How often it was started.
        attempts: u32,
        /// How long after it was submitted.
        after: Duration,
        /// How long it ran, the last time, if [that was told](Event::JobStarted): as its worker has measured it, or
        /// as far as is known here when it was given up.
        ran: Option<Duration>,
        /// Why there is no value, if there is none.
        error: Option<JobError>,
    },
    /// A call needs more than any node has that is there; it waits for one.
    JobWaits {
        /// The call, as [`Job::id`](super::Job::id).
        job: u64,
        /// The function's name.
        function: Cow<'static, str>,
    },
    /// A call runs again because its worker was lost. Not told of one that only waited there for its turn.
    JobRetried {
        /// The call, as [`Job::id`](super::Job::id).
        job: u64,
        /// The function's name.
        function: Cow<'static, str>,
        /// The lost worker's name.
        from: Arc<str>,
    },
    /// A worker begins no calls until it is resumed, as told by [`Scheduler::suspend`](super::Scheduler::suspend).
    WorkerSuspended {
        /// Its name.
        name: Arc<str>,
        /// Its process.
        pid: u32,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A worker that was suspended takes calls again.
    WorkerResumed {
        /// Its name.
        name: Arc<str>,
        /// Its process.
        pid: u32,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
    },
    /// A worker has ended as it was told to: by [`close`](super::Scheduler::close),
    /// [`close_worker`](super::Scheduler::close_worker) or [`restart`](super::Scheduler::restart), or because it was
    /// not needed any more.
    WorkerClosed {
        /// Its name.
        name: Arc<str>,
        /// Its process.
        pid: u32,
        /// Where it is: as that was when it was looked at last.
        node: Arc<NodeView>,
    },
}

impl Event {
    /// Whether it tells that something waits, perhaps for long.
    pub(crate) fn is_of_a_wait(&self) -> bool {
        matches!(
            self,
            Event::ServiceBusy { .. }
                | Event::NodesAwaited { .. }
                | Event::NoSlots { .. }
                | Event::JobWaits { .. }
        )
    }

    /// What is told of a node that has the program, and is as it was told, to whoever begins to listen.
    pub(crate) fn ready_and(told: NodeState, node: &Arc<NodeView>) -> impl Iterator<Item = Self> {
        let ready = Event::NodeReady {
            node: Arc::clone(node),
        };
        let lends = told == NodeState::Open;
        let state = (!lends).then(|| Event::of_state(told, Arc::clone(node)));
        std::iter::once(ready).chain(state)
    }

    /// A node lends slots, or not, from now on.
    pub(crate) fn of_state(state: NodeState, node: Arc<NodeView>) -> Self {
        match state {
            NodeState::Open => Event::NodeResumed { node },
            NodeState::Suspended => Event::NodeSuspended { node },
            NodeState::Draining => Event::NodeDraining { node },
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |endpoint: &Option<SocketAddr>| match endpoint {
            Some(endpoint) => format!(" ({endpoint})"),
            None => String::new(),
        };
        match self {
            Event::Scheduled => f.write_str("the calls run from now on"),
            Event::Closed { killed } => {
                f.write_str("the scheduler is closed")?;
                match killed.as_slice() {
                    [] => Ok(()),
                    killed => write!(f, "; killed: {}", killed.join(", ")),
                }
            }
            Event::ServiceFound { name, endpoint } => {
                write!(f, "service {name}{} was found", at(endpoint))
            }
            Event::ServiceNotUsed { name, reason } => {
                write!(f, "service {name} is not used: {reason}")
            }
            Event::ServiceBusy { name, before: 1 } => {
                write!(f, "service {name} is busy: 1 program goes before this one")
            }
            Event::ServiceBusy { name, before } => {
                let go = if *before == 1 {
                    "program goes"
                } else {
                    "programs go"
                };
                write!(f, "service {name} is busy: {before} {go} before this one")
            }
            Event::ServiceReady { name } => write!(f, "service {name} runs the program"),
            Event::ServiceLost { name, reason } => write!(f, "service {name} was lost: {reason}"),
            Event::NodeFound { node } | Event::NodeReturned { node } => {
                let (name, cores) = (&node.name, node.machine.cores);
                let s = if cores.get() == 1 { "" } else { "s" };
                let again = match self {
                    Event::NodeReturned { .. } => " again",
                    _ => "",
                };
                let at = at(&node.endpoint);
                write!(f, "node {name}{at} was found{again}: {cores} core{s}")
            }
            Event::NodeNotUsed {
                name,
                endpoint,
                reason,
            } => write!(f, "node {name}{} is not used: {reason}", at(endpoint)),
            Event::NodeUnfit { node, reason } => {
                let at = at(&node.endpoint);
                write!(f, "node {}{at} is of no use: {reason}", node.name)
            }
            Event::NodeReady { node } => write!(f, "node {} is ready", node.name),
            Event::NodeSuspended { node } => write!(f, "node {} is suspended", node.name),
            Event::NodeResumed { node } => write!(f, "node {} lends again", node.name),
            Event::NodeDraining { node } => write!(f, "node {} is about to end", node.name),
            Event::NodeDrained { node } => write!(f, "node {} runs nothing more", node.name),
            Event::NodeClosed { node } => write!(f, "node {} is closed", node.name),
            Event::NodeEnded { node } => {
                write!(f, "node {} has ended all that ran there", node.name)
            }
            Event::NodeLost { node, reason } => write!(f, "node {} was lost: {reason}", node.name),
            Event::NodesAwaited { reason, .. }
            | Event::NoNodes { reason }
            | Event::NoSlots { reason } => f.write_str(reason),
            Event::WorkerReady { name, pid, .. } => write!(f, "worker {name} (pid {pid}) is ready"),
            Event::WorkerLost {
                name,
                pid,
                reason,
                jobs,
                waited,
                given_up,
                ..
            } => {
                write!(f, "worker {name} (pid {pid}) was lost ({reason})")?;
                let parts = [
                    (*jobs, "runs again elsewhere", "run again elsewhere"),
                    (
                        *waited,
                        "that waited there goes elsewhere",
                        "that waited there go elsewhere",
                    ),
                    (*given_up, "is given up", "are given up"),
                ];
                let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
                for (place, (n, one, many)) in parts.enumerate() {
                    let joint = if place == 0 { ":" } else { "," };
                    match n {
                        1 => write!(f, "{joint} 1 job {one}")?,
                        n => write!(f, "{joint} {n} jobs {many}")?,
                    }
                }
                Ok(())
            }
            Event::WorkerFailed { name, reason, .. } => {
                write!(f, "worker {name} could not be started: {reason}")
            }
            Event::TearDownFailed { name, reason, .. } => write!(f, "worker {name}: {reason}"),
            Event::JobStarted {
                job,
                function,
                worker,
                attempt,
                ..
            } => {
                write!(f, "job {job} ({function}) has begun at worker {worker}")?;
                match attempt {
                    0 | 1 => Ok(()),
                    n => write!(f, ", attempt {n}"),
                }
            }
            Event::JobEnded {
                job,
                function,
                after,
                error,
                ..
            } => {
                write!(f, "job {job} ({function}) ended after {after:.1?}")?;
                error
                    .as_ref()
                    .map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Event::JobWaits { job, function } => {
                write!(
                    f,
                    "job {job} ({function}) waits: it needs more than any node has"
                )
            }
            Event::JobRetried {
                job,
                function,
                from,
            } => {
                write!(
                    f,
                    "job {job} ({function}) runs again, because worker {from} was lost"
                )
            }
            Event::WorkerSuspended { name, pid, .. } => {
                write!(f, "worker {name} (pid {pid}) is suspended")
            }
            Event::WorkerResumed { name, pid, .. } => {
                write!(f, "worker {name} (pid {pid}) takes calls again")
            }
            Event::WorkerClosed { name, pid, .. } => {
                write!(f, "worker {name} (pid {pid}) has ended")
            }
        }
    }
}

/// A stream of [`Event`]s; ends with the scheduler. See [`Scheduler::events`](super::Scheduler::events).
#[derive(Debug)]
pub struct Events {
    from: mpsc::UnboundedReceiver<Event>,
}

impl Events {
    pub(super) fn new(from: mpsc::UnboundedReceiver<Event>) -> Self {
        Events { from }
    }

    /// The next event; `None` when the scheduler has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.from.recv().await
    }
}

impl futures_util::Stream for Events {
    type Item = Event;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        Poll::Ready(ready!(self.from.poll_recv(cx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn a_loss_tells_only_of_jobs_that_there_were() {
        let lost = |jobs, waited, given_up| {
            let event = Event::WorkerLost {
                name: "w1".into(),
                pid: 7,
                node: Arc::new(NodeView::new("local", Machine::look([]))),
                reason: "gone".into(),
                jobs,
                waited,
                given_up,
            };
            let text = event.to_string();
            let rest = text.strip_prefix("worker w1 (pid 7) was lost (gone)");
            rest.unwrap().to_owned()
        };
        assert_eq!(lost(0, 0, 0), "");
        assert_eq!(lost(1, 0, 0), ": 1 job runs again elsewhere");
        assert_eq!(lost(0, 1, 0), ": 1 job that waited there goes elsewhere");
        assert_eq!(lost(0, 0, 1), ": 1 job is given up");
        assert_eq!(
            lost(3, 4, 2),
            ": 3 jobs run again elsewhere, 4 jobs that waited there go elsewhere, 2 jobs are given up"
        );
    }
}
