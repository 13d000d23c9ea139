//! The course of a computation from service to service: one is looked for, tried, left alone for a while when it is of no
//! use, and replaced when it is lost; until the scheduler is closed, or nobody shall wait any longer.

use std::sync::Arc;
use std::time::Instant;

use coros_core::remote::NodeId;
use coros_core::{Address, Exit};
use coros_net::Location;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::super::backoff::Backoff;
use super::super::job::Completed;
use super::super::reach::{facing, out_of_reach};
use super::super::wait::{Due, Wait};
use super::super::{Command, Event, Item, JobError};
use super::known::Known;
use super::link::Link;
use super::seek::Seek;
use super::{Agent, CLOSE_LIMIT, Phase};
use crate::daemon::fetch::Unfit;
use crate::protocol::ToScheduler;
use crate::service::protocol::{Opening, ToTenant};

/// A service that was of no use though it is there.
pub(super) struct Rest {
    backoff: Backoff,
    until: tokio::time::Instant,
}

impl Default for Rest {
    fn default() -> Self {
        Rest {
            backoff: Backoff::default(),
            until: tokio::time::Instant::now(),
        }
    }
}

impl Agent {
    /// Looks for a service, and opens a computation there.
    pub(super) fn look(&mut self) {
        self.early.clear();
        let resting = self.resting.iter().map(|(id, rest)| (*id, rest.until));
        let resting = resting.collect();
        let opening = Opening {
            client: self.address.clone(),
            sender: None,
            lines: self.lines.clone(),
            epoch: 0,
            from: self.settings.node.location(),
            here: self.settings.here.clone(),
            key: self.settings.key.clone(),
            manifest: self.settings.cargo.manifest(),
            plan: self.settings.plan.clone(),
            usage: self.settings.usage,
        };
        let seek = Seek {
            node: self.settings.node.clone(),
            which: self.settings.service.clone(),
            resting,
            epochs: Arc::clone(&self.epochs),
            opening,
        };
        let seeking = tokio::spawn(seek.run());
        self.phase = Phase::Looking(AbortOnDropHandle::new(seeking));
    }

    pub(super) fn joined(&mut self, epoch: u64, at: Location, tenant: Address<ToTenant>) {
        if !matches!(self.phase, Phase::Looking(_)) {
            // It must not wait for one that will never come.
            let link = Link::new(epoch, at, tenant);
            tokio::spawn(link.leave(self.settings.node.clone()));
            return;
        }
        self.epoch = epoch;
        self.in_vain.clear();
        let agent = self.address.clone();
        tenant.on_exit(move |exit| {
            let why = match exit {
                Exit::Finished => "it has ended all that it had run for this program".to_owned(),
                exit => exit.to_string(),
            };
            let left = Command::Left { epoch, why };
            drop(agent.send(ToScheduler::Command(left)));
        });
        self.listeners.tell(&Event::ServiceFound {
            name: Arc::clone(&at.name),
            endpoint: at.endpoint,
        });
        let why = out_of_reach(&self.settings.here, &at, facing);
        self.phase = Phase::Open(Link::new(epoch, at, tenant));
        if let Some(why) = why {
            // Once calls have run elsewhere, they may do so again.
            let passes = self.started.is_none();
            return self.unfit(Unfit { why, passes });
        }
        let early = std::mem::take(&mut self.early).into_iter();
        for (_, message) in early.filter(|(of, _)| *of == epoch) {
            self.told(message);
        }
    }

    /// The service will run the computation, or does: its name.
    pub(super) fn fits(&mut self) -> Option<Arc<str>> {
        let Phase::Open(link) = &mut self.phase else {
            return None;
        };
        link.fits = true;
        self.unused.clear();
        self.resting.remove(&link.at.node);
        Some(Arc::clone(&link.at.name))
    }

    /// There is a service that cannot be used.
    pub(super) fn not_used(&mut self, at: &Location, why: String) {
        if self.unused.get(&at.to_string()) == Some(&why) {
            return;
        }
        self.listeners.tell(&Event::ServiceNotUsed {
            name: Arc::clone(&at.name),
            reason: why.clone(),
        });
        self.unused.insert(at.to_string(), why);
    }

    /// Leaves a service alone for a while, and longer each time.
    fn leave_alone(&mut self, service: NodeId) {
        let Rest { backoff, until } = self.resting.entry(service).or_default();
        *until = tokio::time::Instant::now() + backoff.pause(false);
    }

    /// The tenant is no more, or cannot be reached.
    pub(super) fn lost(&mut self, why: &str) {
        let Some(link) = self.leave_link() else {
            return;
        };
        let name = Arc::clone(&link.at.name);
        let reason = format!("service {name} was lost: {why}");
        self.unused.insert(link.at.to_string(), why.to_owned());
        self.listeners.tell(&Event::ServiceLost {
            name,
            reason: why.to_owned(),
        });
        self.end_those_that_stay(&reason);
        let (useful, service) = (link.fits, link.at.node);
        // It may be there all the same.
        tokio::spawn(link.leave(self.settings.node.clone()));
        // Whoever was of use may be back at once, and is waited for anew.
        self.patience = None;
        if !useful {
            self.leave_alone(service);
        }
        self.look();
    }

    /// The service cannot run the computation, for now or ever.
    pub(super) fn unfit(&mut self, unfit: Unfit) {
        if !unfit.passes {
            return self.fail(unfit.why);
        }
        let Some(link) = self.leave_link() else {
            return;
        };
        let at = link.at.clone();
        self.not_used(&at, unfit.why);
        tokio::spawn(link.leave(self.settings.node.clone()));
        self.leave_alone(at.node);
        self.look();
    }

    /// Gives up the link to the service that runs the computation, or was to. When all was to end anyway, it has.
    fn leave_link(&mut self) -> Option<Link> {
        match self.phase {
            Phase::Open(_) => {}
            Phase::Closing(..) => {
                self.closed(&[]);
                return None;
            }
            Phase::Looking(_) | Phase::Failed(_) | Phase::Closed => return None,
        }
        for (_, asked) in self.asked.drain() {
            asked.answer_nothing();
        }
        self.known = Known::default();
        self.give_up()
    }

    /// Of what a lost service had, some may not run twice, and some can run nowhere else.
    fn end_those_that_stay(&mut self, reason: &str) {
        let retries = self.settings.plan.retries;
        let may_run_again = |item: &mut Item| {
            item.begun = None;
            let options = item.options.as_deref();
            let own = options.and_then(|it| it.core.retries);
            own.unwrap_or(retries) > 0 && item.target().is_none()
        };
        for (call, item) in self.ledger.lost(may_run_again) {
            let error = match item.target() {
                Some(target) => JobError::TargetLost(target.clone()),
                None => JobError::Abandoned {
                    losses: 1,
                    reason: reason.to_owned(),
                },
            };
            self.ended(call, item, Completed::without_worker(error));
        }
    }

    pub(super) fn watch_patience(&mut self) {
        let waits = self.started.is_some() || !self.ledger.is_empty();
        match &self.phase {
            _ if !waits => self.patience = None,
            Phase::Looking(_) => {
                let wait = Wait::new(Instant::now(), self.settings.usage.patience);
                self.patience.get_or_insert(wait);
            }
            // It may turn out to be of no use.
            Phase::Open(link) if !link.fits => {}
            _ => self.patience = None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Closing(_, until) => Some(*until),
            Phase::Looking(_) => self.patience.as_ref().map(Wait::deadline),
            _ => None,
        }
    }

    pub(super) fn tick(&mut self) {
        if let Phase::Closing(..) = &self.phase {
            return self.closed(&[]);
        }
        match self.patience.as_mut().and_then(|it| it.due(Instant::now())) {
            Some(Due::Told) => self.listeners.tell(&self.awaited()),
            Some(Due::Over) => self.waited_in_vain(),
            None => {}
        }
    }

    /// That a service is waited for.
    fn awaited(&self) -> Event {
        let limit = self.settings.usage.patience;
        let reason = self.none_instead(format!("waiting for a service, up to {limit:?}"));
        Event::NodesAwaited { limit, reason }
    }

    /// That, if it has been told.
    pub(super) fn awaited_so_far(&self) -> Option<Event> {
        let wait = self.patience.as_ref();
        wait.is_some_and(Wait::is_told).then(|| self.awaited())
    }

    /// There has been no service for too long: nobody shall wait any longer.
    fn waited_in_vain(&mut self) {
        self.patience = None;
        let limit = self.settings.usage.patience;
        let why = self.none_instead(format!("no service was there for {limit:?}"));
        self.listeners.tell(&Event::NoNodes {
            reason: why.clone(),
        });
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why.clone()));
        }
        self.end_all(&JobError::NoWorkers(why.clone()));
        self.in_vain.set(limit, why);
    }

    /// What there is instead of a service.
    fn none_instead(&self, mut text: String) -> String {
        if self.unused.is_empty() {
            let which = &self.settings.service;
            text.push_str(&format!(
                "; none{which} was found: does `coros scheduler` run there, with the same secret, and \
                 does this program know where (by a peer, or by discovery)?"
            ));
        }
        for (at, reason) in &self.unused {
            text.push_str(&format!("\n    {at}: {reason}"));
        }
        text
    }

    /// The computation cannot run.
    fn fail(&mut self, why: String) {
        match self.phase {
            Phase::Looking(_) | Phase::Open(_) => {}
            Phase::Closing(..) => return self.closed(&[]),
            Phase::Failed(_) | Phase::Closed => return,
        }
        if let Some(link) = self.give_up() {
            tokio::spawn(link.leave(self.settings.node.clone()));
        }
        if let Some(started) = self.started.take() {
            let _ = started.send(Err(why.clone()));
        }
        self.end_all(&JobError::NoWorkers(why.clone()));
        self.phase = Phase::Failed(why);
    }

    pub(super) fn close(&mut self, tell: Option<oneshot::Sender<Vec<Arc<str>>>>) {
        self.closing.extend(tell);
        if matches!(self.phase, Phase::Closing(..) | Phase::Closed) {
            return;
        }
        self.end_all(&JobError::Closed);
        for (_, asked) in self.asked.drain() {
            asked.answer_nothing();
        }
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(mut link) => {
                link.feeder.push(ToTenant::Close);
                let until = Instant::now() + self.settings.plan.ending() + CLOSE_LIMIT;
                self.phase = Phase::Closing(link, until);
            }
            _ => self.closed(&[]),
        }
    }

    pub(super) fn closed(&mut self, killed: &[Arc<str>]) {
        self.killed = killed.to_vec();
        self.leaving = self.give_up();
    }

    /// From now on there is no tenant.
    fn give_up(&mut self) -> Option<Link> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(link) | Phase::Closing(link, _) => Some(link),
            _ => None,
        }
    }
}
