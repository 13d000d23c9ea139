//! The service's coroutine, which clients find: has a tenant for each, and says whose turn it is.

use std::collections::BTreeMap;
use std::time::Duration;

use coros_core::{Address, Context, Reply};
use coros_net::{Location, Node};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::event::ServiceEvent;
use super::lookout::Lookout;
use super::protocol::{Closed, Opening, Own, OwnTenant, QUOTA, ToService, ToTenant};
use super::queue::{Queue, TenantId};
use super::tenant::{self, Start, Tenant, Wire};
use super::{ComputationStatus, Status};
use crate::computation;
use crate::daemon::fetch::{Fetching, Turns};
use crate::daemon::leases::Terms;
use crate::protocol::ToScheduler;
use crate::quota::Kept;
use crate::scheduler::Event;
use crate::scheduler::finder::{self, Sight};
use crate::store::{Kind, Store};
use crate::told::Told;

/// How long a tenant may take to end after all that runs for it has.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long tenants may take to say what they have; more than any does that is not starting just then.
const SURVEY_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Reception {
    node: Node,
    store: Store,
    /// The most bytes that a program may have.
    largest: u64,
    /// How long what runs for a client that is not there any more may take to end.
    grace: Duration,
    told: Told<ServiceEvent>,
    turns: Turns,
    queue: Queue,
    lookout: Lookout,
    tenants: BTreeMap<TenantId, Client>,
    next: u64,
    /// Who wants to know when the last one has left, once nobody may come.
    draining: Option<Vec<Reply<()>>>,
}

struct Client {
    tenant: Address<ToTenant>,
    wire: Wire,
    address: Address<ToScheduler>,
    kept: Kept,
    from: Location,
    terms: Terms,
    /// How many go before it, as it was told last.
    before: Option<usize>,
}

impl Reception {
    pub(super) fn new(
        node: Node,
        store: Store,
        largest: u64,
        grace: Duration,
        told: Told<ServiceEvent>,
    ) -> Self {
        Reception {
            node,
            store,
            largest,
            grace,
            told,
            turns: Turns::default(),
            queue: Queue::default(),
            lookout: Lookout::default(),
            tenants: BTreeMap::new(),
            next: 1,
            draining: None,
        }
    }

    /// Runs until it is told to terminate; then all computations end first.
    pub(super) async fn run(mut self, mut me: Context<ToService>) {
        let mut terminating = me.terminating();
        let service = me.address();
        let _finder = finder::start(self.node.clone(), move |sight| {
            let _ = service.send(ToService::Own(Own::Sight(Box::new(sight))));
        });
        loop {
            tokio::select! {
                biased;
                () = &mut terminating => break,
                message = me.receive() => match message {
                    Some(ToService::Open(opening, reply)) => {
                        reply.send(self.open(&me, *opening));
                    }
                    Some(ToService::Own(own)) => self.own(&me, own),
                    None => break,
                },
            }
        }
        for client in self.tenants.values() {
            let _ = client.wire.send(OwnTenant::End);
        }
        let tenants = self.tenants.values().map(|client| client.tenant.clone());
        let tenants: Vec<_> = tenants.collect();
        let limit = self.grace + CLOSE_LIMIT;
        let ended = tokio::time::timeout(limit, self.wait_for_tenants(&mut me)).await;
        if ended.is_err() {
            let left: Vec<_> = self.tenants.keys().copied().collect();
            for id in left {
                let why = format!("what it has here did not end within {limit:?}");
                self.left(id, Some(why));
            }
            return;
        }
        // Their clients are told of that: were the node closed before, they would take the service for gone.
        for tenant in tenants {
            tenant.exit().await;
        }
    }

    async fn wait_for_tenants(&mut self, me: &mut Context<ToService>) {
        while !self.tenants.is_empty()
            && let Some(message) = me.receive().await
        {
            if let ToService::Own(Own::Left(id, why)) = message {
                self.left(id, why);
            }
        }
    }

    fn open(
        &mut self,
        me: &Context<ToService>,
        opening: Opening,
    ) -> Result<Address<ToTenant>, Closed> {
        if self.draining.is_some() {
            return Err(Closed::Draining);
        }
        // It has not heard that it has one already, or has given that up.
        for client in self.tenants.values() {
            if client.address == opening.client {
                let _ = client.wire.send(OwnTenant::End);
            }
        }
        let kept = Kept {
            sender: opening.sender,
            bytes: computation::bytes(&opening.manifest.start, &opening.manifest.files)?,
        };
        QUOTA.admit(kept, self.tenants.values().map(|it| it.kept))?;
        let id = TenantId(self.next);
        self.next += 1;
        let (from, terms) = (opening.from.clone(), opening.usage.terms);
        let program = opening.manifest.program.content.hash;
        tracing::info!(tenant = id.0, %from, %program, "opened a computation");
        self.told.tell(&ServiceEvent::ClientCame {
            id: id.0,
            from: from.clone(),
            exclusive: terms.exclusive,
        });
        let address = opening.client.clone();
        let (service, node) = (me.address(), self.node.clone());
        let (store, turns, largest) = (self.store.clone(), self.turns.clone(), self.largest);
        let told = self.told.clone();
        let received = move |kind, bytes| {
            told.tell(&match kind {
                Kind::Program => ServiceEvent::ProgramReceived { id: id.0, bytes },
                Kind::File => ServiceEvent::FileReceived { id: id.0, bytes },
            });
        };
        let manifest = &opening.manifest;
        let (wire, own) = mpsc::unbounded_channel();
        let fetching = Fetching {
            store,
            turns,
            largest,
            program: manifest.program.content,
            also: manifest.also.iter().map(|it| it.content).collect(),
            files: manifest.files.clone(),
            client: Box::new(tenant::Client {
                wire: wire.clone(),
                received,
            }),
        };
        let start = Start {
            id,
            service,
            node,
            grace: self.grace,
            opening,
            fetching,
            public: self.told.clone(),
            wire: wire.clone(),
            own,
        };
        let tenant = coros_core::build()
            .name(format!("tenant {}", id.0))
            .daemon()
            .spawn_fallible(move |me| Tenant::run(start, me))
            .address();
        // Also after a panic.
        let service = me.address();
        tenant.on_exit(move |exit| {
            let left = Own::Left(id, Some(exit.to_string()));
            drop(service.send(ToService::Own(left)));
        });
        let client = Client {
            tenant: tenant.clone(),
            wire,
            address,
            kept,
            from,
            terms,
            before: None,
        };
        self.tenants.insert(id, client);
        Ok(tenant)
    }

    fn own(&mut self, me: &Context<ToService>, own: Own) {
        match own {
            Own::Ready(id) => {
                if let Some(client) = self.tenants.get(&id) {
                    let begun = self.queue.join(id, client.terms);
                    self.begin(begun);
                }
            }
            Own::Left(id, why) => self.left(id, why),
            Own::Drain(reply) => {
                if self.draining.is_none() {
                    self.told.tell(&ServiceEvent::Draining);
                }
                self.draining.get_or_insert_default().push(reply);
                self.tell_drained();
            }
            Own::Status(reply) => self.survey(reply),
            Own::Sight(sight) => self.sees(me, *sight),
            Own::Gone(node, exit) => {
                let news = self.lookout.gone(node, &exit);
                self.tell_of_nodes(news);
            }
        }
    }

    fn begin(&mut self, begun: Vec<TenantId>) {
        for id in begun {
            self.told.tell(&ServiceEvent::Begun { id: id.0 });
            if let Some(client) = self.tenants.get(&id) {
                // When it has ended, it says so.
                let _ = client.wire.send(OwnTenant::Turn);
            }
        }
        for (id, before) in self.queue.waiting() {
            if let Some(client) = self.tenants.get_mut(&id)
                && client.before.replace(before) != Some(before)
            {
                let _ = client.wire.send(OwnTenant::Waits(before));
            }
        }
    }

    fn left(&mut self, id: TenantId, reason: Option<String>) {
        if let Some(Client { from, .. }) = self.tenants.remove(&id) {
            tracing::info!(tenant = id.0, "closed its computation");
            self.told.tell(&ServiceEvent::ClientLeft {
                id: id.0,
                from,
                reason,
            });
            let begun = self.queue.leave(id);
            self.begin(begun);
            self.tell_drained();
        }
    }

    fn tell_drained(&mut self) {
        if self.tenants.is_empty()
            && let Some(waiting) = &mut self.draining
        {
            for reply in waiting.drain(..) {
                reply.send(());
            }
        }
    }

    fn sees(&mut self, me: &Context<ToService>, sight: Sight) {
        match sight {
            Sight::Found(found) => {
                let node = found.node();
                if self.lookout.is_new(node) {
                    let service = me.address();
                    found.daemon.on_exit(move |exit| {
                        drop(service.send(ToService::Own(Own::Gone(node, exit))));
                    });
                }
                let news = self.lookout.seen(&found);
                self.tell_of_nodes(news);
            }
            Sight::NotUsed(at, why) => {
                let news = self.lookout.not_used(at, why);
                self.tell_of_nodes(news);
            }
        }
    }

    fn tell_of_nodes(&self, news: impl IntoIterator<Item = Event>) {
        for event in news {
            let client = None;
            self.told.tell(&ServiceEvent::Node { client, event });
        }
    }

    /// Says how it stands, when the tenants have said what they have.
    fn survey(&self, reply: Reply<Status>) {
        let mut status = self.status();
        let ask = |client: &Client| {
            let (tell, told) = oneshot::channel();
            // One that has not begun, or has ended, has nothing.
            let _ = client.wire.send(OwnTenant::Survey(tell));
            told
        };
        let asked: Vec<_> = self.tenants.values().map(ask).collect();
        tokio::spawn(async move {
            let deadline = Instant::now() + SURVEY_LIMIT;
            for (computation, told) in status.computations.iter_mut().zip(asked) {
                if let Ok(Ok(survey)) = timeout_at(deadline, told).await {
                    computation.workers = survey.workers;
                    computation.running = survey.running;
                    computation.waiting = survey.waiting;
                }
            }
            reply.send(status);
        });
    }

    fn status(&self) -> Status {
        let computations = self.tenants.iter().map(|(id, client)| ComputationStatus {
            id: id.0,
            from: client.from.clone(),
            exclusive: client.terms.exclusive,
            priority: client.terms.priority,
            runs: self.queue.runs(*id),
            workers: BTreeMap::new(),
            running: 0,
            waiting: 0,
        });
        Status {
            draining: self.draining.is_some(),
            nodes: self.lookout.status(),
            computations: computations.collect(),
        }
    }
}
