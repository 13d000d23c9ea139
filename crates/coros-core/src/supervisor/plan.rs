//! What a supervisor decides, without doing it: no clocks, tasks or coroutines in here.
//!
//! Whoever runs the plan tells it what has happened ([`Plan::started`], [`Plan::ended`], requests
//! from outside), and asks for the [`next`](Plan::next) step until that is to wait. Each child has
//! a state and a goal; a step brings one child nearer to its goal, in this order:
//!
//! 1. children that have to stop, the last started first. When they depend on each other, one
//!    at a time: the next is stopped when the one before has ended;
//! 2. children that should be up and are not, in the order in which they were added. When they
//!    depend on each other, nobody starts while somebody stops or an earlier one is not up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::time::Instant;

use super::{ChildState, GaveUp, Restart, Strategy};
use crate::Exit;

/// How often, and how fast, a supervisor starts children again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) restarts: usize,
    pub(super) period: Duration,
    pub(super) backoff_min: Duration,
    pub(super) backoff_max: Duration,
    /// A child that ran for so long has made good its earlier failures.
    pub(super) calm: Option<Duration>,
}

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start this child and report it.
    Start(Arc<str>),
    /// Terminate this child; its end is reported when it comes.
    Terminate(Arc<str>),
    /// Wait for something to happen, at most until then.
    Wait(Option<Instant>),
    /// Nothing is left to do.
    Close(Option<GaveUp>),
}

pub(super) struct Plan<T> {
    strategy: Strategy,
    limits: Limits,
    /// In the order in which they are started.
    children: IndexMap<Arc<str>, Child<T>>,
    /// When children had to be started again, within the last period.
    recent: VecDeque<Instant>,
    closing: Option<Option<GaveUp>>,
}

pub(super) struct Child<T> {
    /// What only the runner of the plan knows.
    pub(super) work: T,
    pub(super) restart: Restart,
    pub(super) starts: u64,
    pub(super) last_exit: Option<Exit>,
    life: Life,
    /// Whether it is to be started when it is down.
    wanted: bool,
    /// Whether it is to be stopped, or is being stopped.
    stop: bool,
    not_before: Option<Instant>,
    started: Option<Instant>,
    /// Failures without a calm time between them.
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Down,
    Up,
    /// Asked to end.
    Stopping,
}

impl<T> Child<T> {
    fn new(work: T, restart: Restart) -> Self {
        Child {
            work,
            restart,
            starts: 0,
            last_exit: None,
            life: Life::Down,
            wanted: true,
            stop: false,
            not_before: None,
            started: None,
            failures: 0,
        }
    }

    pub(super) fn state(&self) -> ChildState {
        match self.life {
            Life::Up if !self.stop => ChildState::Running,
            Life::Up | Life::Stopping => ChildState::Stopping,
            Life::Down if self.wanted => ChildState::Starting,
            Life::Down => ChildState::Stopped,
        }
    }

    /// Has it stopped for a reason that is not its own.
    fn stop_for_others(&mut self, not_before: Option<Instant>) {
        if !self.wanted {
            return;
        }
        self.stop = self.life != Life::Down;
        self.not_before = not_before;
        if self.restart == Restart::Temporary {
            self.wanted = false;
        }
    }
}

impl<T> Plan<T> {
    pub(super) fn new(strategy: Strategy, limits: Limits) -> Self {
        Plan {
            strategy,
            limits,
            children: IndexMap::new(),
            recent: VecDeque::new(),
            closing: None,
        }
    }

    /// Adds a child at the end; gives it back when there is one of that name.
    pub(super) fn add(&mut self, id: Arc<str>, restart: Restart, work: T) -> Result<(), T> {
        if self.children.contains_key(&id) {
            return Err(work);
        }
        self.children.insert(id, Child::new(work, restart));
        Ok(())
    }

    pub(super) fn child(&mut self, id: &str) -> Option<&mut Child<T>> {
        self.children.get_mut(id)
    }

    pub(super) fn children(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Arc<str>, &Child<T>)> + ExactSizeIterator {
        self.children.iter()
    }

    // --- What has happened ----------------------------------------------------------------

    pub(super) fn started(&mut self, id: &str, now: Instant) {
        if let Some(child) = self.children.get_mut(id) {
            child.life = Life::Up;
            child.starts += 1;
            child.started = Some(now);
            child.not_before = None;
        }
    }

    /// A child has ended, or could not be started. Returns it if it is forgotten by that.
    pub(super) fn ended(&mut self, id: &str, exit: Exit, now: Instant) -> Option<Child<T>> {
        let (index, _, child) = self.children.get_full_mut(id)?;
        child.life = Life::Down;
        child.last_exit = Some(exit.clone());
        if child.stop {
            child.stop = false;
        } else if self.closing.is_some() {
            child.wanted = false;
        } else if child.restart.after(&exit) {
            self.again(index, exit, now);
        } else {
            child.wanted = false;
        }
        self.forget_if_done(id)
    }

    fn forget_if_done(&mut self, id: &str) -> Option<Child<T>> {
        let child = self.children.get(id)?;
        let done = child.restart == Restart::Temporary && !child.wanted && child.life == Life::Down;
        if done {
            self.children.shift_remove(id)
        } else {
            None
        }
    }

    /// A child has failed and has to be started again, and others with it; or it is too much.
    fn again(&mut self, failed: usize, exit: Exit, now: Instant) {
        self.recent.push_back(now);
        let period = self.limits.period;
        self.recent.retain(|at| now.duration_since(*at) < period);
        if self.recent.len() > self.limits.restarts
            && let Some((id, _)) = self.children.get_index(failed)
        {
            let gave_up = GaveUp {
                child: Arc::clone(id),
                exit,
                restarts: self.limits.restarts,
                period,
            };
            self.close(Some(gave_up));
            return;
        }
        let child = &mut self.children[failed];
        let calm = self
            .limits
            .calm
            .unwrap_or(period.max(self.limits.backoff_max));
        let ran = child.started.map(|at| now.duration_since(at));
        if ran.is_some_and(|ran| ran >= calm) {
            child.failures = 0;
        }
        child.failures += 1;
        let not_before = now.checked_add(self.limits.delay(child.failures));
        child.not_before = not_before;
        // Of one that could not be started, the time of the last run does not count twice.
        child.started = None;
        let first = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => failed + 1,
        };
        for index in first..self.children.len() {
            if index != failed {
                self.children[index].stop_for_others(not_before);
            }
        }
    }

    // --- What others want -----------------------------------------------------------------

    /// Stops a child for good. Returns it if it is forgotten by that.
    pub(super) fn stop(&mut self, id: &str) -> Option<Child<T>> {
        let child = self.children.get_mut(id)?;
        child.wanted = false;
        child.stop = child.life != Life::Down;
        self.forget_if_done(id)
    }

    /// Stops a child if it is up, and starts it.
    pub(super) fn restart(&mut self, id: &str) {
        if let Some(child) = self.children.get_mut(id) {
            child.wanted = true;
            child.stop = child.life != Life::Down;
            child.not_before = None;
            child.failures = 0;
        }
    }

    /// Stops everything.
    pub(super) fn close(&mut self, why: Option<GaveUp>) {
        self.closing.get_or_insert(why);
        for child in self.children.values_mut() {
            child.wanted = false;
            child.stop = child.life != Life::Down;
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    // --- What to do -----------------------------------------------------------------------

    pub(super) fn next(&mut self, now: Instant) -> Step {
        let one_by_one = self.strategy != Strategy::OneForOne || self.closing.is_some();
        let mut stopping = false;
        for (id, child) in self.children.iter_mut().rev() {
            if child.stop && child.life == Life::Up {
                child.life = Life::Stopping;
                return Step::Terminate(Arc::clone(id));
            }
            if child.stop && one_by_one {
                stopping = true;
                break;
            }
        }
        if let Some(why) = &self.closing {
            return if self.children.values().all(|it| it.life == Life::Down) {
                Step::Close(why.clone())
            } else {
                Step::Wait(None)
            };
        }
        if stopping {
            return Step::Wait(None);
        }
        let mut until: Option<Instant> = None;
        for (id, child) in &self.children {
            if !child.wanted || child.life != Life::Down {
                continue;
            }
            match child.not_before.filter(|at| *at > now) {
                None => return Step::Start(Arc::clone(id)),
                Some(at) => until = Some(until.map_or(at, |until| until.min(at))),
            }
            if one_by_one {
                break;
            }
        }
        Step::Wait(until)
    }
}

impl Limits {
    /// How long to wait before the start after so many failures, one or more.
    fn delay(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures - 1);
        self.backoff_min
            .saturating_mul(factor)
            .min(self.backoff_max)
    }
}

impl Restart {
    /// Whether a child that ended so by itself is started again.
    fn after(self, exit: &Exit) -> bool {
        match self {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_finished(),
            Restart::Temporary => false,
        }
    }
}
