//! Running calls in workers: the client's side.
//!
//! [`Scheduler`] is a handle; behind it a coroutine (the *shell*) holds two state machines and does
//! what they say: `core` decides which call runs where, `pool` when worker processes start and
//! end. Everything that happens comes to the shell as a message, from callers in this process
//! and, over the links, from the workers.
//!
//! ```text
//! Scheduler, Job, Map ──Submit, Cancel──> shell ──Run, Revoke──> worker processes
//!        ^                               core, pool                     |
//!        └──────────── results ──────────────┴────Ready, Done, ... ─────┘
//! ```

pub(crate) mod absent;
mod agent;
mod arguments;
mod backoff;
pub(crate) mod builder;
pub(crate) mod core;
mod error;
mod event;
pub(crate) mod finder;
mod in_vain;
mod job;
pub(crate) mod judge;
pub(crate) mod liaison;
pub(crate) mod lines;
pub(crate) mod listeners;
mod map;
pub(crate) mod plan;
pub(crate) mod pool;
mod reach;
pub(crate) mod remote;
mod setup;
mod shell;
pub(crate) mod target;
mod wait;
mod wishes;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use coros_core::Address;
use coros_core::remote::{Message, NodeId};
use coros_net::{Location, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use self::arguments::Arguments;
pub use self::builder::SchedulerBuilder;
pub use self::error::{CloseError, JobError, StartError};
pub use self::event::{Event, Events};
pub use self::job::{Completion, Job};
pub use self::map::{Map, Unordered};
pub use self::target::Target;

use self::core::{CallId, HostId, WorkerId};
use self::finder::Found;
pub(crate) use self::job::Completed;
use self::job::ReplyTo;
use self::judge::{Question, Verdict};
use self::liaison::Gone;
pub(crate) use self::shell::Survey;
use crate::blob::Blob;
use crate::daemon::fetch::Unfit;
use crate::daemon::protocol::FromDesk;
use crate::function::{Call, Options};
use crate::process::End;
use crate::protocol::ToScheduler;
use crate::service::protocol::ToTenant;

/// Runs [calls](Call) of remote functions in worker processes.
///
/// Cloning gives another handle of the same scheduler. When the last one is dropped, or the
/// program ends, the workers end too; [`close`](Scheduler::close) waits for that.
///
/// A call whose worker is lost runs again on another one, so it may run more than once; its caller
/// gets exactly one result. See [`SchedulerBuilder::retries`].
#[derive(Clone, Debug)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shell: Address<ToScheduler>,
    node: Node,
    next_call: AtomicU64,
}

impl Scheduler {
    /// A scheduler with workers on this machine, which needs nothing installed or configured.
    ///
    /// The workers are processes of this very executable, so the program must enter through
    /// `#[coros::main]` (or call [`worker::enter`](crate::worker::enter) first thing in its
    /// `main`).
    pub fn local() -> SchedulerBuilder {
        SchedulerBuilder::local()
    }

    /// A scheduler with workers on the nodes of a network: wherever a [daemon](crate::daemon) runs that
    /// `node` can find, as `coros node` starts one. The program need not be there; it is sent.
    ///
    /// `node` is this process on the network of the daemons: it must listen, because daemons are found
    /// by members alone. Loopback will do, as it is by default: this process dials each daemon, and its workers
    /// are told the address from which it does.
    ///
    /// The program must enter as one with [workers on this machine](Scheduler::local) does.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_cluster::Scheduler;
    /// use coros_net::Node;
    ///
    /// let node = Node::builder().listen(([0, 0, 0, 0], 0).into()).peer("farm-1:7341").build().await?;
    /// let scheduler = Scheduler::cluster(&node).start().await?;
    /// # Ok(()) }
    /// ```
    pub fn cluster(node: &Node) -> SchedulerBuilder {
        SchedulerBuilder::cluster(node.clone())
    }

    /// A scheduler at a [service](crate::service) of a network, as `coros scheduler` starts one: that runs
    /// the calls, on the nodes that it finds, and those of other clients beside or after them. What this process says
    /// of nodes, setup and calls holds as with a [scheduler of its own](Scheduler::cluster).
    ///
    /// When the service is lost, this waits for one to come (back), and hands over what has not ended: such a
    /// call may run more than once, and has one result. A call without
    /// [retries](SchedulerBuilder::retries) that the service had ends as [`JobError::Abandoned`] then, one for
    /// [a node or a worker](crate::Call::at) as [`JobError::TargetLost`].
    ///
    /// `node` is this process on the network of the service: it must listen, because services are found by
    /// members alone. Workers reach this process where that node is reached, so where the service is on another
    /// machine, `node` must not [listen](coros_net::Builder::listen) on loopback, as it does by default:
    /// [`start`](SchedulerBuilder::start) refuses that. Where the service is on this machine, it is the nodes on
    /// others that are not used then, and [`Event::NodeNotUsed`] tells so.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use coros_cluster::Scheduler;
    /// use coros_net::Node;
    ///
    /// let node = Node::builder().listen(([0, 0, 0, 0], 0).into()).peer("farm-1:7342").build().await?;
    /// let scheduler = Scheduler::at(&node).exclusive().start().await?;
    /// # Ok(()) }
    /// ```
    pub fn at(node: &Node) -> SchedulerBuilder {
        SchedulerBuilder::at(node.clone())
    }

    /// Runs a call and waits for its value.
    ///
    /// Cancel safe in the sense of [`Job`]: dropping the future cancels the call.
    ///
    /// # Errors
    /// When there is no value: see [`JobError`].
    pub async fn run<R: Message>(&self, call: Call<R>) -> Result<R, JobError> {
        self.submit(call).await
    }

    /// Queues a call and returns at once.
    ///
    /// Nothing limits how many calls wait, each with its arguments in memory; for many use
    /// [`map`](Self::map).
    #[expect(clippy::needless_pass_by_value, reason = "a call is for one use")]
    pub fn submit<R: Message>(&self, call: Call<R>) -> Job<R> {
        let (tell, told) = oneshot::channel();
        let submission = self
            .inner
            .prepare(&call, ReplyTo::one(tell), Instant::now());
        let id = submission.as_ref().map(|submission| submission.call);
        self.inner.submit(submission.into_iter().collect());
        Job::new(id, told, Arc::clone(&self.inner))
    }

    /// Runs many calls and gives their values in the order of the calls, as a stream.
    ///
    /// The iterator is asked for calls as the stream is polled: at most
    /// [`window`](Map::window) calls are submitted whose values have not been taken from the
    /// stream, so a million calls need no memory for a million. [`Map::unordered`] gives values
    /// as they come.
    pub fn map<R, I>(&self, calls: I) -> Map<R, I::IntoIter>
    where
        R: Message,
        I: IntoIterator<Item = Call<R>>,
    {
        Map::new(Arc::clone(&self.inner), calls.into_iter())
    }

    /// The nodes that take calls now, each to be given to [`Call::at`]: with workers on this machine, that.
    ///
    /// Cancel safe.
    pub async fn nodes(&self) -> Vec<Target> {
        self.targets(target::Kind::Node).await
    }

    /// The workers that take calls now, each to be given to [`Call::at`]: not those that would start if there were more to
    /// do, as [`run_each_worker`](Self::run_each_worker) has them do. Among them are those that are
    /// [suspended](Self::suspend).
    ///
    /// Cancel safe.
    pub async fn workers(&self) -> Vec<Target> {
        self.targets(target::Kind::Worker).await
    }

    /// Lets a node, or a worker, run nothing more: what runs there goes on to its end. Calls for it alone wait, and so do
    /// all when nothing else is left. Where it is suspended already, nothing happens.
    ///
    /// The workers of a node end then. It is told as [`Event::NodeSuspended`], but for this machine.
    ///
    /// A worker keeps its process and what it has in memory. What waits there for its turn goes elsewhere. It
    /// keeps its slot too: another worker does not start in its place, and when its node wants slots back or is
    /// suspended, it ends. It is told as [`Event::WorkerSuspended`].
    ///
    /// Cancel safe: once polled, it is done.
    ///
    /// # Errors
    /// [`JobError::NoTarget`] when there is no such node or worker.
    pub async fn suspend(&self, target: Target) -> Result<(), JobError> {
        self.control(target, Action::Suspend).await
    }

    /// Uses a node, or a worker, again that was [suspended](Self::suspend). Where it is not, nothing happens.
    ///
    /// Cancel safe: once polled, it is done.
    ///
    /// # Errors
    /// [`JobError::NoTarget`] when there is no such node or worker.
    pub async fn resume(&self, target: Target) -> Result<(), JobError> {
        self.control(target, Action::Resume).await
    }

    /// Lets go of a node: what runs there goes on to its end; then its workers end, what was set up there is torn
    /// down, nothing of this program is left there but what its cache has, and this scheduler does not use it any
    /// more; [`Event::NodeClosed`] tells when. Calls for that node alone that have not begun by then end as
    /// [`JobError::TargetLost`]. A daemon that is started there anew is another node.
    ///
    /// Cancel safe: once polled, it is done.
    ///
    /// # Errors
    /// [`JobError::NoTarget`] when there is no such node, [`JobError::WrongTarget`] for a worker, and for
    /// this machine as the node of a [scheduler of its own](Self::local), which is closed with the scheduler.
    pub async fn close_node(&self, node: Target) -> Result<(), JobError> {
        self.control(node, Action::CloseNode).await
    }

    /// Lets go of a worker: what runs there goes on to its end, and then it ends, as [`Event::WorkerClosed`] tells. None
    /// starts in its place: its slot is given back, and this scheduler has no more workers on that node from now on than
    /// are left there then. Calls for that worker alone that have not begun by then end as [`JobError::TargetLost`].
    /// With the last that is there, [the node is closed](Self::close_node).
    ///
    /// Cancel safe: once polled, it is done.
    ///
    /// # Errors
    /// [`JobError::NoTarget`] when there is no such worker, [`JobError::WrongTarget`] for a node, and for the last
    /// worker of a [scheduler of its own](Self::local), which is closed with the scheduler.
    pub async fn close_worker(&self, worker: Target) -> Result<(), JobError> {
        self.control(worker, Action::CloseWorker).await
    }

    /// Ends a worker when it has ended what it runs; another takes its place, with nothing that the first
    /// one had in its memory.
    ///
    /// Cancel safe: once polled, it is done.
    ///
    /// # Errors
    /// [`JobError::NoTarget`] when there is no such worker, [`JobError::WrongTarget`] for a node.
    pub async fn restart(&self, worker: Target) -> Result<(), JobError> {
        self.control(worker, Action::Restart).await
    }

    async fn control(&self, target: Target, action: Action) -> Result<(), JobError> {
        action.fits(&target)?;
        let (tell, told) = oneshot::channel();
        self.inner.command(Command::Control(target, action, tell));
        told.await.unwrap_or(Err(JobError::Closed))
    }

    async fn targets(&self, kind: target::Kind) -> Vec<Target> {
        let (tell, told) = oneshot::channel();
        self.inner.command(Command::Targets(kind, tell));
        told.await.unwrap_or_default()
    }

    /// Runs a call on each [node](Self::nodes) that takes calls now: what came of each, in the order of the
    /// nodes.
    ///
    /// Dropping the future cancels the calls.
    pub async fn run_each_node<R: Message>(
        &self,
        call: impl FnMut(&Target) -> Call<R>,
    ) -> Vec<(Target, Result<R, JobError>)> {
        self.run_each(self.nodes().await, call).await
    }

    /// Runs a call in each worker that there may be: what came of each, in the order of the workers.
    ///
    /// Those that are [suspended](Self::suspend) are left out.
    ///
    /// Workers start when there are calls for them, so it has as many start as nodes may have for this scheduler,
    /// and begins when they take calls. It does not wait for more than two seconds for those that do not come, as where
    /// others have all slots of a node, nor for longer than a worker may take to start; and where nodes or workers have
    /// just come, it waits a second for others.
    ///
    /// Dropping the future cancels the calls.
    pub async fn run_each_worker<R: Message>(
        &self,
        call: impl FnMut(&Target) -> Call<R>,
    ) -> Vec<(Target, Result<R, JobError>)> {
        let (tell, told) = oneshot::channel();
        self.inner.command(Command::Muster(tell));
        self.run_each(told.await.unwrap_or_default(), call).await
    }

    async fn run_each<R: Message>(
        &self,
        targets: Vec<Target>,
        mut call: impl FnMut(&Target) -> Call<R>,
    ) -> Vec<(Target, Result<R, JobError>)> {
        let submit = |target: Target| {
            let job = self.submit(call(&target).at(target.clone()));
            (target, job)
        };
        let jobs: Vec<_> = targets.into_iter().map(submit).collect();
        let mut results = Vec::with_capacity(jobs.len());
        for (target, job) in jobs {
            results.push((target, job.await));
        }
        results
    }

    /// What happens to workers and calls from now on, as a stream, after one [`Event::NodeNotUsed`] or
    /// [`Event::NodeUnfit`] for each node that was found and is not used, an [`Event::NodesAwaited`] if that was told, one [`Event::NodeReady`] for
    /// each node and one [`Event::WorkerReady`] for each worker that is there; followed by one that it is suspended, if
    /// it is.
    ///
    /// Events are kept for a slow reader without limit; drop the stream to stop that.
    #[must_use]
    pub fn events(&self) -> Events {
        let (tell, told) = mpsc::unbounded_channel();
        self.inner.command(Command::Subscribe(tell));
        Events::new(told)
    }

    /// This process on the network of its workers.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// Ends the workers, waits until their processes are gone, and closes
    /// [the node](Self::node): an address that a call took along no longer keeps a mailbox open.
    ///
    /// Calls that have not ended give [`JobError::Closed`]. A worker has
    /// [a grace period](SchedulerBuilder::grace) to end by itself, and nodes have five seconds to hear that the
    /// scheduler leaves: then the process may end at once. Closing twice is fine.
    ///
    /// Cancel safe: once polled, the workers end.
    ///
    /// # Errors
    /// When workers had to be killed.
    pub async fn close(&self) -> Result<(), CloseError> {
        let (tell, told) = oneshot::channel();
        self.inner.command(Command::Close(Some(tell)));
        // No answer means that the shell has ended, and its workers before it.
        let killed = told.await.unwrap_or_default();
        self.inner.node.close().await;
        if killed.is_empty() {
            Ok(())
        } else {
            Err(CloseError { killed })
        }
    }
}

impl Inner {
    /// Sends a command; lost when the shell has ended.
    fn command(&self, command: Command) {
        drop(self.shell.send(ToScheduler::Command(command)));
    }

    /// Encodes a call. When that fails, the reply says so, and there is no call.
    fn prepare<R: Message>(
        &self,
        call: &Call<R>,
        reply: ReplyTo,
        now: Instant,
    ) -> Option<Submission> {
        match call.encode(&self.node) {
            Ok(bytes) => Some(Submission {
                call: CallId(self.next_call.fetch_add(1, Ordering::Relaxed)),
                item: Item {
                    function: Cow::Borrowed(call.function()),
                    args: bytes.into(),
                    reply,
                    options: call.asked(),
                    submitted: now,
                    begun: None,
                },
            }),
            Err(error) => {
                reply.send(Completed::without_worker(JobError::Codec(error)));
                None
            }
        }
    }

    fn submit(&self, submissions: Vec<Submission>) {
        if submissions.is_empty() {
            return;
        }
        let message = ToScheduler::Command(Command::Submit(submissions));
        if let Err(error) = self.shell.send(message)
            && let ToScheduler::Command(Command::Submit(submissions)) = error.into_message()
        {
            for submission in submissions {
                submission
                    .item
                    .reply
                    .send(Completed::without_worker(JobError::Closed));
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.command(Command::Close(None));
    }
}

/// What the shell is told by its own process.
pub(crate) enum Command {
    Submit(Vec<Submission>),
    Cancel(CallId),
    /// A worker's process has ended, or could not be started.
    Ended {
        worker: WorkerId,
        end: End,
    },
    /// The link to a node is down, and why.
    Unlinked(NodeId, String),
    /// The session with a worker has ended, and why.
    SessionEnded(WorkerId, String),
    /// A daemon of the network that lends workers was found.
    Found(Box<Found>),
    /// What the judge says of it.
    Decided(Box<Question>, Box<Verdict>),
    /// One that was found is not used, and why.
    NotUsed(Location, String),
    /// A desk at one says something.
    Desk(HostId, FromDesk),
    /// The program, or a file, is on its way to one.
    Progress(HostId),
    /// A desk has ended, and why.
    HostGone(HostId, Gone),
    Subscribe(mpsc::UnboundedSender<Event>),
    /// What it has and does at present.
    Survey(oneshot::Sender<Survey>),
    /// Which nodes, or workers, there are.
    Targets(target::Kind, oneshot::Sender<Vec<Target>>),
    /// Which workers there are when all have come that may.
    Muster(oneshot::Sender<Vec<Target>>),
    /// Do this with a node or a worker.
    Control(Target, Action, oneshot::Sender<Result<(), JobError>>),
    /// A service has opened a computation.
    Joined {
        epoch: u64,
        at: Location,
        tenant: Address<ToTenant>,
    },
    /// The tenant there is no more, and why.
    Left {
        epoch: u64,
        why: String,
    },
    /// What it is to be told when what it asked for has been sent, or is to be; or why not.
    Sent {
        epoch: u64,
        sent: Result<ToTenant, Unfit>,
    },
    /// Begin no calls, and have workers keep results, until the client has taken those that there are; or not
    /// any more.
    Pause(bool),
    /// End all workers and say which had to be killed.
    Close(Option<oneshot::Sender<Vec<Arc<str>>>>),
}

/// What can be done with a node, or a worker.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    Suspend,
    Resume,
    CloseNode,
    CloseWorker,
    Restart,
}

impl Action {
    /// Whether it can be done with what is of that kind.
    fn fits(self, target: &Target) -> Result<(), JobError> {
        use target::Kind::{Node, Worker};
        let (kind, done) = match self {
            Action::Suspend | Action::Resume => return Ok(()),
            Action::CloseNode => (Node, "closed as a node"),
            Action::CloseWorker => (Worker, "closed as a worker"),
            Action::Restart => (Worker, "restarted"),
        };
        if target.kind() == kind {
            return Ok(());
        }
        Err(JobError::WrongTarget {
            target: target.clone(),
            why: format!("cannot be {done}: only a {kind} can"),
        })
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

/// A call on its way to the shell.
pub(crate) struct Submission {
    call: CallId,
    item: Item,
}

/// What the shell keeps for a call.
struct Item {
    function: Cow<'static, str>,
    args: Blob,
    reply: ReplyTo,
    options: Option<Arc<Options>>,
    submitted: Instant,
    /// When it began last, if anybody wants to know.
    begun: Option<Instant>,
}

impl Item {
    /// What is told of its beginning: once for each attempt, whatever a worker or a service says.
    fn started(&mut self, call: CallId, worker: Arc<str>, attempt: u32) -> Option<Event> {
        if self.begun.is_some() {
            return None;
        }
        let now = *self.begun.insert(Instant::now());
        Some(Event::JobStarted {
            job: call.0,
            function: self.function.clone(),
            arguments: Arguments::new(self.args.clone()),
            worker,
            attempt,
            after: now - self.submitted,
        })
    }

    /// What is told of its end.
    fn ended(&self, call: CallId, completed: &Completed) -> Event {
        Event::JobEnded {
            job: call.0,
            function: self.function.clone(),
            arguments: Arguments::new(self.args.clone()),
            worker: completed.worker.clone(),
            attempts: completed.attempts,
            after: self.submitted.elapsed(),
            ran: completed.ran.or(self.begun.map(|begun| begun.elapsed())),
            error: completed.result.as_ref().err().cloned(),
        }
    }

    fn target(&self) -> Option<&Target> {
        self.options.as_ref()?.target.as_ref()
    }
}
