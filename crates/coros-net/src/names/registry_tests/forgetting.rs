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

/// A change that comes with the word that older ones are forgotten does not make a node tell all it knows.
#[test]
fn no_launch_is_passed_on_whole_as_news() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let many = (1..20).map(|i| change(&format!("name {i}"), i)).collect();
    let many = Notice::Update(update(2, 0, 19, many));
    registry.handle(now, &location(1), &many);
    assert_eq!(registry.news(now).len(), 2);
    let mut forgotten = update(2, 19, 22, vec![change("one more", 22)]);
    forgotten.floor = 21;
    registry.handle(now, &location(1), &Notice::Update(forgotten));
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
    let mut line = Line::of(3);
    line.registries[1] = Registry::new(location(1), limits);
    for peer in [0, 2] {
        line.registries[1].present(line.now, &location(peer));
    }
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
