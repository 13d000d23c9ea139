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
    now: Instant,
}

struct Told {
    terms: Terms,
    wish: Wish,
    has: usize,
    asked: usize,
    grants: u64,
}

impl World {
    fn new(slots: usize) -> Self {
        World {
            leases: Leases::new(slots),
            slots,
            clients: BTreeMap::new(),
            next: 0,
            now: Instant::now(),
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
            grants: 0,
        };
        self.clients.insert(id, told);
        self.want(id, wants);
        id
    }

    fn want(&mut self, id: ClientId, needs: usize) {
        self.wish(id, needs, needs);
    }

    fn wish(&mut self, id: ClientId, needs: usize, likes: usize) {
        let told = self.clients.get_mut(&id).unwrap();
        let at_once = told.wish.at_once.min(needs);
        told.wish = Wish {
            needs,
            likes,
            at_once,
            ..told.wish
        };
        let wish = told.wish;
        self.then(|leases, now, out| leases.want(now, id, wish, out));
    }

    /// A client has calls that wait and take so many slots.
    fn at_once(&mut self, id: ClientId, at_once: usize) {
        self.clients.get_mut(&id).unwrap().wish.at_once = at_once;
        self.want_again(id);
    }

    fn want_again(&mut self, id: ClientId) {
        let wish = self.clients[&id].wish;
        self.then(|leases, now, out| leases.want(now, id, wish, out));
    }

    /// Calls of a client begin on all that it has.
    fn begin(&mut self, id: ClientId) {
        let told = self.clients.get_mut(&id).unwrap();
        told.wish.used = told.grants;
        self.want_again(id);
    }

    /// A turn lasts as long as it may.
    fn wait(&mut self) {
        self.now = self.leases.deadline().unwrap().max(self.now);
        self.then(Leases::tick);
    }

    fn give_back(&mut self, id: ClientId, slots: usize) {
        let told = self.clients.get_mut(&id).unwrap();
        told.has -= slots;
        told.asked = told.asked.saturating_sub(slots);
        self.then(|leases, now, out| leases.give_back(now, id, slots, out));
    }

    fn leave(&mut self, id: ClientId) {
        self.clients.remove(&id);
        self.then(|leases, now, out| leases.leave(now, id, out));
    }

    fn resize(&mut self, slots: usize) {
        self.slots = slots;
        self.then(|leases, now, out| leases.resize(now, slots, out));
    }

    fn then(&mut self, f: impl FnOnce(&mut Leases, Instant, &mut Vec<Output>)) {
        let mut out = Vec::new();
        f(&mut self.leases, self.now, &mut out);
        for output in out {
            match output {
                Output::Grant { client, slots } => {
                    assert!(slots > 0);
                    let told = self.clients.get_mut(&client).unwrap();
                    told.has += slots;
                    told.grants += 1;
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
        self.do_as_asked();
        self.check_shares();
    }

    fn do_as_asked(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it goes on and on");
            let asked = self.clients.iter().find(|(_, told)| told.asked > 0);
            let Some((&id, told)) = asked else { break };
            let slots = told.asked;
            self.give_back(id, slots);
        }
    }

    /// All calls end, and others begin, for some time: everybody whose calls fit has had his turn.
    fn run(&mut self) {
        let mut waiting: Vec<_> = self.leases.group();
        waiting.retain(|id| self.clients[id].wish.at_once > 0 && self.leases.fits(*id));
        let all = waiting.len();
        for _ in 0..=2 * all {
            self.do_as_asked();
            let ids: Vec<_> = self.clients.keys().copied().collect();
            for id in ids {
                if self.has(id) >= self.clients[&id].wish.at_once.max(1) {
                    waiting.retain(|it| *it != id);
                }
                self.begin(id);
            }
            if self.leases.deadline().is_some() {
                self.wait();
            }
        }
        assert_eq!(waiting, [], "they wait for ever");
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
        // Who has its turn may have more than the others.
        let turn = self.leases.turn.map(|turn| turn.client);
        if let Some(id) = turn {
            let told = &self.clients[&id];
            assert!(
                told.has >= told.wish.at_once.min(self.slots),
                "its turn is of no use"
            );
        }
        let has_turn = |id: &ClientId| turn == Some(*id);
        let likes_more = |told: &Told| !told.terms.exclusive && told.wish.likes() > told.has;
        let group = self.leases.group();
        let group: Vec<_> = group.iter().map(|id| (id, &self.clients[id])).collect();
        for (id, told) in &group {
            if !likes_more(told) {
                continue;
            }
            assert_eq!(self.lent(), self.slots, "a slot lies idle");
            if told.wish.needs <= told.has || has_turn(id) {
                continue;
            }
            for (other, rest) in group.iter().filter(|(other, _)| !has_turn(other)) {
                let (mine, its) = (told.terms.priority, rest.terms.priority);
                if its < mine {
                    assert_eq!(rest.has, 0, "who has priority wants more");
                } else if its == mine {
                    let odd = usize::from(other < id || self.leases.turns > 0);
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
    // It goes on to be alone while it has something here.
    world.want(one, 0);
    world.give_back(one, 3);
    assert_eq!([one, other, late].map(|id| world.has(id)), [1, 0, 0]);
    world.give_back(one, 1);
    assert_eq!([one, other, late].map(|id| world.has(id)), [0, 3, 0]);
    // And then has to wait for its next turn.
    world.want(one, 4);
    assert_eq!([one, other, late].map(|id| world.has(id)), [0, 3, 0]);
    world.leave(one);
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

#[test]
fn a_call_that_takes_more_than_a_share_has_its_turn() {
    let mut world = World::new(4);
    let small = world.join(SHARED, 9);
    let large = world.join(SHARED, 8);
    world.at_once(small, 1);
    world.at_once(large, 4);
    for _ in 0..3 {
        assert_eq!(world.clients[&small].asked, world.has(small));
        world.do_as_asked();
        assert_eq!((world.has(small), world.has(large)), (0, 4));
        // It lasts until that call has begun, and some time longer.
        assert_eq!(world.leases.deadline(), Some(world.now + TURN_LIMIT));
        world.begin(large);
        assert_eq!(world.clients[&large].asked, 0);
        world.wait();
        assert_eq!(
            world.clients[&large].asked, 2,
            "the other has its share now"
        );
        world.do_as_asked();
        assert_eq!((world.has(small), world.has(large)), (2, 2));
        assert_eq!(
            world.clients[&small].asked, 0,
            "until it has had something of it"
        );
        world.begin(small);
        world.wait();
    }
    // All that others leave, when nobody else needs more.
    world.want(small, 0);
    world.at_once(small, 0);
    world.come_to_rest();
    assert_eq!((world.has(large), world.clients[&large].asked), (4, 0));
    assert_eq!(world.leases.deadline(), None);
    // Who has no call that waits has no turn.
    world.want(small, 4);
    assert_eq!(world.clients[&large].asked, 2);
    world.at_once(large, 0);
    world.come_to_rest();
    assert_eq!((world.has(small), world.has(large)), (2, 2));
}

#[test]
fn more_clients_than_slots_have_turns() {
    let mut world = World::new(2);
    let all = [(); 3].map(|()| world.join(SHARED, 5));
    for id in all {
        world.at_once(id, 1);
    }
    let mut had = [0; 3];
    for _ in 0..12 {
        world.do_as_asked();
        for (id, had) in all.iter().zip(&mut had) {
            assert!(world.has(*id) <= 1);
            *had += world.has(*id);
            if world.has(*id) > 0 {
                world.begin(*id);
            }
        }
        world.wait();
    }
    assert_eq!(had, [8; 3]);
    // Who does not wait any more has none.
    let turn = world.leases.turn.unwrap().client;
    world.at_once(turn, 0);
    assert!(
        world.leases.turn.is_none(),
        "the others have what they should"
    );
}

/// As one whose workers do not start, or whose call needs what is not there.
#[test]
fn who_does_nothing_with_its_turn_loses_it() {
    let mut world = World::new(1);
    let [idle, other] = [(); 2].map(|()| world.join(SHARED, 5));
    world.at_once(idle, 1);
    world.at_once(other, 1);
    let mut had = 0;
    for _ in 0..6 {
        world.do_as_asked();
        if world.has(other) > 0 {
            had += 1;
            world.begin(other);
        }
        let before = world.now;
        world.wait();
        assert!(world.now - before <= TURN_LIMIT);
    }
    assert_eq!(had, 3);
}

#[test]
fn priority_goes_before_turns() {
    let mut world = World::new(4);
    let [a, b] = [(); 2].map(|()| world.join(SHARED, 8));
    world.at_once(a, 4);
    world.at_once(b, 1);
    world.do_as_asked();
    assert_eq!((world.has(a), world.has(b)), (2, 2));
    world.begin(b);
    world.wait();
    world.do_as_asked();
    assert_eq!((world.has(a), world.has(b)), (4, 0));
    let urgent = Terms {
        priority: 1,
        ..SHARED
    };
    let high = world.join(urgent, 2);
    world.come_to_rest();
    assert_eq!([a, b, high].map(|id| world.has(id)), [1, 1, 2]);
}

#[derive(Clone, Debug)]
enum Step {
    Join(bool, i32, usize),
    Want(usize, usize, usize),
    AtOnce(usize, usize),
    Begin(usize),
    Wait,
    Run,
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
        4 => (any::<usize>(), 0..6_usize).prop_map(|(who, n)| Step::AtOnce(who, n)),
        2 => Just(Step::Wait),
        1 => Just(Step::Run),
        3 => any::<usize>().prop_map(Step::Begin),
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
                Step::AtOnce(n, slots) => {
                    if let Some(id) = who(&world, n) {
                        let needs = world.clients[&id].wish.needs.max(slots);
                        world.want(id, needs);
                        world.at_once(id, slots);
                    }
                }
                Step::Begin(n) => {
                    if let Some(id) = who(&world, n) {
                        world.begin(id);
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
                Step::Wait if world.leases.deadline().is_some() => world.wait(),
                Step::Wait => {}
                Step::Run => world.run(),
                Step::Rest => world.do_as_asked(),
            }
        }
        world.run();
        world.come_to_rest();
        let ids: Vec<_> = world.clients.keys().copied().collect();
        for id in ids {
            world.at_once(id, 0);
        }
        world.come_to_rest();
        // And nobody waits for ever.
        for _ in 0..world.clients.len() {
            let Some(&id) = world.leases.group().first() else { break };
            world.leave(id);
            world.come_to_rest();
        }
    }
}
