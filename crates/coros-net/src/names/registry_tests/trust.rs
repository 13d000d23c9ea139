//! Peers that lie, and old word that looks like it.

use super::*;

#[test]
fn nobody_else_speaks_for_this_node() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let forged = Notice::Update(update(0, 0, 5, vec![change("mine", 5)]));
    registry.handle(now, &location(1), &forged);
    assert_eq!(holders(&registry, "mine"), 0);
    let claimed = claims(0, 1000);
    let reaction = registry.handle(now, &location(1), &claimed);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
}

#[test]
fn what_a_launch_says_of_itself_undoes_what_others_made_up() {
    let mut line = Line::of(3);
    line.change(0, 0, Some(1));
    let huge = u64::MAX - 1;
    let forged = update(0, 0, huge, vec![change("made up", huge)]);
    line.deliver((2, 1, Notice::Update(forged)));
    assert_eq!(holders(&line.registries[1], "made up"), 1);
    line.settle();
    assert_eq!(holders(&line.registries[1], "made up"), 0);
    assert_eq!(holders(&line.registries[1], "name 0"), 1);
}

/// A node's own digest is still on its way when its latest name has come by way of another.
#[test]
fn an_old_digest_makes_nobody_forget() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    let at = |milliseconds| now + Duration::from_millis(milliseconds);
    for peer in [1, 2] {
        registry.present(now, &location(peer));
    }
    let first = Notice::Update(update(1, 0, 1, vec![change("first", 1)]));
    let second = Notice::Update(update(1, 1, 2, vec![change("second", 2)]));
    registry.handle(at(0), &location(1), &first);
    registry.handle(at(1), &location(2), &second);
    for late in [2, 1002, 1990] {
        registry.handle(at(late), &location(1), &claims(1, 1));
        assert_eq!(holders(&registry, "first"), 1, "after {late} ms");
        assert_eq!(holders(&registry, "second"), 1, "after {late} ms");
    }
    // It has caught up; what is late later is another matter.
    registry.handle(at(1995), &location(1), &claims(1, 2));
    let third = Notice::Update(update(1, 2, 3, vec![change("third", 3)]));
    registry.handle(at(2500), &location(2), &third);
    registry.handle(at(2600), &location(1), &claims(1, 2));
    assert_eq!(holders(&registry, "third"), 1);
    // But when it says so on and on, there is no such name.
    registry.handle(at(4700), &location(1), &claims(1, 2));
    assert_eq!(holders(&registry, "third"), 0);
    // And those who made it up, or believed it, are not believed again.
    registry.handle(at(4800), &location(1), &second);
    registry.handle(at(4801), &location(2), &third);
    assert_eq!(holders(&registry, "third"), 0);
}

/// A node without a name says that it has none.
#[test]
fn names_made_up_of_a_node_without_any_go_too() {
    let mut line = Line::of(2);
    let forged = update(0, 0, 5, vec![change("made up", 5)]);
    line.registries[1].handle(line.now, &location(7), &Notice::Update(forged));
    assert_eq!(holders(&line.registries[1], "made up"), 1);
    line.settle();
    line.settle();
    assert_eq!(holders(&line.registries[1], "made up"), 0);
}

/// Whoever says that much has been forgotten makes others start again, but with the names of that launch alone.
#[test]
fn a_floor_made_up_hides_what_one_launch_has_until_it_speaks_for_itself() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    for peer in [1, 2, 3] {
        registry.present(now, &location(peer));
    }
    let names = |launch: usize| {
        let name = |i| change(&format!("{launch}: {i}"), i);
        Notice::Update(update(launch, 0, 9, (1..10).map(name).collect()))
    };
    for peer in [1, 2] {
        registry.handle(now, &location(peer), &names(peer));
    }
    let huge = u64::MAX - 1;
    for floor in (1..100).map(|i| huge - 100 + i) {
        let mut forged = update(1, 0, 5, Vec::new());
        (forged.floor, forged.latest) = (floor, huge);
        registry.handle(now, &location(3), &Notice::Update(forged.clone()));
        // What does not begin at the beginning counts for nothing.
        (forged.after, forged.upto) = (5, 9);
        forged.floor = huge;
        registry.handle(now, &location(3), &Notice::Update(forged));
    }
    let shown = |registry: &Registry| {
        let of = |launch| (1..10).filter(move |i| holders(registry, &format!("{launch}: {i}")) > 0);
        [1, 2].map(|launch| of(launch).count())
    };
    let hidden = shown(&registry);
    assert_eq!(hidden[1], 9);
    assert_eq!(registry.counted(), hidden.iter().sum::<usize>());
    for seconds in [1, 2, 3] {
        registry.handle(at(seconds), &location(1), &claims(1, 9));
    }
    registry.handle(at(3), &location(1), &names(1));
    assert_eq!(shown(&registry), [9, 9]);
    assert_eq!(registry.counted(), 18);
}
