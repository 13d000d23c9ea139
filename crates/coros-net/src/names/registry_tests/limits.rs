//! What others can make a node keep and send.

use super::*;
use crate::names::launch::OVERHEAD;

#[test]
fn where_there_is_no_room_names_taken_back_go_all_the_same() {
    let limits = Limits {
        names: 2,
        bytes: 10 << 10,
        launches: 4,
        ..Limits::default()
    };
    let mut registry = Registry::new(location(0), limits);
    let now = Instant::now();
    registry.present(now, &location(1));
    let names = vec![change("a", 1), change("b", 2), change("c", 3)];
    registry.handle(now, &location(1), &Notice::Update(update(1, 0, 3, names)));
    let shown = |registry: &Registry| ["a", "b", "c", "d"].map(|name| holders(registry, name));
    assert_eq!(shown(&registry), [1, 1, 0, 0]);
    let gone = Change {
        entry: None,
        ..change("a", 4)
    };
    let more = update(1, 3, 5, vec![gone, change("d", 5)]);
    let reaction = registry.handle(now, &location(1), &Notice::Update(more));
    assert_eq!(shown(&registry), [0, 1, 0, 1]);
    assert_eq!(registry.counted(), 2);
    assert!(reaction.replies.is_empty(), "it does not ask on and on");
    // Others are not told what is only a part.
    assert!(registry.news(now).is_empty());
    registry.present(now, &location(2));
    let ignorant = digest(Vec::new());
    let reaction = registry.handle(now, &location(2), &ignorant);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
    // After a while it is asked for all once more.
    registry.expire(now + Duration::from_secs(601));
    let reaction = registry.handle(now, &location(1), &claims(1, 5));
    assert_eq!(reaction.replies.len(), 1);
    // What was there stays until that has come, and nobody is told of it meanwhile.
    assert_eq!(shown(&registry), [0, 1, 0, 1]);
    let reaction = registry.handle(now, &location(2), &ignorant);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
    let gone = Change {
        entry: None,
        ..change("b", 6)
    };
    let all = Update {
        floor: 4,
        ..update(1, 0, 6, vec![change("c", 3), change("d", 5), gone])
    };
    registry.handle(now, &location(1), &Notice::Update(all));
    assert_eq!(shown(&registry), [0, 0, 1, 1]);
    let reaction = registry.handle(now, &location(2), &ignorant);
    assert_eq!(reaction.replies.len(), 1, "now it is all there is");
}

/// A node that one peer has told of many launches, each with many names.
fn flooded(name: impl Fn(usize, u64) -> Change) -> Registry {
    let limits = Limits {
        names: 10,
        // And not for one more: half of it is for what others tell.
        bytes: 2 * 25 * (OVERHEAD + 20),
        gone: 5,
        launches: 6,
        hearsay: 4,
    };
    let mut registry = Registry::new(location(0), limits);
    let now = Instant::now();
    registry.present(now, &location(1));
    for launch in 2..100 {
        for version in 1..=30 {
            let more = update(launch, version - 1, version, vec![name(launch, version)]);
            registry.handle(now, &location(1), &Notice::Update(more));
            assert!(registry.remembered_gone() <= limits.gone);
        }
    }
    registry
}

#[test]
fn what_a_peer_can_make_a_node_keep_is_bounded() {
    let registry = flooded(|launch, version| change(&format!("{launch} {version}"), version));
    assert_eq!(registry.counted(), 25);
    let shown = |launch: usize| holders(&registry, &format!("{launch} 10")) > 0;
    assert_eq!((2..100).filter(|launch| shown(*launch)).count(), 2);
}

#[test]
fn names_that_never_were_and_launches_made_up_are_bounded_too() {
    let gone = |launch, version| Change {
        entry: None,
        ..change(&format!("{launch} {version}"), version)
    };
    let mut registry = flooded(gone);
    assert_eq!(registry.counted(), 0);
    // This node, and as many as it knows by their names only.
    assert_eq!(registry.launches(), 1 + 4);
    // They keep nobody out who is there.
    let now = Instant::now();
    let real = Notice::Update(update(1, 0, 1, vec![change("real", 1)]));
    registry.handle(now, &location(1), &real);
    assert_eq!(holders(&registry, "real"), 1);
}

#[test]
fn a_peer_that_asks_on_and_on_gets_its_share() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    for i in 0..200 {
        registry.change(&format!("name {i}").into(), Some(entry(i)));
    }
    let ignorant = |_| digest(Vec::new());
    let first = answered(&mut registry, now, 20_000, ignorant);
    assert!((4 << 20..10 << 20).contains(&first), "{first}");
    let later = answered(
        &mut registry,
        now + Duration::from_secs(1),
        20_000,
        ignorant,
    );
    assert!((1 << 20..3 << 20).contains(&later), "{later}");
}

/// How many bytes the first peer gets for so many notices.
fn answered(
    registry: &mut Registry,
    now: Instant,
    times: u64,
    notice: impl Fn(u64) -> Notice,
) -> usize {
    let answer = |time| {
        let reaction = registry.handle(now, &location(1), &notice(time));
        let replies = reaction.replies.iter();
        replies.map(|it| it.write().len()).sum::<usize>()
    };
    (0..times).map(answer).sum()
}

/// Whoever hears of something new asks for the rest, and says what it knows for that.
#[test]
fn a_peer_that_has_itself_asked_on_and_on_gets_its_share_too() {
    let claim = |_| claims(1, 1 << 40);
    let part = |time| {
        let mut part = update(1, time, time + 1, vec![change("new", time + 1)]);
        part.spread = Spread::Part;
        Notice::Update(part)
    };
    let notices: [&dyn Fn(u64) -> Notice; 2] = [&claim, &part];
    for notice in notices {
        let mut registry = Registry::new(location(0), Limits::default());
        let now = Instant::now();
        registry.present(now, &location(1));
        for i in 0..200 {
            registry.change(&format!("name {i}").into(), Some(entry(i)));
        }
        answered(&mut registry, now, 20_000, |_| digest(Vec::new()));
        assert_eq!(answered(&mut registry, now, 1, notice), 0);
        let later = answered(&mut registry, now + Duration::from_secs(1), 150_000, notice);
        assert!((1 << 20..3 << 20).contains(&later), "{later}");
    }
}

fn long(name: &str, version: u64) -> Change {
    let mut change = change(name, version);
    if let Some(entry) = &mut change.entry {
        entry.type_name = "x".repeat(512).into();
    }
    change
}

/// So that no peer chooses how much that is.
#[test]
fn long_names_leave_room_for_fewer() {
    let name = |launch, version| format!("{launch} {version:0>250}");
    let registry = flooded(|launch, version| long(&name(launch, version), version));
    let most = 25 * (OVERHEAD + 20);
    let one = OVERHEAD + name(2, 1).len() + 512;
    assert!(
        (most - one..=most).contains(&registry.bytes()),
        "{}",
        registry.bytes()
    );
    assert_eq!(registry.counted(), most / one);
}

/// What is there already may not grow without end either; what it was is out of date.
#[test]
fn names_that_do_not_fit_any_more_are_found_no_more() {
    let mut registry = flooded(|launch, version| change(&format!("{launch} {version}"), version));
    let before = registry.bytes();
    let now = Instant::now();
    // It has ten, and less room is left than one of them would take more.
    let all = |i: u64| long(&format!("2 {i}"), 30 + i);
    let more = update(2, 30, 40, (1..=10).map(all).collect());
    registry.handle(now, &location(1), &Notice::Update(more));
    let kept = (1..=10).filter(|i| holders(&registry, &format!("2 {i}")) > 0);
    // In the place of ten there is room for about half as many.
    assert_eq!(kept.count(), 5);
    assert_eq!(registry.counted(), 20);
    assert!(registry.bytes() <= before, "{} {before}", registry.bytes());
    // Its part is told to nobody.
    registry.present(now, &location(3));
    let reaction = registry.handle(now, &location(3), &digest(Vec::new()));
    let told = reaction.replies.iter().filter(|it| match it {
        Notice::Update(update) => update.home == location(2),
        Notice::Digest(_) => false,
    });
    assert_eq!(told.count(), 0);
}

#[test]
fn there_is_room_for_names_of_this_node_however_many_others_have() {
    let mut registry = flooded(|launch, version| change(&format!("{launch} {version}"), version));
    let now = Instant::now();
    let own = |i: usize| -> Arc<str> { format!("own {i}").into() };
    for i in 0..10 {
        let (has, most) = registry.room();
        assert_eq!((has, most), (i, 10));
        registry.change(&own(i), Some(entry(1)));
    }
    // Others go on.
    for launch in 2..10 {
        let more = update(launch, 30, 31, vec![change(&format!("{launch} more"), 31)]);
        registry.handle(now, &location(1), &Notice::Update(more));
    }
    assert!((0..10).all(|i| holders(&registry, &own(i)) == 1));
    let news = registry.news(now);
    let told = news.iter().map(|it| match it {
        Notice::Update(update) if update.home == location(0) => update.records.len(),
        _ => 0,
    });
    assert_eq!(told.sum::<usize>(), 10);
    assert_eq!(registry.counted(), 25 + 10);
}

/// A launch has one name at each version; a peer may say otherwise.
#[test]
fn names_of_one_version_take_each_others_place() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    for upto in 1..100 {
        let mut name = change(&format!("name {upto}"), 1);
        name.entry = name.entry.filter(|_| upto % 3 > 0);
        let living = usize::from(name.entry.is_some());
        let forged = Notice::Update(update(1, 0, upto, vec![name]));
        registry.handle(now, &location(1), &forged);
        assert_eq!(registry.counted(), living);
        assert_eq!(registry.remembered_gone(), 1 - living);
    }
}
