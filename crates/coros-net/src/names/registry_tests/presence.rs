//! Launches that are lost, have left, or are known by what others say alone.

use super::*;

#[test]
fn those_that_left_do_not_come_back_by_rumour() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    let name = Notice::Update(update(1, 0, 1, vec![change("name", 1)]));
    registry.present(now, &location(1));
    registry.handle(now, &location(1), &name);
    assert_eq!(holders(&registry, "name"), 1);
    registry.left(location(1).node);
    registry.handle(now, &location(2), &name);
    assert_eq!(holders(&registry, "name"), 0);
    assert_eq!(registry.counted(), 0);
}

#[test]
fn those_that_are_lost_are_hidden_until_they_return() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let name = Notice::Update(update(1, 0, 1, vec![change("name", 1)]));
    registry.handle(now, &location(1), &name);
    registry.lost(now, location(1).node);
    assert_eq!(holders(&registry, "name"), 0);
    registry.handle(now, &location(2), &name);
    assert_eq!(holders(&registry, "name"), 0, "a rumour");
    assert_eq!(registry.present(now, &location(1)), ["name".into()]);
    assert_eq!(holders(&registry, "name"), 1);
    registry.lost(now, location(1).node);
    registry.expire(now + Duration::from_secs(601));
    assert_eq!(registry.counted(), 0, "nobody keeps it for ever");
}

/// Nodes 1 and 2 know of 0 only by what others say, each from the other.
#[test]
fn rumours_of_a_dead_node_do_not_keep_each_other_alive() {
    let mut line = Line::of(3);
    line.change(0, 0, Some(1));
    line.settle();
    assert_eq!(holders(&line.registries[2], "name 0"), 1);
    // The first node and its link vanish, and with them whoever could know of its end.
    line.registries[1].left(location(0).node);
    let mut others = Line::of(2);
    others.now = line.now;
    let told = Notice::Update(update(7, 0, 1, vec![change("name 0", 1)]));
    for at in [0, 1] {
        others.registries[at].handle(others.now, &location(1 - at), &told);
    }
    let began = others.now;
    while others.registries.iter().any(|it| holders(it, "name 0") > 0) {
        others.now += Duration::from_secs(1);
        assert!(others.now - began <= MAX_AGE + Duration::from_secs(2));
        for at in [0, 1] {
            others.registries[at].expire(others.now);
            others.compare(at);
        }
        while let Some(next) = others.under_way.pop() {
            others.deliver(next);
        }
    }
    assert!(others.now - began >= MAX_AGE);
}
