//! What members say to each other: foca's packets, taken apart and checked before foca sees them.
//!
//! A packet is a header (from whom, to whom, what for) and, with most, a number of updates: what
//! the sender has heard of others. All of it comes from a peer that belongs to the network, and is
//! not believed for that: names and endpoints have to be such as a node can have, and nothing is
//! left over at the end. (That the header names the very peer that the link leads to is checked
//! by [`Membership`](super::Membership), which also decides which updates count.)

use coros_core::is_readable;
use coros_core::remote::{Location, NodeId};
use foca::{Header, Member, Message, ProbeNumber, State};
use serde::{Deserialize, Serialize};

use crate::identity::MAX_NAME;

/// How long a packet may be; well below what fits into a control frame.
pub(super) const MAX_PACKET: usize = 48 << 10;

/// A probe with this number asks for news. (One in so many of foca's own has it, which does no harm: whoever
/// answers that is alive.)
pub(super) const QUESTION: ProbeNumber = ProbeNumber::MAX;

/// By so much a life goes up at most when a launch outbids what others say of it. That it is down is believed
/// in no life that it would not outbid by that.
pub(super) const JUMP: u32 = 16;
/// By so much the life that others tell of goes up at most in a period: a launch goes on no more often than
/// that, so nobody has missed many who has not missed the launch.
pub(super) const MISSED: u32 = 4 * JUMP;
/// Lives that others tell of a launch that has not been heard of are below that.
pub(super) const FIRST: u32 = 1 << 20;

/// A member as others speak of it.
///
/// To be down is final in SWIM, where others tell of it: those who hear the launch itself know better. One that
/// was taken for down, and lives, goes on under its next life, which outbids what is said of the one before.
/// Lives are even numbers; an odd one is that of a launch that has shut down in the life before: if somebody
/// made that up, the next life outbids it as well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Id {
    pub(super) location: Location,
    pub(super) life: u32,
}

impl Id {
    pub(super) fn node(&self) -> NodeId {
        self.location.node
    }

    /// Whether it has shut down.
    pub(super) fn has_left(&self) -> bool {
        self.life % 2 == 1
    }

    /// As one that has not shut down in this life.
    pub(super) fn present(mut self) -> Self {
        self.life &= !1;
        self
    }

    /// As one that has shut down in this life.
    pub(super) fn left(&self) -> Self {
        Id {
            location: self.location.clone(),
            life: self.life | 1,
        }
    }

    /// The one whose life comes after this.
    pub(super) fn next(&self) -> Option<Self> {
        let life = (self.life | 1).checked_add(1)?;
        let location = self.location.clone();
        Some(Id { location, life })
    }

    /// Whether a node could be called so, and dialled there.
    fn is_plausible(&self) -> bool {
        let Location { name, endpoint, .. } = &self.location;
        let named = (1..=MAX_NAME).contains(&name.len()) && is_readable(name);
        let reached = endpoint.is_some_and(|it| !it.ip().is_unspecified() && it.port() != 0);
        named && reached
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        (self.node(), self.life) == (other.node(), other.life)
    }
}

impl Eq for Id {}

impl foca::Identity for Id {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        self.next()
    }

    fn addr(&self) -> NodeId {
        self.node()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

/// A packet, checked.
#[derive(Debug, PartialEq)]
pub(super) struct Packet {
    pub(super) header: Header<Id>,
    pub(super) updates: Vec<Member<Id>>,
}

/// A packet that looks after a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Ping(ProbeNumber),
    Answer(ProbeNumber),
}

/// A packet that no member writes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("it has {0} bytes, of at most {MAX_PACKET}")]
    TooLong(usize),
    #[error("it cannot be decoded")]
    Undecodable,
    #[error("it names a node with a name or an endpoint that none can have")]
    Implausible,
    #[error("it tells of a node that has left and is there")]
    Undead,
}

impl Packet {
    /// What foca calls gossip: updates, and no answer to them.
    pub(super) fn gossip(from: Id, to: Id, updates: Vec<Member<Id>>) -> Self {
        let header = Header {
            src: from,
            // At least that: foca keeps the greater one.
            src_incarnation: 0,
            dst: to,
            message: Message::Gossip,
        };
        Packet { header, updates }
    }

    /// Asks a peer what is new.
    pub(super) fn question(from: Id, to: Id) -> Self {
        let mut packet = Packet::gossip(from, to, Vec::new());
        packet.header.message = Message::Ping(QUESTION);
        packet
    }

    /// What a member answers to a probe.
    pub(super) fn answer(from: Id, to: Id, number: ProbeNumber) -> Self {
        let mut packet = Packet::gossip(from, to, Vec::new());
        packet.header.message = Message::Ack(number);
        packet
    }

    /// Whether a packet of this node is a probe, or the answer to one.
    pub(super) fn probe(packet: &[u8]) -> Option<Probe> {
        let (header, _) = postcard::take_from_bytes::<Header<Id>>(packet).ok()?;
        match header.message {
            Message::Ping(number) => Some(Probe::Ping(number)),
            Message::Ack(number) => Some(Probe::Answer(number)),
            _ => None,
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_PACKET {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let undecodable = |_| Malformed::Undecodable;
        let (header, rest) = postcard::take_from_bytes::<Header<Id>>(bytes).map_err(undecodable)?;
        let mut updates = Vec::new();
        if let Some((count, mut rest)) = rest.split_first_chunk::<2>()
            && tells(&header.message)
        {
            for _ in 0..u16::from_be_bytes(*count) {
                let (update, after) = postcard::take_from_bytes(rest).map_err(undecodable)?;
                updates.push(update);
                rest = after;
            }
            if !rest.is_empty() {
                return Err(Malformed::Undecodable);
            }
        } else if !rest.is_empty() {
            return Err(Malformed::Undecodable);
        }
        let packet = Packet { header, updates };
        if !packet.named().all(Id::is_plausible) {
            return Err(Malformed::Implausible);
        }
        let is_there = |update: &&Member<Id>| update.state() != State::Down;
        let mut there = packet.updates.iter().filter(is_there);
        if there.any(|update| update.id().has_left()) {
            return Err(Malformed::Undead);
        }
        Ok(packet)
    }

    fn named(&self) -> impl Iterator<Item = &Id> {
        let parties = [&self.header.src, &self.header.dst].into_iter();
        let third = third(&self.header.message);
        parties
            .chain(third)
            .chain(self.updates.iter().map(Member::id))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut write = |part: &dyn Fn(Vec<u8>) -> postcard::Result<Vec<u8>>| {
            bytes = part(std::mem::take(&mut bytes)).expect("a vector takes all of it");
        };
        write(&|bytes| postcard::to_extend(&self.header, bytes));
        if !tells(&self.header.message) {
            return bytes;
        }
        let count = u16::try_from(self.updates.len()).expect("no more than were parsed or chosen");
        write(&|mut bytes| {
            bytes.extend(count.to_be_bytes());
            Ok(bytes)
        });
        for update in &self.updates {
            write(&|bytes| postcard::to_extend(update, bytes));
        }
        bytes
    }
}

/// Whether updates come with a message.
fn tells(message: &Message<Id>) -> bool {
    !matches!(message, Message::Announce | Message::TurnUndead)
}

/// The third party of a message.
fn third(message: &Message<Id>) -> Option<&Id> {
    match message {
        Message::PingReq { target: id, .. }
        | Message::IndirectPing { origin: id, .. }
        | Message::IndirectAck { target: id, .. }
        | Message::ForwardedAck { origin: id, .. } => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(node: u128, name: &str) -> Id {
        let location = Location {
            node: NodeId(node),
            name: name.into(),
            endpoint: Some(([10, 0, 0, 1], 7).into()),
        };
        Id { location, life: 2 }
    }

    fn packet() -> Packet {
        let updates = vec![
            Member::new(id(3, "barn"), 7, State::Suspect),
            Member::down(id(4, "mill")),
        ];
        Packet::gossip(id(1, "desk"), id(2, "farm"), updates)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut packet = packet();
        assert_eq!(Packet::parse(&packet.encode()).as_ref(), Ok(&packet));
        packet.header.message = Message::PingReq {
            target: id(9, "mill"),
            probe_number: 3,
        };
        assert_eq!(Packet::parse(&packet.encode()).as_ref(), Ok(&packet));
        packet.header.message = Message::TurnUndead;
        packet.updates.clear();
        assert_eq!(Packet::parse(&packet.encode()).as_ref(), Ok(&packet));
    }

    #[test]
    fn what_has_no_room_for_news_ends_with_its_header() {
        let mut packet = packet();
        packet.updates.clear();
        for message in [Message::Announce, Message::TurnUndead] {
            packet.header.message = message;
            let mut bytes = packet.encode();
            assert_eq!(Packet::parse(&bytes).as_ref(), Ok(&packet));
            bytes.extend([0, 0]);
            assert_eq!(Packet::parse(&bytes), Err(Malformed::Undecodable));
        }
    }

    #[test]
    fn nobody_has_left_and_is_there() {
        let mut packet = packet();
        for (state, read) in [
            (State::Alive, false),
            (State::Suspect, false),
            (State::Down, true),
        ] {
            packet.updates = vec![Member::new(id(3, "barn").left(), 0, state)];
            let is_read = Packet::parse(&packet.encode()) != Err(Malformed::Undead);
            assert_eq!(is_read, read, "{state:?}");
        }
    }

    #[test]
    fn names_and_endpoints_that_no_node_has_are_refused() {
        let longest = "n".repeat(MAX_NAME);
        let mut packet = packet();
        packet.updates = vec![Member::alive(id(3, &longest))];
        assert!(Packet::parse(&packet.encode()).is_ok());
        for name in ["", "two\nlines"] {
            packet.updates = vec![Member::alive(id(3, name))];
            assert_eq!(Packet::parse(&packet.encode()), Err(Malformed::Implausible));
        }
        packet.updates = vec![Member::alive(id(3, &format!("{longest}n")))];
        assert!(Packet::parse(&packet.encode()).is_err());
        let nowhere = [
            None,
            Some(([0, 0, 0, 0], 7).into()),
            Some(([1, 1, 1, 1], 0).into()),
        ];
        for endpoint in nowhere {
            let mut nobody = id(3, "barn");
            nobody.location.endpoint = endpoint;
            packet.updates = vec![Member::alive(nobody)];
            assert_eq!(Packet::parse(&packet.encode()), Err(Malformed::Implausible));
        }
        packet.updates.clear();
        packet.header.message = Message::IndirectPing {
            origin: id(3, ""),
            probe_number: 0,
        };
        assert_eq!(Packet::parse(&packet.encode()), Err(Malformed::Implausible));
        let long = vec![0; MAX_PACKET + 1];
        assert_eq!(
            Packet::parse(&long),
            Err(Malformed::TooLong(MAX_PACKET + 1))
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_changed_packet_makes_it_panic_or_reads_as_something_it_is_not(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = packet().encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(length.index(bytes.len() + 1));
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
            }
        }
    }
}
