//! Names that were taken back and forgotten, and launches whose names take many notices.

use super::*;

#[test]
fn many_names_take_many_notices_and_all_arrive() {
    let mut line = Line::of(3);
    for i in 0..500 {
        line.change(0, i, Some(i as u64));
        line.change(1, i, Some(i as u64));
    }
    line.settle();
    line.agree();
    for i in 0..500 {
        line.change(0, i, None);
    }
    const { assert!(500 > 2 * MAX_GONE) };
    line.settle();
    line.agree();
}

/// Whoever has missed it when names were taken back is told all that is left, in many notices.
#[test]
fn what_was_taken_back_long_ago_and_has_been_forgotten_goes_everywhere() {
    let mut line = Line::of(2);
    for i in 0..300 {
        line.change(0, i, Some(i as u64));
    }
    line.settle();
    for i in 0..10 {
        line.change(0, i, None);
    }
    line.settle();
    line.agree();
}

/// Names taken back of which some are forgotten at once do not make a node tell all it knows.
#[test]
fn no_launch_is_passed_on_whole_as_news() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let many = (1..20).map(|i| change(&format!("name {i}"), i)).collect();
    let many = Notice::Update(update(2, 0, 19, many));
    registry.handle(now, &location(1), &many);
    assert_eq!(registry.news(now).len(), 2);
    let gone = |version: u64| Change {
        entry: None,
        ..change(&format!("name {version}"), version + 19)
    };
    let gone = (1..=MAX_GONE as u64 + 1).map(gone).collect();
    let gone = Notice::Update(update(2, 19, 20 + MAX_GONE as u64, gone));
    registry.handle(now, &location(1), &gone);
    assert!(registry.news(now).is_empty());
    assert!(registry.take_learned());
}

/// Whoever forgets what was taken back tells all of the launch, so that nobody keeps it.
#[test]
fn what_has_been_forgotten_for_want_of_room_is_not_kept_elsewhere() {
    let limits = Limits {
        gone: 1,
        ..Limits::default()
    };
    let mut line = Line::with(&[Limits::default(), limits, Limits::default()]);
    for name in 0..NAMES {
        line.change(0, name, Some(1));
    }
    line.settle();
    line.agree();
    for name in 1..3 {
        line.change(0, name, None);
    }
    line.settle();
    assert_eq!(line.registries[1].remembered_gone(), 0);
    line.agree();
}

/// Three nodes, each linked to the others. The last has heard nothing since there were 40 names of the first;
/// then two were taken back, which the second, who has no room for such, has forgotten.
fn last_is_behind() -> Line {
    let forgets = Limits {
        gone: 1,
        ..Limits::default()
    };
    let mut mesh = Line::with(&[Limits::default(), forgets, Limits::default()]);
    mesh.all = true;
    for name in 0..40 {
        mesh.change(0, name, Some(1));
    }
    mesh.settle();
    mesh.agree();
    for name in [1, 2] {
        mesh.change(0, name, None);
    }
    mesh.compare(0);
    while let Some(next) = mesh.under_way.pop() {
        if next.0 != 2 && next.1 != 2 {
            mesh.deliver(next);
        }
    }
    assert_eq!(mesh.registries[1].remembered_gone(), 0);
    assert_eq!(shown(&mesh, "name 1"), [0, 0, 1]);
    mesh
}

fn shown(line: &Line, name: &str) -> Vec<usize> {
    let registries = line.registries.iter();
    registries.map(|it| holders(it, name)).collect()
}

/// One tells another what he asks for; the answer.
fn asks(line: &mut Line, who: usize, whom: usize) -> Vec<Update> {
    let mut updates = Vec::new();
    for digest in line.registries[who].digests(line.now) {
        let reaction = line.registries[whom].handle(line.now, &location(who), &digest);
        updates.extend(
            reaction
                .replies
                .into_iter()
                .filter_map(|reply| match reply {
                    Notice::Update(update) => Some(update),
                    Notice::Digest(_) => None,
                }),
        );
    }
    updates
}

fn hears(line: &mut Line, who: usize, from: usize, update: &Update) -> Vec<Notice> {
    let notice = Notice::Update(update.clone());
    let reaction = line.registries[who].handle(line.now, &location(from), &notice);
    reaction.replies
}

/// He has not lost what the first who tells him had forgotten, so that the others are of use.
#[test]
fn whoever_was_told_the_beginning_by_one_is_told_the_rest_by_another() {
    let mut mesh = last_is_behind();
    let told = asks(&mut mesh, 2, 1);
    assert_eq!((told[0].after, told[0].latest), (0, 42));
    assert!(told[0].upto < told[0].floor, "{told:?}");
    hears(&mut mesh, 2, 1, &told[0]);
    assert_eq!(shown(&mesh, "name 1"), [0, 0, 0]);
    assert_eq!(
        shown(&mesh, "name 39"),
        [1, 1, 1],
        "it comes later, and stays"
    );
    // The second is heard of no more. The first has forgotten nothing, and does not begin again.
    let rest = asks(&mut mesh, 2, 0);
    assert_eq!((rest[0].after, rest[0].floor), (told[0].upto, 0));
    for update in &rest {
        hears(&mut mesh, 2, 0, update);
    }
    mesh.agree();
    // He has all, and can tell others.
    let all = asks(&mut mesh, 2, 0);
    assert!(all.is_empty(), "{all:?}");
    assert_eq!(known_at(&mesh, 2).reach, Reach::whole(42));
}

fn known_at(line: &Line, at: usize) -> Known {
    let digests = line.registries[at].digests(line.now);
    match &digests[..] {
        [Notice::Digest(digest)] => digest.known[0],
        other => panic!("{other:?}"),
    }
}

/// Until he has all, what he holds may have been taken back.
#[test]
fn whoever_is_being_told_all_once_more_tells_nobody() {
    let mut mesh = last_is_behind();
    let told = asks(&mut mesh, 2, 1);
    hears(&mut mesh, 2, 1, &told[0]);
    let upto = told[0].upto;
    let reach = Reach {
        version: upto,
        goal: 42,
    };
    assert_eq!(known_at(&mesh, 2).reach, reach);
    let ignorant = digest(Vec::new());
    let reaction = mesh.registries[2].handle(mesh.now, &location(1), &ignorant);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
    assert!(mesh.registries[2].news(mesh.now).is_empty());
    // Not even the last of it, which is news.
    let mut last = Registry::new(location(3), Limits::default());
    for (after, upto) in [(0, 30), (30, 45), (45, 48)] {
        let part = Update {
            latest: 50,
            floor: 42,
            ..update(0, after, upto, vec![change(&format!("to {upto}"), upto)])
        };
        last.news(mesh.now);
        last.handle(mesh.now, &location(2), &Notice::Update(part));
    }
    assert_eq!(holders(&last, "to 48"), 1);
    assert!(last.news(mesh.now).is_empty());
    // Nor is it asked of him.
    let behind = digest(vec![known_at(&mesh, 2)]);
    let mut other = Registry::new(location(3), Limits::default());
    other.present(mesh.now, &location(2));
    assert!(
        other
            .handle(mesh.now, &location(2), &behind)
            .replies
            .is_empty()
    );
}

#[test]
fn notices_of_the_beginning_that_are_lost_doubled_or_late_do_no_harm() {
    let mut mesh = last_is_behind();
    let told = asks(&mut mesh, 2, 1);
    assert!(told.len() > 1, "{told:?}");
    // The second part alone goes on from nowhere: once he asks for what comes before it.
    assert_eq!(hears(&mut mesh, 2, 1, &told[1]).len(), 1);
    assert!(hears(&mut mesh, 2, 1, &told[1]).is_empty());
    assert_eq!(known_at(&mesh, 2).reach, Reach::whole(40));
    assert_eq!(shown(&mesh, "name 1"), [0, 0, 1]);
    for update in [&told[0], &told[0], &told[1], &told[0], &told[1]] {
        hears(&mut mesh, 2, 1, update);
    }
    assert_eq!(known_at(&mesh, 2).reach.version, told[1].upto);
    mesh.settle();
    mesh.agree();
}

/// One that has not heard of what was taken back would bring it in again.
#[test]
fn nobody_goes_on_who_knows_less_than_the_one_who_began() {
    let mut mesh = last_is_behind();
    let behind = asks(&mut mesh, 2, 1);
    // Somebody else who was away as long, and has one name more than the last.
    let old = update(0, behind[0].upto, 41, vec![change("name 1", 41)]);
    hears(&mut mesh, 2, 1, &behind[0]);
    hears(&mut mesh, 2, 1, &old);
    assert_eq!(shown(&mesh, "name 1"), [0, 0, 0]);
    // Nor does he try.
    let mut behind = Registry::new(location(3), Limits::default());
    behind.present(mesh.now, &location(2));
    let old = update(0, 0, 41, vec![change("name 1", 41)]);
    behind.handle(mesh.now, &location(2), &Notice::Update(old));
    let asked = digest(vec![known_at(&mesh, 2)]);
    let reaction = behind.handle(mesh.now, &location(2), &asked);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
    mesh.settle();
    mesh.agree();
}

/// As long as no more is taken back meanwhile than is remembered, the beginning is good.
#[test]
fn what_is_forgotten_meanwhile_starts_nobody_again_unless_he_cannot_know_of_it() {
    let mut mesh = last_is_behind();
    mesh.change(0, 3, None);
    let told = asks(&mut mesh, 2, 0);
    assert_eq!((told[0].after, told[0].floor), (0, 41));
    hears(&mut mesh, 2, 0, &told[0]);
    // Now the first forgets another, of which the beginning did tell.
    mesh.change(0, 4, None);
    let rest = asks(&mut mesh, 2, 0);
    assert_eq!((rest[0].after, rest[0].floor), (told[0].upto, 42));
    hears(&mut mesh, 2, 0, &rest[0]);
    // And now those of which it did not.
    for name in 5..5 + MAX_GONE + 1 {
        mesh.change(0, name, None);
    }
    let again = asks(&mut mesh, 2, 0);
    assert_eq!(again[0].after, 0, "{again:?}");
    mesh.settle();
    mesh.agree();
}

/// However far he had got when he asked for the rest, and did not wait for the answer then.
#[test]
fn whoever_starts_again_asks_again() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let mut asks = |after, upto, (floor, latest)| {
        let part = Update {
            latest,
            floor,
            ..update(1, after, upto, vec![change(&format!("to {upto}"), upto)])
        };
        let reaction = registry.handle(now, &location(1), &Notice::Update(part));
        reaction.replies.len()
    };
    for knows in [(42, 50), (55, 60)] {
        assert_eq!(asks(0, 30, knows), 0);
        assert_eq!(asks(40, 45, knows), 1);
        assert_eq!(asks(45, 48, knows), 0);
    }
}
