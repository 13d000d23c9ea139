//! Random worlds: messages in both directions are delayed, duplicated and lost with their worker,
//! hosts and workers come and go, owners cancel.

use proptest::prelude::*;

use super::steps::{Asks, At, Step};
use super::world::World;
use crate::resources::Resources;

fn needs() -> impl Strategy<Value = Resources> {
    prop_oneof![
        8 => Just(Resources::cpus(1)),
        2 => (1..5u32).prop_map(Resources::cpus),
        1 => (1..3u32, 1..5u64).prop_map(|(n, bytes)| Resources::cpus(n).memory(bytes)),
        1 => Just(Resources::cpus(1).named("gpu", 1)),
    ]
}

fn asks() -> impl Strategy<Value = Asks> {
    let at = prop_oneof![
        8 => Just(At::Anywhere),
        1 => any::<usize>().prop_map(At::Host),
        1 => any::<usize>().prop_map(At::Worker),
    ];
    let priority = prop_oneof![6 => Just(0), 1 => Just(-1), 1 => Just(5)];
    let retries = prop_oneof![8 => Just(None), 1 => Just(Some(0)), 1 => Just(Some(2))];
    let io = prop_oneof![8 => Just(false), 1 => Just(true)];
    let all = (needs(), at, priority, retries, io, any::<bool>());
    all.prop_map(|(needs, at, priority, retries, io, bulky)| Asks {
        needs,
        at,
        priority,
        retries,
        io,
        bulky,
    })
}

fn room() -> impl Strategy<Value = Resources> {
    let parts = (0..5u32, 0..5u64, 0..2u64);
    parts.prop_map(|(n, bytes, gpus)| Resources::cpus(n).memory(bytes).named("gpu", gpus))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..8usize).prop_map(|n| Step::Submit(n, Asks::default())),
        4 => (1..4usize, asks()).prop_map(|(n, asks)| Step::Submit(n, asks)),
        1 => room().prop_map(Step::NewHost),
        1 => (any::<usize>(), room()).prop_map(|(n, room)| Step::Room(n, room)),
        2 => any::<usize>().prop_map(Step::NewWorker),
        10 => any::<usize>().prop_map(Step::Receive),
        10 => any::<(usize, usize)>().prop_map(|(n, which)| Step::Finish(n, which)),
        10 => any::<(usize, bool)>().prop_map(|(n, twice)| Step::Report(n, twice)),
        1 => any::<(usize, usize)>().prop_map(|(n, which)| Step::TimeOut(n, which)),
        1 => any::<usize>().prop_map(Step::Crash),
        1 => any::<usize>().prop_map(Step::Lost),
        1 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(n, all)| match all {
            true => Step::GiveUp,
            false => Step::Cancel(n),
        }),
        1 => any::<usize>().prop_map(Step::NoneCame),
        2 => any::<(usize, bool)>().prop_map(|(n, suspended)| Step::Suspend(n, suspended)),
        1 => any::<usize>().prop_map(Step::Retire),
        1 => any::<usize>().prop_map(Step::HostLost),
        2 => any::<usize>().prop_map(Step::Replay),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_nothing_is_taken_for_ever(
        prefetch in 0..6usize, retries in 0..4u32, hosts_may_come: bool,
        rooms in proptest::collection::vec(room(), 1..4), workers in 0..6usize, steps in steps()
    ) {
        let mut world = World::new(prefetch, retries, hosts_may_come);
        for room in rooms {
            world.step(&Step::NewHost(room));
        }
        for n in 0..workers {
            world.step(&Step::NewWorker(n));
        }
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
