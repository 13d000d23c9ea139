//! Connections that have not shown yet who they are.
//!
//! There are never more than a fixed number: when another comes, one goes. It is one of those that
//! come from the address with the most, so a crowd from one machine pushes out itself and nobody
//! else; and among those a random one, so that a node on that very machine has a chance, whatever
//! the crowd does: a handshake takes milliseconds, and the one that is in it stays as long as a
//! few hundred others are picked before it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub(crate) struct Pending {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    places: Vec<Taken>,
}

struct Taken {
    number: u64,
    source: Source,
    token: CancellationToken,
}

/// What counts as one machine: an IPv4 address, or the 64 bits of an IPv6 address that a network
/// is told apart by, for within those a machine can take any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source(u64);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(u64::from(address.to_bits())),
            IpAddr::V6(address) => Source((address.to_bits() >> 64) as u64),
        }
    }
}

/// One connection's place.
pub(crate) struct Place {
    pending: Pending,
    number: u64,
    token: CancellationToken,
}

impl Pending {
    /// Takes a place among at most `limit`, from another connection if need be.
    pub(crate) fn enter(&self, from: IpAddr, limit: usize) -> Place {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.places.len() >= limit.max(1) {
            let loser = waiting.loser();
            waiting.places.swap_remove(loser).token.cancel();
        }
        waiting.last += 1;
        let (number, token) = (waiting.last, CancellationToken::new());
        waiting.places.push(Taken {
            number,
            source: from.into(),
            token: token.clone(),
        });
        Place {
            pending: self.clone(),
            number,
            token,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.places.len()
    }
}

impl Waiting {
    /// Which of the places, of which there is at least one, is taken away.
    fn loser(&self) -> usize {
        let mut counts = HashMap::new();
        for place in &self.places {
            *counts.entry(place.source).or_insert(0_usize) += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let crowd: Vec<usize> = (0..self.places.len())
            .filter(|at| counts[&self.places[*at].source] == most)
            .collect();
        // Without random numbers there is no TLS either.
        let random = getrandom::u64().unwrap_or_default();
        crowd[(random % crowd.len() as u64) as usize]
    }
}

impl Place {
    /// Resolves when the place is taken away.
    pub(crate) async fn lost(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waiting = &self.pending.waiting;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting
            .places
            .iter()
            .position(|it| it.number == self.number);
        if let Some(own) = own {
            waiting.places.swap_remove(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_crowd_pushes_out_nobody_but_itself() {
        let pending = Pending::default();
        let friends: Vec<_> = ["192.0.2.1", "192.0.2.1", "2001:db8::1"]
            .map(|from| pending.enter(ip(from), 8))
            .into();
        let mut crowd = Vec::new();
        for n in 0..1000_u16 {
            // All of one network.
            let from = IpAddr::from([0x2001, 0xdb8, 0, 7, n, n, n, n]);
            crowd.push(pending.enter(from, 8));
            assert!(pending.waiting.lock().unwrap().places.len() <= 8);
        }
        assert!(friends.iter().all(|friend| !friend.token.is_cancelled()));
        let left = crowd.iter().filter(|it| !it.token.is_cancelled());
        assert_eq!(left.count(), 5);
    }

    #[test]
    fn in_a_crowd_there_is_a_chance() {
        let kept = (0..200).filter(|_| {
            let pending = Pending::default();
            let enter = || pending.enter(ip("192.0.2.1"), 16);
            let friend = enter();
            // As many as push out all that were there, if the oldest went first.
            let _crowd: Vec<_> = (0..31).map(|_| enter()).collect();
            !friend.token.is_cancelled()
        });
        // (15/16)^16 of them, a third.
        assert!((20..180).contains(&kept.count()));
    }

    #[test]
    fn a_place_that_is_left_is_free() {
        let pending = Pending::default();
        let first = pending.enter(ip("192.0.2.1"), 2);
        drop(pending.enter(ip("192.0.2.1"), 2));
        let third = pending.enter(ip("::ffff:192.0.2.1"), 2);
        assert!(!first.token.is_cancelled() && !third.token.is_cancelled());
        let _fourth = pending.enter(ip("192.0.2.1"), 2);
        assert!(first.token.is_cancelled() || third.token.is_cancelled());
    }
}
