//! What kind of nodes a seed has, and where others are told that they listen.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::checks::SHORT_IDLE;
use crate::common::seeds::Random;

/// A port at which no node listens.
const NOBODY: u16 = 9;
/// In schedules with large letters: few of them fill it.
pub(crate) const SMALL_OUTBOX: usize = 96 << 10;
/// The default.
const LARGE_OUTBOX: usize = 64 << 20;

/// What is the same for all nodes of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    /// After how long a link is closed that nobody uses.
    pub(crate) idle: Duration,
    /// Whether nodes are members, and learn of each other.
    pub(crate) member: bool,
    /// How many bytes may be kept for a peer.
    pub(crate) outbox: usize,
    /// How many bytes a letter carries at most.
    pub(crate) ballast: u64,
    /// How many letters an inbox has room for, and how long it takes for each.
    pub(crate) capacity: Option<usize>,
    pub(crate) slow: Duration,
    /// Whether ways fail in one direction only.
    pub(crate) one_way: bool,
    /// Whether some nodes cannot be dialled where they say.
    misplaced: bool,
}

impl Nature {
    pub(crate) fn of(random: &mut Random) -> Self {
        let mut one_in = |n| random.below(n) == 0;
        let idle = if one_in(5) {
            SHORT_IDLE
        } else {
            8 * SHORT_IDLE
        };
        let (member, misplaced, large) = (one_in(4), one_in(2), one_in(4));
        let (bounded, one_way) = (one_in(4), one_in(5));
        Nature {
            idle,
            member,
            outbox: if large { SMALL_OUTBOX } else { LARGE_OUTBOX },
            ballast: if large { SMALL_OUTBOX as u64 / 2 } else { 8 },
            capacity: bounded.then_some(2),
            slow: Duration::from_millis(if bounded { 30 } else { 0 }),
            one_way,
            misplaced,
        }
    }

    /// Where the next node of a place is, or is said to be. The first one is where it says: others
    /// look for it.
    pub(crate) fn place(&self, index: usize, random: &mut Random) -> Place {
        if index == 0 || !self.misplaced {
            return Place::True;
        }
        match random.below(8) {
            0..2 => Place::Nowhere,
            2 => Place::NoHost,
            3 => Place::OtherPort,
            4 => Place::OfAnother,
            5 => Place::Hole,
            _ => Place::True,
        }
    }
}

/// Where a node can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it says.
    True,
    /// It does not listen.
    Nowhere,
    /// It says that it is on a host that is not there.
    NoHost,
    /// It says that it has a port that nobody has.
    OtherPort,
    /// It says that it is where another node is.
    OfAnother,
    /// It says that it is on a host that nothing comes back from.
    Hole,
}

impl Place {
    /// What a node at `own` says, where one that others know is at `other`, and nothing comes back
    /// from `hole`.
    pub(crate) fn advertised(self, own: IpAddr, other: IpAddr, hole: IpAddr) -> SocketAddr {
        match self {
            Place::True | Place::Nowhere => (own, PORT).into(),
            Place::NoHost => ([10, 9, 9, 9], PORT).into(),
            Place::OtherPort => (own, NOBODY).into(),
            Place::OfAnother => (other, PORT).into(),
            Place::Hole => (hole, PORT).into(),
        }
    }
}

/// At which all nodes listen.
pub(crate) const PORT: u16 = 7000;
