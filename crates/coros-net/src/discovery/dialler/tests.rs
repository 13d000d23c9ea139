//! Endpoints that somebody else dials, in virtual time.

use std::collections::VecDeque;

use rand::{RngExt as _, SeedableRng as _};

use super::super::STRANGE;
use super::*;

fn dialler(given: bool) -> Dialler {
    Dialler::new(Instant::now(), given, SmallRng::seed_from_u64(7))
}

fn endpoint(number: u16) -> SocketAddr {
    ([10, 0, 0, 1], number).into()
}

fn set(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<SocketAddr> {
    numbers.into_iter().map(endpoint).collect()
}

/// Somebody says where a node is that is not known to be there.
fn said<const N: usize>(dialler: &mut Dialler, now: Instant, id: u128, at: [u16; N]) {
    dialler.announced(now, NodeId(id), &set(at), |_| false);
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
    dialler.given(now, &set([1]));
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
    dialler.given(now, &set([1]));
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
    let now = now + FIRST;
    assert_eq!(dialler.deadline(), Some(now));
    assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
    let told = over(&mut dialler, now, endpoint(1), unreachable());
    assert!(told.is_some(), "it is news");
    assert_eq!(dialler.deadline(), Some(now + FIRST));
    dialler.next(now + FIRST).unwrap();
    let told = over(&mut dialler, now, endpoint(1), unreachable());
    assert_eq!(told, None);
}

#[test]
fn whoever_will_not_is_not_asked_again_soon() {
    for (given, pause) in [(false, REFUSED), (true, LAST)] {
        let (mut dialler, now) = (dialler(given), Instant::now());
        let tell = |dialler: &mut Dialler| match given {
            true => dialler.given(now, &set([1, 2])),
            false => (1..3).for_each(|it| said(dialler, now, it.into(), [it])),
        };
        tell(&mut dialler);
        for _ in 0..2 {
            let at = dialler.deadline().unwrap();
            let endpoint = next(&mut dialler, at).unwrap();
            let refused = Outcome::Refused("other secret".into());
            over(&mut dialler, now, endpoint, refused);
        }
        assert_eq!(dialler.deadline(), Some(now + pause));
        // Told again, it is no news.
        tell(&mut dialler);
        assert_eq!(dialler.deadline(), Some(now + pause));
    }
    let (mut dialler, now) = (dialler(true), Instant::now());
    dialler.given(now, &set([1]));
    dialler.next(now).unwrap();
    over(&mut dialler, now, endpoint(1), Outcome::Itself);
    assert_eq!(dialler.deadline(), None, "this node is not asked at all");
}

#[test]
fn what_the_source_tells_no_more_is_forgotten() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    dialler.given(now, &set([1, 2]));
    let first = next(&mut dialler, now).unwrap();
    dialler.given(now, &set([]));
    assert_eq!(next(&mut dialler, now), None);
    assert_eq!(dialler.places.len(), 1, "its dial is under way");
    over(&mut dialler, now, first, unreachable());
    assert_eq!((dialler.places.len(), dialler.dialling), (0, 0));
}

#[test]
fn a_peer_that_has_several_endpoints_is_dialled_at_one_after_the_other() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    said(&mut dialler, now, 7, [1, 2]);
    said(&mut dialler, now, 8, [3]);
    let at = |number, id| Some((endpoint(number), Some(NodeId(id))));
    assert_eq!([dialler.next(now), dialler.next(now)], [at(1, 7), at(3, 8)]);
    assert_eq!((dialler.next(now), dialler.deadline()), (None, None));
    over(&mut dialler, now, endpoint(1), unreachable());
    assert_eq!(dialler.deadline(), Some(now));
    assert_eq!(next(&mut dialler, now), Some(endpoint(2)));
    over(&mut dialler, now, endpoint(3), unreachable());
    over(&mut dialler, now, endpoint(2), unreachable());
    // What was tried the longest time ago comes first, and what answered before that.
    let later = now + LAST;
    assert_eq!(next(&mut dialler, later), Some(endpoint(1)));
    assert_eq!(next(&mut dialler, later), Some(endpoint(3)));
    over(&mut dialler, later, endpoint(1), unreachable());
    assert_eq!(next(&mut dialler, later), Some(endpoint(2)));
    over(&mut dialler, later, endpoint(2), Outcome::Known(NodeId(7)));
    dialler.absent(later, NodeId(7), false);
    assert_eq!(next(&mut dialler, later + LAST), Some(endpoint(2)));
}

#[test]
fn whoever_is_there_is_not_dialled() {
    let (mut dialler, now) = (dialler(false), Instant::now());
    // It is there when it is announced, comes by the time of its turn, or is found at one of its endpoints.
    dialler.announced(now, NodeId(1), &set([1]), |_| true);
    assert_eq!(dialler.deadline(), None);
    said(&mut dialler, now, 2, [2]);
    dialler.next(now).unwrap();
    over(&mut dialler, now, endpoint(2), Outcome::NoNeed(NodeId(2)));
    assert_eq!(dialler.deadline(), None);
    said(&mut dialler, now, 3, [3, 4]);
    dialler.next(now + PACE).unwrap();
    over(&mut dialler, now, endpoint(3), Outcome::Known(NodeId(3)));
    assert_eq!(dialler.deadline(), None);
    for (id, endpoints) in [(1, [1, 1]), (2, [2, 2]), (3, [3, 4])] {
        let now = now + LAST * id;
        dialler.absent(now, NodeId(id.into()), false);
        assert_eq!(dialler.deadline(), Some(now + FIRST), "{id}");
        let first = next(&mut dialler, now + FIRST).unwrap();
        assert_eq!(first, endpoint(endpoints[0]));
        over(&mut dialler, now + FIRST, first, unreachable());
        let second = next(&mut dialler, now + 2 * FIRST).unwrap();
        assert_eq!(second, endpoint(endpoints[1]));
        let known = Outcome::Known(NodeId(id.into()));
        over(&mut dialler, now + 2 * FIRST, second, known);
    }
    // It has gone before that was heard of.
    said(&mut dialler, now, 5, [5]);
    let now = now + 9 * LAST;
    dialler.next(now).unwrap();
    let outcome = Outcome::NoNeed(NodeId(5));
    assert_eq!(dialler.dialled(now, endpoint(5), outcome, |_| false), None);
    assert_eq!(dialler.deadline(), Some(now + FIRST));
}

#[test]
fn whoever_has_said_goodbye_is_not_looked_for_where_he_was() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    said(&mut dialler, now, 7, [1]);
    let known = |dialler: &mut Dialler, now, id, left| {
        assert_eq!(next(dialler, now), Some(endpoint(1)));
        over(dialler, now, endpoint(1), Outcome::Known(NodeId(id)));
        dialler.absent(now, NodeId(id), left);
        dialler.deadline()
    };
    assert_eq!(known(&mut dialler, now, 7, true), Some(now + LAST));
    // Another one has taken his place.
    said(&mut dialler, now, 8, [1]);
    assert_eq!(dialler.deadline(), Some(now));
    let lost = known(&mut dialler, now, 8, false);
    assert_eq!(lost, Some(now + FIRST), "it was lost");
    // It has left after all, and says so.
    let later = now + FIRST;
    assert_eq!(next(&mut dialler, later), Some(endpoint(1)));
    over(&mut dialler, later, endpoint(1), Outcome::Known(NodeId(8)));
    for id in [7, 8] {
        said(&mut dialler, later, id, []);
    }
    dialler.absent(later, NodeId(8), true);
    dialler.absent(later, NodeId(7), true);
    assert_eq!((dialler.peers.len(), dialler.places.len()), (0, 0));
}

#[test]
fn whoever_claims_what_is_dialled_for_another_has_his_turn_later() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    for id in [7, 8] {
        said(&mut dialler, now, id, [1]);
    }
    let dial = |id| Some((endpoint(1), Some(NodeId(id))));
    assert_eq!([dialler.next(now), dialler.next(now)], [dial(7), None]);
    over(&mut dialler, now, endpoint(1), unreachable());
    said(&mut dialler, now, 7, []);
    assert_eq!(dialler.deadline(), Some(now + FIRST));
    assert_eq!(dialler.next(now + FIRST), dial(8));
}

/// Whoever says that he is elsewhere, or has gone, may be another.
#[test]
fn what_is_said_no_more_is_dialled_once_and_forgotten() {
    let elsewhere: [&[u16]; 2] = [&[2], &[]];
    for elsewhere in elsewhere {
        let (mut dialler, now) = (dialler(true), Instant::now());
        said(&mut dialler, now, 7, [1]);
        let elsewhere = set(elsewhere.iter().copied());
        dialler.announced(now, NodeId(7), &elsewhere, |_| false);
        assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
        let told = over(&mut dialler, now, endpoint(1), unreachable());
        assert_eq!(told, None, "nobody wants to know");
        assert!(dialler.places.keys().eq(&elsewhere));
        // What answered has one more dial as well.
        said(&mut dialler, now, 8, [3]);
        let at = now + LAST;
        while next(&mut dialler, at) != Some(endpoint(3)) {}
        over(&mut dialler, at, endpoint(3), Outcome::Known(NodeId(8)));
        dialler.announced(at, NodeId(8), &elsewhere, |_| false);
        dialler.absent(at, NodeId(8), false);
        assert_eq!(next(&mut dialler, at + FIRST), Some(endpoint(3)));
        over(&mut dialler, at + FIRST, endpoint(3), unreachable());
        assert!(dialler.places.keys().eq(&elsewhere));
        // And what was tried in vain has none.
        said(&mut dialler, at, 9, [4]);
        let at = at + LAST;
        while next(&mut dialler, at) != Some(endpoint(4)) {}
        over(&mut dialler, at, endpoint(4), unreachable());
        dialler.announced(at, NodeId(9), &elsewhere, |_| false);
        assert!(dialler.places.keys().eq(&elsewhere));
    }
}

/// For whomever it was dialled.
#[test]
fn what_is_said_no_more_is_not_dialled_for_one_after_the_other() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    for id in [7, 8] {
        said(&mut dialler, now, id, [1]);
        said(&mut dialler, now, id, []);
    }
    assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
    over(&mut dialler, now, endpoint(1), unreachable());
    assert_eq!(next(&mut dialler, now + FIRST), None);
    assert_eq!((dialler.peers.len(), dialler.places.len()), (0, 0));
}

#[test]
fn what_is_said_no_more_is_forgotten_whatever_is_there() {
    let refused = Outcome::Refused("other secret".into());
    for outcome in [unreachable(), refused, Outcome::Itself] {
        let (mut dialler, now) = (dialler(true), Instant::now());
        said(&mut dialler, now, 7, [1]);
        said(&mut dialler, now, 7, []);
        dialler.next(now).unwrap();
        assert_eq!(over(&mut dialler, now, endpoint(1), outcome), None);
        assert_eq!((dialler.peers.len(), dialler.places.len()), (0, 0));
    }
}

/// Nor is it dialled, where another is known to be.
#[test]
fn what_is_said_no_more_is_forgotten_also_where_another_is() {
    for outcome in [Outcome::Itself, Outcome::Known(NodeId(1))] {
        let (mut dialler, now) = (dialler(false), Instant::now());
        said(&mut dialler, now, 7, [1]);
        said(&mut dialler, now, 9, [1]);
        said(&mut dialler, now, 9, []);
        dialler.next(now).unwrap();
        over(&mut dialler, now, endpoint(1), outcome);
        let now = now + LAST;
        said(&mut dialler, now, 8, [1]);
        said(&mut dialler, now, 8, []);
        assert_eq!(next(&mut dialler, now), None);
        assert!(dialler.peers.keys().eq(&[Who::Node(NodeId(7))]));
        said(&mut dialler, now, 7, []);
        assert_eq!((dialler.peers.len(), dialler.places.len()), (0, 0));
    }
}

#[test]
fn what_was_dialled_in_vain_for_one_is_dialled_for_the_next() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    said(&mut dialler, now, 7, [1]);
    dialler.next(now).unwrap();
    over(&mut dialler, now, endpoint(1), unreachable());
    for id in [8, 9] {
        said(&mut dialler, now, id, [1]);
    }
    let dial = |id| Some((endpoint(1), Some(NodeId(id))));
    assert_eq!(dialler.next(now), dial(8));
    over(&mut dialler, now, endpoint(1), Outcome::NoNeed(NodeId(8)));
    said(&mut dialler, now, 9, []);
    assert_eq!(dialler.next(now), dial(9));
}

#[test]
fn nobody_crowds_out_the_endpoints_of_another_before_they_were_tried() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    let first = 50_000;
    said(&mut dialler, now, 7, [first]);
    let mut numbers = 1..;
    let mut dialled = Vec::new();
    for _ in 0..ENDPOINTS {
        for _ in 0..15 {
            let elsewhere = set(numbers.by_ref().take(5));
            dialler.announced(now, NodeId(7), &elsewhere, |_| false);
        }
        assert_eq!(dialler.places.len(), ENDPOINTS);
        let at = next(&mut dialler, now).unwrap();
        over(&mut dialler, now, at, unreachable());
        dialled.push(at);
    }
    assert!(dialled.contains(&endpoint(first)), "{dialled:?}");
    // There is always room for one more, when something was tried in vain.
    let last = set([60_000]);
    dialler.announced(now, NodeId(7), &last, |_| false);
    let keys: Vec<_> = dialler.places.keys().collect();
    assert!(keys.contains(&&endpoint(60_000)), "{keys:?}");
}

#[test]
fn what_was_said_first_makes_room_last() {
    // Neither the lowest nor the highest.
    let first = endpoint(30_000);
    let (mut dialler, now) = (dialler(true), Instant::now());
    let in_vain = |dialler: &mut Dialler, all: &BTreeSet<SocketAddr>| {
        dialler.announced(now, NodeId(7), all, |_| false);
        let places: BTreeSet<_> = dialler.places.keys().copied().collect();
        while let Some(at) = next(dialler, now) {
            over(dialler, now, at, unreachable());
        }
        places
    };
    let mut all = in_vain(&mut dialler, &[first].into());
    for round in 0..20 {
        let low = round * 100 + 1..round * 100 + 11;
        let high = low.clone().map(|number| number + 40_000);
        all.extend(set(low.chain(high)));
        all = in_vain(&mut dialler, &all);
        assert!(all.contains(&first), "{round}");
    }
    assert_eq!(all.len(), ENDPOINTS);
    // But what is said no more makes room before all that is.
    let last = endpoint(31_000);
    all.insert(last);
    let all = in_vain(&mut dialler, &all);
    assert!(all.contains(&last));
    let others = set(50_001..50_000 + ENDPOINTS as u16);
    let elsewhere = others.into_iter().chain([last]).collect();
    assert_eq!(in_vain(&mut dialler, &elsewhere), elsewhere);
}

#[test]
fn of_what_is_said_at_once_no_order_decides_what_is_left_out() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    let half = ENDPOINTS as u16 / 2;
    let low = set(0..2 * half);
    let low = |dialler: &Dialler| dialler.places.keys().filter(|at| low.contains(at)).count();
    dialler.announced(now, NodeId(7), &set(0..4 * half), |_| false);
    // Half of them on average.
    assert!((16..48).contains(&low(&dialler)));
    // Nor what makes room.
    said(&mut dialler, now, 7, []);
    let in_vain = |dialler: &mut Dialler| {
        while let Some(at) = next(dialler, now) {
            over(dialler, now, at, unreachable());
        }
    };
    in_vain(&mut dialler);
    dialler.announced(now, NodeId(7), &set(half..3 * half), |_| false);
    in_vain(&mut dialler);
    let more = set((half..3 * half).chain(1000..1000 + half));
    dialler.announced(now, NodeId(7), &more, |_| false);
    assert!((6..26).contains(&low(&dialler)));
}

#[test]
fn where_others_are_known_to_be_is_room_for_where_a_peer_is() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    let all = 1..=ENDPOINTS as u16;
    for number in all.clone() {
        said(&mut dialler, now, 100 + u128::from(number), [number]);
        assert_eq!(next(&mut dialler, now), Some(endpoint(number)));
        let outcome = match number {
            1 => Outcome::Itself,
            _ => Outcome::Known(NodeId(100 + u128::from(number))),
        };
        over(&mut dialler, now, endpoint(number), outcome);
    }
    dialler.announced(now, NodeId(7), &set(all.clone()), |_| false);
    let more = set(all.chain([99]));
    dialler.announced(now, NodeId(7), &more, |_| false);
    assert_eq!(next(&mut dialler, now), Some(endpoint(99)));
}

#[test]
fn there_is_an_end_to_how_many_are_given() {
    let (mut dialler, now) = (dialler(true), Instant::now());
    dialler.given(now, &set(1..60_000));
    assert_eq!(dialler.places.len(), GIVEN);
    let dialled: Vec<_> = std::iter::from_fn(|| next(&mut dialler, now)).collect();
    assert_eq!(dialled.len(), AT_ONCE);
    assert!(!dialled.is_sorted(), "all nodes would begin with the same");
    assert_eq!(dialler.deadline(), None);
    over(&mut dialler, now, dialled[0], unreachable());
    assert!(dialler.next(now).is_some());
}

#[test]
fn a_crowd_of_strangers_fills_no_memory_and_hides_nobody() {
    let (mut dialler, now) = (dialler(false), Instant::now());
    let linked = NodeId(2);
    let present = |id| id == linked;
    dialler.announced(now, linked, &set([2]), present);
    let mut numbers = 1 << 64..;
    let mut crowd = |dialler: &mut Dialler, size: usize| {
        for id in numbers.by_ref().take(size) {
            dialler.announced(now, NodeId(id), &set(10..20), present);
        }
    };
    crowd(&mut dialler, PEERS);
    assert_eq!(dialler.peers.len(), PEERS);
    assert_eq!(dialler.places.len(), 10 + 1);
    let sought = dialler.next(now).unwrap();
    // Whoever comes after all of them is seen, and stays for a while: each of them is as likely to go.
    let late = || (0..256).map(|number| NodeId(1 << 32 | number));
    let is_in = |dialler: &Dialler, id| dialler.peers.contains_key(&Who::Node(id));
    for id in late() {
        dialler.announced(now, id, &set([3]), present);
        assert!(is_in(&dialler, id));
    }
    let stay = |dialler: &Dialler| late().filter(|id| is_in(dialler, *id)).count();
    // Of 256, 150 on average, and less than a tenth as many after that.
    crowd(&mut dialler, PEERS / 2);
    assert!((90..210).contains(&stay(&dialler)));
    crowd(&mut dialler, 3 * PEERS);
    assert!(stay(&dialler) < 40, "none has a place for good");
    assert!(is_in(&dialler, linked), "it has a link");
    assert!(is_in(&dialler, sought.1.unwrap()), "it is being dialled");
    over(&mut dialler, now, sought.0, unreachable());

    // All of it is forgotten, but for whoever is there.
    dialler.forget_all();
    assert!(dialler.peers.keys().eq(&[Who::Node(linked)]));
    assert_eq!((dialler.places.len(), dialler.deadline()), (1, None));
    // And he too, when he has left.
    dialler.absent(now, linked, true);
    assert_eq!((dialler.peers.len(), dialler.places.len()), (0, 0));

    // Where all are there nobody has to be found.
    for id in 0..=PEERS as u128 {
        dialler.announced(now, NodeId(id), &set([1]), |_| true);
    }
    assert!(!is_in(&dialler, NodeId(PEERS as u128)));
}

#[test]
fn strangers_are_dialled_one_after_the_other() {
    for (given, pace) in [(true, Duration::ZERO), (false, PACE)] {
        let (mut dialler, now) = (dialler(given), Instant::now());
        dialler.given(now, &set([1, 2]));
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
}

impl Silence {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Silence {
            dialler: Dialler::new(now, false, SmallRng::seed_from_u64(seed)),
            chance: SmallRng::seed_from_u64(!seed),
            start: now,
            now,
            under_way: VecDeque::new(),
        }
    }

    /// Somebody announces himself, at these endpoints.
    fn at(&mut self, at: impl IntoIterator<Item = SocketAddr>) -> NodeId {
        let who = NodeId(self.chance.random());
        let at = at.into_iter().collect();
        self.dialler.announced(self.now, who, &at, |_| false);
        who
    }

    /// So many, anywhere.
    fn places(&mut self, count: usize) -> Vec<SocketAddr> {
        let place = |_| SocketAddr::from((self.chance.random::<[u8; 4]>(), 7340));
        (0..count).map(place).collect()
    }

    fn one_more(&mut self, endpoints: usize) -> NodeId {
        let at = self.places(endpoints);
        self.at(at)
    }

    fn crowd(&mut self, size: usize) {
        for _ in 0..size {
            self.one_more(ENDPOINTS);
        }
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

/// How long it takes to dial one that is found beside strangers at each of its three endpoints, in bounds as documented.
fn found_in_a_crowd(mut crowd: impl FnMut(&mut Silence, &[SocketAddr]) -> usize) {
    for seed in 0..64 {
        let mut lan = Silence::new(seed);
        let ours = lan.places(3);
        let strangers = crowd(&mut lan, &ours);
        let bound = STRANGE * (strangers as u32 / 8 + 2);
        // Before they have all been dialled, or after.
        let found = bound.mul_f64(lan.chance.random_range(0.0..2.0));
        let mut dials = lan.dials(found);
        lan.at(ours.iter().copied());
        dials.extend(lan.dials(found + 3 * bound));
        let mut dialled: Vec<_> = ours
            .iter()
            .map(|at| {
                let mut of_it = dials.iter().filter(|(_, it)| it == at).map(|it| it.0);
                let first = of_it.find(|at| *at >= found);
                first.unwrap_or(Duration::MAX)
            })
            .collect();
        dialled.sort();
        for (at, turn) in dialled.iter().zip(1..) {
            let took = at.saturating_sub(found);
            assert!(took <= turn * bound, "seed {seed}, dial {turn}: {took:?}");
        }
    }
}

#[test]
fn who_is_found_in_a_crowd_of_strangers_is_dialled_soon() {
    found_in_a_crowd(|lan, _| {
        lan.crowd(48);
        48
    });
}

#[test]
fn a_crowd_takes_no_more_turns_by_saying_that_all_are_everywhere() {
    found_in_a_crowd(|lan, _| {
        let places = lan.places(24 * ENDPOINTS);
        for _ in 0..2 {
            places.chunks(ENDPOINTS).for_each(|at| {
                lan.at(at.iter().copied());
            });
        }
        48
    });
}

#[test]
fn a_crowd_hides_nobody_by_saying_that_it_is_where_he_is() {
    found_in_a_crowd(|lan, ours| {
        for _ in 0..48 {
            let mut at = lan.places(ENDPOINTS - 1);
            at.push(ours[lan.chance.random_range(0..3)]);
            lan.at(at);
        }
        48
    });
}

/// Nor by speaking in his name, for longer than it takes to dial all that it says.
#[test]
fn a_crowd_hides_nobody_by_saying_that_he_is_elsewhere() {
    for seed in 0..32 {
        let mut lan = Silence::new(seed);
        let at = lan.places(1)[0];
        lan.crowd(24);
        let who = lan.at([at]);
        lan.crowd(24);
        let bound = STRANGE * (49 / 8 + 2);
        let mut dials = Vec::new();
        while lan.now - lan.start < 8 * bound {
            let elsewhere = lan.places(3).into_iter().collect();
            let gone = BTreeSet::new();
            for at in [elsewhere, gone] {
                lan.dialler.announced(lan.now, who, &at, |_| false);
            }
            let next = lan.now - lan.start + STRANGE / 10;
            dials.extend(lan.dials(next));
        }
        assert!(dials.iter().any(|(_, it)| *it == at), "seed {seed}");
    }
}

/// Beside the true one.
#[test]
fn who_adds_endpoints_to_those_of_another_delays_him_by_a_turn_each() {
    for seed in 0..4 {
        let mut lan = Silence::new(seed);
        let all = lan.places(ENDPOINTS);
        lan.crowd(16);
        lan.at(all.iter().copied());
        let bound = STRANGE * (17 / 8 + 2);
        let dials = lan.dials(ENDPOINTS as u32 * bound);
        for ours in all {
            assert!(dials.iter().any(|(_, it)| *it == ours), "seed {seed}");
        }
    }
}

/// Nor for good, when he was not there at first.
#[test]
fn endpoints_that_are_added_without_end_hide_nobody_who_was_dialled_before() {
    let mut lan = Silence::new(7);
    let ours = lan.places(1)[0];
    let who = lan.at([ours]);
    let mut dials = lan.dials(STRANGE);
    assert_eq!(dials.len(), 1);
    let mut all: Vec<_> = lan.places(8);
    // More than can be dialled, but there is room.
    while lan.dialler.places.len() < ENDPOINTS - 1 {
        all.extend(lan.places(1));
        let at = all.iter().rev().take(8).copied().chain([ours]).collect();
        lan.dialler.announced(lan.now, who, &at, |_| false);
        let next = lan.now - lan.start + STRANGE.mul_f64(0.8);
        dials.extend(lan.dials(next));
    }
    dials.push((lan.now - lan.start, ours));
    dials.retain(|(_, it)| *it == ours);
    for two in dials.windows(2) {
        let took = two[1].0 - two[0].0;
        assert!(took < LAST + ENDPOINTS as u32 * STRANGE, "{took:?}");
    }
}

#[test]
fn where_strangers_are_invented_without_end_everybody_is_dialled() {
    const STRANGERS: usize = 48;
    for seed in 0..8 {
        let mut lan = Silence::new(seed);
        let mut strangers = VecDeque::new();
        let mut ours = Vec::new();
        let (mut dialled, mut bounds) = (Vec::new(), Vec::new());
        for second in 1..200 {
            // Far more than can be dialled.
            for _ in 0..STRANGERS / 2 {
                strangers.push_back(lan.one_more(4));
            }
            while strangers.len() > STRANGERS {
                let last = strangers.pop_front().unwrap();
                let nowhere = BTreeSet::new();
                lan.dialler.announced(lan.now, last, &nowhere, |_| false);
            }
            // Those who have gone wait for their turns as well.
            let bound = STRANGE * (lan.dialler.peers.len() as u32 / 8 + 2);
            if second == 10 {
                ours = lan.places(2);
                lan.at(ours.iter().copied());
                bounds.push(bound);
            }
            let dials = lan.dials(Duration::from_secs(second));
            let before = dialled.len();
            dialled.extend(dials.into_iter().filter(|(_, it)| ours.contains(it)));
            bounds.extend((before < dialled.len()).then_some(bound));
        }
        let (first, second) = (dialled[0].0, dialled[1].0);
        let took = [first - 9 * STRANGE, second - first];
        let in_time = took.iter().zip(&bounds).all(|(took, bound)| took <= bound);
        assert!(in_time, "seed {seed}: {took:?}");
    }
}

#[test]
fn whoever_answered_comes_before_strangers() {
    for seed in 0..32 {
        let mut lan = Silence::new(seed);
        let ours = lan.places(1)[0];
        let known = lan.at([ours]);
        assert_eq!(next(&mut lan.dialler, lan.now), Some(ours));
        over(&mut lan.dialler, lan.now, ours, Outcome::Known(known));
        lan.crowd(48);
        let lost = 2 * STRANGE;
        lan.dials(lost);
        lan.dialler.absent(lan.now, known, false);
        let bound = FIRST + STRANGE;
        let dials = lan.dials(lost + bound);
        assert!(dials.iter().any(|(_, it)| *it == ours), "seed {seed}");
    }
}

/// So do not all who claim to be where somebody answered; nor do they lose a turn by that.
#[test]
fn where_somebody_answered_is_one_turn_and_not_one_of_each_who_claims_it() {
    const STRANGERS: usize = 48;
    for seed in 0..64 {
        let mut lan = Silence::new(seed);
        let known = lan.places(1)[0];
        let left = lan.at([known]);
        assert_eq!(next(&mut lan.dialler, lan.now), Some(known));
        over(&mut lan.dialler, lan.now, known, Outcome::Known(left));
        for _ in 0..STRANGERS {
            let at = lan.places(4).into_iter().chain([known]);
            lan.at(at);
        }
        let ours = lan.places(1)[0];
        let claims = (seed % 2 == 0).then_some(known);
        lan.at(claims.into_iter().chain([ours]));
        // When most of the strangers have had a turn, which they have again later.
        let gone = STRANGE * (STRANGERS as u32 / 8 - 1);
        lan.dials(gone - FIRST);
        lan.dialler.absent(lan.now, left, true);
        let bound = STRANGE * (STRANGERS as u32 / 8 + 2);
        let dials = lan.dials(bound);
        assert!(dials.iter().any(|(_, it)| *it == ours), "seed {seed}");
    }
}

#[test]
fn strangers_who_come_and_go_hide_nobody_who_stays() {
    const STRANGERS: usize = 48;
    for seed in 0..2 {
        let mut lan = Silence::new(seed);
        let mut strangers = VecDeque::new();
        let mut come_and_go = |lan: &mut Silence, count| {
            for _ in 0..count {
                strangers.push_back(lan.one_more(2));
                if strangers.len() > STRANGERS {
                    let gone = strangers.pop_front().unwrap();
                    let nowhere = BTreeSet::new();
                    lan.dialler.announced(lan.now, gone, &nowhere, |_| false);
                }
            }
        };
        come_and_go(&mut lan, PEERS + STRANGERS);
        let ours = lan.places(1)[0];
        let who = lan.at([ours]);
        let bound = STRANGE * (PEERS as u32 / 8 + 2);
        let mut dials = Vec::new();
        while lan.now < lan.start + bound {
            come_and_go(&mut lan, 5);
            let next = lan.now - lan.start + STRANGE / 10;
            dials.extend(lan.dials(next));
        }
        assert_eq!(lan.dialler.peers.len(), PEERS);
        assert!(dials.iter().any(|(_, it)| *it == ours), "seed {seed}");
        assert!(lan.dialler.peers.contains_key(&Who::Node(who)));
    }
}

/// Also where what is told comes late.
#[test]
fn whatever_happens_all_who_are_said_to_be_somewhere_are_dialled() {
    for seed in 0..300 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let mut now = Instant::now();
        let mut dialler = Dialler::new(now, false, SmallRng::seed_from_u64(!seed));
        let (mut said, mut there) = (BTreeMap::new(), BTreeSet::new());
        let mut gone = VecDeque::new();
        let mut under_way: Vec<(SocketAddr, Option<NodeId>)> = Vec::new();
        for _ in 0..500 {
            now += chance.random_range(0..3) * FIRST / 2;
            let who = NodeId(chance.random_range(1..12));
            match chance.random_range(0..14) {
                0..5 => {
                    let count = chance.random_range(0..4);
                    let at = set((0..count).map(|_| chance.random_range(1..10)));
                    dialler.announced(now, who, &at, |id| there.contains(&id));
                    said.insert(who, at);
                }
                5 => {
                    there.insert(who);
                }
                6 if there.remove(&who) => gone.push_back((who, chance.random())),
                7..9 => {
                    let absent = gone.pop_front().filter(|(who, _)| !there.contains(who));
                    absent.inspect(|(who, left)| dialler.absent(now, *who, *left));
                }
                9 if chance.random_ratio(1, 8) => {
                    dialler.forget_all();
                    said.clear();
                }
                10..12 if !under_way.is_empty() => {
                    let one = chance.random_range(0..under_way.len());
                    let (at, sought) = under_way.swap_remove(one);
                    let outcome = match chance.random_range(0..4) {
                        0 => Outcome::Refused("no".into()),
                        1 => Outcome::Known(who),
                        2 => sought.map_or_else(unreachable, Outcome::NoNeed),
                        _ => unreachable(),
                    };
                    if let Outcome::Known(who) | Outcome::NoNeed(who) = outcome {
                        there.insert(who);
                        if chance.random_ratio(1, 4) {
                            there.remove(&who);
                            dialler.absent(now, who, chance.random());
                        }
                    }
                    dialler.dialled(now, at, outcome, |id| there.contains(&id));
                }
                _ => under_way.extend(dialler.next(now)),
            }
            let claims = dialler.peers.values().map(|peer| peer.at.len());
            let claimants = dialler.places.values().map(|place| place.claimants);
            assert_eq!(claims.sum::<usize>(), claimants.sum());
            assert_eq!(dialler.dialling, under_way.len());
        }
        gone.extend(there.into_iter().map(|who| (who, false)));
        for (who, left) in gone {
            dialler.absent(now, who, left);
        }
        for (at, _) in under_way {
            dialler.dialled(now, at, unreachable(), |_| false);
        }
        let mut dialled = BTreeSet::new();
        let end = now + REFUSED + LAST;
        while let Some(due) = dialler.deadline().filter(|due| *due < end) {
            now = now.max(due);
            if let Some((at, _)) = dialler.next(now) {
                dialled.insert(at);
                dialler.dialled(now, at, unreachable(), |_| false);
            }
        }
        said.retain(|_, at| !at.is_empty());
        let all: BTreeSet<_> = said.values().flatten().copied().collect();
        assert!(dialled.is_superset(&all), "seed {seed}");
        assert!(dialler.places.keys().eq(&all), "seed {seed}");
        let known = said.keys().map(|id| Who::Node(*id));
        assert!(dialler.peers.keys().copied().eq(known), "seed {seed}");
    }
}
