//! What of a peer's bytes is taken for a notice.

use proptest::prelude::*;

use super::*;
use crate::names::notice::FIT_DIGEST;
use crate::wire::MAX_CONTROL;

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
    let chunk = Update {
        latest: 9,
        floor: 8,
        ..good.clone()
    };
    let read = |update: Update| Notice::read(&Notice::Update(update).write());
    assert!(read(good.clone()).is_ok());
    assert!(
        read(chunk).is_ok(),
        "what has been forgotten may come later"
    );
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
    with(|it| (it.upto, it.latest) = (u64::MAX, u64::MAX));
    with(|it| it.latest = 4);
    with(|it| it.latest = u64::MAX);
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
        reach: Reach::whole(1),
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
    let reaches = |version, goal| {
        let reach = Reach { version, goal };
        let known = Known { reach, ..known(1) };
        Notice::read(&digest(vec![known]).write()).is_ok()
    };
    assert!(reaches(2, 2) && reaches(2, 3));
    assert!(!reaches(3, 2));
}

#[test]
fn the_largest_digest_fits_into_a_frame() {
    let largest = |i| Known {
        launch: NodeId(u128::MAX - i),
        reach: Reach::whole(u64::MAX),
        age: Age::new(Duration::from_secs(1 << 20)),
    };
    let mut known: Vec<_> = (0..FIT_DIGEST as u128).map(largest).collect();
    known.reverse();
    let (first, last) = (known[0].launch, known[FIT_DIGEST - 1].launch);
    let digest = Notice::Digest(Digest {
        first,
        last,
        known,
        mutual: true,
    });
    let written = digest.write();
    assert!(written.len() <= MAX_CONTROL, "{}", written.len());
    assert_eq!(Notice::read(&written), Ok(digest));
}
