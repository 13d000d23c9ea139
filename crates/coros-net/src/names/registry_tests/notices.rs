//! What of a peer's bytes is taken for a notice.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn bytes_of_any_kind_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut registry = Registry::new(location(0), Limits::default());
        if let Ok(notice) = Notice::read(&bytes) {
            registry.handle(Instant::now(), &location(1), &notice);
        }
    }
}

#[test]
fn notices_that_break_the_rules_are_dropped_whole() {
    let good = update(1, 3, 5, vec![change("a", 4), change("b", 5)]);
    let read = |update: Update| Notice::read(&Notice::Update(update).write());
    assert!(read(good.clone()).is_ok());
    let mut bad = Vec::new();
    let mut with = |f: fn(&mut Update)| {
        let mut it = good.clone();
        f(&mut it);
        bad.push(it);
    };
    with(|it| it.records.swap(0, 1));
    with(|it| it.records[0].version = 3);
    with(|it| it.upto = 4);
    with(|it| it.after = 5);
    with(|it| (it.after, it.upto) = (u64::MAX, u64::MAX));
    with(|it| it.upto = u64::MAX);
    with(|it| it.floor = 6);
    with(|it| it.records[0].name = "".into());
    with(|it| it.records[0].name = "x".repeat(256).into());
    with(|it| it.records[0].entry.as_mut().unwrap().type_name = "x".repeat(513).into());
    with(|it| it.records[0].entry.as_mut().unwrap().type_name = "\u{1b}[2J".into());
    with(|it| it.records[0].entry.as_mut().unwrap().type_name = "\u{202e}8u".into());
    with(|it| it.home.name = "\u{202e}ksed".into());
    with(|it| it.home.name = "".into());
    with(|it| it.home.name = "x".repeat(129).into());
    with(|it| it.home.name = "\n".into());
    for update in bad {
        assert!(read(update.clone()).is_err(), "{update:?}");
    }
    let known = |launch: u128| Known {
        launch: NodeId(launch),
        version: 1,
        age: Age::NONE,
    };
    for (first, last, numbers) in [
        (0, 9, vec![2, 1]),
        (0, 9, vec![1, 1]),
        (2, 9, vec![1]),
        (9, 0, vec![]),
    ] {
        let digest = Digest {
            first: NodeId(first),
            last: NodeId(last),
            known: numbers.into_iter().map(known).collect(),
            mutual: true,
        };
        assert!(Notice::read(&Notice::Digest(digest).write()).is_err());
    }
}
