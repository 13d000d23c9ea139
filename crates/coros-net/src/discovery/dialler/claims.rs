//! Who is looked for, and where everybody is said to be.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::{Dialler, ENDPOINTS, PEERS, Rank};

/// Who is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Whoever is at an endpoint that was given.
    At(SocketAddr),
    /// A node that was announced.
    Node(NodeId),
}

#[derive(Debug)]
pub(super) struct Peer {
    /// Where he is said to be.
    pub(super) at: BTreeMap<SocketAddr, Claim>,
    /// He is known to be there.
    pub(super) is_present: bool,
    /// He is being dialled.
    pub(super) is_sought: bool,
    /// He is not looked for before.
    pub(super) rests: Instant,
}

/// Somebody is said to be at an endpoint.
#[derive(Debug)]
pub(super) struct Claim {
    /// Whether that is said still.
    pub(super) is_told: bool,
    /// After so many dials.
    pub(super) since: u64,
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) endpoint: SocketAddr,
    /// How many are said to be here.
    pub(super) claimants: usize,
    pub(super) state: State,
    pub(super) tried: Tried,
    /// How many dials there had been when its last was over.
    pub(super) dial: u64,
    /// How long the last pause was.
    pub(super) pause: Option<Duration>,
    /// What has been told of it.
    pub(super) told: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Due(Instant),
    Dialling(Who),
    Known(NodeId),
    Itself,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Answered,
    No,
    InVain,
}

impl Dialler {
    /// Somebody may be at an endpoint, if there is room for that: be it in the place of one where he is not, of those
    /// that was said last.
    pub(super) fn claim(&mut self, who: Who, endpoint: SocketAddr) {
        let Some(peer) = self.peers.get(&who) else {
            return;
        };
        if peer.at.contains_key(&endpoint) {
            return;
        }
        if peer.at.len() >= ENDPOINTS {
            let all = peer.at.iter();
            let vain = all.filter(|(at, claim)| self.is_in_vain(who, **at, claim));
            let vain = vain.map(|(at, claim)| ((claim.is_told, Reverse(claim.since)), *at));
            let mut vain: Vec<_> = vain.collect();
            // Else the lowest would go first, or last, of those that were said at once.
            vain.shuffle(&mut self.random);
            let Some((_, vain)) = vain.into_iter().min_by_key(|(order, _)| *order) else {
                return;
            };
            self.drop_claim(who, vain);
        }
        if let Some(peer) = self.peers.get_mut(&who) {
            let claim = Claim {
                is_told: true,
                since: self.dials,
            };
            peer.at.insert(endpoint, claim);
        }
        let new = || Place::new(self.now, endpoint);
        let place = self.places.entry(endpoint).or_insert_with(new);
        place.claimants += 1;
    }

    /// He is not there, or was not when he was looked for.
    fn is_in_vain(&self, who: Who, endpoint: SocketAddr, claim: &Claim) -> bool {
        let place = self.places.get(&endpoint);
        place.is_some_and(|place| match place.state {
            State::Known(node) => who != Who::Node(node),
            State::Itself => true,
            State::Due(_) | State::Dialling(_) => place.tried_for(claim) == Tried::InVain,
        })
    }

    /// Where somebody is said to be still.
    pub(super) fn tell(&mut self, who: Who, told: impl Fn(&SocketAddr) -> bool) {
        if let Some(peer) = self.peers.get_mut(&who) {
            for (endpoint, claim) in &mut peer.at {
                claim.is_told = told(endpoint);
            }
        }
    }

    /// Forgets where somebody is not and is said to be no more; and him, if he is said to be nowhere.
    pub(super) fn prune(&mut self, who: Who) {
        let Some(peer) = self.peers.get(&who) else {
            return;
        };
        let untold = peer.at.iter().filter(|(_, claim)| !claim.is_told);
        let vain = untold.filter(|(at, claim)| self.is_in_vain(who, **at, claim));
        for endpoint in vain.map(|(at, _)| *at).collect::<Vec<_>>() {
            self.drop_claim(who, endpoint);
        }
        let is_nowhere = self.peers.get(&who).is_some_and(|it| it.at.is_empty());
        if is_nowhere {
            self.forget(who);
        }
    }

    pub(super) fn drop_claim(&mut self, who: Who, endpoint: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&who) {
            peer.at.remove(&endpoint);
        }
        if let Some(place) = self.places.get_mut(&endpoint) {
            place.claimants -= 1;
        }
        self.drop_place(endpoint);
    }

    /// Unless somebody is said to be there, or the end of a dial is still to come.
    pub(super) fn drop_place(&mut self, endpoint: SocketAddr) {
        let place = self.places.get(&endpoint);
        if place.is_some_and(|it| it.claimants == 0 && !matches!(it.state, State::Dialling(_))) {
            self.places.remove(&endpoint);
        }
    }

    pub(super) fn forget(&mut self, who: Who) {
        let peer = self.peers.remove(&who);
        for endpoint in peer.into_iter().flat_map(|peer| peer.at.into_keys()) {
            self.drop_claim(who, endpoint);
        }
        self.turns.set(who, None, None);
    }

    /// Whether there is room for one more, be it in the place of a random one that is not there: of one that
    /// is said to be nowhere any more, if there is one.
    pub(super) fn make_room(&mut self) -> bool {
        let count = self.peers.len();
        if count < PEERS {
            return true;
        }
        let start = self.random.random_range(0..count);
        let all = self.peers.iter().cycle().skip(start).take(count);
        let mut absent = all.filter(|(_, peer)| !peer.is_present && !peer.is_sought);
        let mut gone = absent.clone().filter(|(_, peer)| !peer.is_told());
        let loser = gone.next().or_else(|| absent.next());
        let loser = loser.map(|(who, _)| *who);
        loser.map(|who| self.forget(who)).is_some()
    }
}

impl Peer {
    pub(super) fn new(now: Instant, is_present: bool) -> Self {
        Peer {
            at: BTreeMap::new(),
            is_present,
            is_sought: false,
            rests: now,
        }
    }

    /// He is said to be anywhere still.
    pub(super) fn is_told(&self) -> bool {
        self.at.values().any(|claim| claim.is_told)
    }
}

impl Place {
    pub(super) fn new(now: Instant, endpoint: SocketAddr) -> Self {
        Place {
            endpoint,
            claimants: 0,
            state: State::Due(now),
            tried: Tried::No,
            dial: 0,
            pause: None,
            told: None,
        }
    }

    /// It has not been dialled since somebody is said to be here.
    pub(super) fn is_new_to(&self, claim: &Claim) -> bool {
        self.dial <= claim.since
    }

    /// What that says of one who is said to be here.
    pub(super) fn tried_for(&self, claim: &Claim) -> Tried {
        match self.tried {
            Tried::InVain if self.is_new_to(claim) => Tried::No,
            tried => tried,
        }
    }

    /// As what he waits for his turn here.
    pub(super) fn rank_for(&self, claim: &Claim) -> Rank {
        match self.tried_for(claim) {
            Tried::Answered => Rank::Answered,
            Tried::No | Tried::InVain => Rank::Other,
        }
    }
}
