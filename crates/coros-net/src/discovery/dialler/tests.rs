//! Endpoints that somebody else dials, in virtual time.

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
