//! Random worlds: messages in both directions are delayed, duplicated and lost with their worker,
//! workers come and go, owners cancel.

use proptest::prelude::*;

use super::super::Config;
use super::steps::Step;
use super::world::World;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..8u64).prop_map(Step::Submit),
        1 => (1..4usize).prop_map(Step::NewWorker),
        10 => any::<usize>().prop_map(Step::Receive),
        10 => any::<(usize, usize)>().prop_map(|(n, which)| Step::Finish(n, which)),
        10 => any::<(usize, bool)>().prop_map(|(n, twice)| Step::Report(n, twice)),
        1 => any::<usize>().prop_map(Step::Crash),
        1 => any::<usize>().prop_map(Step::Lost),
        1 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Replay),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_once_and_no_slot_leaks(
        prefetch in 0..6usize, retries in 0..4u32, steps in steps()
    ) {
        let mut world = World::new(Config { prefetch, retries });
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
