//! Whatever happens in whatever order, all agree in the end.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::names::launch::OVERHEAD;

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

/// What happens to launches whose names take many notices and are forgotten all the time.
#[derive(Clone, Copy, Debug)]
enum Burst {
    Give(usize, usize, u64),
    Take(usize, usize),
    Spread(usize),
    Compare(usize),
    /// So many notices arrive, the first of them or, if they are shuffled, any; of each so many are lost or
    /// doubled out of ten.
    Deliver {
        count: usize,
        shuffled: bool,
        lost: u64,
        doubled: u64,
        seed: u64,
    },
    /// All that is under way is lost, and some time passes.
    Silence(u64),
}

const NODES: usize = 4;
/// Those of one launch take about five notices.
const MANY: usize = 80;
const AT_ONCE: usize = 40;

fn burst() -> impl Strategy<Value = Burst> {
    let node = 0..NODES;
    // Most of what happens is about one launch.
    let home = prop_oneof![3 => Just(0), 1 => 0..NODES];
    let first = 0..MANY;
    let give = (home.clone(), first.clone(), 1..1000_u64);
    let deliver = (1..40_usize, any::<bool>(), 0..4_u64, 0..3_u64, any::<u64>());
    prop_oneof![
        3 => give.prop_map(|(node, first, number)| Burst::Give(node, first, number)),
        3 => (home, first).prop_map(|(node, first)| Burst::Take(node, first)),
        2 => node.clone().prop_map(Burst::Spread),
        3 => node.prop_map(Burst::Compare),
        8 => deliver.prop_map(|(count, shuffled, lost, doubled, seed)| Burst::Deliver {
            count, shuffled, lost, doubled, seed
        }),
        1 => (0..1500_u64).prop_map(Burst::Silence),
    ]
}

fn happens(line: &mut Line, burst: Burst) {
    match burst {
        Burst::Give(node, first, number) => {
            for name in first..(first + AT_ONCE).min(MANY) {
                line.change(node, name, Some(number));
            }
        }
        Burst::Take(node, first) => {
            for name in (first..(first + AT_ONCE).min(MANY)).step_by(3) {
                line.change(node, name, None);
            }
        }
        Burst::Spread(node) => line.spread(node),
        Burst::Compare(node) => line.compare(node),
        Burst::Deliver {
            count,
            shuffled,
            lost,
            doubled,
            seed,
        } => {
            let mut random = SmallRng::seed_from_u64(seed);
            for _ in 0..count.min(line.under_way.len()) {
                let which = if shuffled {
                    random.random_range(0..line.under_way.len())
                } else {
                    0
                };
                let notice = line.under_way.remove(which);
                if random.random_range(0..10) < doubled {
                    line.under_way.push(notice.clone());
                }
                if random.random_range(0..10) >= lost {
                    line.deliver(notice);
                }
            }
        }
        Burst::Silence(milliseconds) => {
            line.under_way.clear();
            line.now += Duration::from_millis(milliseconds);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Some of them forget sooner than others, and sooner than the launch itself.
    #[test]
    fn what_is_forgotten_in_the_middle_of_being_told_goes_everywhere_in_the_end(
        bursts in proptest::collection::vec(burst(), 0..80),
        all in any::<bool>(),
        gone in proptest::array::uniform4(0..6_usize),
    ) {
        let limits = gone.map(|gone| Limits { gone, ..Limits::default() });
        let mut line = Line::with(&limits);
        line.all = all;
        for burst in bursts {
            happens(&mut line, burst);
            // What is counted is what is there.
            line.registries.iter().for_each(|it| { it.counted(); });
        }
        line.settle();
        line.agree();
    }
}

/// Whatever a peer says of a few launches, as long as it can be read.
fn forged() -> impl Strategy<Value = Notice> {
    let further = |most: u64| prop_oneof![9 => 0..most, 1 => Just(u64::MAX / 4)];
    let entry_of = |(name, length): (usize, Option<usize>)| {
        let entry = length.map(|length| Entry {
            type_name: "x".repeat(length).into(),
            ..entry(1)
        });
        (format!("name {name}"), entry)
    };
    let change = (0..NAMES, proptest::option::of(0..200_usize)).prop_map(entry_of);
    let records = proptest::collection::btree_map(1..6_u64, change, 0..6);
    let floor = (any::<bool>(), further(12));
    let update = (
        2..5_usize,
        prop_oneof![Just(0), further(12)],
        further(6),
        further(4),
        floor,
        records,
    );
    update.prop_map(|(launch, after, upto, latest, (high, floor), records)| {
        let upto = after + 1 + upto;
        let latest = upto + latest;
        let records = records.into_iter().map(|(version, (name, entry))| Change {
            name: name.into(),
            version: after + version,
            entry,
        });
        let records = records.filter(|it| it.version <= upto).collect();
        Notice::Update(Update {
            latest,
            floor: if high { latest } else { floor.min(latest) },
            ..super::update(launch, after, upto, records)
        })
    })
}

proptest! {
    #[test]
    fn what_is_made_up_is_counted_and_bounded(
        notices in proptest::collection::vec(forged(), 0..40)
    ) {
        let limits = Limits {
            names: 4,
            bytes: 5 * (OVERHEAD + 100),
            gone: 3,
            launches: 2,
            hearsay: 2,
        };
        let mut registry = Registry::new(location(0), limits);
        let now = Instant::now();
        registry.present(now, &location(1));
        for notice in notices {
            prop_assert!(Notice::read(&notice.write()).is_ok());
            registry.handle(now, &location(1), &notice);
            registry.counted();
            prop_assert!(registry.bytes() <= limits.bytes);
            prop_assert!(registry.remembered_gone() <= limits.gone);
        }
        registry.news(now);
    }
}
