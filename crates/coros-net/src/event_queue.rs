//! What subscribers to peer events have not been told yet, because they are slow.
//!
//! A peer whose link breaks and comes back again and again makes any number of events. When many
//! wait, those that undo each other are left out, so that no more than three wait for each peer
//! that has changed; whoever is told still sees each peer come, go and return in order. Strangers that
//! are refused get little room, and beyond [`MOST`] nothing is kept.
//!
//! Sans-io.

use std::collections::VecDeque;

use coros_core::remote::NodeId;

use crate::events::{Command, PeerEvent};

/// Beyond this nobody can say any more what a subscriber makes of so much. (Few in unit tests.)
const MANY: usize = if cfg!(test) { 8 } else { 1024 };
const MOST: usize = if cfg!(test) { 1 << 10 } else { 1 << 16 };
/// So many refusals and failures wait; strangers can make any number of them.
pub(crate) const MAX_REFUSED: usize = 256;

#[derive(Default)]
pub(crate) struct EventQueue {
    waiting: VecDeque<Command>,
    refused: usize,
}

impl EventQueue {
    /// False if there is no room: the event is lost.
    pub(crate) fn push(&mut self, event: PeerEvent) -> bool {
        if is_of_strangers(&event) {
            if self.refused >= MAX_REFUSED {
                return false;
            }
            self.refused += 1;
        }
        if self.waiting.len() >= MANY && self.is_undone(&event) {
            return true;
        }
        let has_room = self.waiting.len() < MOST;
        if has_room {
            self.waiting.push_back(Command::Event(event));
        }
        has_room
    }

    /// What is no event is never left out.
    pub(crate) fn command(&mut self, command: Command) {
        self.waiting.push_back(command);
    }

    pub(crate) fn pop(&mut self) -> Option<Command> {
        let command = self.waiting.pop_front();
        if let Some(Command::Event(event)) = &command
            && is_of_strangers(event)
        {
            self.refused -= 1;
        }
        command
    }

    /// Takes out what waits and means nothing with this event after it: whether that means nothing
    /// either.
    fn is_undone(&mut self, event: &PeerEvent) -> bool {
        use PeerEvent::{Joined, Left, Lost, Returned};
        loop {
            let Some((at, last)) = self.last_of(event) else {
                return false;
            };
            match (last, event) {
                (Lost(..), Returned(_)) | (Returned(_), Lost(..)) | (Joined(_), Left(_)) => {
                    self.waiting.remove(at);
                    return true;
                }
                // Who has left is neither lost nor has it returned.
                (Lost(..) | Returned(_), Left(_)) => {
                    self.waiting.remove(at);
                }
                _ => return false,
            }
        }
    }

    /// The last of the same peer, unless somebody subscribes after it, who is told how things stand.
    fn last_of(&self, event: &PeerEvent) -> Option<(usize, &PeerEvent)> {
        let peer = peer(event)?;
        for (at, command) in self.waiting.iter().enumerate().rev() {
            match command {
                Command::Event(event) if self::peer(event) == Some(peer) => {
                    return Some((at, event));
                }
                Command::Event(_) => {}
                _ => return None,
            }
        }
        None
    }
}

/// Whether those who belong to nobody can cause it.
fn is_of_strangers(event: &PeerEvent) -> bool {
    matches!(
        event,
        PeerEvent::Refused(..) | PeerEvent::Unreachable(..) | PeerEvent::NotFound(..)
    )
}

fn peer(event: &PeerEvent) -> Option<NodeId> {
    match event {
        PeerEvent::Joined(peer)
        | PeerEvent::Left(peer)
        | PeerEvent::Lost(peer, _)
        | PeerEvent::Returned(peer) => Some(peer.node),
        PeerEvent::Refused(..) | PeerEvent::Unreachable(..) | PeerEvent::NotFound(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use coros_core::remote::Location;
    use proptest::prelude::*;

    use super::*;

    /// How a peer stands.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    enum Stands {
        #[default]
        Unknown,
        Present,
        Lost,
    }

    fn at(id: u128) -> Location {
        Location {
            node: NodeId(id),
            name: "n".into(),
            endpoint: None,
        }
    }

    /// The next event of a peer, of those that there may be.
    fn next(stands: &mut Stands, peer: Location, leaves: bool) -> PeerEvent {
        let (event, then) = match (*stands, leaves) {
            (Stands::Unknown, _) => (PeerEvent::Joined(peer), Stands::Present),
            (_, true) => (PeerEvent::Left(peer), Stands::Unknown),
            (Stands::Present, _) => (PeerEvent::Lost(peer, "broke".into()), Stands::Lost),
            (Stands::Lost, _) => (PeerEvent::Returned(peer), Stands::Present),
        };
        *stands = then;
        event
    }

    /// What somebody knows who is told; a panic if that cannot be.
    fn told(known: &mut BTreeMap<NodeId, Stands>, event: &PeerEvent) {
        let stands = known.entry(peer(event).expect("of a peer")).or_default();
        *stands = match (*stands, event) {
            (Stands::Unknown, PeerEvent::Joined(_)) | (Stands::Lost, PeerEvent::Returned(_)) => {
                Stands::Present
            }
            (Stands::Present, PeerEvent::Lost(..)) => Stands::Lost,
            (Stands::Present | Stands::Lost, PeerEvent::Left(_)) => Stands::Unknown,
            (stands, event) => panic!("{event:?} of one that is {stands:?}"),
        };
    }

    proptest! {
        #[test]
        fn whatever_is_left_out_all_is_told_in_order_and_ends_alike(
            steps in prop::collection::vec((0..4_u128, 0..4_u8, 0..8_u8), 0..400),
        ) {
            let mut queue = EventQueue::default();
            let (mut truth, mut known) = (BTreeMap::new(), BTreeMap::new());
            let mut most = 0;
            for (id, leaves, pops) in steps {
                let stands = truth.entry(NodeId(id)).or_default();
                prop_assert!(queue.push(next(stands, at(id), leaves == 0)));
                most = most.max(queue.waiting.len());
                if pops == 0 && let Some(Command::Event(event)) = queue.pop() {
                    told(&mut known, &event);
                }
            }
            // Three of each peer at most are not undone by the next: left, joined, lost.
            prop_assert!(most <= MANY + 3 * 4, "{most}");
            while let Some(Command::Event(event)) = queue.pop() {
                told(&mut known, &event);
            }
            for (peer, stands) in truth {
                prop_assert_eq!(known.get(&peer).copied().unwrap_or_default(), stands);
            }
        }
    }

    #[test]
    fn nothing_is_undone_behind_the_back_of_who_subscribes_meanwhile() {
        let mut queue = EventQueue::default();
        for id in 0..MANY as u128 {
            assert!(queue.push(PeerEvent::Joined(at(100 + id))));
        }
        assert!(queue.push(PeerEvent::Joined(at(1))));
        queue.command(Command::Subscribe(0, Box::new(|_| true), vec![at(1)]));
        assert!(queue.push(PeerEvent::Left(at(1))));
        let left = queue.waiting.pop_back();
        assert!(matches!(left, Some(Command::Event(PeerEvent::Left(_)))));
        assert_eq!(queue.waiting.len(), MANY + 2);
    }
}
