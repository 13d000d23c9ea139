//! What a client has in place of a scheduler's coroutine when a service runs its calls: takes the same commands,
//! and passes on what they are about.
//!
//! It keeps each call until it has ended. When the service is lost it looks for one, perhaps the same one
//! come back, and hands over anew what has not ended; a call may then run twice, but has one end.

mod asked;
mod course;
mod known;
mod ledger;
mod link;
mod seek;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use coros_core::{Address, Context};
use coros_net::{Location, Node, clock};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use self::asked::Asked;
use self::course::Rest;
use self::known::Known;
use self::ledger::Ledger;
use self::link::Link;
pub(super) use self::seek::Which;
use super::builder::Stderr;
use super::core::{CallId, Rank};
use super::in_vain::InVain;
use super::job::Completed;
use super::judge::Judge;
use super::lines::{self, Printer, Written};
use super::listeners::Listeners;
use super::plan::{Plan, Usage};
use super::reach::{apart, facing};
use super::remote::{Ended, RemoteCall};
use super::wait::Wait;
use super::{Command, Event, Item, JobError, Submission};
use crate::computation::Cargo;
use crate::feeder::{NO_ROOM, Unsent};
use crate::hash::ContentHash;
use crate::placement::NodeView;
use crate::protocol::{TOO_LARGE, ToScheduler};
use crate::service::protocol::{FromTenant, Key, ToTenant};

/// So many messages are taken before calls are handed over.
const BATCH: usize = 256;
/// Calls go together up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How long after its scheduler should have ended a tenant may be silent.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Settings {
    /// This process on the network of the daemons.
    pub(super) node: Node,
    pub(super) service: Which,
    /// This process on the network of its workers.
    pub(super) here: Location,
    pub(super) key: Key,
    pub(super) plan: Plan,
    pub(super) usage: Usage,
    pub(super) cargo: Arc<Cargo>,
    pub(super) judge: Judge,
    pub(super) stderr: Stderr,
}

pub(super) struct Agent {
    address: Address<ToScheduler>,
    settings: Settings,
    ledger: Ledger<Item>,
    /// Takes what workers write to standard error.
    lines: Address<Written>,
    listeners: Listeners,
    /// For those who begin to listen.
    known: Known,
    /// Who waits for what.
    asked: HashMap<u64, Asked>,
    next_question: u64,
    /// Who waits for the first node.
    started: Option<oneshot::Sender<Result<(), String>>>,
    /// Who waits for the end, and which workers had to be killed then.
    closing: Vec<oneshot::Sender<Vec<Arc<str>>>>,
    killed: Vec<Arc<str>>,
    /// The tenant that is to be told of it.
    leaving: Option<Link>,
    phase: Phase,
    /// Which opening of a computation is the one that counts, and how many there have been.
    epoch: u64,
    epochs: Arc<AtomicU64>,
    /// What tenants have said before it was known here that there is one; and of which opening.
    early: Vec<(u64, FromTenant)>,
    /// Until when those who wait do so, while there is no service.
    patience: Option<Wait>,
    /// There was none for too long, and none has been found since.
    in_vain: InVain,
    /// Why there is none.
    unused: BTreeMap<String, String>,
    /// Services that were of no use though they are there.
    resting: HashMap<NodeId, Rest>,
}

enum Phase {
    /// Ends when dropped.
    Looking(#[expect(dead_code, reason = "held")] AbortOnDropHandle<()>),
    Open(Link),
    /// Until when.
    Closing(Link, Instant),
    /// The computation cannot run: why. Calls are refused until somebody closes.
    Failed(String),
    Closed,
}

impl Agent {
    pub(super) fn new(
        me: &Context<ToScheduler>,
        settings: Settings,
        listeners: Listeners,
        started: oneshot::Sender<Result<(), String>>,
    ) -> Self {
        Agent {
            address: me.address(),
            lines: lines::take_written(Printer::new(Arc::clone(&settings.stderr))),
            settings,
            ledger: Ledger::new(),
            listeners,
            known: Known::default(),
            asked: HashMap::new(),
            next_question: 0,
            started: Some(started),
            closing: Vec::new(),
            killed: Vec::new(),
            leaving: None,
            phase: Phase::Closed,
            epoch: 0,
            epochs: Arc::default(),
            early: Vec::new(),
            patience: None,
            in_vain: InVain::default(),
            unused: BTreeMap::new(),
            resting: HashMap::new(),
        }
    }

    /// Runs until the scheduler is closed, or told to terminate, as at the end of the program.
    pub(super) async fn run(mut self, mut me: Context<ToScheduler>) {
        let mut terminating = me.terminating();
        let mut told = false;
        let mut inbox = Vec::with_capacity(BATCH);
        self.look();
        while !matches!(self.phase, Phase::Closed) {
            self.watch_patience();
            let tick = clock::until(self.deadline());
            let feeding = async {
                match &mut self.phase {
                    Phase::Open(link) | Phase::Closing(link, _) => link.feeder.turn().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut terminating, if !told => {
                    told = true;
                    self.close(None);
                }
                n = me.receive_many(&mut inbox, BATCH) => {
                    if n == 0 {
                        // The runtime ends.
                        break;
                    }
                }
                sent = feeding => match sent {
                    Err(Unsent::TooLarge(message)) => self.unsent(message),
                    Err(Unsent::NoRoom) => self.lost(NO_ROOM),
                    Ok(()) => {}
                },
                () = tick => self.tick(),
            }
            for message in inbox.drain(..) {
                self.take(message);
            }
            self.hand_over();
        }
        if let Some(link) = self.leaving.take() {
            link.leave(self.settings.node.clone()).await;
        }
        let killed = self.killed.clone();
        self.listeners.tell(&Event::Closed { killed });
        for tell in self.closing.drain(..) {
            let _ = tell.send(self.killed.clone());
        }
    }

    fn take(&mut self, message: ToScheduler) {
        match message {
            ToScheduler::Command(command) => self.command(command),
            ToScheduler::Service(epoch, message) => match self.phase {
                Phase::Looking(_) => self.early.push((epoch, message)),
                _ if epoch == self.epoch => self.told(message),
                // Of a tenant that was given up.
                _ => {}
            },
            // Workers have another scheduler.
            ToScheduler::Report(..) => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Submit(submissions) => {
                for Submission { call, item } in submissions {
                    self.submit(call, item);
                }
            }
            Command::Cancel(call) => {
                if let Some((item, sent)) = self.ledger.end(call) {
                    if sent {
                        self.say(ToTenant::Cancel(call));
                    }
                    let cancelled = Completed::without_worker(JobError::Cancelled);
                    self.ended(call, item, cancelled);
                }
            }
            Command::Subscribe(to) => {
                if !self.listeners.any() {
                    self.say(ToTenant::Listen);
                }
                let awaited = self.awaited_so_far();
                let before = awaited.into_iter().chain(self.known.so_far());
                self.listeners.add(to, before);
            }
            Command::Targets(kind, reply) => {
                let asked = Asked::Targets(reply);
                self.ask(asked, |number| ToTenant::Targets(number, kind));
            }
            Command::Muster(reply) => self.ask(Asked::Targets(reply), ToTenant::Muster),
            Command::Control(target, action, reply) => {
                let asked = Asked::Control(target.clone(), reply);
                self.ask(asked, |number| ToTenant::Control(number, target, action));
            }
            Command::Joined { epoch, at, tenant } => self.joined(epoch, at, tenant),
            Command::NotUsed(at, why) => self.not_used(&at, why),
            Command::Left { epoch, why } if epoch == self.epoch => self.lost(&why),
            Command::Sent { epoch, sent } if epoch == self.epoch => match sent {
                Ok(message) => self.say(message),
                Err(unfit) => self.unfit(unfit),
            },
            Command::Close(tell) => self.close(tell),
            // What a scheduler with workers of its own is told.
            _ => {}
        }
    }

    fn submit(&mut self, call: CallId, item: Item) {
        let refusal = match &self.phase {
            Phase::Looking(_) if let Some(why) = self.in_vain.why() => {
                JobError::NoWorkers(why.to_owned())
            }
            Phase::Looking(_) | Phase::Open(_) => {
                let options = item.options.as_deref();
                let priority = options.map_or(0, |it| it.core.priority);
                let bytes = item.bytes();
                return self.ledger.add(Rank::new(priority, call), bytes, item);
            }
            Phase::Failed(why) => JobError::NoWorkers(why.clone()),
            Phase::Closing(..) | Phase::Closed => JobError::Closed,
        };
        item.reply.send(Completed::without_worker(refusal));
    }

    /// A call has ended for whoever waits for it.
    fn ended(&mut self, call: CallId, item: Item, completed: Completed) {
        if self.listeners.any() {
            self.listeners.tell(&item.ended(call, &completed));
        }
        item.reply.send(completed);
    }

    fn end_all(&mut self, why: &JobError) {
        for (call, item) in self.ledger.clear() {
            self.ended(call, item, Completed::without_worker(why.clone()));
        }
    }

    fn say(&mut self, message: ToTenant) {
        if let Phase::Open(link) | Phase::Closing(link, _) = &mut self.phase {
            link.feeder.push(message);
        }
    }

    /// Asks the tenant something; where there is none, there are no nodes.
    fn ask(&mut self, asked: Asked, message: impl FnOnce(u64) -> ToTenant) {
        match self.phase {
            Phase::Open(_) => {
                let number = self.next_question;
                self.next_question += 1;
                self.asked.insert(number, asked);
                self.say(message(number));
            }
            _ => asked.answer_nothing(),
        }
    }

    /// Hands over calls as the window and the link have room for them.
    fn hand_over(&mut self) {
        let Phase::Open(link) = &mut self.phase else {
            return;
        };
        while link.ready && link.feeder.is_idle() {
            let (mut calls, mut bytes) = (Vec::new(), 0);
            while calls.len() < BATCH
                && bytes < BATCH_BYTES
                && let Some((call, item, each)) = self.ledger.next()
            {
                bytes += each;
                let large = each >= BATCH_BYTES && !calls.is_empty();
                let call = RemoteCall::of(call, item);
                if large {
                    // Alone, so that no other is refused with it.
                    link.feeder
                        .push(ToTenant::Calls(std::mem::take(&mut calls)));
                }
                calls.push(call);
            }
            if calls.is_empty() {
                return;
            }
            link.feeder.push(ToTenant::Calls(calls));
        }
    }

    /// What is too large for a message: whoever waits for what comes of it is told so.
    fn unsent(&mut self, message: ToTenant) {
        match message {
            ToTenant::Calls(calls) => self.refuse(calls),
            ToTenant::Control(number, target, _) => {
                if let Some(Asked::Control(_, reply)) = self.asked.remove(&number) {
                    let bytes = target.name().len();
                    let why = format!("a name of {bytes} bytes, which is too long to be sent");
                    // Who has asked may have gone away.
                    let _ = reply.send(Err(JobError::Refused(why)));
                }
            }
            // These have room.
            ToTenant::Sent
            | ToTenant::Packed(_)
            | ToTenant::Judged(..)
            | ToTenant::Cancel(_)
            | ToTenant::Listen
            | ToTenant::Targets(..)
            | ToTenant::Muster(_)
            | ToTenant::Close
            | ToTenant::Leave => {}
        }
    }

    /// Calls that are too large for a message: each is alone in it.
    fn refuse(&mut self, calls: Vec<RemoteCall>) {
        for call in calls {
            if let Some((item, _)) = self.ledger.end(call.call()) {
                let why = format!("the arguments cannot be sent{TOO_LARGE}");
                let refused = Completed::without_worker(JobError::Refused(why));
                self.ended(call.call(), item, refused);
            }
        }
    }

    fn told(&mut self, message: FromTenant) {
        match message {
            FromTenant::Send(content) => self.send_file(content),
            FromTenant::Pack(contents) => self.send_pack(contents),
            FromTenant::Unfit(unfit) => self.unfit(unfit),
            FromTenant::Waits(before) => {
                if let Some(name) = self.fits() {
                    self.listeners.tell(&Event::ServiceBusy { name, before });
                }
            }
            FromTenant::Runs => {
                if let Some(name) = self.fits() {
                    self.listeners.tell(&Event::ServiceReady { name });
                }
                if self.listeners.any() {
                    self.say(ToTenant::Listen);
                }
            }
            FromTenant::Judge(id, view, new) => self.judge(id, &view, new),
            FromTenant::Started(started) => self.has_started(started),
            FromTenant::Ended(ends) => {
                for Ended { call, completed } in ends {
                    if let Some((item, _)) = self.ledger.end(call) {
                        self.ended(call, item, completed);
                    }
                }
            }
            FromTenant::Events(events) => {
                for event in events {
                    self.happened(event);
                }
            }
            FromTenant::Targets(number, targets) => {
                if let Some(Asked::Targets(reply)) = self.asked.remove(&number) {
                    // Who has asked may have gone away.
                    let _ = reply.send(targets);
                }
            }
            FromTenant::Controlled(number, done) => {
                if let Some(Asked::Control(_, reply)) = self.asked.remove(&number) {
                    let _ = reply.send(done);
                }
            }
            FromTenant::Closed(killed) => self.closed(&killed),
        }
    }

    fn judge(&mut self, id: NodeId, view: &NodeView, new: bool) {
        let Phase::Open(link) = &self.phase else {
            return;
        };
        let Settings { here, judge, .. } = &self.settings;
        let apart = || apart(here, &link.at, view, facing);
        let verdict = judge.decide(view, new, apart);
        if verdict.share.is_ok() {
            self.known.is_to_be_used(view);
        }
        self.say(ToTenant::Judged(id, Box::new(verdict)));
    }

    fn happened(&mut self, mut event: Event) {
        match &mut event {
            Event::JobStarted {
                job,
                worker,
                attempt,
                ..
            } => {
                // One that was cancelled has ended.
                let (call, attempt) = (CallId(*job), *attempt);
                let item = self.ledger.get_mut(call);
                let Some(started) =
                    item.and_then(|it| it.started(call, Arc::clone(worker), attempt))
                else {
                    return;
                };
                event = started;
            }
            Event::JobRetried { job, .. } => {
                let Some(item) = self.ledger.get_mut(CallId(*job)) else {
                    return;
                };
                item.begun = None;
            }
            Event::JobWaits { job, .. } if self.ledger.get_mut(CallId(*job)).is_none() => return,
            // It is told anew when the service begins to be listened to.
            event if self.known.is_awaited_as(event) => return,
            event => self.known.heard(event),
        }
        self.listeners.tell(&event);
    }

    fn has_started(&mut self, started: Result<(), String>) {
        if let Phase::Open(link) = &mut self.phase {
            link.ready = true;
        }
        match (self.started.take(), started) {
            (Some(tell), started) => drop(tell.send(started)),
            (None, Err(why)) => self.end_all(&JobError::NoWorkers(why)),
            (None, Ok(())) => {}
        }
    }

    fn send_file(&mut self, content: ContentHash) {
        if let Phase::Open(link) = &mut self.phase {
            let Settings { node, cargo, .. } = &self.settings;
            let file = link::file(node.clone(), link.at.clone(), Arc::clone(cargo), content);
            link.send(self.address.clone(), file);
        }
    }

    fn send_pack(&mut self, contents: Vec<ContentHash>) {
        if let Phase::Open(link) = &mut self.phase {
            let pack = link::pack(Arc::clone(&self.settings.cargo), contents);
            link.send(self.address.clone(), pack);
        }
    }
}
