//! Who may use how many slots of a node, without processes or clocks.
//!
//! A *slot* is leave to run one CPU-bound call at a time. They are lent to clients, each of which
//! runs a computation here and spends its slots on calls of its choice; so however many clients
//! there are, no more calls run than there are slots. A running call is never taken away: a slot
//! is asked back, and comes when the call has ended.
//!
//! # Contract
//!
//! - **Nothing lies idle.** As long as a slot is free, nobody is allowed to have it and wants it.
//! - **Needs go first.** What a client [needs](Wish) it has calls for; beyond that it may like to have
//!   slots in case, with a worker that is ready. Those are lent from what nobody needs, and asked back
//!   as soon as somebody does.
//! - **Fair shares.** A shared client that needs more has as many slots as any other of its priority,
//!   or one less, as soon as what was asked back has come. Who came first has the odd one. Of
//!   clients with different priorities the higher has all it needs. So it is, again, with what they
//!   like to have of the rest.
//! - **Exclusive clients** have the node alone, from when they need it. They and the shared ones take turns: by
//!   priority, then in the order in which they came. An exclusive client's turn begins when all
//!   others have given back what they had, and ends when it leaves; until then the others wait, and
//!   begin by themselves afterwards. Shared clients that are next to each other in that
//!   order have their turn together.
//! - **No more is lent than there is**, except for what is being asked back after the node has
//!   been given fewer slots ([`Leases::resize`]): with none it is suspended, or drained.
//! - **Nothing is asked back twice.** What a client returns of its own accord counts for what it
//!   was asked for, and what it was asked for in vain, because others no longer want it, it may keep:
//!   that is told too.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers a client; never used twice. Numbers rise in the order in which clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u64);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// It wants to be alone.
    pub(crate) exclusive: bool,
    /// The higher goes first.
    pub(crate) priority: i32,
}

/// How many slots a client has use for, with those that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// For calls that there are.
    pub(crate) needs: usize,
    /// In all, for calls that may come; as many as it needs if it is less.
    pub(crate) likes: usize,
}

impl Wish {
    fn likes(self) -> usize {
        self.likes.max(self.needs)
    }
}

/// What is to be told to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// It has so many slots more.
    Grant { client: ClientId, slots: usize },
    /// So many in all of those that it has are to be given back, each as soon as its call has
    /// ended: this takes the place of what was asked before.
    Reclaim { client: ClientId, slots: usize },
}

#[derive(Debug)]
struct Client {
    terms: Terms,
    wish: Wish,
    has: usize,
    /// As many of them are asked back.
    asked: usize,
}

/// The slots of a node and those who have them.
#[derive(Debug)]
pub(crate) struct Leases {
    slots: usize,
    clients: BTreeMap<ClientId, Client>,
    /// The exclusive client that has begun.
    alone: Option<ClientId>,
}

impl Leases {
    pub(crate) fn new(slots: usize) -> Self {
        Leases {
            slots,
            clients: BTreeMap::new(),
            alone: None,
        }
    }

    /// A client comes; it wants nothing yet.
    pub(crate) fn join(&mut self, client: ClientId, terms: Terms) {
        self.clients.entry(client).or_insert(Client {
            terms,
            wish: Wish::default(),
            has: 0,
            asked: 0,
        });
    }

    /// A client has use for so many slots.
    pub(crate) fn want(&mut self, client: ClientId, wish: Wish, out: &mut Vec<Output>) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.wish = wish;
        }
        self.settle(out);
    }

    /// A client gives back so many slots. More than it has are none.
    pub(crate) fn give_back(&mut self, client: ClientId, slots: usize, out: &mut Vec<Output>) {
        if let Some(client) = self.clients.get_mut(&client) {
            let slots = slots.min(client.has);
            client.has -= slots;
            client.asked = client.asked.saturating_sub(slots);
        }
        self.settle(out);
    }

    /// A client is gone, and nothing of it runs any more.
    pub(crate) fn leave(&mut self, client: ClientId, out: &mut Vec<Output>) {
        self.clients.remove(&client);
        if self.alone == Some(client) {
            self.alone = None;
        }
        self.settle(out);
    }

    /// The node has so many slots from now on.
    pub(crate) fn resize(&mut self, slots: usize, out: &mut Vec<Output>) {
        self.slots = slots;
        self.settle(out);
    }

    /// As many slots as are lent.
    pub(crate) fn lent(&self) -> usize {
        self.clients.values().map(|client| client.has).sum()
    }

    /// As many slots as a client has.
    pub(crate) fn lent_to(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, |client| client.has)
    }

    /// Grants what can be granted and asks back what others are to have.
    fn settle(&mut self, out: &mut Vec<Output>) {
        let shares = self.shares();
        let mut free = self.slots.saturating_sub(self.lent());
        let blocked = self.alone.is_none() && self.waits_for_others();
        for (&id, client) in &mut self.clients {
            let share = shares.get(&id).copied().unwrap_or(0);
            let asked = client.has.saturating_sub(share);
            if asked != client.asked {
                client.asked = asked;
                out.push(Output::Reclaim {
                    client: id,
                    slots: asked,
                });
            }
        }
        if blocked {
            return;
        }
        for (id, share) in shares {
            let client = self.clients.get_mut(&id).expect("only clients have shares");
            let slots = share.saturating_sub(client.has).min(free);
            if slots == 0 {
                continue;
            }
            client.has += slots;
            free -= slots;
            if client.terms.exclusive {
                self.alone = Some(id);
            }
            out.push(Output::Grant { client: id, slots });
        }
    }

    /// Whether the client whose turn it is wants to be alone and is not yet.
    fn waits_for_others(&self) -> bool {
        let Some(first) = self.turn().first().copied() else {
            return false;
        };
        let others = self.clients.iter().filter(|(id, _)| **id != first);
        self.clients[&first].terms.exclusive && others.map(|(_, it)| it.has).sum::<usize>() > 0
    }

    /// Those whose turn it is: an exclusive client, or shared ones.
    fn turn(&self) -> Vec<ClientId> {
        if let Some(alone) = self.alone {
            return vec![alone];
        }
        let rank = |id: &ClientId| (Reverse(self.clients[id].terms.priority), *id);
        let is_shared = |id: &ClientId| !self.clients[id].terms.exclusive;
        let all = || self.clients.iter().map(|(id, client)| (*id, client.wish));
        let mut turn: Vec<_> = all()
            .filter(|(_, it)| it.needs > 0)
            .map(|(id, _)| id)
            .collect();
        turn.sort_by_key(rank);
        if turn.first().is_some_and(|first| !is_shared(first)) {
            turn.truncate(1);
            return turn;
        }
        let together = turn.iter().take_while(|id| is_shared(id)).count();
        turn.truncate(together);
        // Who needs nothing at present keeps nobody waiting.
        let may = all().filter(|(_, it)| it.needs == 0 && it.likes > 0);
        turn.extend(may.map(|(id, _)| id).filter(is_shared));
        turn.sort_by_key(rank);
        turn
    }

    /// How many slots each is to have.
    fn shares(&self) -> BTreeMap<ClientId, usize> {
        let turn = self.turn();
        let mut shares: BTreeMap<_, _> = turn.iter().map(|id| (*id, 0)).collect();
        let left = self.divide(&turn, self.slots, |wish| wish.needs, &mut shares);
        self.divide(&turn, left, Wish::likes, &mut shares);
        shares
    }

    /// Divides so many slots among those whose turn it is, who want so many in all; how many are left.
    fn divide(
        &self,
        turn: &[ClientId],
        mut left: usize,
        wants: impl Fn(Wish) -> usize,
        shares: &mut BTreeMap<ClientId, usize>,
    ) -> usize {
        let by_priority =
            turn.chunk_by(|a, b| self.clients[a].terms.priority == self.clients[b].terms.priority);
        for equals in by_priority {
            let more = |id: &ClientId| wants(self.clients[id].wish).saturating_sub(shares[id]);
            let all = equals.iter().map(|id| (*id, more(id))).collect();
            for (id, more) in fair(all, left) {
                left -= more;
                shares.entry(id).and_modify(|share| *share += more);
            }
        }
        left
    }
}

/// Gives each as many as it wants if that is no more than its part of all; the others have the same
/// number of what is left, or one more.
fn fair(wants: Vec<(ClientId, usize)>, all: usize) -> Vec<(ClientId, usize)> {
    let mut by_wants: Vec<_> = wants.iter().map(|(_, wants)| *wants).collect();
    by_wants.sort_unstable();
    // Who wants less than his part leaves the rest of it to the others.
    let (mut rest, mut others) = (all, by_wants.len());
    for wants in by_wants {
        if wants > rest / others {
            break;
        }
        rest -= wants;
        others -= 1;
    }
    let part = rest.checked_div(others).unwrap_or(usize::MAX);
    let mut odd = rest.checked_rem(others).unwrap_or(0);
    let share = |(id, wants): (ClientId, usize)| {
        let more = usize::from(wants > part && odd > 0);
        odd -= more;
        (id, wants.min(part.saturating_add(more)))
    };
    wants.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests;
