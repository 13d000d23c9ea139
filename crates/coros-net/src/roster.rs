//! Who is there: made of what the links tell and what the membership tells.
//!
//! Both see the same peers, each in its own way and at its own time. Links tell raw facts: there is
//! one, it broke, its session is over, it was idle and has been closed. The membership tells who
//! belongs to the network without any link to here. [`Roster`] merges the two into the
//! [`PeerEvent`]s that users get: each change once, in order for each peer.
//!
//! ```text
//!              Linked | Up                     Broke | Over(lost) | Down
//!   (unknown) ────────────> present: Joined ─────────────────────────────> lost: Lost
//!       ^                      │   ^                                       │     │
//!       │  Over(left) | Gone   │   └─────────── Linked | Up: Returned ─────┘     │
//!       └──────────────────────┴──────────────────── Over(left) | Gone: Left ────┘
//! ```
//!
//! A live link outweighs the membership: as long as there is one, its peer is present, whatever
//! others say of it. A peer that was lost is remembered for its return, up to [`MAX_LOST`] of them:
//! beyond that the one that was lost first would be told as a stranger.
//!
//! Sans-io: facts go in, events come out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use coros_core::remote::{Location, NodeId};

use crate::events::PeerEvent;
use crate::{HandshakeError, HostPort};

/// So many lost peers are remembered. (Few in unit tests, which get there.)
const MAX_LOST: usize = if cfg!(test) { 3 } else { 4096 };

/// What a part of the node knows of a peer.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// There is a link.
    Linked(Location),
    /// The link broke; what is under way waits for the next.
    Broke(Location, Arc<str>),
    /// The link was idle, and has been closed; or one of the two has ended the session with a member.
    Idle(NodeId),
    /// One of the two has said goodbye: there is neither link nor session, and others do not tell of it.
    Left(Location),
    /// There is neither link nor session any more, and nobody has said why.
    Lost(Location, Arc<str>),
    /// The membership has heard of the peer.
    Up(Location),
    /// The membership has heard no sign of life from the peer.
    Down(Location, Arc<str>),
    /// The membership has heard that the peer has shut down.
    Gone(Location),
    /// Somebody who belongs to coros tried to link and could not.
    Refused(SocketAddr, HandshakeError),
    /// Nobody can be linked with where somebody is looked for.
    Unreachable(SocketAddr, Arc<str>),
    /// It is not known where to look for somebody.
    NotFound(HostPort, Arc<str>),
}

#[derive(Debug)]
struct Known {
    location: Location,
    linked: bool,
    /// Others tell of it.
    member: bool,
    /// The number of its loss.
    lost: Option<u64>,
}

/// Who is there; see the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Roster {
    known: BTreeMap<NodeId, Known>,
    /// All losses so far, numbered.
    losses: u64,
    /// Those that are lost, by the number of the loss.
    lost: BTreeMap<u64, NodeId>,
    /// Those that are present, by where they listen.
    places: BTreeSet<(SocketAddr, NodeId)>,
}

impl Roster {
    /// The peers that are there, with or without a link.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Location> {
        let present = self.known.values().filter(|known| known.lost.is_none());
        present.map(|known| &known.location)
    }

    /// Who is there, or was and has not left.
    pub(crate) fn known(&self) -> impl Iterator<Item = NodeId> {
        self.known.keys().copied()
    }

    pub(crate) fn is_present(&self, peer: NodeId) -> bool {
        self.known
            .get(&peer)
            .is_some_and(|known| known.lost.is_none())
    }

    /// The fact that one of the two has ended the session, and both stay. One that is lost stays that:
    /// perhaps it is just being linked again.
    pub(crate) fn closed(&self, peer: Location) -> Fact {
        match self.known.get(&peer.node) {
            Some(known) if known.member || known.lost.is_some() => Fact::Idle(peer.node),
            _ => Fact::Left(peer),
        }
    }

    /// Somebody who is there, and listens at an endpoint.
    pub(crate) fn whoever_is_at(&self, endpoint: SocketAddr) -> Option<NodeId> {
        let all = (endpoint, NodeId(0))..=(endpoint, NodeId(u128::MAX));
        self.places.range(all).next().map(|(_, peer)| *peer)
    }

    /// Takes a fact; the event that it makes, if it is news.
    pub(crate) fn handle(&mut self, fact: Fact) -> Option<PeerEvent> {
        match fact {
            Fact::Linked(peer) => self.appears(peer, true),
            Fact::Up(peer) => self.appears(peer, false),
            Fact::Idle(peer) => {
                if let Some(known) = self.known.get_mut(&peer) {
                    known.linked = false;
                }
                None
            }
            Fact::Broke(peer, why) | Fact::Lost(peer, why) => {
                self.known.get_mut(&peer.node)?.linked = false;
                self.vanishes(peer, why)
            }
            Fact::Down(peer, why) => {
                self.known.get_mut(&peer.node)?.member = false;
                self.vanishes(peer, why)
            }
            Fact::Left(peer) => {
                self.forget(peer.node)?;
                Some(PeerEvent::Left(peer))
            }
            Fact::Gone(peer) => {
                let known = self.known.get_mut(&peer.node)?;
                known.member = false;
                // Whoever has a link hears it over that.
                if known.linked {
                    return None;
                }
                self.forget(peer.node);
                Some(PeerEvent::Left(peer))
            }
            Fact::Refused(from, error) => Some(PeerEvent::Refused(from, error)),
            Fact::Unreachable(endpoint, why) => Some(PeerEvent::Unreachable(endpoint, why)),
            Fact::NotFound(name, why) => Some(PeerEvent::NotFound(name, why)),
        }
    }

    fn appears(&mut self, peer: Location, linked: bool) -> Option<PeerEvent> {
        let Some(known) = self.known.get_mut(&peer.node) else {
            let known = Known {
                location: peer.clone(),
                linked,
                member: !linked,
                lost: None,
            };
            self.places.extend(place(&peer));
            self.known.insert(peer.node, known);
            return Some(PeerEvent::Joined(peer));
        };
        if linked {
            // What the peer says of itself counts more than what others say.
            if let Some(before) = place(&known.location) {
                self.places.remove(&before);
            }
            known.location = peer.clone();
            known.linked = true;
        } else {
            known.member = true;
        }
        self.places.extend(place(&known.location));
        let loss = known.lost.take()?;
        self.lost.remove(&loss);
        Some(PeerEvent::Returned(peer))
    }

    fn vanishes(&mut self, peer: Location, why: Arc<str>) -> Option<PeerEvent> {
        let known = self.known.get_mut(&peer.node)?;
        if known.linked || known.lost.is_some() {
            return None;
        }
        if let Some(place) = place(&known.location) {
            self.places.remove(&place);
        }
        self.losses += 1;
        known.lost = Some(self.losses);
        self.lost.insert(self.losses, peer.node);
        if self.lost.len() > MAX_LOST
            && let Some((_, oldest)) = self.lost.pop_first()
        {
            self.known.remove(&oldest);
        }
        Some(PeerEvent::Lost(peer, why))
    }

    fn forget(&mut self, peer: NodeId) -> Option<()> {
        let known = self.known.remove(&peer)?;
        if let Some(place) = place(&known.location) {
            self.places.remove(&place);
        }
        known.lost.and_then(|loss| self.lost.remove(&loss));
        Some(())
    }
}

fn place(peer: &Location) -> Option<(SocketAddr, NodeId)> {
    Some((peer.endpoint?, peer.node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(id: u128) -> Location {
        Location {
            node: NodeId(id),
            name: format!("n{id}").into(),
            endpoint: None,
        }
    }

    /// The events of a series of facts in short: `J`, `L`, `R`, `X` for joined, lost, returned, left.
    fn told(facts: impl IntoIterator<Item = Fact>) -> String {
        let mut roster = Roster::default();
        let events = facts.into_iter().filter_map(|fact| roster.handle(fact));
        let short = events.map(|event| match event {
            PeerEvent::Joined(_) => 'J',
            PeerEvent::Lost(..) => 'L',
            PeerEvent::Returned(_) => 'R',
            PeerEvent::Left(_) => 'X',
            PeerEvent::Refused(..) | PeerEvent::Unreachable(..) | PeerEvent::NotFound(..) => '?',
        });
        short.collect()
    }

    #[test]
    fn what_links_and_membership_tell_is_one_story() {
        use Fact::*;
        let why = || Arc::from("why");
        let p = || at(1);
        // Heard of, then linked; the link breaks, and is back.
        assert_eq!(
            told([Up(p()), Linked(p()), Broke(p(), why()), Linked(p())]),
            "JLR"
        );
        // Breaks, is given up, and the membership agrees later.
        assert_eq!(
            told([
                Linked(p()),
                Broke(p(), why()),
                Lost(p(), why()),
                Down(p(), why())
            ]),
            "JL"
        );
        // Others take it for dead, but the link lives.
        assert_eq!(told([Linked(p()), Down(p(), why()), Up(p())]), "J");
        // Idle is no event, and leaves what the membership says.
        assert_eq!(
            told([Linked(p()), Idle(p().node), Down(p(), why()), Up(p())]),
            "JLR"
        );
        // A session ends, and with it whoever is no member: as far as the membership has told.
        let closed = |facts: &[Fact]| {
            let mut roster = Roster::default();
            for fact in facts {
                roster.handle(fact.clone());
            }
            let fact = roster.closed(p());
            roster.handle(fact)
        };
        let left = Some(PeerEvent::Left(p()));
        assert_eq!(closed(&[Linked(p())]), left);
        assert_eq!(closed(&[Linked(p()), Up(p())]), None);
        assert_eq!(closed(&[Up(p()), Linked(p())]), None);
        assert_eq!(closed(&[Up(p()), Linked(p()), Gone(p())]), left);
        assert_eq!(closed(&[Up(p()), Linked(p()), Down(p(), why())]), left);
        // One that is lost is not there: if it is linked next it has returned.
        assert_eq!(closed(&[Linked(p()), Broke(p(), why())]), None);
        // A goodbye is told once, by whoever hears it first.
        assert_eq!(
            told([Up(p()), Linked(p()), Gone(p()), Left(p()), Gone(p())]),
            "JX"
        );
        assert_eq!(told([Up(p()), Gone(p()), Left(p())]), "JX");
        assert_eq!(told([Up(p()), Down(p(), why()), Gone(p())]), "JLX");
        // Nothing is told of those that were never there.
        assert_eq!(
            told([
                Down(p(), why()),
                Lost(p(), why()),
                Gone(p()),
                Left(p()),
                Idle(p().node)
            ]),
            ""
        );
    }

    #[test]
    fn whoever_is_there_is_found_where_he_listens() {
        let place = |number| SocketAddr::from(([10, 0, 0, 1], number));
        let at = |id, number| Location {
            endpoint: Some(place(number)),
            ..at(id)
        };
        let why = || Arc::from("why");
        let mut roster = Roster::default();
        let mut found = |fact| {
            roster.handle(fact);
            let found = [1, 2].map(|number| roster.whoever_is_at(place(number)));
            found.map(|peer| peer.map_or(0, |peer| peer.0))
        };
        assert_eq!(found(Fact::Up(at(1, 1))), [1, 0]);
        // It knows better itself.
        assert_eq!(found(Fact::Linked(at(1, 2))), [0, 1]);
        assert_eq!(found(Fact::Up(at(1, 1))), [0, 1]);
        assert_eq!(found(Fact::Broke(at(1, 2), why())), [0, 0]);
        assert_eq!(found(Fact::Up(at(1, 1))), [0, 1]);
        // Two say that they are at one place.
        assert_eq!(found(Fact::Up(at(3, 2))), [0, 1]);
        assert_eq!(found(Fact::Gone(at(1, 2))), [0, 3]);
        assert_eq!(found(Fact::Left(at(3, 2))), [0, 0]);
    }

    #[test]
    fn so_many_lost_peers_are_remembered() {
        let mut roster = Roster::default();
        let crowd = MAX_LOST as u128 + 10;
        for id in 0..crowd {
            roster.handle(Fact::Up(at(id)));
            roster.handle(Fact::Down(at(id), "gone".into()));
        }
        assert_eq!(roster.known.len(), MAX_LOST);
        let event = roster.handle(Fact::Up(at(crowd - 1)));
        assert_eq!(event, Some(PeerEvent::Returned(at(crowd - 1))));
        let event = roster.handle(Fact::Up(at(0)));
        assert_eq!(event, Some(PeerEvent::Joined(at(0))));
    }

    /// As many links that come and go would use up the room of those that are lost for good.
    #[test]
    fn a_peer_that_comes_and_goes_pushes_out_nobody() {
        let mut roster = Roster::default();
        let why = || Arc::from("why");
        for id in [1, 2] {
            roster.handle(Fact::Linked(at(id)));
        }
        roster.handle(Fact::Lost(at(2), why()));
        for _ in 0..2 * MAX_LOST {
            let event = roster.handle(Fact::Broke(at(1), why()));
            assert_eq!(event, Some(PeerEvent::Lost(at(1), why())));
            let event = roster.handle(Fact::Linked(at(1)));
            assert_eq!(event, Some(PeerEvent::Returned(at(1))));
        }
        let event = roster.handle(Fact::Linked(at(2)));
        assert_eq!(event, Some(PeerEvent::Returned(at(2))));
        assert!(roster.lost.is_empty(), "{:?}", roster.lost);
    }

    fn facts() -> impl Strategy<Value = Vec<Fact>> {
        let fact = (0..8_u8, 0..3_u128).prop_map(|(kind, id)| {
            let (peer, why) = (at(id), Arc::from("why"));
            match kind {
                0 => Fact::Linked(peer),
                1 => Fact::Broke(peer, why),
                2 => Fact::Idle(peer.node),
                3 => Fact::Left(peer),
                4 => Fact::Lost(peer, why),
                5 => Fact::Up(peer),
                6 => Fact::Down(peer, why),
                _ => Fact::Gone(peer),
            }
        });
        prop::collection::vec(fact, 0..60)
    }

    proptest! {
        /// Per peer: Joined (Lost Returned)* Lost? Left, again and again; and who is listed as
        /// present is whoever the events say is present.
        #[test]
        fn each_change_is_told_once_and_in_order(facts in facts()) {
            let mut roster = Roster::default();
            // Absent, present, lost.
            let mut seen = BTreeMap::<u128, char>::new();
            for fact in facts {
                let linked = match &fact {
                    Fact::Linked(peer) => Some(peer.node),
                    _ => None,
                };
                if let Some(event) = roster.handle(fact) {
                    let (peer, from, to) = match &event {
                        PeerEvent::Joined(peer) => (peer, "a", 'p'),
                        PeerEvent::Lost(peer, _) => (peer, "p", 'l'),
                        PeerEvent::Returned(peer) => (peer, "l", 'p'),
                        PeerEvent::Left(peer) => (peer, "pl", 'a'),
                        PeerEvent::Refused(..) | PeerEvent::Unreachable(..) | PeerEvent::NotFound(..) => {
                            unreachable!("no such fact")
                        }
                    };
                    let was = seen.insert(peer.node.0, to).unwrap_or('a');
                    prop_assert!(from.contains(was), "{event:?} of a peer that was {was}");
                }
                let listed: Vec<_> = roster.present().map(|peer| peer.node.0).collect();
                let told: Vec<_> = seen.iter().filter(|(_, is)| **is == 'p').map(|(id, _)| *id).collect();
                prop_assert_eq!(listed, told);
                if let Some(peer) = linked {
                    prop_assert!(roster.is_present(peer));
                }
            }
        }
    }
}
