//! What of membership a peer's bytes reach, for fuzzing.

use coros_core::remote::Location;
use foca::{Member, Message, State};

use super::packet::{Id, Packet};

/// Takes a packet as from a peer. What is understood has to mean the same when it is said again. Says
/// whether it is.
pub(crate) fn packet(bytes: &[u8]) -> bool {
    let Ok(packet) = Packet::parse(bytes) else {
        return false;
    };
    let written = packet.encode();
    let again = Packet::parse(&written).expect("what was written can be read");
    assert_eq!(again, packet);
    assert_eq!(again.encode(), written);
    true
}

/// Packets that a peer may send.
pub(crate) fn seeds(from: Location, to: Location) -> Vec<Vec<u8>> {
    let id = |location| Id { location, life: 2 };
    let (from, to) = (id(from), id(to));
    let updates = vec![
        Member::new(from.clone(), 7, State::Suspect),
        Member::down(to.clone()),
    ];
    let mut undead = Packet::gossip(from.clone(), to.clone(), Vec::new());
    undead.header.message = Message::TurnUndead;
    let packets = [Packet::gossip(from, to, updates), undead];
    packets.iter().map(Packet::encode).collect()
}
