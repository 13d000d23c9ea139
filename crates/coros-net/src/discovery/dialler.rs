//! Which endpoint is dialled when.
//!
//! An endpoint is dialled as soon as it is found, and again as long as the source tells it: after a
//! failure in [1 s](FIRST), twice that, and so on up to [30 s](LAST); where somebody is who
//! would not or could not have a link, such as one with another secret, after [30 s](LAST) if he was given, after
//! [five minutes](REFUSED) if it is a neighbour who was found; and when the peer
//! that was there is gone. The source may say who is where: one peer is dialled at one of its endpoints
//! at a time, and whoever has said goodbye is not looked for at once. What went wrong is told once and not each time. No more than [`AT_ONCE`] dials are
//! under way, and no more than [`ENDPOINTS`] endpoints remembered.
//!
//! # Among strangers
//!
//! Of those who are due, whoever answered the last time comes first. The others come in turns: one
//! endpoint of each peer is dialled before the second of any, and within a turn chance decides. So a
//! peer that is found beside N others who do not answer is dialled within N / 6 + 2 times the limit
//! of a dial, however many endpoints they have, and each further endpoint of its own within as much
//! again: with the [1 s](super::STRANGE) that a stranger gets and 511 of them, within 88 s. Where new ones are
//! invented without end, nobody's second turn need come: so each [fourth](BY_CHANCE) dial is of any peer
//! that is due, whatever its turn. Where there are N at a time, a peer is dialled for the first time
//! after N / 8 s on average, and each time after that in N / 2 s more.
//!
//! An endpoint at which several are said to be is a peer by itself. Of strangers only one is dialled in
//! [10 ms](PACE): whoever invents them makes nobody flood others.
//!
//! Sans-io.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::{Endpoints, announced};

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
const REFUSED: Duration = Duration::from_secs(300);
const AT_ONCE: usize = 8;
/// As many as can be announced: none is cut off because of where it is.
const ENDPOINTS: usize = announced::INSTANCES * announced::ENDPOINTS;
const BY_CHANCE: u64 = 4;
const PACE: Duration = Duration::from_millis(10);

/// What became of a dial.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// This node is there.
    Itself,
    /// There is a link, or none is needed, because the peer is known.
    Known(NodeId),
    /// Nobody answers.
    Unreachable(Arc<str>),
    /// Somebody answers who is none of us.
    Refused(Arc<str>),
}

#[derive(Debug)]
struct Candidate {
    /// Whether the source still tells it, and who it says is there.
    is_told: bool,
    who: Option<NodeId>,
    state: State,
    /// How long the last pause was.
    pause: Option<Duration>,
    /// After how many dials of the peer it comes.
    turn: u64,
    /// Whether somebody answered the last time.
    answers: bool,
    /// What has been told of it.
    told: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due(Instant),
    Dialling(Option<NodeId>),
    Known(NodeId),
    Itself,
}

#[derive(Debug)]
pub(super) struct Dialler {
    /// How long those are let alone who would not have a link.
    refused: Duration,
    /// How long the next dial waits for the last one, and until when.
    pace: Duration,
    rests: Option<Instant>,
    candidates: BTreeMap<SocketAddr, Candidate>,
    dialling: usize,
    /// Those who are dialled, as far as it is said who they are.
    sought: BTreeSet<NodeId>,
    /// How many dials there were.
    dials: u64,
    random: SmallRng,
}

impl Dialler {
    /// For endpoints that were given, or were found.
    pub(super) fn new(given: bool, random: SmallRng) -> Self {
        Dialler {
            // Whoever has given one mends what is wrong, and waits for it.
            refused: if given { LAST } else { REFUSED },
            pace: if given { Duration::ZERO } else { PACE },
            rests: None,
            candidates: BTreeMap::new(),
            dialling: 0,
            sought: BTreeSet::new(),
            dials: 0,
            random,
        }
    }

    /// The source tells all endpoints that it knows.
    pub(super) fn found(&mut self, now: Instant, endpoints: &Endpoints) {
        self.candidates.retain(|endpoint, candidate| {
            candidate.is_told = endpoints.contains_key(endpoint);
            // The end of a dial is still to come.
            candidate.is_told || matches!(candidate.state, State::Dialling(_))
        });
        let mut turns: BTreeMap<NodeId, u64> = BTreeMap::new();
        for candidate in self.candidates.values() {
            if let Some(who) = candidate.who {
                let next = turns.entry(who).or_default();
                *next = (candidate.turn + 1).max(*next);
            }
        }
        let mut turn = |who: Option<NodeId>| {
            let next = who.map(|who| turns.entry(who).or_default());
            next.map_or(0, |next| std::mem::replace(next, *next + 1))
        };
        for (&endpoint, &who) in endpoints {
            if let Some(candidate) = self.candidates.get_mut(&endpoint) {
                let before = std::mem::replace(&mut candidate.who, who);
                // Whatever became of the one before.
                if before != who {
                    candidate.turn = turn(who);
                    if let State::Due(at) = &mut candidate.state {
                        *at = now;
                    }
                }
            } else if self.candidates.len() < ENDPOINTS {
                let candidate = Candidate {
                    is_told: true,
                    who,
                    state: State::Due(now),
                    pause: None,
                    turn: turn(who),
                    answers: false,
                    told: None,
                };
                self.candidates.insert(endpoint, candidate);
            }
        }
    }

    /// A peer is not there any more; if it has `left`, its source will say so too.
    pub(super) fn absent(&mut self, now: Instant, peer: NodeId, left: bool) {
        for candidate in self.candidates.values_mut() {
            if candidate.state == State::Known(peer) {
                let for_good = left && candidate.who == Some(peer);
                let pause = if for_good { LAST } else { FIRST };
                candidate.state = State::Due(now + pause);
            }
        }
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
        let candidate = self.candidates.get_mut(&endpoint)?;
        let State::Dialling(who) = candidate.state else {
            return None;
        };
        self.dialling -= 1;
        if let Some(who) = who {
            self.sought.remove(&who);
        }
        if !candidate.is_told {
            self.candidates.remove(&endpoint);
            return None;
        }
        candidate.answers = matches!(outcome, Outcome::Known(_));
        let (state, why) = match outcome {
            Outcome::Itself => (State::Itself, None),
            Outcome::Known(peer) => {
                candidate.pause = None;
                candidate.turn = 0;
                candidate.told = None;
                let state = match present(peer) {
                    true => State::Known(peer),
                    false => State::Due(now + FIRST),
                };
                (state, None)
            }
            Outcome::Unreachable(why) => {
                let pause = candidate.pause.map_or(FIRST, |pause| LAST.min(2 * pause));
                candidate.pause = Some(pause);
                (State::Due(now + pause), Some(why))
            }
            Outcome::Refused(why) => (State::Due(now + self.refused), Some(why)),
        };
        candidate.state = state;
        let why = why.filter(|why| candidate.told.as_ref() != Some(why))?;
        candidate.told = Some(Arc::clone(&why));
        Some(why)
    }

    /// An endpoint to be dialled now, and who is said to be there; [`dialled`](Dialler::dialled)
    /// must follow.
    pub(super) fn next(&mut self, now: Instant) -> Option<(SocketAddr, Option<NodeId>)> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let due = self.choice(now)?;
        let who = self.candidates.get(&due)?.who;
        let of_peer = |(endpoint, its): &(&SocketAddr, &Candidate)| {
            **endpoint == due || who.is_some() && its.who == who
        };
        let of_peer = self.candidates.iter().filter(of_peer);
        let last = of_peer.map(|(_, its)| its.turn).max()?;
        let candidate = self.candidates.get_mut(&due)?;
        candidate.state = State::Dialling(who);
        // After all others of its peer.
        candidate.turn = last + 1;
        self.dials += 1;
        self.rests = Some(now + self.pace);
        self.dialling += 1;
        self.sought.extend(who);
        Some((due, who))
    }

    fn choice(&mut self, now: Instant) -> Option<SocketAddr> {
        let by_chance = self.dials % BY_CHANCE == BY_CHANCE - 1;
        let salt: u64 = self.random.random();
        // The same for all endpoints of a peer: how many it has makes no difference.
        let lot = |peer| {
            let mut hasher = DefaultHasher::new();
            (salt, peer).hash(&mut hasher);
            hasher.finish()
        };
        let due = self.due().filter(|(at, ..)| *at <= now);
        let first = due.min_by_key(|(_, endpoint, candidate)| {
            let turn = if by_chance { 0 } else { candidate.turn };
            let peer = candidate.who.ok_or(*endpoint);
            (!candidate.answers, turn, lot(peer), candidate.turn)
        });
        first.map(|(_, endpoint, _)| endpoint)
    }

    /// When [`next`](Dialler::next) has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dialling >= AT_ONCE {
            return None;
        }
        let due = self.due().map(|(at, ..)| at).min()?;
        Some(self.rests.map_or(due, |until| due.max(until)))
    }

    fn due(&self) -> impl Iterator<Item = (Instant, SocketAddr, &Candidate)> {
        let candidates = self.candidates.iter();
        candidates.filter_map(|(endpoint, candidate)| match candidate.state {
            State::Due(at) if !self.is_sought(candidate) => Some((at, *endpoint, candidate)),
            _ => None,
        })
    }

    /// Whether whoever is there is being dialled elsewhere.
    fn is_sought(&self, candidate: &Candidate) -> bool {
        let who = candidate.who;
        who.is_some_and(|who| self.sought.contains(&who))
    }
}

#[cfg(test)]
mod tests;
