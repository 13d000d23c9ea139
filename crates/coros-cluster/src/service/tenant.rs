//! What a service has of one client: its program, a scheduler that runs it, and all that the two say to each
//! other.
//!
//! Nothing waits here for a client without a bound: of calls it sends no more than a window of bytes, and gets their
//! ends; for each there are some events; and who writes more to standard error than the client takes has to wait.

use std::collections::HashMap;

use coros_core::remote::{BoxFuture, NodeId};
use coros_core::{Address, Context};
use coros_net::Node;
use tokio::sync::{Notify, mpsc, oneshot};

use super::protocol::{FromTenant, Opening, Own, OwnTenant, ToService, ToTenant};
use super::queue::TenantId;
use crate::computation::Cargo;
use crate::daemon::fetch::{Fetched, Fetching, Sender};
use crate::feeder::Feeder;
use crate::hash::ContentHash;
use crate::protocol::ToScheduler;
use crate::scheduler::builder::reached_as;
use crate::scheduler::judge::{Asks, Question};
use crate::scheduler::lines;
use crate::scheduler::remote::{Deputy, Ended, Ends};
use crate::scheduler::target::Kind as TargetKind;
use crate::scheduler::{Action, Command, Completed, Event, JobError, Target};
use crate::store::Kind;

/// So many messages are taken before any is sent.
const BATCH: usize = 256;
/// What is told goes together up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) struct Tenant {
    id: TenantId,
    service: Address<ToService>,
    /// The service's node.
    node: Node,
    opening: Opening,
    told: Feeder<ToScheduler>,
    /// What travels, once it is here.
    fetched: Option<Fetched>,
    scheduler: Option<Running>,
    /// Nodes about which the client has been asked.
    asking: HashMap<NodeId, Box<Question>>,
    ends: Ends,
    events: mpsc::UnboundedSender<Event>,
}

/// A scheduler that runs.
struct Running {
    address: Address<ToScheduler>,
    /// On the network of the workers.
    own: Node,
    /// The client knows what happens.
    heard: bool,
    closing: bool,
    over: bool,
}

/// What the scheduler says that is only to be passed on.
struct Outgoing {
    ends: mpsc::UnboundedReceiver<(usize, Completed)>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Tenant {
    /// Serves a client until it leaves, is gone, or the service ends.
    pub(super) async fn run(
        id: TenantId,
        service: Address<ToService>,
        node: Node,
        opening: Opening,
        fetching: Fetching,
        mut me: Context<ToTenant>,
    ) {
        me.monitor(&opening.client, |exit| ToTenant::Own(OwnTenant::Gone(exit)));
        let (ends, told_ends) = mpsc::unbounded_channel();
        let (events, told_events) = mpsc::unbounded_channel();
        let outgoing = Outgoing {
            ends: told_ends,
            events: told_events,
        };
        let tenant = Tenant {
            id,
            service,
            node,
            told: Feeder::new(opening.client.clone()),
            opening,
            fetched: None,
            scheduler: None,
            asking: HashMap::new(),
            ends,
            events,
        };
        let address = me.address();
        let (sent, fetching) = fetching.start(move |fetched| {
            let _ = address.send(ToTenant::Own(OwnTenant::Fetched(fetched)));
        });
        let tenant = tenant.serve(&mut me, &sent, outgoing).await;
        drop(fetching);
        tenant.end().await;
    }

    async fn serve(
        mut self,
        me: &mut Context<ToTenant>,
        sent: &Notify,
        mut outgoing: Outgoing,
    ) -> Self {
        let mut inbox = Vec::with_capacity(BATCH);
        loop {
            let idle = self.told.is_idle();
            tokio::select! {
                n = me.receive_many(&mut inbox, BATCH) => {
                    if n == 0 {
                        return self;
                    }
                }
                unsent = self.told.turn(), if !idle => self.refuse(unsent),
                message = outgoing.next(), if idle => self.pass_on(message, &mut outgoing),
            }
            for message in inbox.drain(..) {
                match message {
                    ToTenant::Sent => sent.notify_one(),
                    ToTenant::Leave | ToTenant::Own(OwnTenant::End) => return self,
                    ToTenant::Own(OwnTenant::Gone(exit)) => {
                        tracing::info!(tenant = self.id.0, %exit, "a client is gone");
                        return self;
                    }
                    message => self.take(me, message).await,
                }
            }
            // When it was told to, the client leaves once it knows.
            let it = self.scheduler.as_ref();
            if it.is_some_and(|it| it.over && !it.closing) {
                return self;
            }
        }
    }

    async fn take(&mut self, me: &Context<ToTenant>, message: ToTenant) {
        match message {
            ToTenant::Judged(id, verdict) => {
                if let Some(question) = self.asking.remove(&id) {
                    self.order(Command::Decided(question, verdict));
                }
            }
            ToTenant::Calls(calls) => {
                let calls = calls.into_iter().map(|call| call.submission(&self.ends));
                self.order(Command::Submit(calls.collect()));
            }
            ToTenant::Cancel(call) => self.order(Command::Cancel(call)),
            ToTenant::Listen => {
                if let Some(running) = &mut self.scheduler
                    && !std::mem::replace(&mut running.heard, true)
                {
                    self.order(Command::Subscribe(self.events.clone()));
                }
            }
            ToTenant::Targets(number, kind) => self.targets(me, number, kind),
            ToTenant::Control(number, target, action) => self.control(me, number, target, action),
            ToTenant::Close => self.close(me),
            ToTenant::Own(own) => self.own(me, own).await,
            // Seen to by whoever has received it.
            ToTenant::Sent | ToTenant::Leave => {}
        }
    }

    async fn own(&mut self, me: &Context<ToTenant>, own: OwnTenant) {
        match own {
            OwnTenant::Wanted(content) => self.say(FromTenant::Send(content)),
            OwnTenant::Fetched(Ok(fetched)) => {
                self.fetched = Some(fetched);
                let _ = self.service.send(ToService::Own(Own::Ready(self.id)));
            }
            OwnTenant::Fetched(Err(why)) => self.say(FromTenant::Unfit(why)),
            OwnTenant::Turn => match self.start(me).await {
                Ok(running) => {
                    self.scheduler = Some(running);
                    self.say(FromTenant::Runs);
                }
                Err(why) => self.say(FromTenant::Unfit(why)),
            },
            OwnTenant::Asked(question) => self.ask(question),
            OwnTenant::Started(started) => self.say(FromTenant::Started(started)),
            OwnTenant::Targets(number, targets) => self.say(FromTenant::Targets(number, targets)),
            OwnTenant::Controlled(number, done) => self.say(FromTenant::Controlled(number, done)),
            OwnTenant::Closed(killed) => self.say(FromTenant::Closed(killed)),
            OwnTenant::Over => {
                if let Some(running) = &mut self.scheduler {
                    running.over = true;
                }
            }
            // Seen to by whoever has received it.
            OwnTenant::Gone(_) | OwnTenant::End => {}
        }
    }

    fn say(&mut self, message: FromTenant) {
        let epoch = self.opening.epoch;
        self.told.push(ToScheduler::Service(epoch, message));
    }

    /// Tells the scheduler, if it runs.
    fn order(&self, command: Command) {
        if let Some(Running { address, .. }) = &self.scheduler {
            let _ = address.send(ToScheduler::Command(command));
        }
    }

    async fn start(&mut self, me: &Context<ToTenant>) -> Result<Running, String> {
        let Some(fetched) = &self.fetched else {
            return Err("its program is not here".into());
        };
        let opening = &self.opening;
        let cargo = Cargo::received(opening.manifest.clone(), fetched.sources());
        let cargo = cargo.ok_or("some of it is missing")?;
        let authority = opening.key.authority().map_err(|why| why.to_string())?;
        let own = reached_as(&self.node)
            .member(false)
            .name("scheduler")
            .authority(authority.clone())
            .silence(opening.plan.silence())
            .handshake_limit(opening.plan.start_limit())
            .build();
        let own = own.await.map_err(|why| why.to_string())?;
        let deputy = Deputy {
            own: own.clone(),
            authority,
            node: self.node.clone(),
            client: opening.here.clone(),
            plan: opening.plan.clone(),
            usage: opening.usage,
            cargo,
            asks: asks(me.address()),
            stderr: lines::passed_on(opening.lines.clone()),
        };
        let (address, has_started) = deputy.start();
        let (tenant, over) = (me.address(), me.address());
        tokio::spawn(async move {
            // When it has ended, that is told otherwise.
            if let Ok(started) = has_started.await {
                let _ = tenant.send(ToTenant::Own(OwnTenant::Started(started)));
            }
        });
        address.on_exit(move |_| drop(over.send(ToTenant::Own(OwnTenant::Over))));
        Ok(Running {
            address,
            own,
            heard: false,
            closing: false,
            over: false,
        })
    }

    /// About a node the client is asked once at a time.
    fn ask(&mut self, question: Box<Question>) {
        let (id, new) = (question.found.node(), question.new);
        let view = Box::new(question.node.clone());
        if self.asking.insert(id, question).is_none() {
            self.say(FromTenant::Judge(id, view, new));
        }
    }

    fn targets(&self, me: &Context<ToTenant>, number: u64, kind: TargetKind) {
        let answer = move |targets| OwnTenant::Targets(number, targets);
        self.inquire(me, |tell| Command::Targets(kind, tell), Vec::new(), answer);
    }

    fn control(&self, me: &Context<ToTenant>, number: u64, target: Target, action: Action) {
        let answer = move |done| OwnTenant::Controlled(number, done);
        let nothing = Err(JobError::NoTarget {
            target: target.clone(),
            there: Vec::new(),
        });
        let control = |tell| Command::Control(target, action, tell);
        self.inquire(me, control, nothing, answer);
    }

    fn close(&mut self, me: &Context<ToTenant>) {
        match &mut self.scheduler {
            Some(running) => {
                running.closing = true;
                let close = |tell| Command::Close(Some(tell));
                self.inquire(me, close, Vec::new(), OwnTenant::Closed);
            }
            None => drop(
                me.address()
                    .send(ToTenant::Own(OwnTenant::Closed(Vec::new()))),
            ),
        }
    }

    /// Has the scheduler answer; the answer is `otherwise` when it does not run yet, or has ended.
    fn inquire<T: Send + 'static>(
        &self,
        me: &Context<ToTenant>,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
        otherwise: T,
        answer: impl FnOnce(T) -> OwnTenant + Send + 'static,
    ) {
        let (tell, told) = oneshot::channel();
        self.order(command(tell));
        let me = me.address();
        tokio::spawn(async move {
            let told = told.await.unwrap_or(otherwise);
            let _ = me.send(ToTenant::Own(answer(told)));
        });
    }

    /// Passes on what the scheduler says: events before the ends of their calls.
    fn pass_on(&mut self, first: Next, outgoing: &mut Outgoing) {
        let (mut ends, mut bytes) = (Vec::new(), 0);
        let mut events = Vec::new();
        match first {
            Next::End(end) => ends.extend(end),
            Next::Event(event) => events.extend(event),
        }
        while ends.len() < BATCH
            && bytes < BATCH_BYTES
            && let Ok(end) = outgoing.ends.try_recv()
        {
            bytes += end.1.bytes();
            ends.push(end);
        }
        while let Ok(event) = outgoing.events.try_recv() {
            events.push(event);
        }
        // The client tells of ends itself, once for each call and once for all.
        events.retain(|event| !matches!(event, Event::JobEnded { .. } | Event::Closed { .. }));
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let some = events.by_ref().take(BATCH).collect();
            self.say(FromTenant::Events(some));
        }
        let mut some = Vec::new();
        for end in ends.into_iter().map(Ended::new) {
            // A large one alone, so that no other is refused with it.
            if end.bytes() >= BATCH_BYTES && !some.is_empty() {
                self.say(FromTenant::Ended(std::mem::take(&mut some)));
            }
            some.push(end);
        }
        if !some.is_empty() {
            self.say(FromTenant::Ended(some));
        }
    }

    /// What was too large for a message.
    fn refuse(&mut self, unsent: Option<ToScheduler>) {
        if let Some(ToScheduler::Service(_, FromTenant::Ended(ends))) = unsent {
            let refused = ends.into_iter().map(Ended::refused).collect();
            self.say(FromTenant::Ended(refused));
        }
    }

    /// Ends the scheduler, and waits until nothing is left of it.
    async fn end(self) {
        if let Some(Running { address, own, .. }) = self.scheduler {
            let _ = address.send(ToScheduler::Command(Command::Close(None)));
            address.exit().await;
            own.close().await;
        }
        let _ = self.service.send(ToService::Own(Own::Left(self.id)));
    }
}

/// The next thing to be passed on.
enum Next {
    End(Option<(usize, Completed)>),
    Event(Option<Event>),
}

impl Outgoing {
    /// Cancel safe. The tenant has a sender of each.
    async fn next(&mut self) -> Next {
        tokio::select! {
            event = self.events.recv() => Next::Event(event),
            end = self.ends.recv() => Next::End(end),
        }
    }
}

/// The client is the judge.
fn asks(tenant: Address<ToTenant>) -> Asks {
    Box::new(move |_, question| drop(tenant.send(ToTenant::Own(OwnTenant::Asked(question)))))
}

/// The client as whoever has its program.
pub(super) struct Client<F> {
    pub(super) tenant: Address<ToTenant>,
    /// Is told what was received.
    pub(super) received: F,
}

impl<F: Fn(Kind, u64) + Send + Sync> Sender for Client<F> {
    fn send(&self, content: ContentHash) -> BoxFuture<()> {
        let _ = self.tenant.send(ToTenant::Own(OwnTenant::Wanted(content)));
        Box::pin(std::future::ready(()))
    }

    fn received(&self, kind: Kind, bytes: u64) {
        (self.received)(kind, bytes);
    }
}
