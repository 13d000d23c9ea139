//! The calls of this worker: a queue of which a thread runs one at a time, and io calls beside it.
//!
//! A call that has begun can only be dropped while it is async and waits. One that was to be dropped
//! and has neither been nor ended within a moment is *stuck*. A CPU-bound call that is stuck has the
//! scheduler kill this process, so nothing else begins any more; an io call is left to itself. One
//! that only *settles* has been dropped, and its commands have longer to go.

pub(super) mod run;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coros_core::Address;
use coros_net::Node;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::control;
use crate::function::{self, Function};
use crate::guard::GONE_WITHIN;
use crate::lock::lock;
use crate::protocol::{CallResult, FromWorker, Run, ToScheduler};
use crate::scheduler::core::{CallId, Rank, WorkerId};

/// How long an async call has to come to an await point when it is to be dropped.
const DROP_LIMIT: Duration = Duration::from_secs(1);
/// How long the commands of a call that has been dropped have to go beyond that. They are given up
/// before.
const SETTLE_LIMIT: Duration = GONE_WITHIN.saturating_add(DROP_LIMIT);
/// How long a call that is not async and that nobody wants any more has to end by itself: a new
/// worker costs more than what most calls still have before them.
const CANCEL_LIMIT: Duration = Duration::from_millis(200);
/// How long async calls have to be dropped when the worker ends.
const END_LIMIT: Duration = Duration::from_millis(500);

/// The queue and what runs. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Calls {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is work, or the end has come.
    work: Condvar,
    /// A call has ended, at the end of all.
    rest: Condvar,
    /// Where async functions and io calls run.
    tasks: Handle,
    /// Where nothing of the functions runs: for clocks.
    link: Handle,
    node: Node,
    scheduler: Address<ToScheduler>,
    worker: WorkerId,
    /// The ends of calls are to be kept.
    paused: watch::Sender<bool>,
    /// Whose end is told.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    /// By rank.
    queue: VecDeque<Job>,
    /// The CPU-bound call that runs.
    cpu: Option<(Attempt, Running)>,
    io: HashMap<Attempt, Running>,
    /// A CPU-bound call is stuck.
    doomed: bool,
    ending: bool,
}

/// A call to run.
struct Job {
    run: Run,
    /// The function; or why there is none.
    function: Result<Function, String>,
}

/// One start of a call.
type Attempt = (CallId, u32);

struct Running {
    io: bool,
    is_async: bool,
    /// Drops the call at its next await point; `None` before it is first polled, and once used.
    abort: Option<oneshot::Sender<()>>,
    /// It is to be dropped: why.
    dropped: Option<Dropped>,
    /// Nothing of it runs any more but commands that are being killed.
    settles: bool,
    /// Its time limit.
    clock: Option<AbortHandle>,
    /// Of one that is watched.
    begun: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Cancelled,
    TimedOut,
}

/// What became of a request to give a call back.
pub(super) enum Revoked {
    /// It had not begun, and will not.
    Returned,
    /// It goes on.
    Kept,
    /// Its report is on its way, or comes as soon as it is dropped or turns out to be stuck.
    WillTell,
}

impl Calls {
    /// Starts the thread for CPU-bound calls. The current runtime is the link's.
    pub(super) fn start(
        tasks: &Handle,
        node: &Node,
        scheduler: Address<ToScheduler>,
        worker: WorkerId,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                cpu: None,
                io: HashMap::new(),
                doomed: false,
                ending: false,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
            tasks: tasks.clone(),
            link: Handle::current(),
            node: node.clone(),
            scheduler,
            worker,
            paused: watch::Sender::new(false),
            turn: tokio::sync::Mutex::new(()),
        });
        let this = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("calls".into())
            .spawn(move || this.work())?;
        Ok(Calls { shared })
    }

    /// Queues calls, or begins them if they are io calls.
    pub(super) fn take(&self, calls: Vec<Run>) {
        let mut function = Err("the scheduler names no function".to_owned());
        let job = |run: Run| {
            if let Some(name) = &run.function {
                function = function::find(name);
            }
            let function = function.clone();
            Job { run, function }
        };
        let jobs: Vec<_> = calls.into_iter().map(job).collect();
        let mut state = self.shared.lock();
        for job in jobs {
            if job.run.io {
                self.shared.begin(&mut state, &job);
                self.shared.spawn_io(job);
            } else {
                // Nearly always the last.
                let before = state.queue.iter().rev();
                let behind = before.take_while(|other| other.rank() > job.rank());
                let place = state.queue.len() - behind.count();
                state.queue.insert(place, job);
            }
        }
        // The thread is to find the lock free.
        drop(state);
        self.shared.work.notify_one();
    }

    /// Takes a call back if it has not begun; with `abort` even then, if it can be dropped.
    pub(super) fn revoke(&self, call: CallId, attempt: u32, abort: bool) -> Revoked {
        let mut state = self.shared.lock();
        // Those that came last are taken back first.
        let mut queued = state.queue.iter();
        if let Some(place) = queued.rposition(|job| job.attempt() == (call, attempt)) {
            state.queue.remove(place);
            return Revoked::Returned;
        }
        if state.running((call, attempt)).is_none() {
            return Revoked::WillTell;
        }
        if !abort {
            return Revoked::Kept;
        }
        let shared = Arc::clone(&self.shared);
        let dropping = shared.drop_call((call, attempt), Dropped::Cancelled);
        self.shared.link.spawn(dropping);
        Revoked::WillTell
    }

    /// Has the ends of calls kept, each by whoever has it, until they may be told.
    pub(super) fn pause(&self, paused: bool) {
        self.shared.paused.send_replace(paused);
    }

    /// Forgets what is queued, drops what is async, and waits a moment for that. What computes
    /// ends with the process.
    pub(super) fn end(&self) {
        let mut state = self.shared.lock();
        state.ending = true;
        state.queue.clear();
        let State { cpu, io, .. } = &mut *state;
        let cpu = cpu.iter_mut().map(|(_, running)| running);
        for running in cpu.chain(io.values_mut()) {
            running.drop(Dropped::Cancelled);
        }
        self.shared.work.notify_all();
        let busy = |state: &mut State| {
            let cpu = state.cpu.iter().map(|(_, running)| running);
            cpu.chain(state.io.values()).any(|running| running.is_async)
        };
        drop(self.shared.rest.wait_timeout_while(state, END_LIMIT, busy));
    }
}

impl State {
    fn running(&mut self, id: Attempt) -> Option<&mut Running> {
        match &mut self.cpu {
            Some((cpu, running)) if *cpu == id => Some(running),
            _ => self.io.get_mut(&id),
        }
    }

    fn remove(&mut self, id: Attempt) -> Option<Running> {
        let cpu = self.cpu.take_if(|(cpu, _)| *cpu == id);
        cpu.map(|(_, running)| running)
            .or_else(|| self.io.remove(&id))
    }

    /// A call has ended: `None` when there is nothing more to tell of it, also since it is told to be stuck. The
    /// scheduler may only hear the one or the other.
    fn end(&mut self, id: Attempt) -> Option<Running> {
        let running = self.remove(id)?;
        (running.io || !self.doomed).then_some(running)
    }

    /// Whether a call is still there only because its commands are.
    fn settles(&mut self, id: Attempt) -> bool {
        self.running(id).is_some_and(|running| running.settles)
    }

    /// A call that was to be dropped is still there after all that time: what there is to report.
    fn cannot_drop(&mut self, id: Attempt, why: Dropped) -> Option<FromWorker> {
        let (call, attempt) = id;
        if !self.running(id)?.io {
            self.doomed = true;
            return Some(FromWorker::Stuck { call, attempt });
        }
        self.remove(id);
        Some(match why {
            Dropped::TimedOut => FromWorker::TimedOut { call, attempt },
            Dropped::Cancelled => FromWorker::Returned { call, attempt },
        })
    }
}

impl Job {
    fn rank(&self) -> Rank {
        Rank::new(self.run.priority, self.run.call)
    }

    fn attempt(&self) -> Attempt {
        (self.run.call, self.run.attempt)
    }

    fn is_async(&self) -> bool {
        self.function.as_ref().is_ok_and(Function::is_async)
    }

    /// What there is to report when it begins.
    fn begun(&self) -> Option<FromWorker> {
        let (call, attempt) = self.attempt();
        self.run
            .watched
            .then_some(FromWorker::Begun { call, attempt })
    }
}

impl Running {
    /// Drops it if it is async, as soon as it waits.
    fn drop(&mut self, why: Dropped) {
        self.dropped.get_or_insert(why);
        if let Some(abort) = self.abort.take() {
            let _ = abort.send(());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No call runs with the lock held, so nothing is half done.
        lock(&self.state)
    }

    /// The thread for CPU-bound calls.
    fn work(self: Arc<Self>) {
        while let Some(job) = self.next() {
            if let Some(report) = job.begun() {
                self.report_blocking(report);
            }
            let result = self.execute(&job);
            if let Some(report) = self.ended(&job, result) {
                self.tell_end_blocking(report);
            }
        }
    }

    /// Waits for a CPU-bound call and begins it. `None` at the end.
    fn next(self: &Arc<Self>) -> Option<Job> {
        let state = self.lock();
        let idle = |state: &mut State| (state.queue.is_empty() || state.doomed) && !state.ending;
        let mut state = self
            .work
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ending {
            return None;
        }
        let job = state.queue.pop_front()?;
        self.begin(&mut state, &job);
        Some(job)
    }

    /// Notes that a call begins. Its time runs.
    fn begin(self: &Arc<Self>, state: &mut State, job: &Job) {
        let attempt = job.attempt();
        let clock = job.run.limit.map(|limit| {
            let shared = Arc::clone(self);
            let clock = async move {
                tokio::time::sleep(limit).await;
                shared.drop_call(attempt, Dropped::TimedOut).await;
            };
            self.link.spawn(clock).abort_handle()
        });
        let running = Running {
            io: job.run.io,
            is_async: job.is_async(),
            abort: None,
            dropped: None,
            settles: false,
            clock,
            begun: job.run.watched.then(Instant::now),
        };
        if running.io {
            state.io.insert(attempt, running);
        } else {
            state.cpu = Some((attempt, running));
        }
    }

    /// Notes that a call has ended: what there is to report. No result: it was dropped.
    fn ended(&self, job: &Job, result: Option<CallResult>) -> Option<FromWorker> {
        let (call, attempt) = job.attempt();
        let (running, ending) = {
            let mut state = self.lock();
            (state.end((call, attempt)), state.ending)
        };
        // Each time would be a system call for each call.
        if ending {
            self.rest.notify_all();
        }
        let running = running?;
        if let Some(clock) = running.clock {
            clock.abort();
        }
        Some(match (result, running.dropped) {
            (Some(result), _) => FromWorker::Done {
                call,
                attempt,
                result,
                ran: running.begun.map(|begun| begun.elapsed()),
            },
            (None, Some(Dropped::TimedOut)) => FromWorker::TimedOut { call, attempt },
            (None, _) => FromWorker::Returned { call, attempt },
        })
    }

    /// Drops a call that has begun, or tells that this cannot be.
    async fn drop_call(self: Arc<Self>, id: Attempt, why: Dropped) {
        let is_async = match self.lock().running(id) {
            Some(running) => {
                running.drop(why);
                running.is_async
            }
            None => return,
        };
        match (is_async, why) {
            (true, _) => tokio::time::sleep(DROP_LIMIT).await,
            (false, Dropped::Cancelled) => tokio::time::sleep(CANCEL_LIMIT).await,
            (false, Dropped::TimedOut) => {}
        }
        if self.lock().settles(id) {
            tokio::time::sleep(SETTLE_LIMIT).await;
        }
        let report = self.lock().cannot_drop(id, why);
        if let Some(report) = report {
            control::report(&self.scheduler, self.worker, report).await;
        }
    }

    /// Reports, and waits if the link has no room for it at present.
    fn report_blocking(&self, report: FromWorker) {
        if let Some(message) = self.try_report(report) {
            let _ = self.tasks.block_on(self.scheduler.deliver(message));
        }
    }

    /// Reports how a call has ended, as soon as that may be told and the link has room: one at a time, so
    /// that others wait here, and not where it is too late for a pause.
    async fn tell_end(&self, report: FromWorker) {
        let _turn = self.turn.lock().await;
        // The sender is here.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
        if let Some(message) = self.try_report(report) {
            let _ = self.scheduler.feed(message).await;
        }
    }

    /// Likewise, in a thread that may block.
    fn tell_end_blocking(&self, report: FromWorker) {
        // Nearly always nothing has to be waited for.
        let turn = self.turn.try_lock().ok();
        let Some(_turn) = turn.filter(|_| !*self.paused.borrow()) else {
            return self.tasks.block_on(self.tell_end(report));
        };
        if let Some(message) = self.try_report(report) {
            let _ = self.tasks.block_on(self.scheduler.feed(message));
        }
    }

    /// Gives the report back when the link has no room for it.
    fn try_report(&self, report: FromWorker) -> Option<ToScheduler> {
        control::send(&self.scheduler, ToScheduler::Report(self.worker, report))
    }
}

#[cfg(test)]
mod tests;
