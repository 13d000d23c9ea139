//! Members without a network: many state machines, and a clock that the test moves.

mod lies;
mod one;
mod word;

use foca::Message;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(20);
/// How long an idle link stays open.
const IDLE: Duration = Duration::from_secs(30);
/// When a link on which nothing arrives is given up.
const SILENCE: Duration = Duration::from_millis(2200);

fn place(node: u128) -> Location {
    Location {
        node: NodeId(node),
        name: format!("n{node}").into(),
        endpoint: Some(([10, 0, (node >> 8) as u8, node as u8], 7).into()),
    }
}

fn id(node: u128, life: u32) -> Id {
    let location = place(node);
    Id { location, life }
}

/// Says that a member is taken for down.
fn turn_undead(from: Id, to: Id) -> Packet {
    let mut packet = Packet::gossip(from, to, Vec::new());
    packet.header.message = Message::TurnUndead;
    packet
}

impl Membership {
    /// Nobody counts that foca does not look after, and the other way round.
    fn agrees_with_foca(&self) {
        let all = self.foca.iter_membership_state();
        let theirs: BTreeMap<_, _> = all
            .map(|it| (it.id().node(), (it.id(), it.state() != State::Down)))
            .collect();
        let members = self.members.iter().map(|(node, id)| (*node, (id, true)));
        let past = self.past.iter();
        let past = past.map(|(node, (_, id))| (*node, (id, false)));
        let ours: BTreeMap<_, _> = members.chain(past).collect();
        assert_eq!(ours, theirs);
        assert_eq!(self.members.len() + self.past.len(), theirs.len());
    }
}

#[derive(Debug)]
enum Arrival {
    Linked(u128, u128),
    Broken(u128, u128),
    Packet(u128, u128, Vec<u8>),
}

/// Some members, the links between them, and what is on its way.
struct World {
    now: Instant,
    seed: u128,
    settings: Settings,
    nodes: BTreeMap<u128, Membership>,
    /// When each wants to be told the time.
    timers: BTreeSet<(Instant, u128)>,
    deadlines: BTreeMap<u128, Instant>,
    /// The smaller number first, with its last use.
    links: BTreeMap<(u128, u128), Instant>,
    coming: BTreeMap<(Instant, u64), Arrival>,
    sent: u64,
    /// Nothing gets from those below this number to the others.
    wall: Option<u128>,
    /// Who cannot open a link to whom; over one that the other opened they talk.
    shut: BTreeSet<(u128, u128)>,
    /// What they told, in order: to whom, when, what.
    told: Vec<(u128, Instant, Output)>,
    most_links: usize,
}

impl World {
    fn new(seed: u128) -> Self {
        World {
            now: Instant::now(),
            seed,
            settings: Settings::default(),
            nodes: BTreeMap::new(),
            timers: BTreeSet::new(),
            deadlines: BTreeMap::new(),
            links: BTreeMap::new(),
            coming: BTreeMap::new(),
            sent: 0,
            wall: None,
            shut: BTreeSet::new(),
            told: Vec::new(),
            most_links: 0,
        }
    }

    /// Members that have all been given the address of the first.
    fn of(seed: u128, count: u128) -> Self {
        let mut world = World::new(seed);
        for node in 0..count {
            world.join(node, 0);
        }
        world
    }

    fn join(&mut self, node: u128, seed_node: u128) {
        // Chances come from the launch id.
        let mut own = place(node);
        own.node = self.launch(node);
        let member = Membership::new(self.now, own, self.settings);
        self.nodes.insert(node, member);
        self.remind(node);
        if node != seed_node {
            self.link(node, seed_node);
        }
    }

    fn launch(&self, node: u128) -> NodeId {
        NodeId(self.seed << 64 | node)
    }

    fn number(node: NodeId) -> u128 {
        node.0 & u128::from(u64::MAX)
    }

    fn place(&self, node: u128) -> Location {
        let mut place = place(node);
        place.node = self.launch(node);
        place
    }

    fn can_reach(&self, one: u128, other: u128) -> bool {
        let walled = self.wall.is_some_and(|wall| (one < wall) != (other < wall));
        self.nodes.contains_key(&one) && self.nodes.contains_key(&other) && !walled
    }

    fn arrives(&mut self, after: Duration, arrival: Arrival) {
        self.sent += 1;
        self.coming.insert((self.now + after, self.sent), arrival);
    }

    fn link(&mut self, one: u128, other: u128) {
        let key = (one.min(other), one.max(other));
        if self.links.insert(key, self.now).is_none() {
            self.arrives(2 * LATENCY, Arrival::Linked(one, other));
            self.arrives(2 * LATENCY, Arrival::Linked(other, one));
        }
        for node in [one, other] {
            let of = |(a, b): &(u128, u128)| *a == node || *b == node;
            let count = self.links.keys().filter(|key| of(key)).count();
            // The one that all the others were told of has all of them at first.
            if node != 0 {
                self.most_links = self.most_links.max(count);
            }
        }
    }

    fn send(&mut self, from: u128, to: u128, packet: Vec<u8>) {
        if self.can_reach(from, to) {
            let linked = self.links.contains_key(&(from.min(to), from.max(to)));
            if !linked && self.shut.contains(&(from, to)) {
                return;
            }
            self.link(from, to);
            let dial = if linked { Duration::ZERO } else { 2 * LATENCY };
            self.arrives(dial + LATENCY, Arrival::Packet(from, to, packet));
        }
    }

    fn remind(&mut self, node: u128) {
        let deadline = self.nodes.get(&node).and_then(Membership::deadline);
        let was = match deadline {
            Some(deadline) => self.deadlines.insert(node, deadline),
            None => self.deadlines.remove(&node),
        };
        if let Some(was) = was {
            self.timers.remove(&(was, node));
        }
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, node));
        }
    }

    fn remove(&mut self, node: u128) {
        self.nodes.remove(&node);
        self.remind(node);
    }

    fn kill(&mut self, node: u128) {
        self.remove(node);
        self.break_links(|a, b| a == node || b == node, LATENCY);
    }

    fn leave(&mut self, node: u128) {
        self.handle(node, Input::Leave);
        self.run(2 * LATENCY);
        self.leave_without_a_word(node);
    }

    fn leave_without_a_word(&mut self, node: u128) {
        self.remove(node);
        let links: Vec<_> = self.links.keys().copied().collect();
        for (a, b) in links.into_iter().filter(|(a, b)| *a == node || *b == node) {
            self.links.remove(&(a, b));
            let (peer, node) = (if a == node { b } else { a }, self.launch(node));
            let goodbye = Input::Unlinked {
                peer: node,
                broken: false,
            };
            self.handle(peer, goodbye);
        }
    }

    fn partition(&mut self, wall: u128) {
        self.wall = Some(wall);
        self.break_links(|a, b| (a < wall) != (b < wall), SILENCE);
    }

    fn break_links(&mut self, which: impl Fn(u128, u128) -> bool, after: Duration) {
        let links: Vec<_> = self.links.keys().copied().collect();
        for (a, b) in links.into_iter().filter(|(a, b)| which(*a, *b)) {
            self.links.remove(&(a, b));
            self.arrives(after, Arrival::Broken(a, b));
            self.arrives(after, Arrival::Broken(b, a));
        }
    }

    fn handle(&mut self, node: u128, input: Input<'_>) {
        let Some(member) = self.nodes.get_mut(&node) else {
            return;
        };
        member.handle(self.now, input);
        member.agrees_with_foca();
        let outputs: Vec<_> = std::iter::from_fn(|| member.poll()).collect();
        for output in outputs {
            match output {
                Output::Send(to, packet) | Output::Tell(to, packet) => {
                    assert_ne!(to.node, self.launch(node), "it talks to itself");
                    self.send(node, World::number(to.node), packet);
                }
                told => self.told.push((node, self.now, told)),
            }
        }
        self.remind(node);
    }

    /// Runs for so long.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.run_while(until, |_| true);
        self.now = until;
    }

    /// Runs until all is as it should be, at most for so long; how long it took.
    fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) -> Duration {
        let (start, until) = (self.now, self.now + limit);
        let mut finished = false;
        self.run_while(until, |world| {
            finished = done(world);
            !finished
        });
        self.now = if finished { self.now } else { until };
        assert!(finished || done(self), "not within {limit:?}");
        self.now - start
    }

    fn run_while(&mut self, until: Instant, mut go_on: impl FnMut(&World) -> bool) {
        let mut look = self.now;
        loop {
            if look <= self.now {
                look = self.now + 50 * MS;
                self.close_idle();
                if !go_on(self) {
                    return;
                }
            }
            let coming = self.coming.first_key_value().map(|((at, _), _)| *at);
            let timer = self.timers.first().copied();
            let next = coming.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= until) else {
                return;
            };
            self.now = self.now.max(next);
            match timer {
                Some((at, node)) if coming.is_none_or(|coming| at < coming) => {
                    self.handle(node, Input::Timeout);
                }
                _ => self.arrival(),
            }
        }
    }

    fn close_idle(&mut self) {
        let idle = |used: &Instant| self.now - *used >= IDLE;
        let idle: Vec<_> = self
            .links
            .iter()
            .filter(|(_, used)| idle(used))
            .map(|(key, _)| *key)
            .collect();
        for (a, b) in idle {
            self.unlink(a, b);
        }
    }

    fn unlink(&mut self, a: u128, b: u128) {
        self.links.remove(&(a.min(b), a.max(b)));
        for (one, other) in [(a, b), (b, a)] {
            let (peer, broken) = (self.launch(other), false);
            self.handle(one, Input::Unlinked { peer, broken });
        }
    }

    fn own(&self, node: u128) -> Id {
        self.nodes[&node].foca.identity().clone()
    }

    /// A member in some life.
    fn id(&self, node: u128, life: u32) -> Id {
        let location = self.place(node);
        Id { location, life }
    }

    /// One tells another one something, whatever it knows.
    fn say(&mut self, from: u128, to: u128, updates: Vec<Member<Id>>) {
        let packet = Packet::gossip(self.own(from), self.own(to), updates);
        self.send(from, to, packet.encode());
    }

    fn arrival(&mut self) {
        let Some((_, arrival)) = self.coming.pop_first() else {
            return;
        };
        match arrival {
            Arrival::Linked(node, peer) if self.can_reach(node, peer) => {
                self.handle(node, Input::Linked(self.place(peer)));
            }
            Arrival::Broken(node, peer) => {
                let peer = self.launch(peer);
                self.handle(node, Input::Unlinked { peer, broken: true });
            }
            Arrival::Packet(from, to, payload) if self.can_reach(from, to) => {
                let from = self.launch(from);
                let payload = &payload;
                self.handle(to, Input::Notice { from, payload });
            }
            Arrival::Linked(..) | Arrival::Packet(..) => {}
        }
    }

    fn knows(&self, node: u128) -> BTreeSet<u128> {
        let members = self.nodes[&node].members();
        members.map(|member| World::number(member.node)).collect()
    }

    fn all_know(&self, whom: &BTreeSet<u128>) -> bool {
        whom.iter().all(|node| {
            let mut others = whom.clone();
            others.remove(node);
            // Counted first: this is asked often.
            self.nodes[node].members.len() == others.len() && self.knows(*node) == others
        })
    }

    fn live(&self) -> BTreeSet<u128> {
        self.nodes.keys().copied().collect()
    }

    fn settles(&mut self, limit: Duration) -> Duration {
        self.run_until(limit, |world| world.all_know(&world.live()))
    }

    fn told_since(&self, since: Instant) -> impl Iterator<Item = &Output> {
        let told = self.told.iter().filter(move |(_, at, _)| *at > since);
        told.map(|(_, _, output)| output)
    }
}

/// Within which time all know of a death that broke a link.
fn bound(members: usize) -> Duration {
    config::suspicion(SECOND, members) + 4 * SECOND
}

#[test]
fn all_learn_of_all_and_of_a_death_in_time() {
    let mut world = World::of(0, 100);
    let took = world.settles(20 * SECOND);
    assert!(took < 5 * SECOND, "{took:?}");
    world.run(40 * SECOND);
    let limit = 3 * IDLE.as_secs() as usize;
    assert!(world.most_links <= limit, "{} links", world.most_links);
    assert!(world.most_links > 10, "probes open links");

    let since = world.now;
    world.kill(77);
    world.settles(bound(100));
    world.run(10 * SECOND);
    let lost = world.place(77);
    let told: Vec<_> = world.told_since(since).collect();
    assert_eq!(told.len(), 99, "each is told once, and of nobody else");
    let down = Output::Down(lost);
    assert!(told.iter().all(|output| **output == down));
}

#[test]
fn a_death_that_breaks_no_link_is_found_out() {
    let mut world = World::of(7, 30);
    world.settles(20 * SECOND);
    world.run(20 * SECOND);
    // All its links are idle and closed, and it dies.
    world.leave_without_a_word(9);
    world.settles(bound(30) + SECOND * signs::FRESH + 12 * SECOND);
}

#[test]
fn those_who_leave_have_left_and_are_not_lost() {
    let mut world = World::of(1, 50);
    world.settles(20 * SECOND);
    world.run(40 * SECOND);
    let since = world.now;
    world.leave(20);
    let took = world.settles(10 * SECOND);
    assert!(took < 5 * SECOND, "{took:?}");
    world.run(60 * SECOND);
    let gone = world.place(20);
    let told: Vec<_> = world.told_since(since).collect();
    assert!(
        told.iter()
            .all(|output| **output == Output::Gone(gone.clone())),
        "{told:?}"
    );
    assert_eq!(told.len(), 49);
}

#[test]
fn both_halves_find_each_other_again() {
    for (seed, wall) in [(1, 10), (2, 1), (3, 19), (4, 5)] {
        let mut world = World::of(seed, 20);
        world.settles(20 * SECOND);
        world.partition(wall);
        let (left, right) = world.live().into_iter().partition(|node| *node < wall);
        world.run_until(60 * SECOND, |world| {
            world.all_know(&left) && world.all_know(&right)
        });
        world.run(200 * SECOND);
        world.wall = None;
        let took = world.settles(3 * SEEK);
        // It stays so.
        let since = world.now;
        world.run(60 * SECOND);
        assert_eq!(world.told_since(since).count(), 0, "after {took:?}");
    }
}

#[test]
fn nobody_is_lost_for_a_pause_shorter_than_suspicion() {
    let mut world = World::of(5, 20);
    world.settles(20 * SECOND);
    world.run(10 * SECOND);
    let since = world.now;
    // Long enough for probes and links to fail.
    world.partition(1);
    world.run(SILENCE + SECOND);
    world.wall = None;
    world.run(60 * SECOND);
    let down: Vec<_> = world.told_since(since).collect();
    assert!(down.is_empty(), "{down:?}");
    assert!(world.all_know(&world.live()));
}

#[test]
fn whoever_comes_and_goes_all_agree_in_the_end() {
    for seed in 0..30 {
        let mut world = World::of(100 + seed, 6);
        let mut chance = SmallRng::seed_from_u64(seed as u64);
        let mut next = 6;
        for _ in 0..40 {
            world.run(MS * chance.random_range(0..4000));
            let live: Vec<_> = world.live().into_iter().collect();
            let one = live[chance.random_range(0..live.len())];
            match chance.random_range(0..4) {
                0 if live.len() > 4 => world.kill(one),
                1 if live.len() > 4 => world.leave(one),
                2 if world.wall.is_none() => world.partition(one),
                3 if world.wall.is_some() => world.wall = None,
                _ => {
                    world.join(next, one);
                    next += 1;
                }
            }
        }
        world.wall = None;
        // Two who never had a common acquaintance need an introduction.
        let newest = *world.live().last().unwrap();
        let newest_id = world.launch(newest);
        for node in world.live() {
            if node != newest && !world.nodes[&node].members.contains_key(&newest_id) {
                world.link(node, newest);
            }
        }
        world.settles(120 * SECOND);
        // Suspicions from the time of walls are contradicted, or passed and made good.
        world.run(30 * SECOND);
        world.settles(30 * SECOND);
        let since = world.now;
        world.run(100 * SECOND);
        assert_eq!(world.told_since(since).count(), 0, "seed {seed}");
        for member in world.nodes.values() {
            assert!(member.timers.len() < 40, "{} timers", member.timers.len());
        }
    }
}

/// A network in which the last members cannot dial each other, but all the rest.
fn behind_routers(seed: u128, count: u128, behind: u128) -> World {
    let mut world = World::new(seed);
    let hidden = count - behind..count;
    let from = |one| hidden.clone().map(move |other| (one, other));
    world.shut = hidden.clone().flat_map(from).collect();
    for node in 0..count {
        world.join(node, 0);
    }
    world
}

#[test]
fn members_that_cannot_dial_each_other_know_each_other_by_the_rest() {
    for (seed, count, behind) in [(1, 3, 2), (2, 5, 3), (3, 12, 8), (4, 30, 20), (5, 60, 50)] {
        let mut world = behind_routers(seed, count, behind);
        let start = world.now;
        // What no news brought, the next question does.
        world.settles(45 * SECOND);
        let sent = world.sent;
        world.run(120 * SECOND);
        let told = world.told_since(start);
        let lost: Vec<_> = told.filter(|it| !matches!(it, Output::Up(_))).collect();
        assert!(
            lost.is_empty(),
            "{count}, {behind} of them behind: {lost:?}"
        );
        let each = (world.sent - sent) as f64 / 120.0 / count as f64;
        assert!(each < 7.0, "{each} packets a second from each of {count}");

        // One of them dies, and another one, that nobody has a link with.
        world.kill(count - 1);
        world.settles(bound(count as usize));
        if behind > 2 {
            world.leave_without_a_word(count - 2);
            world.settles(bound(count as usize) + SECOND * signs::FRESH + 12 * SECOND);
        }
    }
}
