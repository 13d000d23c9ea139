//! What a service has of one client: its program, a scheduler that runs it, and all that the two say to each
//! other.
//!
//! Nothing waits here for a client without a bound. Of calls it may send no more than a window of bytes; when it does not
//! take what came of them, no more of them begin, and what has ended waits at its worker; when it does not take its
//! answers, it is not listened to; and who writes more to standard error than it takes has to wait. One that takes
//! nothing for long, or sends more than it may, is let go.

use std::collections::HashMap;
use std::time::Duration;

use coros_core::remote::{BoxFuture, MAX_TOLD, NodeId, readable_lines_within};
use coros_core::{Address, Context, Exit};
use coros_net::Node;
use tokio::sync::{mpsc, oneshot};

use super::backlog::{Backlog, TOO_MUCH};
use super::event::ServiceEvent;
use super::protocol::{FromTenant, Opening, Own, OwnTenant, ToService, ToTenant};
use super::queue::TenantId;
use super::window::{Account, Breach, LONGEST_NAMES};
use crate::blob::Blob;
use crate::computation::Cargo;
use crate::daemon::fetch::{Came, Fetched, Fetching, Sender, Unfit};
use crate::feeder::{Feeder, NO_ROOM, Unsent};
use crate::hash::ContentHash;
use crate::protocol::ToScheduler;
use crate::scheduler::builder::reached_as;
use crate::scheduler::judge::{Asks, Question, Verdict};
use crate::scheduler::lines;
use crate::scheduler::listeners::Aside;
use crate::scheduler::remote::{Deputy, Ended, Ends, RemoteCall};
use crate::scheduler::{Action, Command, Completed, Event, JobError, Target};
use crate::store::Kind;
use crate::told::Told;

/// So many messages are taken before any is sent.
const BATCH: usize = 256;
/// How long a client that is let go may take to hear of it.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Tells a tenant something of its own process. One that has ended has no use for it.
pub(super) type Wire = mpsc::UnboundedSender<OwnTenant>;

/// What a tenant begins with.
pub(super) struct Start {
    pub(super) id: TenantId,
    pub(super) service: Address<ToService>,
    /// The service's node.
    pub(super) node: Node,
    /// How long what runs for a client that is not there any more may take to end.
    pub(super) grace: Duration,
    pub(super) opening: Opening,
    pub(super) fetching: Fetching,
    /// Who hears what happens at the service.
    pub(super) public: Told<ServiceEvent>,
    /// What its own process says, which it hears also while it does not listen to the client.
    pub(super) wire: Wire,
    pub(super) own: mpsc::UnboundedReceiver<OwnTenant>,
}

pub(super) struct Tenant {
    id: TenantId,
    service: Address<ToService>,
    node: Node,
    grace: Duration,
    opening: Opening,
    wire: Wire,
    told: Feeder<ToScheduler>,
    /// What the client is to be told, as it has room for it.
    backlog: Backlog,
    /// The calls that it has here.
    account: Account,
    /// Where it is told that something has come that the client was asked for.
    came: mpsc::Sender<Came>,
    /// What travels, once it is here.
    fetched: Option<Fetched>,
    scheduler: Option<Running>,
    /// Nodes about which the client has been asked.
    asking: HashMap<NodeId, Box<Question>>,
    /// How many questions of the client its scheduler has not answered yet.
    inquiries: usize,
    /// Who hears what happens at the service.
    public: Told<ServiceEvent>,
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
}

/// Why a tenant ends.
enum Over {
    /// The client wants it to, or the service does.
    Told,
    /// The client is gone.
    Gone(Exit),
    /// The client has broken the rules.
    Broken(Breach),
    /// The client is let go: why.
    LetGo(String),
}

/// What the tenant hears besides what the client says.
struct News {
    own: mpsc::UnboundedReceiver<OwnTenant>,
    ends: mpsc::UnboundedReceiver<(usize, Completed)>,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Tenant {
    /// Serves a client until it leaves, is gone, or the service ends.
    ///
    /// # Errors
    /// Why it is let go.
    pub(super) async fn run(start: Start, mut me: Context<ToTenant>) -> Result<(), String> {
        let Start { wire, own, .. } = start;
        // Whether the client is gone is told otherwise, and why.
        let _open = me.address();
        let gone = wire.clone();
        let client = &start.opening.client;
        client.on_exit(move |exit| drop(gone.send(OwnTenant::Gone(exit))));
        let (ends, told_ends) = mpsc::unbounded_channel();
        let (events, told_events) = mpsc::unbounded_channel();
        let news = News {
            own,
            ends: told_ends,
            events: told_events,
        };
        let fetched = wire.clone();
        let (came, fetching) = start.fetching.start(move |it| {
            let _ = fetched.send(OwnTenant::Fetched(it));
        });
        let mut tenant = Tenant {
            id: start.id,
            service: start.service,
            node: start.node,
            grace: start.grace,
            wire,
            told: Feeder::new(start.opening.client.clone()),
            backlog: Backlog::default(),
            account: Account::default(),
            opening: start.opening,
            came,
            fetched: None,
            scheduler: None,
            asking: HashMap::new(),
            inquiries: 0,
            public: start.public,
            ends,
            events,
        };
        let over = tenant.serve(&mut me, news).await;
        drop(fetching);
        tenant.end(over).await
    }

    async fn serve(&mut self, me: &mut Context<ToTenant>, mut news: News) -> Over {
        let mut inbox = Vec::with_capacity(BATCH);
        loop {
            let idle = self.told.is_idle();
            let deaf = self.backlog.is_unheard(self.inquiries);
            let served = tokio::select! {
                n = me.receive_many(&mut inbox, BATCH), if !deaf => match n {
                    0 => Err(Over::Told),
                    _ => inbox.drain(..).try_for_each(|message| self.take(message)),
                },
                Some(own) = news.own.recv() => self.own(own, &mut news).await,
                turn = self.told.turn(), if !idle => match turn {
                    Err(Unsent::NoRoom) => Err(Over::LetGo(NO_ROOM.into())),
                    Err(Unsent::TooLarge(message)) => {
                        self.refuse(message);
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                },
                Some(event) = news.events.recv() => {
                    self.backlog.happened(event);
                    Ok(())
                }
                Some(end) = news.ends.recv() => {
                    self.keep(Some(end), &mut news);
                    Ok(())
                }
            };
            match served.and_then(|()| self.tell_more()) {
                Ok(()) => {}
                Err(Over::Broken(breach)) => return self.dismiss(me, &mut news, breach).await,
                Err(over) => return over,
            }
        }
    }

    /// Has the client told what it has room for, and the scheduler go on accordingly.
    fn tell_more(&mut self) -> Result<(), Over> {
        if self.told.is_idle()
            && let Some(message) = self.backlog.next()
        {
            self.tell(message);
        }
        if let Some(pause) = self.backlog.turns() {
            self.order(Command::Pause(pause));
        }
        match self.backlog.is_too_much() {
            true => Err(Over::LetGo(TOO_MUCH.into())),
            false => Ok(()),
        }
    }

    /// Ends what a client has here that has broken the rules, and gives it a moment to hear why.
    async fn dismiss(
        &mut self,
        me: &mut Context<ToTenant>,
        news: &mut News,
        breach: Breach,
    ) -> Over {
        self.order(Command::Close(None));
        let why = format!("the service lets this client go: {breach}");
        self.say(FromTenant::Unfit(Unfit::for_good(why)));
        while let Some(message) = self.backlog.said() {
            self.tell(message);
        }
        let heard = async {
            loop {
                let idle = self.told.is_idle();
                tokio::select! {
                    message = me.receive() => match message {
                        None | Some(ToTenant::Leave) => return,
                        Some(_) => {}
                    },
                    Some(own) = news.own.recv() => match own {
                        OwnTenant::Gone(_) | OwnTenant::End => return,
                        _ => {}
                    },
                    _ = self.told.turn(), if !idle => {}
                }
            }
        };
        let _ = tokio::time::timeout(LEAVE_LIMIT, heard).await;
        Over::Broken(breach)
    }

    /// What the client says.
    fn take(&mut self, message: ToTenant) -> Result<(), Over> {
        match message {
            // There is room for what was asked for, and nobody waits for anything else.
            ToTenant::Sent => drop(self.came.try_send(Came::File)),
            ToTenant::Packed(Blob(pack)) => drop(self.came.try_send(Came::Pack(pack))),
            ToTenant::Judged(id, verdict) => {
                if let Some(question) = self.asking.remove(&id) {
                    self.order(Command::Decided(question, verdict));
                }
            }
            ToTenant::Calls(calls) => self.submit(calls).map_err(Over::Broken)?,
            ToTenant::Cancel(call) => {
                // The client takes no notice of its end any more.
                self.account.end(call);
                self.order(Command::Cancel(call));
            }
            ToTenant::Listen => {
                if let Some(running) = &mut self.scheduler
                    && !std::mem::replace(&mut running.heard, true)
                {
                    self.order(Command::Subscribe(self.events.clone()));
                }
            }
            ToTenant::Targets(number, kind) => {
                self.targets(number, |tell| Command::Targets(kind, tell));
            }
            ToTenant::Muster(number) => self.targets(number, Command::Muster),
            ToTenant::Control(number, target, action) => self.control(number, target, action),
            ToTenant::Close => self.close(),
            ToTenant::Leave => return Err(Over::Told),
        }
        Ok(())
    }

    fn submit(&mut self, calls: Vec<RemoteCall>) -> Result<(), Breach> {
        if self.scheduler.is_none() {
            return Err(Breach::TooEarly);
        }
        for call in &calls {
            self.account.take(call.call(), call.bytes())?;
        }
        let mut taken = Vec::with_capacity(calls.len());
        for call in calls {
            match too_long(call.names()) {
                Some(why) => call.refuse(why, &self.ends),
                None => taken.push(call.submission(&self.ends)),
            }
        }
        self.order(Command::Submit(taken));
        Ok(())
    }

    /// What is said in this process.
    async fn own(&mut self, own: OwnTenant, news: &mut News) -> Result<(), Over> {
        match own {
            OwnTenant::Wanted(content) => self.say(FromTenant::Send(content)),
            OwnTenant::PackWanted(contents) => self.say(FromTenant::Pack(contents)),
            OwnTenant::Fetched(Ok(fetched)) => {
                self.fetched = Some(fetched);
                let _ = self.service.send(ToService::Own(Own::Ready(self.id)));
            }
            OwnTenant::Fetched(Err(why)) => self.say(FromTenant::Unfit(why)),
            OwnTenant::Waits(before) => self.say(FromTenant::Waits(before)),
            OwnTenant::Turn => match self.start().await {
                Ok(running) => {
                    self.scheduler = Some(running);
                    self.say(FromTenant::Runs);
                }
                Err(why) => self.say(FromTenant::Unfit(why)),
            },
            OwnTenant::Asked(question) => self.ask(question),
            OwnTenant::Survey(tell) => self.order(Command::Survey(tell)),
            OwnTenant::Started(started) => self.say(FromTenant::Started(started)),
            OwnTenant::Targets(number, targets) => {
                self.inquiries -= 1;
                self.say(FromTenant::Targets(number, targets));
            }
            OwnTenant::Controlled(number, done) => {
                self.inquiries -= 1;
                self.say(FromTenant::Controlled(number, done));
            }
            OwnTenant::Closed(killed) => {
                self.inquiries -= 1;
                // All that the scheduler has said, it said before.
                self.keep(None, news);
                self.backlog.closed(killed);
            }
            OwnTenant::Over(Exit::Finished) => {
                // When it was told to, the client leaves once it knows.
                if self.scheduler.as_ref().is_some_and(|it| !it.closing) {
                    return Err(Over::Told);
                }
            }
            OwnTenant::Over(exit) => {
                return Err(Over::LetGo(format!("its scheduler has ended: {exit}")));
            }
            OwnTenant::Gone(exit) => return Err(Over::Gone(exit)),
            OwnTenant::End => return Err(Over::Told),
        }
        Ok(())
    }

    fn say(&mut self, message: FromTenant) {
        self.backlog.say(message);
    }

    /// Has it told after what is being sent.
    fn tell(&mut self, message: FromTenant) {
        let epoch = self.opening.epoch;
        self.told.push(ToScheduler::Service(epoch, message));
    }

    /// Tells the scheduler, if it runs.
    fn order(&self, command: Command) {
        if let Some(Running { address, .. }) = &self.scheduler {
            let _ = address.send(ToScheduler::Command(command));
        }
    }

    async fn start(&mut self) -> Result<Running, Unfit> {
        let Some(fetched) = &self.fetched else {
            return Err(Unfit::for_good("its program is not here"));
        };
        let opening = &self.opening;
        let cargo = Cargo::received(opening.manifest.clone(), fetched.sources());
        let cargo = cargo.ok_or_else(|| Unfit::for_good("some of it is missing"))?;
        let authority = opening.key.authority().map_err(Unfit::for_good)?;
        let own = reached_as(&self.node)
            .member(false)
            .name("scheduler")
            .authority(authority.clone())
            .silence(opening.plan.silence())
            .handshake_limit(opening.plan.start_limit())
            .build();
        // There may be no port, or file, at present.
        let own = own.await.map_err(Unfit::for_now)?;
        let deputy = Deputy {
            own: own.clone(),
            authority,
            node: self.node.clone(),
            client: opening.here.clone(),
            plan: opening.plan.clone(),
            usage: opening.usage.accepted(),
            cargo,
            asks: asks(self.wire.clone()),
            stderr: lines::passed_on(opening.lines.clone()),
            hears: hears(self.id, self.public.clone(), self.events.clone()),
            grace: self.grace,
        };
        let (address, has_started) = deputy.start();
        let (wire, over) = (self.wire.clone(), self.wire.clone());
        tokio::spawn(async move {
            // When it has ended, that is told otherwise.
            if let Ok(started) = has_started.await {
                let _ = wire.send(OwnTenant::Started(started));
            }
        });
        address.on_exit(move |exit| drop(over.send(OwnTenant::Over(exit))));
        Ok(Running {
            address,
            own,
            heard: false,
            closing: false,
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

    fn targets(
        &mut self,
        number: u64,
        command: impl FnOnce(oneshot::Sender<Vec<Target>>) -> Command,
    ) {
        let answer = move |targets| OwnTenant::Targets(number, targets);
        self.inquire(command, Vec::new(), answer);
    }

    fn control(&mut self, number: u64, target: Target, action: Action) {
        if let Some(why) = too_long(target.name().len()) {
            return self.say(FromTenant::Controlled(number, Err(JobError::Refused(why))));
        }
        let answer = move |done| OwnTenant::Controlled(number, done);
        let nothing = Err(JobError::no_target(target.clone(), &[]));
        let control = |tell| Command::Control(target, action, tell);
        self.inquire(control, nothing, answer);
    }

    fn close(&mut self) {
        if let Some(running) = &mut self.scheduler {
            running.closing = true;
        }
        let close = |tell| Command::Close(Some(tell));
        self.inquire(close, Vec::new(), OwnTenant::Closed);
    }

    /// Has the scheduler answer; the answer is `otherwise` when it does not run yet, or has ended.
    fn inquire<T: Send + 'static>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
        otherwise: T,
        answer: impl FnOnce(T) -> OwnTenant + Send + 'static,
    ) {
        let (tell, told) = oneshot::channel();
        self.order(command(tell));
        self.inquiries += 1;
        let wire = self.wire.clone();
        tokio::spawn(async move {
            let told = told.await.unwrap_or(otherwise);
            let _ = wire.send(answer(told));
        });
    }

    /// Keeps the ends of calls for the client, and what has been said of them before.
    fn keep(&mut self, first: Option<(usize, Completed)>, news: &mut News) {
        let mut next = first;
        while let Some(end) = next.take().or_else(|| news.ends.try_recv().ok()) {
            let end = Ended::new(end);
            // Its client ends those that are left when it closes, and has them run elsewhere when it does not.
            if self.account.end(end.call) && !end.is_left() {
                self.backlog.ended(end);
            }
        }
        while let Ok(event) = news.events.try_recv() {
            self.backlog.happened(event);
        }
    }

    /// What was too large for a message: something is said in its place, since the client may wait for it.
    fn refuse(&mut self, unsent: ToScheduler) {
        let ToScheduler::Service(_, unsent) = unsent else {
            return;
        };
        match unsent {
            FromTenant::Ended(ends) => {
                let refused = ends.into_iter().map(Ended::refused).collect();
                self.say(FromTenant::Ended(refused));
            }
            FromTenant::Events(events) if events.len() > 1 => {
                for event in events {
                    self.say(FromTenant::Events(vec![event]));
                }
            }
            FromTenant::Targets(number, targets) if !targets.is_empty() => {
                tracing::warn!("the client has too many nodes or workers here to name them");
                self.say(FromTenant::Targets(number, Vec::new()));
            }
            // It is not asked about again before it is answered.
            FromTenant::Judge(id, ..) => {
                if let Some(question) = self.asking.remove(&id) {
                    let verdict =
                        Verdict::not_used("what it says of itself is too large to be told");
                    self.order(Command::Decided(question, Box::new(verdict)));
                }
            }
            FromTenant::Started(Err(why)) => self.say(FromTenant::Started(Err(short(&why)))),
            FromTenant::Unfit(Unfit { why, passes }) => {
                let why = short(&why);
                self.say(FromTenant::Unfit(Unfit { why, passes }));
            }
            FromTenant::Controlled(number, Err(why)) => {
                let why = JobError::Refused(short(&why.to_string()));
                self.say(FromTenant::Controlled(number, Err(why)));
            }
            // That any was killed is what matters.
            FromTenant::Closed(mut killed) if killed.len() > 1 => {
                killed.truncate(1);
                self.say(FromTenant::Closed(killed));
            }
            _ => tracing::warn!("something is too large to be told to a client"),
        }
    }

    /// Ends the scheduler, and waits until nothing is left of it: no longer than its grace, since a client that waits
    /// for its workers has them closed before.
    ///
    /// # Errors
    /// Why the client is let go.
    async fn end(self, over: Over) -> Result<(), String> {
        if let Some(Running { address, own, .. }) = self.scheduler {
            address.terminate();
            address.exit().await;
            own.close().await;
        }
        let (reason, ended) = match over {
            Over::Told => (None, Ok(())),
            Over::Gone(exit) => (Some(format!("it is gone: {exit}")), Ok(())),
            Over::Broken(breach) => (Some(breach.to_string()), Err(breach.to_string())),
            Over::LetGo(why) => (Some(why.clone()), Err(why)),
        };
        if let Some(reason) = &reason {
            tracing::info!(tenant = self.id.0, "its client has left: {reason}");
        }
        let _ = self
            .service
            .send(ToService::Own(Own::Left(self.id, reason)));
        ended
    }
}

/// The beginning of what is too long to be told.
fn short(why: &str) -> String {
    readable_lines_within(why, MAX_TOLD)
}

/// Why names of so many bytes are not taken, if so.
fn too_long(names: usize) -> Option<String> {
    (names > LONGEST_NAMES).then(|| {
        format!(
            "names of {names} bytes: a service takes {LONGEST_NAMES} for a function, where it runs, and what it needs"
        )
    })
}

/// Tells in public what its scheduler says of nodes; and the client, though it does not listen, what its calls wait for.
fn hears(id: TenantId, public: Told<ServiceEvent>, client: mpsc::UnboundedSender<Event>) -> Aside {
    Box::new(move |event, heard| {
        if event.is_of_a_wait() && !heard {
            // When the tenant has ended, there is nobody to tell.
            let _ = client.send(event.clone());
        }
        if let Some(event) = ServiceEvent::of_client(id.0, event) {
            public.tell(&event);
        }
    })
}

/// The client is the judge.
fn asks(wire: Wire) -> Asks {
    Box::new(move |_, question| drop(wire.send(OwnTenant::Asked(question))))
}

/// The client as whoever has its program.
pub(super) struct Client<F> {
    pub(super) wire: Wire,
    /// Is told what was received.
    pub(super) received: F,
}

impl<F: Fn(Kind, u64) + Send + Sync> Sender for Client<F> {
    fn send(&self, content: ContentHash) -> BoxFuture<()> {
        let _ = self.wire.send(OwnTenant::Wanted(content));
        Box::pin(std::future::ready(()))
    }

    fn pack(&self, contents: Vec<ContentHash>) -> BoxFuture<()> {
        let _ = self.wire.send(OwnTenant::PackWanted(contents));
        Box::pin(std::future::ready(()))
    }

    fn received(&self, kind: Kind, bytes: u64) {
        (self.received)(kind, bytes);
    }
}

#[cfg(test)]
mod tests;
