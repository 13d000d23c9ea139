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
//! Sans-io.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coros_core::remote::NodeId;

use super::Endpoints;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(30);
const REFUSED: Duration = Duration::from_secs(300);
const AT_ONCE: usize = 8;
const ENDPOINTS: usize = 4096;

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
    candidates: BTreeMap<SocketAddr, Candidate>,
    dialling: usize,
    /// Those who are dialled, as far as it is said who they are.
    sought: BTreeSet<NodeId>,
}

impl Dialler {
    /// For endpoints that were given, or were found.
    pub(super) fn new(given: bool) -> Self {
        Dialler {
            // Whoever has given one mends what is wrong, and waits for it.
            refused: if given { LAST } else { REFUSED },
            candidates: BTreeMap::new(),
            dialling: 0,
            sought: BTreeSet::new(),
        }
    }

    /// The source tells all endpoints that it knows.
    pub(super) fn found(&mut self, now: Instant, endpoints: &Endpoints) {
        self.candidates.retain(|endpoint, candidate| {
            candidate.is_told = endpoints.contains_key(endpoint);
            // The end of a dial is still to come.
            candidate.is_told || matches!(candidate.state, State::Dialling(_))
        });
        for (&endpoint, &who) in endpoints {
            if let Some(candidate) = self.candidates.get_mut(&endpoint) {
                let before = std::mem::replace(&mut candidate.who, who);
                // Whatever became of the one before.
                if before != who
                    && let State::Due(at) = &mut candidate.state
                {
                    *at = now;
                }
            } else if self.candidates.len() < ENDPOINTS {
                let candidate = Candidate {
                    is_told: true,
                    who,
                    state: State::Due(now),
                    pause: None,
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
        let (state, why) = match outcome {
            Outcome::Itself => (State::Itself, None),
            Outcome::Known(peer) => {
                candidate.pause = None;
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
        if self.dialling >= AT_ONCE {
            return None;
        }
        let due = self.due().filter(|(at, _)| *at <= now).min()?.1;
        let candidate = self.candidates.get_mut(&due)?;
        let who = candidate.who;
        candidate.state = State::Dialling(who);
        self.dialling += 1;
        self.sought.extend(who);
        Some((due, who))
    }

    /// When [`next`](Dialler::next) has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.dialling >= AT_ONCE {
            return None;
        }
        self.due().map(|(at, _)| at).min()
    }

    fn due(&self) -> impl Iterator<Item = (Instant, SocketAddr)> {
        let candidates = self.candidates.iter();
        candidates.filter_map(|(endpoint, candidate)| match candidate.state {
            State::Due(at) if !self.is_sought(candidate) => Some((at, *endpoint)),
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
    use super::*;

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
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
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
        let (mut dialler, mut now) = (Dialler::new(true), Instant::now());
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
            let (mut dialler, now) = (Dialler::new(given), Instant::now());
            dialler.found(now, &set([1, 2]));
            for _ in 0..2 {
                let endpoint = next(&mut dialler, now).unwrap();
                over(
                    &mut dialler,
                    now,
                    endpoint,
                    Outcome::Refused("other secret".into()),
                );
            }
            assert_eq!(dialler.deadline(), Some(now + pause));
            // Told again, it is no news.
            dialler.found(now, &set([1, 2]));
            assert_eq!(dialler.deadline(), Some(now + pause));
        }
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
        dialler.found(now, &set([1]));
        dialler.next(now).unwrap();
        over(&mut dialler, now, endpoint(1), Outcome::Itself);
        assert_eq!(dialler.deadline(), None, "this node is not asked at all");
    }

    #[test]
    fn what_the_source_tells_no_more_is_forgotten() {
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
        dialler.found(now, &set([1, 2]));
        assert_eq!(next(&mut dialler, now), Some(endpoint(1)));
        dialler.found(now, &set([]));
        assert_eq!(next(&mut dialler, now), None);
        assert_eq!(dialler.candidates.len(), 1, "its dial is under way");
        over(&mut dialler, now, endpoint(1), unreachable());
        assert_eq!((dialler.candidates.len(), dialler.dialling), (0, 0));
    }

    #[test]
    fn a_peer_that_has_several_endpoints_is_dialled_at_one_after_the_other() {
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
        dialler.found(now, &announced([(1, 7), (2, 7), (3, 8)]));
        assert_eq!(dialler.next(now), Some((endpoint(1), Some(NodeId(7)))));
        assert_eq!(dialler.next(now), Some((endpoint(3), Some(NodeId(8)))));
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
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
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
        let (mut dialler, now) = (Dialler::new(true), Instant::now());
        dialler.found(now, &set(1..10_000));
        assert_eq!(dialler.candidates.len(), ENDPOINTS);
        let dialled: Vec<_> = std::iter::from_fn(|| next(&mut dialler, now)).collect();
        assert_eq!(dialled.len(), AT_ONCE);
        assert_eq!(dialler.deadline(), None);
        over(&mut dialler, now, dialled[0], unreachable());
        assert!(dialler.next(now).is_some());
    }
}
