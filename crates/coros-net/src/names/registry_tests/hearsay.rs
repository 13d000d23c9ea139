//! How much room there is for what launches say of themselves, and for what others tell of them.

use super::*;
use crate::names::launch::OVERHEAD;

/// Whatever others make up, and however soon.
#[test]
fn there_is_room_for_what_a_launch_says_of_itself() {
    let limits = Limits {
        bytes: 100 * (OVERHEAD + 20),
        ..Limits::default()
    };
    let mut registry = Registry::new(location(0), limits);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    let flood = |registry: &mut Registry, now| {
        for launch in 100..140 {
            let name = |version| change(&format!("{launch} {version}"), version);
            let names = update(launch, 0, 5, (1..=5).map(name).collect());
            registry.handle(now, &location(1), &Notice::Update(names));
        }
    };
    let real = |version: u64| {
        let name = |it| change(&format!("real {it}"), it);
        Notice::Update(update(2, 0, version, (1..=version).map(name).collect()))
    };
    flood(&mut registry, now);
    // Others are there first with this too.
    registry.handle(now, &location(1), &real(2));
    assert_eq!(holders(&registry, "real 2"), 0);
    for seconds in 0..10 {
        flood(&mut registry, at(seconds));
        registry.expire(at(seconds));
        let reaction = registry.handle(at(seconds), &location(2), &claims(2, 2));
        let asked = digests(&reaction).count();
        assert_eq!(asked, usize::from(seconds == 0), "after {seconds} s");
        if seconds == 0 {
            registry.handle(now, &location(1), &real(2));
        }
        registry.handle(at(seconds), &location(2), &real(2));
        for name in ["real 1", "real 2"] {
            assert_eq!(holders(&registry, name), 1, "{name} after {seconds} s");
        }
    }
    assert!(registry.counted() <= 52);
}

/// The first node and its neighbour, whom many names make known to it, and who then gets some more: how many bytes
/// the two exchange at first, and for each of those, of which another peer hears sooner.
fn one_more_at_a_time(names: u64, before: impl FnOnce(&mut Registry, Instant)) -> [usize; 4] {
    let now = Instant::now();
    let mut registry = Registry::new(location(0), THOUSAND);
    let mut home = Registry::new(location(1), THOUSAND);
    registry.present(now, &location(1));
    registry.present(now, &location(2));
    home.present(now, &location(0));
    for i in 0..names {
        home.change(&format!("name {i}").into(), Some(entry(i)));
    }
    let _ = home.news(now);
    let first = exchange(&mut registry, &mut home, now);
    assert_eq!(registry.counted() as u64, names);
    before(&mut registry, now);
    exchange(&mut registry, &mut home, now);
    [0, 1, 2, 3].map(|i| {
        if i == 0 {
            return first;
        }
        let now = now + Duration::from_secs(10 * i);
        let name: Arc<str> = format!("new {i}").into();
        home.change(&name, Some(entry(i)));
        for news in home.news(now) {
            registry.handle(now, &location(2), &news);
        }
        let bytes = exchange(&mut registry, &mut home, now);
        assert_eq!(holders(&registry, &name), 1, "{name}");
        bytes
    })
}

/// A node at home compares with another, until neither has anything to say.
fn exchange(registry: &mut Registry, home: &mut Registry, now: Instant) -> usize {
    let mut bytes = 0;
    let mut to_registry = home.digests(now);
    while !to_registry.is_empty() {
        let mut to_home = Vec::new();
        for notice in to_registry.drain(..) {
            bytes += notice.write().len();
            to_home.extend(registry.handle(now, &location(1), &notice).replies);
        }
        for notice in to_home {
            bytes += notice.write().len();
            to_registry.extend(home.handle(now, &location(0), &notice).replies);
        }
        assert!(bytes < 1 << 20, "it has no end");
    }
    bytes
}

/// Names that others have told first, as many as there is room for.
fn hearsay(registry: &mut Registry, now: Instant, from: usize, launches: std::ops::Range<usize>) {
    for launch in launches {
        let name = |version| change(&format!("{launch}: {version}"), version);
        let names = update(launch, 0, 20, (1..=20).map(name).collect());
        registry.handle(now, &location(from), &Notice::Update(names));
    }
}

const THOUSAND: Limits = Limits {
    names: 1000,
    bytes: 1000 * (OVERHEAD + 20),
    gone: 1000,
    launches: 1000,
    hearsay: 1000,
};

#[test]
fn names_that_launches_told_of_themselves_leave_room_for_hearsay() {
    let [all, each @ ..] = one_more_at_a_time(600, |registry, _| {
        assert!(registry.bytes() > THOUSAND.bytes / 2);
    });
    // Nothing but digests.
    assert!(each.iter().all(|it| *it < 100), "all: {all}, {each:?}");
}

#[test]
fn where_hearsay_fills_its_half_only_what_it_left_out_is_told_again() {
    let [all, each @ ..] = one_more_at_a_time(300, |registry, now| {
        hearsay(registry, now, 2, 100..200);
        let left = THOUSAND.bytes - registry.bytes();
        assert!(left > THOUSAND.bytes / 6, "{left}");
    });
    assert!(each.iter().all(|it| *it < 600), "all: {all}, {each:?}");
}

/// Else whoever has told of himself would lend his name to as much as there is room for.
#[test]
fn hearsay_of_a_launch_that_has_told_of_itself_has_no_more_room() {
    let mut registry = Registry::new(location(0), THOUSAND);
    let now = Instant::now();
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    let names = |range: std::ops::RangeInclusive<u64>| {
        let after = range.start() - 1;
        let upto = *range.end();
        let names = range.map(|it| change(&format!("{it:04}"), it)).collect();
        Notice::Update(update(1, after, upto, names))
    };
    registry.handle(now, &location(1), &names(1..=100));
    registry.handle(now, &location(2), &names(101..=900));
    let hundred = registry.bytes();
    let kept = registry.counted() - 100;
    assert!((490..510).contains(&kept), "{kept}");
    // It does not help to have others take back what it has told.
    let gone = |version| Change {
        entry: None,
        ..change(&format!("{:04}", version - 900), version)
    };
    let gone = update(1, 900, 950, (901..=950).map(gone).collect());
    registry.handle(now, &location(2), &Notice::Update(gone));
    registry.handle(now, &location(2), &names(951..=1000));
    assert_eq!(registry.counted() - 50, kept);
    assert!(registry.bytes() < hundred);
    // What the launch says of itself counts, and what has been left out comes after all.
    let reaction = registry.handle(now, &location(1), &claims(1, 1000));
    let reach = digests(&reaction).next().unwrap().known[0].reach;
    assert_eq!((reach.version, reach.goal), (100 + kept as u64, 1000));
}

/// How often the first peer is asked for its names, when it says how far it has come.
fn asks(registry: &mut Registry, now: Instant, goal: u64) -> usize {
    digests(&registry.handle(now, &location(1), &claims(1, goal))).count()
}

fn digests(reaction: &Reaction) -> impl Iterator<Item = &Digest> {
    reaction.replies.iter().filter_map(|it| match it {
        Notice::Digest(digest) => Some(digest),
        Notice::Update(_) => None,
    })
}

#[test]
fn a_launch_with_more_names_than_there_is_room_for_is_not_asked_for_them_on_and_on() {
    let limits = Limits {
        names: 3,
        ..THOUSAND
    };
    let names = |after: u64, upto: u64| {
        let names = after + 1..=upto;
        let names = names.map(|it| change(&format!("name {it}"), it)).collect();
        Notice::Update(update(1, after, upto, names))
    };
    let now = Instant::now();
    let mut registry = Registry::new(location(0), limits);
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    let mut asked = |from: usize, tells: Notice, goal| {
        registry.handle(now, &location(from), &tells);
        asks(&mut registry, now, goal)
    };
    assert_eq!(asked(2, names(0, 4), 4), 1, "others told of it");
    assert_eq!(asked(1, names(0, 4), 4), 0);
    assert_eq!(asked(2, names(4, 5), 5), 0);
    assert_eq!(asked(1, names(5, 6), 6), 0);
}

#[test]
fn where_there_is_no_room_for_a_name_nothing_is_asked_for_again() {
    let names = |launch: usize, count| {
        let name = |it| change(&format!("{launch}: {it:04}"), it);
        Notice::Update(update(launch, 0, count, (1..=count).map(name).collect()))
    };
    let now = Instant::now();
    let later = now + Duration::from_secs(601);
    // The launch has told of itself, or another of it.
    for from in [1, 2] {
        let mut registry = Registry::new(location(0), THOUSAND);
        for peer in [1, 2, 3, 4] {
            registry.present(now, &location(peer));
        }
        for launch in [3, 4] {
            registry.handle(now, &location(launch), &names(launch, 600));
        }
        registry.handle(now, &location(from), &names(1, 2));
        let mut asked = |now| {
            registry.expire(now);
            asks(&mut registry, now, 2)
        };
        assert_eq!([asked(now), asked(later)], [0, 0], "told by {from}");
        registry.left(location(3).node);
        let mut asked = |now| {
            registry.expire(now);
            asks(&mut registry, now, 2)
        };
        assert_eq!(asked(later), 1, "told by {from}");
    }
}

/// However much hearsay there is.
#[test]
fn what_a_launch_said_of_itself_and_had_no_room_is_asked_for_when_there_is() {
    let names = |launch: usize, count| {
        let name = |it| change(&format!("{launch}: {it:04}"), it);
        Notice::Update(update(launch, 0, count, (1..=count).map(name).collect()))
    };
    let now = Instant::now();
    let mut registry = Registry::new(location(0), THOUSAND);
    for peer in (1..4).chain(100..200) {
        registry.present(now, &location(peer));
    }
    hearsay(&mut registry, now, 2, 100..200);
    registry.handle(now, &location(3), &names(3, 600));
    registry.handle(now, &location(1), &names(1, 2));
    registry.left(location(3).node);
    registry.expire(now + Duration::from_secs(601));
    assert_eq!(asks(&mut registry, now, 2), 1);
}

#[test]
fn what_a_launch_says_that_it_has_is_hearsay_no_more() {
    let mut registry = Registry::new(location(0), THOUSAND);
    let now = Instant::now();
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    for upto in [400, 800] {
        let names = (upto - 399..=upto).map(|it| change(&format!("{it:04}"), it));
        let names = update(1, upto - 400, upto, names.collect());
        registry.handle(now, &location(2), &Notice::Update(names));
        assert_eq!(registry.counted() as u64, upto);
        assert_eq!(asks(&mut registry, now, upto), 0);
    }
}

/// Whoever has missed what has been forgotten is told all from the beginning.
#[test]
fn what_is_told_from_the_beginning_is_asked_for_from_where_something_is_missing() {
    let limits = Limits {
        names: 3,
        ..THOUSAND
    };
    let names = |range: std::ops::RangeInclusive<u64>| {
        let names = range.map(|it| change(&format!("name {it}"), it));
        names.collect::<Vec<_>>()
    };
    let again = |upto, names| Update {
        floor: 10,
        latest: 30,
        ..update(1, 0, upto, names)
    };
    let now = Instant::now();
    // It has come less far than before, or lacks more.
    let mut gone = names(1..=1);
    gone[0].entry = None;
    for (again, whole) in [(again(1, gone), 1), (again(30, names(2..=5)), 4)] {
        let mut registry = Registry::new(location(0), limits);
        for peer in [1, 2] {
            registry.present(now, &location(peer));
        }
        let mut first = names(5..=7);
        first[0].entry = None;
        first.insert(0, change("name 4", 4));
        let first = update(1, 0, 8, [first, names(8..=8)].concat());
        for part in [first, again] {
            registry.handle(now, &location(2), &Notice::Update(part));
        }
        let reaction = registry.handle(now, &location(1), &claims(1, 30));
        let reach = digests(&reaction).next().unwrap().known[0].reach;
        assert_eq!((reach.version, reach.goal), (whole, 30));
    }
}

#[test]
fn what_a_launch_tells_itself_is_taken_in_where_there_was_no_room_for_hearsay() {
    let mut registry = Registry::new(location(0), THOUSAND);
    let now = Instant::now();
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    hearsay(&mut registry, now, 2, 100..200);
    for (from, holds) in [(2, 0), (1, 1)] {
        let name = update(1, 0, 1, vec![change("name", 1)]);
        registry.handle(now, &location(from), &Notice::Update(name));
        assert_eq!(holders(&registry, "name"), holds);
    }
}

#[test]
fn what_others_told_is_not_asked_for_again_while_there_is_no_room_for_hearsay() {
    let mut registry = Registry::new(location(0), THOUSAND);
    let now = Instant::now();
    for peer in (1..3).chain(100..200) {
        registry.present(now, &location(peer));
    }
    hearsay(&mut registry, now, 2, 100..200);
    let name = update(1, 0, 1, vec![change("name", 1)]);
    registry.handle(now, &location(2), &Notice::Update(name));
    let later = now + Duration::from_secs(601);
    registry.expire(later);
    let reaction = registry.handle(later, &location(2), &claims(1, 1));
    assert_eq!(digests(&reaction).count(), 0);
}
