//! One member that lies about another one, in a network of ten.

use super::*;

const LIAR: u128 = 4;
const VICTIM: u128 = 7;
const DUPE: u128 = 8;

/// The liar tells the dupe that the victim is down in this life.
fn say_down(world: &mut World, life: u32) {
    let down = Member::down(world.id(VICTIM, life));
    world.say(LIAR, DUPE, vec![down]);
}

/// The liar tells the dupe, who has no link with the victim, that it is down in this life; it may lie again
/// so often a second, for 20 seconds.
fn lie(life: impl Fn(u32) -> u32, again: u32) -> World {
    let mut world = World::of(3, 10);
    world.run(60 * SECOND);
    world.unlink(VICTIM, DUPE);
    world.told.clear();
    world.sent = 0;
    for _ in 0..again.max(1) * 20 {
        let life = life(world.own(VICTIM).life);
        say_down(&mut world, life);
        if again == 0 {
            break;
        }
        world.run(SECOND / again);
    }
    world
}

/// All have the victim as a member soon, without more ado than a death makes.
fn comes_back(mut world: World, within: Duration) {
    let took = world.settles(within);
    world.run(60 * SECOND - took);
    assert!(world.all_know(&world.live()), "it stays");
    let each = world.sent as f64 / 60.0 / 10.0;
    assert!(each < 5.0, "{each} packets a second from each");
}

#[test]
fn whoever_is_said_to_have_left_comes_back() {
    comes_back(lie(|life| life | 1, 0), 3 * SECOND);
}

#[test]
fn whoever_is_said_to_be_down_comes_back() {
    comes_back(lie(|life| life, 0), 3 * SECOND);
}

#[test]
fn nobody_is_told_of_the_end_of_all_lives() {
    for last in [u32::MAX, u32::MAX - 1] {
        let mut world = lie(|_| last, 0);
        world.run(60 * SECOND);
        assert!(world.told.is_empty(), "not believed");
        assert_eq!(world.own(VICTIM).life, 0);
    }
}

/// For as long as it lies, and a minute more.
#[test]
fn whoever_lies_all_the_time_is_outbid_in_the_end() {
    let lies: [fn(u32) -> u32; 4] = [
        |life| life,
        |life| life | 1,
        |life| life + 15,
        |life| (life | 1) + 14,
    ];
    for life in lies {
        let mut world = lie(life, 20);
        let lives = world.own(VICTIM).life;
        assert!(lives < 20 * 70, "{lives}: at its own pace");
        let each = world.sent as f64 / 20.0 / 10.0;
        assert!(each < 40.0, "{each} packets a second from each");
        world.settles(60 * SECOND);
        let since = world.now;
        world.run(60 * SECOND);
        assert_eq!(world.told_since(since).count(), 0, "it stays");
    }
}

#[test]
fn who_is_said_to_have_left_and_has_a_link_is_there_when_it_breaks() {
    let mut world = World::of(3, 10);
    world.run(60 * SECOND);
    let since = world.now;
    say_down(&mut world, 1);
    // Before it can say anything to that.
    world.run(LATENCY);
    let link = &world.nodes[&DUPE].linked[&world.launch(VICTIM)];
    assert!(link.leaving);
    world.break_links(|a, b| (a, b) == (VICTIM, DUPE), MS);
    world.run(60 * SECOND);
    assert_eq!(world.told_since(since).count(), 0);
}
