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
mod tests {
    use std::collections::VecDeque;

    use rand::SeedableRng as _;

    use super::super::STRANGE;
    use super::*;

    fn dialler(given: bool) -> Dialler {
        Dialler::new(given, SmallRng::seed_from_u64(7))
    }

    fn endpoint(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    fn set(numbers: impl IntoIterator<Item = u16>) -> Endpoints {
        let endpoints = numbers.into_iter().map(endpoint);
        endpoints.map(|endpoint| (endpoint, None)).collect()
    }

    /// As one who says who is where.
    fn announced<const N: usize>(who: [(u16, u128); N]) -> Endpoints {
        let who = who.into_iter();
        who.map(|(number, id)| (endpoint(number), Some(NodeId(id))))
            .collect()
    }

    fn next(dialler: &mut Dialler, now: Instant) -> Option<SocketAddr> {
        dialler.next(now).map(|(endpoint, _)| endpoint)
    }

    fn over(
        dialler: &mut Dialler,
        now: Instant,
        endpoint: SocketAddr,
        outcome: Outcome,
    ) -> Option<Arc<str>> {
        dialler.dialled(now, endpoint, outcome, |_| true)
    }

    fn unreachable() -> Outcome {
        Outcome::Unreachable("nobody".into())
    }

    #[test]
    fn who_goes_before_his_dial_is_heard_of_is_looked_for_again() {
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &set([1]));
        assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
        // There was a link, and it has ended; what became of the dial comes after that.
        dialler.absent(now, NodeId(1), true);
        let known = Outcome::Known(NodeId(1));
        assert_eq!(dialler.dialled(now, endpoint(1), known, |_| false), None);
        assert_eq!(dialler.deadline(), Some(now + FIRST));
        assert_eq!(next(&mut dialler, now + FIRST), Some(endpoint(1)));
    }

    #[test]
    fn failures_are_tried_again_ever_more_seldom() {
        let (mut dialler, mut now) = (dialler(true), Instant::now());
        dialler.found(now, &set([1]));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
            assert_eq!(next(&mut dialler, now), None, "it is under way");
            over(&mut dialler, now, endpoint(1), unreachable());
            let due = dialler.deadline().unwrap();
            pauses.push((due - now).as_secs());
            assert_eq!(next(&mut dialler, due - Duration::from_millis(1)), None);
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        // A peer was there: the next failure is the first.
        assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
        over(&mut dialler, now, endpoint(1), Outcome::Known(NodeId(1)));
        assert_eq!(dialler.deadline(), None);
        dialler.absent(now, NodeId(2), false);
        assert_eq!(dialler.deadline(), None);
        dialler.absent(now, NodeId(1), true);
        assert_eq!(dialler.deadline(), Some(now + FIRST));
    }

    #[test]
    fn whoever_will_not_is_not_asked_again_soon() {
        for (given, pause) in [(false, REFUSED), (true, LAST)] {
            let (mut dialler, now) = (dialler(given), Instant::now());
            dialler.found(now, &set([1, 2]));
            for _ in 0..2 {
                let at = dialler.deadline().unwrap();
                let endpoint = next(&mut dialler, at).unwrap();
                let refused = Outcome::Refused("other secret".into());
                over(&mut dialler, now, endpoint, refused);
            }
            assert_eq!(dialler.deadline(), Some(now + pause));
            // Told again, it is no news.
            dialler.found(now, &set([1, 2]));
            assert_eq!(dialler.deadline(), Some(now + pause));
        }
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &set([1]));
        dialler.next(now).unwrap();
        over(&mut dialler, now, endpoint(1), Outcome::Itself);
        assert_eq!(dialler.deadline(), None, "this node is not asked at all");
    }

    #[test]
    fn what_the_source_tells_no_more_is_forgotten() {
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &set([1, 2]));
        let first = next(&mut dialler, now).unwrap();
        dialler.found(now, &set([]));
        assert_eq!(next(&mut dialler, now), None);
        assert_eq!(dialler.candidates.len(), 1, "its dial is under way");
        over(&mut dialler, now, first, unreachable());
        assert_eq!((dialler.candidates.len(), dialler.dialling), (0, 0));
    }

    #[test]
    fn a_peer_that_has_several_endpoints_is_dialled_at_one_after_the_other() {
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &announced([(1, 7), (2, 7), (3, 8)]));
        let mut first = [dialler.next(now), dialler.next(now)];
        first.sort();
        let at = |number, id| Some((endpoint(number), Some(NodeId(id))));
        assert_eq!(first, [at(1, 7), at(3, 8)]);
        assert_eq!((dialler.next(now), dialler.deadline()), (None, None));
        over(&mut dialler, now, endpoint(1), unreachable());
        assert_eq!(dialler.deadline(), Some(now));
        assert_eq!(next(&mut dialler, now), Some(endpoint(2)));
        over(&mut dialler, now, endpoint(3), unreachable());
        over(&mut dialler, now, endpoint(2), unreachable());
        assert!(dialler.sought.is_empty());
    }

    #[test]
    fn whoever_has_said_goodbye_is_not_looked_for_where_he_was() {
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &announced([(1, 7)]));
        let known = |dialler: &mut Dialler, left| {
            assert_eq!(next(dialler, now), Some(endpoint(1)));
            over(dialler, now, endpoint(1), Outcome::Known(NodeId(7)));
            dialler.absent(now, NodeId(7), left);
            dialler.deadline()
        };
        assert_eq!(known(&mut dialler, true), Some(now + LAST));
        // Another one has taken his place.
        dialler.found(now, &announced([(1, 8)]));
        assert_eq!(dialler.deadline(), Some(now));
        dialler.found(now, &announced([(1, 7)]));
        assert_eq!(known(&mut dialler, false), Some(now + FIRST), "it was lost");
    }

    #[test]
    fn there_is_an_end_to_how_many() {
        let (mut dialler, now) = (dialler(true), Instant::now());
        dialler.found(now, &set(1..60_000));
        assert_eq!(dialler.candidates.len(), ENDPOINTS);
        let dialled: Vec<_> = std::iter::from_fn(|| next(&mut dialler, now)).collect();
        assert_eq!(dialled.len(), AT_ONCE);
        assert_eq!(dialler.deadline(), None);
        over(&mut dialler, now, dialled[0], unreachable());
        assert!(dialler.next(now).is_some());
    }

    #[test]
    fn strangers_are_dialled_one_after_the_other() {
        for (given, pace) in [(true, Duration::ZERO), (false, PACE)] {
            let (mut dialler, now) = (dialler(given), Instant::now());
            dialler.found(now, &set([1, 2]));
            assert!(dialler.next(now).is_some());
            assert_eq!(dialler.deadline(), Some(now + pace));
            assert_eq!(dialler.next(now).is_some(), given);
        }
    }

    /// A local network on which nobody answers, in virtual time.
    struct Silence {
        dialler: Dialler,
        chance: SmallRng,
        start: Instant,
        now: Instant,
        under_way: VecDeque<(Instant, SocketAddr)>,
        told: Endpoints,
    }

    impl Silence {
        fn new(seed: u64) -> Self {
            let now = Instant::now();
            Silence {
                dialler: Dialler::new(false, SmallRng::seed_from_u64(seed)),
                chance: SmallRng::seed_from_u64(!seed),
                start: now,
                now,
                under_way: VecDeque::new(),
                told: Endpoints::new(),
            }
        }

        /// Another one announces himself, anywhere.
        fn one_more(&mut self, endpoints: usize) -> Vec<SocketAddr> {
            let who = NodeId(self.chance.random());
            let mut at = |_| SocketAddr::from((self.chance.random::<[u8; 4]>(), 7340));
            let at: Vec<_> = (0..endpoints).map(&mut at).collect();
            self.told.extend(at.iter().map(|at| (*at, Some(who))));
            at
        }

        fn one_less(&mut self, at: &[SocketAddr]) {
            self.told.retain(|endpoint, _| !at.contains(endpoint));
        }

        fn tell(&mut self) {
            self.dialler.found(self.now, &self.told);
        }

        /// Whom it dials until then, and how long after the start.
        fn dials(&mut self, until: Duration) -> Vec<(Duration, SocketAddr)> {
            let until = self.start + until;
            let mut dials = Vec::new();
            loop {
                let ends = self.under_way.front().map(|(at, _)| *at);
                let due = self.dialler.deadline();
                let at = [ends, due].into_iter().flatten().min();
                let Some(at) = at.filter(|at| *at < until) else {
                    self.now = until;
                    return dials;
                };
                self.now = at.max(self.now);
                if ends == Some(at) {
                    let (_, endpoint) = self.under_way.pop_front().unwrap();
                    over(&mut self.dialler, self.now, endpoint, unreachable());
                } else if let Some(endpoint) = next(&mut self.dialler, self.now) {
                    self.under_way.push_back((self.now + STRANGE, endpoint));
                    dials.push((self.now - self.start, endpoint));
                }
            }
        }
    }

    #[test]
    fn who_is_found_in_a_crowd_of_strangers_is_dialled_soon() {
        let strangers = 48;
        for seed in 0..64 {
            let mut lan = Silence::new(seed);
            for _ in 0..strangers {
                lan.one_more(announced::ENDPOINTS);
            }
            lan.tell();
            let bound = STRANGE * (strangers / 6 + 2);
            // Before they have all been dialled, or after.
            let found = bound.mul_f64(lan.chance.random_range(0.0..2.0));
            lan.dials(found);
            let ours = lan.one_more(3);
            lan.tell();
            let dials = lan.dials(found + 3 * bound);
            let dialled = |at: &SocketAddr| dials.iter().find(|(_, it)| it == at).map(|it| it.0);
            let mut dialled: Vec<_> = ours.iter().filter_map(dialled).collect();
            dialled.sort();
            assert_eq!(dialled.len(), 3, "seed {seed}");
            for (at, turn) in dialled.iter().zip(1..) {
                let took = *at - found;
                assert!(took <= turn * bound, "seed {seed}, dial {turn}: {took:?}");
            }
        }
    }

    #[test]
    fn where_strangers_are_invented_without_end_everybody_is_dialled() {
        const STRANGERS: usize = 48;
        const SEEDS: u64 = 32;
        let mut took = [Duration::ZERO; 2];
        for seed in 0..SEEDS {
            let mut lan = Silence::new(seed);
            let ours = lan.one_more(2);
            let mut strangers = VecDeque::new();
            let mut dialled = Vec::new();
            for second in 1.. {
                assert!(second < 1_000, "seed {seed}: {dialled:?}");
                // Far more than can be dialled.
                for _ in 0..STRANGERS / 2 {
                    strangers.push_back(lan.one_more(announced::ENDPOINTS));
                }
                while strangers.len() > STRANGERS {
                    let last = strangers.pop_front().unwrap();
                    lan.one_less(&last);
                }
                lan.tell();
                let dials = lan.dials(Duration::from_secs(second));
                dialled.extend(dials.into_iter().filter(|(_, it)| ours.contains(it)));
                if let [first, second, ..] = dialled[..] {
                    took[0] += first.0;
                    took[1] += second.0 - first.0;
                    break;
                }
            }
        }
        let took = took.map(|took| took.as_secs_f64() / SEEDS as f64);
        let one = STRANGERS as f64 / 8.0;
        assert!(took[0] < 1.5 * one, "{took:?}");
        assert!(took[1] < 1.5 * 4.0 * one, "{took:?}");
    }

    #[test]
    fn whoever_answered_comes_before_strangers() {
        for seed in 0..32 {
            let mut lan = Silence::new(seed);
            let ours = lan.one_more(1)[0];
            lan.tell();
            assert_eq!(next(&mut lan.dialler, lan.now), Some(ours));
            let known = NodeId(1);
            over(&mut lan.dialler, lan.now, ours, Outcome::Known(known));
            for _ in 0..48 {
                lan.one_more(announced::ENDPOINTS);
            }
            lan.tell();
            let lost = 2 * STRANGE;
            lan.dials(lost);
            lan.dialler.absent(lan.now, known, false);
            let bound = FIRST + STRANGE;
            let dials = lan.dials(lost + bound);
            assert!(dials.iter().any(|(_, it)| *it == ours), "seed {seed}");
        }
    }
}
