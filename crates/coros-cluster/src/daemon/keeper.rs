//! The daemon's coroutine: shows what there is, opens desks, and divides the slots among them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use coros_core::{Address, Context, Reply};

use super::Status;
use super::desk::Desk;
use super::fetch::{Fetching, Turns};
use super::folder::WorkRoot;
use super::leases::{ClientId, Leases, Output};
use super::protocol::{Closed, Opening, Own, OwnDesk, ToDaemon, ToDesk, View};
use crate::blocking::blocking;
use crate::machine::{Load, Machine};
use crate::store::Store;

pub(super) struct Keeper {
    machine: Machine,
    /// Of whose file system the free room is shown.
    folder: PathBuf,
    slots: usize,
    store: Store,
    work: WorkRoot,
    turns: Turns,
    leases: Leases,
    desks: BTreeMap<ClientId, Address<ToDesk>>,
    next: u64,
    /// Who wants to know when the last client has left, once nobody may come any more.
    draining: Option<Vec<Reply<()>>>,
}

impl Keeper {
    pub(super) fn new(
        machine: Machine,
        folder: PathBuf,
        slots: usize,
        store: Store,
        work: WorkRoot,
    ) -> Self {
        Keeper {
            machine,
            folder,
            slots,
            store,
            work,
            turns: Turns::default(),
            leases: Leases::new(slots),
            desks: BTreeMap::new(),
            next: 1,
            draining: None,
        }
    }

    /// Runs until it is told to terminate; then all desks end first.
    pub(super) async fn run(mut self, mut me: Context<ToDaemon>) {
        let mut terminating = me.terminating();
        loop {
            tokio::select! {
                biased;
                () = &mut terminating => break,
                message = me.receive() => match message {
                    Some(message) => self.take(&me, message),
                    None => break,
                },
            }
        }
        for desk in self.desks.values() {
            let _ = desk.send(ToDesk::Own(OwnDesk::End));
        }
        while !self.desks.is_empty()
            && let Some(message) = me.receive().await
        {
            if let ToDaemon::Own(Own::Left(client)) = message {
                self.desks.remove(&client);
            }
        }
    }

    fn take(&mut self, me: &Context<ToDaemon>, message: ToDaemon) {
        match message {
            ToDaemon::Look(reply) => self.look(reply),
            ToDaemon::Open(opening, reply) => reply.send(self.open(me, &opening)),
            ToDaemon::Own(own) => self.own(own),
        }
    }

    fn look(&self, reply: Reply<View>) {
        let (machine, folder, slots) = (self.machine.clone(), self.folder.clone(), self.slots);
        let look = async move {
            let load = blocking(move || Load::look(&folder)).await;
            reply.send(View {
                machine,
                load,
                slots,
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
        let id = ClientId(self.next);
        self.next += 1;
        tracing::info!(client = id.0, from = %opening.from, program = %opening.computation.program.hash, "opened a desk");
        self.leases.join(id, opening.terms);
        let desk = Desk::new(id, me.address(), opening, self.work.of(id));
        let fetching = Fetching {
            store: self.store.clone(),
            turns: self.turns.clone(),
            computation: opening.computation.clone(),
        };
        let desk = coros_core::build()
            .name(format!("desk {}", id.0))
            .daemon()
            .spawn(move |me| desk.run(me, fetching))
            .address();
        // Also after a panic.
        let (daemon, left) = (me.address(), id);
        desk.on_exit(move |_| drop(daemon.send(ToDaemon::Own(Own::Left(left)))));
        self.desks.insert(id, desk.clone());
        Ok(desk)
    }

    fn own(&mut self, own: Own) {
        let mut out = Vec::new();
        match own {
            Own::Want(client, wish) => self.leases.want(client, wish, &mut out),
            Own::GiveBack(client, slots) => self.leases.give_back(client, slots, &mut out),
            Own::Left(client) => {
                if self.desks.remove(&client).is_some() {
                    tracing::info!(client = client.0, "closed its desk");
                }
                self.leases.leave(client, &mut out);
            }
            Own::Resize(slots) => {
                self.slots = slots;
                self.leases.resize(slots, &mut out);
            }
            Own::Drain(reply) => {
                self.draining.get_or_insert_default().push(reply);
                self.leases.resize(0, &mut out);
            }
            Own::Status(reply) => reply.send(Status {
                slots: self.slots,
                lent: self.leases.lent(),
                clients: self.desks.len(),
            }),
        }
        self.drained();
        for output in out {
            let (client, message) = match output {
                Output::Grant { client, slots } => (client, OwnDesk::Grant(slots)),
                Output::Reclaim { client, slots } => (client, OwnDesk::Reclaim(slots)),
            };
            if let Some(desk) = self.desks.get(&client) {
                // One that has ended says so.
                let _ = desk.send(ToDesk::Own(message));
            }
        }
    }

    /// Tells those who wait for it, when nothing is lent any more: clients that have nothing here
    /// need not leave.
    fn drained(&mut self) {
        if self.leases.lent() == 0
            && let Some(waiting) = &mut self.draining
        {
            for reply in waiting.drain(..) {
                reply.send(());
            }
        }
    }
}
