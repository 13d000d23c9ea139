//! What a launch says itself, against what others say of it.

use super::*;

/// A network of five in which 3 and 4 cannot dial each other, and know each other by the rest.
fn two_hidden(seed: u128) -> World {
    let mut world = World::new(seed);
    world.shut = [(3, 4), (4, 3)].into();
    for node in 0..5 {
        world.join(node, 0);
    }
    world.settles(45 * SECOND);
    world.run(60 * SECOND);
    world
}

#[test]
fn two_who_are_told_that_the_other_has_left_know_each_other_again() {
    let mut world = World::of(3, 3);
    world.run(10 * SECOND);
    world.unlink(1, 2);
    for (to, about) in [(1, 2), (2, 1)] {
        let left = Member::down(world.id(about, 1));
        world.say(0, to, vec![left]);
    }
    world.run(LATENCY * 2);
    assert_eq!(world.knows(1), [0].into(), "it is believed");
    // The liar says nothing more, and somebody sends a message.
    world.kill(0);
    world.link(1, 2);
    let know = |world: &World, one, other| world.knows(one).contains(&other);
    world.run_until(SECOND, |world| know(world, 1, 2) && know(world, 2, 1));
    let sent = world.sent;
    world.run(60 * SECOND);
    assert!(world.all_know(&world.live()));
    let rate = (world.sent - sent) as f64 / 60.0;
    assert!(rate < 10.0, "{rate} packets a second");
}

#[test]
fn nobody_keeps_a_member_from_contradicting() {
    const LIAR: u128 = 4;
    const VICTIM: u128 = 7;
    let mut world = World::of(3, 10);
    world.run(60 * SECOND);
    for other in 0..10 {
        if world
            .links
            .contains_key(&(other.min(VICTIM), other.max(VICTIM)))
        {
            world.unlink(VICTIM, other);
        }
    }
    let others: Vec<_> = (0..10).filter(|it| ![LIAR, VICTIM].contains(it)).collect();
    let (mut looks, mut unknown) = (0, 0);
    for round in 0..1200 {
        let (liar, victim) = (world.own(LIAR), world.own(VICTIM));
        // It says of itself that it is down in a later life, and speaks on in this one.
        let later = Id {
            life: liar.life + 14,
            ..liar.clone()
        };
        world.say(LIAR, VICTIM, vec![Member::down(later)]);
        world.send(LIAR, VICTIM, turn_undead(liar, victim.clone()).encode());
        if round % 5 == 4 {
            for dupe in &others {
                world.say(LIAR, *dupe, vec![Member::down(victim.clone())]);
            }
        }
        world.run(SECOND / 20);
        looks += others.len();
        unknown += others
            .iter()
            .filter(|it| !world.knows(**it).contains(&VICTIM))
            .count();
    }
    assert!(
        unknown * 20 < looks,
        "unknown in {unknown} of {looks} looks"
    );
    let life = world.own(VICTIM).life;
    assert!(
        life >= 100,
        "it renews once a period, and no less often: {life}"
    );
}

#[test]
fn a_newcomer_that_is_lied_to_knows_all_the_same_whom_it_hears() {
    for (state, life) in [
        (State::Alive, packet::FIRST - 2),
        (State::Down, packet::JUMP - 1),
    ] {
        let mut world = World::of(3, 4);
        world.run(10 * SECOND);
        world.join(9, 0);
        world.links.remove(&(0, 9));
        // Before it has heard of anybody.
        let id = world.id(2, life);
        world.say(
            0,
            9,
            vec![Member::new(id.clone(), 0, state), Member::down(id)],
        );
        let took = world.settles(60 * SECOND);
        assert!(took < 10 * SECOND, "{took:?}");
        world.run(60 * SECOND);
        assert!(world.all_know(&world.live()), "it stays");
        assert!(world.own(2).life <= 2 * packet::JUMP, "it is told once");
    }
}

#[test]
fn who_was_lied_to_has_left_for_all_when_it_leaves() {
    for lies in [0, 1, 3] {
        let mut world = two_hidden(2);
        let since = world.now;
        for _ in 0..lies {
            let down = Member::down(world.id(3, u32::MAX));
            world.say(2, 3, vec![down]);
            world.run(2 * SECOND);
        }
        world.run(60 * SECOND);
        assert_eq!(world.told_since(since).count(), 0, "no more than lies");
        world.leave(3);
        world.run(60 * SECOND);
        let told: Vec<_> = world.told_since(since).collect();
        let gone = Output::Gone(world.place(3));
        assert!(told.iter().all(|it| **it == gone), "{lies}: {told:?}");
        assert_eq!(told.len(), 4, "{lies}");
    }
}

/// The liar speaks much of the victim to one that the victim cannot dial, and which it hears of by others only.
#[test]
fn what_is_made_up_in_a_burst_is_outbid_also_where_the_victim_is_hidden() {
    for periods in [1, 6] {
        let mut world = two_hidden(2);
        let rises = (1..1000).map(|rise| Member::alive(world.id(3, rise * packet::JUMP)));
        let mut lies: Vec<_> = rises.collect();
        lies.extend((0..5000).map(|life| Member::down(world.id(3, life))));
        for _ in 0..periods {
            for lies in lies.chunks(1000) {
                world.say(2, 4, lies.to_vec());
            }
            world.run(SECOND);
        }
        assert!(!world.knows(4).contains(&3), "it is believed");
        world.settles(periods * 10 * SECOND);
        let lives = world.own(3).life;
        assert!(lives <= (periods + 1) * packet::MISSED, "{lives}");
        let since = world.now;
        world.run(60 * SECOND);
        assert_eq!(world.told_since(since).count(), 0, "it stays");
    }
}

/// With suspicions that cannot be contradicted, and with all else that is said.
#[test]
fn nobody_makes_a_member_renew_more_often_than_once_a_period() {
    let lies: [fn(Id, u32) -> Member<Id>; 3] = [
        |id, _| Member::new(id, Incarnation::MAX, State::Suspect),
        |id, n| Member::new(id, Incarnation::MAX - (n % 2) as u16, State::Suspect),
        |id, _| Member::down(id),
    ];
    for lie in lies {
        let mut world = World::of(3, 10);
        world.run(60 * SECOND);
        let (since, sent) = (world.now, world.sent);
        let mut lives = BTreeSet::new();
        for n in 0..5000 {
            let victim = world.own(7);
            lives.insert(victim.life);
            // The next is known before it is there.
            let next = world.id(7, 2 * n);
            world.say(4, 7, vec![lie(victim, n), lie(next, n)]);
            world.run(MS);
        }
        assert!((5..=7).contains(&lives.len()), "{lives:?}");
        let each = (world.sent - sent) as f64 / 5000.0;
        assert!(each < 4.0, "{each} packets for each lie");
        world.run(30 * SECOND);
        assert_eq!(world.told_since(since).count(), 0);
        assert!(world.all_know(&world.live()));
    }
}

#[test]
fn after_all_kinds_of_lies_all_is_well_soon() {
    for seed in 0..24_u64 {
        let count = 3 + u128::from(seed % 6);
        let mut world = World::of(500 + u128::from(seed), count);
        if seed % 2 == 0 {
            world.shut = [(1, 2), (2, 1)].into();
        }
        world.run(60 * SECOND);
        let mut chance = SmallRng::seed_from_u64(seed);
        for _ in 0..300 {
            let to = chance.random_range(1..count);
            let about = chance.random_range(1..count);
            let of = world.own(about).life;
            let life = match chance.random_range(0..5) {
                0 => of,
                1 => of | 1,
                2 => of + 2 * chance.random_range(0..8),
                3 => (of | 1) + 2 * chance.random_range(0..8),
                _ => chance.random_range(0..100),
            };
            let state = [State::Alive, State::Suspect, State::Down][chance.random_range(0..3)];
            let incarnation = [0, 1, Incarnation::MAX][chance.random_range(0..3)];
            let lie = Member::new(world.id(about, life), incarnation, state);
            world.say(0, to, vec![lie]);
            world.run(SECOND / 20);
        }
        world.settles(20 * SECOND);
        let sent = world.sent;
        world.run(30 * SECOND);
        assert!(world.all_know(&world.live()), "seed {seed}: it stays");
        let rate = (world.sent - sent) as f64 / 30.0 / count as f64;
        assert!(
            rate < 10.0,
            "seed {seed}: {rate} packets a second from each"
        );
    }
}

#[test]
fn a_lie_in_many_lives_is_no_more_work_than_in_one() {
    let packets = |lies: u32| {
        let mut world = World::of(3, 40);
        world.run(30 * SECOND);
        world.link(7, 8);
        world.link(4, 8);
        world.run(SECOND);
        let lies = (0..lies).map(|life| Member::down(world.id(7, life)));
        let sent = world.sent;
        world.say(4, 8, lies.collect());
        world.run(SECOND);
        world.sent - sent
    };
    let (one, many) = (packets(1), packets(1000));
    assert!(many < one + 100, "{one} and {many} packets");
}
