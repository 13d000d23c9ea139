//! Registries alone: notices by hand, in any order, lost and doubled.

#![allow(clippy::unwrap_used, reason = "in tests")]

mod forgetting;
mod hearsay;
mod limits;
mod notices;
mod presence;
mod random;
mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coros_core::remote::{Location, NodeId};
use tokio::time::Instant;

use super::launch::MAX_GONE;
use super::notice::{Age, Change, Digest, Entry, Known, Notice, Reach, Spread, Update};
use super::registry::{Limits, MAX_AGE, Reaction, Registry};

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
        Line::with(&vec![Limits::default(); count])
    }

    fn with(limits: &[Limits]) -> Self {
        let now = Instant::now();
        let count = limits.len();
        let mut registries: Vec<_> = limits
            .iter()
            .enumerate()
            .map(|(i, limits)| Registry::new(location(i), *limits))
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
            for name in self.truth.iter().flat_map(BTreeMap::keys) {
                let expected: BTreeMap<_, _> = (0..self.truth.len())
                    .filter_map(|i| Some((location(i).node, *self.truth[i].get(name)?)))
                    .collect();
                let found = registry
                    .find(name)
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

fn update(launch: usize, after: u64, upto: u64, records: Vec<Change>) -> Update {
    Update {
        home: location(launch),
        age: Age::NONE,
        after,
        upto,
        latest: upto,
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

/// What a peer knows, in all.
fn digest(known: Vec<Known>) -> Notice {
    Notice::Digest(Digest {
        first: NodeId(0),
        last: NodeId(u128::MAX),
        known,
        mutual: true,
    })
}

fn claims(launch: usize, version: u64) -> Notice {
    digest(vec![Known {
        launch: location(launch).node,
        reach: Reach::whole(version),
        age: Age::NONE,
    }])
}
