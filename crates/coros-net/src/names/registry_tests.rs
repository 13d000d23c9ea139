//! Registries alone: notices by hand, in any order, lost and doubled.

#![allow(clippy::unwrap_used, reason = "in tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{Location, NodeId};
use proptest::prelude::*;
use tokio::time::Instant;

use super::launch::MAX_GONE;
use super::notice::{Age, Change, Digest, Entry, Known, Notice, Spread, Update};
use super::registry::{Limits, MAX_AGE, Registry};

fn location(number: usize) -> Location {
    Location {
        node: NodeId(number as u128 + 1),
        name: format!("n{number}").into(),
        endpoint: None,
    }
}

fn entry(number: u64) -> Entry {
    Entry {
        number,
        schema: 7,
        type_name: "Address<u32>".into(),
    }
}

/// Nodes in a line: each is linked to the next.
struct Line {
    now: Instant,
    registries: Vec<Registry>,
    /// From whom, to whom, what.
    under_way: Vec<(usize, usize, Notice)>,
    /// Each is linked to all others instead.
    all: bool,
    truth: Vec<BTreeMap<Arc<str>, u64>>,
}

impl Line {
    fn of(count: usize) -> Self {
        let now = Instant::now();
        let mut registries: Vec<_> = (0..count)
            .map(|i| Registry::new(location(i), Limits::default()))
            .collect();
        for (i, registry) in registries.iter_mut().enumerate() {
            for j in [i.wrapping_sub(1), i + 1] {
                if j < count {
                    registry.present(now, &location(j));
                }
            }
        }
        Line {
            now,
            registries,
            under_way: Vec::new(),
            all: false,
            truth: vec![BTreeMap::new(); count],
        }
    }

    fn change(&mut self, node: usize, name: usize, number: Option<u64>) {
        let name: Arc<str> = format!("name {name}").into();
        if number.is_none() && self.truth[node].remove(&name).is_none() {
            return;
        }
        if let Some(number) = number {
            self.truth[node].insert(Arc::clone(&name), number);
        }
        self.registries[node].change(&name, number.map(entry));
    }

    fn neighbours(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let all = self.all;
        (0..self.registries.len()).filter(move |&it| it != node && (all || it.abs_diff(node) == 1))
    }

    /// Which names of which nodes are known at one.
    fn known(&self, at: usize) -> BTreeSet<(Arc<str>, NodeId)> {
        let names = (0..NAMES).map(|name| Arc::<str>::from(format!("name {name}")));
        let found = |name: Arc<str>| {
            let homes: Vec<_> = self.registries[at]
                .find(&name)
                .map(|(home, _)| (Arc::clone(&name), home.node))
                .collect();
            homes
        };
        names.flat_map(found).collect()
    }

    fn spread(&mut self, node: usize) {
        let news = self.registries[node].news(self.now);
        for to in self.neighbours(node) {
            let news = news.iter().cloned();
            self.under_way.extend(news.map(|notice| (node, to, notice)));
        }
    }

    fn compare(&mut self, node: usize) {
        let digests = self.registries[node].digests(self.now);
        for to in self.neighbours(node) {
            let digests = digests.iter().cloned();
            self.under_way
                .extend(digests.map(|notice| (node, to, notice)));
        }
    }

    fn deliver(&mut self, (from, to, notice): (usize, usize, Notice)) {
        // What is written can be read.
        let written = notice.write();
        assert!(written.len() <= 64 << 10);
        assert_eq!(Notice::read(&written).as_ref(), Ok(&notice));
        let reaction = self.registries[to].handle(self.now, &location(from), &notice);
        let replies = reaction.replies.into_iter();
        self.under_way
            .extend(replies.map(|reply| (to, from, reply)));
    }

    /// Everything arrives, and all compare for as many rounds as the line is long.
    fn settle(&mut self) {
        for _ in 0..self.registries.len() {
            self.now += Duration::from_secs(5);
            for node in 0..self.registries.len() {
                self.compare(node);
            }
            let mut notices = 0;
            while !self.under_way.is_empty() {
                // In the order sent, as links keep it.
                for next in std::mem::take(&mut self.under_way) {
                    self.deliver(next);
                    notices += 1;
                }
                assert!(notices < 10_000, "they never stop talking");
            }
        }
    }

    fn agree(&self) {
        for (at, registry) in self.registries.iter().enumerate() {
            for name in 0..NAMES {
                let name: Arc<str> = format!("name {name}").into();
                let expected: BTreeMap<_, _> = (0..self.truth.len())
                    .filter_map(|i| Some((location(i).node, *self.truth[i].get(&name)?)))
                    .collect();
                let found = registry
                    .find(&name)
                    .map(|(home, entry)| (home.node, entry.number));
                assert_eq!(
                    found.collect::<BTreeMap<_, _>>(),
                    expected,
                    "{name} at {at}"
                );
            }
            let truth: usize = self.truth.iter().map(BTreeMap::len).sum();
            assert_eq!(registry.counted(), truth, "at {at}");
        }
    }
}

const NAMES: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Step {
    Change(usize, usize, Option<u64>),
    Spread(usize),
    Compare(usize),
    Deliver(usize),
    Lose(usize),
    Double(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..4_usize;
    let change = (node.clone(), 0..NAMES, proptest::option::of(1..1000_u64));
    prop_oneof![
        6 => change.prop_map(|(node, name, number)| Step::Change(node, name, number)),
        3 => node.clone().prop_map(Step::Spread),
        2 => node.prop_map(Step::Compare),
        6 => any::<usize>().prop_map(Step::Deliver),
        2 => any::<usize>().prop_map(Step::Lose),
        1 => any::<usize>().prop_map(Step::Double),
    ]
}

proptest! {
    #[test]
    fn whatever_is_lost_doubled_or_late_all_agree_in_the_end(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        let mut line = Line::of(4);
        for step in steps {
            let count = line.under_way.len().max(1);
            match step {
                Step::Change(node, name, number) => line.change(node, name, number),
                Step::Spread(node) => line.spread(node),
                Step::Compare(node) => line.compare(node),
                Step::Deliver(which) if which % count < line.under_way.len() => {
                    let notice = line.under_way.swap_remove(which % count);
                    line.deliver(notice);
                }
                Step::Lose(which) if which % count < line.under_way.len() => {
                    line.under_way.swap_remove(which % count);
                }
                Step::Double(which) if which % count < line.under_way.len() => {
                    let notice = line.under_way[which % count].clone();
                    line.under_way.push(notice);
                }
                _ => {}
            }
        }
        line.settle();
        line.agree();
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// However late what a node says of itself comes, and by whatever way its news overtake that.
    #[test]
    fn a_name_that_is_never_taken_back_stays_where_it_is_known(
        steps in proptest::collection::vec(step(), 0..200)
    ) {
        // Everybody is linked to everybody, so that news overtake digests.
        let mut mesh = Line::of(4);
        mesh.all = true;
        let mut known = vec![BTreeSet::new(); 4];
        for step in steps {
            let count = mesh.under_way.len().max(1);
            match step {
                Step::Change(node, name, number) => mesh.change(node, name, Some(number.unwrap_or(0))),
                Step::Spread(node) => mesh.spread(node),
                Step::Compare(node) => mesh.compare(node),
                Step::Deliver(which) | Step::Lose(which) | Step::Double(which)
                    if which % count < mesh.under_way.len() =>
                {
                    let notice = mesh.under_way.swap_remove(which % count);
                    mesh.deliver(notice);
                }
                _ => {}
            }
            for (at, known) in known.iter_mut().enumerate() {
                let now = mesh.known(at);
                prop_assert!(known.is_subset(&now), "{at} has forgotten: {known:?}, {now:?}");
                *known = now;
            }
        }
    }
}

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

fn update(launch: usize, after: u64, upto: u64, records: Vec<Change>) -> Update {
    Update {
        home: location(launch),
        age: Age::NONE,
        after,
        upto,
        floor: 0,
        records,
        spread: Spread::News,
    }
}

fn change(name: &str, version: u64) -> Change {
    Change {
        name: name.into(),
        version,
        entry: Some(entry(version)),
    }
}

fn holders(registry: &Registry, name: &str) -> usize {
    registry.find(name).count()
}

#[test]
fn nobody_else_speaks_for_this_node() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    let forged = Notice::Update(update(0, 0, 5, vec![change("mine", 5)]));
    registry.handle(now, &location(1), &forged);
    assert_eq!(holders(&registry, "mine"), 0);
    let claimed = Notice::Digest(Digest {
        first: NodeId(0),
        last: NodeId(u128::MAX),
        known: vec![Known {
            launch: location(0).node,
            version: 1000,
            age: Age::NONE,
        }],
        mutual: true,
    });
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

fn claims(launch: usize, version: u64) -> Notice {
    Notice::Digest(Digest {
        first: NodeId(0),
        last: NodeId(u128::MAX),
        known: vec![Known {
            launch: location(launch).node,
            version,
            age: Age::NONE,
        }],
        mutual: true,
    })
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

#[test]
fn where_there_is_no_room_names_taken_back_go_all_the_same() {
    let limits = Limits {
        names: 2,
        total: 10,
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
    let ignorant = Notice::Digest(Digest {
        first: NodeId(0),
        last: NodeId(u128::MAX),
        known: Vec::new(),
        mutual: true,
    });
    let reaction = registry.handle(now, &location(2), &ignorant);
    assert!(reaction.replies.is_empty(), "{reaction:?}");
    // After a while it is asked for all once more.
    registry.expire(now + Duration::from_secs(601));
    let reaction = registry.handle(now, &location(1), &claims(1, 5));
    assert_eq!(reaction.replies.len(), 1);
}

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

/// A node that one peer has told of many launches, each with many names.
fn flooded(name: impl Fn(usize, u64) -> Change) -> Registry {
    let limits = Limits {
        names: 10,
        total: 25,
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

#[test]
fn a_peer_that_asks_on_and_on_gets_its_share() {
    let mut registry = Registry::new(location(0), Limits::default());
    let now = Instant::now();
    registry.present(now, &location(1));
    for i in 0..200 {
        registry.change(&format!("name {i}").into(), Some(entry(i)));
    }
    let ignorant = Notice::Digest(Digest {
        first: NodeId(0),
        last: NodeId(u128::MAX),
        known: Vec::new(),
        mutual: false,
    });
    let mut answered = |now| -> usize {
        let ask = |_| {
            let reaction = registry.handle(now, &location(1), &ignorant);
            reaction
                .replies
                .iter()
                .map(|it| it.write().len())
                .sum::<usize>()
        };
        (0..20_000).map(ask).sum()
    };
    let first = answered(now);
    assert!((4 << 20..10 << 20).contains(&first), "{first}");
    let later = answered(now + Duration::from_secs(1));
    assert!((1 << 20..3 << 20).contains(&later), "{later}");
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
