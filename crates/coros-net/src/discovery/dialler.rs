//! Which endpoint is dialled when.
//!
//! An endpoint is dialled as soon as it is found, and again as long as it is told: after a
//! failure in [1 s](FIRST), twice that, and so on up to [30 s](LAST); where somebody is who
//! would not or could not have a link, such as one with another secret, after [30 s](LAST) if he was given, after
//! [five minutes](REFUSED) if it is a neighbour who was found; and when the peer
//! that was there is gone. Nobody is dialled who is there already. A peer is dialled at one of its endpoints
//! at a time, and whoever has said goodbye is not looked for at once. What went wrong is told once and not each time.
//! No more than [`AT_ONCE`] dials are under way.
//!
//! # Among strangers
//!
//! Who announces himself is a *peer*, by the launch id that he says. Anybody may say anything in anybody's name, so:
//!
//! - Peers take [turns](Turns), with one dial each. It is of the endpoint that answered the last time, or
//!   was said or tried the longest time ago. One that several claim is dialled for one of them, whose turn it takes.
//!   So a peer that is found beside N others is dialled within N / 8 + 2 times the limit
//!   of a dial, whatever they claim and whoever comes later, and each further endpoint of its own within as much
//!   again: with the [1 s](super::STRANGE) that a stranger gets and 511 of them, within 66 s.
//! - What is said to be no more is dialled all the same, once, before it is forgotten; it is forgotten at once if that has
//!   been tried in vain, or another is known to be there, be it this node. So nobody hides a peer by saying that it is
//!   elsewhere, or gone, before it has had its turns.
//! - A peer has [so many](ENDPOINTS) endpoints. One more takes the place of one that was tried in vain, be it that which
//!   was said last, and of no other. So who says that a peer is elsewhere, or elsewhere too, delays each dial of it by a
//!   turn for each endpoint that he says, 63 at most, also where he says new ones without end. Only who says more than
//!   there is room for may hide it: who is heard first has the room, and of what is heard at once chance decides.
//! - There are no more than [so many](PEERS) peers. One more takes the place of any that is not there and is said to be
//!   gone; only where there is none, of any that is not there. So who comes and goes hides nobody who is announced still;
//!   but those who have gone and were not dialled yet have their turns: they are among the N.
//! - Of strangers only one is dialled in [10 ms](PACE): whoever invents them makes nobody flood others.
//!
//! A dial, or what is said of a node, takes a time that grows with the logarithm of how many there are. So who claims an
//! endpoint that is dialled for another finds that out when it is his turn.
//!
//! Sans-io.

mod claims;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use self::claims::{Claim, Peer, Place, State, Tried, Who};
use super::turns::{Rank, Turns};

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
const REFUSED: Duration = Duration::from_secs(300);
const AT_ONCE: usize = 8;
const PACE: Duration = Duration::from_millis(10);
/// So many endpoints that were given are looked at.
const GIVEN: usize = 24 << 10;
/// So many nodes are looked for: more than are announced at a time before all of them are forgotten. Each is told of only
/// once, so none that is announced should lose its place.
pub(super) const PEERS: usize = 3 << 10;
/// So many endpoints of each: a node has fewer, but anybody may add some in its name.
pub(super) const ENDPOINTS: usize = 64;

/// What became of a dial.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// This node is there.
    Itself,
    /// There is a link, or none is needed, because this peer is known to be there.
    Known(NodeId),
    /// Nothing was dialled: who was looked for is known to be somewhere.
    NoNeed(NodeId),
    /// Nobody answers.
    Unreachable(Arc<str>),
    /// Somebody answers who is none of us.
    Refused(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Dialler {
    /// How long those are let alone who would not have a link.
    refused: Duration,
    /// How long the next dial waits for the last one, and until when.
    pace: Duration,
    rests: Option<Instant>,
    peers: BTreeMap<Who, Peer>,
    places: BTreeMap<SocketAddr, Place>,
    turns: Turns<Who>,
    /// How many dials there were, and are.
    dials: u64,
    dialling: usize,
    /// When something happened last.
    now: Instant,
    random: SmallRng,
}

impl Dialler {
    /// For endpoints that were given, or were found.
    pub(super) fn new(now: Instant, given: bool, random: SmallRng) -> Self {
        Dialler {
            // Whoever has given one mends what is wrong, and waits for it.
            refused: if given { LAST } else { REFUSED },
            pace: if given { Duration::ZERO } else { PACE },
            rests: None,
            peers: BTreeMap::new(),
            places: BTreeMap::new(),
            turns: Turns::new(),
            dials: 0,
            dialling: 0,
            now,
            random,
        }
    }

    // ---- what is heard

    /// These are all that were given.
    pub(super) fn given(&mut self, now: Instant, endpoints: &BTreeSet<SocketAddr>) {
        self.now = now;
        let is_gone = |who: &Who| !matches!(who, Who::At(at) if endpoints.contains(at));
        let gone = self.peers.keys().copied().filter(is_gone);
        for who in gone.collect::<Vec<_>>() {
            self.forget(who);
        }
        let is_known = |at: &&SocketAddr| self.peers.contains_key(&Who::At(**at));
        let mut new: Vec<_> = endpoints.iter().filter(|at| !is_known(at)).collect();
        // Else whoever is told the same would begin with the same.
        new.shuffle(&mut self.random);
        new.truncate(GIVEN.saturating_sub(self.peers.len()));
        for &endpoint in new {
            let who = Who::At(endpoint);
            self.peers.insert(who, Peer::new(now, false));
            self.claim(who, endpoint);
            self.update(who);
        }
    }

    /// Somebody says where a node is: at none of any endpoints if it has left. Who is `present` is not looked for.
    pub(super) fn announced(
        &mut self,
        now: Instant,
        node: NodeId,
        endpoints: &BTreeSet<SocketAddr>,
        present: impl Fn(NodeId) -> bool,
    ) {
        self.now = now;
        let who = Who::Node(node);
        if !self.peers.contains_key(&who) {
            if endpoints.is_empty() || !self.make_room() {
                return;
            }
            self.peers.insert(who, Peer::new(now, present(node)));
        }
        self.tell(who, |endpoint| endpoints.contains(endpoint));
        let is_known = |at: &&SocketAddr| self.peers[&who].at.contains_key(*at);
        let new = endpoints.iter().filter(|at| !is_known(at));
        let mut new: Vec<_> = new.copied().collect();
        // Else the lowest would have the room there is.
        new.shuffle(&mut self.random);
        for endpoint in new {
            self.claim(who, endpoint);
        }
        self.update(who);
    }

    /// Nothing that was said counts any more.
    pub(super) fn forget_all(&mut self) {
        for who in self.peers.keys().copied().collect::<Vec<_>>() {
            self.tell(who, |_| false);
            if !self.peers[&who].is_present {
                self.forget(who);
            }
        }
    }

    /// A peer is not there any more; if it has `left`, that will be announced too.
    pub(super) fn absent(&mut self, now: Instant, node: NodeId, left: bool) {
        self.now = now;
        let who = Who::Node(node);
        let mut free = BTreeSet::new();
        for (endpoint, place) in &mut self.places {
            if place.state == State::Known(node) {
                place.state = State::Due(now + FIRST);
                free.insert(*endpoint);
            }
        }
        let is_free = |peer: &Peer| peer.at.keys().any(|at| free.contains(at));
        let changed = self.peers.iter().filter(|(_, peer)| is_free(peer));
        let mut changed: BTreeSet<_> = changed.map(|(who, _)| *who).collect();
        changed.insert(who);
        if let Some(peer) = self.peers.get_mut(&who) {
            peer.is_present = false;
            peer.rests = now + if left { LAST } else { FIRST };
            if left && !peer.is_told() {
                self.forget(who);
            }
        }
        changed.into_iter().for_each(|who| self.update(who));
    }

    // ---- dials

    /// An endpoint to be dialled now, and who is said to be there; [`dialled`](Dialler::dialled)
    /// must follow.
    pub(super) fn next(&mut self, now: Instant) -> Option<(SocketAddr, Option<NodeId>)> {
        self.now = now;
        while let Some(who) = self.turns.due(now) {
            self.update(who);
        }
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let (who, endpoint) = loop {
            let who = self.turns.next()?;
            // What he waits for may have been dialled for another.
            self.update(who);
            if self.turns.next() == Some(who)
                && let Some(endpoint) = self.first_due(who)
            {
                break (who, endpoint);
            }
        };
        self.dials += 1;
        self.dialling += 1;
        self.rests = Some(now + self.pace);
        if let Some(place) = self.places.get_mut(&endpoint) {
            place.state = State::Dialling(who);
        }
        if let Some(peer) = self.peers.get_mut(&who) {
            peer.is_sought = true;
        }
        self.update(who);
        let node = match who {
            Who::Node(node) => Some(node),
            Who::At(_) => None,
        };
        Some((endpoint, node))
    }

    /// What went wrong, if that is news. Who is not `present` any more has gone since the dial was over,
    /// when nobody waited for that to be told.
    pub(super) fn dialled(
        &mut self,
        now: Instant,
        endpoint: SocketAddr,
        outcome: Outcome,
        present: impl Fn(NodeId) -> bool,
    ) -> Option<Arc<str>> {
        self.now = now;
        let place = self.places.get_mut(&endpoint)?;
        let State::Dialling(who) = place.state else {
            return None;
        };
        self.dialling -= 1;
        if let Some(peer) = self.peers.get_mut(&who) {
            peer.is_sought = false;
        }
        if !matches!(outcome, Outcome::NoNeed(_)) {
            place.dial = self.dials;
        }
        let mut is_there = None;
        let why = match outcome {
            Outcome::Known(node) => {
                (place.tried, place.pause, place.told) = (Tried::Answered, None, None);
                place.state = match present(node) {
                    true => State::Known(node),
                    false => State::Due(now + FIRST),
                };
                is_there = Some(node);
                None
            }
            Outcome::NoNeed(node) => {
                place.state = State::Due(now);
                is_there = Some(node);
                None
            }
            Outcome::Itself => {
                (place.state, place.tried) = (State::Itself, Tried::InVain);
                None
            }
            Outcome::Unreachable(why) => {
                let pause = place.pause.map_or(FIRST, |pause| LAST.min(2 * pause));
                place.pause = Some(pause);
                (place.state, place.tried) = (State::Due(now + pause), Tried::InVain);
                Some(why)
            }
            Outcome::Refused(why) => {
                (place.state, place.tried) = (State::Due(now + self.refused), Tried::InVain);
                Some(why)
            }
        };
        let why = why.filter(|why| place.told.as_ref() != Some(why));
        if why.is_some() {
            place.told.clone_from(&why);
        }
        if let Some(node) = is_there
            && let Some(peer) = self.peers.get_mut(&Who::Node(node))
        {
            peer.is_present = present(node);
            peer.rests = now + FIRST;
        }
        self.update(who);
        self.drop_place(endpoint);
        // Of what is told no more nobody wants to know.
        why.filter(|_| self.places.contains_key(&endpoint))
    }

    /// When [`next`](Dialler::next) has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dialling >= AT_ONCE {
            return None;
        }
        let due = match self.turns.is_anybodys() {
            true => self.now,
            false => self.turns.first()?,
        };
        Some(self.rests.map_or(due, |until| due.max(until)))
    }

    // ---- whose turn it is

    /// Something may have changed for somebody who is looked for, or was.
    fn update(&mut self, who: Who) {
        self.prune(who);
        let (mut rank, mut waits) = (None, None);
        for (place, claim, at) in self.dues(who) {
            if at > self.now {
                waits = Some(waits.map_or(at, |waits| at.min(waits)));
                continue;
            }
            let its = place.rank_for(claim);
            rank = Some(rank.map_or(its, |rank| its.min(rank)));
        }
        self.turns.set(who, rank, waits);
    }

    /// Where somebody is to be dialled now.
    fn first_due(&self, who: Who) -> Option<SocketAddr> {
        let due = self.dues(who).filter(|(.., at)| *at <= self.now);
        let order = |(place, claim, _): &(&Place, &Claim, _)| {
            let since = place.dial.max(claim.since);
            (place.rank_for(claim), since)
        };
        due.min_by_key(order).map(|(place, ..)| place.endpoint)
    }

    /// Where somebody is to be dialled, and when, or when that is to be looked at again.
    fn dues(&self, who: Who) -> impl Iterator<Item = (&Place, &Claim, Instant)> {
        let peer = self.peers.get(&who);
        let peer = peer.filter(|peer| !peer.is_present && !peer.is_sought);
        let dues = peer.map(|peer| {
            peer.at.iter().filter_map(|(endpoint, claim)| {
                let place = self.places.get(endpoint)?;
                let at = match place.state {
                    // Whatever became of those before.
                    State::Due(_) if place.is_new_to(claim) => peer.rests,
                    State::Due(at) => at.max(peer.rests),
                    State::Dialling(_) => self.now + FIRST,
                    State::Known(_) | State::Itself => return None,
                };
                Some((place, claim, at))
            })
        });
        dues.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests;
