//! Who has how much of what a node has besides its cores, such as its memory: a state machine.
//!
//! A worker claims what the call takes that is to begin there, and has the claim until it makes another or its process
//! has ended; so all calls of all clients together never take more than there is. Claims are granted in the order in
//! which they are made: one that does not fit yet holds up those that come after it and would take what it waits for, so
//! that it has its turn.

use std::collections::{BTreeMap, VecDeque};

use super::leases::ClientId;
use crate::resources::Resources;
use crate::scheduler::core::WorkerId;

type Who = (ClientId, WorkerId);

#[derive(Debug)]
pub(super) struct Claims {
    room: Resources,
    taken: Resources,
    held: BTreeMap<Who, Resources>,
    waiting: VecDeque<(Claim, Resources)>,
}

/// One that was made: whose it is, and which of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(super) client: ClientId,
    pub(super) worker: WorkerId,
    pub(super) number: u64,
}

impl Claim {
    fn who(&self) -> Who {
        (self.client, self.worker)
    }
}

impl Claims {
    /// There is so much.
    pub(super) fn new(room: Resources) -> Self {
        Claims {
            room,
            taken: Resources::default(),
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A worker claims so much in place of what it has; nothing, if that is nothing. Those that are granted by now go to
    /// `granted`. What is more than there is has no end: no client asks for that which knows what there is.
    pub(super) fn claim(&mut self, claim: Claim, needs: Resources, granted: &mut Vec<Claim>) {
        let who = claim.who();
        self.waiting.retain(|(claim, _)| claim.who() != who);
        if let Some(held) = self.held.remove(&who) {
            self.taken.subtract(&held);
        }
        if !needs.is_none() && needs.fits(&self.room, &Resources::default()) {
            self.waiting.push_back((claim, needs));
        }
        self.grant(granted);
    }

    /// Nothing of a client runs any more.
    pub(super) fn leave(&mut self, client: ClientId, granted: &mut Vec<Claim>) {
        self.waiting.retain(|(claim, _)| claim.client != client);
        let of_client = (client, WorkerId(0))..=(client, WorkerId(u32::MAX));
        for (_, held) in self.held.extract_if(of_client, |_, _| true) {
            self.taken.subtract(&held);
        }
        self.grant(granted);
    }

    fn grant(&mut self, granted: &mut Vec<Claim>) {
        // With what those that wait have before those that come after them.
        let mut before = self.taken.clone();
        for (claim, needs) in std::mem::take(&mut self.waiting) {
            let fits = needs.fits(&self.room, &before);
            before.add(&needs);
            if fits {
                self.taken.add(&needs);
                self.held.insert(claim.who(), needs);
                granted.push(claim);
            } else {
                self.waiting.push_back((claim, needs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(client: u64, worker: u32, number: u64) -> Claim {
        Claim {
            client: ClientId(client),
            worker: WorkerId(worker),
            number,
        }
    }

    fn claims() -> Claims {
        Claims::new(Resources::default().memory(10).named("gpu", 1))
    }

    fn made(claims: &mut Claims, claim: Claim, needs: Resources) -> Vec<Claim> {
        let mut granted = Vec::new();
        claims.claim(claim, needs, &mut granted);
        granted
    }

    fn memory(bytes: u64) -> Resources {
        Resources::default().memory(bytes)
    }

    #[test]
    fn claims_are_granted_in_order_as_there_is_room() {
        let mut claims = claims();
        let [first, second, third] = [claim(1, 1, 1), claim(2, 1, 1), claim(2, 2, 2)];
        assert_eq!(made(&mut claims, first, memory(7)), [first]);
        assert_eq!(made(&mut claims, second, memory(7)), []);
        // It would fit, and the one before it would never.
        assert_eq!(made(&mut claims, third, memory(3)), []);
        let again = claim(1, 1, 2);
        assert_eq!(made(&mut claims, again, memory(7)), [second, third]);
        let mut granted = Vec::new();
        claims.leave(ClientId(2), &mut granted);
        assert_eq!(granted, [again]);
    }

    #[test]
    fn what_is_given_up_holds_up_nobody() {
        let mut claims = claims();
        let [has, waits, next] = [claim(1, 1, 1), claim(2, 1, 1), claim(3, 1, 1)];
        let gpu = || Resources::default().named("gpu", 1);
        assert_eq!(made(&mut claims, has, gpu()), [has]);
        assert_eq!(made(&mut claims, waits, gpu().memory(8)), []);
        assert_eq!(made(&mut claims, next, memory(3)), []);
        let none = Resources::default();
        assert_eq!(made(&mut claims, claim(2, 1, 2), none.clone()), [next]);
        assert_eq!(made(&mut claims, has, none), []);
        assert_eq!(claims.taken, memory(3));
    }

    /// Who waits for a GPU for hours is no reason to wait for memory.
    #[test]
    fn what_nobody_waits_for_is_granted_at_once() {
        let mut claims = claims();
        let [has, waits, next] = [claim(1, 1, 1), claim(2, 1, 1), claim(3, 1, 1)];
        let gpu = || Resources::default().named("gpu", 1);
        assert_eq!(made(&mut claims, has, gpu()), [has]);
        assert_eq!(made(&mut claims, waits, gpu().memory(8)), []);
        assert_eq!(made(&mut claims, next, memory(2)), [next]);
        // What is left is for the one that was there first.
        assert_eq!(made(&mut claims, claim(4, 1, 1), memory(1)), []);
    }

    #[test]
    fn what_there_never_is_holds_up_nobody() {
        let mut claims = claims();
        assert_eq!(made(&mut claims, claim(1, 1, 1), memory(11)), []);
        let disk = Resources::default().named("disk", 1);
        assert_eq!(made(&mut claims, claim(1, 1, 2), disk), []);
        let next = claim(2, 1, 1);
        assert_eq!(made(&mut claims, next, memory(10)), [next]);
    }

    proptest! {
        #[test]
        fn there_is_never_more_taken_than_there_is(
            steps in prop::collection::vec((0_u64..3, 0_u32..3, 0_u64..12, 0_u64..3), 1..100)
        ) {
            let mut claims = claims();
            let mut last = BTreeMap::new();
            let mut granted = Vec::new();
            for (number, (client, worker, bytes, gpus)) in steps.into_iter().enumerate() {
                let claim = claim(client, worker, number as u64);
                match bytes {
                    11 => {
                        claims.leave(ClientId(client), &mut granted);
                        last.retain(|who: &Who, _| who.0.0 != client);
                    }
                    bytes => {
                        claims.claim(claim, memory(bytes).named("gpu", gpus), &mut granted);
                        last.insert(claim.who(), claim.number);
                    }
                }
                // Nobody is granted what he has replaced by then.
                for claim in granted.drain(..) {
                    prop_assert_eq!(last.get(&claim.who()), Some(&claim.number));
                }
                let mut taken = Resources::default();
                claims.held.values().for_each(|held| taken.add(held));
                prop_assert_eq!(&taken, &claims.taken);
                prop_assert!(taken.fits(&claims.room, &Resources::default()));
                for (_, needs) in &claims.waiting {
                    prop_assert!(!needs.fits(&claims.room, &taken));
                    taken.add(needs);
                }
            }
        }
    }
}
