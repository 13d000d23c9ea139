//! The daemon's coroutine: shows what there is, opens desks, and divides the slots among them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use coros_core::{Address, Context, Reply};
use coros_net::{Location, clock};

use super::bounds::Rules;
use super::claims::{Claim, Claims};
use super::desk::{self, Desk};
use super::event::DaemonEvent;
use super::fetch::{Fetching, Turns};
use super::folder::WorkRoot;
use super::leases::{ClientId, Leases, Output, Terms};
use super::protocol::{Closed, NodeState, Opening, Own, OwnDesk, QUOTA, ToDaemon, ToDesk, View};
use super::{ClientStatus, Status};
use crate::blocking::blocking;
use crate::computation;
use crate::machine::{Load, Machine, memory_for_calls};
use crate::quota::Kept;
use crate::resources::Resources;
use crate::store::{Kind, Store};
use crate::told::Told;

/// How long a client that was lost may take to come back: one that lives does as soon as it is linked again, or
/// after a pause, which is no longer.
const AWAY: Duration = Duration::from_secs(60);

/// What it needs to know.
pub(super) struct Settings {
    pub(super) machine: Machine,
    /// Of whose file system the free room is shown.
    pub(super) folder: PathBuf,
    pub(super) slots: usize,
    /// The most bytes that a program may have.
    pub(super) largest: u64,
    /// How many clients may come, each as often as it likes.
    pub(super) serve: Option<usize>,
    pub(super) store: Store,
    pub(super) work: WorkRoot,
    /// What workers may have.
    pub(super) rules: Rules,
    pub(super) told: Told<DaemonEvent>,
}

pub(super) struct Keeper {
    settings: Settings,
    turns: Turns,
    leases: Leases,
    claims: Claims,
    desks: BTreeMap<ClientId, Client>,
    next: u64,
    suspended: bool,
    /// Who wants to know when nothing is lent any more, once nobody may come.
    draining: Option<Vec<Reply<()>>>,
    /// Who wants to know when the last client has left.
    waiting: Vec<Reply<()>>,
    /// Those that have come, if they are counted.
    came: HashSet<NodeId>,
    /// Those of them that were lost and may come back, each with the number of its last desk.
    away: HashMap<NodeId, ClientId>,
    /// The last of what was told.
    told: Shown,
}

struct Client {
    desk: Address<ToDesk>,
    from: Location,
    kept: Kept,
    /// Its scheduler.
    scheduler: NodeId,
    terms: Terms,
}

/// What is told whenever it has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shown {
    slots: usize,
    lent: usize,
    drained: bool,
}

impl Keeper {
    pub(super) fn new(settings: Settings) -> Self {
        let slots = settings.slots;
        let claims = Claims::new(Resources::of(&settings.machine));
        Keeper {
            settings,
            turns: Turns::default(),
            leases: Leases::new(slots),
            claims,
            desks: BTreeMap::new(),
            next: 1,
            suspended: false,
            draining: None,
            waiting: Vec::new(),
            came: HashSet::new(),
            away: HashMap::new(),
            told: Shown {
                slots,
                lent: 0,
                drained: false,
            },
        }
    }

    /// Runs until it is told to terminate; then all desks end first.
    pub(super) async fn run(mut self, mut me: Context<ToDaemon>) {
        let mut terminating = me.terminating();
        loop {
            let tick = clock::until(self.leases.deadline());
            tokio::select! {
                biased;
                () = &mut terminating => break,
                () = tick => {
                    let mut out = Vec::new();
                    self.leases.tick(Instant::now(), &mut out);
                    self.pass_on(out);
                }
                message = me.receive() => match message {
                    Some(message) => self.take(&me, message),
                    None => break,
                },
            }
        }
        // If that is cut short, clients know what has been going on.
        self.begin_draining();
        self.evict();
        let desks = self.desks.values().map(|client| client.desk.clone());
        let desks: Vec<_> = desks.collect();
        while !self.desks.is_empty()
            && let Some(message) = me.receive().await
        {
            if let ToDaemon::Own(Own::Left { client, lost }) = message {
                self.left(&me, client, lost);
            }
        }
        // Their clients are told of that: were the node closed before, they would take it for lost.
        for desk in desks {
            desk.exit().await;
        }
        self.settings.rules.spare.close().await;
        self.settings.work.cleared().await;
    }

    fn take(&mut self, me: &Context<ToDaemon>, message: ToDaemon) {
        match message {
            ToDaemon::Look(reply) => self.look(reply),
            ToDaemon::Open(opening, reply) => reply.send(self.open(me, &opening)),
            ToDaemon::Own(own) => self.own(me, own),
        }
    }

    fn look(&self, reply: Reply<View>) {
        let Settings {
            machine,
            folder,
            slots,
            ..
        } = &self.settings;
        let (machine, folder, slots) = (machine.clone(), folder.clone(), *slots);
        let (lent, state) = (self.leases.lent(), self.state());
        let look = async move {
            let mut load = blocking(move || Load::look(&folder)).await;
            // Of the rest of the machine nothing is for clients.
            let lends = memory_for_calls(machine.memory);
            load.memory_free = load.memory_free.min(lends);
            reply.send(View {
                machine,
                load,
                slots,
                lent,
                state,
            });
        };
        tokio::spawn(look);
    }

    fn open(
        &mut self,
        me: &Context<ToDaemon>,
        opening: &Opening,
    ) -> Result<Address<ToDesk>, Closed> {
        if self.draining.is_some() {
            return Err(Closed::Draining);
        }
        let who = opening.scheduler;
        if self.is_full() && !self.came.contains(&who) {
            return Err(Closed::Served);
        }
        let kept = Kept {
            sender: opening.sender,
            bytes: computation::bytes(&opening.computation.start, &opening.computation.files)?,
        };
        QUOTA.admit(kept, self.desks.values().map(|it| it.kept))?;
        if self.settings.serve.is_some() {
            self.came.insert(who);
            self.away.remove(&who);
        }
        let id = ClientId(self.next);
        self.next += 1;
        let Opening {
            from,
            terms,
            computation,
            ..
        } = opening;
        tracing::info!(client = id.0, %from, program = %computation.program.hash, "opened a desk");
        self.tell(&DaemonEvent::ClientCame {
            id: id.0,
            from: from.clone(),
            exclusive: terms.exclusive,
        });
        self.leases.join(id, *terms);
        let (folders, rules) = (self.settings.work.of(id), self.settings.rules.clone());
        let store = self.settings.store.clone();
        let desk = Desk::new(id, me.address(), opening, store, folders, rules);
        let fetching = Fetching {
            store: self.settings.store.clone(),
            turns: self.turns.clone(),
            largest: self.settings.largest,
            program: computation.program,
            also: Vec::new(),
            files: computation.files.clone(),
            client: Box::new(desk::Client {
                id,
                address: opening.client.clone(),
                daemon: me.address(),
            }),
        };
        let desk = coros_core::build()
            .name(format!("desk {}", id.0))
            .daemon()
            .spawn(move |me| desk.run(me, fetching))
            .address();
        // Also after a panic.
        let daemon = me.address();
        let left = Own::Left {
            client: id,
            lost: true,
        };
        desk.on_exit(move |_| drop(daemon.send(ToDaemon::Own(left))));
        if self.state() != NodeState::Open {
            let _ = desk.send(ToDesk::Own(OwnDesk::State(self.state())));
        }
        let client = Client {
            desk: desk.clone(),
            from: from.clone(),
            kept,
            scheduler: opening.scheduler,
            terms: *terms,
        };
        self.desks.insert(id, client);
        Ok(desk)
    }

    fn own(&mut self, me: &Context<ToDaemon>, own: Own) {
        let (mut out, now) = (Vec::new(), Instant::now());
        match own {
            Own::Want(client, wish) => self.leases.want(now, client, wish, &mut out),
            Own::GiveBack(client, slots) => self.leases.give_back(now, client, slots, &mut out),
            Own::Claim(claim, needs) => {
                let mut granted = Vec::new();
                self.claims.claim(claim, needs, &mut granted);
                self.tell_claims(granted);
            }
            Own::Left { client, lost } => {
                self.left(me, client, lost);
                self.leases.leave(now, client, &mut out);
                let mut granted = Vec::new();
                self.claims.leave(client, &mut granted);
                self.tell_claims(granted);
            }
            Own::NotBack(client) => self.away.retain(|_, last| *last != client),
            Own::Received(ClientId(id), kind, bytes) => {
                if self.desks.contains_key(&ClientId(id)) {
                    self.tell(&match kind {
                        Kind::Program => DaemonEvent::ProgramReceived { id, bytes },
                        Kind::File => DaemonEvent::FileReceived { id, bytes },
                    });
                }
            }
            Own::Resize(slots) => {
                self.settings.slots = slots;
                self.leases.resize(now, self.slots(), &mut out);
            }
            Own::Suspend(suspended) => {
                let before = self.state();
                if std::mem::replace(&mut self.suspended, suspended) != suspended {
                    self.tell(match suspended {
                        true => &DaemonEvent::Suspended,
                        false => &DaemonEvent::Resumed,
                    });
                    self.leases.resize(now, self.slots(), &mut out);
                    // Which it is not where it is about to end.
                    if self.state() != before {
                        self.tell_state();
                    }
                }
            }
            Own::Evict => self.evict(),
            Own::Served(reply) => self.waiting.push(reply),
            Own::Drain(reply) => {
                if self.begin_draining() {
                    self.tell(&DaemonEvent::Draining);
                }
                self.draining.get_or_insert_default().push(reply);
                self.leases.resize(now, self.slots(), &mut out);
            }
            Own::Status(reply) => reply.send(self.status()),
        }
        self.pass_on(out);
    }

    /// Tells those whom it concerns what has become of the slots.
    fn pass_on(&mut self, out: Vec<Output>) {
        self.tell_changes();
        for output in out {
            let (client, message) = match output {
                Output::Grant { client, slots } => (client, OwnDesk::Grant(slots)),
                Output::Reclaim { client, slots } => (client, OwnDesk::Reclaim(slots)),
            };
            if let Some(Client { desk, .. }) = self.desks.get(&client) {
                // One that has ended says so.
                let _ = desk.send(ToDesk::Own(message));
            }
        }
    }

    /// Tells those who have claimed something that they have it.
    fn tell_claims(&self, granted: Vec<Claim>) {
        for claim in granted {
            if let Some(Client { desk, .. }) = self.desks.get(&claim.client) {
                let _ = desk.send(ToDesk::Own(OwnDesk::Claimed(claim)));
            }
        }
    }

    /// Whether as many clients have come as may come.
    fn is_full(&self) -> bool {
        self.settings.serve == Some(self.came.len())
    }

    /// A client has no desk any more, perhaps though it has not left.
    fn left(&mut self, me: &Context<ToDaemon>, client: ClientId, lost: bool) {
        let Some(Client {
            from, scheduler, ..
        }) = self.desks.remove(&client)
        else {
            return;
        };
        tracing::info!(client = client.0, "closed its desk");
        // One that has another desk is here.
        let mut others = self.desks.values();
        let gone = !others.any(|other| other.scheduler == scheduler);
        if lost && gone && self.settings.serve.is_some() {
            self.away.insert(scheduler, client);
            let daemon = me.address();
            tokio::spawn(async move {
                tokio::time::sleep(AWAY).await;
                let _ = daemon.send(ToDaemon::Own(Own::NotBack(client)));
            });
        }
        self.tell(&DaemonEvent::ClientLeft { id: client.0, from });
    }

    fn evict(&self) {
        for Client { desk, .. } in self.desks.values() {
            let _ = desk.send(ToDesk::Own(OwnDesk::End));
        }
    }

    fn state(&self) -> NodeState {
        match (&self.draining, self.suspended) {
            (Some(_), _) => NodeState::Draining,
            (None, true) => NodeState::Suspended,
            (None, false) => NodeState::Open,
        }
    }

    /// From now on no client may come, and those that are here know; whether that is new.
    fn begin_draining(&mut self) -> bool {
        let begins = self.draining.is_none();
        if begins {
            self.draining = Some(Vec::new());
            self.tell_state();
        }
        begins
    }

    /// Tells all clients.
    fn tell_state(&self) {
        for Client { desk, .. } in self.desks.values() {
            let _ = desk.send(ToDesk::Own(OwnDesk::State(self.state())));
        }
    }

    /// How many slots may be lent.
    fn slots(&self) -> usize {
        match self.state() {
            NodeState::Open => self.settings.slots,
            NodeState::Suspended | NodeState::Draining => 0,
        }
    }

    fn status(&self) -> Status {
        let clients = self.desks.iter().map(|(id, client)| ClientStatus {
            id: id.0,
            from: client.from.clone(),
            exclusive: client.terms.exclusive,
            priority: client.terms.priority,
            lent: self.leases.lent_to(*id),
        });
        Status {
            slots: self.settings.slots,
            lent: self.leases.lent(),
            suspended: self.suspended,
            draining: self.draining.is_some(),
            clients: clients.collect(),
        }
    }

    /// Tells what has changed, also those who wait for it. Clients that have nothing here when all is
    /// drained need not leave.
    fn tell_changes(&mut self) {
        let (slots, lent) = (self.slots(), self.leases.lent());
        let drained = lent == 0 && self.draining.is_some();
        let now = Shown {
            slots,
            lent,
            drained,
        };
        let before = std::mem::replace(&mut self.told, now);
        if (before.slots, before.lent) != (slots, lent) {
            self.tell(&DaemonEvent::Slots { slots, lent });
        }
        if drained && !before.drained {
            self.tell(&DaemonEvent::Drained);
        }
        let mut done = Vec::new();
        if drained && let Some(waiting) = &mut self.draining {
            done.append(waiting);
        }
        if self.is_full() && self.desks.is_empty() && self.away.is_empty() {
            done.append(&mut self.waiting);
        }
        for reply in done {
            reply.send(());
        }
    }

    fn tell(&self, event: &DaemonEvent) {
        self.settings.told.tell(event);
    }
}

#[cfg(test)]
mod tests;
