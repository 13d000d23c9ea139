//! Cases by name, and clients that do anything at random.

use proptest::prelude::*;

use super::*;

const SHARED: Terms = Terms {
    exclusive: false,
    priority: 0,
};
const ALONE: Terms = Terms {
    exclusive: true,
    priority: 0,
};

/// Leases, and what their clients have been told.
struct World {
    leases: Leases,
    slots: usize,
    clients: BTreeMap<ClientId, Told>,
    next: u64,
}

struct Told {
    terms: Terms,
    wish: Wish,
    has: usize,
    asked: usize,
}

impl World {
    fn new(slots: usize) -> Self {
        World {
            leases: Leases::new(slots),
            slots,
            clients: BTreeMap::new(),
            next: 0,
        }
    }

    fn join(&mut self, terms: Terms, wants: usize) -> ClientId {
        let id = ClientId(self.next);
        self.next += 1;
        self.leases.join(id, terms);
        let told = Told {
            terms,
            wish: Wish::default(),
            has: 0,
            asked: 0,
        };
        self.clients.insert(id, told);
        self.want(id, wants);
        id
    }

    fn want(&mut self, id: ClientId, needs: usize) {
        self.wish(id, needs, needs);
    }

    fn wish(&mut self, id: ClientId, needs: usize, likes: usize) {
        let wish = Wish { needs, likes };
        self.clients.get_mut(&id).unwrap().wish = wish;
        self.then(|leases, out| leases.want(id, wish, out));
    }

    fn give_back(&mut self, id: ClientId, slots: usize) {
        let told = self.clients.get_mut(&id).unwrap();
        told.has -= slots;
        told.asked = told.asked.saturating_sub(slots);
        self.then(|leases, out| leases.give_back(id, slots, out));
    }

    fn leave(&mut self, id: ClientId) {
        self.clients.remove(&id);
        self.then(|leases, out| leases.leave(id, out));
    }

    fn resize(&mut self, slots: usize) {
        self.slots = slots;
        self.then(|leases, out| leases.resize(slots, out));
    }

    fn then(&mut self, f: impl FnOnce(&mut Leases, &mut Vec<Output>)) {
        let mut out = Vec::new();
        f(&mut self.leases, &mut out);
        for output in out {
            match output {
                Output::Grant { client, slots } => {
                    assert!(slots > 0);
                    self.clients.get_mut(&client).unwrap().has += slots;
                    assert!(self.lent() <= self.slots, "more is lent than there is");
                }
                Output::Reclaim { client, slots } => {
                    let told = self.clients.get_mut(&client).unwrap();
                    assert_ne!(told.asked, slots, "it has been told");
                    assert!(slots <= told.has);
                    told.asked = slots;
                }
            }
        }
        self.check();
    }

    fn lent(&self) -> usize {
        self.clients.values().map(|told| told.has).sum()
    }

    fn check(&self) {
        assert_eq!(self.lent(), self.leases.lent());
        let have = || self.clients.values().filter(|told| told.has > 0);
        if have().any(|told| told.terms.exclusive) {
            assert_eq!(have().count(), 1, "it is not alone");
        }
    }

    /// Everybody does as he was asked, until nobody is asked any more.
    fn come_to_rest(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it goes on and on");
            let asked = self.clients.iter().find(|(_, told)| told.asked > 0);
            let Some((&id, told)) = asked else { break };
            let slots = told.asked;
            self.give_back(id, slots);
        }
        self.check_shares();
    }

    fn check_shares(&self) {
        let alone = self.clients.values().find(|told| {
            let is_alone = told.terms.exclusive && told.has > 0;
            is_alone && told.wish.likes() > 0
        });
        if let Some(alone) = alone {
            assert_eq!(alone.has, alone.wish.likes().min(self.slots));
            return;
        }
        if self.leases.alone.is_some() {
            return;
        }
        let likes_more = |told: &Told| !told.terms.exclusive && told.wish.likes() > told.has;
        let turn = self.leases.turn();
        let turn: Vec<_> = turn.iter().map(|id| (id, &self.clients[id])).collect();
        for (id, told) in &turn {
            if !likes_more(told) {
                continue;
            }
            assert_eq!(self.lent(), self.slots, "a slot lies idle");
            if told.wish.needs <= told.has {
                continue;
            }
            for (other, rest) in &turn {
                let (mine, its) = (told.terms.priority, rest.terms.priority);
                if its < mine {
                    assert_eq!(rest.has, 0, "who has priority wants more");
                } else if its == mine {
                    let odd = usize::from(other < id);
                    assert!(rest.has <= told.has + odd, "{other:?} and {id:?}");
                }
            }
        }
    }

    fn has(&self, id: ClientId) -> usize {
        self.clients[&id].has
    }
}

#[test]
fn who_comes_later_gets_his_share_when_calls_end() {
    let mut world = World::new(5);
    let first = world.join(SHARED, 9);
    assert_eq!(world.has(first), 5);
    let second = world.join(SHARED, 9);
    assert_eq!((world.has(second), world.clients[&first].asked), (0, 2));
    world.give_back(first, 1);
    assert_eq!((world.has(second), world.clients[&first].asked), (1, 1));
    world.give_back(first, 1);
    assert_eq!((world.has(first), world.has(second)), (3, 2));
    // Who wants little leaves the rest to others.
    let third = world.join(SHARED, 1);
    world.come_to_rest();
    assert_eq!([first, second, third].map(|id| world.has(id)), [2, 2, 1]);
    world.want(second, 0);
    world.come_to_rest();
    assert_eq!([first, second, third].map(|id| world.has(id)), [4, 0, 1]);
}

#[test]
fn what_nobody_needs_is_lent_to_who_likes_it_until_somebody_does() {
    let mut world = World::new(4);
    let [first, second] = [(); 2].map(|()| world.join(SHARED, 0));
    world.wish(first, 0, 9);
    assert_eq!(world.has(first), 4);
    world.wish(second, 0, 9);
    world.come_to_rest();
    assert_eq!((world.has(first), world.has(second)), (2, 2));
    world.wish(second, 3, 9);
    world.come_to_rest();
    assert_eq!((world.has(first), world.has(second)), (1, 3));
    world.wish(first, 9, 9);
    world.come_to_rest();
    assert_eq!((world.has(first), world.has(second)), (2, 2));
    // Alone as soon as those there need nothing, whatever they like.
    let alone = world.join(ALONE, 1);
    assert_eq!(world.has(alone), 0);
    world.wish(first, 0, 9);
    world.wish(second, 0, 9);
    world.come_to_rest();
    assert_eq!([first, second, alone].map(|id| world.has(id)), [0, 0, 1]);
}

#[test]
fn what_is_not_needed_any_more_is_not_given_back() {
    let mut world = World::new(4);
    let first = world.join(SHARED, 4);
    let second = world.join(SHARED, 4);
    assert_eq!(world.clients[&first].asked, 2);
    world.leave(second);
    assert_eq!(world.clients[&first].asked, 0);
    assert_eq!(world.has(first), 4);
}

#[test]
fn exclusive_clients_run_in_turn_and_the_second_begins_by_itself() {
    let mut world = World::new(4);
    let shared = world.join(SHARED, 2);
    let one = world.join(ALONE, 4);
    let other = world.join(ALONE, 3);
    let late = world.join(SHARED, 4);
    world.come_to_rest();
    assert_eq!(world.has(shared), 2, "it is first");
    assert_eq!([one, other, late].map(|id| world.has(id)), [0; 3]);
    world.want(shared, 0);
    assert_eq!(world.has(one), 0, "a call runs still");
    world.give_back(shared, 2);
    assert_eq!(world.has(one), 4);
    // It goes on to be alone while it has nothing to do.
    world.want(one, 0);
    world.give_back(one, 4);
    assert_eq!([one, other, late].map(|id| world.has(id)), [0; 3]);
    world.leave(one);
    assert_eq!((world.has(other), world.has(late)), (3, 0));
    world.leave(other);
    assert_eq!(world.has(late), 4);
}

#[test]
fn priority_goes_before_order() {
    let mut world = World::new(2);
    let low = world.join(SHARED, 2);
    let urgent = Terms {
        priority: 1,
        ..SHARED
    };
    let high = world.join(urgent, 1);
    world.come_to_rest();
    assert_eq!((world.has(low), world.has(high)), (1, 1));
    world.want(high, 5);
    world.come_to_rest();
    assert_eq!((world.has(low), world.has(high)), (0, 2));
}

#[test]
fn a_node_with_no_slots_asks_all_back_and_goes_on_later() {
    let mut world = World::new(3);
    let client = world.join(SHARED, 3);
    world.resize(0);
    assert_eq!(world.clients[&client].asked, 3);
    world.come_to_rest();
    assert_eq!(world.has(client), 0);
    world.resize(2);
    assert_eq!(world.has(client), 2);
}

#[derive(Clone, Debug)]
enum Step {
    Join(bool, i32, usize),
    Want(usize, usize, usize),
    Return(usize, usize),
    Leave(usize),
    Resize(usize),
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    let wants = 0..12_usize;
    prop_oneof![
        3 => (prop::bool::weighted(0.2), 0..2, wants.clone()).prop_map(|(a, p, n)| Step::Join(a, p, n)),
        4 => (any::<usize>(), wants.clone(), wants).prop_map(|(who, n, m)| Step::Want(who, n, m)),
        6 => (any::<usize>(), 1..4_usize).prop_map(|(who, n)| Step::Return(who, n)),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => (0..9_usize).prop_map(Step::Resize),
        2 => Just(Step::Rest),
    ]
}

proptest! {
    #[test]
    fn whatever_clients_do_all_is_shared(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(4);
        for step in steps {
            let who = |world: &World, n: usize| {
                let count = world.clients.len().max(1);
                world.clients.keys().nth(n % count).copied()
            };
            match step {
                Step::Join(exclusive, priority, wants) => {
                    world.join(Terms { exclusive, priority }, wants);
                }
                Step::Want(n, needs, likes) => {
                    if let Some(id) = who(&world, n) {
                        world.wish(id, needs, likes);
                    }
                }
                Step::Return(n, slots) => {
                    if let Some(id) = who(&world, n) {
                        let slots = slots.min(world.has(id));
                        world.give_back(id, slots);
                    }
                }
                Step::Leave(n) => {
                    if let Some(id) = who(&world, n) {
                        world.leave(id);
                    }
                }
                Step::Resize(slots) => world.resize(slots),
                Step::Rest => world.come_to_rest(),
            }
        }
        world.come_to_rest();
        // And nobody waits for ever.
        for _ in 0..world.clients.len() {
            let Some(&id) = world.leases.turn().first() else { break };
            world.leave(id);
            world.come_to_rest();
        }
    }
}
