//! The service's coroutine, which clients find: has a tenant for each, and says whose turn it is.

use std::collections::BTreeMap;
use std::time::Duration;

use coros_core::{Address, Context, Reply};
use coros_net::{Location, Node};
use tokio::sync::mpsc;

use super::event::ServiceEvent;
use super::protocol::{Closed, Opening, Own, OwnTenant, ToService, ToTenant};
use super::queue::{Queue, TenantId};
use super::tenant::{self, Start, Tenant, Wire};
use super::{ComputationStatus, Status};
use crate::daemon::fetch::{Fetching, Turns};
use crate::daemon::leases::Terms;
use crate::protocol::ToScheduler;
use crate::store::{Kind, Store};
use crate::told::Told;

/// How long a tenant may take to end after all that runs for it has.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(10);

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
    tenants: BTreeMap<TenantId, Client>,
    next: u64,
    /// Who wants to know when the last one has left, once nobody may come.
    draining: Option<Vec<Reply<()>>>,
}

struct Client {
    wire: Wire,
    address: Address<ToScheduler>,
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
            tenants: BTreeMap::new(),
            next: 1,
            draining: None,
        }
    }

    /// Runs until it is told to terminate; then all computations end first.
    pub(super) async fn run(mut self, mut me: Context<ToService>) {
        let mut terminating = me.terminating();
        loop {
            tokio::select! {
                biased;
                () = &mut terminating => break,
                message = me.receive() => match message {
                    Some(ToService::Open(opening, reply)) => {
                        reply.send(self.open(&me, *opening));
                    }
                    Some(ToService::Own(own)) => self.own(own),
                    None => break,
                },
            }
        }
        for client in self.tenants.values() {
            let _ = client.wire.send(OwnTenant::End);
        }
        let limit = self.grace + CLOSE_LIMIT;
        let ended = tokio::time::timeout(limit, self.wait_for_tenants(&mut me)).await;
        if ended.is_err() {
            let left: Vec<_> = self.tenants.keys().copied().collect();
            for id in left {
                let why = format!("what it has here did not end within {limit:?}");
                self.left(id, Some(why));
            }
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
            wire,
            address,
            from,
            terms,
            before: None,
        };
        self.tenants.insert(id, client);
        Ok(tenant)
    }

    fn own(&mut self, own: Own) {
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
            Own::Status(reply) => reply.send(self.status()),
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

    fn status(&self) -> Status {
        let computations = self.tenants.iter().map(|(id, client)| ComputationStatus {
            id: id.0,
            from: client.from.clone(),
            exclusive: client.terms.exclusive,
            priority: client.terms.priority,
            runs: self.queue.runs(*id),
        });
        Status {
            draining: self.draining.is_some(),
            computations: computations.collect(),
        }
    }
}
