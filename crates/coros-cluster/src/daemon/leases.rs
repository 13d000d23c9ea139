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
//!   or one less, as soon as what was asked back has come. Who came first has the odd one, or who had a turn last. Of
//!   clients with different priorities the higher has all it needs. So it is, again, with what they
//!   like to have of the rest.
//! - **Nobody waits for ever.** Whose share is less than its next call takes could never begin it: because
//!   there are more clients than slots, or because the call takes [several at once](Wish::at_once).
//!   Then those who have not what they should have take *turns*, first whose last turn was longest
//!   ago. In its turn a client's share is what its next call takes, if that is more; the turn ends
//!   when such calls have run for a [while](QUANTUM), since every change of hands costs processes, or nothing
//!   has run for [too long](TURN_LIMIT). Priority goes before turns.
//! - **Exclusive clients** have the node alone, from when they need it. They and the shared ones go by
//!   priority, then in the order in which they came. An exclusive client begins when all others have
//!   given back what they had, and ends when it leaves, or wants and has nothing here; until then the
//!   others wait, and begin by themselves afterwards. Shared clients that are next to each other in that
//!   order are there together.
//! - **No more is lent than there is**, except for what is being asked back after the node has
//!   been given fewer slots ([`Leases::resize`]): with none it is suspended, or drained.
//! - **Nothing is asked back twice.** What a client returns of its own accord counts for what it
//!   was asked for, and what it was asked for in vain, because others no longer want it, it may keep:
//!   that is told too.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long calls run at least in a turn.
const QUANTUM: Duration = Duration::from_secs(1);

/// How long a turn may last in which nothing runs: longer than most setups take.
const TURN_LIMIT: Duration = Duration::from_secs(600);

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
    /// As many as the largest call takes that waits; 0 if none does.
    pub(crate) at_once: usize,
    /// How many [grants](Output::Grant) there had been when all that it has was in use last, or nothing
    /// waited.
    pub(crate) used: u64,
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
    /// How often it was granted some.
    grants: u64,
    /// Which of all turns was its last one.
    turn: u64,
}

/// Who has more than its share, so that its next call can run.
#[derive(Clone, Copy, Debug)]
struct Turn {
    client: ClientId,
    /// When it began.
    began: Instant,
    /// Since when it does.
    since: Option<Instant>,
}

impl Turn {
    fn end(&self) -> Instant {
        let limit = self.began + TURN_LIMIT;
        self.since.map_or(limit, |since| since + QUANTUM)
    }
}

/// The slots of a node and those who have them.
#[derive(Debug)]
pub(crate) struct Leases {
    slots: usize,
    clients: BTreeMap<ClientId, Client>,
    /// The exclusive client that has begun.
    alone: Option<ClientId>,
    turn: Option<Turn>,
    /// How many turns there have been.
    turns: u64,
}

impl Leases {
    pub(crate) fn new(slots: usize) -> Self {
        Leases {
            slots,
            clients: BTreeMap::new(),
            alone: None,
            turn: None,
            turns: 0,
        }
    }

    /// When to [look again](Self::tick).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Some(self.turn?.end())
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.settle(now, out);
    }

    /// A client comes; it wants nothing yet.
    pub(crate) fn join(&mut self, client: ClientId, terms: Terms) {
        self.clients.entry(client).or_insert(Client {
            terms,
            wish: Wish::default(),
            has: 0,
            asked: 0,
            grants: 0,
            turn: 0,
        });
    }

    /// A client has use for so many slots.
    pub(crate) fn want(
        &mut self,
        now: Instant,
        client: ClientId,
        wish: Wish,
        out: &mut Vec<Output>,
    ) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.wish = wish;
        }
        self.settle(now, out);
    }

    /// A client gives back so many slots. More than it has are none.
    pub(crate) fn give_back(
        &mut self,
        now: Instant,
        client: ClientId,
        slots: usize,
        out: &mut Vec<Output>,
    ) {
        if let Some(client) = self.clients.get_mut(&client) {
            let slots = slots.min(client.has);
            client.has -= slots;
            client.asked = client.asked.saturating_sub(slots);
        }
        self.settle(now, out);
    }

    /// A client is gone, and nothing of it runs any more.
    pub(crate) fn leave(&mut self, now: Instant, client: ClientId, out: &mut Vec<Output>) {
        self.clients.remove(&client);
        if self.alone == Some(client) {
            self.alone = None;
        }
        self.settle(now, out);
    }

    /// The node has so many slots from now on.
    pub(crate) fn resize(&mut self, now: Instant, slots: usize, out: &mut Vec<Output>) {
        self.slots = slots;
        self.settle(now, out);
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
    fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(alone) = self.alone.and_then(|id| self.clients.get(&id))
            && alone.has == 0
            && alone.wish.likes() == 0
        {
            self.alone = None;
        }
        let fair = self.shares(None);
        self.take_turns(now, &fair);
        let shares = match self.turn {
            Some(Turn { client, .. }) => self.shares(Some((client, fair[&client]))),
            None => fair,
        };
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
            client.grants += 1;
            free -= slots;
            if client.terms.exclusive {
                self.alone = Some(id);
            }
            out.push(Output::Grant { client: id, slots });
        }
    }

    /// Whether the client whose turn it is wants to be alone and is not yet.
    fn waits_for_others(&self) -> bool {
        let Some(first) = self.group().first().copied() else {
            return false;
        };
        let others = self.clients.iter().filter(|(id, _)| **id != first);
        self.clients[&first].terms.exclusive && others.map(|(_, it)| it.has).sum::<usize>() > 0
    }

    /// Those that may have slots now: an exclusive client, or shared ones.
    fn group(&self) -> Vec<ClientId> {
        if let Some(alone) = self.alone {
            return vec![alone];
        }
        let order = |id: &ClientId| (Reverse(self.clients[id].terms.priority), *id);
        let is_shared = |id: &ClientId| !self.clients[id].terms.exclusive;
        let all = || self.clients.iter().map(|(id, client)| (*id, client.wish));
        let mut group: Vec<_> = all()
            .filter(|(_, it)| it.needs > 0)
            .map(|(id, _)| id)
            .collect();
        group.sort_by_key(order);
        if group.first().is_some_and(|first| !is_shared(first)) {
            group.truncate(1);
            return group;
        }
        let together = group.iter().take_while(|id| is_shared(id)).count();
        group.truncate(together);
        // Who needs nothing at present keeps nobody waiting.
        let may = all().filter(|(_, it)| it.needs == 0 && it.likes > 0);
        group.extend(may.map(|(id, _)| id).filter(is_shared));
        group.sort_by_key(order);
        group
    }

    /// Ends a turn when it is over, and begins the next if there has to be one, where these are the shares without
    /// one.
    fn take_turns(&mut self, now: Instant, fair: &BTreeMap<ClientId, usize>) {
        // What a client should have if it can.
        let due = |id: &ClientId| match self.fits(*id) {
            true => fair[id].max(self.clients[id].wish.at_once),
            false => fair[id],
        };
        if self.alone.is_some() || fair.keys().all(|id| due(id) <= fair[id]) {
            self.turn = None;
            return;
        }
        if let Some(mut turn) = self.turn
            && let id = turn.client
            && let Some(client) = self.clients.get(&id).filter(|_| fair.contains_key(&id))
            && client.wish.at_once > 0
        {
            let runs = client.has >= due(&id) && client.wish.used == client.grants;
            turn.since = turn.since.or(runs.then_some(now));
            if now < turn.end() {
                self.turn = Some(turn);
                return;
            }
        }
        let short = |id: &ClientId| {
            let Client { wish, has, .. } = &self.clients[id];
            wish.at_once > 0 && *has < due(id)
        };
        let next = fair.keys().filter(|id| short(id));
        let next = next.min_by_key(|id| {
            let client = &self.clients[*id];
            (Reverse(client.terms.priority), client.turn, **id)
        });
        self.turn = next.copied().map(|client| Turn {
            client,
            began: now,
            since: None,
        });
        if let Some(turn) = self.turn
            && let Some(client) = self.clients.get_mut(&turn.client)
        {
            self.turns += 1;
            client.turn = self.turns;
        }
    }

    /// Whether there are as many slots as a client's largest call takes, beside what those need that go
    /// before it.
    fn fits(&self, id: ClientId) -> bool {
        let Client { terms, wish, .. } = &self.clients[&id];
        let before = self.clients.values();
        let before = before.filter(|it| !it.terms.exclusive && it.terms.priority > terms.priority);
        let taken = before
            .map(|it| it.wish.needs)
            .fold(0, usize::saturating_add);
        wish.at_once <= self.slots.saturating_sub(taken)
    }

    /// How many slots each is to have, in the turn of a client that would have so many without it, or in none.
    fn shares(&self, turn: Option<(ClientId, usize)>) -> BTreeMap<ClientId, usize> {
        let mut group = self.group();
        // What cannot be divided goes to who was given some last, so that all are left out in turn.
        group.sort_by_key(|id| {
            let Client { terms, turn, .. } = &self.clients[id];
            (Reverse(terms.priority), Reverse(*turn), *id)
        });
        let mut shares: BTreeMap<_, _> = group.iter().map(|id| (*id, 0)).collect();
        let mut left = self.slots;
        if let Some((client, fair)) = turn {
            let share = fair.max(self.clients[&client].wish.at_once).min(left);
            shares.insert(client, share);
            left -= share;
        }
        // Who has its turn gets no more than that, as long as others need something.
        let needs = |id, wish: Wish| match turn {
            Some((client, _)) if client == id => 0,
            _ => wish.needs,
        };
        let left = self.divide(&group, left, needs, &mut shares);
        self.divide(&group, left, |_, wish| wish.likes(), &mut shares);
        shares
    }

    /// Divides so many slots among those of the group, who want so many in all; how many are left.
    fn divide(
        &self,
        group: &[ClientId],
        mut left: usize,
        wants: impl Fn(ClientId, Wish) -> usize,
        shares: &mut BTreeMap<ClientId, usize>,
    ) -> usize {
        let by_priority =
            group.chunk_by(|a, b| self.clients[a].terms.priority == self.clients[b].terms.priority);
        for equals in by_priority {
            let more = |id: &ClientId| wants(*id, self.clients[id].wish).saturating_sub(shares[id]);
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
