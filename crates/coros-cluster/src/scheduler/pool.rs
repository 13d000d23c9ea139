//! The life of the worker processes of one host, without processes or clocks: when to start one, when to
//! take it for lost, and when to give up.
//!
//! # Contract
//!
//! - There are as many workers as are [wanted](Input::Want), never more; one that is lost is replaced by
//!   a new one with a new number. When fewer are wanted, those that are starting are killed; which of
//!   the ready ones have to go ([`Pool::surplus`]) is decided by whoever knows what they do, and
//!   [told](Input::Retire).
//! - A worker has `start_limit` to report after its process was started, or it is killed.
//! - A worker that is ready is lost when its process has ended *and* its link is down, so that
//!   what it said last has been heard; after the end of the process, that of the link has
//!   `LINGER`. A process whose link is down is of no use: it may be about to end and has `BREATH`
//!   for that, so that one tells how it ended by itself; then it is killed, and what one tells is
//!   why its link is down.
//! - Starting backs off: a worker that is lost within `SETTLED` of becoming ready, though it had nothing to
//!   do, or that never becomes ready, delays its replacement, the longer the more there were in a row. After
//!   `START_FAILURES` that never became ready in a row, with none left that is, the pool
//!   [gives up](Output::GiveUp).
//! - A worker is [killed](Input::Kill) on demand; its replacement does not wait.
//! - Where a host is to be prepared, one process starts alone, does that and ends, as it may do more there than those
//!   that work; these start when [it has done it](Input::HostPrepared), each where there is a place. Where the host is
//!   to be tidied up, that is for the last of them: when one is to
//!   go and none stays, no other starts, and it is told goodbye when it is alone. Where none is left and none is to
//!   come, one starts that does only that. Whoever comes next
//!   prepares the host anew. So it is prepared and tidied up in turns, and nobody works there meanwhile.
//! - Closing tells ready workers goodbye; they have a grace period; the rest is killed. It takes
//!   [no longer than this](Config::closing).
//! - The end of a process that is [far](Config::far) may be heard of late. Its calls do not wait for
//!   that, but its place does.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::upkeep::Upkeep;
use super::core::WorkerId;
use crate::isolation::explain;

/// How long a worker may be half there: after its process ended, and after it was killed.
const LINGER: Duration = Duration::from_secs(1);
/// How long a process may take to end after its link did. A process that is frozen has been silent
/// for long already, so it is short.
const BREATH: Duration = Duration::from_millis(100);
/// Who lives this long was started well.
const SETTLED: Duration = Duration::from_secs(1);
/// So many workers may fail to start in a row.
const START_FAILURES: u32 = 3;
const SHORTEST_DELAY: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// What may be configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// From the start of a process to its report.
    pub(crate) start_limit: Duration,
    /// From goodbye to kill.
    pub(crate) grace: Duration,
    /// A process prepares the host before others work there.
    pub(crate) prepares: bool,
    /// The last one has to tidy it up.
    pub(crate) tidies_up: bool,
    /// The processes are another machine's.
    pub(crate) far: bool,
}

impl Config {
    /// How long closing may take, until whoever does not end has been killed, and given up.
    pub(crate) fn closing(&self) -> Duration {
        let one = self.grace + LINGER;
        match (self.tidies_up, self.prepares) {
            (false, _) => one,
            (true, false) => 2 * one,
            // One may have to start for that, when all others are gone.
            (true, true) => 2 * one + self.start_limit,
        }
    }
}

/// What a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// To take calls.
    Work,
    /// Only to prepare the host for those that do.
    Prepare,
    /// Only to tidy it up after them.
    TidyUp,
}

/// Numbers for workers, for all pools of a scheduler.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerIds(Arc<AtomicU32>);

impl WorkerIds {
    fn next(&self) -> WorkerId {
        WorkerId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Tick,
    /// There are to be so many workers from now on.
    Want { workers: usize },
    /// A worker that is ready is to go, and has nothing left to do.
    Retire { worker: WorkerId },
    /// A worker is there, and has something to do before it takes calls, for which it has so long.
    SettingUp { worker: WorkerId, limit: Duration },
    /// A worker has prepared the host, and is about to end.
    HostPrepared { worker: WorkerId },
    /// A worker that was started for that has tidied up the host, and is about to end.
    HostTidiedUp { worker: WorkerId },
    /// A worker takes calls.
    Ready { worker: WorkerId },
    /// A worker's process has ended, or could not be started: how, and whether only because it was
    /// [killed](Output::Kill).
    Ended {
        worker: WorkerId,
        why: String,
        /// Which limits it has hit, whoever has ended it.
        hit: Vec<String>,
        killed: bool,
        /// It had calls, which are to blame; how often they run again is seen to elsewhere.
        busy: bool,
    },
    /// The link to a worker is down: why.
    Unlinked { worker: WorkerId, why: String },
    /// A worker is to be killed: why.
    Kill { worker: WorkerId, why: String },
    /// Nothing can start on the host any more, and there is nothing to tidy up.
    HostGone,
    /// All workers shall end.
    Close,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Start a process.
    Launch { worker: WorkerId, purpose: Purpose },
    /// Kill a worker's process and all that it started.
    Kill { worker: WorkerId },
    /// Tell a worker to end, and to tidy up the host first if so: it is the last one.
    Goodbye { worker: WorkerId, tidies_up: bool },
    /// A worker that was ready is gone.
    Lost { worker: WorkerId, why: String },
    /// A worker is gone that never was ready.
    Failed { worker: WorkerId, why: String },
    /// A worker is gone because it was not needed any more.
    Retired { worker: WorkerId },
    /// A worker is gone that was to do nothing but tidy up the host, and has not.
    TidyUpFailed { worker: WorkerId, why: String },
    /// There is no worker and none will come.
    GiveUp,
    /// Closing is over: these had to be killed.
    Closed { killed: Vec<WorkerId> },
}

#[derive(Debug)]
struct Process {
    /// Since when it is ready.
    ready: Option<Instant>,
    /// How it ended by itself, or why it had to be killed.
    ended: Option<String>,
    /// Why its link is down.
    unlinked: Option<String>,
    /// It has been told to be killed, for this reason.
    killed: Option<String>,
    /// It is to go, and not to be replaced.
    retiring: bool,
    /// Before that it is to tidy up the host, and nothing else.
    is_to_tidy_up: bool,
    /// It has been told to end.
    dismissed: bool,
    /// Its end was wanted, and is no sign that starting it again is in vain.
    wanted: bool,
    /// How long its setup may take, since it has begun.
    setting_up: Option<Duration>,
    /// When something must have happened.
    deadline: Option<Instant>,
}

impl Process {
    /// Neither gone nor about to go.
    fn is_live(&self) -> bool {
        !self.retiring && self.ended.is_none() && self.killed.is_none()
    }

    /// Whether there is somebody to tell anything.
    fn listens(&self) -> bool {
        self.ended.is_none() && self.unlinked.is_none() && self.killed.is_none()
    }
}

/// The pool's state.
#[derive(Debug)]
pub(crate) struct Pool {
    config: Config,
    ids: WorkerIds,
    wanted: usize,
    upkeep: Upkeep,
    processes: BTreeMap<WorkerId, Process>,
    /// Those that are lost, though their processes may be there still.
    unseen: BTreeSet<WorkerId>,
    /// When replacements are due.
    due: Vec<Instant>,
    /// Workers in a row that were lost early, and those of them that never were ready.
    streak: u32,
    failures: u32,
    closing: bool,
    killed_by_closing: Vec<WorkerId>,
}

impl Pool {
    /// A pool that wants no worker yet.
    pub(crate) fn new(config: Config, ids: WorkerIds) -> Self {
        Pool {
            config,
            ids,
            wanted: 0,
            upkeep: Upkeep::at_first(&config),
            processes: BTreeMap::new(),
            unseen: BTreeSet::new(),
            due: Vec::new(),
            streak: 0,
            failures: 0,
            closing: false,
            killed_by_closing: Vec::new(),
        }
    }

    /// When the next [`Input::Tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let processes = self
            .processes
            .values()
            .filter_map(|process| process.deadline);
        processes.chain(self.due.iter().copied()).min()
    }

    /// How many processes there are, of whatever kind.
    pub(crate) fn len(&self) -> usize {
        self.processes.len() + self.unseen.len()
    }

    /// Whether nothing more will come of it, however many processes there are.
    pub(crate) fn is_over(&self) -> bool {
        self.processes.is_empty()
    }

    /// How many of those that are ready are more than wanted, and have not been told to go.
    pub(crate) fn surplus(&self) -> usize {
        let live = self.processes.values().filter(|it| it.is_live());
        live.count().saturating_sub(self.most())
    }

    /// Whether a worker is neither gone nor about to go.
    pub(crate) fn is_live(&self, worker: WorkerId) -> bool {
        self.processes.get(&worker).is_some_and(Process::is_live)
    }

    /// Whether one is on its way.
    pub(crate) fn is_starting(&self) -> bool {
        let starts = |it: &Process| it.is_live() && it.ready.is_none();
        !self.due.is_empty() || self.processes.values().any(starts)
    }

    /// Whether the host is as it was prepared, or left by those who have worked there, and is to be tidied up.
    pub(crate) fn is_to_be_tidied_up(&self) -> bool {
        let worked = || self.processes.values().any(|it| it.ready.is_some());
        let used = match self.upkeep {
            Upkeep::Bare => false,
            Upkeep::Prepared | Upkeep::Leaving(_) => self.config.prepares || worked(),
            Upkeep::TidyingUp(_) => true,
        };
        self.config.tidies_up && used
    }

    /// How many there may be at present.
    fn most(&self) -> usize {
        match self.upkeep {
            Upkeep::Bare => self.wanted.min(1),
            Upkeep::Prepared => self.wanted,
            Upkeep::Leaving(_) | Upkeep::TidyingUp(_) => 0,
        }
    }

    /// Takes note of `input` and appends what is to be done to `out`.
    pub(crate) fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Want { workers } => self.want(now, workers, out),
            Input::Retire { worker } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.retiring = true;
                    self.say_goodbye(now, worker, out);
                }
            }
            Input::SettingUp { worker, limit } => {
                if let Some(process) = self.processes.get_mut(&worker)
                    && process.is_live()
                {
                    process.setting_up = Some(limit);
                    process.deadline = Some(now + limit);
                }
            }
            Input::HostPrepared { worker } => {
                if self.upkeep == Upkeep::Bare
                    && let Some(process) = self.processes.get_mut(&worker)
                {
                    process.retiring = true;
                    if process.listens() {
                        process.deadline = Some(now + self.config.grace);
                    }
                    self.upkeep = Upkeep::Prepared;
                    // Workers do start.
                    self.failures = 0;
                    self.fill(now);
                }
            }
            Input::HostTidiedUp { worker } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.is_to_tidy_up = false;
                }
            }
            Input::Ready { worker } => {
                // One that is being killed may have said so before.
                if let Some(process) = self.processes.get_mut(&worker)
                    && process.listens()
                    && !process.retiring
                    && process.ready.is_none()
                {
                    process.ready = Some(now);
                    process.deadline = None;
                    self.failures = 0;
                }
            }
            Input::Ended {
                worker,
                why,
                hit,
                killed,
                busy,
            } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.wanted |= busy;
                    let reason = process.killed.take().filter(|_| killed);
                    process.ended = Some(explain(reason.unwrap_or(why), &hit));
                    process.deadline = Some(now + LINGER);
                    self.bury(now, worker, false, out);
                } else if self.unseen.remove(&worker) && !self.closing {
                    self.fill(now);
                }
            }
            Input::Unlinked { worker, why } => {
                if let Some(process) = self.processes.get_mut(&worker) {
                    process.unlinked = Some(why);
                    if process.ended.is_none() && process.killed.is_none() {
                        process.deadline = Some(now + BREATH);
                    }
                    self.bury(now, worker, false, out);
                }
            }
            Input::Kill { worker, why } => self.kill(now, worker, why, out),
            Input::HostGone => self.upkeep = Upkeep::at_first(&self.config),
            Input::Close => self.close(now, out),
        }
    }

    fn want(&mut self, now: Instant, workers: usize, out: &mut Vec<Output>) {
        if self.closing {
            return;
        }
        self.wanted = workers;
        self.due.truncate(self.most().saturating_sub(self.len()));
        let starting = self.processes.iter();
        let starting = starting.filter(|(_, it)| it.is_live() && it.ready.is_none());
        let not_needed: Vec<_> = starting.map(|(id, _)| *id).rev().collect();
        for worker in not_needed.into_iter().take(self.surplus()) {
            self.handle(now, Input::Retire { worker }, out);
        }
        self.tidy_up(now, out);
        self.fill(now);
    }

    /// Has as many start as are missing.
    fn fill(&mut self, now: Instant) {
        let there = self.len() + self.due.len();
        let due = now + self.delay();
        self.due
            .resize(self.due.len() + self.most().saturating_sub(there), due);
    }

    /// Kills a worker that works as it should: its end counts for nothing.
    fn kill(&mut self, now: Instant, worker: WorkerId, why: String, out: &mut Vec<Output>) {
        if let Some(process) = self.processes.get_mut(&worker)
            && process.ended.is_none()
            && process.killed.is_none()
        {
            process.killed = Some(why);
            process.deadline = Some(now + LINGER);
            process.wanted = true;
            out.push(Output::Kill { worker });
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let late: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in late {
            self.late(now, worker, out);
        }
        let due = self.due.extract_if(.., |due| *due <= now).count();
        let purpose = match self.upkeep {
            Upkeep::Bare => Purpose::Prepare,
            _ => Purpose::Work,
        };
        for _ in 0..due {
            self.launch(now + self.config.start_limit, purpose, out);
        }
    }

    fn launch(&mut self, deadline: Instant, purpose: Purpose, out: &mut Vec<Output>) -> WorkerId {
        let worker = self.ids.next();
        let process = Process {
            ready: None,
            ended: None,
            unlinked: None,
            killed: None,
            retiring: purpose == Purpose::TidyUp,
            is_to_tidy_up: purpose == Purpose::TidyUp,
            dismissed: false,
            setting_up: None,
            wanted: false,
            deadline: Some(deadline),
        };
        self.processes.insert(worker, process);
        out.push(Output::Launch { worker, purpose });
        worker
    }

    /// What a worker's deadline was for has not happened.
    fn late(&mut self, now: Instant, worker: WorkerId, out: &mut Vec<Output>) {
        let process = self
            .processes
            .get_mut(&worker)
            .expect("the caller just saw it");
        if process.ended.is_some() || process.killed.is_some() {
            self.bury(now, worker, true, out);
            return;
        }
        process.killed = Some(if let Some(why) = &process.unlinked {
            format!("{why}, so it was killed")
        } else if self.closing || process.retiring {
            if self.closing {
                self.killed_by_closing.push(worker);
            }
            match process.is_to_tidy_up {
                true => {
                    let limit = self.config.start_limit + self.config.grace;
                    format!("killed, because it did not tidy up within {limit:?} of its start")
                }
                false => "killed, because it did not end when told to".into(),
            }
        } else if let Some(limit) = process.setting_up {
            format!("killed, because its setup took longer than {limit:?}")
        } else {
            let limit = self.config.start_limit;
            format!("killed, because it did not report within {limit:?} of its start")
        });
        process.deadline = Some(now + LINGER);
        out.push(Output::Kill { worker });
    }

    /// Forgets a process that is gone for good and sees to its replacement.
    fn bury(&mut self, now: Instant, worker: WorkerId, anyway: bool, out: &mut Vec<Output>) {
        let process = self.processes.get(&worker).expect("the caller just saw it");
        let ended = process.ended.is_some();
        // Who never was ready has no link to wait for; when all end, nobody waits for last words.
        let ends = self.closing || process.retiring;
        let unlinked = process.unlinked.is_some() || process.ready.is_none() || ends;
        let gone = ended && unlinked;
        if !(gone || anyway) {
            return;
        }
        let process = self
            .processes
            .remove(&worker)
            .expect("it was there a line ago");
        if self.config.far && !ended {
            self.unseen.insert(worker);
        }
        let why = process.ended.or(process.killed);
        let why = why.expect("nobody is buried who has neither ended nor been killed");
        let mut give_up = false;
        if process.is_to_tidy_up {
            out.push(Output::TidyUpFailed { worker, why });
        } else if process.retiring {
            out.push(Output::Retired { worker });
        } else if let Some(since) = process.ready {
            let settled = process.wanted || now.saturating_duration_since(since) >= SETTLED;
            self.streak = if settled { 0 } else { self.streak + 1 };
            out.push(Output::Lost { worker, why });
        } else {
            self.streak += 1;
            self.failures += 1;
            out.push(Output::Failed { worker, why });
            let none_ready = self.processes.values().all(|other| other.ready.is_none());
            give_up = self.failures >= START_FAILURES && none_ready && !self.closing;
        }
        self.see_to_last(now, worker, out);
        self.tidy_up(now, out);
        if give_up {
            out.push(Output::GiveUp);
            self.close(now, out);
        } else if self.closing {
            self.closed(out);
        } else {
            self.fill(now);
        }
    }

    /// How long a replacement waits: not at all for the first in a row.
    fn delay(&self) -> Duration {
        match self.streak {
            0 | 1 => Duration::ZERO,
            n => (SHORTEST_DELAY * 2u32.saturating_pow(n.min(16) - 2)).min(LONGEST_DELAY),
        }
    }

    fn close(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.due.clear();
        let workers: Vec<_> = self.processes.keys().copied().collect();
        for worker in workers {
            self.say_goodbye(now, worker, out);
        }
        self.tidy_up(now, out);
        self.closed(out);
    }

    fn say_goodbye(&mut self, now: Instant, worker: WorkerId, out: &mut Vec<Output>) {
        let process = self
            .processes
            .get_mut(&worker)
            .expect("the caller just saw it");
        if process.ended.is_some() {
            process.deadline = Some(now);
        } else if process.unlinked.is_some() || process.killed.is_some() {
            // It has a deadline, and nobody to say goodbye to.
        } else if process.dismissed || self.upkeep == Upkeep::TidyingUp(worker) {
            // It has been told, or will be when it is alone.
        } else if process.ready.is_some() {
            process.dismissed = true;
            if self.is_last(worker) {
                self.upkeep = Upkeep::Leaving(worker);
                self.due.clear();
                self.tell_last(now, out);
            } else {
                self.dismiss(now, worker, false, out);
            }
        } else {
            process.killed = Some("killed while it started".into());
            process.deadline = Some(now + LINGER);
            out.push(Output::Kill { worker });
        }
    }

    fn dismiss(&mut self, now: Instant, worker: WorkerId, tidies_up: bool, out: &mut Vec<Output>) {
        if let Some(process) = self.processes.get_mut(&worker)
            && process.listens()
        {
            process.deadline = Some(now + self.config.grace);
            out.push(Output::Goodbye { worker, tidies_up });
        }
    }

    fn closed(&mut self, out: &mut Vec<Output>) {
        if self.processes.is_empty() {
            let killed = std::mem::take(&mut self.killed_by_closing);
            out.push(Output::Closed { killed });
        }
    }
}

#[cfg(test)]
mod tests;
