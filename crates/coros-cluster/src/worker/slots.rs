//! The slots: threads that run one call at a time, from one queue.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coros_core::panic_text;
use coros_core::remote::BoxFuture;
use coros_net::Node;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::function::{self, Failure, Invocation};
use crate::protocol::{CallResult, FromWorker, Run};
use crate::scheduler::core::CallId;

/// How long async calls have to be dropped when the worker ends.
const END_LIMIT: Duration = Duration::from_millis(500);

/// The queue and what runs. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Slots {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is work, or the end has come.
    work: Condvar,
    /// A call has ended.
    rest: Condvar,
    tasks: Handle,
    node: Node,
    report: Box<dyn Fn(FromWorker) + Send + Sync>,
}

struct State {
    queue: VecDeque<Run>,
    running: Vec<Option<Running>>,
    ending: bool,
}

struct Running {
    call: CallId,
    attempt: u32,
    /// Drops the call at its next await point; `None` while it is not async.
    abort: Option<oneshot::Sender<()>>,
}

/// What became of a request to give a call back.
pub(super) enum Revoked {
    /// It had not begun, and will not.
    Returned,
    /// It goes on.
    Kept,
    /// Its report is on its way, or comes as soon as it is dropped.
    WillTell,
}

impl Slots {
    /// Starts the threads. `report` sends to the scheduler.
    pub(super) fn start(
        count: usize,
        tasks: &Handle,
        node: &Node,
        report: impl Fn(FromWorker) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                running: (0..count).map(|_| None).collect(),
                ending: false,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
            tasks: tasks.clone(),
            node: node.clone(),
            report: Box::new(report),
        });
        for slot in 0..count {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("slot {slot}"))
                .spawn(move || shared.work(slot))?;
        }
        Ok(Slots { shared })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.shared.lock().running.len()
    }

    /// Queues calls.
    pub(super) fn queue(&self, calls: Vec<Run>) {
        let several = calls.len() > 1;
        self.shared.lock().queue.extend(calls);
        if several {
            self.shared.work.notify_all();
        } else {
            self.shared.work.notify_one();
        }
    }

    /// Takes a call back if it has not begun; with `abort` drops it if it is async.
    pub(super) fn revoke(&self, call: CallId, attempt: u32, abort: bool) -> Revoked {
        let mut state = self.shared.lock();
        let queued = state
            .queue
            .iter()
            .rposition(|run| run.call == call && run.attempt == attempt);
        if let Some(place) = queued {
            state.queue.remove(place);
            return Revoked::Returned;
        }
        let mut running = state.running.iter_mut().flatten();
        match running.find(|running| running.call == call && running.attempt == attempt) {
            None => Revoked::WillTell,
            Some(Running {
                abort: handle @ Some(_),
                ..
            }) if abort => {
                let _ = handle.take().map(|handle| handle.send(()));
                Revoked::WillTell
            }
            Some(_) => Revoked::Kept,
        }
    }

    /// Forgets what is queued, drops what is async, and waits a moment for that. What computes
    /// ends with the process.
    pub(super) fn end(&self) {
        let mut state = self.shared.lock();
        state.ending = true;
        state.queue.clear();
        let mut dropped = Vec::new();
        for (slot, running) in state.running.iter_mut().enumerate() {
            if let Some(handle) = running.as_mut().and_then(|running| running.abort.take()) {
                let _ = handle.send(());
                dropped.push(slot);
            }
        }
        self.shared.work.notify_all();
        let busy = |state: &mut State| dropped.iter().any(|slot| state.running[*slot].is_some());
        drop(self.shared.rest.wait_timeout_while(state, END_LIMIT, busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No call runs with the lock held, so nothing is half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot's thread.
    fn work(&self, slot: usize) {
        while let Some(run) = self.next(slot) {
            let result = self.execute(slot, &run);
            self.lock().running[slot] = None;
            self.rest.notify_all();
            let Run { call, attempt, .. } = run;
            (self.report)(match result {
                Some(result) => FromWorker::Done {
                    call,
                    attempt,
                    result,
                },
                None => FromWorker::Returned { call, attempt },
            });
        }
    }

    /// Waits for a call. `None` at the end.
    fn next(&self, slot: usize) -> Option<Run> {
        let state = self.lock();
        let idle = |state: &mut State| state.queue.is_empty() && !state.ending;
        let mut state = self
            .work
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ending {
            return None;
        }
        let run = state.queue.pop_front()?;
        state.running[slot] = Some(Running {
            call: run.call,
            attempt: run.attempt,
            abort: None,
        });
        Some(run)
    }

    /// Runs a call. `None` when it was dropped half way as told.
    fn execute(&self, slot: usize, run: &Run) -> Option<CallResult> {
        let function = match function::find(&run.function) {
            Ok(function) => function,
            Err(why) => return Some(CallResult::Refused(why)),
        };
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let _tasks = self.tasks.enter();
            function.begin(&self.node, &run.args.0)
        }));
        let outcome = match begun {
            Ok(Ok(Invocation::Now(outcome))) => outcome,
            Ok(Ok(Invocation::Later(future))) => self.poll(slot, future)?,
            Ok(Err(why)) => return Some(CallResult::Refused(why.to_string())),
            Err(panic) => Err(Failure::Panicked(panic_text(&*panic).to_owned())),
        };
        Some(match outcome {
            Ok(value) => CallResult::Value(value.into()),
            Err(Failure::Failed(why)) => CallResult::Failed(why),
            Err(Failure::Panicked(why)) => CallResult::Panicked(why),
            Err(Failure::Codec(why)) => {
                CallResult::Refused(format!("the result cannot be sent: {why}"))
            }
        })
    }

    /// Runs an async call to its end, or until it is dropped.
    fn poll(
        &self,
        slot: usize,
        future: BoxFuture<Result<Vec<u8>, Failure>>,
    ) -> Option<Result<Vec<u8>, Failure>> {
        let (abort, mut aborted) = oneshot::channel();
        {
            let mut state = self.lock();
            if state.ending {
                return None;
            }
            if let Some(running) = &mut state.running[slot] {
                running.abort = Some(abort);
            }
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
        let polled = catch_unwind(AssertUnwindSafe(|| self.tasks.block_on(run)));
        polled.unwrap_or_else(|panic| Some(Err(Failure::Panicked(panic_text(&*panic).to_owned()))))
    }
}
